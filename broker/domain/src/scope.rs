//! What a grant opens: upstream, resource, actions, limits; and what an envelope allows at most.
//!
//! Text form: `github:acme/api contents:write,pull_requests:write ref=agent/*`.
//! Nothing absent ever means "all": an empty list or name is an error.

use std::{collections::BTreeSet, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    id::quote,
    limits::{ACTIONS, RESOURCE_CHARS, RESOURCE_SEGMENTS},
    pattern::{Pattern, is_name_byte},
};

/// Why a text is no scope. The words are for whoever typed it, often a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// No `upstream:resource` at the start.
    #[error(
        "`{0}` is not a scope; write `upstream:resource action,action`, such as `github:acme/api contents:read`"
    )]
    Shape(String),
    /// The upstream's name is odd.
    #[error("the upstream `{0}` is not a name; 1 to 32 of a-z, 0-9 and -, starting with a letter")]
    Upstream(String),
    /// The resource's name is odd.
    #[error(
        "the resource `{0}` is not a name; write it as the upstream does, such as `acme/api`, without wildcards, `..` or a trailing `.git`"
    )]
    Resource(String),
    /// No action was asked for.
    #[error(
        "no action was given; name at least one, such as `contents:read`: an empty list never means all"
    )]
    NoActions,
    /// Too many actions.
    #[error("more than {ACTIONS} actions in one scope; ask in several requests")]
    TooManyActions,
    /// An action's name is odd.
    #[error("the action `{0}` is not a name; write `permission:level`, such as `contents:write`")]
    Action(String),
    /// A limit that nobody knows.
    #[error("the limit `{0}` is unknown; the only limit is `ref=PATTERN`")]
    Limit(String),
    /// The ref pattern is bad.
    #[error("the limit `ref`: {0}")]
    Ref(crate::pattern::PatternError),
    /// A limit on what nobody limits.
    #[error(
        "`{0}` reads every ref, so `ref=` can't limit it; leave `ref=` out, or name what reads in a scope of its own"
    )]
    ReadRef(String),
    /// The resource pattern of an envelope is bad.
    #[error("the resource: {0}")]
    ResourcePattern(crate::pattern::PatternError),
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = ScopeError;
            fn try_from(text: String) -> Result<Self, ScopeError> {
                Self::parse(&text)
            }
        }
    };
}

name!(
    /// Name of a configured upstream, such as `github`.
    Upstream
);
name!(
    /// Name of one thing at an upstream, such as `acme/api`, as it is written. Where an upstream does not
    /// tell cases apart, [`Spelling`](crate::spelling::Spelling) makes one of its spellings.
    Resource
);
name!(
    /// What may be done, such as `contents:write`.
    Action
);

impl Upstream {
    /// Checks a name.
    ///
    /// # Errors
    /// When it is not 1 to 32 of `a-z 0-9 -`, starting with a letter.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let body = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let starts = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        if starts && text.len() <= 32 && text.bytes().all(body) {
            Ok(Self(text.into()))
        } else {
            Err(ScopeError::Upstream(quote(text)))
        }
    }
}

impl Resource {
    /// Checks a name.
    ///
    /// # Errors
    /// When it is empty, too long, holds a wildcard, an odd character or segment, or ends in `.git`.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let odd = || ScopeError::Resource(quote(text));
        let good_segment = |segment: &str| {
            !matches!(segment, "" | "." | "..") && segment.bytes().all(is_name_byte)
        };
        if text.len() > RESOURCE_CHARS
            || text.split('/').count() > RESOURCE_SEGMENTS
            || !text.split('/').all(good_segment)
            || text.to_ascii_lowercase().ends_with(".git")
            || text.ends_with('.')
        {
            return Err(odd());
        }
        Ok(Self(text.into()))
    }

    /// The one spelling of all that differ in case alone.
    #[must_use]
    pub fn folded(&self) -> Self {
        Self(self.0.to_ascii_lowercase().into())
    }
}

impl Action {
    /// Checks a name.
    ///
    /// # Errors
    /// When it is not `permission:level`, each of `a-z 0-9 _ -`.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let word = |word: &str| {
            (1..=64).contains(&word.len())
                && word
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b))
        };
        match text.split_once(':') {
            Some((permission, level)) if word(permission) && word(level) => Ok(Self(text.into())),
            _ => Err(ScopeError::Action(quote(text))),
        }
    }

    /// The permission, such as `contents`.
    #[must_use]
    pub fn permission(&self) -> &str {
        self.0.split_once(':').map_or("", |(permission, _)| permission)
    }

    /// The level, such as `write`.
    #[must_use]
    pub fn level(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, level)| level)
    }

    /// Each action that [`covers`](Self::covers) tells of: itself, and the lower levels of its permission.
    pub fn covered(&self) -> impl Iterator<Item = Self> + '_ {
        let lower = ["read", "write", "admin"].into_iter();
        let lower =
            lower.filter_map(|level| Self::parse(&format!("{}:{level}", self.permission())).ok());
        std::iter::once(self.clone())
            .chain(lower.filter(move |lower| lower != self && self.covers(lower)))
    }

    /// Tells whether it only reads. Why by the level: `ref` limits where something is written, and what
    /// only reads is limited by no ref, at any upstream.
    #[must_use]
    pub fn only_reads(&self) -> bool {
        self.level() == "read"
    }

    /// Tells whether whoever holds `self` can do `other` as well: itself, or a lower level of
    /// `read < write < admin` of the same permission.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self == other
            || (self.permission() == other.permission()
                && matches!((rank(self.level()), rank(other.level())), (Some(a), Some(b)) if a >= b))
    }
}

fn rank(level: &str) -> Option<u8> {
    match level {
        "read" => Some(1),
        "write" => Some(2),
        "admin" => Some(3),
        _ => None,
    }
}

/// One to 32 actions, in order, none twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Action>")]
pub struct Actions(Arc<BTreeSet<Action>>);

impl Actions {
    /// Collects actions.
    ///
    /// # Errors
    /// When there is none, or more than [`ACTIONS`].
    pub fn new(actions: impl IntoIterator<Item = Action>) -> Result<Self, ScopeError> {
        let set: BTreeSet<_> = actions.into_iter().collect();
        match set.len() {
            0 => Err(ScopeError::NoActions),
            1..=ACTIONS => Ok(Self(Arc::new(set))),
            _ => Err(ScopeError::TooManyActions),
        }
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &Action> {
        self.0.iter()
    }

    /// Tells whether each of `others` is covered by one of these.
    #[must_use]
    pub fn cover(&self, others: &Self) -> bool {
        others.iter().all(|other| self.iter().any(|own| own.covers(other)))
    }

    /// Tells whether all of them only read.
    #[must_use]
    pub fn only_read(&self) -> bool {
        self.iter().all(Action::only_reads)
    }

    /// Checks that a ref limits none that reads.
    fn limited_by(&self, git_ref: Option<&Pattern>) -> Result<(), ScopeError> {
        match self.iter().find(|action| git_ref.is_some() && action.only_reads()) {
            Some(reads) => Err(ScopeError::ReadRef(reads.to_string())),
            None => Ok(()),
        }
    }

    fn parse(text: &str) -> Result<Self, ScopeError> {
        if text.is_empty() {
            return Err(ScopeError::NoActions);
        }
        Self::new(text.split(',').map(Action::parse).collect::<Result<Vec<_>, _>>()?)
    }
}

impl TryFrom<Vec<Action>> for Actions {
    type Error = ScopeError;
    fn try_from(actions: Vec<Action>) -> Result<Self, ScopeError> {
        Self::new(actions)
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, action) in self.iter().enumerate() {
            write!(f, "{}{action}", if place == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// Just what one grant opens: one resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Where.
    pub upstream: Upstream,
    /// On what.
    pub resource: Resource,
    /// To do what.
    pub actions: Actions,
    /// On which git refs only, if limited.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<Pattern>,
}

/// One line of an envelope: like a scope, but the resource may be a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopeBound {
    /// Where.
    pub upstream: Upstream,
    /// On what.
    pub resource: Pattern,
    /// To do what.
    pub actions: Actions,
    /// On which git refs only, if limited.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<Pattern>,
}

impl Scope {
    /// Joins checked parts.
    ///
    /// # Errors
    /// When a ref would limit what only reads.
    pub fn new(
        upstream: Upstream,
        resource: Resource,
        actions: Actions,
        git_ref: Option<Pattern>,
    ) -> Result<Self, ScopeError> {
        actions.limited_by(git_ref.as_ref())?;
        Ok(Self { upstream, resource, actions, git_ref })
    }

    /// Tells whether another lies wholly within it.
    #[must_use]
    pub fn holds(&self, narrower: &Self) -> bool {
        self.upstream == narrower.upstream
            && self.resource == narrower.resource
            && self.actions.cover(&narrower.actions)
            && refs_within(&narrower.actions, narrower.git_ref.as_ref(), self.git_ref.as_ref())
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// When any part is missing, odd or unknown.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let Parts { upstream, resource, actions, git_ref } = Parts::parse(text)?;
        Self::new(upstream, Resource::parse(resource)?, actions, git_ref)
    }
}

impl ScopeBound {
    /// Reads the text form.
    ///
    /// # Errors
    /// When any part is missing, odd or unknown.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let parts = Parts::parse(text)?;
        Self::new(parts.upstream, parts.resource, parts.actions, parts.git_ref)
    }

    /// Joins checked parts with the resource pattern.
    ///
    /// # Errors
    /// When the resource is no pattern, or a ref would limit what only reads.
    pub fn new(
        upstream: Upstream,
        resource: &str,
        actions: Actions,
        git_ref: Option<Pattern>,
    ) -> Result<Self, ScopeError> {
        let resource = Pattern::parse(resource).map_err(ScopeError::ResourcePattern)?;
        actions.limited_by(git_ref.as_ref())?;
        Ok(Self { upstream, resource, actions, git_ref })
    }

    /// Tells whether a scope lies wholly within this line.
    #[must_use]
    pub fn allows(&self, scope: &Scope) -> bool {
        self.upstream == scope.upstream
            && self.resource.matches(scope.resource.as_str())
            && self.actions.cover(&scope.actions)
            && refs_within(&scope.actions, scope.git_ref.as_ref(), self.git_ref.as_ref())
    }

    /// The same line, with these refs if it names none. For what writes.
    #[must_use]
    pub fn with_refs(&self, refs: &Pattern) -> Self {
        let git_ref = Some(self.git_ref.as_ref().unwrap_or(refs).clone());
        Self { git_ref, ..self.clone() }
    }

    /// Tells whether another line lies wholly within this one.
    #[must_use]
    pub fn contains(&self, narrower: &Self) -> bool {
        self.upstream == narrower.upstream
            && narrower.resource.is_within(&self.resource)
            && self.actions.cover(&narrower.actions)
            && refs_within(&narrower.actions, narrower.git_ref.as_ref(), self.git_ref.as_ref())
    }
}

/// Whether what is done stays within the refs. What only reads does, whatever they are: whoever may write to some
/// may read all.
fn refs_within(actions: &Actions, narrow: Option<&Pattern>, wide: Option<&Pattern>) -> bool {
    actions.only_read() || ref_within(narrow, wide)
}

/// No limit is wider than any limit.
fn ref_within(narrow: Option<&Pattern>, wide: Option<&Pattern>) -> bool {
    match (narrow, wide) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(narrow), Some(wide)) => narrow.is_within(wide),
    }
}

struct Parts<'a> {
    upstream: Upstream,
    resource: &'a str,
    actions: Actions,
    git_ref: Option<Pattern>,
}

impl<'a> Parts<'a> {
    fn parse(text: &'a str) -> Result<Self, ScopeError> {
        let mut words = text.split(' ').filter(|word| !word.is_empty());
        let (upstream, resource) = words
            .next()
            .and_then(|word| word.split_once(':'))
            .ok_or_else(|| ScopeError::Shape(quote(text)))?;
        let upstream = Upstream::parse(upstream)?;
        let actions = Actions::parse(words.next().ok_or(ScopeError::NoActions)?)?;
        let mut git_ref = None;
        for word in words {
            match word.split_once('=') {
                Some(("ref", pattern)) if git_ref.is_none() => {
                    git_ref = Some(Pattern::parse(pattern).map_err(ScopeError::Ref)?);
                }
                _ => return Err(ScopeError::Limit(quote(word))),
            }
        }
        Ok(Self { upstream, resource, actions, git_ref })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} {}", self.upstream, self.resource, self.actions)?;
        self.git_ref.as_ref().map_or(Ok(()), |git_ref| write!(f, " ref={git_ref}"))
    }
}

impl fmt::Display for ScopeBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} {}", self.upstream, self.resource, self.actions)?;
        self.git_ref.as_ref().map_or(Ok(()), |git_ref| write!(f, " ref={git_ref}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_scope_reads_back_as_itself_in_canonical_form() {
        let scope = Scope::parse("github:Acme/API  pull_requests:write,contents:write ref=agent/*")
            .unwrap();
        let text = "github:Acme/API contents:write,pull_requests:write ref=agent/*";
        assert_eq!(scope.to_string(), text);
        assert_eq!(Scope::parse(text).unwrap(), scope);
        assert_eq!(scope.resource.folded().as_str(), "acme/api");
    }

    #[test]
    fn what_is_missing_or_odd_is_an_error_that_says_what_to_write() {
        for (text, words) in [
            ("", "write `upstream:resource action,action`"),
            ("github", "write `upstream:resource action,action`"),
            ("github:acme/api", "an empty list never means all"),
            ("github: contents:read", "the resource ``"),
            ("github:* contents:read", "without wildcards"),
            ("github:acme/../x contents:read", "without wildcards"),
            ("github:acme/api.git contents:read", "trailing `.git`"),
            ("github:acme/api.GIT contents:read", "trailing `.git`"),
            ("github:acme%2fapi contents:read", "the resource"),
            ("GitHub:acme/api contents:read", "the upstream `GitHub`"),
            ("github:acme/api contents", "write `permission:level`"),
            ("github:acme/api contents:read,", "the action ``"),
            ("github:acme/api contents:read branch=x", "the only limit is `ref=PATTERN`"),
            ("github:acme/api contents:write ref=", "leave it out"),
            ("github:acme/api contents:write ref=a ref=b", "the limit `ref=b`"),
            ("github:acme/api contents:read ref=agent/*", "`contents:read` reads every ref"),
            ("github:acme/api contents:write,issues:read ref=agent/*", "in a scope of its own"),
        ] {
            let error = Scope::parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn an_envelope_line_allows_only_what_lies_within_it() {
        let bound =
            ScopeBound::parse("github:acme/* contents:write,issues:write ref=agent/*").unwrap();
        let reads = ScopeBound::parse("github:acme/* contents:read ref=agent/*").unwrap_err();
        assert!(reads.to_string().contains("leave `ref=` out"), "{reads}");
        for (scope, allowed) in [
            ("github:acme/api contents:write ref=agent/x", true),
            ("github:acme/api contents:read", true),
            ("github:acme/api contents:read,issues:read", true),
            ("github:acme/api contents:write", false),
            ("github:acme/api contents:read,contents:write", false),
            ("github:acme/api contents:admin ref=agent/x", false),
            ("github:acme/api actions:write ref=agent/x", false),
            ("github:acme/api contents:write ref=main", false),
            ("github:other/api contents:read", false),
            ("gitlab:acme/api contents:read", false),
        ] {
            assert_eq!(bound.allows(&Scope::parse(scope).unwrap()), allowed, "{scope}");
        }
    }

    proptest! {
        #[test]
        fn no_text_crashes_the_parser_and_what_it_accepts_is_stable(text in "[a-z:/,.*= -]{0,60}|\\PC{0,60}") {
            if let Ok(scope) = Scope::parse(&text) {
                prop_assert_eq!(Scope::parse(&scope.to_string()).unwrap(), scope);
            }
        }
    }
}
