//! Budgets: how many grants, how often and how many at once, counted in the commit that records them.

use std::{
    fs,
    process::{Command, Output},
};

use jeton_client::{EntryFilter, PageOf, Reach};
use jeton_proto::v1::{
    GrantState, ListBudgetsRequest, ReleaseGrantRequest, RequestGrantResponse,
    open_session_request::Binding,
};
use jeton_tests::broker::{Broker, Caller, opening, program};
use tonic::{Code, Status};
use tonic_types::StatusExt;

const READ: &str = "git:acme/api contents:read";
const OTHER: &str = "git:acme/web contents:read";
const PROD: &str = "git:acme/payments contents:write ref=agent/fix";
const ALL: &str = "git:acme/* contents:read,contents:write";

/// A broker whose catalogue has these budgets too.
fn with(budgets: &str) -> Broker {
    Broker::start_with(|data| {
        let file = data.join("policies/catalogue.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(file, format!("{text}\n{budgets}")).unwrap();
    })
}

fn words(outcome: Result<RequestGrantResponse, Status>) -> String {
    let status = outcome.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().metadata["layer"], "budget");
    status.message().to_owned()
}

/// Somebody with the handle of a session.
async fn holding(broker: &Broker, who: &str, handle: Option<String>) -> Caller {
    let mut caller = broker.as_(who).await;
    caller.handle = handle;
    caller
}

async fn release(agent: &Caller, granted: &RequestGrantResponse) {
    let id = granted.grant.as_ref().unwrap().id.clone();
    agent.grants().release_grant(ReleaseGrantRequest { id }).await.unwrap();
}

fn jeton(broker: &Broker, agent: &Caller, arguments: &[&str]) -> Output {
    let tls = broker.data().join("tls");
    Command::new(program("jeton"))
        .envs(broker.envs().iter().cloned())
        .env("JETON_CERT", tls.join("agent.pem"))
        .env("JETON_KEY", tls.join("agent.key"))
        .env("JETON_SESSION", agent.handle.as_ref().unwrap())
        .args(arguments)
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_race_has_more_grants_live_at_once_than_a_budget_allows() {
    let broker = with("[[budget]]\nname = \"few\"\nper = \"agent\"\nat_once = 3\n");
    let (agent, _) = broker.agent_with(&[ALL]).await;
    let tried = (0..40).map(|_| {
        let agent = agent.clone();
        tokio::spawn(async move { agent.requests(READ).await })
    });
    let mut granted = Vec::new();
    for one in tried.collect::<Vec<_>>() {
        match one.await.unwrap() {
            Ok(one) => granted.push(one),
            Err(status) => {
                assert!(words(Err(status)).contains("`few` allows 3 live grants at once"))
            }
        }
    }
    assert_eq!(granted.len(), 3);
    release(&agent, &granted[0]).await;
    agent.requests(OTHER).await.unwrap();
    words(agent.requests(OTHER).await);

    let log = broker.client("audrey").await;
    let filter = EntryFilter { event: Some("denied".into()), ..Default::default() };
    let page = log.list_entries(filter, false, PageOf::default()).await.unwrap();
    assert_eq!(page.items.len(), 38, "each refusal is told in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_began_counts_over_a_crash_and_through_all_that_was_passed_on() {
    let budgets = "[[budget]]\nname = \"slow\"\nper = \"agent\"\nagent = \"spiffe://**/build-*\"\n\
        actions = [\"contents:read\"]\ngrants = 4\nseconds = 3600\n";
    let mut broker = with(budgets);
    let (agent, session) = broker.agent_with(&[ALL]).await;
    for _ in 0..2 {
        let granted = agent.requests(READ).await.unwrap();
        release(&agent, &granted).await;
    }
    let mut request = opening(&[ALL]);
    request.parent = session.id.clone();
    request.agent = "spiffe://dev.jeton.local/agent/other".into();
    request.binding = Some(Binding::CertificateSha256(broker.thumbprint("agent-2")));
    let below = agent.sessions().open_session(request).await.unwrap().into_inner();
    let other = holding(&broker, "agent-2", Some(below.handle)).await;
    other.requests(READ).await.unwrap();
    broker.kill();
    broker.run();

    let handle = agent.handle.clone();
    let agent = holding(&broker, "agent", handle).await;
    agent.requests(READ).await.unwrap();
    let refused = words(agent.requests(READ).await);
    let named = "the budget `slow` allows 4 grants in 3600 s for the agent `spiffe://dev.jeton.local/agent/build-42`, and they are spent; the next one may begin in ";
    assert!(refused.starts_with(named), "{refused}");
    let other = holding(&broker, "agent-2", other.handle.clone()).await;
    assert!(
        words(other.requests(OTHER).await).starts_with(named),
        "it was passed on by that agent"
    );

    let told = jeton(&broker, &agent, &["grant", "budgets", READ]);
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("envelope") && told.contains("slow"), "{told}");
    assert!(told.contains("4 of 4 in 60m"), "{told}");
    let told = jeton(&broker, &agent, &["grant", "budgets", READ, "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(
        (&told["grants_used"], &told["budgets"][0]["live"]),
        (&4.into(), &2.into()),
        "{told}"
    );
    agent.requests("git:acme/api contents:write ref=agent/x").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_for_what_a_budget_would_refuse() {
    let broker = with(
        "[[budget]]\nname = \"one\"\nper = \"resource\"\nresource = \"acme/payments\"\nat_once = 1\n",
    );
    let (agent, _) = broker.agent_with(&[ALL]).await;
    let pending = agent.requests(PROD).await.unwrap();
    assert_eq!(
        pending.grant.as_ref().unwrap().state(),
        GrantState::Pending,
        "what waits opens nothing"
    );
    let read = agent.requests("git:acme/payments contents:read").await.unwrap();
    let refused = words(agent.requests(PROD).await);
    assert!(refused.contains("for the resource `git:acme/payments`"), "{refused}");
    let bo = broker.client("bo").await;
    let asked = bo.list_approvals().await.unwrap();
    assert_eq!(asked.len(), 1, "the first, that was asked while there was room");

    // It was approved, but there is no room now; it keeps its approval, and is claimed later.
    let id = asked[0].grant.id.clone();
    bo.approve(&asked[0], Reach::Once, "").await.unwrap();
    let own = jeton(&broker, &agent, &["grant", "claim", &id, "--show-secret"]);
    let told = String::from_utf8_lossy(&own.stderr).into_owned();
    assert!(!own.status.success() && told.contains("the budget `one`"), "{told}");
    release(&agent, &read).await;
    let own = jeton(&broker, &agent, &["grant", "claim", &id, "--show-secret"]);
    assert!(own.status.success(), "{own:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_outside_the_envelope_are_shown_to_operators_and_auditors_alone() {
    let broker = with(
        "[[budget]]\nname = \"prod\"\nper = \"resource\"\nresource = \"acme/payments\"\nat_once = 5\n",
    );
    let (busy, _) = broker.agent_with(&["git:acme/payments contents:read"]).await;
    busy.requests("git:acme/payments contents:read").await.unwrap();
    let lines = ["git:acme/api contents:read", "git:acme/api contents:write ref=agent/*"];
    let (agent, session) = broker.agent_with(&lines).await;
    let asks = async |caller: &Caller, text: &str, session: &str| {
        let scope = Some(jeton_tests::broker::scope(text));
        let request = ListBudgetsRequest { session: session.to_owned(), scope };
        caller.grants().list_budgets(request).await.map(|told| told.into_inner().budgets)
    };
    let orchestrator = broker.as_("orchestrator").await;
    for text in [
        "git:acme/payments contents:read",
        "git:acme/api contents:admin",
        "orders:acme/live orders:read",
        "git:other/api contents:read",
    ] {
        for (caller, session) in [(&agent, ""), (&orchestrator, session.id.as_str())] {
            let refused = asks(caller, text, session).await.unwrap_err();
            assert_eq!(refused.code(), Code::PermissionDenied, "{text}");
            assert!(!format!("{refused:?}").contains("prod"), "{refused:?}");
        }
    }
    for text in ["git:acme/api contents:read", "git:acme/api contents:write"] {
        assert!(asks(&agent, text, "").await.unwrap().is_empty(), "{text}");
    }
    let ana = broker.as_("ana").await;
    let told = asks(&ana, "git:acme/payments contents:read", &session.id).await.unwrap();
    assert_eq!((told[0].name.as_str(), told[0].live), ("prod", 1));
}
