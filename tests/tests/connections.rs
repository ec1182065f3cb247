//! The bounds of `limits.rs` on connections, streams and requests, and on their time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jeton_proto::v1::{
    GrantState, ListGrantsRequest, RequestGrantRequest, RevokeGrantRequest, RevokeMatchingRequest,
    WhoAmIRequest, revoke_matching_request::Matching,
};
use jeton_tests::{
    broker::{Broker, Caller, scope},
    eventually::within,
    frames::{Frame, Frames, body, call, kind, reset},
    github::Github,
    github_front::{Call, Script},
    raw::{Raw, framed, tls_config_of, tls_stream},
    records::Records,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::ClientConfig;
use tokio::time::timeout;
use tonic::{Code, Status};
use tonic_types::StatusExt;

const WHO_AM_I: &str = "/jeton.v1.SessionService/WhoAmI";
const REVOKE: &str = "/jeton.v1.GrantService/RevokeGrant";
const HEALTH: &str = "/grpc.health.v1.Health/Check";
const READ: &str = "git:acme/api contents:read";

/// Half of `UNPROVED_CONNECTIONS` of `limits.rs`.
const OF_ONE_ADDRESS: usize = 512;
/// `STREAMS_PER_CONNECTION` of `limits.rs`.
const STREAMS: u32 = 256;
/// More than may be in progress in any lane but that of ordinary work, and as many as there.
const FULL_CONNECTIONS: usize = 8;
/// `BODY` of `limits.rs`.
const BODY: Duration = Duration::from_secs(5);
/// More than anything here takes that is answered at all.
const SOON: Duration = Duration::from_secs(15);

/// The numbers of a client's streams, first to last.
fn streams() -> impl Iterator<Item = u32> {
    (0..).map(|place| 2 * place + 1)
}

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    timeout(SOON, work).await.unwrap_or_else(|_| panic!("not within {SOON:?}: {what}"))
}

async fn who_am_i(caller: &Caller) -> Result<(), Status> {
    caller.sessions().who_am_i(WhoAmIRequest {}).await.map(|_| ())
}

fn is_shed(status: &Status) -> bool {
    let details = status.get_error_details();
    let busy = details.error_info().is_some_and(|info| info.reason == "OVERLOADED");
    let when = details.retry_info().is_some_and(|info| info.retry_delay.is_some());
    status.code() == Code::Unavailable && busy && when
}

/// Opens calls whose bodies never come, as many as one connection may have.
async fn half_open(broker: &Broker, who: Option<&str>, path: &str, count: usize) -> Frames {
    let mut connection = Frames::connect(broker, who).await.unwrap();
    let calls: Vec<u8> = streams().take(count).flat_map(|stream| call(stream, path, &[])).collect();
    connection.write(&calls).await.unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn load_of_connections_without_an_identity_is_bounded_and_the_oldest_go() {
    // Of the broker too, which inherits it.
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).unwrap();
    assert!(files.maximum.is_none_or(|most| most > 5000), "too few open files: {files:?}");

    let broker = Broker::start();
    let mut honest = Raw::connect(&broker, Some("agent")).await.unwrap();
    let mut answers = async || {
        let answer = soon("an answer", honest.call(WHO_AM_I, &[], framed(&WhoAmIRequest {})));
        assert_eq!(answer.await.unwrap().code, Some(0));
    };
    answers().await;
    let before = resident_kib(&broker);
    let began = Instant::now();
    let anonymous = tls_config_of(&broker, None);
    let open = async || {
        let mut frames = Frames::connect_by(&broker, &anonymous).await.unwrap();
        // The server's first word proves that it serves the connection.
        frames.read_until(|frame| frame.kind == kind::SETTINGS).await.unwrap();
        frames
    };
    let mut held = Vec::new();
    while held.len() < OF_ONE_ADDRESS {
        let (one, two) = tokio::join!(open(), open());
        held.extend([one, two]);
    }
    println!(
        "{} connections in {:?}, {} KiB each",
        held.len(),
        began.elapsed(),
        (resident_kib(&broker) - before) / held.len()
    );
    let mut next = open().await;
    let first = held.first_mut().unwrap();
    soon("the oldest is closed", async { while first.read().await.is_ok() {} }).await;
    next.write(&[call(1, HEALTH, &[]), body(1, &[0; 5])].concat()).await.unwrap();
    is_answered(&mut next, 1).await;
    answers().await;
}

fn resident_kib(broker: &Broker) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

/// A message comes, and not an error alone.
async fn is_answered(connection: &mut Frames, stream: u32) {
    let of_it = |frame: &Frame| frame.stream == stream && frame.kind != kind::HEADERS || frame.ends;
    let first =
        soon("an answer", connection.read_until(|frame| frame.stream == stream && of_it(frame)));
    assert_eq!(first.await.unwrap().kind, kind::DATA, "stream {stream} has no message");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_257th_stream_of_a_connection_is_refused_until_another_ends() {
    let broker = Broker::start();
    let mut connection = Frames::connect(&broker, Some("agent")).await.unwrap();
    let settings = connection.read_until(|frame| frame.kind == kind::SETTINGS).await.unwrap();
    let [most_streams, most_header] = [3, 6].map(|name| settings.setting(name));
    assert_eq!((most_streams, most_header), (Some(STREAMS), Some(16 * 1024)));

    let mut numbers = streams();
    let open: Vec<u32> = numbers.by_ref().take(256).collect();
    let calls: Vec<u8> = open.iter().flat_map(|stream| call(*stream, WHO_AM_I, &[])).collect();
    connection.write(&calls).await.unwrap();
    let over = numbers.next().unwrap();
    connection.write(&call(over, WHO_AM_I, &[])).await.unwrap();
    let refused = |frame: &Frame| matches!(frame.kind, kind::HEADERS | kind::RST_STREAM);
    let refused = soon("a refusal", connection.read_until(refused)).await.unwrap();
    const REFUSED_STREAM: u32 = 7;
    assert_eq!((refused.stream, refused.kind), (over, kind::RST_STREAM), "{refused:?}");
    assert_eq!(refused.error(), REFUSED_STREAM, "which says that it is safe to try again");

    connection.write(&body(open[0], &framed(&WhoAmIRequest {}))).await.unwrap();
    is_answered(&mut connection, open[0]).await;
    let next = numbers.next().unwrap();
    let whole = [call(next, WHO_AM_I, &[]), body(next, &framed(&WhoAmIRequest {}))].concat();
    connection.write(&whole).await.unwrap();
    is_answered(&mut connection, next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_requests_take_long_is_shed_at_its_share_and_others_are_not() {
    let github = Github::pretended().await;
    let broker = Broker::start_with(|data| github.configure(data));
    let (agent, _) = broker.agent_with(&["github:acme/* contents:read"]).await;
    let (other, _) = broker.agent_with(&[READ]).await;
    let grant = other.requests(READ).await.unwrap().grant.unwrap().id;
    let operator = broker.as_("ana").await;
    // As many mints as one creator's agent may have under way at once, and more.
    for _ in 0..200 {
        github.front.next(Call::Mint, Script::Slow(Duration::from_secs(5)));
    }
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let agent = agent.clone();
        asking.spawn(async move { agent.requests("github:acme/web contents:read").await.err() });
    }
    let first = soon("a refusal", async {
        while let Some(answer) = asking.join_next().await {
            if let Some(shed) = answer.unwrap() {
                return shed;
            }
        }
        panic!("none was shed")
    });
    let shed = first.await;
    assert!(is_shed(&shed), "{shed:?}");
    assert_eq!(
        shed.get_error_details().retry_info().unwrap().retry_delay.unwrap().as_millis(),
        250
    );
    other.requests(READ).await.unwrap();
    let revoke = RevokeGrantRequest { id: grant, reason: "enough".into(), ..Default::default() };
    let revoked = soon("a revocation", async { operator.grants().revoke_grant(revoke).await });
    let revoked = revoked.await.unwrap().into_inner().grant.unwrap();
    assert_eq!(revoked.state(), GrantState::Revoked);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_identity_takes_no_place_of_those_who_have_one() {
    let broker = Broker::start();
    let (agent, _) = broker.agent_with(&[READ]).await;
    let mut held = Vec::new();
    for _ in 0..FULL_CONNECTIONS {
        held.push(half_open(&broker, None, HEALTH, 256).await);
    }
    let mut nobody = Raw::connect(&broker, None).await.unwrap();
    let answer = soon("a health check", nobody.call(HEALTH, &[], vec![0; 5])).await.unwrap();
    assert_eq!(answer.code, Some(0), "others' empty calls hold nothing");
    // Of too many, the oldest are told.
    let first = held.first_mut().unwrap().read_until(|frame| frame.kind == kind::HEADERS);
    soon("a refusal of too many", first).await.unwrap();
    for _ in 0..100 {
        agent.requests(READ).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_its_identity_in_a_slow_body_takes_no_place_of_others() {
    let broker = Broker::start();
    let (agent, _) = broker.agent_with(&[READ]).await;
    let mut held = Vec::new();
    for _ in 0..=FULL_CONNECTIONS {
        let mut connection = Frames::connect(&broker, None).await.unwrap();
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let calls: Vec<u8> =
            streams().take(256).flat_map(|stream| call(stream, "/oauth/token", &form)).collect();
        connection.write(&calls).await.unwrap();
        held.push(connection);
    }
    for _ in 0..100 {
        agent.requests(READ).await.unwrap();
    }
    for connection in [0, FULL_CONNECTIONS] {
        let told = held[connection].read_until(|frame| frame.kind == kind::HEADERS);
        soon("a body that does not come is given up", told).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_without_end_over_http_1_is_cut_before_it_costs_much() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let broker = Broker::start();
    let mut config = ClientConfig::clone(&tls_config_of(&broker, None));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let config = Arc::new(config);
    // The second one begins as HTTP/2 does, and goes on otherwise; the third dribbles that beginning.
    for (begin, pause) in [("GET", None), ("PRI", None), ("PRI", Some(Duration::from_millis(50)))] {
        let mut stream = tls_stream(&broker, &config).await.unwrap();
        for letter in begin.as_bytes() {
            stream.write_all(&[*letter]).await.unwrap();
            if let Some(pause) = pause {
                stream.flush().await.unwrap();
                tokio::time::sleep(pause).await;
            }
        }
        stream.write_all(b" /log/checkpoint HTTP/1.1\r\nhost: localhost\r\n").await.unwrap();
        let line = format!("x-{}: {}\r\n", "a".repeat(100), "b".repeat(900));
        let mut sent = 0;
        while sent < 64 * 1024 * 1024 {
            match timeout(SOON, stream.write_all(line.as_bytes())).await.unwrap() {
                Ok(()) => sent += line.len(),
                Err(_) => break,
            }
        }
        let mut rest = Vec::new();
        let _ = soon("it is cut", stream.read_to_end(&mut rest)).await;
        assert!(sent < 16 * 1024 * 1024, "{begin}: {sent} bytes were taken");
        // What reads heads would have answered 431, once it had buffered 400 KiB.
        assert_eq!(String::from_utf8_lossy(&rest), "", "{begin}: it is cut before");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_keeps_no_place_at_the_port_of_the_public_keys() {
    use tokio::io::AsyncReadExt;
    let broker = Broker::start();
    let keys = broker.env("JETON_JWKS").to_owned();
    let address = keys.split('/').nth(2).unwrap().to_owned();
    let mut silent = Vec::new();
    for _ in 0..1024 {
        silent.push(tokio::net::TcpStream::connect(&address).await.unwrap());
    }
    jeton_tests::crypto();
    let client = reqwest::Client::builder().timeout(SOON).build().unwrap();
    let answer = client.get(&keys).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200, "after the silent ones were cut");
    let mut rest = Vec::new();
    let first = silent.first_mut().unwrap();
    let _ = soon("the silent are cut", first.read_to_end(&mut rest)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_never_ends_its_calls_keeps_nobody_from_revoking() {
    let broker = Broker::start();
    let (agent, _) = broker.agent_with(&[READ]).await;
    let grant = agent.requests(READ).await.unwrap().grant.unwrap().id;
    let operator = broker.as_("ana").await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(half_open(&broker, Some("agent"), REVOKE, 256).await);
    }
    let revoke =
        RevokeGrantRequest { id: grant.clone(), reason: "enough".into(), ..Default::default() };
    operator.grants().revoke_grant(revoke).await.unwrap();
    let matching = Matching::Upstream("git".into());
    let all = RevokeMatchingRequest {
        matching: Some(matching),
        reason: "enough".into(),
        ..Default::default()
    };
    operator.grants().revoke_matching(all).await.unwrap();
    who_am_i(&agent).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_resets_end_their_connection_and_touch_no_other() {
    const RESETS: usize = 10_000;
    let broker = Broker::start();
    let (agent, _) = broker.agent_with(&[READ]).await;
    let mut connection = Frames::connect(&broker, Some("agent-2")).await.unwrap();
    let mut storm = streams().take(RESETS).collect::<Vec<u32>>().into_iter();
    let mut sent = 0;
    let cut = loop {
        let some: Vec<u32> = storm.by_ref().take(500).collect();
        if some.is_empty() {
            break false;
        }
        sent += some.len();
        let pairs: Vec<u8> = some
            .iter()
            .flat_map(|stream| [call(*stream, WHO_AM_I, &[]), reset(*stream)].concat())
            .collect();
        if connection.write(&pairs).await.is_err() {
            break true;
        }
        agent.requests(READ).await.unwrap();
    };
    const ENHANCE_YOUR_CALM: u32 = 11;
    let goodbye = soon("the end", connection.read_until(|frame| frame.kind == kind::GOAWAY)).await;
    match goodbye {
        Ok(goodbye) => assert_eq!(goodbye.error(), ENHANCE_YOUR_CALM, "{goodbye:?}"),
        // A reset of TCP may swallow what was said before it.
        Err(gone) => assert!(cut, "{gone}"),
    }
    println!("cut after {sent} of {RESETS} resets at most");
    soon("the end of the connection", async { while connection.read().await.is_ok() {} }).await;
    agent.requests(READ).await.unwrap();
    let metrics = format!("{}/metrics", broker.env("JETON_ADMIN"));
    assert!(reqwest::get(metrics).await.unwrap().status().is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_body_does_not_come_ends_in_time_whatever_the_caller_wishes() {
    let broker = Broker::start();
    let mut connection = Frames::connect(&broker, Some("agent")).await.unwrap();
    let began = Instant::now();
    let calls = [
        call(1, WHO_AM_I, &[("grpc-timeout", "500m")]),
        call(3, WHO_AM_I, &[]),
        call(5, WHO_AM_I, &[("grpc-timeout", "9H")]),
        call(7, WHO_AM_I, &[("grpc-timeout", "soon")]),
    ];
    connection.write(&calls.concat()).await.unwrap();
    let mut ended = Vec::new();
    while ended.len() < calls.len() {
        let end = soon("the end", connection.read_until(|frame| frame.ends)).await.unwrap();
        assert_eq!(end.kind, kind::HEADERS, "an error and no message");
        ended.push((end.stream, began.elapsed()));
    }
    println!("{ended:?}");
    ended.sort_unstable();
    assert!(ended[0].1 < BODY, "the caller's own deadline counts: {ended:?}");
    for (stream, after) in &ended[1..] {
        assert!(*after >= BODY, "stream {stream} ended early: {after:?}");
        assert!(*after < BODY * 2, "stream {stream}: {after:?}");
    }
    let metrics = format!("{}/metrics", broker.env("JETON_ADMIN"));
    let metrics = reqwest::get(metrics).await.unwrap().text().await.unwrap();
    assert!(
        metrics.lines().any(|line| line.contains("WhoAmI") && line.contains("code=\"4\"")),
        "counted as what they are:\n{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_whose_deadline_passes_leaves_no_token_without_a_record() {
    let github = Github::pretended().await;
    let broker = Broker::start_with(|data| github.configure(data));
    let (agent, _) = broker.agent_with(&["github:acme/* contents:read"]).await;
    let operator = broker.as_("ana").await;
    github.front.next(Call::Mint, Script::Slow(Duration::from_secs(3)));
    let mut request = tonic::Request::new(RequestGrantRequest {
        scope: Some(scope("github:acme/web contents:read")),
        ttl_seconds: 600,
        reason: "a test".into(),
        ..Default::default()
    });
    request.set_timeout(Duration::from_millis(500));
    let began = Instant::now();
    let late = agent.grants().request_grant(request).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled), "{late:?}");

    let records = Records::open(broker.data());
    let listed = async || {
        let list =
            operator.grants().list_grants(ListGrantsRequest::default()).await.unwrap().into_inner();
        let grant = list.grants.into_iter().next()?;
        (grant.state() == GrantState::Active && records.open_mints() == 0).then_some(grant.id)
    };
    let id = within(SOON, "the mint is on record though nobody waits for it", listed).await;
    let revoke = RevokeGrantRequest { id, reason: "nobody got it".into(), ..Default::default() };
    operator.grants().revoke_grant(revoke).await.unwrap();
    let dead = async || github.front.live_tokens().is_empty().then_some(());
    within(SOON, "its token is dead", dead).await;
    assert_eq!(github.front.minted().len(), 1);
}
