//! People in the loop: a request that guards stop waits for them, and what they approved is what is
//! granted.

use std::{
    fs,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use jeton_client::{ApprovalInfo, Client, ErrorKind, Reach, ScopeBound};
use jeton_proto::v1::{GrantState, open_session_request::Binding};
use jeton_tests::{
    broker::{Broker, Caller, opening, program},
    eventually::within,
    issuer::{ISSUER, Issuer},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json as value};

const PROD: &str = "git:acme/payments contents:write ref=agent/fix";
const PROD_TOO: &str = "git:acme/payments contents:write ref=agent/other";
const ORDERS: &str = "orders:acme/live orders:write";
const ENVELOPE: [&str; 2] =
    ["git:acme/* contents:read,contents:write", "orders:acme/* orders:write"];
const SOON: Duration = Duration::from_secs(10);
const BO: &str = "spiffe://dev.jeton.local/person/bo";

/// The command, as somebody, in the session of a file if one is named.
fn jeton(broker: &Broker, who: &str, session: Option<&str>) -> Command {
    let tls = broker.data().join("tls");
    let mut command = Command::new(program("jeton"));
    command
        .envs(broker.envs().iter().cloned())
        .env("JETON_CERT", tls.join(format!("{who}.pem")))
        .env("JETON_KEY", tls.join(format!("{who}.key")))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(handle) = session {
        command.env("JETON_SESSION", handle);
    }
    command
}

fn run(mut command: Command) -> Output {
    command.output().unwrap()
}

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&out(output)).unwrap()
}

/// An agent's request in a process of its own.
fn asks(broker: &Broker, handle: &str, scope: &str) -> Child {
    let mut command = jeton(broker, "agent", Some(handle));
    let arguments = ["grant", "request", scope, "--wait", "60s", "--json", "--show-secret"];
    command.args(arguments).args(["--ttl", "5m", "--reason", "a fix\u{202e}, trust me"]);
    command.spawn().unwrap()
}

async fn waits(approver: &Client, scope: &str) -> ApprovalInfo {
    within(SOON, "the question is asked", async || {
        let all = approver.list_approvals().await.unwrap();
        all.into_iter().find(|one| one.grant.scope == scope)
    })
    .await
}

/// A session whose agent acts for this person.
async fn agent_for(broker: &Broker, person: &str) -> Caller {
    let orchestrator = broker.as_("orchestrator").await;
    let mut request = opening(&ENVELOPE);
    request.person = person.to_owned();
    request.binding = Some(Binding::CertificateSha256(broker.thumbprint("agent")));
    let opened = orchestrator.sessions().open_session(request).await.unwrap().into_inner();
    let mut agent = broker.as_("agent").await;
    agent.handle = Some(opened.handle);
    agent
}

fn reload(broker: &Broker) {
    let pid = Pid::from_raw(broker.pid().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
}

fn catalogue(broker: &Broker, change: impl FnOnce(String) -> String) {
    let file = broker.data().join("policies/catalogue.toml");
    let text = fs::read_to_string(&file).unwrap();
    let changed = change(text.clone());
    assert_ne!(text, changed);
    fs::write(file, changed).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_waits_and_a_person_approves_for_the_session() {
    let broker = Broker::start();
    let agent = agent_for(&broker, "ana@acme.dev").await;
    let handle = agent.handle.clone().unwrap();

    // First terminal: the agent asks, and waits.
    let first = asks(&broker, &handle, PROD);
    let bo = broker.client("bo").await;
    let question = waits(&bo, PROD).await;
    assert!(question.answerable && question.given.is_empty());

    // Second terminal: a person reads what is asked, and approves it for the session.
    let shown = out(&run({
        let mut show = jeton(&broker, "bo", None);
        show.args(["approval", "show", &question.grant.id]);
        show
    }));
    let summary = "spiffe://dev.jeton.local/agent/build-42 for ana@acme.dev wants contents:write on git:acme/payments";
    assert!(shown.starts_with(summary), "{shown}");
    assert!(
        shown.contains("held by prod-writes-need-security, which security can lift"),
        "{shown}"
    );
    assert!(shown.contains("“a fix , trust me” (unchecked)"), "{shown}");
    assert!(!shown.contains('\u{202e}'), "{shown}");
    let hash = &question.request_hash;
    let mut approve = jeton(&broker, "bo", None);
    approve.args(["approval", "approve", &question.grant.id, "--hash", hash, "--for-session"]);
    approve.args(["--within", "git:acme/payments contents:write ref=agent/*", "--grants", "2"]);
    approve.args(["--reason", "the release needs it"]);
    assert!(out(&run(approve)).contains("1 of 1"));

    let answer = json(&first.wait_with_output().unwrap());
    assert_eq!(answer["grant"]["state"], "active");
    assert_eq!(answer["grant"]["id"], question.grant.id.as_str());
    let secret = answer["credential"]["secret"].as_str().unwrap().to_owned();
    assert_eq!(secret.split('.').count(), 3);

    // Another request asks again; one within the bounds does not; the count is used up then.
    let second = asks(&broker, &handle, ORDERS);
    let other = waits(&bo, ORDERS).await;
    let longer = agent.requests(PROD_TOO).await.unwrap().grant.unwrap();
    assert_eq!(longer.state(), GrantState::Pending, "ten minutes, and five were approved");
    let mut third = jeton(&broker, "agent", Some(&handle));
    third.args(["grant", "request", PROD_TOO, "--ttl", "5m", "--json"]);
    assert_eq!(json(&run(third))["grant"]["state"], "active");
    let mut fourth = jeton(&broker, "agent", Some(&handle));
    fourth.args(["grant", "request", PROD_TOO, "--ttl", "5m", "--json"]);
    let fourth = run(fourth);
    assert_eq!(fourth.status.code(), Some(76), "{fourth:?}");
    bo.reject(&other.grant.id, "not on a Friday").await.unwrap();
    let refused = second.wait_with_output().unwrap();
    assert!(!refused.status.success());
    let told = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(told.contains("rejected") && told.contains("not on a Friday"), "{told}");

    // What the log tells of it.
    let story = broker.client("audrey").await;
    let filter =
        jeton_client::EntryFilter { grant: Some(question.grant.id.clone()), ..Default::default() };
    let page = jeton_client::PageOf { size: 50, token: None };
    let entries = story.list_entries(filter, true, page).await.unwrap().items;
    let words: Vec<_> = entries.iter().map(|entry| entry.event.as_str()).collect();
    assert_eq!(words, ["pending", "approved", "issued"]);
    let approval = entries[1].index;
    let issued: Value = serde_json::from_str(&entries[2].text).unwrap();
    assert_eq!(issued["event"]["decided_by"]["approvals"], value!([approval]));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_answers_their_own_question_and_strangers_see_none() {
    let broker = Broker::start();
    let agent = agent_for(&broker, BO).await;
    let pending = agent.requests(PROD).await.unwrap().grant.unwrap();
    assert_eq!(pending.state(), GrantState::Pending);
    let (ana, bo) = (broker.client("ana").await, broker.client("bo").await);
    let asked = bo.get_approval(&pending.id).await.unwrap();
    assert!(!asked.answerable && asked.not_answerable.contains("acts for you"), "{asked:?}");
    let refused = bo.approve(&asked, Reach::Once, "").await.unwrap_err();
    assert!(refused.to_string().contains("acts for you"), "{refused}");
    assert!(bo.reject(&pending.id, "").await.is_err());
    for who in ["agent", "agent-2", "orchestrator", "git-host"] {
        let stranger = broker.client(who).await;
        assert!(stranger.list_approvals().await.unwrap().is_empty(), "{who}");
        let refused = stranger.get_approval(&pending.id).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotFound, "{who}");
        assert!(stranger.approve(&asked, Reach::Once, "").await.is_err(), "{who}");
    }
    let audrey = broker.client("audrey").await;
    let seen = audrey.get_approval(&pending.id).await.unwrap();
    assert!(!seen.answerable);
    assert!(audrey.approve(&seen, Reach::Once, "").await.is_err(), "she sees, and is not asked");

    let seen = ana.get_approval(&pending.id).await.unwrap();
    let mut other = seen.clone();
    other.request_hash = "0".repeat(64);
    let refused = ana.approve(&other, Reach::Once, "").await.unwrap_err();
    assert!(refused.to_string().contains("not what is asked"), "{refused}");
    let wider = Reach::Session {
        within: Some(ScopeBound::parse("git:acme/api contents:write ref=agent/*").unwrap()),
        grants: None,
        ttl: None,
    };
    assert!(ana.approve(&seen, wider, "").await.is_err(), "it does not hold what is asked");
    let more = Reach::Session { within: None, grants: Some(11), ttl: None };
    let refused = ana.approve(&seen, more, "").await.unwrap_err();
    assert!(refused.to_string().contains("1 to 10"), "{refused}");

    ana.comment(&pending.id, "which ticket?").await.unwrap();
    ana.approve(&seen, Reach::Once, "").await.unwrap();
    let again = ana.approve(&seen, Reach::Once, "").await.unwrap();
    assert_eq!(again.given.len(), 1, "the same yes again is the same");
    ana.withdraw_approval(&pending.id, None).await.unwrap();
    let claim = jeton_proto::v1::ClaimGrantRequest { id: pending.id.clone() };
    let claimed = agent.grants().claim_grant(claim.clone()).await.unwrap().into_inner();
    assert!(claimed.credential.is_none(), "what was withdrawn lifts nothing");
    ana.approve(&seen, Reach::Once, "").await.unwrap();
    let claimed = agent.grants().claim_grant(claim.clone()).await.unwrap().into_inner();
    let secret = claimed.credential.unwrap().secret;
    let again = agent.grants().claim_grant(claim).await.unwrap().into_inner();
    assert_eq!(again.credential.unwrap().secret, secret, "a lost answer is given again");
    let next = agent.requests(PROD).await.unwrap().grant.unwrap();
    assert_eq!(next.state(), GrantState::Pending, "once is once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_is_of_different_people_and_reasons_are_wanted_where_the_catalogue_says_so() {
    let broker = Broker::start_with(|data| {
        let file = data.join("policies/catalogue.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(file, text.replace("quorum = 1", "quorum = 2\nreason = true")).unwrap();
    });
    let (agent, _) = broker.agent_with(&ENVELOPE).await;
    let pending = agent.requests(PROD).await.unwrap().grant.unwrap();
    let (ana, bo) = (broker.client("ana").await, broker.client("bo").await);
    let asked = ana.get_approval(&pending.id).await.unwrap();
    let refused = ana.approve(&asked, Reach::Once, " ").await.unwrap_err();
    assert!(refused.to_string().contains("say why"), "{refused}");
    ana.approve(&asked, Reach::Once, "reviewed").await.unwrap();
    let refused = ana
        .approve(&asked, Reach::Session { within: None, grants: None, ttl: None }, "more")
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("withdraw that first"), "{refused}");
    let claim = jeton_proto::v1::ClaimGrantRequest { id: pending.id.clone() };
    let waits = agent.grants().claim_grant(claim.clone()).await.unwrap().into_inner();
    assert!(waits.credential.is_none(), "one of two");
    bo.approve(&asked, Reach::Once, "reviewed too").await.unwrap();
    let done = agent.grants().claim_grant(claim).await.unwrap().into_inner();
    assert!(done.credential.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_asks_people_only_so_much_at_once() {
    let broker = Broker::start();
    let (agent, _) = broker.agent_with(&ENVELOPE).await;
    let mut asking = tokio::task::JoinSet::new();
    for place in 0..30 {
        let agent = agent.clone();
        let scope = format!("git:acme/payments contents:write ref=agent/x-{place}");
        asking.spawn(async move { agent.requests(&scope).await });
    }
    let (asked, refused): (Vec<_>, Vec<_>) =
        asking.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!((asked.len(), refused.len()), (20, 10));
    let words = refused[0].as_ref().unwrap_err().message().to_owned();
    assert!(words.contains("20 requests of this session wait for people"), "{words}");
    let one = asked[0].as_ref().unwrap().grant.as_ref().unwrap().id.clone();
    broker.client("bo").await.reject(&one, "no").await.unwrap();
    agent.requests(PROD).await.unwrap();
    agent.requests(PROD).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuers_word_makes_approvers_and_only_that_issuers() {
    let issuer = Issuer::new();
    let broker = Broker::start_with(|data| {
        let config = data.join("jetond.toml");
        let text = fs::read_to_string(&config).unwrap();
        let more = format!(
            "\n[[issuer]]\nissuer = \"{ISSUER}\"\naudience = \"jeton\"\nalgorithms = [\"EdDSA\"]\njwks_file = \"jwks.json\"\ngroups_claim = \"groups\"\n[[issuer.map]]\nprincipal = \"person:{{repository}}\"\nkind = \"person\"\n[issuer.map.claims]\nrepository = \"**\"\n"
        );
        fs::write(data.join("jwks.json"), issuer.jwks().to_string()).unwrap();
        fs::write(config, text + &more).unwrap();
        let file = data.join("policies/catalogue.toml");
        let text = fs::read_to_string(&file).unwrap();
        let claimed =
            format!("claimed = [{{ issuer = \"{ISSUER}\", group = \"approvers\" }}]\nquorum = 1");
        fs::write(file, text.replace("quorum = 1", &claimed)).unwrap();
    });
    let (agent, _) = broker.agent_with(&ENVELOPE).await;
    let pending = agent.requests(PROD).await.unwrap().grant.unwrap();
    let as_token = async |groups: Value| {
        let file = broker.data().join("person.jwt");
        fs::write(&file, issuer.token(|claims| claims["groups"] = groups)).unwrap();
        let settings = jeton_client::Settings {
            endpoint: Some(broker.env("JETON_ENDPOINT").to_owned()),
            ca: Some(broker.data().join("tls/ca.pem")),
            identity_token_file: Some(file),
            ..Default::default()
        };
        settings.connect().await.unwrap()
    };
    for groups in
        [value!(["approvers-2"]), value!("approvers"), value!({"approvers": 1}), value!(null)]
    {
        let stranger = as_token(groups.clone()).await;
        let refused = stranger.get_approval(&pending.id).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotFound, "{groups}");
    }
    let approver = as_token(value!(["others", "approvers"])).await;
    let asked = approver.get_approval(&pending.id).await.unwrap();
    let given = approver.approve(&asked, Reach::Once, "").await.unwrap().given;
    assert_eq!(given[0].by, "person:acme/api");
    let claim = jeton_proto::v1::ClaimGrantRequest { id: pending.id };
    let done = agent.grants().claim_grant(claim).await.unwrap().into_inner();
    assert!(done.credential.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_outlives_the_process_and_no_change_of_the_policies() {
    let mut broker = Broker::start();
    let (agent, _) = broker.agent_with(&ENVELOPE).await;
    let kept = agent.requests(PROD).await.unwrap().grant.unwrap();
    let demoted = agent.requests(PROD_TOO).await.unwrap().grant.unwrap();
    let bo = broker.client("bo").await;
    for id in [&kept.id, &demoted.id] {
        let asked = bo.get_approval(id).await.unwrap();
        bo.approve(&asked, Reach::Once, "").await.unwrap();
    }
    broker.kill();
    broker.run();
    let handle = agent.handle.clone();
    let mut agent = broker.as_("agent").await;
    agent.handle = handle;
    let claim = |id: &str| jeton_proto::v1::ClaimGrantRequest { id: id.to_owned() };
    let done = agent.grants().claim_grant(claim(&kept.id)).await.unwrap().into_inner();
    assert!(done.credential.is_some(), "nothing was lost");

    // Bo is no approver any more: that is another policy set, and what it said is void.
    catalogue(&broker, |text| text.replace(&format!(", \"{BO}\"]"), "]"));
    reload(&broker);
    let ana = broker.client("ana").await;
    let stale = within(SOON, "the new policies hold", async || {
        ana.get_approval(&demoted.id).await.ok().filter(|asked| asked.stale)
    })
    .await;
    let refused = ana.approve(&stale, Reach::Once, "").await.unwrap_err();
    assert!(refused.to_string().contains("the policies changed"), "{refused}");
    let answer = agent.grants().claim_grant(claim(&demoted.id)).await.unwrap().into_inner();
    assert!(answer.credential.is_none());
    let grant = answer.grant.unwrap();
    assert_eq!(grant.state(), GrantState::Rejected);
    let why = grant.end_reason;
    assert!(why.contains("the policies changed while it waited"), "{why}");
}
