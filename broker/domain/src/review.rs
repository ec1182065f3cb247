//! Reviewers: programs that are asked before people, and may do less than people.
//!
//! A reviewer lifts guards of the groups that name it, within the bounds that the catalogue sets it, or
//! offers something narrower. It is no person and counts for no quorum. Whatever else it says leaves
//! the question to people.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    approval::{RequestHash, Wanting},
    id::quote,
    principal::PrincipalId,
    scope::{Scope, ScopeBound},
    session::Words,
    ttl::{Timestamp, Ttl},
};

/// What the names begin with under which reviewers act. No caller ever has such a name.
const PREFIX: &str = "reviewer:";

/// Name of a reviewer, such as `diff-bot`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReviewerName(PrincipalId);

/// Why a text names no reviewer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no reviewer; 1 to 64 letters, digits, `.`, `_` and `-` are allowed")]
pub struct ReviewerError(String);

impl ReviewerName {
    /// Checks a name.
    ///
    /// # Errors
    /// When it is not 1 to 64 letters, digits, `.`, `_` and `-`.
    pub fn parse(text: &str) -> Result<Self, ReviewerError> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !(1..=64).contains(&text.len()) || !text.bytes().all(good) {
            return Err(ReviewerError(quote(text)));
        }
        let principal = PrincipalId::parse(&format!("{PREFIX}{text}"));
        principal.map(Self).map_err(|_| ReviewerError(quote(text)))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str().strip_prefix(PREFIX).unwrap_or_default()
    }

    /// The name under which it acts, such as `reviewer:diff-bot`.
    #[must_use]
    pub fn principal(&self) -> &PrincipalId {
        &self.0
    }
}

impl fmt::Display for ReviewerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Tells whether a name is one under which only reviewers act.
#[must_use]
pub fn is_reviewer(id: &PrincipalId) -> bool {
    id.as_str().starts_with(PREFIX)
}

/// The most that a reviewer may approve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Scopes: each one lies within one of these.
    pub within: Vec<ScopeBound>,
    /// The longest life.
    pub ttl: Ttl,
    /// How many times in one session, if that is bounded.
    pub grants: Option<u32>,
}

impl Bounds {
    /// Sees whether they hold for a scope and a life, `count` being how many yes it has given in the
    /// session, this one among them.
    ///
    /// # Errors
    /// With what is beyond them.
    pub fn hold(&self, scope: &Scope, ttl: Ttl, count: u32) -> Result<(), Beyond> {
        if !self.within.iter().any(|line| line.allows(scope)) {
            return Err(Beyond::Scope(scope.to_string()));
        }
        if ttl > self.ttl {
            return Err(Beyond::Life { wanted: ttl.seconds(), most: self.ttl.seconds() });
        }
        match self.grants {
            Some(most) if count > most => Err(Beyond::Count(most)),
            Some(_) | None => Ok(()),
        }
    }
}

/// A reviewer that a group names, with what bounds it in one session.
#[derive(Debug, Clone, Copy)]
pub struct Power<'a> {
    /// Which.
    pub name: &'a ReviewerName,
    /// Its bounds.
    pub bounds: &'a Bounds,
    /// How many yes it gave in the session.
    pub given: u32,
}

impl Power<'_> {
    /// Tells whether a yes that it gave may lift a guard for this request.
    #[must_use]
    pub fn reaches(&self, wanting: &Wanting<'_>) -> bool {
        self.bounds.hold(wanting.scope, wanting.ttl, self.given).is_ok()
    }
}

/// What a reviewer says, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// What is asked may be granted.
    Approve,
    /// Something narrower may.
    Narrow,
    /// People have to say.
    Escalate,
}

impl Verdict {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Narrow => "narrow",
            Self::Escalate => "escalate",
        }
    }
}

/// What a reviewer is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The hash of the request.
    pub hash: &'a RequestHash,
    /// What it wants.
    pub scope: &'a Scope,
    /// For how long.
    pub ttl: Ttl,
    /// Whether its yes would lift every guard in the way.
    pub lifts_all: bool,
}

/// What a reviewer says, as it wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// In a word.
    pub verdict: Verdict,
    /// The hash of the request that it means.
    pub request_hash: RequestHash,
    /// The scope that it means, if it names one.
    pub scope: Option<Scope>,
    /// The life that it means, if it names one.
    pub ttl: Option<Ttl>,
    /// Why.
    pub reason: Words,
}

/// What an answer comes to, once it is held against the question and the bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// What is asked may be granted.
    Approve,
    /// Just this may, and nothing of what was asked beyond it.
    Narrow {
        /// What.
        within: ScopeBound,
        /// For how long.
        ttl: Ttl,
    },
    /// People have to say.
    Escalate,
}

/// Why an answer counts for nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Beyond {
    /// It is about something else.
    #[error("it names the hash of another request than the one that it was asked about")]
    OtherRequest,
    /// It gives no reason.
    #[error("it gives no reason")]
    NoReason,
    /// An approval that changes what is approved.
    #[error(
        "it approves another scope or life than was asked; `narrow` is the verdict for less, and nothing is for more"
    )]
    Changed,
    /// An offer without one.
    #[error("it narrows nothing: name a `scope` or `ttl_seconds` that is less than what was asked")]
    NothingNarrower,
    /// An offer of more than was asked.
    #[error("it offers `{0}`, which is wider than what was asked")]
    Wider(String),
    /// An offer for longer than was asked.
    #[error("it offers {0} s, which is longer than was asked")]
    Longer(u32),
    /// An offer that would wait all the same.
    #[error("it can't lift every guard of the request, so what it offers would wait all the same")]
    OthersHold,
    /// A scope outside its bounds.
    #[error("`{0}` is outside of what it may approve")]
    Scope(String),
    /// A life outside its bounds.
    #[error("{wanted} s are longer than the {most} s that it may approve")]
    Life {
        /// Seconds that it would give.
        wanted: u32,
        /// Seconds that it may.
        most: u32,
    },
    /// As many as it may.
    #[error("it approved {0} times in this session, as often as it may")]
    Count(u32),
}

/// Holds an answer against the question and the bounds. `given` is how many yes the reviewer gave in
/// the session before.
///
/// # Errors
/// When it counts for nothing: it may say less than was asked, and never more.
pub fn weigh(
    asked: Asked<'_>,
    said: &Said,
    bounds: &Bounds,
    given: u32,
) -> Result<Finding, Beyond> {
    if said.request_hash != *asked.hash {
        return Err(Beyond::OtherRequest);
    }
    let count = given.saturating_add(1);
    match said.verdict {
        Verdict::Escalate => return Ok(Finding::Escalate),
        Verdict::Approve | Verdict::Narrow if said.reason.as_str().trim().is_empty() => {
            return Err(Beyond::NoReason);
        }
        Verdict::Approve => {
            let same = said.scope.as_ref().is_none_or(|scope| scope == asked.scope)
                && said.ttl.is_none_or(|ttl| ttl == asked.ttl);
            if !same {
                return Err(Beyond::Changed);
            }
            bounds.hold(asked.scope, asked.ttl, count)?;
            return Ok(Finding::Approve);
        }
        Verdict::Narrow => {}
    }
    let scope = said.scope.clone().unwrap_or_else(|| asked.scope.clone());
    let ttl = said.ttl.unwrap_or(asked.ttl);
    if !just(asked.scope).is_some_and(|line| line.allows(&scope)) {
        return Err(Beyond::Wider(scope.to_string()));
    }
    if ttl > asked.ttl {
        return Err(Beyond::Longer(ttl.seconds()));
    }
    if scope == *asked.scope && ttl == asked.ttl {
        return Err(Beyond::NothingNarrower);
    }
    bounds.hold(&scope, ttl, count)?;
    match just(&scope) {
        Some(within) if asked.lifts_all => Ok(Finding::Narrow { within, ttl }),
        Some(_) | None => Err(Beyond::OthersHold),
    }
}

/// The line that allows one scope, and what lies within it.
fn just(scope: &Scope) -> Option<ScopeBound> {
    let Scope { upstream, resource, actions, git_ref } = scope.clone();
    ScopeBound::new(upstream, resource.as_str(), actions, git_ref).ok()
}

/// A reviewer's part in a request that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// Who.
    pub reviewer: ReviewerName,
    /// What it said; `None` while it is asked.
    pub answer: Option<Reviewed>,
}

/// What a reviewer said of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reviewed {
    /// What counts of it, in a word.
    pub verdict: Verdict,
    /// Why, in its words.
    pub reason: Words,
    /// Why people have to say, if it did not say so itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Words>,
    /// When.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests;
