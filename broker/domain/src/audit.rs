//! What the log holds: one closed set of events, chained by hash from the first day.
//!
//! An entry's text is JSON with the fields in the order written here; `hash` is
//! SHA-256(previous hash ‖ text), so that an edit, a deletion or a swap breaks every later hash.
//! No event has a place for a secret: credentials appear by their keyed fingerprint.

use serde::{Deserialize, Serialize};

use crate::{
    approval::Guard,
    decision::Layer,
    grant::DecidedBy,
    id::{GrantId, RequestId, SessionId},
    principal::{AuthMethod, PrincipalId},
    revocation::{Matching, UpstreamRevocation},
    scope::Scope,
    secret::sha256,
    session::{Envelope, Words},
    ttl::{Timestamp, Ttl},
};

/// Version of the entries' form.
pub const ENTRY_VERSION: u8 = 1;

/// Hash that the first entry is chained to.
pub const CHAIN_START: [u8; 32] = [0; 32];

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Version of the form.
    pub v: u8,
    /// Place in the log, from 1.
    pub seq: u64,
    /// When, never earlier than the entry before.
    pub at: Timestamp,
    /// What.
    pub event: Event,
}

impl Entry {
    /// The text that is stored and hashed.
    ///
    /// # Errors
    /// Never in practice: every part serializes.
    pub fn text(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// The hash of an entry's text behind another entry.
    #[must_use]
    pub fn chain(previous: &[u8; 32], text: &str) -> [u8; 32] {
        let mut bytes = Vec::with_capacity(32 + text.len());
        bytes.extend_from_slice(previous);
        bytes.extend_from_slice(text.as_bytes());
        sha256(&bytes)
    }
}

/// Everything that is worth an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// The broker started on this store.
    Started {
        /// Its version.
        version: String,
        /// Hash of the policy set in force.
        policy_hash: String,
    },
    /// A policy set came into force, or was refused and the old one kept.
    PolicyLoaded {
        /// Hash of the set in force afterwards.
        policy_hash: String,
        /// Why the new one was refused, if it was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<Words>,
    },
    /// A signing key came into use.
    KeyRotated {
        /// Its id.
        kid: String,
    },
    /// A session opened.
    SessionOpened {
        /// Which.
        session: SessionId,
        /// For which agent.
        agent: PrincipalId,
        /// Acting for whom.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        person: Option<PrincipalId>,
        /// By whom.
        opener: PrincipalId,
        /// How the opener proved who it is.
        method: AuthMethod,
        /// To do what.
        task: Words,
        /// With what at most.
        envelope: Envelope,
        /// Bound to what.
        binding: String,
        /// Until when.
        until: Timestamp,
        /// What decided.
        decided_by: DecidedBy,
    },
    /// Policy did not let a caller open a session.
    SessionRefused {
        /// For which agent.
        agent: PrincipalId,
        /// By whom.
        opener: PrincipalId,
        /// Why.
        reason: Words,
        /// What decided.
        decided_by: DecidedBy,
    },
    /// A session ended.
    SessionClosed {
        /// Which.
        session: SessionId,
        /// By whom; absent when its deadline passed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<PrincipalId>,
        /// Why.
        reason: Words,
    },
    /// A request was refused.
    Denied {
        /// In which session.
        session: SessionId,
        /// By which agent.
        agent: PrincipalId,
        /// For whom.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        person: Option<PrincipalId>,
        /// What it asked for.
        scope: Scope,
        /// Which layer refused.
        layer: Layer,
        /// Why.
        reason: Words,
        /// What decided.
        decided_by: DecidedBy,
    },
    /// A request waits for people.
    Pending {
        /// Which grant.
        #[serde(flatten)]
        about: About,
        /// What waits.
        guards: Vec<Guard>,
        /// Until when.
        until: Timestamp,
    },
    /// A credential is about to be minted. Durable before the upstream hears of it.
    Intent {
        /// Which grant.
        #[serde(flatten)]
        about: About,
        /// For how long.
        ttl: Ttl,
    },
    /// A credential was minted. Durable before anybody gets it.
    Issued {
        /// Which grant.
        #[serde(flatten)]
        about: About,
        /// Keyed fingerprint of the credential.
        fingerprint: String,
        /// When the grant ends.
        until: Timestamp,
    },
    /// A credential was replaced.
    Renewed {
        /// Which grant.
        #[serde(flatten)]
        about: About,
        /// Keyed fingerprint of the new credential.
        fingerprint: String,
        /// When the grant ends now.
        until: Timestamp,
    },
    /// No credential came to be, or none that may be used.
    MintFailed {
        /// Which grant.
        grant: GrantId,
        /// Why.
        reason: Words,
        /// What is known of a credential that may exist.
        upstream: UpstreamRevocation,
    },
    /// A grant was given back.
    Released {
        /// Which grant.
        grant: GrantId,
        /// What is left to do upstream.
        upstream: UpstreamRevocation,
    },
    /// A grant's deadline passed.
    Expired {
        /// Which grant.
        grant: GrantId,
        /// What is left to do upstream.
        upstream: UpstreamRevocation,
    },
    /// Nobody approved in time.
    Lapsed {
        /// Which grant.
        grant: GrantId,
    },
    /// A grant was taken back.
    Revoked {
        /// Which grant.
        grant: GrantId,
        /// By whom.
        by: PrincipalId,
        /// Why.
        reason: Words,
        /// What is left to do upstream.
        upstream: UpstreamRevocation,
    },
    /// Somebody asked to take back all that matches.
    RevocationAsked {
        /// What.
        matching: Matching,
        /// By whom.
        by: PrincipalId,
        /// Why.
        reason: Words,
    },
    /// The upstream answered about a credential that ended.
    UpstreamAnswered {
        /// Which grant.
        grant: GrantId,
        /// What.
        upstream: UpstreamRevocation,
    },
}

/// Who asked for what: the fields that every entry about a grant's life begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The grant.
    pub grant: GrantId,
    /// Its session.
    pub session: SessionId,
    /// The session's agent.
    pub agent: PrincipalId,
    /// The session's person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<PrincipalId>,
    /// What it opens.
    pub scope: Scope,
    /// The caller's key for a safe retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    /// What decided.
    pub decided_by: DecidedBy,
}

impl Event {
    /// The word for it, as in the entry's `type`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::PolicyLoaded { .. } => "policy_loaded",
            Self::KeyRotated { .. } => "key_rotated",
            Self::SessionOpened { .. } => "session_opened",
            Self::SessionRefused { .. } => "session_refused",
            Self::SessionClosed { .. } => "session_closed",
            Self::Denied { .. } => "denied",
            Self::Pending { .. } => "pending",
            Self::Intent { .. } => "intent",
            Self::Issued { .. } => "issued",
            Self::Renewed { .. } => "renewed",
            Self::MintFailed { .. } => "mint_failed",
            Self::Released { .. } => "released",
            Self::Expired { .. } => "expired",
            Self::Lapsed { .. } => "lapsed",
            Self::Revoked { .. } => "revoked",
            Self::RevocationAsked { .. } => "revocation_asked",
            Self::UpstreamAnswered { .. } => "upstream_answered",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Row, Tag};

    #[test]
    fn an_entry_has_one_text_and_one_hash() {
        let entry = Entry {
            v: ENTRY_VERSION,
            seq: 7,
            at: Timestamp::from_millis(1_700_000_000_000),
            event: Event::Issued {
                about: About {
                    grant: GrantId::new(Row::new(3).unwrap(), Tag([1; 10])),
                    session: SessionId::new(Row::new(2).unwrap(), Tag([2; 10])),
                    agent: PrincipalId::parse("spiffe://acme.dev/agent/a").unwrap(),
                    person: None,
                    scope: Scope::parse("github:acme/api contents:read").unwrap(),
                    request_id: None,
                    decided_by: DecidedBy { policies: vec![], policy_hash: "ab".into() },
                },
                fingerprint: "cd".into(),
                until: Timestamp::from_millis(1_700_000_600_000),
            },
        };
        let text = entry.text().unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"v":1,"seq":7,"at":1700000000000,"event":{"type":"issued","#,
                r#""grant":"gr_0000000003040g2081040g2081","session":"se_0000000002081040g2081040g2","#,
                r#""agent":"spiffe://acme.dev/agent/a","scope":{"upstream":"github","resource":"acme/api","#,
                r#""actions":["contents:read"]},"decided_by":{"policies":[],"policy_hash":"ab"},"#,
                r#""fingerprint":"cd","until":1700000600000}}"#
            )
        );
        assert_eq!(serde_json::from_str::<Entry>(&text).unwrap(), entry);
        assert_ne!(Entry::chain(&CHAIN_START, &text), Entry::chain(&[1; 32], &text));
    }
}
