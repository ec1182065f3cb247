//! Which upstreams tell names of resources apart by their case.
//!
//! Where an upstream does not, one resource has many spellings, and two of them must not be two names for
//! it: such a name is folded once, where it is read, and what is decided, recorded and sent is the folded one.
//! Where it does, two spellings are two resources, and the spelling is kept in all three.

use std::collections::BTreeMap;

use crate::{
    pattern::Pattern,
    revocation::Matching,
    scope::{Resource, Scope, ScopeBound, Upstream},
};

/// For each upstream, whether it distinguishes case. One that is not named here does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spelling(BTreeMap<Upstream, bool>);

impl Spelling {
    /// Takes what upstreams do.
    #[must_use]
    pub fn new(case_sensitive: impl IntoIterator<Item = (Upstream, bool)>) -> Self {
        Self(case_sensitive.into_iter().collect())
    }

    /// What is said of an upstream, if anything is.
    #[must_use]
    pub fn case_sensitive(&self, upstream: &Upstream) -> Option<bool> {
        self.0.get(upstream).copied()
    }

    /// Says it of one more.
    pub fn insert(&mut self, upstream: Upstream, case_sensitive: bool) {
        self.0.insert(upstream, case_sensitive);
    }

    /// Whether an upstream takes two cases of a name for one.
    #[must_use]
    pub fn folds(&self, upstream: &Upstream) -> bool {
        self.case_sensitive(upstream) == Some(false)
    }

    /// The upstreams that do.
    pub fn folding(&self) -> impl Iterator<Item = &Upstream> {
        self.0.iter().filter(|(_, sensitive)| !**sensitive).map(|(upstream, _)| upstream)
    }

    /// The one name of a resource.
    #[must_use]
    pub fn resource(&self, upstream: &Upstream, resource: Resource) -> Resource {
        if self.folds(upstream) { resource.folded() } else { resource }
    }

    /// The same of a pattern over names.
    #[must_use]
    pub fn pattern(&self, upstream: &Upstream, pattern: Pattern) -> Pattern {
        if self.folds(upstream) { pattern.folded() } else { pattern }
    }

    /// The same of a scope.
    #[must_use]
    pub fn scope(&self, scope: Scope) -> Scope {
        Scope { resource: self.resource(&scope.upstream, scope.resource), ..scope }
    }

    /// The same of a line of an envelope.
    #[must_use]
    pub fn bound(&self, bound: ScopeBound) -> ScopeBound {
        ScopeBound { resource: self.pattern(&bound.upstream, bound.resource), ..bound }
    }

    /// The same of what a revocation or a stop is about.
    #[must_use]
    pub fn matching(&self, matching: Matching) -> Matching {
        match matching {
            Matching::Resource(upstream, resource) => {
                let resource = self.resource(&upstream, resource);
                Matching::Resource(upstream, resource)
            }
            other @ (Matching::Session(_)
            | Matching::Agent(_)
            | Matching::Person(_)
            | Matching::Upstream(_)
            | Matching::Policy(_)
            | Matching::All) => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_folded_where_the_upstream_does_and_kept_where_it_does_not() {
        let named = |text: &str| Upstream::parse(text).unwrap();
        let spelling = Spelling::new([(named("github"), false), (named("git"), true)]);
        for (given, wanted) in [
            ("github:Acme/WebApp contents:read", "github:acme/webapp contents:read"),
            ("git:Acme/WebApp contents:read", "git:Acme/WebApp contents:read"),
            ("orders:Acme/Shop orders:read", "orders:Acme/Shop orders:read"),
        ] {
            let scope = spelling.scope(Scope::parse(given).unwrap());
            assert_eq!(scope.to_string(), wanted);
            let bound = spelling.bound(ScopeBound::parse(given).unwrap());
            assert_eq!(bound.to_string(), wanted);
            assert!(bound.allows(&scope));
            let matching = Matching::Resource(scope.upstream.clone(), scope.resource.clone());
            assert_eq!(spelling.matching(matching.clone()), matching, "once is enough");
        }
        let line = spelling.bound(ScopeBound::parse("git:Acme/* contents:read").unwrap());
        assert!(!line.allows(&Scope::parse("git:acme/web contents:read").unwrap()));
        assert_eq!(spelling.folding().collect::<Vec<_>>(), [&named("github")]);
    }
}
