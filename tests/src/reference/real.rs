//! The same case put to the real decision, and its answer in the reference's words.

use std::collections::BTreeSet;

use jeton_domain::{
    approval::GroupName,
    decision::{self, Decision, Delivery, GrantRequest, PolicyId, Standing},
    delegation::{Chain, Link},
    grant::DecidedBy,
    id::{Row, SessionId, Tag},
    principal::{Issuer, Issuers, PrincipalId},
    revocation::{Matching, Stop, Stops},
    scope::{Resource, Scope, ScopeBound, Upstream},
    session::{Binding, Envelope, Session, SessionState, Words},
    ttl::{Timestamp, Ttl},
};
use jeton_policy::{PolicySet, Vocabulary};

use super::{ABOVE, Case, OWN, Plain, Stopped, policy::Book};

/// Loads the policies as a folder of them would be. Those that could never match are refused by the
/// loader, so they are taken out of the book first.
///
/// # Panics
/// When they are refused for anything else.
#[must_use]
pub fn load(book: &mut Book) -> PolicySet {
    loop {
        let (cedar, toml) = (book.cedar(), book.facts.toml());
        let texts = [("a.cedar", cedar.as_str()), ("catalogue.toml", toml.as_str())];
        let problems = match PolicySet::from_sources(&texts, &Vocabulary::default()) {
            Ok(set) => return set,
            Err(problems) => problems,
        };
        let impossible = problems.iter().all(|problem| problem.message.contains("is impossible"));
        assert!(impossible, "{problems:#?} in\n{cedar}\n{toml}");
        let lines: Vec<_> = problems.iter().filter_map(|problem| problem.line).collect();
        let mut line = 0;
        book.rules.retain(|_| {
            line += 1;
            !lines.contains(&line)
        });
    }
}

/// Decides.
///
/// # Panics
/// When a part of the case is no name.
#[must_use]
pub fn decide(set: &PolicySet, case: &Case) -> Decision {
    let now = Timestamp::from_millis(case.now * 1000);
    let bounds =
        case.envelope.iter().map(|line| ScopeBound::parse(&line.text()).unwrap()).collect();
    let above = case.above.iter().zip(ABOVE..);
    let links: Vec<_> =
        above.map(|(agent, row)| Link { session: session(row), agent: name(agent) }).collect();
    let issuer = Issuer::new("https://login.acme.dev");
    let session = Session {
        id: session(OWN),
        agent: name(case.agent),
        person: case.person.map(name),
        opener: name(case.opener),
        task: Words::default(),
        envelope: Envelope::new(bounds, 10, case.max_ttl).unwrap(),
        binding: Binding::Bearer,
        handle_hash: [0; 32],
        opened: now,
        deadline: Timestamp::from_millis(now.millis() + i64::from(case.left) * 1000 + 999),
        chain: Chain::try_from(links).unwrap(),
        issuers: vec![issuer.clone()],
    };
    let approvals: BTreeSet<_> = case.approvals.iter().map(|group| GroupName::new(group)).collect();
    let state = if case.closed { SessionState::Expired { at: now } } else { SessionState::Open };
    let stops = Stops::new(case.stops.iter().map(|stop| stop_of(*stop)).collect());
    let issuers: Issuers = (!case.doubted).then_some(issuer).into_iter().collect();
    let standing = Standing {
        session: &session,
        state: &state,
        approvals: &approvals,
        approved_by: &[],
        stops: &stops,
        issuers: &issuers,
        now,
    };
    let request = GrantRequest {
        scope: Scope::parse(&case.request.text()).unwrap(),
        ttl: case.ttl.map(|ttl| Ttl::from_seconds(ttl).unwrap()),
        delivery: if case.gateway { Delivery::Gateway } else { Delivery::Direct },
        deed: None,
        reason: Words::default(),
    };
    decision::decide(set, standing, &request)
}

/// The decision in the words of the reference.
#[must_use]
pub fn plain(decision: &Decision) -> Plain {
    let ids = |by: &DecidedBy| by.policies.iter().map(ToString::to_string).collect();
    match decision {
        Decision::Permit(permit) => {
            Plain::Permit { ttl: permit.ttl().seconds(), ids: ids(permit.decided_by()) }
        }
        Decision::NeedsApproval { guards, ttl, decided_by } => Plain::NeedsApproval {
            ttl: ttl.seconds(),
            guards: guards.iter().map(|guard| guard.policy.to_string()).collect(),
            ids: ids(decided_by),
        },
        Decision::Deny(denial) => {
            Plain::Deny { layer: denial.layer.word(), ids: ids(&denial.decided_by) }
        }
    }
}

fn stop_of(stop: Stopped) -> Stop {
    let upstream = |text: &str| Upstream::parse(text).unwrap();
    let matching = match stop {
        Stopped::Session(row) => Matching::Session(session(row)),
        Stopped::Agent(agent) => Matching::Agent(name(agent)),
        Stopped::Person(person) => Matching::Person(name(person)),
        Stopped::Resource(at, resource) => {
            Matching::Resource(upstream(at), Resource::parse(resource).unwrap())
        }
        Stopped::Upstream(at) => Matching::Upstream(upstream(at)),
        Stopped::Policy(id) => Matching::Policy(PolicyId::new(id)),
        Stopped::All => Matching::All,
    };
    let since = Timestamp::from_seconds(0);
    Stop { matching, by: name("cy"), reason: Words::default(), since }
}

fn session(row: u64) -> SessionId {
    SessionId::new(Row::new(row).unwrap(), Tag([7; 10]))
}

fn name(text: &str) -> PrincipalId {
    PrincipalId::parse(text).unwrap()
}
