//! Who is calling: a workload or a person, proved anew on every RPC.

use std::{collections::BTreeSet, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{id::quote, limits::PRINCIPAL_CHARS, people::Account, ttl::Timestamp};

/// Name of a principal, such as `spiffe://acme.dev/agent/build-42` or `ana@acme.dev`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct PrincipalId(Arc<str>);

/// Why a text names no principal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` does not name a principal; 1 to 256 characters of a-z, A-Z, 0-9 and . _ - + @ : = ~ / such as `spiffe://acme.dev/agent/build-42`"
)]
pub struct PrincipalError(String);

impl PrincipalId {
    /// Checks a name.
    ///
    /// # Errors
    /// When it is empty, too long or holds any other character.
    pub fn parse(text: &str) -> Result<Self, PrincipalError> {
        let good = |byte: u8| crate::pattern::is_name_byte(byte) || byte == b'/';
        if (1..=PRINCIPAL_CHARS).contains(&text.len()) && text.bytes().all(good) {
            Ok(Self(text.into()))
        } else {
            Err(PrincipalError(quote(text)))
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PrincipalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for PrincipalId {
    type Error = PrincipalError;
    fn try_from(text: String) -> Result<Self, PrincipalError> {
        Self::parse(&text)
    }
}

/// A program or a human being.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// Agent, orchestrator, CI job.
    Workload,
    /// Operator, approver, auditor.
    Person,
}

/// How the caller proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// Client certificate with a SPIFFE URI SAN.
    Mtls,
    /// JWT of a configured issuer.
    Oidc,
    /// Credentials of the peer of a Unix socket, told by the kernel.
    Unix,
}

/// The issuer of a token that said who somebody is, as its `iss` names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Issuer(Arc<str>);

impl Issuer {
    /// Takes the name of a configured issuer.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::id::quote(&self.0))
    }
}

/// The issuers whose word counts now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Issuers(BTreeSet<Issuer>);

impl Issuers {
    /// The first of these that counts no more.
    #[must_use]
    pub fn removed<'a>(&self, of: &'a [Issuer]) -> Option<&'a Issuer> {
        of.iter().find(|issuer| !self.0.contains(issuer))
    }
}

impl FromIterator<Issuer> for Issuers {
    fn from_iter<T: IntoIterator<Item = Issuer>>(all: T) -> Self {
        Self(all.into_iter().collect())
    }
}

/// What a principal may do beside working in its own sessions; given by configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sees and revokes everything.
    Operator,
    /// Sees everything.
    Auditor,
    /// Asks whether a credential is live: a resource server.
    Verifier,
}

/// SHA-256 of a certificate or of a public key in its canonical form.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Thumbprint(pub [u8; 32]);

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::secret::hex(&self.0))
    }
}

/// The keys that the caller proved to hold on this call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProvedKeys {
    /// SHA-256 of its client certificate.
    pub certificate: Option<Thumbprint>,
    /// RFC 7638 thumbprint of the key of its DPoP proof.
    pub jwk: Option<Thumbprint>,
    /// User id of its process, by a Unix socket.
    pub unix_uid: Option<u32>,
}

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Its name.
    pub id: PrincipalId,
    /// Program or person.
    pub kind: PrincipalKind,
    /// How it proved that.
    pub method: AuthMethod,
    /// Whose token said so, if one did.
    pub issuer: Option<Issuer>,
    /// The account that this token is about, where it stands for a person.
    pub account: Option<Account>,
    /// Groups that this token says it is in.
    pub groups: Arc<[Box<str>]>,
    /// Roles by configuration.
    pub roles: BTreeSet<Role>,
    /// Until when the proof holds.
    pub proof_ends: Timestamp,
    /// Keys that it holds.
    pub keys: ProvedKeys,
}

impl Principal {
    /// Tells whether it holds a role.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_newlines_or_twins_is_refused() {
        for text in ["", "a b", "a\nb", "spiffe://acmе.dev/x", "a\u{202e}b", &"x".repeat(257)] {
            assert!(PrincipalId::parse(text).is_err(), "{text}");
        }
        assert!(PrincipalId::parse("spiffe://acme.dev/agent/build-42").is_ok());
    }
}
