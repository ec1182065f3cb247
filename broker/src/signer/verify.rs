//! How a token of this broker is checked.
//!
//! The header is compared, never parsed: it must be, byte for byte, that of a published key. So
//! there is no algorithm, type, key id or key URL that a token could choose.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jeton_domain::{token::claims::Claims, ttl::Timestamp};

use super::KeyRing;
use crate::limits::JWT_BYTES;

pub use jeton_domain::token::{Expected, TokenError, VerifiedClaims};

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
    VerifiedClaims::read(&claims, expected, now)
}

/// The claims of a token that [`verify`] accepted, as they stand on the wire.
#[must_use]
pub fn claims(token: &str) -> Option<serde_json::Map<String, serde_json::Value>> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok()
}
