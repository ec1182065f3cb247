//! `kill -9` at random moments under load: what was acknowledged holds, what was handed out is on
//! record, and nothing that a crash left open stays open.
//!
//! `JETON_CRASH_TRIALS` sets how often (200), `JETON_SEED` repeats a run's random choices.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use jeton_domain::{audit::Event, merkle::Anchor, revocation::UpstreamRevocation};
use jeton_proto::v1::{
    CloseSessionRequest, GetGrantRequest, GetSessionRequest, GrantState, IntrospectRequest,
    ReleaseGrantRequest, RenewGrantRequest, RevokeGrantRequest, RevokeMatchingRequest,
    SessionState, open_session_request::Binding, revoke_matching_request::Matching,
};
use jeton_tests::{
    broker::{Broker, Caller, opening},
    eventually::within,
    github::Github,
    github_front::sha256,
    records::{Head, Records},
};
use tonic::Status;
use tonic_types::StatusExt;

const ENVELOPE: [&str; 2] = ["git:acme/* contents:read", "github:acme/* contents:read"];
/// What the issue promises for whatever a crash left open.
const CLOSED_WITHIN: Duration = Duration::from_secs(30);
/// How many of the last trial's answers are looked up again after each restart.
const LOOKED_UP: usize = 8;

/// What the clients know, written down the moment they know it.
#[derive(Default)]
struct Ledger {
    credentials: Vec<Received>,
    /// Grants whose end was asked for, perhaps without an answer.
    ending: HashSet<String>,
    /// Grants whose end was acknowledged.
    ended: Vec<String>,
    sessions_opened: Vec<String>,
    sessions_closed: Vec<String>,
    /// Refusals by the broker itself, which this load gives no reason for.
    refusals: Vec<String>,
}

#[derive(Clone)]
struct Received {
    grant: String,
    secret: String,
    by_github: bool,
}

type Shared = Arc<Mutex<Ledger>>;

/// What the log says, followed entry by entry.
#[derive(Default)]
struct Log {
    head: Head,
    intents_at_github: usize,
    issues: HashMap<String, usize>,
    open: HashSet<String>,
    ended: HashSet<String>,
    sessions_opened: HashSet<String>,
    sessions_closed: HashSet<String>,
    out_of_reach: usize,
    signed: Vec<Anchor>,
}

impl Log {
    fn follow(&mut self, records: &Records) {
        for event in records.events_behind(&mut self.head) {
            self.take(event);
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Intent { about, .. } => {
                self.intents_at_github += usize::from(about.scope.upstream.as_str() == "github");
                self.open.insert(about.grant.to_string());
            }
            Event::Issued { about, .. } | Event::Renewed { about, .. } => {
                let grant = about.grant.to_string();
                self.open.remove(&grant);
                *self.issues.entry(grant).or_default() += 1;
            }
            Event::MintFailed { of, upstream, .. } => self.closes(&of.grant.to_string(), upstream),
            // How a renewal that a crash interrupted is closed; all else was closed before.
            Event::UpstreamAnswered { of, upstream } => {
                self.closes(&of.grant.to_string(), upstream)
            }
            Event::Released { of, upstream }
            | Event::Expired { of, upstream }
            | Event::Revoked { of, upstream, .. } => {
                self.closes(&of.grant.to_string(), upstream);
                self.ended.insert(of.grant.to_string());
            }
            Event::SessionOpened { session, .. } => {
                self.sessions_opened.insert(session.to_string());
            }
            Event::SessionClosed { session, .. } => {
                self.sessions_closed.insert(session.to_string());
            }
            _ => {}
        }
    }

    fn closes(&mut self, grant: &str, upstream: UpstreamRevocation) {
        self.open.remove(grant);
        self.out_of_reach +=
            usize::from(matches!(upstream, UpstreamRevocation::Unreachable { .. }));
    }
}

#[allow(clippy::disallowed_methods, reason = "the one reader of the environment in this test")]
fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// A small generator: the same seed, the same choices.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let seed = variable("JETON_SEED");
        let seed = seed.unwrap_or_else(|| jeton_tests::now().as_microsecond().unsigned_abs());
        println!("JETON_SEED={seed}");
        Self(seed | 1)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_at_any_moment_loses_nothing_acknowledged_and_leaves_nothing_unrecorded() {
    let trials: u32 = variable("JETON_CRASH_TRIALS").unwrap_or(200);
    let mut dice = Dice::new();
    let github = Github::pretended().await;
    let mut broker = Broker::make();
    github.configure(broker.data());
    let ledger = Shared::default();
    let mut log = Log::default();
    let mut seen = Seen::default();

    for trial in 0..trials {
        broker.run();
        closes_what_was_left_open(&broker, &mut log).await;
        seen.hold_after_restart(&broker, &ledger).await;
        let clients = load(&broker, &ledger, dice.below(1 << 32)).await;
        tokio::time::sleep(Duration::from_millis(5 + dice.below(146))).await;
        broker.kill();
        for client in clients {
            client.await.unwrap();
        }
        let records = Records::open(broker.data());
        log.follow(&records);
        log.signed.extend(records.checkpoint());
        on_record(&log, &ledger, &github, trial);
    }

    broker.run();
    closes_what_was_left_open(&broker, &mut log).await;
    seen.hold_after_restart(&broker, &ledger).await;
    every_token_is_accounted_for(&broker, &mut log, &ledger, &github).await;
    assert_eq!(broker.stop(), Some(0));
    let records = Records::open(broker.data());
    assert_eq!(records.integrity(), "ok");
    let entries = records.events().len();
    log.signed.extend(records.checkpoint());
    assert!(log.signed.iter().any(|signed| signed.size == u64::try_from(entries).unwrap()));
    records.hold(log.signed);
    let ledger = ledger.lock().unwrap();
    assert_eq!(ledger.refusals, Vec::<String>::new());
    let received = ledger.credentials.len();
    println!(
        "{trials} kills, {received} credentials, {} ends, {entries} entries",
        ledger.ended.len()
    );
    assert!(received > usize::try_from(trials).unwrap(), "the load was real");
}

/// Starts clients that go on until the broker is gone.
async fn load(broker: &Broker, ledger: &Shared, seed: u64) -> Vec<tokio::task::JoinHandle<()>> {
    let (agent, session) = broker.agent_with(&ENVELOPE).await;
    let orchestrator = broker.as_("orchestrator").await;
    ledger.lock().unwrap().sessions_opened.push(session.id);
    let thumbprint = broker.thumbprint("agent");
    let mut clients = Vec::new();
    for client in 0..6 {
        let (agent, ledger) = (agent.clone(), Arc::clone(ledger));
        let mut dice = Dice((seed + client) | 1);
        let scope = if client % 2 == 0 {
            "git:acme/api contents:read"
        } else {
            "github:acme/web contents:read"
        };
        clients.push(tokio::spawn(async move {
            let Err(end) = works(&agent, &ledger, scope, &mut dice).await;
            note_refusal(&end, &ledger);
        }));
    }
    let ledger = Arc::clone(ledger);
    clients.push(tokio::spawn(async move {
        let Err(end) = opens_and_closes(&orchestrator, &ledger, &thumbprint).await;
        note_refusal(&end, &ledger);
    }));
    clients
}

/// A broken connection is what must happen; what the broker itself refused is noted.
fn note_refusal(end: &Status, ledger: &Shared) {
    if let Some(info) = end.get_error_details().error_info() {
        ledger.lock().unwrap().refusals.push(format!("{}: {}", info.reason, end.message()));
    }
}

/// Requests, renews and ends grants, for ever.
async fn works(
    agent: &Caller,
    ledger: &Shared,
    scope: &str,
    dice: &mut Dice,
) -> Result<Infallible, Status> {
    let by_github = scope.starts_with("github");
    let note = |grant: &str, secret: String| {
        let received = Received { grant: grant.to_owned(), secret, by_github };
        ledger.lock().unwrap().credentials.push(received);
    };
    loop {
        let answer = agent.requests(scope).await?;
        let id = answer.grant.unwrap().id;
        note(&id, answer.credential.unwrap().secret);
        if dice.below(4) == 0 {
            let renew = RenewGrantRequest { id: id.clone(), ..Default::default() };
            let renewed = agent.grants().renew_grant(renew).await?.into_inner();
            note(&id, renewed.credential.unwrap().secret);
        }
        let end = dice.below(3);
        if end < 2 {
            ledger.lock().unwrap().ending.insert(id.clone());
            if end == 0 {
                let revoke = RevokeGrantRequest {
                    id: id.clone(),
                    reason: "done".into(),
                    ..Default::default()
                };
                agent.grants().revoke_grant(revoke).await?;
            } else {
                agent.grants().release_grant(ReleaseGrantRequest { id: id.clone() }).await?;
            }
            ledger.lock().unwrap().ended.push(id);
        }
    }
}

/// Opens and closes sessions, for ever.
async fn opens_and_closes(
    orchestrator: &Caller,
    ledger: &Shared,
    thumbprint: &str,
) -> Result<Infallible, Status> {
    loop {
        let mut request = opening(&ENVELOPE);
        request.binding = Some(Binding::CertificateSha256(thumbprint.to_owned()));
        let opened = orchestrator.sessions().open_session(request).await?.into_inner();
        let id = opened.session.unwrap().id;
        ledger.lock().unwrap().sessions_opened.push(id.clone());
        let close = CloseSessionRequest { id: id.clone(), reason: "done".into() };
        orchestrator.sessions().close_session(close).await?;
        ledger.lock().unwrap().sessions_closed.push(id);
    }
}

async fn closes_what_was_left_open(broker: &Broker, log: &mut Log) {
    let records = Records::open(broker.data());
    let log = Mutex::new(log);
    within(CLOSED_WITHIN, "what the crash left open is closed", async || {
        let mut log = log.lock().unwrap();
        log.follow(&records);
        let left = (records.open_mints(), records.open_renewals(), log.open.len());
        (left == (0, 0, 0)).then_some(())
    })
    .await;
}

/// Holds the clients' ledger against the log.
fn on_record(log: &Log, ledger: &Shared, github: &Github, trial: u32) {
    let ledger = ledger.lock().unwrap();
    let mut received: HashMap<&str, usize> = HashMap::new();
    for one in &ledger.credentials {
        *received.entry(&one.grant).or_default() += 1;
    }
    for (grant, count) in received {
        let issues = log.issues.get(grant).copied().unwrap_or_default();
        assert!(
            count <= issues,
            "trial {trial}: {grant} was handed out {count} times, {issues} are on record"
        );
    }
    for grant in &ledger.ended {
        assert!(
            log.ended.contains(grant),
            "trial {trial}: the acknowledged end of {grant} is lost"
        );
    }
    for session in &ledger.sessions_opened {
        assert!(log.sessions_opened.contains(session), "trial {trial}: {session} is lost");
    }
    for session in &ledger.sessions_closed {
        assert!(
            log.sessions_closed.contains(session),
            "trial {trial}: the end of {session} is lost"
        );
    }
    let minted = github.front.minted().len();
    assert!(
        minted <= log.intents_at_github,
        "trial {trial}: {minted} tokens, {} intents",
        log.intents_at_github
    );
}

/// How much of the ledger was looked up already.
#[derive(Default)]
struct Seen {
    credentials: usize,
    ended: usize,
    sessions_closed: usize,
}

impl Seen {
    /// Asks the new process about the last answers of the old one.
    async fn hold_after_restart(&mut self, broker: &Broker, ledger: &Shared) {
        let (fresh, ended, closed) = {
            let ledger = ledger.lock().unwrap();
            let mut fresh = ledger.credentials[self.credentials..].to_vec();
            fresh.retain(|one| !ledger.ending.contains(&one.grant));
            let found = (
                fresh,
                ledger.ended[self.ended..].to_vec(),
                ledger.sessions_closed[self.sessions_closed..].to_vec(),
            );
            self.credentials = ledger.credentials.len();
            self.ended = ledger.ended.len();
            self.sessions_closed = ledger.sessions_closed.len();
            found
        };
        let operator = broker.as_("ana").await;
        for grant in ended.iter().rev().take(LOOKED_UP) {
            let state = state(&operator, grant).await;
            assert!(
                matches!(state, GrantState::Revoked | GrantState::Released),
                "{grant} is {state:?} again"
            );
            let secrets = of_grant(ledger, grant);
            for secret in secrets {
                assert!(!is_live(&operator, &secret).await, "{grant} was ended and opens again");
            }
        }
        for one in fresh.iter().rev().take(LOOKED_UP) {
            assert_eq!(state(&operator, &one.grant).await, GrantState::Active, "{}", one.grant);
        }
        for session in closed.iter().rev().take(LOOKED_UP) {
            let get = GetSessionRequest { id: session.clone() };
            let found =
                operator.sessions().get_session(get).await.unwrap().into_inner().session.unwrap();
            assert_eq!(found.state(), SessionState::Closed, "{session}");
        }
    }
}

fn of_grant(ledger: &Shared, grant: &str) -> Vec<String> {
    let ledger = ledger.lock().unwrap();
    let signed = ledger.credentials.iter().filter(|one| one.grant == grant && !one.by_github);
    signed.map(|one| one.secret.clone()).collect()
}

async fn state(operator: &Caller, grant: &str) -> GrantState {
    let get = GetGrantRequest { id: grant.to_owned() };
    operator.grants().get_grant(get).await.unwrap().into_inner().grant.unwrap().state()
}

async fn is_live(host: &Caller, secret: &str) -> bool {
    let audience = "https://git.dev.jeton.local".to_owned();
    let request = IntrospectRequest { credential: secret.to_owned(), audience };
    host.introspection().introspect(request).await.unwrap().into_inner().active
}

/// Every token that works belongs to an active grant or is written off on record; and when all is
/// revoked, only those that nobody ever saw are left.
async fn every_token_is_accounted_for(
    broker: &Broker,
    log: &mut Log,
    ledger: &Shared,
    github: &Github,
) {
    let records = Records::open(broker.data());
    let queue_is_empty = async || (records.queued_revocations() == 0).then_some(());
    within(Duration::from_secs(120), "the queue of revocations empties", queue_is_empty).await;
    let grants: HashMap<String, String> = {
        let ledger = ledger.lock().unwrap();
        let tokens = ledger.credentials.iter().filter(|one| one.by_github);
        tokens.map(|one| (sha256(&one.secret), one.grant.clone())).collect()
    };
    let operator = broker.as_("ana").await;
    for token in github.front.live_tokens() {
        if let Some(grant) = grants.get(&token.sha256) {
            assert_eq!(
                state(&operator, grant).await,
                GrantState::Active,
                "{grant} ended, its token works"
            );
        }
    }
    let all = RevokeMatchingRequest {
        matching: Some(Matching::All(true)),
        reason: "the end".into(),
        ..Default::default()
    };
    operator.grants().revoke_matching(all).await.unwrap();
    within(Duration::from_secs(120), "the queue of revocations empties", queue_is_empty).await;
    log.follow(&records);
    let live = github.front.live_tokens();
    for token in &live {
        assert!(
            !grants.contains_key(&token.sha256),
            "a token that a client got works after revoking all"
        );
    }
    let written_off = log.out_of_reach;
    assert!(
        live.len() <= written_off,
        "{} tokens work, {written_off} are on record as out of reach",
        live.len()
    );
    println!("{} tokens minted, {} never seen by anyone", github.front.minted().len(), live.len());
}
