//! Who answers for a call: the key by which every bounded resource is shared.
//!
//! A principal can open any number of sessions, for other agents and below one another, so neither
//! a session nor an agent is a share: the creator of the root session answers for its whole tree.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use serde::{Deserialize, Serialize};

use crate::{principal::PrincipalId, session::Session};

/// The party that a bounded resource is accounted to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountableSubject {
    /// An authenticated principal that calls without a session.
    Principal(PrincipalId),
    /// The creator of a root session, for every call in that session and in all below it.
    ///
    /// Why apart from [`Self::Principal`]: what agents do must not use up the share that their
    /// creator needs to close and revoke.
    Tree(PrincipalId),
    /// A peer that proved nothing, by its network address.
    Address(AddressPrefix),
    /// A process of a local user that no account is configured for.
    LocalUser(u32),
}

impl AccountableSubject {
    /// The subject of calls in a session: `root` is the first session of its chain, or itself.
    #[must_use]
    pub fn of_tree(root: &Session) -> Self {
        Self::Tree(root.opener.clone())
    }

    /// The subject of a peer that proved nothing.
    #[must_use]
    pub fn of_address(address: IpAddr) -> Self {
        Self::Address(AddressPrefix::of(address))
    }

    /// Whether the subject proved who it is.
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        match self {
            Self::Principal(_) | Self::Tree(_) => true,
            Self::Address(_) | Self::LocalUser(_) => false,
        }
    }

    /// The principal that answers, where one does.
    #[must_use]
    pub fn principal(&self) -> Option<&PrincipalId> {
        match self {
            Self::Principal(id) | Self::Tree(id) => Some(id),
            Self::Address(_) | Self::LocalUser(_) => None,
        }
    }
}

impl fmt::Display for AccountableSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Principal(id) => write!(f, "{id}"),
            Self::Tree(id) => write!(f, "sessions of {id}"),
            Self::Address(address) => write!(f, "{address}"),
            Self::LocalUser(uid) => write!(f, "local user {uid}"),
        }
    }
}

/// The part of a network address that one party holds: an IPv4 address, or the first 64 bits of an
/// IPv6 address. Why 64: one host may use every address below them (RFC 6177, RFC 8981).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "IpAddr", into = "IpAddr")]
pub struct AddressPrefix(IpAddr);

/// The network part of an IPv6 address.
const NETWORK_BITS: u128 = !0 << 64;

impl AddressPrefix {
    /// The prefix of an address. An IPv4 address that is written as IPv6 is that IPv4 address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & NETWORK_BITS))
            }
        })
    }
}

impl From<IpAddr> for AddressPrefix {
    fn from(address: IpAddr) -> Self {
        Self::of(address)
    }
}

impl From<AddressPrefix> for IpAddr {
    fn from(prefix: AddressPrefix) -> Self {
        prefix.0
    }
}

impl fmt::Display for AddressPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(address) => write!(f, "{address}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> AccountableSubject {
        AccountableSubject::of_address(text.parse().unwrap())
    }

    #[test]
    fn a_host_has_one_share_however_it_writes_its_address() {
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.7"));
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
        assert_eq!(of("2001:db8:1:2::1").to_string(), "2001:db8:1:2::/64");
    }

    #[test]
    fn an_agent_never_shares_with_its_creator() {
        let id = PrincipalId::parse("orchestrator").unwrap();
        assert_ne!(AccountableSubject::Principal(id.clone()), AccountableSubject::Tree(id));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let id = PrincipalId::parse("ana@acme.dev").unwrap();
        let all = [
            AccountableSubject::Principal(id.clone()),
            AccountableSubject::Tree(id),
            of("2001:db8:1:2::1"),
            AccountableSubject::LocalUser(1000),
        ];
        for subject in all {
            let text = serde_json::to_string(&subject).unwrap();
            assert_eq!(serde_json::from_str::<AccountableSubject>(&text).unwrap(), subject);
        }
    }
}
