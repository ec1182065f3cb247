//! A plain reading of the rules: what policies, envelopes and requests mean, written a second time
//! as simply as possible, to hold the real decision against.
//!
//! Shares no code with the broker or the domain: its own matcher, its own ladder, no Cedar.

use std::collections::BTreeSet;

/// The catalogue that the functions of this file know by heart.
pub const CATALOGUE: &str = r#"
team = [{ name = "red" }, { name = "blue" }]
upstream = [{ name = "git" }, { name = "api" }]
resource = [
    { upstream = "git", name = "acme/one", id = "1", tier = "prod" },
    { upstream = "git", name = "acme/two", tier = "test" },
    { upstream = "api", name = "acme/one", tier = "prod" },
]
agent = [{ match = "a/*", teams = ["red"] }, { match = "a/2", teams = ["blue"] }]
group = [{ name = "g", members = ["ana"] }, { name = "h", members = ["bo"] }]
"#;

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

/// A policy.
#[derive(Debug, Clone)]
pub struct Rule {
    pub id: String,
    pub forbids: bool,
    /// `Team::"red"`, `Agent::"a/1"`; nothing for everybody.
    pub who: Option<&'static str>,
    /// `grant`, a level, or an action.
    pub what: &'static str,
    /// `Upstream::"git"`, `Org::"git:acme"`, `Resource::"1"`; nothing for everything.
    pub place: Option<&'static str>,
    pub prod_only: bool,
    /// A permit needs all of what follows; a forbid lets be whoever has one of it.
    pub most: Option<u32>,
    pub prefix: Option<&'static str>,
    pub person: bool,
    /// Of a forbid only.
    pub groups: Vec<&'static str>,
}

/// What one policy is asked.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub agent: &'a str,
    pub person: bool,
    pub upstream: &'a str,
    pub resource: &'a str,
    pub action: &'a str,
    pub ttl: u32,
    /// A pattern's text, or one ref.
    pub reference: Option<&'a str>,
    pub approvals: &'a BTreeSet<&'static str>,
}

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
    pub person: bool,
    pub envelope: Vec<Line>,
    pub max_ttl: u32,
    /// Whole seconds until the session ends; 0 if it is over.
    pub left: u32,
    pub request: Line,
    pub ttl: Option<u32>,
    pub approvals: BTreeSet<&'static str>,
}

/// What the reference says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plain {
    Permit { ttl: u32 },
    NeedsApproval { ttl: u32, guards: BTreeSet<String> },
    Deny { layer: &'static str },
}

impl Rule {
    /// Tells whether the rule speaks: a permit for it, a forbid against it.
    #[must_use]
    pub fn fires(&self, ask: &Ask<'_>) -> bool {
        if !self.is_about(ask) {
            return false;
        }
        let mut conditions: Vec<bool> = vec![];
        conditions.extend(self.most.map(|most| ask.ttl <= most));
        conditions
            .extend(self.prefix.map(|prefix| ask.reference.is_some_and(|r| r.starts_with(prefix))));
        conditions.extend(self.person.then_some(ask.person));
        conditions.extend(self.groups.iter().map(|group| ask.approvals.contains(group)));
        if self.forbids { !conditions.contains(&true) } else { !conditions.contains(&false) }
    }

    fn is_about(&self, ask: &Ask<'_>) -> bool {
        let who = match self.who {
            None => true,
            Some("Team::\"red\"") => ask.agent.starts_with("a/"),
            Some("Team::\"blue\"") => ask.agent == "a/2",
            Some(agent) => is(agent, "Agent", &[ask.agent]),
        };
        let (_, level) = ask.action.split_once(':').unwrap();
        let group = if ["read", "write", "admin"].contains(&level) { level } else { "other" };
        let what = ["grant", group, ask.action].contains(&self.what);
        let (org, _) = ask.resource.split_once('/').unwrap();
        let first = (ask.upstream, ask.resource) == ("git", "acme/one");
        let place = self.place.is_none_or(|place| {
            is(place, "Upstream", &[ask.upstream])
                || is(place, "Org", &[ask.upstream, ":", org])
                || if first {
                    is(place, "Resource", &["1"])
                } else {
                    is(place, "Resource", &[ask.upstream, ":", ask.resource])
                }
        });
        let prod = ask.resource == "acme/one";
        who && what && place && (prod || !self.prod_only)
    }
}

/// Tells whether `Kind::"name"` is this kind and this name.
fn is(entity: &str, kind: &str, name: &[&str]) -> bool {
    let quoted = entity.strip_prefix(kind).and_then(|rest| rest.strip_prefix("::\""));
    name.iter().fold(quoted, |rest, part| rest?.strip_prefix(part)) == Some("\"")
}

/// Tells whether the policies allow one thing: a permit speaks, and no forbid.
#[must_use]
pub fn allows(rules: &[Rule], ask: &Ask<'_>) -> bool {
    let speaks = |forbids| rules.iter().any(|rule| rule.forbids == forbids && rule.fires(ask));
    speaks(false) && !speaks(true)
}

/// The guards in the way; `None` if no approval helps.
fn guards<'r>(rules: &'r [Rule], ask: &Ask<'_>) -> Option<Vec<&'r Rule>> {
    let forbids: Vec<_> = rules.iter().filter(|rule| rule.forbids && rule.fires(ask)).collect();
    let permitted = rules.iter().any(|rule| !rule.forbids && rule.fires(ask));
    let liftable = forbids.iter().all(|rule| !rule.groups.is_empty());
    // A forbid hides whether anything permits; that shows when it is tried again with approvals.
    (liftable && (permitted || !forbids.is_empty())).then_some(forbids)
}

/// Decides, by the book.
#[must_use]
pub fn decide(rules: &[Rule], case: &Case) -> Plain {
    if case.left == 0 {
        return Plain::Deny { layer: "session" };
    }
    let inside = case.envelope.iter().any(|line| line.holds(&case.request));
    if !inside || case.ttl.is_some_and(|ttl| ttl > case.max_ttl) {
        return Plain::Deny { layer: "envelope" };
    }
    let most = case.max_ttl.min(case.left);
    let tries: Vec<u32> = match case.ttl {
        Some(ttl) => vec![ttl.min(case.left)],
        None => {
            std::iter::once(most).chain(LADDER.into_iter().filter(|step| *step < most)).collect()
        }
    };
    let all = |ttl: u32, approvals: &BTreeSet<&'static str>| -> Option<Vec<&Rule>> {
        let mut found = vec![];
        for action in &case.request.actions {
            found.extend(guards(rules, &case.ask(action, ttl, case.request.reference, approvals))?);
        }
        Some(found)
    };
    let mut waits = None;
    for ttl in tries {
        let Some(found) = all(ttl, &case.approvals) else { continue };
        if found.is_empty() {
            return Plain::Permit { ttl };
        }
        let mut lifted = case.approvals.clone();
        lifted.extend(found.iter().flat_map(|rule| &rule.groups));
        if waits.is_none() && all(ttl, &lifted).is_some_and(|left| left.is_empty()) {
            let guards = found.iter().map(|rule| rule.id.clone()).collect();
            waits = Some(Plain::NeedsApproval { ttl, guards });
        }
    }
    waits.unwrap_or(Plain::Deny { layer: "policy" })
}

impl Case {
    /// The question about one action and one ref.
    #[must_use]
    pub fn ask<'a>(
        &'a self,
        action: &'a str,
        ttl: u32,
        reference: Option<&'a str>,
        approvals: &'a BTreeSet<&'static str>,
    ) -> Ask<'a> {
        let Line { upstream, resource, .. } = self.request;
        Ask {
            agent: self.agent,
            person: self.person,
            upstream,
            resource,
            action,
            ttl,
            reference,
            approvals,
        }
    }
}

impl Line {
    /// Tells whether a request lies within this line, ref by ref.
    #[must_use]
    pub fn holds(&self, request: &Self) -> bool {
        self.upstream == request.upstream
            && fits(self.resource, request.resource)
            && request.actions.iter().all(|asked| self.actions.iter().any(|own| covers(own, asked)))
            && match (self.reference, request.reference) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(wide), Some(narrow)) => {
                    REFS.iter().all(|text| !fits(narrow, text) || fits(wide, text))
                }
            }
    }

    /// The text form.
    #[must_use]
    pub fn text(&self) -> String {
        let actions = self.actions.iter().copied().collect::<Vec<_>>().join(",");
        let limit = self.reference.map_or(String::new(), |reference| format!(" ref={reference}"));
        format!("{}:{} {actions}{limit}", self.upstream, self.resource)
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
    let segments = |text| str::split(text, '/').collect::<Vec<_>>();
    fn all(wide: &[&str], narrow: &[&str]) -> bool {
        match (wide, narrow) {
            ([], []) => true,
            ([stars, rest @ ..], [_, after @ ..]) if *stars == "**" => {
                all(rest, after) || all(wide, after)
            }
            ([first, rest @ ..], [text, after @ ..]) => {
                one(first.as_bytes(), text.as_bytes()) && all(rest, after)
            }
            ([], _) | (_, []) => false,
        }
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
    all(&segments(pattern), &segments(text))
}
