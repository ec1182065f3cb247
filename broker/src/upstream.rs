//! The port to upstreams: systems that credentials open, each behind a minter.

pub mod github;
pub mod kept;

use std::time::Duration;

use async_trait::async_trait;
use jeton_domain::{
    decision::Delivery,
    grant::Grant,
    id::GrantId,
    permit::Permit,
    scope::{Action, Scope},
    secret::Secret,
    ttl::Timestamp,
};

use crate::{
    signer::{Confirmation, token::SigningError},
    store::{Issued, RecordedPermit},
};

/// What kind of secret a credential is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialKind {
    /// Installation token of a GitHub App.
    GithubInstallationToken,
    /// JWT signed by the broker (RFC 9068).
    SignedJwt,
    /// A key that the broker keeps, and that never leaves it.
    StaticKey,
}

impl CredentialKind {
    /// The word for it in what approvals are bound to.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::GithubInstallationToken => "github_installation_token",
            Self::SignedJwt => "signed_jwt",
            Self::StaticKey => "static_key",
        }
    }
}

/// A credential that exists but may not leave the process yet.
pub struct Minted {
    secret: Secret,
    kind: CredentialKind,
    dies: Timestamp,
}

/// A credential on its way to the caller.
pub struct Credential {
    /// The secret.
    pub secret: Secret,
    /// Its kind.
    pub kind: CredentialKind,
    /// When it stops working by itself.
    pub dies: Timestamp,
}

impl Minted {
    /// Takes over what a minter got.
    #[must_use]
    pub fn new(secret: Secret, kind: CredentialKind, dies: Timestamp) -> Self {
        Self { secret, kind, dies }
    }

    /// Lets the credential go to the agent, given the proof that its record is durable; `None` if that
    /// says that it is for the gateway. A key that is kept goes to nobody.
    #[must_use]
    pub fn release(self, proof: &Issued) -> Option<Credential> {
        match (proof.grant().delivery, self.kind) {
            (Delivery::Gateway, _) | (Delivery::Direct, CredentialKind::StaticKey) => None,
            (
                Delivery::Direct,
                CredentialKind::GithubInstallationToken | CredentialKind::SignedJwt,
            ) => Some(self.out()),
        }
    }

    /// Lets the credential go into calls to its upstream, given the proof that its record is durable;
    /// `None` if that says that it is the agent's.
    #[must_use]
    pub fn inject(self, proof: &Issued) -> Option<Credential> {
        match proof.grant().delivery {
            Delivery::Direct => None,
            Delivery::Gateway => Some(self.out()),
        }
    }

    fn out(self) -> Credential {
        Credential { secret: self.secret, kind: self.kind, dies: self.dies }
    }

    /// The secret, for sealing and fingerprinting only.
    #[must_use]
    pub fn sealable(&self) -> &Secret {
        &self.secret
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> CredentialKind {
        self.kind
    }

    /// When it stops working by itself.
    #[must_use]
    pub fn dies(&self) -> Timestamp {
        self.dies
    }
}

/// Why no usable credential came to be.
#[derive(thiserror::Error)]
pub enum MintError {
    /// The upstream understood and refused: the permission or resource is beyond what it gives.
    #[error("the upstream refused: {0}")]
    Refused(String),
    /// The broker is not set up there for this resource.
    #[error("the upstream knows no installation for this resource: {0}")]
    NotInstalled(String),
    /// The broker's own identity was refused there.
    #[error("the upstream refused the broker's own key: {0}")]
    BrokerRefused(String),
    /// Too many calls.
    #[error("the upstream limits the rate of calls")]
    RateLimited {
        /// When to try again, if it said.
        retry_after: Option<Duration>,
    },
    /// It could not be reached, and certainly made nothing.
    #[error("the upstream can't be reached: {0}")]
    Unavailable(String),
    /// It may have made a credential that nobody will ever see.
    #[error("the upstream's answer was lost: {reason}")]
    Lost {
        /// What happened.
        reason: String,
        /// When such a credential dies by itself at the latest.
        dies: Timestamp,
    },
    /// It made a credential that must not be used, such as one broader than asked for.
    #[error("the upstream gave an unusable credential: {reason}")]
    Unusable {
        /// What is wrong with it.
        reason: String,
        /// The credential, to be revoked.
        minted: Minted,
    },
}

/// Why by hand: a derived one would want to print the credential.
impl std::fmt::Debug for MintError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// What a revocation led to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the upstream did not confirm the revocation: {reason}")]
pub struct RevokeError {
    /// What happened.
    pub reason: String,
    /// When to try again, if it said.
    pub retry_after: Option<Duration>,
}

/// How a credential stands at its upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It opens what was granted.
    AsGranted,
    /// It is not taken any more.
    Gone,
    /// It opens something else: in words.
    Other(String),
}

/// Makes credentials without asking anybody, so that none can get lost on its way.
pub trait Local: Send + Sync {
    /// Makes the credential of a permit that is about to be recorded as `grant`.
    ///
    /// # Errors
    /// When the permit is for another upstream, or a key fails.
    fn make(
        &self,
        grant: GrantId,
        permit: &Permit,
        confirmation: Option<Confirmation>,
        now: Timestamp,
    ) -> Result<Minted, SigningError>;

    /// Makes the credential of an active grant once more, for a safe retry.
    ///
    /// # Errors
    /// When the grant is not active or of another upstream, or a key fails.
    fn again(
        &self,
        grant: &Grant,
        confirmation: Option<Confirmation>,
        now: Timestamp,
    ) -> Result<Minted, SigningError>;
}

/// Obtains, checks and takes back credentials at one upstream.
#[async_trait]
pub trait Minter: Send + Sync {
    /// Obtains a credential for just what the recorded permit says, and checks what came back.
    ///
    /// # Errors
    /// When there is none, or none that may be used.
    async fn mint(&self, permit: RecordedPermit, now: Timestamp) -> Result<Minted, MintError>;

    /// Takes a credential back and tries it: `Ok` means that the upstream was seen to refuse it.
    ///
    /// # Errors
    /// When that was not seen.
    async fn revoke(&self, secret: &Secret) -> Result<(), RevokeError>;

    /// Looks how a credential stands there, without changing anything.
    ///
    /// # Errors
    /// When that can't be seen now.
    async fn look(&self, secret: &Secret, scope: &Scope) -> Result<Standing, RevokeError>;

    /// The actions that this upstream knows.
    fn actions(&self) -> Vec<Action>;
}
