//! A plain reading of the rules: what policies, envelopes and requests mean, written a second time
//! as simply as possible, to hold the real decision against.
//!
//! Shares no code with the broker or the domain: its own matcher, its own ladder, no Cedar, no index,
//! no memory. Only [`real`] knows them: it puts the same case to the real decision.

pub mod dice;
pub mod policy;
pub mod real;
pub mod text;

use std::collections::BTreeSet;

use self::policy::{Answer, Ask, Book, Rule};

/// Lives that are tried when none is asked for, in seconds.
const LADDER: [u32; 10] = [43_200, 28_800, 14_400, 7_200, 3_600, 1_800, 900, 600, 300, 60];

/// Refs that stand for all there could be.
pub const REFS: [&str; 10] = [
    "main",
    "ma",
    "max",
    "agent/x",
    "agent/y",
    "agent/x/y",
    "agentx",
    "release/1",
    "release/1/2",
    "x/agent/x",
];

/// A line of an envelope, or a request, whose resource is no pattern.
#[derive(Debug, Clone)]
pub struct Line {
    pub upstream: &'static str,
    pub resource: &'static str,
    pub actions: BTreeSet<&'static str>,
    pub reference: Option<&'static str>,
}

/// All that a decision depends on.
#[derive(Debug, Clone)]
pub struct Case {
    pub agent: &'static str,
    pub person: Option<&'static str>,
    pub opener: &'static str,
    /// The agents that passed it on, the first first. Their sessions are [`ABOVE`] and so on.
    pub above: Vec<&'static str>,
    pub closed: bool,
    /// Whether the issuer on whose word the session was opened counts no more.
    pub doubted: bool,
    pub envelope: Vec<Line>,
    pub max_ttl: u32,
    /// Whole seconds until the session ends; 0 if it is over.
    pub left: u32,
    pub request: Line,
    pub ttl: Option<u32>,
    pub gateway: bool,
    pub approvals: BTreeSet<&'static str>,
    pub stops: Vec<Stopped>,
    /// Seconds since 1970.
    pub now: i64,
}

/// The number of the case's session.
pub const OWN: u64 = 1;
/// The number of the first session above it.
pub const ABOVE: u64 = 100;

/// What is stopped.
#[derive(Debug, Clone, Copy)]
pub enum Stopped {
    Session(u64),
    Agent(&'static str),
    Person(&'static str),
    Resource(&'static str, &'static str),
    Upstream(&'static str),
    Policy(&'static str),
    All,
}

/// What the reference says. The ids are of all policies that had a word in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plain {
    Permit { ttl: u32, ids: BTreeSet<String> },
    NeedsApproval { ttl: u32, guards: BTreeSet<String>, ids: BTreeSet<String> },
    Deny { layer: &'static str, ids: BTreeSet<String> },
}

/// What all actions together got for one life.
enum Outcome<'b> {
    Allow,
    Guarded(Vec<&'b Rule>),
    Deny(&'static str),
}

/// Decides, by the book.
#[must_use]
pub fn decide(book: &Book, case: &Case) -> Plain {
    if let Some(layer) = case.refused_before_policy() {
        return Plain::Deny { layer, ids: BTreeSet::new() };
    }
    let most = case.max_ttl.min(case.left);
    let tries: Vec<u32> = match case.ttl {
        Some(ttl) => vec![ttl.min(case.left)],
        None => {
            std::iter::once(most).chain(LADDER.into_iter().filter(|step| *step < most)).collect()
        }
    };
    let mut ids = BTreeSet::new();
    let (mut waits, mut denied) = (None, "policy");
    for ttl in tries {
        let guards = match all_actions(book, case, ttl, &case.approvals, &mut ids) {
            Outcome::Allow => return Plain::Permit { ttl, ids },
            Outcome::Deny(layer) => {
                denied = layer;
                continue;
            }
            Outcome::Guarded(_) if waits.is_some() => continue,
            Outcome::Guarded(guards) => guards,
        };
        // Worth a person's time only if it is allowed once all those groups approved.
        let mut lifted = case.approvals.clone();
        lifted.extend(guards.iter().flat_map(|rule| rule.groups()));
        if let Outcome::Allow = all_actions(book, case, ttl, &lifted, &mut ids) {
            waits = Some((ttl, guards.iter().map(|rule| rule.id.clone()).collect()));
        }
    }
    match waits {
        Some((ttl, guards)) => Plain::NeedsApproval { ttl, guards, ids },
        None => Plain::Deny { layer: denied, ids },
    }
}

/// Asks about one action after the other, until one is refused for good.
fn all_actions<'b>(
    book: &'b Book,
    case: &Case,
    ttl: u32,
    approvals: &BTreeSet<&'static str>,
    ids: &mut BTreeSet<String>,
) -> Outcome<'b> {
    let mut guards = vec![];
    for action in &case.request.actions {
        let (mut broken, mut nothing, mut blind) = (vec![], false, vec![]);
        let (mut forbids, mut permits) = (vec![], vec![]);
        for ask in case.asks(action, ttl, case.request.reference, approvals) {
            match book.answer(&ask) {
                Answer::Broken(rules) => broken.extend(rules),
                Answer::Nothing => nothing = true,
                Answer::Forbid(rules) => forbids.extend(rules),
                Answer::GatewayOnly(rules) => blind.extend(rules),
                Answer::Allow(rules) => permits.extend(rules),
            }
        }
        let mut tell = |rules: &[&Rule]| ids.extend(rules.iter().map(|rule| rule.id.clone()));
        if !broken.is_empty() {
            tell(&broken);
            return Outcome::Deny("policy");
        }
        if nothing {
            return Outcome::Deny("policy");
        }
        if !blind.is_empty() {
            tell(&blind);
            return Outcome::Deny("delivery");
        }
        if forbids.is_empty() {
            tell(&permits);
        }
        tell(&forbids);
        if forbids.iter().any(|rule| rule.groups().is_empty()) {
            return Outcome::Deny("policy");
        }
        guards.extend(forbids);
    }
    if guards.is_empty() { Outcome::Allow } else { Outcome::Guarded(guards) }
}

impl Case {
    fn refused_before_policy(&self) -> Option<&'static str> {
        if self.left == 0 || self.closed || self.doubted {
            return Some("session");
        }
        if self.stops.iter().any(|stop| stop.means_session(self)) {
            return Some("stop");
        }
        if !self.envelope.iter().any(|line| line.holds(&self.request)) {
            return Some("envelope");
        }
        if self.stops.iter().any(|stop| stop.means(&self.request)) {
            return Some("stop");
        }
        self.ttl.is_some_and(|ttl| ttl > self.max_ttl).then_some("envelope")
    }

    /// The questions about one action and one ref: for the agent itself, and for each that passed it
    /// on, as if that had asked.
    #[must_use]
    pub fn asks<'a>(
        &'a self,
        action: &'a str,
        ttl: u32,
        reference: Option<&'a str>,
        approvals: &'a BTreeSet<&'static str>,
    ) -> Vec<Ask<'a>> {
        let Line { upstream, resource, .. } = self.request;
        let ask = |agent, above| Ask {
            agent,
            person: self.person,
            above,
            upstream,
            resource,
            action,
            ttl,
            reference,
            gateway: self.gateway,
            approvals,
            now: self.now,
        };
        let own = ask(self.agent, &self.above[..]);
        let those = self.above.iter().enumerate().map(|(n, agent)| ask(agent, &self.above[..n]));
        std::iter::once(own).chain(those).collect()
    }
}

impl Stopped {
    fn means_session(self, case: &Case) -> bool {
        match self {
            Self::Session(number) => {
                number == OWN || (ABOVE..ABOVE + case.above.len() as u64).contains(&number)
            }
            Self::Agent(name) => {
                case.agent == name || case.opener == name || case.above.contains(&name)
            }
            Self::Person(name) => case.person == Some(name) || case.opener == name,
            Self::All => true,
            Self::Resource(..) | Self::Upstream(_) | Self::Policy(_) => false,
        }
    }

    fn means(self, request: &Line) -> bool {
        match self {
            Self::Resource(upstream, name) => {
                (request.upstream, request.resource) == (upstream, name)
            }
            Self::Upstream(upstream) => request.upstream == upstream,
            _ => false,
        }
    }
}

impl Line {
    /// The same without a limit that nobody can ask for: no ref limits what reads.
    #[must_use]
    pub fn plausible(self) -> Self {
        let reads = self.actions.iter().any(|action| action.ends_with(":read"));
        Self { reference: self.reference.filter(|_| !reads), ..self }
    }

    /// Tells whether a request lies within this line, ref by ref.
    #[must_use]
    pub fn holds(&self, request: &Self) -> bool {
        self.upstream == request.upstream
            && fits(self.resource, request.resource)
            && request.actions.iter().all(|asked| self.actions.iter().any(|own| covers(own, asked)))
            && match (self.reference, request.reference) {
                // No ref limits what is read.
                _ if request.actions.iter().all(|action| action.ends_with(":read")) => true,
                (None, _) => true,
                (Some(_), None) => false,
                (Some(wide), Some(narrow)) => {
                    REFS.iter().all(|text| !fits(narrow, text) || fits(wide, text))
                }
            }
    }
}

fn covers(own: &str, asked: &str) -> bool {
    let levels = ["read", "write", "admin"];
    let rank = |level| levels.iter().position(|known| *known == level);
    let ((a, own_level), (b, asked_level)) =
        (own.split_once(':').unwrap(), asked.split_once(':').unwrap());
    own == asked || a == b && rank(asked_level).is_some() && rank(own_level) >= rank(asked_level)
}

/// Matches a text, by trying everything.
#[must_use]
pub fn fits(pattern: &str, text: &str) -> bool {
    fn all(wide: &str, narrow: &str) -> bool {
        let (first, rest) = parts(wide);
        let (text, after) = parts(narrow);
        let stars = first == "**";
        // `**` may end here, or swallow the next segment too.
        let both = match (rest, after) {
            (None, None) => true,
            (Some(rest), Some(after)) => all(rest, after),
            (None, Some(_)) | (Some(_), None) => false,
        };
        let here = stars || one(first.as_bytes(), text.as_bytes());
        here && both || stars && after.is_some_and(|after| all(wide, after))
    }
    fn parts(path: &str) -> (&str, Option<&str>) {
        path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)))
    }
    fn one(wide: &[u8], narrow: &[u8]) -> bool {
        match (wide, narrow) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => {
                one(rest, narrow) || !narrow.is_empty() && one(wide, &narrow[1..])
            }
            ([a, rest @ ..], [b, after @ ..]) => a == b && one(rest, after),
            ([], _) | (_, []) => false,
        }
    }
    all(pattern, text)
}
