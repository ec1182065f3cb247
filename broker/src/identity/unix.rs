//! Which principal a process on this host is, by its user or group.

use jeton_domain::principal::{PrincipalId, PrincipalKind};

use super::peer::UnixPeer;

/// What a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnixAccount {
    /// The user of the process.
    Uid(u32),
    /// Its first group; further groups are not told by the kernel.
    Gid(u32),
}

/// One account and the principal that it stands for.
#[derive(Debug, Clone)]
pub struct UnixRule {
    /// The account, exact.
    pub account: UnixAccount,
    /// The principal.
    pub principal: PrincipalId,
    /// Program or person.
    pub kind: PrincipalKind,
}

/// All rules; the first that fits wins.
#[derive(Debug, Clone, Default)]
pub struct UnixAccounts(Vec<UnixRule>);

/// No rule fits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "user {uid} (group {gid}) of this host stands for no principal here; add it to the accounts of the Unix socket in the configuration"
)]
pub struct UnknownAccount {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

impl UnixAccounts {
    /// Takes the rules of the configuration.
    #[must_use]
    pub fn new(rules: Vec<UnixRule>) -> Self {
        Self(rules)
    }

    /// Finds whom a process stands for.
    ///
    /// # Errors
    /// When no rule names its user or group.
    pub fn find(&self, peer: UnixPeer) -> Result<&UnixRule, UnknownAccount> {
        let fits = |rule: &&UnixRule| match rule.account {
            UnixAccount::Uid(uid) => uid == peer.uid,
            UnixAccount::Gid(gid) => gid == peer.gid,
        };
        self.0.iter().find(fits).ok_or(UnknownAccount { uid: peer.uid, gid: peer.gid })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_names_the_user_or_group_wins_and_strangers_are_told_what_to_add() {
        let rule = |account, name: &str| UnixRule {
            account,
            principal: PrincipalId::parse(name).unwrap(),
            kind: PrincipalKind::Workload,
        };
        let accounts = UnixAccounts::new(vec![
            rule(UnixAccount::Uid(1000), "host/ana"),
            rule(UnixAccount::Gid(50), "host/agents"),
        ]);
        let find = |uid, gid| accounts.find(UnixPeer { uid, gid, pid: None });
        assert_eq!(find(1000, 50).unwrap().principal.as_str(), "host/ana");
        assert_eq!(find(1001, 50).unwrap().principal.as_str(), "host/agents");
        assert_eq!(
            find(50, 1000).unwrap_err().to_string(),
            "user 50 (group 1000) of this host stands for no principal here; add it to the accounts \
             of the Unix socket in the configuration"
        );
    }
}
