//! Hearing of what was taken back, over real gRPC, against a real `jetond` process.

use std::time::{Duration, Instant};

use jeton_client::{ErrorKind, Revocations, Settings};
use jeton_proto::v1::{
    CloseSessionRequest, ReleaseGrantRequest, RequestGrantRequest, RevokeGrantRequest,
    RevokeMatchingRequest, revoke_matching_request::Matching,
};
use jeton_tests::{
    broker::{Broker, Caller, scope},
    eventually::within,
};

const READ: &str = "git:acme/api contents:read";
const SOON: Duration = Duration::from_secs(1);

async fn granted(agent: &Caller) -> String {
    agent.requests(READ).await.unwrap().grant.unwrap().id
}

async fn revoke(broker: &Broker, id: &str) {
    let request = RevokeGrantRequest { id: id.into(), ..Default::default() };
    broker.as_("ana").await.grants().revoke_grant(request).await.unwrap();
}

/// Listens until a grant is told, and gives all that was told up to it.
async fn until(stream: &mut Revocations, id: &str) -> Vec<String> {
    let mut told = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !told.iter().any(|grant| grant == id) {
        assert!(Instant::now() < deadline, "{id} was never told, only {told:?}");
        let word = stream.next().await.unwrap().expect("the stream goes on");
        told.extend(word.ended.into_iter().map(|ended| ended.grant));
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_server_hears_at_once_of_each_way_to_end_early() {
    let mut broker = Broker::start();
    let (agent, session) = broker.agent_with(&["git:acme/* contents:read"]).await;
    let host = broker.client("git-host").await;
    let early = granted(&agent).await;
    revoke(&broker, &early).await;

    let mut stream = host.watch_revocations(0).await.unwrap();
    assert_eq!(
        until(&mut stream, &early).await,
        std::slice::from_ref(&early),
        "what ended before is told first"
    );

    let (revoked, released) = (granted(&agent).await, granted(&agent).await);
    let began = Instant::now();
    revoke(&broker, &revoked).await;
    until(&mut stream, &revoked).await;
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let release = ReleaseGrantRequest { id: released.clone() };
    agent.grants().release_grant(release).await.unwrap();
    until(&mut stream, &released).await;
    let last = granted(&agent).await;
    let close = CloseSessionRequest { id: session.id, ..Default::default() };
    agent.sessions().close_session(close).await.unwrap();
    until(&mut stream, &last).await;

    // After a restart the same is told again, from wherever somebody stood.
    assert_eq!(broker.stop(), Some(0));
    broker.run();
    let host = broker.client("git-host").await;
    let mut again = host.watch_revocations(0).await.unwrap();
    let told = until(&mut again, &last).await;
    assert_eq!(told, [early, revoked, released, last]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_where_it_stood_and_says_a_word_each_second() {
    let broker = Broker::start();
    let (agent, _) = broker.agent_with(&["git:acme/* contents:read"]).await;
    let host = broker.client("git-host").await;
    let first = granted(&agent).await;
    revoke(&broker, &first).await;
    let mut stream = host.watch_revocations(0).await.unwrap();
    let word = stream.next().await.unwrap().unwrap();
    assert!(word.caught_up);
    assert_eq!((word.ended.len(), &word.ended[0].grant), (1, &first));
    drop(stream);
    let missed: Vec<String> = [granted(&agent).await, granted(&agent).await].into();
    for id in &missed {
        revoke(&broker, id).await;
    }
    let mut stream = host.watch_revocations(word.next).await.unwrap();
    assert_eq!(until(&mut stream, &missed[1]).await, missed, "nothing twice, nothing skipped");

    let mut silent = Duration::ZERO;
    let mut last = Instant::now();
    for _ in 0..4 {
        let word = stream.next().await.unwrap().unwrap();
        assert!(word.ended.is_empty());
        silent = silent.max(last.elapsed());
        last = Instant::now();
    }
    assert!(silent < Duration::from_secs(3), "{silent:?}");
    let beyond = host.watch_revocations(1_000_000).await.err().unwrap();
    assert_eq!(beyond.kind(), ErrorKind::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dead_by_itself_is_forgotten() {
    let broker = Broker::start();
    let (agent, _) = broker.agent_with(&["git:acme/* contents:read"]).await;
    let host = broker.client("git-host").await;
    let request =
        RequestGrantRequest { scope: Some(scope(READ)), ttl_seconds: 2, ..Default::default() };
    let short = agent.grants().request_grant(request).await.unwrap().into_inner().grant.unwrap().id;
    revoke(&broker, &short).await;
    let first = async || {
        let mut stream = host.watch_revocations(0).await.unwrap();
        stream.next().await.unwrap().unwrap().ended
    };
    assert_eq!(first().await.len(), 1);
    let nothing = async || first().await.is_empty().then_some(());
    within(Duration::from_secs(30), "it is forgotten", nothing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_hears_of_its_own_and_strangers_of_nothing() {
    let broker = Broker::start();
    let (agent, session) = broker.agent_with(&["git:acme/* contents:read"]).await;
    let (other, _) = broker.agent_with(&["git:acme/* contents:read"]).await;
    let stranger = broker.client("agent-2").await;
    let refused = stranger.watch_revocations(0).await.err().unwrap();
    assert!(refused.to_string().contains("role verifier"), "{refused}");

    let (own, foreign) = (granted(&agent).await, granted(&other).await);
    revoke(&broker, &foreign).await;
    revoke(&broker, &own).await;
    let mut settings = client_settings(&broker);
    settings.handle = agent.handle.clone().map(jeton_client::Secret::new);
    let holder = settings.connect().await.unwrap();
    let mut stream = holder.watch_revocations(0).await.unwrap();
    assert_eq!(until(&mut stream, &own).await, [own]);

    // The stream of a session ends with it, within a second.
    let matching = Some(Matching::Session(session.id));
    let request = RevokeMatchingRequest { matching, ..Default::default() };
    broker.as_("ana").await.grants().revoke_matching(request).await.unwrap();
    let began = Instant::now();
    while let Ok(Some(_)) = stream.next().await {}
    assert!(began.elapsed() < SOON + SOON / 2, "{:?}", began.elapsed());
}

fn client_settings(broker: &Broker) -> Settings {
    let file = |name: &str| Some(broker.data().join("tls").join(name));
    Settings {
        endpoint: Some(broker.env("JETON_ENDPOINT").to_owned()),
        ca: file("ca.pem"),
        certificate: file("agent.pem"),
        key: file("agent.key"),
        ..Settings::default()
    }
}
