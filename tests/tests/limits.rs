//! Every bound that faces the network, against the real process.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use jeton_proto::v1::{
    ListGrantsRequest, ListSessionsRequest, Page, RequestGrantRequest, WhoAmIRequest,
    open_session_request::Binding,
};
use jeton_tests::{
    broker::{AGENT, Broker, opening, program, scope},
    eventually::within,
    github::Github,
    github_front::{Call, Script},
    raw::{Files, Raw, address, framed},
};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use tonic::Code;

const WHO_AM_I: &str = "/jeton.v1.SessionService/WhoAmI";
const REQUEST: &str = "/jeton.v1.GrantService/RequestGrant";
const READ: &str = "git:acme/api contents:read";

fn code(code: Code) -> Option<i32> {
    Some(i32::from(code))
}

fn ask(reason: String) -> Vec<u8> {
    framed(&RequestGrantRequest {
        scope: Some(scope(READ)),
        ttl_seconds: 60,
        reason,
        request_id: String::new(),
        delivery: jeton_proto::v1::Delivery::Direct.into(),
    })
}

/// An honest call on this connection is answered.
async fn still_answers(raw: &mut Raw) {
    let answer = raw.call(WHO_AM_I, &[], framed(&WhoAmIRequest {})).await.unwrap();
    assert_eq!(answer.code, Some(0), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_64_kib_is_refused_and_the_connection_lives_on() {
    let broker = Broker::start();
    let (agent, _) = broker.agent_with(&[READ]).await;
    let handle = agent.handle.unwrap();
    let headers = [("jeton-session", handle.as_str())];
    let mut raw = Raw::connect(&broker, Some("agent")).await.unwrap();
    let large = raw.call(REQUEST, &headers, ask("x".repeat(64 * 1024))).await.unwrap();
    assert_eq!(large.code, code(Code::OutOfRange), "{large:?}");
    assert!(large.message.contains("65536"), "{large:?}");
    // One that only says that it is large is refused before anything is kept for it.
    let mut lie = vec![0];
    lie.extend(u32::MAX.to_be_bytes());
    let answer = raw.call(REQUEST, &headers, lie).await.unwrap();
    assert_eq!(answer.code, code(Code::OutOfRange), "{answer:?}");
    let compressed = raw.call(REQUEST, &headers, vec![1, 0, 0, 0, 1, 0]).await.unwrap();
    assert_ne!(compressed.code, Some(0), "compression was not agreed on");
    still_answers(&mut raw).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_list_over_16_kib_is_refused() {
    let broker = Broker::start();
    let mut raw = Raw::connect(&broker, Some("agent")).await.unwrap();
    let fits = "x".repeat(8 * 1024);
    let answer = raw.call(WHO_AM_I, &[("x-pad", &fits)], framed(&WhoAmIRequest {})).await.unwrap();
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let large = "x".repeat(17 * 1024);
    match raw.call(WHO_AM_I, &[("x-pad", &large)], framed(&WhoAmIRequest {})).await {
        Ok(answer) => {
            assert_eq!(answer.status, 431, "{answer:?}");
            assert_eq!(answer.code, None, "no service heard of it");
        }
        Err(cut) => assert!(cut.contains("stream") || cut.contains("http2"), "{cut}"),
    }
    still_answers(&mut Raw::connect(&broker, Some("agent")).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_stands_twice_is_refused_whichever_one_is_right() {
    let broker = Broker::start();
    let (agent, _) = broker.agent_with(&[READ]).await;
    let handle = agent.handle.unwrap();
    let mut raw = Raw::connect(&broker, Some("agent")).await.unwrap();
    for name in ["jeton-session", "authorization", "dpop"] {
        for pair in
            [[handle.as_str(), handle.as_str()], [handle.as_str(), "x"], ["x", handle.as_str()]]
        {
            let headers = pair.map(|value| (name, value));
            let answer = raw.call(WHO_AM_I, &headers, framed(&WhoAmIRequest {})).await.unwrap();
            assert_eq!(answer.code, code(Code::InvalidArgument), "{name}: {answer:?}");
            assert!(
                answer.message.contains("more%20than%20once")
                    || answer.message.contains("more than once"),
                "{answer:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_exact_path_of_a_known_call_is_served() {
    let broker = Broker::start();
    let mut raw = Raw::connect(&broker, Some("ana")).await.unwrap();
    for path in [
        "/",
        "/jeton.v1.SessionService",
        "/jeton.v1.SessionService/",
        "/jeton.v1.SessionService/WhoAmI/",
        "//jeton.v1.SessionService/WhoAmI",
        "/jeton.v1.SessionService//WhoAmI",
        "/jeton.v1.SessionService/whoami",
        "/jeton.v1.SessionService/WhoAm%49",
        "/jeton.v1.SessionService%2FWhoAmI",
        "/x/../jeton.v1.SessionService/WhoAmI",
        "/jeton.v1.SessionService/WhoAmI;v=1",
        "/jeton.v2.SessionService/WhoAmI",
        "/grpc.channelz.v1.Channelz/GetServers",
    ] {
        let answer = raw.call(path, &[], framed(&WhoAmIRequest {})).await.unwrap();
        assert_eq!(answer.code, code(Code::Unimplemented), "{path}: {answer:?}");
    }
    still_answers(&mut raw).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_no_longer_than_500_and_its_token_fits_only_its_own_list() {
    let broker = Broker::start();
    let orchestrator = broker.as_("orchestrator").await;
    let mut request = opening(&[READ]);
    request.binding = Some(Binding::CertificateSha256(broker.thumbprint("agent")));
    let mut openings = JoinSet::new();
    for _ in 0..501 {
        let (mut sessions, request) = (orchestrator.sessions(), request.clone());
        openings.spawn(async move { sessions.open_session(request).await.unwrap() });
    }
    openings.join_all().await;

    let page = |size, token: &str| Some(Page { size, token: token.into() });
    let list = ListSessionsRequest { page: page(10_000, ""), ..Default::default() };
    let first = orchestrator.sessions().list_sessions(list.clone()).await.unwrap().into_inner();
    assert_eq!(first.sessions.len(), 500);
    let token = first.next_page_token;
    let next = ListSessionsRequest { page: page(10, &token), ..Default::default() };
    let last = orchestrator.sessions().list_sessions(next.clone()).await.unwrap().into_inner();
    assert_eq!((last.sessions.len(), last.next_page_token.as_str()), (1, ""));

    let ana = broker.as_("ana").await;
    let by_another = ana.sessions().list_sessions(next.clone()).await.unwrap_err();
    let other_filter = ListSessionsRequest { agent: AGENT.into(), ..next.clone() };
    let of_another = orchestrator.sessions().list_sessions(other_filter).await.unwrap_err();
    let grants = ListGrantsRequest { page: page(10, &token), ..Default::default() };
    let of_grants = orchestrator.grants().list_grants(grants).await.unwrap_err();
    let mut odd = Vec::new();
    for token in ["x".to_owned(), token[1..].to_owned(), format!("{token}A"), "A".repeat(4000)] {
        let list = ListSessionsRequest { page: page(10, &token), ..Default::default() };
        odd.push(orchestrator.sessions().list_sessions(list).await.unwrap_err());
    }
    for refused in [by_another, of_another, of_grants].into_iter().chain(odd) {
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert!(refused.message().contains("page.token"), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_for_everyone_and_all_else_takes_an_identity() {
    let broker = Broker::start();
    let mut nobody = Raw::connect(&broker, None).await.unwrap();
    let empty = vec![0; 5];
    let health = nobody.call("/grpc.health.v1.Health/Check", &[], empty.clone()).await.unwrap();
    assert_eq!(health.code, Some(0), "{health:?}");
    for path in [
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        WHO_AM_I,
        REQUEST,
        "/jeton.v1.SessionService/OpenSession",
        "/jeton.v1.SessionService/ListSessions",
        "/jeton.v1.GrantService/RevokeMatching",
        "/jeton.v1.IntrospectionService/Introspect",
    ] {
        let answer = nobody.call(path, &[], empty.clone()).await.unwrap();
        assert_eq!(answer.code, code(Code::Unauthenticated), "{path}: {answer:?}");
        assert!(answer.message.len() > 20, "it says what to do: {answer:?}");
    }
    for token in ["x", "a.b.c", &format!("{}.b.c", "a".repeat(9 * 1024))] {
        let headers = [("authorization", format!("Bearer {token}"))];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        let answer = nobody.call(WHO_AM_I, &headers, empty.clone()).await.unwrap();
        assert_eq!(answer.code, code(Code::Unauthenticated), "{answer:?}");
    }
    let mut known = Raw::connect(&broker, Some("agent")).await.unwrap();
    let answer =
        known.call("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &[], vec![]).await;
    assert_ne!(answer.unwrap().code, code(Code::Unauthenticated));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_ca_opens_nothing() {
    let broker = Broker::start();
    let folder = tempfile::tempdir().unwrap();
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let mut agent = CertificateParams::default();
    agent.subject_alt_names.push(SanType::URI(AGENT.try_into().unwrap()));
    agent.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let (certificate, key_file) =
        (folder.path().join("agent.pem"), folder.path().join("agent.key"));
    fs::write(&certificate, agent.signed_by(&key, &issuer).unwrap().pem()).unwrap();
    fs::write(&key_file, key.serialize_pem()).unwrap();
    let files = Files { certificate: &certificate, key: &key_file };
    // In TLS 1.3 a client hears of the refusal only with its first call.
    let refused = match Raw::connect_with(&broker, Some(files)).await {
        Ok(mut raw) => raw.call("/grpc.health.v1.Health/Check", &[], vec![0; 5]).await.map(|_| ()),
        Err(refused) => Err(refused),
    };
    assert!(refused.is_err(), "not even what everyone may ask");
    still_answers(&mut Raw::connect(&broker, Some("agent")).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_slow_handshakes_hold_up_nobody_and_are_cut() {
    let broker = Broker::start();
    let mut silent = Vec::new();
    for number in 0..100 {
        let mut stream = TcpStream::connect(address(&broker)).await.unwrap();
        match number % 4 {
            0 => stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap(),
            1 => stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap(),
            // The first bytes of a handshake that never goes on.
            2 => stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await.unwrap(),
            _ => {}
        }
        silent.push(stream);
    }
    let began = Instant::now();
    let mut raw = Raw::connect(&broker, Some("agent")).await.unwrap();
    still_answers(&mut raw).await;
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "an honest caller waited {:?}",
        began.elapsed()
    );
    for mut stream in silent {
        let mut rest = Vec::new();
        // What it may say is an alert; then it ends, or is reset.
        let ended = timeout(Duration::from_secs(15), stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "a connection without a handshake is kept");
    }
    still_answers(&mut raw).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_a_slow_mint_finish_and_its_answer_arrive() {
    let github = Github::pretended().await;
    let mut broker = Broker::start_with(|data| github.configure(data));
    let (agent, _) = broker.agent_with(&["github:acme/* contents:read"]).await;
    github.front.next(Call::Mint, Script::Slow(Duration::from_secs(3)));
    let asking = tokio::spawn(async move { agent.requests("github:acme/web contents:read").await });
    let minting = async || (github.front.minted().len() == 1).then_some(());
    within(Duration::from_secs(10), "the mint is under way", minting).await;
    let code = tokio::task::spawn_blocking(move || broker.stop()).await.unwrap();
    assert_eq!(code, Some(0));
    let answer = asking.await.unwrap().unwrap();
    assert!(github.front.opens(&answer.credential.unwrap().secret).is_some());
}

#[test]
fn a_bad_configuration_is_told_whole_with_places_and_ends_with_64() {
    let broker = Broker::make();
    let file = broker.data().join("bad.toml");
    let good = fs::read_to_string(broker.data().join("jetond.toml")).unwrap();
    let bad = good
        .replacen("listen = \"127.0.0.1:0\"", "listen = \"nowhere\"", 1)
        .replacen("kind = \"signed\"", "kind = \"singed\"", 1)
        .replacen("role = \"operator\"", "role = \"king\"", 1)
        .replacen("[policy]", "[policy]\nfoldr = \"policies\"", 1);
    fs::write(&file, &bad).unwrap();
    let told = Command::new(program("jetond"))
        .args(["check-config", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    let words = String::from_utf8(told.stderr).unwrap();
    assert_eq!(told.status.code(), Some(64), "{words}");
    for (wrong, word) in
        [("nowhere", "grpc.listen"), ("singed", "singed"), ("king", "king"), ("foldr", "foldr")]
    {
        let line = bad.lines().position(|line| line.contains(wrong)).unwrap() + 1;
        let place = format!("bad.toml:{line}");
        let says = words.lines().any(|text| text.contains(&place) && text.contains(word));
        assert!(says, "`{wrong}` at {place} in\n{words}");
    }
    let served =
        Command::new(program("jetond")).args(["serve", "--config"]).arg(&file).output().unwrap();
    assert_eq!(served.status.code(), Some(64), "and it serves nothing");
    let fine = Command::new(program("jetond"))
        .args(["check-config", "--config"])
        .arg(broker.data().join("jetond.toml"))
        .output()
        .unwrap();
    assert_eq!(fine.status.code(), Some(0), "{}", String::from_utf8_lossy(&fine.stderr));
}
