//! Proofs that the caller holds the key that its session is bound to (RFC 9449).

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jeton_domain::secret::{hex, sha256};
use ring::{
    rand::{SecureRandom, SystemRandom},
    signature::{Ed25519KeyPair, KeyPair},
};
use zeroize::Zeroizing;

use crate::{clock::now_millis, error::Error};

/// An Ed25519 key of one session. Cheap to clone.
#[derive(Clone)]
pub struct DpopKey(Arc<Parts>);

struct Parts {
    pair: Ed25519KeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl DpopKey {
    /// Makes a fresh key.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate() -> Result<Self, Error> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|_| Error::config("the system gives no randomness"))?;
        Self::from_pkcs8(document.as_ref())
    }

    /// The thumbprint of the public key (RFC 7638), base64url.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(sha256(self.jwk().as_bytes()))
    }

    pub(crate) fn from_pkcs8(bytes: &[u8]) -> Result<Self, Error> {
        let pair = Ed25519KeyPair::from_pkcs8(bytes).map_err(|_| {
            Error::config("the session file holds no usable key; open a new session")
        })?;
        Ok(Self(Arc::new(Parts { pair, pkcs8: Zeroizing::new(bytes.to_vec()) })))
    }

    pub(crate) fn pkcs8(&self) -> &[u8] {
        &self.0.pkcs8
    }

    /// A proof for one call: a method, a URL without its query, and the session handle or access token
    /// that is sent beside it.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn proof(&self, method: &str, url: &str, bound: &str) -> Result<String, Error> {
        let mut jti = [0_u8; 16];
        SystemRandom::new()
            .fill(&mut jti)
            .map_err(|_| Error::config("the system gives no randomness"))?;
        let header = format!(r#"{{"typ":"dpop+jwt","alg":"EdDSA","jwk":{}}}"#, self.jwk());
        let claims = serde_json::json!({
            "jti": hex(&jti),
            "htm": method,
            "htu": url,
            "iat": numeric_date(now_millis()),
            "ath": URL_SAFE_NO_PAD.encode(sha256(bound.as_bytes())),
        });
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = self.0.pair.sign(signed.as_bytes());
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The public key with its members in the order that RFC 7638 hashes.
    fn jwk(&self) -> String {
        public_jwk(self.0.pair.public_key().as_ref())
    }
}

/// A NumericDate (RFC 7519 §2). Why with milliseconds: a verifier that has just started takes only proofs
/// that were made since.
fn numeric_date(millis: i64) -> f64 {
    let part = |number: i64| f64::from(u32::try_from(number).unwrap_or(0));
    part(millis.div_euclid(1000)) + part(millis.rem_euclid(1000)) / 1000.0
}

fn public_jwk(key: &[u8]) -> String {
    format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, URL_SAFE_NO_PAD.encode(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbprint_is_that_of_the_rfc() {
        // Spec: RFC 8037, appendix A.3.
        let key = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        let print = URL_SAFE_NO_PAD.encode(sha256(public_jwk(&key).as_bytes()));
        assert_eq!(print, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_proof_tells_the_millisecond_in_which_it_was_made() {
        for millis in [1_796_078_592_000, 1_796_078_592_001, 1_796_078_592_999] {
            let date = serde_json::json!(numeric_date(millis));
            assert_eq!(jeton_domain::jose::numeric_millis(&date), Some(millis), "{date}");
        }
    }

    #[test]
    fn two_proofs_of_one_call_differ() {
        let key = DpopKey::generate().unwrap();
        let proof = |_| key.proof("POST", "https://localhost/x", "jeton_s_x").unwrap();
        assert_ne!(proof(1), proof(2));
    }
}
