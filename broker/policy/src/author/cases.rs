//! Tables of cases in TOML: who asks for what, and what the policies have to answer.
//!
//! ```toml
//! [[case]]
//! name = "builders push to their own branches"
//! agent = "spiffe://acme.dev/agent/build-42"
//! scope = "git:acme/api contents:write ref=agent/fix"
//! ttl = 600
//! expect = "allow"
//! policies = ["builders-write-code"]
//! ```

use std::{collections::BTreeSet, fmt};

use jeton_domain::{
    approval::GroupName,
    decision::{Delivery, PolicyId},
    principal::PrincipalId,
    scope::Scope,
    ttl::{Timestamp, Ttl},
};
use serde::Deserialize;

use super::ask::{Answer, Ask, ask};
use crate::PolicySet;

/// Cases of one file. Why: a table that takes minutes is run by nobody.
const CASES: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCases {
    case: Vec<toml::Spanned<RawCase>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCase {
    name: String,
    agent: PrincipalId,
    person: Option<PrincipalId>,
    #[serde(default)]
    delegators: Vec<PrincipalId>,
    scope: String,
    ttl: Option<u32>,
    #[serde(default)]
    gateway: bool,
    #[serde(default)]
    approvals: BTreeSet<String>,
    at: Option<String>,
    expect: Expect,
    policies: Option<BTreeSet<String>>,
    groups: Option<BTreeSet<String>>,
}

/// What has to come of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Expect {
    #[serde(rename = "allow")]
    Allow,
    #[serde(rename = "needs approval")]
    NeedsApproval,
    #[serde(rename = "deny")]
    Deny,
}

impl Expect {
    fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::NeedsApproval => "needs approval",
            Self::Deny => "deny",
        }
    }
}

/// One case that was read.
pub struct Case {
    /// Its name.
    pub name: String,
    /// The line where it begins.
    pub line: usize,
    ask: Ask,
    expect: Expect,
    policies: Option<BTreeSet<PolicyId>>,
    groups: Option<BTreeSet<GroupName>>,
}

/// Why a table can't be read.
#[derive(Debug, PartialEq, Eq)]
pub struct CaseError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for CaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.message)
    }
}

/// Reads a table. `now` is when a case asks that does not say.
///
/// # Errors
/// At the first case that is none.
pub fn read(text: &str, now: Timestamp) -> Result<Vec<Case>, CaseError> {
    let line = |byte: usize| text.bytes().take(byte).filter(|b| *b == b'\n').count() + 1;
    let raw: RawCases = toml::from_str(text).map_err(|error| CaseError {
        line: line(error.span().map_or(0, |span| span.start)),
        message: error.message().to_owned(),
    })?;
    if raw.case.len() > CASES {
        return Err(CaseError { line: 1, message: format!("there are more than {CASES} cases") });
    }
    let read = |raw: toml::Spanned<RawCase>| {
        let line = line(raw.span().start);
        case(raw.into_inner(), line, now).map_err(|message| CaseError { line, message })
    };
    raw.case.into_iter().map(read).collect()
}

fn case(raw: RawCase, line: usize, now: Timestamp) -> Result<Case, String> {
    let ttl = match raw.ttl {
        None => None,
        Some(ttl) => Some(Ttl::from_seconds(ttl).ok_or("`ttl` is at least one second")?),
    };
    let at = match &raw.at {
        None => now,
        Some(text) => {
            let at: jiff::Timestamp =
                text.parse().map_err(|error| format!("`at` is no time: {error}"))?;
            Timestamp::from_millis(at.as_millisecond())
        }
    };
    let group = |name: &String| GroupName::new(name);
    Ok(Case {
        name: raw.name,
        line,
        ask: Ask {
            agent: raw.agent,
            person: raw.person,
            delegators: raw.delegators,
            scope: Scope::parse(&raw.scope).map_err(|error| error.to_string())?,
            ttl,
            delivery: if raw.gateway { Delivery::Gateway } else { Delivery::Direct },
            approvals: raw.approvals.iter().map(group).collect(),
            at,
        },
        expect: raw.expect,
        policies: raw.policies.map(|ids| ids.iter().map(|id| PolicyId::new(id)).collect()),
        groups: raw.groups.map(|names| names.iter().map(group).collect()),
    })
}

/// What came of a case.
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// The line where it begins.
    pub line: usize,
    /// What is not as it has to be; empty if it holds.
    pub wrong: Vec<String>,
    /// The policies that decided.
    pub decided: Vec<PolicyId>,
}

/// What came of all.
pub struct Report {
    /// Each case.
    pub outcomes: Vec<Outcome>,
    /// Policies about grants that decided in none of them.
    pub never: Vec<PolicyId>,
    /// How many policies about grants there are.
    pub policies: usize,
}

impl Report {
    /// Cases that do not hold.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.outcomes.iter().filter(|outcome| !outcome.wrong.is_empty()).count()
    }
}

/// Runs them all.
#[must_use]
pub fn run(set: &PolicySet, cases: &[Case]) -> Report {
    let outcomes: Vec<_> = cases.iter().map(|case| hold(set, case)).collect();
    let decided: BTreeSet<_> = outcomes.iter().flat_map(|outcome| &outcome.decided).collect();
    let all: Vec<_> = set.about_grants().collect();
    let never = all.iter().filter(|id| !decided.contains(id)).cloned().collect();
    Report { never, policies: all.len(), outcomes }
}

fn hold(set: &PolicySet, case: &Case) -> Outcome {
    let (wrong, decided) = match ask(set, &case.ask) {
        Ok(answer) => (differences(case, &answer), answer.policies().to_vec()),
        Err(error) => (vec![error.to_string()], vec![]),
    };
    Outcome { name: case.name.clone(), line: case.line, wrong, decided }
}

fn differences(case: &Case, answer: &Answer) -> Vec<String> {
    let mut wrong = Vec::new();
    let expected = case.expect.word();
    if answer.word() != expected {
        let why = match answer {
            Answer::Deny { reason, .. } => format!(": {reason}"),
            Answer::Allow { .. } | Answer::NeedsApproval { .. } => String::new(),
        };
        wrong.push(format!("expected {expected}, got {}{why}", answer.word()));
    }
    let decided: BTreeSet<_> = answer.policies().iter().cloned().collect();
    if let Some(expected) = case.policies.as_ref().filter(|expected| **expected != decided) {
        wrong.push(format!("expected the policies {}, got {}", list(expected), list(&decided)));
    }
    let groups = answer.groups();
    if let Some(expected) = case.groups.as_ref().filter(|expected| **expected != groups) {
        wrong.push(format!("expected the groups {}, got {}", list(expected), list(&groups)));
    }
    wrong
}

fn list<T: fmt::Display>(all: &BTreeSet<T>) -> String {
    match all.is_empty() {
        true => "(none)".to_owned(),
        false => all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}
