//! Which roles a principal has, by configuration.

use std::collections::BTreeSet;

use jeton_domain::{
    pattern::NamePattern,
    principal::{PrincipalId, Role},
};
use moka::sync::Cache;

use crate::limits::PRINCIPALS_KNOWN;

/// One role and who has it.
#[derive(Debug, Clone)]
pub struct RoleRule {
    /// The role.
    pub role: Role,
    /// Whoever one of these matches.
    pub principals: Vec<NamePattern>,
}

/// All rules.
#[derive(Debug, Clone)]
pub struct Roles {
    rules: Vec<RoleRule>,
    /// Why: the rules never change while the process runs, and every call asks.
    known: Cache<PrincipalId, BTreeSet<Role>>,
}

impl Roles {
    /// Takes the rules of the configuration.
    #[must_use]
    pub fn new(rules: Vec<RoleRule>) -> Self {
        Self { rules, known: Cache::new(PRINCIPALS_KNOWN) }
    }

    /// Roles of a principal; none by default.
    #[must_use]
    pub fn of(&self, principal: &PrincipalId) -> BTreeSet<Role> {
        if let Some(roles) = self.known.get(principal) {
            return roles;
        }
        let has = |rule: &&RoleRule| {
            rule.principals.iter().any(|pattern| pattern.matches(principal.as_str()))
        };
        let roles: BTreeSet<_> = self.rules.iter().filter(has).map(|rule| rule.role).collect();
        self.known.insert(principal.clone(), roles.clone());
        roles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_has_the_roles_whose_patterns_match_it_and_no_others() {
        let rule = |role, pattern: &str| RoleRule {
            role,
            principals: vec![NamePattern::parse(pattern).unwrap()],
        };
        let roles = Roles::new(vec![
            rule(Role::Operator, "spiffe://acme.dev/ops/*"),
            rule(Role::Auditor, "*@acme.dev"),
            rule(Role::Auditor, "spiffe://acme.dev/**"),
            RoleRule { role: Role::Verifier, principals: vec![] },
        ]);
        let of = |name: &str| roles.of(&PrincipalId::parse(name).unwrap());
        assert_eq!(of("spiffe://acme.dev/ops/one"), [Role::Operator, Role::Auditor].into());
        assert_eq!(of("ana@acme.dev"), [Role::Auditor].into());
        assert_eq!(of("acme.dev/ops/one"), [].into());
    }
}
