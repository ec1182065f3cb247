//! Callers that take all they can of what is shared: connections, requests in progress, pushes, transfers and
//! the time of people. Others are served as before, revoking stays quick, and everybody gets an answer.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use jeton_client::ErrorKind;
use jeton_proto::v1::{
    OpenSessionRequest, RevokeGrantRequest, Session, open_session_request::Binding,
};
use jeton_tests::{
    broker::{Broker, Caller, opening},
    eventually::within,
    frames::{Frames, body, call, kind},
    gateway::Scene,
    git_host::GitClient,
    raw::{tls_config_of, tls_stream_from, tls_stream_to},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::ClientConfig;
use tokio::{
    io::AsyncWriteExt,
    task::JoinSet,
    time::{sleep, timeout},
};

const READ: &str = "git:acme/api contents:read";
const WRITE: &str = "git:acme/* contents:write ref=agent/*";
const REPO: &str = "acme/api";
const WHO_AM_I: &str = "/jeton.v1.SessionService/WhoAmI";
/// Nobody waits longer for an answer.
const ANSWERED: Duration = Duration::from_secs(10);
/// What a call and a revocation may take where a debug build and the attack share two cores. The figures are
/// printed.
const SERVED: Duration = Duration::from_secs(2);
/// Calls of a victim that are measured.
const CALLS: usize = 50;

/// An agent whose sessions another creator opened than the attackers', and an operator.
struct Victim {
    agent: Caller,
    operator: String,
    grants: Vec<String>,
    quiet: Duration,
}

/// The longest of a victim's calls.
async fn slowest(agent: &Caller) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..CALLS {
        let began = Instant::now();
        let answer = timeout(ANSWERED, agent.requests(READ)).await;
        answer.expect("an answer").expect("a grant");
        slowest = slowest.max(began.elapsed());
    }
    slowest
}

/// A session that `creator` opens for an agent, as the holder of a certificate.
async fn session(
    broker: &Broker,
    creator: &Caller,
    holder: &str,
    request: OpenSessionRequest,
) -> (Caller, Session) {
    let binding = Some(Binding::CertificateSha256(broker.thumbprint(holder)));
    let request = OpenSessionRequest { binding, ..request };
    let opened = creator.sessions().open_session(request).await.unwrap().into_inner();
    let mut agent = broker.as_(holder).await;
    agent.handle = Some(opened.handle);
    (agent, opened.session.unwrap())
}

fn named(agent: &str, envelope: &[&str]) -> OpenSessionRequest {
    OpenSessionRequest {
        agent: format!("spiffe://dev.jeton.local/agent/{agent}"),
        ..opening(envelope)
    }
}

/// Lets a second program open sessions.
fn with_two_creators(data: &Path) {
    let file = data.join("policies/catalogue.toml");
    let creator = "[[agent]]\nmatch = \"spiffe://dev.jeton.local/service/orders\"\nteams = [\"orchestrators\"]\n";
    fs::write(&file, format!("{}\n{creator}", fs::read_to_string(&file).unwrap())).unwrap();
}

/// The program that opens the victims' sessions.
const CREATOR: &str = "orders";

impl Victim {
    async fn of(broker: &Broker) -> Self {
        let creator = broker.as_(CREATOR).await;
        let (agent, _) = session(broker, &creator, "agent-2", named("review-7", &[READ])).await;
        let mut grants = Vec::new();
        for _ in 0..3 {
            grants.push(agent.requests(READ).await.unwrap().grant.unwrap().id);
        }
        let quiet = slowest(&agent).await;
        Self { agent, operator: "ana".to_owned(), grants, quiet }
    }

    /// Sees that the attack changes nothing for it, and that an operator who connects now revokes.
    async fn is_served(&mut self, broker: &Broker, attack: &str) {
        let began = Instant::now();
        let revoked = timeout(ANSWERED, async {
            let operator = broker.as_(&self.operator).await;
            let id = self.grants.pop().unwrap();
            let revoke = RevokeGrantRequest { id, reason: "enough".into(), ..Default::default() };
            operator.grants().revoke_grant(revoke).await.unwrap();
        });
        revoked.await.unwrap_or_else(|_| panic!("{attack}: a revocation waits"));
        let revoked = began.elapsed();
        let slowest = slowest(&self.agent).await;
        println!(
            "{attack}: a call takes up to {slowest:?} (alone {:?}), connecting and revoking {revoked:?}",
            self.quiet
        );
        assert!(revoked <= SERVED, "{attack}: revoking took {revoked:?}");
        assert!(slowest <= SERVED.max(self.quiet * 2), "{attack}: a call took {slowest:?}");
    }
}

/// Addresses of this host.
fn addresses(count: u8) -> Vec<IpAddr> {
    (1..=count).map(|last| Ipv4Addr::new(127, 0, 0, last).into()).collect()
}

/// Opens connections that never ask for anything. Of those that are closed again, nothing is kept.
async fn idle_connections(broker: &Broker, sources: &[IpAddr], count: usize) -> Vec<Frames> {
    let anonymous = tls_config_of(broker, None);
    let mut held = Vec::new();
    let mut opening = Vec::new();
    for number in 0..count {
        let source = sources[number % sources.len()];
        let anonymous = &anonymous;
        opening.push(async move {
            let opened = timeout(ANSWERED, tls_stream_from(source, broker, anonymous)).await;
            Frames::over(opened.ok()?.ok()?).await.ok()
        });
        if opening.len() == 32 || number + 1 == count {
            held.extend(together(std::mem::take(&mut opening)).await.into_iter().flatten());
        }
    }
    held
}

/// Runs some work in one task, at the same time.
async fn together<T>(work: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut work: Vec<_> = work.into_iter().map(Box::pin).collect();
    let mut done = Vec::new();
    std::future::poll_fn(|cx| {
        work.retain_mut(|one| match one.as_mut().poll(cx) {
            std::task::Poll::Ready(found) => {
                done.push(found);
                false
            }
            std::task::Poll::Pending => true,
        });
        match work.is_empty() {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    done
}

fn many_files() {
    // Of the broker too, which inherits it.
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).unwrap();
    assert!(files.maximum.is_none_or(|most| most > 5000), "too few open files: {files:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn load_of_idle_connections_of_one_address_keeps_nobody_out() {
    many_files();
    let broker = Broker::start_with(with_two_creators);
    let mut victim = Victim::of(&broker).await;
    let _held = idle_connections(&broker, &addresses(1), 4200).await;
    victim.is_served(&broker, "4,200 idle connections of one address").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn load_of_idle_connections_of_fifty_addresses_keeps_nobody_out() {
    many_files();
    let broker = Broker::start_with(with_two_creators);
    let mut victim = Victim::of(&broker).await;
    let _held = idle_connections(&broker, &addresses(50), 4200).await;
    victim.is_served(&broker, "4,200 idle connections of 50 addresses").await;
}

/// The numbers of a client's streams, first to last.
fn streams(count: usize) -> impl Iterator<Item = u32> {
    (0..).map(|place| 2 * place + 1).take(count)
}

/// Opens streams whose bodies never come, and then calls once; the answer says that all were seen.
async fn empty_streams(
    mut connection: Frames,
    path: &str,
    headers: &[(&str, &str)],
    count: usize,
) -> Frames {
    let last = u32::try_from(2 * count + 1).unwrap();
    let mut frames: Vec<u8> =
        streams(count).flat_map(|stream| call(stream, path, headers)).collect();
    frames.extend(call(last, "/grpc.health.v1.Health/Check", &[]));
    frames.extend(body(last, &[0; 5]));
    connection.write(&frames).await.unwrap();
    let answered =
        connection.read_until(|frame| frame.stream == last && frame.kind == kind::HEADERS);
    timeout(ANSWERED, answered).await.expect("an answer").unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_without_a_body_stop_no_signal_and_no_token_exchange() {
    let broker = Broker::start_with(with_two_creators);
    let mut victim = Victim::of(&broker).await;
    let anonymous = tls_config_of(&broker, None);
    let mut held = Vec::new();
    let kinds = [
        ("/ssf/events", "application/secevent+jwt"),
        ("/oauth/token", "application/x-www-form-urlencoded"),
    ];
    for (path, kind) in kinds {
        for source in addresses(4) {
            let stream = tls_stream_from(source, &broker, &anonymous).await.unwrap();
            let connection = Frames::over(stream).await.unwrap();
            held.push(empty_streams(connection, path, &[("content-type", kind)], 150).await);
        }
    }
    let base = broker.env("JETON_ENDPOINT").to_owned();
    for round in 0..10 {
        for (path, kind) in kinds {
            let client = broker.http(None);
            let request = client.post(format!("{base}{path}")).header("content-type", kind);
            let answer = timeout(ANSWERED, request.body("x").send()).await.expect("an answer");
            assert_eq!(answer.unwrap().status().as_u16(), 400, "{path}, call {round}: it is read");
        }
    }
    victim.is_served(&broker, "600 streams without a body on each endpoint").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_streams_of_one_agent_hold_no_slot_of_others() {
    let broker = Broker::start_with(with_two_creators);
    let mut victim = Victim::of(&broker).await;
    let mut held = Vec::new();
    for _ in 0..9 {
        let connection = Frames::connect(&broker, Some("agent")).await.unwrap();
        held.push(empty_streams(connection, WHO_AM_I, &[], 250).await);
    }
    victim.is_served(&broker, "2,250 empty streams").await;
    // Who is refused, or waits in vain, hears of it.
    let first = held.first_mut().unwrap();
    let ended = timeout(ANSWERED, first.read_until(|frame| frame.ends && frame.stream < 500)).await;
    assert_eq!(ended.expect("an answer").unwrap().kind, kind::HEADERS);
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_revocations_of_one_agent_keep_nobody_from_revoking() {
    let broker = Broker::start_with(with_two_creators);
    let mut victim = Victim::of(&broker).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let connection = Frames::connect(&broker, Some("agent")).await.unwrap();
        let path = "/jeton.v1.GrantService/RevokeGrant";
        held.push(empty_streams(connection, path, &[], 250).await);
    }
    victim.is_served(&broker, "1,000 empty revocations").await;
}

/// Eight sessions for attackers: below one of one agent, or of eight agents of one creator.
async fn attackers(broker: &Broker, below_one: bool, envelope: &[&str]) -> Vec<Caller> {
    let orchestrator = broker.as_("orchestrator").await;
    let (root, parent) = session(broker, &orchestrator, "agent", named("build-42", envelope)).await;
    let mut attackers = Vec::new();
    for number in 0..8 {
        let attacker = match below_one {
            true => {
                let ttl_seconds = 1800;
                let mut request = named("build-42", envelope);
                request.envelope.as_mut().unwrap().max_grants = 1000;
                let parent = parent.id.clone();
                let request = OpenSessionRequest { parent, ttl_seconds, ..request };
                session(broker, &root, "agent", request).await
            }
            false => {
                let request = named(&format!("attacker-{number}"), envelope);
                session(broker, &orchestrator, "agent", request).await
            }
        };
        attackers.push(attacker.0);
    }
    attackers
}

fn pkt(line: &str) -> String {
    format!("{:04x}{line}", line.len() + 4)
}

fn gateway(broker: &Broker) -> String {
    format!("127.0.0.1:{}", broker.env("JETON_GATEWAY").rsplit(':').next().unwrap())
}

/// Begins a push, and sends a byte of it now and then for as long as it may.
async fn slow_push(address: String, config: Arc<ClientConfig>, handle: String, number: usize) {
    let Ok(mut stream) = tls_stream_to(&address, &config).await else { return };
    let zero = "0".repeat(40);
    let one = "1".repeat(40);
    let line = format!("{zero} {one} refs/heads/agent/slow-{number}\0 report-status");
    let front = pkt(&line) + "0000PACK";
    let head = format!(
        "POST /git/git/{REPO}.git/git-receive-pack HTTP/1.1\r\nHost: localhost\r\njeton-session: {handle}\r\nContent-Type: application/x-git-receive-pack-request\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{front}\r\n",
        front.len()
    );
    let mut piece = head.into_bytes();
    while stream.write_all(&piece).await.is_ok() && stream.flush().await.is_ok() {
        sleep(Duration::from_secs(5)).await;
        piece = b"1\r\n\0\r\n".to_vec();
    }
}

async fn pushes_are_served_beside(below_one: bool, attack: &str) {
    let scene = Scene::start_with(with_two_creators).await;
    let broker = &scene.broker;
    let mut victim = Victim::of(broker).await;
    let creator = broker.as_(CREATOR).await;
    let envelope = ["git:acme/* contents:read", WRITE];
    let (agent, _) = session(broker, &creator, "agent-2", named("review-7", &envelope)).await;
    let file = |name: &str| broker.data().join("tls").join(name).to_str().unwrap().to_owned();
    let git: GitClient = scene
        .git_without_certificate()
        .with("http.sslCert", &file("agent-2.pem"))
        .with("http.sslKey", &file("agent-2.key"))
        .with("http.extraHeader", &format!("jeton-session: {}", agent.handle.unwrap()));
    git.run(".", &["clone", "-q", &scene.url(REPO), "work"]).await.succeeded();
    scene.commit(&git, "work", "fix", b"the fix\n").await;

    let mut config = (*tls_config_of(broker, Some("agent"))).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let config = Arc::new(config);
    let attackers = attackers(broker, below_one, &envelope).await;
    let mut pushing = JoinSet::new();
    for (number, attacker) in attackers.iter().chain(&attackers).enumerate() {
        let handle = attacker.handle.clone().unwrap();
        pushing.spawn(slow_push(gateway(broker), Arc::clone(&config), handle, number));
    }
    for attacker in &attackers {
        let begun = async || (!attacker.list_active().await.is_empty()).then_some(());
        within(ANSWERED, "an attacker's push is decided", begun).await;
    }
    let began = Instant::now();
    let push = git.run("work", &["push", "-q", "origin", "HEAD:refs/heads/agent/fix"]);
    timeout(ANSWERED, push).await.expect("a push waits in silence").succeeded();
    println!("{attack}: a push takes {:?}", began.elapsed());
    victim.is_served(broker, attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_pushes_in_eight_child_sessions_leave_slots_for_others() {
    pushes_are_served_beside(true, "16 slow pushes in 8 child sessions").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_pushes_of_eight_agents_of_one_creator_leave_slots_for_others() {
    pushes_are_served_beside(false, "16 slow pushes of 8 agents").await;
}

async fn transfers_are_served_beside(below_one: bool, attack: &str) {
    let scene = Scene::start_with(with_two_creators).await;
    let broker = &scene.broker;
    let mut victim = Victim::of(broker).await;
    let attackers = attackers(broker, below_one, &["git:acme/* contents:read", WRITE]).await;
    let path = format!("/git/git/{REPO}.git/git-receive-pack");
    let config = tls_config_of(broker, Some("agent"));
    let mut held = Vec::new();
    for attacker in &attackers {
        let stream = tls_stream_to(&gateway(broker), &config).await.unwrap();
        let connection = Frames::over(stream).await.unwrap();
        let handle = attacker.handle.clone().unwrap();
        let headers = [("jeton-session", handle.as_str())];
        held.push(empty_streams(connection, &path, &headers, 63).await);
    }
    let client = broker.http(Some("agent-2"));
    let url = format!("{}/info/refs?service=git-upload-pack", scene.url(REPO));
    let handle = victim.agent.handle.clone().unwrap();
    for round in 0..20 {
        let request = client.get(&url).header("jeton-session", &handle).send();
        let answer = timeout(ANSWERED, request).await.expect("an answer").unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{attack}: call {round}");
        answer.bytes().await.unwrap();
    }
    victim.is_served(broker, attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_of_eight_child_sessions_leave_slots_for_others() {
    transfers_are_served_beside(true, "504 transfers in 8 child sessions").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_of_eight_agents_of_one_creator_leave_slots_for_others() {
    transfers_are_served_beside(false, "504 transfers of 8 agents").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_one_agent_hide_no_other_from_the_approvers() {
    const PROD: [&str; 1] = ["git:acme/payments contents:write"];
    let broker = Broker::start_with(with_two_creators);
    let mut victim = Victim::of(&broker).await;
    let creator = broker.as_(CREATOR).await;
    let (asking, _) = session(&broker, &creator, "agent-2", named("review-7", &PROD)).await;
    let asks = "git:acme/payments contents:write ref=agent/victim";
    let asked = asking.requests(asks).await.unwrap().grant.unwrap().id;

    let orchestrator = broker.as_("orchestrator").await;
    let (mut waiting, mut refused) = (0, 0);
    for number in 0..52 {
        let request = named("build-42", &PROD);
        let (attacker, _) = session(&broker, &orchestrator, "agent", request).await;
        let mut requests = JoinSet::new();
        for place in 0..20 {
            let attacker = attacker.clone();
            let scope = format!("git:acme/payments contents:write ref=agent/{number}-{place}");
            requests.spawn(async move { attacker.requests(&scope).await.is_ok() });
        }
        let answers = requests.join_all().await;
        waiting += answers.iter().filter(|waits| **waits).count();
        refused += answers.iter().filter(|waits| !**waits).count();
    }
    println!("{waiting} requests of one agent wait, {refused} were refused");
    let bo = broker.client("bo").await;
    let listed = bo.list_approvals().await.unwrap();
    assert!(listed.iter().any(|one| one.grant.id == asked), "{} are listed", listed.len());
    let mut watched = bo.watch_approvals().await.unwrap();
    let first = watched.next().await.unwrap().expect("a list");
    assert!(first.iter().any(|one| one.grant.id == asked), "{} are watched", first.len());
    assert!(waiting <= 100 && refused >= 940, "{waiting} of one agent wait");
    let more = "git:acme/payments contents:write ref=agent/victim-2";
    asking.requests(more).await.expect("another may still ask");
    let unknown = broker.client("agent-2").await.get_approval(&asked).await.err().unwrap();
    assert_eq!(unknown.kind(), ErrorKind::NotFound, "and it is for approvers alone");
    victim.is_served(&broker, "1,040 requests that wait").await;
}
