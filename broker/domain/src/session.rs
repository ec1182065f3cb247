//! One run of one agent, and the envelope that nothing in it exceeds.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    delegation::Chain,
    id::SessionId,
    limits::{ENVELOPE_SCOPES, GRANT_TTL_SECONDS, SESSION_GRANTS, WORDS_CHARS},
    pattern::Pattern,
    principal::{Issuer, PrincipalId, ProvedKeys, Thumbprint},
    scope::{Scope, ScopeBound},
    spelling::Spelling,
    ttl::{Timestamp, Ttl},
};

/// The most that a session may ever be granted. Fixed at opening.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawEnvelope", into = "RawEnvelope")]
pub struct Envelope {
    scopes: Vec<ScopeBound>,
    max_grants: u32,
    max_ttl: Ttl,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEnvelope {
    scopes: Vec<ScopeBound>,
    max_grants: u32,
    max_ttl: Ttl,
}

/// Why an envelope is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Nothing in it.
    #[error("the envelope has no scope; name at least one: an empty list never means all")]
    NoScopes,
    /// Too much in it.
    #[error("the envelope has more than {ENVELOPE_SCOPES} scopes; use a pattern such as `acme/*`")]
    TooManyScopes,
    /// A count out of range.
    #[error("max_grants is {0}; 1 to {SESSION_GRANTS} are allowed")]
    Grants(u32),
    /// A time out of range.
    #[error("max_ttl_seconds is {0}; 1 to {GRANT_TTL_SECONDS} are allowed")]
    Ttl(u32),
}

impl Envelope {
    /// Checks an envelope.
    ///
    /// # Errors
    /// When it is empty or beyond a limit.
    pub fn new(
        scopes: Vec<ScopeBound>,
        max_grants: u32,
        max_ttl_seconds: u32,
    ) -> Result<Self, EnvelopeError> {
        match scopes.len() {
            0 => return Err(EnvelopeError::NoScopes),
            1..=ENVELOPE_SCOPES => {}
            _ => return Err(EnvelopeError::TooManyScopes),
        }
        if !(1..=SESSION_GRANTS).contains(&max_grants) {
            return Err(EnvelopeError::Grants(max_grants));
        }
        let max_ttl = Ttl::from_seconds(max_ttl_seconds)
            .filter(|ttl| ttl.seconds() <= GRANT_TTL_SECONDS)
            .ok_or(EnvelopeError::Ttl(max_ttl_seconds))?;
        Ok(Self { scopes, max_grants, max_ttl })
    }

    /// What may be granted.
    #[must_use]
    pub fn scopes(&self) -> &[ScopeBound] {
        &self.scopes
    }

    /// How many grants.
    #[must_use]
    pub fn max_grants(&self) -> u32 {
        self.max_grants
    }

    /// The longest life of one grant.
    #[must_use]
    pub fn max_ttl(&self) -> Ttl {
        self.max_ttl
    }

    /// Tells whether one line holds the whole scope. Why one: two lines that each hold half of it
    /// were written for two purposes.
    #[must_use]
    pub fn allows(&self, scope: &Scope) -> bool {
        self.scopes.iter().any(|bound| bound.allows(scope))
    }

    /// The same with names as their upstreams tell them apart.
    #[must_use]
    pub fn spelled(self, spelling: &Spelling) -> Self {
        let scopes = self.scopes.into_iter().map(|bound| spelling.bound(bound)).collect();
        Self { scopes, ..self }
    }

    /// The same for a push: a line that names no refs stands for the session's own.
    #[must_use]
    pub fn allows_push(&self, scope: &Scope, own: &Pattern) -> bool {
        self.scopes.iter().any(|bound| bound.with_refs(own).allows(scope))
    }
}

impl TryFrom<RawEnvelope> for Envelope {
    type Error = EnvelopeError;
    fn try_from(raw: RawEnvelope) -> Result<Self, EnvelopeError> {
        Self::new(raw.scopes, raw.max_grants, raw.max_ttl.seconds())
    }
}

impl From<Envelope> for RawEnvelope {
    fn from(envelope: Envelope) -> Self {
        Self { scopes: envelope.scopes, max_grants: envelope.max_grants, max_ttl: envelope.max_ttl }
    }
}

/// What the handle of a session is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binding {
    /// The client certificate with this SHA-256 (RFC 8705 `x5t#S256`).
    Certificate(Thumbprint),
    /// The key with this thumbprint (RFC 7638), proved by DPoP (RFC 9449).
    Jwk(Thumbprint),
    /// Processes of this user on the broker's host.
    UnixUid(u32),
    /// Nothing: whoever holds the handle. Only where the configuration allows it.
    Bearer,
}

impl Binding {
    /// Tells whether the keys that a caller proved satisfy this binding.
    #[must_use]
    pub fn is_proved_by(&self, keys: &ProvedKeys) -> bool {
        match self {
            Self::Certificate(wanted) => keys.certificate.as_ref() == Some(wanted),
            Self::Jwk(wanted) => keys.jwk.as_ref() == Some(wanted),
            Self::UnixUid(wanted) => keys.unix_uid == Some(*wanted),
            Self::Bearer => true,
        }
    }

    /// The word for it on the wire and in the log.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Certificate(_) => "certificate",
            Self::Jwk(_) => "jwk",
            Self::UnixUid(_) => "unix_uid",
            Self::Bearer => "bearer",
        }
    }
}

/// Words of people or models for people: bounded, without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Words(Arc<str>);

impl Words {
    /// Takes what is printable of the first [`WORDS_CHARS`] characters.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let printable = |c: char| if crate::id::unprintable(c) { ' ' } else { c };
        Self(text.chars().take(WORDS_CHARS).map(printable).collect::<String>().into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A session as recorded. Its state stands beside it: only that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Identifier.
    pub id: SessionId,
    /// The agent.
    pub agent: PrincipalId,
    /// The person it acts for.
    pub person: Option<PrincipalId>,
    /// Who opened it.
    pub opener: PrincipalId,
    /// What it is to do.
    pub task: Words,
    /// The most it may be granted.
    pub envelope: Envelope,
    /// What the handle is bound to.
    pub binding: Binding,
    /// SHA-256 of the handle.
    pub handle_hash: [u8; 32],
    /// When it opened.
    pub opened: Timestamp,
    /// When it ends by itself.
    pub deadline: Timestamp,
    /// The sessions that it was passed on through.
    pub chain: Chain,
    /// The issuers on whose word it was opened, and each session above it.
    pub issuers: Vec<Issuer>,
}

impl Session {
    /// The refs that are its own: where it pushes if nothing says where it may.
    #[must_use]
    pub fn own_refs(&self) -> Pattern {
        Pattern::all_below("agent", self.id)
    }
}

/// Whether a session still may be granted anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case", deny_unknown_fields)]
pub enum SessionState {
    /// It may.
    Open,
    /// Somebody closed it.
    Closed {
        /// When.
        at: Timestamp,
        /// Who.
        by: PrincipalId,
        /// Why.
        reason: Words,
    },
    /// Its deadline passed.
    Expired {
        /// When that was noticed.
        at: Timestamp,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_without_scopes_grants_or_time_is_none() {
        let scope = ScopeBound::parse("github:acme/* contents:read").unwrap();
        assert_eq!(Envelope::new(vec![], 1, 1), Err(EnvelopeError::NoScopes));
        assert_eq!(Envelope::new(vec![scope.clone()], 0, 1), Err(EnvelopeError::Grants(0)));
        assert_eq!(Envelope::new(vec![scope.clone()], 1, 0), Err(EnvelopeError::Ttl(0)));
        assert_eq!(Envelope::new(vec![scope; 65], 1, 1), Err(EnvelopeError::TooManyScopes));
    }

    #[test]
    fn two_lines_never_add_up_to_one_scope() {
        let lines = ["github:acme/api contents:read", "github:acme/api issues:read"];
        let scopes = lines.iter().map(|line| ScopeBound::parse(line).unwrap()).collect();
        let envelope = Envelope::new(scopes, 1, 60).unwrap();
        assert!(envelope.allows(&Scope::parse("github:acme/api contents:read").unwrap()));
        assert!(
            !envelope.allows(&Scope::parse("github:acme/api contents:read,issues:read").unwrap())
        );
    }

    #[test]
    fn a_handle_bound_to_a_key_opens_nothing_without_it() {
        let key = Thumbprint([7; 32]);
        let bound = Binding::Certificate(key);
        assert!(bound.is_proved_by(&ProvedKeys { certificate: Some(key), ..Default::default() }));
        assert!(!bound.is_proved_by(&ProvedKeys { jwk: Some(key), ..Default::default() }));
        assert!(!bound.is_proved_by(&ProvedKeys::default()));
    }

    #[test]
    fn words_lose_what_could_fool_a_terminal() {
        assert_eq!(Words::new("a\u{1b}]0;x\u{7}\nb").as_str(), "a ]0;x  b");
        assert_eq!(Words::new(&"é".repeat(900)).as_str().chars().count(), WORDS_CHARS);
    }
}
