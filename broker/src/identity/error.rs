//! Why a caller is nobody. The words go to the caller: they name what it sent and what would do.

use super::{
    certificate::CertificateError, dpop::ProofError, oidc::TokenError, unix::UnknownAccount,
};

/// Why a call has no principal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Nothing to go by.
    #[error(
        "no identity was presented; connect with a client certificate that holds a SPIFFE id, or send `authorization: Bearer` with a JWT of a configured issuer"
    )]
    Missing,
    /// The certificate names nobody, or not any more.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The token names nobody, or not any more.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The token is bound to a key that the caller did not prove.
    #[error(
        "the token is bound to a key ({0}) that this call does not prove; send a DPoP proof by that key, or use its client certificate"
    )]
    Unproved(&'static str),
    /// The DPoP proof proves nothing.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The process on the Unix socket stands for nobody.
    #[error(transparent)]
    Account(#[from] UnknownAccount),
    /// The name is not a caller's, whatever proves it.
    #[error(
        "a name that begins with `reviewer:` is a reviewer's, and no caller's; map it to another one"
    )]
    Reserved,
    /// Not the caller's fault.
    #[error("the keys of issuer `{issuer}` can't be had now; try again in a few seconds")]
    KeysUnavailable {
        /// Which issuer.
        issuer: String,
    },
}

impl IdentityError {
    /// A short code for programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "IDENTITY_MISSING",
            Self::Certificate(error) => error.reason(),
            Self::Token(error) => error.reason(),
            Self::Unproved(_) => "TOKEN_KEY_UNPROVED",
            Self::Proof(error) => error.reason(),
            Self::Account(_) => "UNIX_ACCOUNT_UNKNOWN",
            Self::Reserved => "NAME_RESERVED",
            Self::KeysUnavailable { .. } => "ISSUER_KEYS_UNAVAILABLE",
        }
    }

    /// Tells whether the same call may succeed a little later: the fault is on this side.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::KeysUnavailable { .. } | Self::Proof(ProofError::Busy | ProofError::Unnoted) => {
                true
            }
            Self::Missing
            | Self::Certificate(_)
            | Self::Token(_)
            | Self::Unproved(_)
            | Self::Proof(_)
            | Self::Account(_)
            | Self::Reserved => false,
        }
    }
}
