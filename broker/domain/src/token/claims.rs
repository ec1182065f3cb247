//! The claims of an access token, as they stand on the wire.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::{principal::Thumbprint, scope::Scope, session::Binding};

/// RFC 9068 §2.2, with `act` (RFC 8693 §4.1), `cnf` (RFC 7800) and `authorization_details`
/// (RFC 9396 §2) and `status`
/// (draft-ietf-oauth-status-list §6).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims<'a> {
    /// The broker.
    pub iss: Cow<'a, str>,
    /// The resource server.
    pub aud: Cow<'a, str>,
    /// On whose behalf: the person, else the agent that passed it on first, else the agent itself.
    pub sub: Cow<'a, str>,
    /// The session.
    pub client_id: Cow<'a, str>,
    /// The grant.
    pub jti: Cow<'a, str>,
    /// Issued, in seconds.
    pub iat: i64,
    /// Valid from, in seconds.
    pub nbf: i64,
    /// Valid before, in seconds.
    pub exp: i64,
    /// The agent, where it acts on somebody's behalf; within it the agents that passed it on, the
    /// nearest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Actor<'a>>,
    /// The key that the bearer must prove to hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
    /// Where it is told whether it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status<'a>>,
    /// What it opens.
    pub authorization_details: [Detail<'a>; 1],
}

/// Where a token's state is told (draft-ietf-oauth-status-list §6).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status<'a> {
    /// In a list.
    pub status_list: Reference<'a>,
}

/// A place in a list.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference<'a> {
    /// Which.
    pub idx: u64,
    /// Where the list is.
    pub uri: Cow<'a, str>,
}

/// Who acts.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor<'a> {
    /// The agent.
    pub sub: Cow<'a, str>,
    /// Who passed it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Box<Actor<'a>>>,
}

impl<'a> Actor<'a> {
    /// The agents that acted, from the first to the one that acts now.
    #[must_use]
    pub fn nested(agents: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        agents.into_iter().fold(None, |before, agent| {
            Some(Self { sub: Cow::Borrowed(agent), act: before.map(Box::new) })
        })
    }
}

/// One scope.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detail<'a> {
    /// Always ours.
    #[serde(rename = "type")]
    pub kind: DetailKind,
    /// The upstream.
    pub locations: [Cow<'a, str>; 1],
    /// The resource.
    pub identifier: Cow<'a, str>,
    /// The actions.
    pub actions: Vec<Cow<'a, str>>,
    /// The git refs, if limited.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<Cow<'a, str>>,
}

impl<'a> Detail<'a> {
    /// The detail of a scope.
    #[must_use]
    pub fn of(scope: &'a Scope) -> Self {
        let pattern = scope.git_ref.as_ref();
        Self {
            kind: DetailKind::Jeton,
            locations: [Cow::Borrowed(scope.upstream.as_str())],
            identifier: Cow::Borrowed(scope.resource.as_str()),
            actions: scope.actions.iter().map(|action| Cow::Borrowed(action.as_str())).collect(),
            git_ref: pattern.map(|pattern| Cow::Borrowed(pattern.as_str())),
        }
    }
}

/// The one type of `authorization_details`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DetailKind {
    /// A scope.
    Jeton,
}

/// The key that a token is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Confirmation {
    /// SHA-256 of a client certificate (RFC 8705 §3.1).
    #[serde(rename = "x5t#S256", with = "base64url")]
    Certificate(Thumbprint),
    /// Thumbprint of a public key, for DPoP (RFC 9449 §6.1).
    #[serde(rename = "jkt", with = "base64url")]
    Jwk(Thumbprint),
}

impl Confirmation {
    /// What a session's binding means for its tokens. `None` where there is no key: a user id says
    /// nothing to a resource server.
    #[must_use]
    pub fn of(binding: &Binding) -> Option<Self> {
        match binding {
            Binding::Certificate(thumbprint) => Some(Self::Certificate(*thumbprint)),
            Binding::Jwk(thumbprint) => Some(Self::Jwk(*thumbprint)),
            Binding::UnixUid(_) | Binding::Bearer => None,
        }
    }
}

mod base64url {
    use super::{
        Cow, Deserialize, Deserializer, Engine, Error, Serializer, Thumbprint, URL_SAFE_NO_PAD,
    };

    pub fn serialize<S: Serializer>(thumbprint: &Thumbprint, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&URL_SAFE_NO_PAD.encode(thumbprint.0))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Thumbprint, D::Error> {
        let text = Cow::<str>::deserialize(from)?;
        URL_SAFE_NO_PAD
            .decode(text.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Thumbprint)
            .ok_or_else(|| D::Error::custom("a thumbprint is 43 characters of base64url"))
    }
}
