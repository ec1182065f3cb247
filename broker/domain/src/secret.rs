//! The one type for secrets, and the keyed fingerprint that may stand in their place.
//!
//! A `Secret` wipes itself when dropped and has no `Debug`, `Display`, `Clone` or `Serialize`, so
//! that a log line, an error or a stored row that would hold one does not compile.

use ring::hmac;
use zeroize::Zeroizing;

/// A secret text: a credential, a handle, a private key in PEM.
///
/// ```compile_fail
/// let secret = jeton_domain::secret::Secret::new("s3cret".to_owned());
/// println!("{secret:?}");
/// ```
///
/// ```compile_fail
/// let secret = jeton_domain::secret::Secret::new("s3cret".to_owned());
/// let copy = secret.clone();
/// ```
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes over a text. The caller must not keep a copy.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Shows the secret. Each call is a place to review.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Tells whether this is `other`, in time that does not depend on where they differ.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        same_bytes(self.0.as_bytes(), other.0.as_bytes())
    }
}

/// Key of the fingerprints of one broker.
pub struct FingerprintKey(hmac::Key);

impl FingerprintKey {
    /// Makes the key from 32 secret bytes.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// Names a secret without telling it: the first 16 bytes of an HMAC-SHA-256, in hex.
    #[must_use]
    pub fn fingerprint(&self, secret: &Secret) -> String {
        let tag = hmac::sign(&self.0, secret.expose().as_bytes());
        hex(tag.as_ref().get(..16).unwrap_or_default())
    }
}

/// Compares in time that depends on the lengths alone.
#[must_use]
pub fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0_u8, |seen, (x, y)| seen | (x ^ y)) == 0
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// SHA-256.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_keyed_and_stable() {
        let secret = Secret::new("ghs_abc".into());
        let one = FingerprintKey::new(&[1; 32]).fingerprint(&secret);
        assert_eq!(one, FingerprintKey::new(&[1; 32]).fingerprint(&secret));
        assert_ne!(one, FingerprintKey::new(&[2; 32]).fingerprint(&secret));
        assert_eq!(one.len(), 32);
    }

    #[test]
    fn equal_secrets_are_equal_and_others_are_not() {
        let secret = Secret::new("ghs_abc".into());
        assert!(secret.is(&Secret::new("ghs_abc".into())));
        assert!(!secret.is(&Secret::new("ghs_abd".into())));
        assert!(!secret.is(&Secret::new("ghs_ab".into())));
    }
}
