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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAY: &str = "git:acme/pay contents:write ref=agent/*";

    fn scope(text: &str) -> Scope {
        Scope::parse(text).unwrap()
    }

    fn seconds(count: u32) -> Ttl {
        Ttl::from_seconds(count).unwrap()
    }

    fn bounds() -> Bounds {
        let within = ["git:acme/* contents:write ref=agent/*", "orders:acme/* orders:read"];
        let within = within.iter().map(|line| ScopeBound::parse(line).unwrap()).collect();
        Bounds { within, ttl: seconds(300), grants: Some(3) }
    }

    fn said(verdict: Verdict, scope: Option<&str>, ttl: Option<u32>) -> Said {
        Said {
            verdict,
            request_hash: RequestHash::new("h"),
            scope: scope.map(|text| Scope::parse(text).unwrap()),
            ttl: ttl.map(seconds),
            reason: Words::new("read it"),
        }
    }

    fn weighed(asked: &str, ttl: u32, said: &Said) -> Result<Finding, Beyond> {
        let (hash, scope) = (RequestHash::new("h"), scope(asked));
        let asked = Asked { hash: &hash, scope: &scope, ttl: seconds(ttl), lifts_all: true };
        weigh(asked, said, &bounds(), 0)
    }

    #[test]
    fn a_yes_is_for_just_what_was_asked_and_within_the_bounds() {
        let yes = said(Verdict::Approve, None, None);
        assert_eq!(weighed(PAY, 300, &yes), Ok(Finding::Approve));
        assert_eq!(
            weighed(PAY, 300, &said(Verdict::Approve, Some(PAY), Some(300))),
            Ok(Finding::Approve)
        );
        let main = "git:acme/pay contents:write ref=main";
        assert_eq!(weighed(main, 300, &yes), Err(Beyond::Scope(main.into())));
        assert_eq!(weighed(PAY, 301, &yes), Err(Beyond::Life { wanted: 301, most: 300 }));
        for (scope, ttl) in [
            (Some(main), None),
            (None, Some(299)),
            (Some("git:acme/pay contents:write ref=agent/x"), None),
        ] {
            assert_eq!(
                weighed(PAY, 300, &said(Verdict::Approve, scope, ttl)),
                Err(Beyond::Changed)
            );
        }
        let mute = Said { reason: Words::new(" "), ..yes.clone() };
        assert_eq!(weighed(PAY, 300, &mute), Err(Beyond::NoReason));
        let other = Said { request_hash: RequestHash::new("i"), ..yes.clone() };
        assert_eq!(weighed(PAY, 300, &other), Err(Beyond::OtherRequest));
        let (hash, scope) = (RequestHash::new("h"), scope(PAY));
        let asked = Asked { hash: &hash, scope: &scope, ttl: seconds(1), lifts_all: false };
        assert_eq!(weigh(asked, &yes, &bounds(), 2), Ok(Finding::Approve), "people lift the rest");
        assert_eq!(weigh(asked, &yes, &bounds(), 3), Err(Beyond::Count(3)));
    }

    #[test]
    fn an_offer_is_less_than_what_was_asked_and_within_the_bounds() {
        let narrow = |scope, ttl| said(Verdict::Narrow, scope, ttl);
        let less = "git:acme/pay contents:write ref=agent/x";
        let offered = |text: &str, ttl| {
            Ok(Finding::Narrow { within: ScopeBound::parse(text).unwrap(), ttl: seconds(ttl) })
        };
        assert_eq!(weighed(PAY, 300, &narrow(Some(less), None)), offered(less, 300));
        assert_eq!(weighed(PAY, 900, &narrow(None, Some(60))), offered(PAY, 60));
        // What is asked may be beyond the bounds; what is offered may not.
        let all = "git:acme/pay contents:write";
        assert_eq!(weighed(all, 300, &narrow(Some(less), None)), offered(less, 300));
        let main = "git:acme/pay contents:write ref=main";
        assert_eq!(weighed(all, 300, &narrow(Some(main), None)), Err(Beyond::Scope(main.into())));
        assert_eq!(
            weighed(PAY, 900, &narrow(Some(less), None)),
            Err(Beyond::Life { wanted: 900, most: 300 })
        );
        for wider in
            [main, all, "git:acme/api contents:write ref=agent/x", "orders:acme/pay orders:read"]
        {
            assert_eq!(
                weighed(PAY, 300, &narrow(Some(wider), None)),
                Err(Beyond::Wider(wider.into()))
            );
        }
        assert_eq!(weighed(PAY, 60, &narrow(Some(less), Some(61))), Err(Beyond::Longer(61)));
        for (scope, ttl) in [(None, None), (Some(PAY), None), (Some(PAY), Some(300))] {
            assert_eq!(weighed(PAY, 300, &narrow(scope, ttl)), Err(Beyond::NothingNarrower));
        }
        let (hash, scope) = (RequestHash::new("h"), scope(PAY));
        let asked = Asked { hash: &hash, scope: &scope, ttl: seconds(300), lifts_all: false };
        assert_eq!(weigh(asked, &narrow(Some(less), None), &bounds(), 0), Err(Beyond::OthersHold));
    }

    #[test]
    fn a_name_is_a_word_and_no_callers() {
        let name = ReviewerName::parse("diff-bot").unwrap();
        assert_eq!((name.as_str(), name.principal().as_str()), ("diff-bot", "reviewer:diff-bot"));
        assert!(is_reviewer(name.principal()));
        assert!(!is_reviewer(&PrincipalId::parse("person:reviewer:x").unwrap()));
        for odd in ["", "a b", "a/b", "a:b", &"x".repeat(65)] {
            assert!(ReviewerName::parse(odd).is_err(), "{odd}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_reviewer_says_it_never_gives_more_than_was_asked_or_than_it_may(
            (resource, wanted) in (0_usize..3, 0_usize..3),
            (asked_ref, offered_ref) in (0_usize..5, 0_usize..5),
            (asked_ttl, offered_ttl) in (1_u32..600, proptest::option::of(1_u32..600)),
            (verdict, action, given) in (0_usize..3, 0_usize..3, 0_u32..6),
        ) {
            let part = |list: &[&'static str], at: usize| list.get(at).copied().unwrap_or_default();
            let (resources, actions) = (["acme/pay", "acme/api", "evil/pay"], ["contents:read", "contents:write", "contents:admin"]);
            let refs = ["", " ref=agent/*", " ref=agent/x", " ref=main", " ref=**"];
            let text = |resource, action, git_ref| {
                format!("git:{} {}{}", part(&resources, resource), part(&actions, action), part(&refs, git_ref))
            };
            let asked_scope = scope(&text(0, wanted, asked_ref));
            let offered = scope(&text(resource, action, offered_ref));
            let verdict = [Verdict::Approve, Verdict::Narrow, Verdict::Escalate][verdict];
            let said = Said { scope: Some(offered), ttl: offered_ttl.map(seconds), ..said(verdict, None, None) };
            let hash = RequestHash::new("h");
            let asked = Asked { hash: &hash, scope: &asked_scope, ttl: seconds(asked_ttl), lifts_all: true };
            let given_scope = match weigh(asked, &said, &bounds(), given) {
                Ok(Finding::Approve) => {
                    prop_assert!(verdict == Verdict::Approve && asked_ttl <= 300 && given < 3);
                    just(&asked_scope).unwrap()
                }
                Ok(Finding::Narrow { within, ttl }) => {
                    prop_assert!(verdict == Verdict::Narrow && ttl <= seconds(asked_ttl.min(300)) && given < 3);
                    within
                }
                Ok(Finding::Escalate) => { prop_assert!(verdict == Verdict::Escalate); return Ok(()); }
                Err(_) => return Ok(()),
            };
            prop_assert!(just(&asked_scope).unwrap().contains(&given_scope));
            prop_assert!(bounds().within.iter().any(|line| line.contains(&given_scope)));
        }
    }
}
