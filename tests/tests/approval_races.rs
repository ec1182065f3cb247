//! Thousands of random schedules of requests, approvals, withdrawals, refusals, revocations, claims and
//! policy changes against one broker; then its log is held against a plain reading of the rules.
//!
//! `JETON_APPROVAL_TRIALS` says how many, `JETON_SEED` repeats the dice.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use jeton_domain::{
    approval::Breadth,
    audit::{Entry, Event},
    id::{GrantId, SessionId},
    ttl::Timestamp,
};
use jeton_proto::v1::{
    ApproveRequest, ClaimGrantRequest, CloseSessionRequest, GetApprovalRequest, RejectRequest,
    ReleaseGrantRequest, RequestGrantRequest, RevokeGrantRequest, WithdrawApprovalRequest,
    open_session_request::Binding,
};
use jeton_tests::{
    broker::{Broker, Caller, opening, scope},
    generate::Dice,
    records::{Head, Records},
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{sync::Semaphore, task::JoinSet};

const FIX: &str = "git:acme/payments contents:write ref=agent/fix";
const OTHER: &str = "git:acme/payments contents:write ref=agent/other";
const FAR: &str = "orders:acme/live orders:write";
const READ: &str = "git:acme/payments contents:read";
const ENVELOPE: [&str; 2] =
    ["git:acme/* contents:read,contents:write", "orders:acme/* orders:write"];
const GUARD: &str = "prod-writes-need-security";
const BO: &str = "spiffe://dev.jeton.local/person/bo";
const ANA: &str = "spiffe://dev.jeton.local/person/ana";
/// Schedules that run at once.
const AT_ONCE: usize = 16;
/// Time between two changes of the policies.
const CHANGE: Duration = Duration::from_millis(400);

/// What came of it all, for the reader of the test's output, and to see that each kind happened.
#[derive(Default)]
struct Seen {
    approved: AtomicUsize,
    refused: AtomicUsize,
    claimed: AtomicUsize,
    at_once: AtomicUsize,
    waiting: AtomicUsize,
}

#[allow(clippy::disallowed_methods, reason = "the size of a test is set from outside")]
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Everybody who takes part.
#[derive(Clone)]
struct World {
    orchestrator: Caller,
    agent: Caller,
    ana: Caller,
    bo: Caller,
    binding: String,
    seen: Arc<Seen>,
}

impl World {
    async fn of(broker: &Broker) -> Self {
        Self {
            orchestrator: broker.as_("orchestrator").await,
            agent: broker.as_("agent").await,
            ana: broker.as_("ana").await,
            bo: broker.as_("bo").await,
            binding: broker.thumbprint("agent"),
            seen: Arc::default(),
        }
    }

    /// One schedule: a session, a question or two, and whatever the dice say, partly at once.
    async fn schedule(&self, mut dice: Dice) {
        let mut request = opening(&ENVELOPE);
        // Why: orders are written for somebody; and sometimes an approver's own question.
        request.person = if dice.below(5) == 0 { BO.into() } else { "eve@acme.dev".into() };
        request.binding = Some(Binding::CertificateSha256(self.binding.clone()));
        let opened = self.orchestrator.sessions().open_session(request).await.unwrap().into_inner();
        let session = opened.session.unwrap().id;
        let mut agent = self.agent.clone();
        agent.handle = Some(opened.handle);
        let mut asked = Vec::new();
        for _ in 0..=dice.below(2) {
            let text = [FIX, FIX, OTHER, FAR][usize::try_from(dice.below(4)).unwrap()];
            if let Some(id) = self.asks(&agent, text, &mut dice).await {
                asked.push(id);
            }
        }
        for _ in 0..2 + dice.below(4) {
            let mut together = JoinSet::new();
            for _ in 0..=dice.below(3) {
                let (world, agent, session) = (self.clone(), agent.clone(), session.clone());
                let (asked, dice) = (asked.clone(), Dice::new(dice.below(u64::MAX)));
                together.spawn(async move { world.step(&agent, &session, &asked, dice).await });
            }
            asked.extend(together.join_all().await.into_iter().flatten());
        }
        // Why: what still waits counts against the bound of its agent.
        let close = CloseSessionRequest { id: session, reason: "over".into() };
        drop(self.orchestrator.sessions().close_session(close).await);
    }

    async fn asks(&self, agent: &Caller, text: &str, dice: &mut Dice) -> Option<String> {
        let ttl_seconds = [60, 120, 300][usize::try_from(dice.below(3)).unwrap()];
        let request = RequestGrantRequest {
            scope: Some(scope(text)),
            ttl_seconds,
            reason: "a schedule".into(),
            ..Default::default()
        };
        let answer = agent.grants().request_grant(request).await.ok()?.into_inner();
        let counter = match answer.credential {
            Some(_) => &self.seen.at_once,
            None => &self.seen.waiting,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        answer.grant.map(|grant| grant.id)
    }

    /// One act of anybody. Gives the grant that it asked for, if it asked.
    async fn step(
        &self,
        agent: &Caller,
        session: &str,
        asked: &[String],
        mut dice: Dice,
    ) -> Option<String> {
        let pick = |dice: &mut Dice| {
            let count = u64::try_from(asked.len()).unwrap();
            asked.get(usize::try_from(dice.below(count.max(1))).unwrap()).cloned()
        };
        let id = pick(&mut dice)?;
        let by = if dice.below(2) == 0 { &self.ana } else { &self.bo };
        match dice.below(20) {
            0..=7 => self.approves(by, id, pick(&mut dice)?, &mut dice).await,
            8..=12 => {
                let claim = ClaimGrantRequest { id };
                let claimed = agent.grants().claim_grant(claim).await;
                let got = claimed.is_ok_and(|answer| answer.into_inner().credential.is_some());
                self.seen.claimed.fetch_add(usize::from(got), Ordering::Relaxed);
            }
            13 => drop(
                by.approvals()
                    .withdraw_approval(WithdrawApprovalRequest { grant: id, ..Default::default() })
                    .await,
            ),
            14 => {
                let no = RejectRequest { grant: id, reason: "no".into() };
                drop(by.approvals().reject(no).await);
            }
            15 => {
                let revoke = RevokeGrantRequest { id, reason: "no".into(), ..Default::default() };
                drop(self.ana.grants().revoke_grant(revoke).await);
            }
            16 => drop(agent.grants().release_grant(ReleaseGrantRequest { id }).await),
            17 if dice.below(4) == 0 => {
                let close = CloseSessionRequest { id: session.to_owned(), reason: "over".into() };
                drop(self.orchestrator.sessions().close_session(close).await);
            }
            _ => {
                let text = [FIX, OTHER, FAR, READ][usize::try_from(dice.below(4)).unwrap()];
                return self.asks(agent, text, &mut dice).await;
            }
        }
        None
    }

    /// A yes: mostly to what was shown, sometimes with the hash of another question or of none.
    async fn approves(&self, by: &Caller, id: String, other: String, dice: &mut Dice) {
        let shown = match dice.below(6) {
            0 => other,
            _ => id.clone(),
        };
        let look = GetApprovalRequest { grant: shown };
        let Ok(shown) = by.approvals().get_approval(look).await else { return };
        let mut request_hash = shown.into_inner().approval.unwrap().request_hash;
        if dice.below(12) == 0 {
            let flipped = if request_hash.starts_with('0') { "1" } else { "0" };
            request_hash.replace_range(..1, flipped);
        }
        let for_session = dice.below(2) == 0;
        let within = (for_session && dice.below(3) > 0)
            .then(|| scope("git:acme/payments contents:write ref=agent/*"));
        let yes = ApproveRequest {
            grant: id,
            request_hash,
            reason: "a schedule".into(),
            for_session,
            within,
            grants: if for_session { u32::try_from(dice.below(4)).unwrap() } else { 0 },
            ttl_seconds: 0,
        };
        let counter = match by.approvals().approve(yes).await {
            Ok(_) => &self.seen.approved,
            Err(_) => &self.seen.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Bo comes and goes among the approvers, until told to stop.
async fn changes(data: std::path::PathBuf, pid: u32, stop: Arc<AtomicBool>) -> usize {
    let file = data.join("policies/catalogue.toml");
    let with = fs::read_to_string(&file).unwrap();
    let without = with.replace(&format!(", \"{BO}\"]"), "]");
    assert_ne!(with, without);
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(CHANGE).await;
        count += 1;
        let text = if count % 2 == 1 { &without } else { &with };
        let draft = data.join("catalogue.new");
        fs::write(&draft, text).unwrap();
        fs::rename(&draft, &file).unwrap();
        kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), Signal::HUP).unwrap();
    }
    count
}

/// An approval as the log tells it.
struct Given {
    grant: GrantId,
    session: SessionId,
    guards: BTreeSet<String>,
    policy_hash: String,
    reaches: Breadth,
    gone: bool,
    used: u32,
}

/// What the log has told so far.
#[derive(Default)]
struct Told {
    given: BTreeMap<u64, Given>,
    persons: HashMap<SessionId, Option<String>>,
    closed: HashSet<SessionId>,
    pending: HashMap<GrantId, Timestamp>,
    ended: HashSet<GrantId>,
    issued: HashSet<GrantId>,
    /// The policies that the broker began with: under the others Bo is no approver.
    first: String,
    guarded: usize,
    by_session: usize,
}

impl Told {
    fn take(&mut self, entry: &Entry) {
        let at = entry.at;
        match &entry.event {
            Event::Started { policy_hash, .. } => self.first.clone_from(policy_hash),
            Event::SessionOpened { session, person, .. } => {
                self.persons.insert(*session, person.as_ref().map(ToString::to_string));
            }
            Event::SessionClosed { session, .. } => {
                self.closed.insert(*session);
            }
            Event::Pending { about, until, .. } => {
                self.pending.insert(about.grant, *until);
            }
            Event::Approved { of, by, guards, policy_hash, reaches, .. } => {
                let until = self.pending.get(&of.grant).expect("it waits");
                assert!(*until > at && !self.ended.contains(&of.grant), "it still waits");
                assert!(!self.issued.contains(&of.grant), "it waits no more");
                assert!(by.as_str() == ANA || by.as_str() == BO && *policy_hash == self.first);
                assert_ne!(self.persons[&of.session].as_deref(), Some(by.as_str()), "their own");
                let given = Given {
                    grant: of.grant,
                    session: of.session,
                    guards: guards.iter().map(ToString::to_string).collect(),
                    policy_hash: policy_hash.clone(),
                    reaches: reaches.clone(),
                    gone: false,
                    used: 0,
                };
                self.given.insert(entry.index, given);
            }
            Event::ApprovalWithdrawn { approval, .. } => {
                self.given.get_mut(approval).unwrap().gone = true;
            }
            Event::Rejected { of, .. }
            | Event::Released { of, .. }
            | Event::Revoked { of, .. }
            | Event::Lapsed { of } => {
                self.ended.insert(of.grant);
            }
            Event::Issued { about, until, .. } => self.issue(entry, about, *until),
            _ => {}
        }
    }

    fn issue(&mut self, entry: &Entry, about: &jeton_domain::audit::About, until: Timestamp) {
        let text = about.scope.to_string();
        assert!(self.issued.insert(about.grant), "one credential for one grant: {text}");
        assert!(!self.ended.contains(&about.grant), "{text} had ended");
        assert!(!self.closed.contains(&about.session), "its session was over");
        if text == READ {
            assert_eq!(about.decided_by.approvals, [0_u64; 0], "what needs none uses none");
            return;
        }
        self.guarded += 1;
        let [approval] = about.decided_by.approvals.as_slice() else {
            panic!("{text} rests on {:?}, one person is the quorum", about.decided_by.approvals)
        };
        let given = self.given.get_mut(approval).expect("an approval that was recorded before");
        assert!(!given.gone, "it was withdrawn");
        assert!(given.guards.contains(GUARD));
        assert_eq!(given.session, about.session, "of the same session");
        assert_eq!(given.policy_hash, *about.decided_by.policy_hash, "under the same policies");
        given.used += 1;
        match &given.reaches {
            Breadth::Once => {
                assert_eq!(given.grant, about.grant, "once is for one request");
                assert_eq!(given.used, 1, "once is once");
            }
            Breadth::Emergency { .. } => panic!("nobody is named for emergencies here"),
            Breadth::Session { within, grants, ttl, until: end } => {
                assert!(given.used <= *grants, "{} of {grants}", given.used);
                assert!(*end > entry.at, "its time is over");
                if given.grant != about.grant {
                    self.by_session += 1;
                    assert!(within.allows(&about.scope), "{text} is not within {within}");
                    let life = until.millis() - entry.at.millis();
                    assert!(life <= i64::from(ttl.seconds()) * 1000, "{life} ms");
                }
            }
        }
    }
}

fn hold(data: &Path) -> Told {
    let mut told = Told::default();
    let records = Records::open(data);
    for entry in records.entries_behind(&mut Head::default()) {
        told.take(&entry);
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn no_schedule_lets_a_credential_out_that_nobody_approved() {
    let trials = variable("JETON_APPROVAL_TRIALS").unwrap_or(5000);
    let seed = variable("JETON_SEED")
        .unwrap_or_else(|| jeton_tests::now().as_microsecond().unsigned_abs());
    println!("JETON_SEED={seed}");
    let broker = Broker::start();
    let world = World::of(&broker).await;
    let stop = Arc::new(AtomicBool::new(false));
    let changing = tokio::spawn(changes(broker.data().to_owned(), broker.pid(), Arc::clone(&stop)));
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    for trial in 0..trials {
        let place = Arc::clone(&places).acquire_owned().await.unwrap();
        let world = world.clone();
        running.spawn(async move {
            world.schedule(Dice::new(seed.wrapping_add(trial * 7919))).await;
            drop(place);
        });
    }
    running.join_all().await;
    stop.store(true, Ordering::Relaxed);
    let changed = changing.await.unwrap();
    let told = hold(broker.data());
    let seen = &world.seen;
    let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    println!(
        "{trials} schedules: {} approved, {} refused, {} claimed, {} at once, {} waited, {} guarded credentials, {} of them by an approval for the session, {changed} policy changes",
        of(&seen.approved),
        of(&seen.refused),
        of(&seen.claimed),
        of(&seen.at_once),
        of(&seen.waiting),
        told.guarded,
        told.by_session
    );
    let enough = usize::try_from(trials / 100).unwrap();
    for (what, count) in [
        ("approved", of(&seen.approved)),
        ("refused", of(&seen.refused)),
        ("claimed", of(&seen.claimed)),
        ("for the session", told.by_session),
        ("guarded", told.guarded),
    ] {
        assert!(count > enough, "{what}: only {count}; the schedules test nothing");
    }
}
