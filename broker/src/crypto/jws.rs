//! The compact form of a signed JWT (RFC 7515 §7.1), built with keys that were parsed before.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jeton_domain::secret::Secret;
use serde::Serialize;

use super::private_key::{PrivateKey, SignError};

/// Bytes of claims that fit without growing. Why: ours are 400 to 900.
const CLAIMS_BYTES: usize = 1024;
/// Base64 characters and dots beside header and claims. Why: an RSA signature of 4096 bits has 683.
const SIGNATURE_CHARS: usize = 700;

/// Encodes a header once for all tokens that begin with it.
#[must_use]
pub fn encode_header(json: &str) -> String {
    URL_SAFE_NO_PAD.encode(json)
}

/// Signs claims under a header that was encoded before.
///
/// # Errors
/// When the key can't sign, or the claims are no JSON.
pub fn sign(header: &str, claims: &impl Serialize, key: &PrivateKey) -> Result<Secret, SignError> {
    let mut json = Vec::with_capacity(CLAIMS_BYTES);
    serde_json::to_writer(&mut json, claims).map_err(|_| SignError)?;
    // Why one buffer that never grows: growing would leave a copy of the token in freed memory.
    let mut token =
        String::with_capacity(header.len() + json.len().div_ceil(3) * 4 + SIGNATURE_CHARS);
    token.push_str(header);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(&json, &mut token);
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(Secret::new(token))
}
