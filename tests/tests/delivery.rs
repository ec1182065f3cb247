//! What a policy restricts of a push or a call binds a credential handed to the agent as well: such a credential
//! is not handed out. Against a real broker, its gateway and a real git host.

use std::{fs, process::Stdio};

use jeton_client::{Ask, Delivery, PolicyQuestion, Scope};
use jeton_proto::v1::{
    ClaimGrantRequest, GrantState, RenewGrantRequest, RequestGrantRequest,
    open_session_request::Binding,
};
use jeton_tests::{
    broker::{Broker, Caller, opening, scope},
    gateway::{Agent, Scene},
    issuer::{self, Issuer},
    run::{Run, said},
};
use tonic_types::StatusExt;

/// README's rule.
const RULE: &str = r#"
@id("workflows-are-for-people") @reason("workflows run with the repository's secrets; propose the change to people")
forbid (principal, action == Jeton::Action::"contents:write", resource)
when { context has file && context.file like ".github/workflows/*" };
"#;
const ENVELOPE: [&str; 2] = ["git:acme/* contents:read", "git:acme/* contents:write ref=agent/*"];
const READ: &str = "git:acme/api contents:read";
const WRITE: &str = "git:acme/api contents:write ref=agent/*";
const PROD: &str = "git:acme/payments contents:write ref=agent/*";

fn rule(data: &std::path::Path) {
    fs::create_dir_all(data.join("policies")).unwrap();
    fs::write(data.join("policies/workflows.cedar"), RULE).unwrap();
}

async fn put_in_force(broker: &Broker) {
    rule(broker.data());
    let loaded = broker.client("ana").await.reload_policies().await.unwrap();
    assert_eq!(loaded.problems, Vec::<String>::new());
}

/// The layer and the policies of a denial.
fn denied(refused: &tonic::Status) -> (String, String) {
    assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused:?}");
    let details = refused.get_error_details();
    let metadata = &details.error_info().unwrap().metadata;
    assert!(metadata["ask"].contains("gateway"), "{metadata:?}");
    (metadata["layer"].clone(), metadata["policy_ids"].clone())
}

fn by_the_rule() -> (String, String) {
    ("delivery".to_owned(), "workflows-are-for-people".to_owned())
}

async fn requested(
    agent: &Caller,
    text: &str,
    delivery: Delivery,
) -> Result<jeton_proto::v1::RequestGrantResponse, tonic::Status> {
    let delivery = match delivery {
        Delivery::Direct => jeton_proto::v1::Delivery::Direct,
        Delivery::Gateway => jeton_proto::v1::Delivery::Gateway,
    };
    let request = RequestGrantRequest {
        scope: Some(scope(text)),
        delivery: delivery.into(),
        ..Default::default()
    };
    agent.grants().request_grant(request).await.map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_about_files_binds_who_asks_for_the_credential_itself() {
    let scene = Scene::start_with(rule).await;
    let agent = scene.agent(&ENVELOPE).await;
    let git = &agent.git;
    git.run(".", &["clone", "-q", &scene.url("acme/api"), "work"]).await.succeeded();
    scene.commit(git, "work", ".github/workflows/ci.yml", b"evil").await;
    let pushed = git.run("work", &["push", "origin", "HEAD:refs/heads/agent/x"]).await.failed();
    assert!(pushed.contains("workflows-are-for-people"), "{pushed}");

    let run = Run::opened(&scene.broker, scene.home.path(), &ENVELOPE, &[]);
    let file = scene.home.path().join("token");
    let token = file.to_str().unwrap();
    let gateway = scene.broker.env("JETON_GATEWAY");
    let through = format!("jeton grant request '{WRITE}' --for-gateway");
    let ways: [(&[&str], &str); 3] = [
        (&["grant", "request", WRITE, "--secret-file", token], &through),
        (&["grant", "request", WRITE, "--show-secret"], &through),
        (&["exec", "--scope", WRITE, "--", "sh", "-c", "exit 0"], "jeton proxy -- sh -c 'exit 0'"),
    ];
    for (words, instead) in ways {
        let mut command = run.jeton();
        let (ok, text) = said(command.args(words));
        assert!(!ok, "{words:?}: {text}");
        for part in ["workflows-are-for-people", "direct delivery is denied", instead] {
            assert!(text.contains(part), "{words:?}: no `{part}` in {text}");
        }
    }
    assert!(!file.exists(), "a file without a credential stays");

    // Git's helper: git is told to stop, and the person by which command it goes through the gateway.
    let host = scene.host.url();
    let mut helper = run.jeton();
    helper.args(["git-credential", "--url", &host, "--upstream", "git", "--ref", "agent/*", "get"]);
    let piped = helper.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let question = format!(
        "protocol=http\nhost={}\npath=acme/api.git\n\n",
        host.trim_start_matches("http://")
    );
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), question.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout), "quit=1\n");
    let text = String::from_utf8_lossy(&out.stderr);
    let setup = format!("jeton git setup --url {host} --upstream git --through-gateway {gateway}");
    assert!(text.contains("workflows-are-for-people") && text.contains(&setup), "{text}");

    // What no rule restricts is still for the agent itself.
    let mut command = run.jeton();
    let (ok, text) = said(command.args(["grant", "request", READ, "--secret-file", token]));
    assert!(ok && file.exists(), "{text}");
    assert!(scene.gate.tokens().iter().all(|token| !token.is_empty()));
    assert_eq!(scene.host.tip("acme/api", "refs/heads/agent/x"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_way_to_a_direct_credential_leads_around_the_rule() {
    let scene = Scene::start_with(rule).await;
    let Agent { caller: agent, session, .. } = scene.agent(&ENVELOPE).await;
    let refused = requested(&agent, WRITE, Delivery::Direct).await.unwrap_err();
    assert_eq!(denied(&refused), by_the_rule());
    assert!(refused.message().contains("use the gateway"), "{}", refused.message());
    // A guard's group is not asked: its approval would be for nothing.
    let refused = requested(&agent, PROD, Delivery::Direct).await.unwrap_err();
    assert_eq!(denied(&refused), by_the_rule());
    let gateway = requested(&agent, PROD, Delivery::Gateway).await.unwrap().grant.unwrap();
    assert_eq!(gateway.state(), GrantState::Pending);

    // What the gateway has is never handed out, nor by a renewal.
    let held = requested(&agent, WRITE, Delivery::Gateway).await.unwrap();
    assert!(held.credential.is_none());
    let id = held.grant.unwrap().id;
    let renew = RenewGrantRequest { id: id.clone(), ttl_seconds: 60 };
    let renewed = agent.grants().renew_grant(renew).await.unwrap().into_inner();
    assert!(renewed.credential.is_none());
    let claimed = agent.grants().claim_grant(ClaimGrantRequest { id }).await.unwrap().into_inner();
    assert!(claimed.credential.is_none());

    // A session below it.
    let mut request = opening(&[WRITE]);
    request.agent = "spiffe://dev.jeton.local/agent/review-7".into();
    request.binding = Some(Binding::CertificateSha256(scene.broker.thumbprint("agent-2")));
    request.parent = session.id;
    let child = agent.sessions().open_session(request).await.unwrap().into_inner();
    let mut below = scene.broker.as_("agent-2").await;
    below.handle = Some(child.handle);
    let refused = requested(&below, WRITE, Delivery::Direct).await.unwrap_err();
    assert_eq!(denied(&refused), by_the_rule());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_exchange_is_a_direct_delivery_too() {
    let issuer = Issuer::new();
    let broker = issuer::broker(&issuer);
    let url = format!("{}/oauth/token", broker.env("JETON_ENDPOINT"));
    let subject = issuer.token(|_| {});
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("subject_token", &subject),
        ("scope", READ),
    ];
    let exchange = async || {
        let answer = broker.http(Some("agent")).post(&url).form(&form).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, text) = exchange().await;
    assert_eq!(status, 200, "{text}");
    let calls = "@id(\"no-deletes\") forbid (principal, action == Jeton::Action::\"contents:read\", resource) when { context has method && context.method == \"DELETE\" };";
    fs::write(broker.data().join("policies/calls.cedar"), calls).unwrap();
    broker.client("ana").await.reload_policies().await.unwrap();
    let (status, text) = exchange().await;
    assert_eq!(status, 400, "{text}");
    for part in ["invalid_scope", "no-deletes", "direct delivery is denied"] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_prefers_the_gateway_and_says_what_holds_for_each_delivery() {
    let scene = Scene::start().await;
    let run = Run::opened(&scene.broker, scene.home.path(), &ENVELOPE, &[]);
    let handle = jeton_client::Secret::new(run.handle.clone());
    let client = scene.broker.client("agent").await.with_handle(handle, None);
    let write = || Scope::parse(WRITE).unwrap();
    // Without a wish it is the gateway's, with or without the rule; what the session gets itself it says.
    let open = client.request_grant(Ask::new(write())).await.unwrap();
    assert!(open.grant.gateway && open.secret.is_none());
    assert!(client.request_grant(Ask::direct(write())).await.unwrap().secret.is_some());
    let both = client.explain(PolicyQuestion::new(write())).await.unwrap();
    assert_eq!((both.len(), both[0].answer.as_str(), both[0].delivery), (1, "allow", None));
    // No upstream behind the gateway: then it is the agent's.
    let envelope = ["orders:acme/* orders:read"];
    let elsewhere = scene.agent(&envelope).await.caller;
    let request = RequestGrantRequest {
        scope: Some(scope("orders:acme/shop orders:read")),
        ..Default::default()
    };
    let granted = elsewhere.grants().request_grant(request).await.unwrap().into_inner();
    assert!(granted.credential.is_some());

    put_in_force(&scene.broker).await;
    let open = client.request_grant(Ask::new(write())).await.unwrap();
    assert!(open.grant.gateway && open.secret.is_none());
    let both = client.explain(PolicyQuestion::new(write())).await.unwrap();
    let told: Vec<_> = both.iter().map(|one| (one.delivery, one.answer.as_str())).collect();
    let differ = [(Some(Delivery::Gateway), "allow"), (Some(Delivery::Direct), "deny")];
    assert_eq!(told, differ);
    assert_eq!(both[1].layer.as_deref(), Some("delivery"));
    assert_eq!(both[1].policy_ids, ["workflows-are-for-people"]);
    let direct =
        PolicyQuestion { delivery: Some(Delivery::Direct), ..PolicyQuestion::new(write()) };
    let direct = client.explain(direct).await.unwrap();
    assert_eq!((direct.len(), direct[0].answer.as_str()), (1, "deny"));
    let rows = client.may(None, None, None).await.unwrap();
    let of_write = rows.iter().filter(|row| row.scope.contains("contents:write"));
    let told: Vec<_> = of_write.map(|row| (row.answer.delivery, &*row.answer.answer)).collect();
    assert!(!told.is_empty() && told.chunks(2).all(|pair| pair[0].0 == differ[0].0), "{told:?}");
    assert!(told.chunks(2).all(|pair| pair[1] == differ[1]), "{told:?}");
    // The command shows the grant of the gateway, and no credential.
    let mut command = run.jeton();
    let (ok, text) = said(command.args(["grant", "request", WRITE]));
    assert!(ok && text.contains("for the gateway") && !text.contains("renew"), "{text}");
    let mut command = run.jeton();
    let (ok, text) = said(command.args(["policy", "explain", WRITE]));
    assert!(ok, "{text}");
    for part in ["allow: ", "delivery:     gateway", "deny: ", "delivery:     direct"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_comes_later_ends_what_was_handed_out_or_asked_for() {
    let scene = Scene::start().await;
    let agent = scene.agent(&ENVELOPE).await.caller;
    let handed = requested(&agent, WRITE, Delivery::Direct).await.unwrap();
    let handed = (handed.grant.unwrap().id, handed.credential.unwrap());
    let waits = requested(&agent, PROD, Delivery::Direct).await.unwrap().grant.unwrap();
    assert_eq!(waits.state(), GrantState::Pending);
    scene.approve(&waits.id).await;

    put_in_force(&scene.broker).await;
    let renew = RenewGrantRequest { id: handed.0.clone(), ttl_seconds: 60 };
    let refused = agent.grants().renew_grant(renew).await.unwrap_err();
    assert_eq!(denied(&refused), by_the_rule());
    // What was approved under the policies before is not handed out under these.
    let claim = ClaimGrantRequest { id: waits.id };
    let refused = agent.grants().claim_grant(claim).await.unwrap_err();
    assert_eq!(denied(&refused), by_the_rule());
    let again = ClaimGrantRequest { id: handed.0.clone() };
    let refused = agent.grants().claim_grant(again).await.unwrap_err();
    assert_eq!(denied(&refused), by_the_rule());
    let found = scene.broker.client("ana").await.re_decide(true).await.unwrap();
    let lost: Vec<_> = found.lost.iter().map(|lost| (&*lost.grant.id, &*lost.layer)).collect();
    assert_eq!(lost, [(handed.0.as_str(), "delivery")]);
    let ended = agent.grants().claim_grant(ClaimGrantRequest { id: handed.0 }).await.unwrap();
    let ended = ended.into_inner();
    assert_eq!(ended.grant.unwrap().state(), GrantState::Revoked);
    assert!(ended.credential.is_none());
}
