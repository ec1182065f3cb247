//! A CI job without a certificate: its identity token names it, its key proves it.

use std::time::Duration;

use jeton_client::{Binding, DpopKey, ErrorKind, OpenSession, ScopeBound, Settings};
use jeton_tests::{
    broker::Broker,
    eventually::within,
    issuer::{ISSUER, Issuer, broker},
};
use serde_json::json;

fn settings(broker: &Broker, token: &str) -> Settings {
    jeton_tests::crypto();
    let file = broker.data().join("token.jwt");
    std::fs::write(&file, token).unwrap();
    Settings {
        endpoint: Some(broker.env("JETON_ENDPOINT").to_owned()),
        ca: Some(broker.data().join("tls/ca.pem")),
        identity_token_file: Some(file),
        ..Settings::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_opens_its_own_session_with_its_token_and_works_with_its_key() {
    let issuer = Issuer::new();
    let broker = broker(&issuer);
    let client = settings(&broker, &issuer.token(|_| {})).connect().await.unwrap();
    let who = client.who_am_i().await.unwrap();
    assert_eq!((who.principal.as_str(), who.authenticated_by.as_str()), ("ci/acme/api", "oidc"));

    let key = DpopKey::generate().unwrap();
    let file = broker.data().join("session.json");
    let opening = OpenSession {
        agent: "ci/acme/api".into(),
        person: None,
        task: "build".into(),
        allow: vec![ScopeBound::parse("git:acme/* contents:read").unwrap()],
        max_grants: 5,
        max_grant_ttl: Duration::from_secs(300),
        ttl: Duration::from_secs(600),
        binding: Binding::Key(key),
        parent: None,
    };
    let opened = client.open_session(&opening).await.unwrap();
    let Binding::Key(key) = opening.binding else { unreachable!() };
    jeton_client::session_file::write(&file, &opened, Some(&key)).unwrap();

    let agent = Settings { session_file: Some(file), ..settings(&broker, &issuer.token(|_| {})) };
    let session = agent.connect().await.unwrap().session().await.unwrap();
    assert!(session.credential("git:acme/api contents:read").await.is_ok());
    let refused = session.credential("git:acme/api contents:write").await.map(drop).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rests_on_the_word_of_a_removed_issuer_is_found_and_taken_back() {
    let issuer = Issuer::new();
    let mut broker = broker(&issuer);
    let opener = settings(&broker, &issuer.token(|_| {})).connect().await.unwrap();
    // The agent itself has a certificate: it goes on without the issuer.
    let opening = OpenSession {
        agent: "ci/acme/api".into(),
        person: None,
        task: "build".into(),
        allow: vec![ScopeBound::parse("git:acme/* contents:read").unwrap()],
        max_grants: 5,
        max_grant_ttl: Duration::from_secs(600),
        ttl: Duration::from_secs(600),
        binding: Binding::CertificateFile(broker.data().join("tls/agent.pem")),
        parent: None,
    };
    let opened = opener.open_session(&opening).await.unwrap();
    assert_eq!(opened.session.issuers, [ISSUER]);
    let mut agent = broker.as_("agent").await;
    agent.handle = Some(opened.handle.expose().to_owned());
    let grant = agent.requests("git:acme/api contents:read").await.unwrap().grant.unwrap().id;

    assert_eq!(broker.stop(), Some(0));
    let file = broker.data().join("jetond.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let at = text.find("[[issuer]]").unwrap();
    let kept = text[..at]
        .replace("folder = \"policies\"", "folder = \"policies\"\nlive_grants = \"revoke\"");
    std::fs::write(&file, kept).unwrap();
    broker.run();
    let handle = agent.handle;
    let mut agent = broker.as_("agent").await;
    agent.handle = handle;
    let refused = agent.requests("git:acme/api contents:read").await.unwrap_err();
    assert!(refused.message().contains("counts no more"), "{}", refused.message());
    let operator = broker.client("ana").await;
    let revoked = async || {
        let found = operator.get_grant(&grant).await.unwrap();
        (found.state == "revoked").then_some(found.reason)
    };
    within(Duration::from_secs(10), "it is taken back after the start", revoked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_exactly_right_names_nobody() {
    let issuer = Issuer::new();
    let broker = broker(&issuer);
    let now = jeton_tests::now().as_second();
    let other = Issuer::new();
    for (what, token) in [
        ("another audience", issuer.token(|claims| claims["aud"] = json!("jeton-2"))),
        ("another issuer", issuer.token(|claims| claims["iss"] = json!(format!("{ISSUER}/")))),
        ("expired", issuer.token(|claims| claims["exp"] = json!(now - 30))),
        ("not yet valid", issuer.token(|claims| claims["nbf"] = json!(now + 60))),
        ("an end as text", issuer.token(|claims| claims["exp"] = json!((now + 60).to_string()))),
        ("another repository", issuer.token(|claims| claims["repository"] = json!("evil/api"))),
        ("a deeper repository", issuer.token(|claims| claims["repository"] = json!("acme/api/x"))),
        ("another branch", issuer.token(|claims| claims["ref"] = json!("refs/heads/main-x"))),
        ("another key", other.token(|_| {})),
    ] {
        let client = settings(&broker, &token).connect().await.unwrap();
        let refused = client.who_am_i().await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unauthenticated, "{what}: {refused}");
    }
}
