//! Live grants and policies that changed: found, and taken back where that is wanted.

use std::{fs, process::Command, time::Duration};

use jeton_client::ErrorKind;
use jeton_proto::v1::{GetGrantRequest, GrantState};
use jeton_tests::{
    broker::{Broker, Caller},
    eventually::within,
};

const READ: &str = "git:acme/api contents:read";
const WRITE: &str = "git:acme/api contents:write ref=agent/x";
const SOON: Duration = Duration::from_secs(10);

/// Changes the policies of agents. The broker sees it by itself.
fn narrowed(broker: &Broker) {
    let file = broker.data().join("policies/agents.cedar");
    let text = fs::read_to_string(&file).unwrap();
    let narrow = text.replace("context.ref like \"agent/*\"", "context.ref like \"agent/safe/*\"");
    assert_ne!(text, narrow);
    fs::write(&file, narrow).unwrap();
}

async fn granted(agent: &Caller, scope: &str) -> String {
    agent.requests(scope).await.unwrap().grant.unwrap().id
}

async fn state(broker: &Broker, id: &str) -> GrantState {
    let operator = broker.as_("ana").await;
    let request = GetGrantRequest { id: id.to_owned() };
    operator.grants().get_grant(request).await.unwrap().into_inner().grant.unwrap().state()
}

async fn told(broker: &Broker) -> Vec<String> {
    let filter =
        jeton_client::EntryFilter { event: Some("re_decided".to_owned()), ..Default::default() };
    let page = jeton_client::PageOf { size: 50, token: None };
    let found = broker.client("audrey").await.list_entries(filter, true, page).await.unwrap();
    found.items.into_iter().map(|entry| entry.line).collect()
}

fn configured(live_grants: &str) -> Broker {
    Broker::start_with(|data| {
        let file = data.join("jetond.toml");
        let text = fs::read_to_string(&file).unwrap();
        let wanted = format!("folder = \"policies\"\nlive_grants = \"{live_grants}\"");
        fs::write(&file, text.replace("folder = \"policies\"", &wanted)).unwrap();
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_new_policies_would_not_give_is_told_and_taken_back_by_an_operator() {
    let broker = configured("report");
    let (agent, _) = broker.agent_with(&["git:acme/* contents:read,contents:write"]).await;
    let (keeps, loses) = (granted(&agent, READ).await, granted(&agent, WRITE).await);
    let ana = broker.client("ana").await;
    let found = ana.re_decide(false).await.unwrap();
    assert_eq!((found.lost.len(), found.looked_at), (0, 2));

    narrowed(&broker);
    let entry = async || told(&broker).await.into_iter().next();
    let line = within(SOON, "the broker tells of it", entry).await;
    assert!(line.contains("of 2 grants 1 would not be given any more, 0 taken back"), "{line}");
    assert_eq!(state(&broker, &loses).await, GrantState::Active, "it only tells");

    let seen = broker.client("audrey").await.re_decide(false).await.unwrap();
    let [lost] = seen.lost.as_slice() else { panic!("{seen:?}") };
    assert_eq!((lost.grant.id.as_str(), lost.layer.as_str()), (loses.as_str(), "policy"));
    let refused = broker.client("audrey").await.re_decide(true).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied);
    let refused = broker.client("agent").await.re_decide(false).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied);

    let tls = broker.data().join("tls");
    let output = Command::new(jeton_tests::broker::program("jeton"))
        .args(["grant", "re-decide", "--revoke"])
        .envs(broker.envs().iter().cloned())
        .env("JETON_CERT", tls.join("ana.pem"))
        .env("JETON_KEY", tls.join("ana.key"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains(&loses) && text.contains("they are taken back"), "{text}");
    assert_eq!(state(&broker, &loses).await, GrantState::Revoked);
    assert_eq!(state(&broker, &keeps).await, GrantState::Active);
    let found = ana.re_decide(true).await.unwrap();
    assert_eq!((found.lost.len(), found.looked_at), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_configured_new_policies_take_back_by_themselves_also_after_a_restart() {
    let mut broker = configured("revoke");
    let (agent, _) = broker.agent_with(&["git:acme/* contents:read,contents:write"]).await;
    let (keeps, loses) = (granted(&agent, READ).await, granted(&agent, WRITE).await);
    narrowed(&broker);
    let gone = async || (state(&broker, &loses).await == GrantState::Revoked).then_some(());
    within(SOON, "it is taken back", gone).await;
    assert_eq!(state(&broker, &keeps).await, GrantState::Active);

    // An agent that leaves the catalogue while no broker runs.
    assert_eq!(broker.stop(), Some(0));
    let file = broker.data().join("policies/catalogue.toml");
    let text = fs::read_to_string(&file).unwrap();
    let left = text.replace("dev.jeton.local/agent/**", "dev.jeton.local/nobody/**");
    assert_ne!(text, left, "{text}");
    fs::write(&file, left).unwrap();
    broker.run();
    let gone = async || (state(&broker, &keeps).await == GrantState::Revoked).then_some(());
    within(SOON, "it is taken back after the start", gone).await;
}
