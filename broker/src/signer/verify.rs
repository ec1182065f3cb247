//! How a token of this broker is checked.
//!
//! The header is compared, never parsed: it must be, byte for byte, that of a published key. So
//! there is no algorithm, type, key id or key URL that a token could choose.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jeton_domain::{
    id::{GrantId, SessionId},
    limits::DELEGATION_DEPTH,
    pattern::Pattern,
    principal::PrincipalId,
    scope::{Action, Actions, Resource, Scope, Upstream},
    ttl::Timestamp,
};

use super::{
    KeyRing,
    claims::{Claims, Confirmation},
};
use crate::limits::JWT_BYTES;

/// Why a text is no valid token. For logs; a caller learns only that it is not active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Nothing that we sign is so long.
    #[error("it is longer than {JWT_BYTES} bytes")]
    TooLong,
    /// It is no compact JWS.
    #[error("it is not three parts of base64url without padding")]
    Shape,
    /// It does not begin as tokens of a published key do.
    #[error("its header is that of no published key of this broker")]
    Header,
    /// The key did not sign it.
    #[error("its signature is wrong")]
    Signature,
    /// The key signed something else.
    #[error("its claims are not those of an access token")]
    Claims,
    /// Another broker's.
    #[error("its issuer is another one")]
    Issuer,
    /// For somebody else.
    #[error("its audience is another one")]
    Audience,
    /// Its time has not come.
    #[error("it is not valid yet")]
    NotYet,
    /// Its time is over.
    #[error("it has expired")]
    Expired,
}

/// Who must have signed a token, and for whom.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// `iss`.
    pub issuer: &'a str,
    /// `aud`.
    pub audience: &'a str,
}

/// What a valid token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedClaims {
    /// The grant: `jti`.
    pub grant: GrantId,
    /// The session: `client_id`.
    pub session: SessionId,
    /// Who acts.
    pub agent: PrincipalId,
    /// On whose behalf, if on somebody's: the person, or the agent that passed it on first.
    pub behalf: Option<PrincipalId>,
    /// The agents between the two, the nearest first.
    pub delegators: Vec<PrincipalId>,
    /// What it opens.
    pub scope: Scope,
    /// The key that its bearer must prove to hold.
    pub confirmation: Option<Confirmation>,
    /// Since when it is valid.
    pub issued: Timestamp,
    /// Before when it is valid.
    pub expires: Timestamp,
}

/// Checks a token: length, header, signature, claims, issuer, audience, times. No leeway: broker
/// and signer are one clock.
///
/// # Errors
/// At the first that fails.
pub fn verify(
    ring: &KeyRing,
    token: &str,
    expected: Expected<'_>,
    now: Timestamp,
) -> Result<VerifiedClaims, TokenError> {
    if token.len() > JWT_BYTES {
        return Err(TokenError::TooLong);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Shape)?;
    let (header, payload) = message.split_once('.').ok_or(TokenError::Shape)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Shape)?;
    let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| TokenError::Shape)?;
    let key = ring.with_header(header, now).ok_or(TokenError::Header)?;
    if !key.private().made(message.as_bytes(), &signature) {
        return Err(TokenError::Signature);
    }
    let claims: Claims<'_> = serde_json::from_slice(&payload).map_err(|_| TokenError::Claims)?;
    in_time(&claims, expected, now)?;
    read(&claims).ok_or(TokenError::Claims)
}

/// The claims of a token that [`verify`] accepted, as they stand on the wire.
#[must_use]
pub fn claims(token: &str) -> Option<serde_json::Map<String, serde_json::Value>> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok()
}

fn in_time(claims: &Claims<'_>, expected: Expected<'_>, now: Timestamp) -> Result<(), TokenError> {
    if claims.iss != expected.issuer {
        return Err(TokenError::Issuer);
    }
    if claims.aud != expected.audience {
        return Err(TokenError::Audience);
    }
    if Timestamp::from_seconds(claims.nbf.max(claims.iat)) > now {
        return Err(TokenError::NotYet);
    }
    if Timestamp::from_seconds(claims.exp) <= now {
        return Err(TokenError::Expired);
    }
    Ok(())
}

fn read(claims: &Claims<'_>) -> Option<VerifiedClaims> {
    let subject = PrincipalId::parse(&claims.sub).ok()?;
    let mut actors = Vec::new();
    let mut next = claims.act.as_ref();
    while let Some(actor) = next {
        // As many as a session may have above it, and itself.
        if actors.len() > DELEGATION_DEPTH {
            return None;
        }
        actors.push(PrincipalId::parse(&actor.sub).ok()?);
        next = actor.act.as_deref();
    }
    let mut actors = actors.into_iter();
    let (agent, behalf) = match actors.next() {
        Some(agent) => (agent, Some(subject)),
        None => (subject, None),
    };
    let [detail] = &claims.authorization_details;
    let [upstream] = &detail.locations;
    let actions: Result<Vec<Action>, _> =
        detail.actions.iter().map(|text| Action::parse(text)).collect();
    let git_ref = detail.git_ref.as_deref().map(Pattern::parse).transpose().ok()?;
    Some(VerifiedClaims {
        grant: GrantId::parse(&claims.jti).ok()?,
        session: SessionId::parse(&claims.client_id).ok()?,
        agent,
        behalf,
        delegators: actors.collect(),
        scope: Scope {
            upstream: Upstream::parse(upstream).ok()?,
            resource: Resource::parse(&detail.identifier).ok()?,
            actions: Actions::new(actions.ok()?).ok()?,
            git_ref,
        },
        confirmation: claims.cnf,
        issued: Timestamp::from_seconds(claims.iat),
        expires: Timestamp::from_seconds(claims.exp),
    })
}
