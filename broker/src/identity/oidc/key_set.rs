//! An issuer's key set (RFC 7517 §5), and the choice of the one key for a token.

use std::sync::Arc;

use jeton_domain::{id::quote, secret::sha256};
use serde_json::Value;

use super::ClaimError;
use crate::{
    identity::{
        jose::Algorithm,
        json::{self, Object},
        jwk::{KeyError, PublicKey},
    },
    limits::JWKS_KEYS,
};

/// Longest name of a key. Why: it comes with every token and is looked up.
const KID_CHARS: usize = 256;

/// The keys of an issuer.
pub struct KeySet {
    keys: Vec<Key>,
    version: [u8; 32],
}

struct Key {
    kid: Option<String>,
    public: Result<Arc<PublicKey>, KeyError>,
}

/// What the header of a token says about its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    kid: Option<String>,
    algorithm: Algorithm,
}

/// Why a document is no key set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// No object, twins, or no list.
    #[error("it is no JSON object with a list `keys`, or names something twice")]
    Malformed,
    /// Beyond the limit.
    #[error("it holds more than {JWKS_KEYS} keys")]
    TooMany,
    /// Which of them would be meant?
    #[error("two of its keys have one `kid`")]
    Twins,
}

/// Why no key of the issuer fits a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    /// The set has no such key, also after asking anew.
    #[error("the issuer has no key `{kid}` for {algorithm}; get a new token")]
    Unknown {
        /// What the token named.
        kid: String,
        /// What it is signed with.
        algorithm: &'static str,
    },
    /// No `kid`, and not just one key that fits.
    #[error(
        "the token names no key, and the issuer has {0} keys that could be meant; the header needs a `kid`"
    )]
    Unnamed(usize),
    /// It is there and too weak.
    #[error("the issuer's key `{kid}` is refused: {error}")]
    Refused {
        /// Its name.
        kid: String,
        /// What is wrong with it.
        error: KeyError,
    },
}

impl Wanted {
    /// Reads the name of the key; the algorithm is one that the issuer may use.
    ///
    /// # Errors
    /// When the name is no text, empty or too long.
    pub fn read(header: &Object, algorithm: Algorithm) -> Result<Self, ClaimError> {
        let malformed =
            ClaimError::Malformed { claim: "kid", wanted: "a text of 1 to 256 characters" };
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) if (1..=KID_CHARS).contains(&kid.chars().count()) => {
                Some(kid.clone())
            }
            Some(_) => return Err(malformed),
        };
        Ok(Self { kid, algorithm })
    }
}

impl KeySet {
    /// Reads a key set. Keys for other uses and of unknown kinds stay in it, unusable.
    ///
    /// # Errors
    /// When it is malformed, too large, or two keys have one name.
    pub fn parse(document: &[u8]) -> Result<Self, KeySetError> {
        let set = json::object(document).ok_or(KeySetError::Malformed)?;
        let listed = set.get("keys").and_then(Value::as_array).ok_or(KeySetError::Malformed)?;
        if listed.len() > JWKS_KEYS {
            return Err(KeySetError::TooMany);
        }
        let mut keys = Vec::new();
        for jwk in listed {
            let jwk = jwk.as_object().ok_or(KeySetError::Malformed)?;
            let key = Key::read(jwk)?;
            if key.kid.is_some() && keys.iter().any(|other: &Key| other.kid == key.kid) {
                return Err(KeySetError::Twins);
            }
            keys.push(key);
        }
        Ok(Self { keys, version: sha256(document) })
    }

    /// Digest of the document that it was read from.
    pub fn version(&self) -> [u8; 32] {
        self.version
    }

    /// Chooses the one key that can have signed the token.
    ///
    /// # Errors
    /// When there is none, or several and the token names none of them.
    pub fn pick(&self, wanted: &Wanted) -> Result<Arc<PublicKey>, KeyRefusal> {
        match &wanted.kid {
            Some(kid) => self.named(kid, wanted.algorithm),
            None => {
                let fitting: Vec<_> =
                    self.keys.iter().filter_map(|key| key.usable(wanted.algorithm).ok()).collect();
                match fitting.as_slice() {
                    [one] => Ok(Arc::clone(one)),
                    many => Err(KeyRefusal::Unnamed(many.len())),
                }
            }
        }
    }

    fn named(&self, kid: &str, algorithm: Algorithm) -> Result<Arc<PublicKey>, KeyRefusal> {
        let unknown = || KeyRefusal::Unknown { kid: quote(kid), algorithm: algorithm.word() };
        let key =
            self.keys.iter().find(|key| key.kid.as_deref() == Some(kid)).ok_or_else(unknown)?;
        key.usable(algorithm).map(Arc::clone).map_err(|error| match error {
            Some(error) => KeyRefusal::Refused { kid: quote(kid), error: error.clone() },
            None => unknown(),
        })
    }
}

impl Key {
    fn read(jwk: &Object) -> Result<Self, KeySetError> {
        let text = |name: &str| match jwk.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(KeySetError::Malformed),
        };
        let public = PublicKey::parse(jwk).map(Arc::new);
        Ok(Self { kid: text("kid")?, public })
    }

    /// The key, if it is one for this algorithm; else what is wrong with it, if it is not just
    /// one for something else.
    fn usable(&self, algorithm: Algorithm) -> Result<&Arc<PublicKey>, Option<&KeyError>> {
        match &self.public {
            Ok(key) if key.fits(algorithm) => Ok(key),
            Ok(_) | Err(KeyError::Kind | KeyError::Purpose(_)) => Err(None),
            Err(error) => Err(Some(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn key(kid: &str) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "x": X, "kid": kid})
    }

    fn set(keys: Value) -> Result<KeySet, KeySetError> {
        KeySet::parse(json!({"keys": keys}).to_string().as_bytes())
    }

    fn wanted(kid: Option<&str>) -> Wanted {
        Wanted { kid: kid.map(str::to_owned), algorithm: Algorithm::EdDsa }
    }

    #[test]
    fn the_named_key_is_chosen_and_must_be_for_the_algorithm() {
        let mut other = key("other");
        other["alg"] = json!("ES256");
        let mut sealing = key("sealing");
        sealing["use"] = json!("enc");
        let weak = json!({"kty": "RSA", "kid": "weak", "n": "AQAB", "e": "AQAB"});
        let set = set(json!([key("one"), other, sealing, weak, {"kty": "new"}])).unwrap();
        assert!(set.pick(&wanted(Some("one"))).is_ok());
        for kid in ["other", "sealing", "One", "../one", "http://x", ""] {
            let refusal = set.pick(&wanted(Some(kid))).err();
            assert!(matches!(refusal, Some(KeyRefusal::Unknown { .. })), "{kid}");
        }
        assert_eq!(
            set.pick(&wanted(Some("weak"))).err().unwrap().to_string(),
            "the issuer's key `weak` is refused: the RSA key has 17 bits; 2048 to 8192 are allowed"
        );
    }

    #[test]
    fn a_token_without_kid_needs_just_one_key_that_fits() {
        let mut sealing = key("sealing");
        sealing["use"] = json!("enc");
        assert!(set(json!([key("one"), sealing])).unwrap().pick(&wanted(None)).is_ok());
        let two = set(json!([key("one"), key("two")])).unwrap();
        assert_eq!(two.pick(&wanted(None)).err(), Some(KeyRefusal::Unnamed(2)));
        assert_eq!(set(json!([])).unwrap().pick(&wanted(None)).err(), Some(KeyRefusal::Unnamed(0)));
    }

    #[test]
    fn twins_crowds_and_nonsense_are_no_key_set() {
        assert_eq!(set(json!([key("a"), key("a")])).err(), Some(KeySetError::Twins));
        let crowd: Vec<_> = (0..101).map(|kid| key(&kid.to_string())).collect();
        assert_eq!(set(json!(crowd)).err(), Some(KeySetError::TooMany));
        for text in [
            r#"{"keys":{}}"#,
            "{}",
            "[]",
            r#"{"keys":[1]}"#,
            r#"{"keys":[{"kid":7}]}"#,
            r#"{"keys":[],"keys":[]}"#,
        ] {
            assert_eq!(
                KeySet::parse(text.as_bytes()).err(),
                Some(KeySetError::Malformed),
                "{text}"
            );
        }
    }

    #[test]
    fn a_kid_is_bounded_text() {
        let read =
            |kid: Value| Wanted::read(json!({"kid": kid}).as_object().unwrap(), Algorithm::EdDsa);
        assert!(read(json!("x".repeat(256))).is_ok());
        for kid in [json!("x".repeat(257)), json!(""), json!(1), json!(null), json!(["a"])] {
            assert!(read(kid.clone()).is_err(), "{kid}");
        }
    }

    proptest! {
        #[test]
        fn no_document_crashes_the_parser(bytes: Vec<u8>, member in "\\PC{0,10}", value in "\\PC{0,10}") {
            let _ = KeySet::parse(&bytes);
            let _ = KeySet::parse(json!({"keys": [{"kty": "RSA", member: value}]}).to_string().as_bytes());
        }
    }
}
