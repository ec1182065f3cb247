//! Access tokens that the broker signs, as whoever accepts them reads them: claims, times, and where
//! it is told that one was taken back. Who signed is checked before.

pub mod claims;
pub mod status_list;

use self::claims::{Claims, Confirmation};
use crate::{
    id::{GrantId, SessionId},
    limits::{DELEGATION_DEPTH, JWT_BYTES},
    pattern::Pattern,
    principal::PrincipalId,
    scope::{Action, Actions, Resource, Scope, Upstream},
    ttl::Timestamp,
};

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
    /// By how many seconds the signer's clock may be ahead. Never for the end: that would be a longer
    /// life.
    pub leeway: u64,
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
    /// Where it is told whether it was taken back.
    pub status: Option<StatusPlace>,
    /// Since when it is valid.
    pub issued: Timestamp,
    /// Before when it is valid.
    pub expires: Timestamp,
}

/// A place in a list of states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusPlace {
    /// Which.
    pub idx: u64,
    /// Where the list is.
    pub uri: String,
}

impl VerifiedClaims {
    /// Reads claims whose signature was checked: issuer, audience, times, and the form of each.
    ///
    /// # Errors
    /// At the first that is not as expected.
    pub fn read(
        claims: &Claims<'_>,
        expected: Expected<'_>,
        now: Timestamp,
    ) -> Result<Self, TokenError> {
        in_time(claims, expected, now)?;
        read(claims).ok_or(TokenError::Claims)
    }
}

fn in_time(claims: &Claims<'_>, expected: Expected<'_>, now: Timestamp) -> Result<(), TokenError> {
    if claims.iss != expected.issuer {
        return Err(TokenError::Issuer);
    }
    if claims.aud != expected.audience {
        return Err(TokenError::Audience);
    }
    let leeway = i64::try_from(expected.leeway).unwrap_or(0);
    if Timestamp::from_seconds(claims.nbf.max(claims.iat).saturating_sub(leeway)) > now {
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
    let status = claims.status.as_ref().map(|status| StatusPlace {
        idx: status.status_list.idx,
        uri: status.status_list.uri.clone().into_owned(),
    });
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
        status,
        issued: Timestamp::from_seconds(claims.iat),
        expires: Timestamp::from_seconds(claims.exp),
    })
}
