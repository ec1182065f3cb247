//! Emergencies: a named person lifts guards alone, for a short time and loudly, and the next one waits
//! until somebody else has reviewed it.

use std::fs;

use jeton_client::{ApprovalInfo, Client, Emergency, EntryFilter, PageOf, Reach};
use jeton_proto::v1::{GrantState, RequestGrantResponse};
use jeton_tests::broker::{Broker, Caller, scope};
use tonic::Status;

const PROD: &str = "git:acme/payments contents:write ref=agent/fix";
const PROD_TOO: &str = "git:acme/payments contents:write ref=agent/other";
const DEEP: &str = "git:acme/payments contents:write ref=agent/deep/fix";
const ENVELOPE: [&str; 1] = ["git:acme/* contents:read,contents:write"];
/// Security takes two here, and one is asleep.
const NIGHT: &str = r#"
[[break_glass]]
name = "night"
members = ["spiffe://dev.jeton.local/person/ana", "spiffe://dev.jeton.local/agent/build-42"]
lifts = ["security"]
within = ["git:acme/payments contents:write ref=agent/*"]
seconds = 1200
grants = 2
reviewed_by = "security"
"#;

fn broker() -> Broker {
    Broker::start_with(|data| {
        let file = data.join("policies/catalogue.toml");
        let text = fs::read_to_string(&file).unwrap().replace("quorum = 1", "quorum = 2");
        fs::write(file, text + NIGHT).unwrap();
    })
}

async fn asked(agent: &Caller, person: &Client, what: &str) -> ApprovalInfo {
    let pending = agent.requests(what).await.unwrap().grant.unwrap();
    assert_eq!(pending.state(), GrantState::Pending);
    person.get_approval(&pending.id).await.unwrap()
}

fn emergency(reason: &str) -> Emergency {
    Emergency { glass: None, ttl: None, reason: reason.into() }
}

fn lives(granted: &RequestGrantResponse) -> i64 {
    let grant = granted.grant.as_ref().unwrap();
    let at = |time: &Option<prost_types::Timestamp>| time.as_ref().unwrap().seconds;
    at(&grant.expire_time) - at(&grant.request_time)
}

fn state(outcome: Result<RequestGrantResponse, Status>) -> GrantState {
    outcome.unwrap().grant.unwrap().state()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_named_goes_alone_once_and_the_next_waits_for_a_review() {
    let broker = broker();
    let (agent, session) = broker.agent_with(&ENVELOPE).await;
    let (ana, bo) = (broker.client("ana").await, broker.client("bo").await);
    let question = asked(&agent, &ana, PROD).await;
    let stranger = broker.client("audrey").await;
    let refused = stranger.break_glass(&question, emergency("me too")).await.unwrap_err();
    assert_eq!(refused.to_string(), "you are named for no emergency");
    let silent = ana.break_glass(&question, emergency(" ")).await.unwrap_err();
    assert!(silent.to_string().contains("say what the emergency is"), "{silent}");
    let mut other = question.clone();
    other.request_hash = "0".repeat(64);
    let refused = ana.break_glass(&other, emergency("x")).await.unwrap_err();
    assert!(refused.to_string().contains("what you were shown is not what is asked"), "{refused}");

    let lifted = ana.break_glass(&question, emergency("nobody can pay")).await.unwrap();
    assert_eq!(lifted.given.len(), 1);
    let id = question.grant.id.clone();
    let claimed = broker_claims(&agent, &id).await;
    assert_eq!(claimed.grant.as_ref().unwrap().state(), GrantState::Active);
    assert!(lives(&claimed) <= 1200, "it ends with the emergency: {}", lives(&claimed));
    let more = agent.requests(PROD_TOO).await;
    assert_eq!(state(more), GrantState::Active, "the second of two");
    assert_eq!(state(agent.requests(PROD_TOO).await), GrantState::Pending, "they are used up");

    // Nobody has looked at it yet: not ana herself, and there is no next one.
    let next = asked(&agent, &ana, "git:acme/payments contents:write ref=agent/third").await;
    let refused = ana.break_glass(&next, emergency("again")).await.unwrap_err();
    assert!(refused.to_string().contains("is not reviewed yet"), "{refused}");
    let open = bo.list_unreviewed().await.unwrap();
    assert_eq!((open.len(), open[0].reason.as_str()), (1, "nobody can pay"));
    let entry = open[0].entry;
    let own = ana.review_emergency(entry, true, "fine").await.unwrap_err();
    assert!(own.to_string().contains("it was yours"), "{own}");
    assert!(stranger.review_emergency(entry, true, "fine").await.is_err(), "not of the group");
    bo.review_emergency(entry, false, "it could have waited").await.unwrap();
    assert!(bo.list_unreviewed().await.unwrap().is_empty());
    ana.break_glass(&next, emergency("again")).await.unwrap();

    let told = |event: &str| EntryFilter {
        event: Some(event.into()),
        session: (event == "glass_broken").then(|| session.id.clone()),
        ..Default::default()
    };
    let broken =
        stranger.list_entries(told("glass_broken"), true, PageOf::default()).await.unwrap();
    assert_eq!(broken.items.len(), 2);
    let reviewed = stranger.list_entries(told("glass_reviewed"), true, PageOf::default()).await;
    let line = &reviewed.unwrap().items[0].text;
    assert!(line.contains("\"justified\":false") && line.contains("person/bo"), "{line}");
    let metrics = reqwest::get(format!("{}/metrics", broker.env("JETON_ADMIN"))).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains("jeton_glass_broken_total 2"), "{metrics}");
    assert!(broker.log().contains("lifted guards alone"), "it is loud");
}

async fn broker_claims(agent: &Caller, id: &str) -> RequestGrantResponse {
    let request = jeton_proto::v1::ClaimGrantRequest { id: id.to_owned() };
    let claimed = agent.grants().claim_grant(request).await.unwrap().into_inner();
    RequestGrantResponse { grant: claimed.grant, credential: claimed.credential }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emergency_opens_no_more_than_is_named_and_outlives_a_crash() {
    let mut broker = broker();
    let (agent, _) = broker.agent_with(&ENVELOPE).await;
    let ana = broker.client("ana").await;
    let deep = asked(&agent, &ana, DEEP).await;
    let refused = ana.break_glass(&deep, emergency("x")).await.unwrap_err();
    assert!(refused.to_string().contains("lies outside what `night` opens"), "{refused}");
    let question = asked(&agent, &ana, PROD).await;
    // What no person may lift, no emergency lifts.
    assert!(agent.requests("git:acme/payments contents:write ref=main").await.is_err());
    // The agent is named too, but may not go alone for itself.
    let own = broker.client("agent").await;
    let refused = own.break_glass(&question, emergency("x")).await.unwrap_err();
    assert!(refused.to_string().contains("you are the agent that asks"), "{refused}");

    // She may have approved it with others before; that does not keep her from going alone.
    ana.approve(&question, Reach::Once, "").await.unwrap();
    ana.break_glass(&question, emergency("bo sleeps")).await.unwrap();
    broker.kill();
    broker.run();
    let ana = broker.client("ana").await;
    assert_eq!(ana.list_unreviewed().await.unwrap().len(), 1, "it is open over a restart");
    let handle = agent.handle.clone();
    let mut agent = broker.as_("agent").await;
    agent.handle = handle;
    let claimed = broker_claims(&agent, &question.grant.id).await;
    assert!(claimed.credential.is_some(), "and so is what it lifted");
    let within = scope(PROD_TOO);
    assert_eq!(state(agent.requests(PROD_TOO).await), GrantState::Active, "{within:?}");
}
