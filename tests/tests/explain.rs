//! What would be answered, asked of a broker: the same as by a folder for those who see everything, and
//! of a session what it would get itself. Nothing comes of asking.

use std::process::{Command, Output};

use jeton_client::{Client, EntryFilter, PageOf, PolicyQuestion, Reach, Scope};
use jeton_proto::v1::{
    Page, RevokeMatchingRequest, SurveyRequest, revoke_matching_request::Matching,
};
use jeton_tests::broker::{AGENT, Broker, program};
use serde_json::Value;

const READ: &str = "git:acme/api contents:read";
const WRITE: &str = "git:acme/api contents:write ref=agent/x";
const PROD: &str = "git:acme/payments contents:write ref=agent/x";

fn policy(broker: &Broker, (who, handle): (&str, Option<&str>), words: &[&str]) -> Output {
    let tls = broker.data().join("tls");
    let mut command = Command::new(program("jeton"));
    command
        .args([&["--json", "policy"], words].concat())
        .envs(broker.envs().iter().cloned())
        .env("JETON_CERT", tls.join(format!("{who}.pem")))
        .env("JETON_KEY", tls.join(format!("{who}.key")));
    if let Some(handle) = handle {
        command.env("JETON_SESSION", handle);
    }
    command.output().unwrap()
}

fn told(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&text).unwrap()
}

/// The words of a refusal.
fn refused(output: &Output) -> String {
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    let value: Value = serde_json::from_str(&text).unwrap();
    value["error"]["message"].as_str().unwrap().to_owned()
}

async fn size(client: &Client) -> usize {
    let page = PageOf { size: 500, token: None };
    let found = client.list_entries(EntryFilter::default(), true, page).await.unwrap();
    found.items.iter().filter(|entry| entry.event != "log_read").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_answers_as_the_folder_that_it_has_in_force() {
    let broker = Broker::start();
    let folder = broker.data().join("policies");
    let folder = folder.to_str().unwrap();
    let questions: [&[&str]; 6] = [
        &["git:acme/api contents:write ref=main", "--agent", AGENT],
        &[WRITE, "--agent", AGENT, "--ttl", "5m"],
        &[PROD, "--agent", AGENT],
        &[PROD, "--agent", AGENT, "--approved-by", "security"],
        &["orders:acme/live orders:write", "--agent", AGENT, "--person", "spiffe://a/ana"],
        &[READ, "--agent", "spiffe://a/other", "--delegator", AGENT],
    ];
    for who in ["audrey", "ana"] {
        let ask = |verb: &str, words: &[&str]| {
            let offline = [&[verb, folder], words].concat();
            let online = [&[verb], words].concat();
            let offline = told(&policy(&broker, (who, None), &offline));
            assert_eq!(told(&policy(&broker, (who, None), &online)), offline, "{words:?}");
            offline
        };
        let answers = questions.map(|words| ask("explain", words)["answer"].clone());
        assert_eq!(answers, ["deny", "allow", "needs approval", "allow", "needs approval", "deny"]);
        assert!(ask("can", &["--agent", AGENT]).as_array().unwrap().len() > 10);
        assert_eq!(ask("who", &[READ]).as_array().unwrap().len(), 2);
    }
    let whole = broker.client("audrey").await.may(Some(AGENT), None, None).await.unwrap();
    let (mut rows, mut token) = (Vec::new(), String::new());
    loop {
        let page = Some(Page { size: 3, token });
        let ask = SurveyRequest { agent: AGENT.into(), page, ..Default::default() };
        let page = broker.as_("audrey").await.policies().survey(ask).await.unwrap().into_inner();
        assert!((1..=3).contains(&page.rows.len()));
        rows.extend(page.rows.into_iter().map(|row| row.scope.unwrap().actions));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let actions = |row: &jeton_client::PolicyRow| {
        let scope = Scope::parse(&row.scope).unwrap();
        scope.actions.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(rows, whole.iter().map(actions).collect::<Vec<_>>(), "page by page it is the same");

    for who in ["agent", "orchestrator", "git-host", "bo"] {
        for words in [&["explain", READ, "--agent", AGENT][..], &["can"], &["who", READ]] {
            let words = refused(&policy(&broker, (who, None), words));
            assert!(words.contains("needs the role operator or auditor, or the handle"), "{words}");
        }
    }
    let unnamed = refused(&policy(&broker, ("ana", None), &["can"]));
    assert_eq!(unnamed, "agent: it is missing; say whom you ask about");
    let unnamed = refused(&policy(&broker, ("ana", None), &["can", folder]));
    assert_eq!(unnamed, "a folder knows no session; name the agent by --agent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_hears_what_it_would_get_itself_and_nothing_comes_of_it() {
    let broker = Broker::start();
    let envelope = ["git:acme/api contents:write ref=agent/*", "orders:acme/* orders:read"];
    let (agent, session) = broker.agent_with(&envelope).await;
    let me = ("agent", agent.handle.as_deref());
    let explain = |scope: &str| told(&policy(&broker, me, &["explain", scope]));
    let audrey = broker.client("audrey").await;
    let before = size(&audrey).await;

    let answer = explain(WRITE);
    assert_eq!((&answer["answer"], &answer["ttl_seconds"]), (&"allow".into(), &900.into()));
    assert_eq!(answer["policies"], serde_json::json!(["builders-write-code"]));
    let answer = explain("git:acme/api contents:write");
    assert_eq!((&answer["answer"], &answer["layer"]), (&"deny".into(), &"envelope".into()));
    assert_eq!(answer["instead"][0], "git:acme/api contents:write ref=agent/*");
    assert_eq!(explain(READ)["answer"], "allow", "whoever may write to some refs may read all");
    assert_eq!(
        told(&policy(&broker, me, &["explain", WRITE, "--agent", AGENT]))["answer"],
        "allow"
    );
    let question = PolicyQuestion::new(Scope::parse(PROD).unwrap());
    let handle = jeton_client::Secret::new(agent.handle.clone().unwrap());
    let own = broker.client("agent").await.with_handle(handle, None);
    let answers = own.explain(question).await.unwrap();
    let [answer] = answers.as_slice() else { panic!("{answers:?}") };
    assert_eq!((answer.answer.as_str(), answer.layer.as_deref()), ("deny", Some("envelope")));

    // What it may do: what its envelope holds, and nothing else that the catalogue lists.
    let rows = own.may(None, None, None).await.unwrap();
    let rows: Vec<_> =
        rows.iter().map(|row| (row.scope.as_str(), row.answer.answer.as_str())).collect();
    assert_eq!(
        rows,
        [
            ("git:acme/api contents:write ref=agent/*", "allow"),
            ("orders:acme/any-other orders:read", "allow"),
            ("orders:acme/live orders:read", "allow"),
        ]
    );

    for words in [
        &["explain", WRITE, "--agent", "spiffe://dev.jeton.local/agent/review-7"][..],
        &["explain", WRITE, "--person", "spiffe://dev.jeton.local/person/ana"],
        &["explain", WRITE, "--approved-by", "security"],
        &["explain", WRITE, "--delegator", AGENT],
        &["can", "--agent", "spiffe://dev.jeton.local/agent/review-7"],
        &["can", "--person", "spiffe://dev.jeton.local/person/ana"],
        &["who", WRITE],
    ] {
        let refused = refused(&policy(&broker, me, words));
        assert!(refused.contains("you ask about yourself alone"), "{words:?}: {refused}");
    }

    let ana = broker.as_("ana").await;
    let stop = RevokeMatchingRequest {
        matching: Some(Matching::Resource("git:acme/api".into())),
        reason: "look first".into(),
        stop: true,
        ..Default::default()
    };
    assert_eq!(size(&audrey).await, before, "nothing is recorded, so nothing was granted");
    ana.grants().revoke_matching(stop).await.unwrap();
    let answer = explain(WRITE);
    assert_eq!((&answer["answer"], &answer["layer"]), (&"deny".into(), &"stop".into()), "{answer}");
    let grants = own.list_grants(jeton_client::GrantFilter::default(), PageOf::default()).await;
    assert_eq!(grants.unwrap().items.len(), 0);
    let close = jeton_proto::v1::CloseSessionRequest { id: session.id, ..Default::default() };
    ana.sessions().close_session(close).await.unwrap();
    let over = refused(&policy(&broker, me, &["explain", WRITE]));
    assert!(over.contains("opens nothing"), "{over}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_hears_of_approvals_that_it_has_and_of_those_that_it_needs() {
    let broker = Broker::start();
    let (agent, _) = broker.agent_with(&["git:acme/payments contents:write ref=agent/*"]).await;
    let me = ("agent", agent.handle.as_deref());
    let explain = || told(&policy(&broker, me, &["explain", PROD, "--ttl", "10m"]));
    let answer = explain();
    assert_eq!(
        (&answer["answer"], &answer["groups"][0]),
        (&"needs approval".into(), &"security".into())
    );
    let grant = agent.requests(PROD).await.unwrap().grant.unwrap().id;
    let bo = broker.client("bo").await;
    let shown = bo.get_approval(&grant).await.unwrap();
    let reach = Reach::Session { within: None, ttl: None, grants: Some(2) };
    bo.approve(&shown, reach, "").await.unwrap();
    for _ in 0..4 {
        let answer = explain();
        assert_eq!(answer["answer"], "allow", "asking uses no approval up: {answer}");
    }
    agent.requests(PROD).await.unwrap().credential.unwrap();
    agent.requests(PROD).await.unwrap().credential.unwrap();
    assert_eq!(explain()["answer"], "needs approval", "both are used up");
}
