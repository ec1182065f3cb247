//! Credentials that the broker signs by itself: access tokens by RFC 9068.
//!
//! A token is a function of the grant: its times come from the grant's end and life, its id is the
//! grant's. So a safe retry gets the same token, and taking the grant back ends it.

use std::{borrow::Cow, sync::Arc};

use jeton_domain::{
    delegation::Chain,
    grant::{Grant, GrantState},
    id::{GrantId, SessionId},
    pattern::NamePattern,
    permit::Permit,
    principal::PrincipalId,
    scope::{Action, Scope, Upstream},
    ttl::{Timestamp, Ttl},
};

use super::{
    Ed25519Name, KeyRing,
    claims::{Actor, Claims, Confirmation, Detail},
    status::StatusLists,
    verify::{Expected, TokenError, VerifiedClaims, verify},
};
use crate::{
    crypto::{jws, private_key::SignError},
    upstream::{CredentialKind, Local, Minted},
};

/// An upstream that trusts the broker's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedConfig {
    /// Its name.
    pub name: Upstream,
    /// What it calls itself: `aud`.
    pub audience: String,
    /// What can be done there.
    pub actions: Vec<Action>,
    /// Who may ask whether one of its tokens is good; empty: every verifier.
    pub verifiers: Vec<NamePattern>,
    /// What the broker calls itself: `iss`.
    pub issuer: String,
    /// How its tokens name the algorithm Ed25519.
    pub ed25519: Ed25519Name,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// Another upstream is meant.
    #[error("the scope is for `{0}`")]
    Upstream(Upstream),
    /// There is nothing to sign for.
    #[error("the grant is {0}, not active")]
    NotActive(&'static str),
    /// The key failed.
    #[error(transparent)]
    Key(#[from] SignError),
}

/// Signs tokens for one upstream.
pub struct SignedMinter {
    config: SignedConfig,
    ring: Arc<KeyRing>,
    status: Arc<StatusLists>,
}

/// What a token says of its grant.
struct Subject<'a> {
    grant: GrantId,
    session: SessionId,
    agent: &'a PrincipalId,
    person: Option<&'a PrincipalId>,
    chain: &'a Chain,
    scope: &'a Scope,
    ttl: Ttl,
    until: Timestamp,
}

impl SignedMinter {
    /// Joins an upstream with the keys that it trusts, and with the lists of what was taken back.
    #[must_use]
    pub fn new(config: SignedConfig, ring: Arc<KeyRing>, status: Arc<StatusLists>) -> Self {
        Self { config, ring, status }
    }

    /// The upstream.
    #[must_use]
    pub fn config(&self) -> &SignedConfig {
        &self.config
    }

    /// Checks a token of this upstream. Whether its grant is still active is the store's to say.
    ///
    /// # Errors
    /// When it is not exactly what this broker signed for `audience`, or not valid now.
    pub fn verify(
        &self,
        token: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<VerifiedClaims, TokenError> {
        verify(
            &self.ring,
            token,
            Expected { issuer: &self.config.issuer, audience, leeway: 0 },
            now,
        )
    }

    fn token(
        &self,
        subject: &Subject<'_>,
        confirmation: Option<Confirmation>,
        now: Timestamp,
    ) -> Result<Minted, SigningError> {
        let scope = subject.scope;
        if scope.upstream != self.config.name {
            return Err(SigningError::Upstream(scope.upstream.clone()));
        }
        // Why rounded down: a token must never outlive its grant.
        let exp = subject.until.seconds();
        let iat = exp.saturating_sub(i64::from(subject.ttl.seconds()));
        let delegators = subject.chain.links().iter().map(|link| &link.agent);
        let mut parties = subject.person.into_iter().chain(delegators).chain([subject.agent]);
        let behalf = parties.next().unwrap_or(subject.agent);
        let claims = Claims {
            iss: Cow::Borrowed(&self.config.issuer),
            aud: Cow::Borrowed(&self.config.audience),
            sub: Cow::Borrowed(behalf.as_str()),
            client_id: Cow::Owned(subject.session.to_string()),
            jti: Cow::Owned(subject.grant.to_string()),
            iat,
            nbf: iat,
            exp,
            act: Actor::nested(parties.map(PrincipalId::as_str)),
            cnf: confirmation,
            status: self.status.reference(subject.grant),
            authorization_details: [Detail::of(scope)],
        };
        let key = self.ring.active(now);
        let token = jws::sign(key.header_named(self.config.ed25519), &claims, key.private())?;
        Ok(Minted::new(token, CredentialKind::SignedJwt, Timestamp::from_seconds(exp)))
    }
}

impl Local for SignedMinter {
    fn make(
        &self,
        grant: GrantId,
        permit: &Permit,
        confirmation: Option<Confirmation>,
        now: Timestamp,
    ) -> Result<Minted, SigningError> {
        let subject = Subject {
            grant,
            session: permit.session(),
            agent: permit.agent(),
            person: permit.person(),
            chain: permit.chain(),
            scope: permit.scope(),
            ttl: permit.ttl(),
            until: permit.deadline(),
        };
        self.token(&subject, confirmation, now)
    }

    fn again(
        &self,
        grant: &Grant,
        confirmation: Option<Confirmation>,
        now: Timestamp,
    ) -> Result<Minted, SigningError> {
        let GrantState::Active { until } = grant.state else {
            return Err(SigningError::NotActive(grant.state.phase().word()));
        };
        let subject = Subject {
            grant: grant.id,
            session: grant.session,
            agent: &grant.agent,
            person: grant.person.as_ref(),
            chain: &grant.chain,
            scope: &grant.scope,
            ttl: grant.ttl,
            until,
        };
        self.token(&subject, confirmation, now)
    }
}
