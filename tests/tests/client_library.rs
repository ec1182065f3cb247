//! The client library against a real broker.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use jeton_client::{
    Binding, Client, DpopKey, ErrorKind, OpenSession, ScopeBound, Settings, session_file,
};
use jeton_tests::broker::{AGENT, Broker, program};

fn settings(broker: &Broker, who: &str) -> Settings {
    let tls = broker.data().join("tls");
    Settings {
        endpoint: Some(broker.env("JETON_ENDPOINT").to_owned()),
        ca: Some(tls.join("ca.pem")),
        certificate: Some(tls.join(format!("{who}.pem"))),
        key: Some(tls.join(format!("{who}.key"))),
        ..Settings::default()
    }
}

fn opening(binding: Binding, max_grant_ttl: u64) -> OpenSession {
    OpenSession {
        agent: AGENT.into(),
        person: None,
        task: "a test".into(),
        allow: vec![ScopeBound::parse("git:acme/* contents:read").unwrap()],
        max_grants: 50,
        max_grant_ttl: Duration::from_secs(max_grant_ttl),
        ttl: Duration::from_secs(600),
        binding,
        parent: None,
    }
}

async fn agent(broker: &Broker, max_grant_ttl: u64) -> Client {
    jeton_tests::crypto();
    let orchestrator = settings(broker, "orchestrator").connect().await.unwrap();
    let certificate = broker.data().join("tls/agent.pem");
    let opened = orchestrator
        .open_session(&opening(Binding::CertificateFile(certificate), max_grant_ttl))
        .await
        .unwrap();
    settings(broker, "agent").connect().await.unwrap().with_handle(opened.handle, None)
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done().await {
        assert!(Instant::now() < deadline, "{what} did not happen in time");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_for_one_scope_share_one_grant() {
    let broker = Broker::start();
    let client = agent(&broker, 300).await;
    let session = client.session().await.unwrap();
    let mut asking = Vec::new();
    for _ in 0..20 {
        let session = session.clone();
        asking.push(tokio::spawn(async move {
            session.credential("git:acme/api contents:read").await.unwrap()
        }));
    }
    // Each is kept until all have one: the last to let go gives the grant back.
    let mut held = Vec::new();
    for one in asking {
        held.push(one.await.unwrap());
    }
    let ids: std::collections::HashSet<&str> = held.iter().map(|one| one.grant_id()).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(
        client.list_grants(Default::default(), Default::default()).await.unwrap().items.len(),
        1
    );
    session.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_renewed_in_time_and_given_back_when_dropped() {
    let broker = Broker::start();
    let client = agent(&broker, 3).await;
    let session = client.session().await.unwrap();
    let credential = session.credential("git:acme/api contents:read").await.unwrap();
    let (first, ends) = (credential.expose().expose().to_owned(), credential.expires_at());
    until("a renewal", async || credential.expires_at() > ends).await;
    assert_ne!(credential.expose().expose(), first);
    let id = credential.grant_id().to_owned();
    let other_hand = credential.clone();
    drop(credential);
    let same = session.credential("git:acme/api contents:read").await.unwrap();
    assert_eq!(same.grant_id(), id, "shared while somebody holds it");
    drop((other_hand, same));
    until("a release", async || client.get_grant(&id).await.unwrap().state == "released").await;
    let fresh = session.credential("git:acme/api contents:read").await.unwrap();
    assert_ne!(fresh.grant_id(), id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_grant_is_not_handed_out_again_once_its_renewal_was_refused() {
    let broker = Broker::start();
    let client = agent(&broker, 6).await;
    let session = client.session().await.unwrap();
    let credential = session.credential("git:acme/api contents:read").await.unwrap();
    let operator = settings(&broker, "ana").connect().await.unwrap();
    operator.revoke_grant(credential.grant_id(), "enough", Duration::ZERO).await.unwrap();
    let ends = credential.expires_at();
    until("another grant", async || {
        let next = session.credential("git:acme/api contents:read").await.unwrap();
        next.grant_id() != credential.grant_id()
    })
    .await;
    assert!(jeton_client::now_millis() < ends, "well before the old one's end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_bound_to_a_key_works_with_proofs_and_not_without() {
    let broker = Broker::start();
    jeton_tests::crypto();
    let orchestrator = settings(&broker, "orchestrator").connect().await.unwrap();
    let opened =
        orchestrator.open_session(&opening(Binding::Key(DpopKey::generate().unwrap()), 60)).await;
    let handle = opened.unwrap().handle;
    let thief = settings(&broker, "agent").connect().await.unwrap().with_handle(handle, None);
    let refused = thief.session().await.map(drop).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthenticated, "{refused}");

    let key = DpopKey::generate().unwrap();
    let path = broker.data().join("session.json");
    let opened = orchestrator.open_session(&opening(Binding::Key(key), 60)).await.unwrap();
    // The key that the session was opened with is gone; another one proves nothing.
    session_file::write(&path, &opened, Some(&DpopKey::generate().unwrap())).unwrap();
    let other = Settings { session_file: Some(path), ..settings(&broker, "agent") };
    assert_eq!(
        other.connect().await.unwrap().session().await.map(drop).unwrap_err().kind(),
        ErrorKind::Unauthenticated
    );

    // The command keeps the key in the session file.
    let file = broker.data().join("own.json");
    let run = |who: &str, words: &[&str]| {
        let tls = broker.data().join("tls");
        Command::new(program("jeton"))
            .args(words)
            .env("JETON_ENDPOINT", broker.env("JETON_ENDPOINT"))
            .env("JETON_CA", tls.join("ca.pem"))
            .env("JETON_CERT", tls.join(format!("{who}.pem")))
            .env("JETON_KEY", tls.join(format!("{who}.key")))
            .env("JETON_SESSION_FILE", if who == "agent" { file.as_os_str() } else { "".as_ref() })
            .output()
            .unwrap()
    };
    let open = [
        "session",
        "open",
        "--agent",
        AGENT,
        "--allow",
        "git:acme/* contents:read",
        "--bind-new-key",
        "--out",
    ];
    let opened = run("orchestrator", &[&open[..], &[file.to_str().unwrap()]].concat());
    assert!(opened.status.success(), "{}", String::from_utf8_lossy(&opened.stderr));
    let granted = run("agent", &["--json", "grant", "request", "git:acme/api contents:read"]);
    assert!(granted.status.success(), "{}", String::from_utf8_lossy(&granted.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_program_runs_as_it_stands() {
    let broker = Broker::start();
    jeton_tests::crypto();
    let orchestrator = settings(&broker, "orchestrator").connect().await.unwrap();
    let certificate = broker.data().join("tls/agent.pem");
    let opened = orchestrator
        .open_session(&opening(Binding::CertificateFile(certificate), 60))
        .await
        .unwrap();
    let file = broker.data().join("session.json");
    session_file::write(&file, &opened, None).unwrap();
    let tls = broker.data().join("tls");
    let ran = Command::new(program("examples/agent"))
        .env("JETON_ENDPOINT", broker.env("JETON_ENDPOINT"))
        .env("JETON_CA", tls.join("ca.pem"))
        .env("JETON_CERT", tls.join("agent.pem"))
        .env("JETON_KEY", tls.join("agent.key"))
        .env("JETON_SESSION_FILE", &file)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(
        ran.status.success() && text.contains("holds a credential"),
        "{text}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let closed = orchestrator.get_session(&opened.session.id).await.unwrap();
    assert_eq!(closed.state, "closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_on_the_host_is_known_by_the_unix_socket() {
    let uid = rustix::process::getuid().as_raw();
    let broker = Broker::start_with(|data| {
        let file = data.join("jetond.toml");
        let text = std::fs::read_to_string(&file).unwrap()
            + &format!(
                "\n[[unix_account]]\nuid = {uid}\nprincipal = \"spiffe://dev.jeton.local/orchestrator\"\nkind = \"workload\"\n"
            );
        std::fs::write(file, text).unwrap();
    });
    let socket = broker.data().join("run/jeton.sock");
    let endpoint = Some(format!("unix:{}", socket.display()));
    let client =
        Settings { endpoint: endpoint.clone(), ..Settings::default() }.connect().await.unwrap();
    let who = client.who_am_i().await.unwrap();
    assert_eq!(
        (who.principal.as_str(), who.authenticated_by.as_str()),
        ("spiffe://dev.jeton.local/orchestrator", "unix")
    );
    let opened = client.open_session(&opening(Binding::UnixUid(uid), 60)).await.unwrap();
    let agent = Settings { endpoint, handle: Some(opened.handle), ..Settings::default() }
        .connect()
        .await
        .unwrap();
    let session = agent.session().await.unwrap();
    assert!(session.credential("git:acme/api contents:read").await.is_ok());
}
