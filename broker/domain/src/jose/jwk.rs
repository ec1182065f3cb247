//! Public keys in JSON (RFC 7517): the three kinds that an allowed algorithm can use.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde_json::Value;

use super::{
    Algorithm,
    json::Object,
    weak_key::{is_roca, is_weak_ed25519},
};
use crate::{principal::Thumbprint, secret::sha256};

/// Shortest RSA modulus. Why: NIST SP 800-57 gives shorter ones no life.
const RSA_BITS_LEAST: usize = 2048;
/// Longest RSA modulus. Why: the cost of a check grows with its square; ring stops here too.
const RSA_BITS_MOST: usize = 8192;
/// Smallest RSA exponent. Why: 3 has a history of forged signatures.
const RSA_EXPONENT_LEAST: u64 = 65_537;
/// Bytes of a coordinate of P-256 and of an Ed25519 key.
const COORDINATE: usize = 32;
/// What `key_ops` may name: what a pair of keys for signatures does.
const SIGNATURES: [&str; 2] = ["verify", "sign"];
/// Members that only a private or symmetric key has.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A public key that may check signatures.
pub struct PublicKey {
    material: Material,
    thumbprint: Thumbprint,
    /// The algorithm that it names.
    only: Option<Algorithm>,
}

/// What a key consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Material {
    /// Modulus and exponent, big end first.
    Rsa {
        /// The modulus.
        n: Vec<u8>,
        /// The exponent.
        e: Vec<u8>,
    },
    /// An uncompressed point (SEC 1 §2.3.3).
    P256(Vec<u8>),
    /// A point (RFC 8032 §5.1.2).
    Ed25519(Vec<u8>),
}

/// Why an object is no usable public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Whoever sent it gave the secret away.
    #[error("the key holds the private member `{0}`; send only its public half")]
    Private(&'static str),
    /// A kind or curve that no allowed algorithm uses.
    #[error("the key is no RSA, P-256 or Ed25519 key")]
    Kind,
    /// Absent, no base64url or of the wrong length.
    #[error("the member `{0}` of the key is missing or malformed")]
    Member(&'static str),
    /// Too short or absurdly long.
    #[error("the RSA key has {0} bits; 2048 to 8192 are allowed")]
    Bits(usize),
    /// Small or even.
    #[error("the RSA key has a weak exponent; 65537 is usual")]
    Exponent,
    /// Made by the library of CVE-2017-15361 (ROCA).
    #[error("the RSA key was made by a faulty library (CVE-2017-15361); create a new one")]
    Roca,
    /// Its signatures prove nothing.
    #[error("the Ed25519 key is of small order or not in canonical form; create a new one")]
    SmallOrder,
    /// `use`, `key_ops` or `alg` say something else, or contradict each other.
    #[error("the key is not for checking signatures of its algorithm: see its `{0}`")]
    Purpose(&'static str),
}

impl PublicKey {
    /// Reads a key.
    ///
    /// # Errors
    /// When it is private, of another kind, malformed or weak.
    pub fn parse(jwk: &Object) -> Result<Self, KeyError> {
        if let Some(member) = PRIVATE.into_iter().find(|member| jwk.contains_key(*member)) {
            return Err(KeyError::Private(member));
        }
        check_purpose(jwk)?;
        let key = match (text(jwk, "kty"), text(jwk, "crv")) {
            (Some("RSA"), _) => Self::rsa(jwk),
            (Some("EC"), Some("P-256")) => Self::p256(jwk),
            (Some("OKP"), Some("Ed25519")) => Self::ed25519(jwk),
            _ => Err(KeyError::Kind),
        }?;
        // Why: a key that names an algorithm signs with no other (RFC 7517 §4.4).
        match jwk.get("alg").map(|name| name.as_str().and_then(Algorithm::parse)) {
            None => Ok(key),
            Some(Some(algorithm)) if key.fits(algorithm) => {
                Ok(Self { only: Some(algorithm), ..key })
            }
            Some(_) => Err(KeyError::Purpose("alg")),
        }
    }

    /// Tells whether a signature of this algorithm can be of this key.
    #[must_use]
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        if self.only.is_some_and(|only| only != algorithm) {
            return false;
        }
        match self.material {
            Material::Rsa { .. } => matches!(algorithm, Algorithm::Rs256 | Algorithm::Ps256),
            Material::P256(_) => matches!(algorithm, Algorithm::Es256),
            Material::Ed25519(_) => matches!(algorithm, Algorithm::EdDsa),
        }
    }

    /// What it consists of.
    #[must_use]
    pub fn material(&self) -> &Material {
        &self.material
    }

    /// Tells whether it made a signature with this algorithm.
    #[must_use]
    pub fn made(&self, message: &[u8], signature: &[u8], algorithm: Algorithm) -> bool {
        let made =
            match (&self.material, algorithm) {
                (Material::Rsa { n, e }, Algorithm::Rs256) => RsaPublicKeyComponents { n, e }
                    .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature),
                (Material::Rsa { n, e }, Algorithm::Ps256) => RsaPublicKeyComponents { n, e }
                    .verify(&RSA_PSS_2048_8192_SHA256, message, signature),
                (Material::P256(point), Algorithm::Es256) => {
                    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                        .verify(message, signature)
                }
                (Material::Ed25519(point), Algorithm::EdDsa) => {
                    UnparsedPublicKey::new(&ED25519, point).verify(message, signature)
                }
                (Material::Rsa { .. } | Material::P256(_) | Material::Ed25519(_), _) => {
                    return false;
                }
            };
        made.is_ok()
    }

    /// SHA-256 of the key's canonical form (RFC 7638).
    #[must_use]
    pub fn thumbprint(&self) -> Thumbprint {
        self.thumbprint
    }

    fn rsa(jwk: &Object) -> Result<Self, KeyError> {
        let (n, e) = (member(jwk, "n")?, member(jwk, "e")?);
        let bits = bits(&n.bytes);
        if !(RSA_BITS_LEAST..=RSA_BITS_MOST).contains(&bits) {
            return Err(KeyError::Bits(bits));
        }
        let exponent = e
            .bytes
            .iter()
            .try_fold(0_u64, |sum, byte| sum.checked_mul(256)?.checked_add(u64::from(*byte)));
        if !exponent.is_some_and(|e| e >= RSA_EXPONENT_LEAST && e % 2 == 1) {
            return Err(KeyError::Exponent);
        }
        if is_roca(&n.bytes) {
            return Err(KeyError::Roca);
        }
        Ok(Self {
            only: None,
            thumbprint: digest(&format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, e.text, n.text)),
            material: Material::Rsa { n: n.bytes, e: e.bytes },
        })
    }

    fn p256(jwk: &Object) -> Result<Self, KeyError> {
        let (x, y) = (coordinate(jwk, "x")?, coordinate(jwk, "y")?);
        Ok(Self {
            only: None,
            material: Material::P256([&[4], x.bytes.as_slice(), &y.bytes].concat()),
            thumbprint: digest(&format!(
                r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
                x.text, y.text
            )),
        })
    }

    fn ed25519(jwk: &Object) -> Result<Self, KeyError> {
        let x = coordinate(jwk, "x")?;
        if is_weak_ed25519(&x.bytes) {
            return Err(KeyError::SmallOrder);
        }
        Ok(Self {
            only: None,
            thumbprint: digest(&format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, x.text)),
            material: Material::Ed25519(x.bytes),
        })
    }
}

/// Spec: RFC 7517 §4.2 and §4.3: a key that says what it is for is for nothing else.
fn check_purpose(jwk: &Object) -> Result<(), KeyError> {
    let signs = |name: &str| jwk.get(name).is_none_or(|value| value.as_str() == Some("sig"));
    if !signs("use") {
        return Err(KeyError::Purpose("use"));
    }
    let Some(operations) = jwk.get("key_ops") else { return Ok(()) };
    let operations = operations.as_array().ok_or(KeyError::Purpose("key_ops"))?;
    let names: Vec<&str> = operations.iter().filter_map(Value::as_str).collect();
    let distinct: BTreeSet<&str> = names.iter().copied().collect();
    let texts = names.len() == operations.len() && distinct.len() == names.len();
    // Why no other: one key for two purposes is what the member is there to prevent.
    let checks =
        distinct.contains("verify") && distinct.iter().all(|name| SIGNATURES.contains(name));
    if texts && checks { Ok(()) } else { Err(KeyError::Purpose("key_ops")) }
}

struct Member<'a> {
    text: &'a str,
    bytes: Vec<u8>,
}

fn text<'a>(jwk: &'a Object, name: &str) -> Option<&'a str> {
    jwk.get(name).and_then(Value::as_str)
}

fn member<'a>(jwk: &'a Object, name: &'static str) -> Result<Member<'a>, KeyError> {
    let text = text(jwk, name).ok_or(KeyError::Member(name))?;
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::Member(name))?;
    // Spec: RFC 7518 §6.3.1: no leading zero bytes, so that a key has one text and one thumbprint.
    if bytes.is_empty() || (name != "x" && name != "y" && bytes.first() == Some(&0)) {
        return Err(KeyError::Member(name));
    }
    Ok(Member { text, bytes })
}

fn coordinate<'a>(jwk: &'a Object, name: &'static str) -> Result<Member<'a>, KeyError> {
    member(jwk, name).and_then(|member| {
        if member.bytes.len() == COORDINATE { Ok(member) } else { Err(KeyError::Member(name)) }
    })
}

fn bits(number: &[u8]) -> usize {
    let zeros = number.first().map_or(0, |byte| byte.leading_zeros());
    (number.len() * 8).saturating_sub(usize::try_from(zeros).unwrap_or(0))
}

fn digest(canonical: &str) -> Thumbprint {
    Thumbprint(sha256(canonical.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(jwk: Value) -> Result<PublicKey, KeyError> {
        PublicKey::parse(jwk.as_object().unwrap())
    }

    fn modulus(bits: usize) -> String {
        URL_SAFE_NO_PAD.encode(vec![0xff; bits / 8])
    }

    #[test]
    fn the_thumbprint_of_rfc_7638_comes_out() {
        // The example key of RFC 7638 §3.1.
        let key = read(json!({"kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29", "n":
            "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"}))
        .unwrap();
        let expected = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
        assert_eq!(URL_SAFE_NO_PAD.encode(key.thumbprint().0), expected);
        // It names its algorithm.
        assert!(key.fits(Algorithm::Rs256) && !key.fits(Algorithm::Ps256));
        assert!(!key.fits(Algorithm::Es256) && !key.fits(Algorithm::EdDsa));
    }

    #[test]
    fn weak_private_and_strange_keys_are_refused() {
        let short = URL_SAFE_NO_PAD.encode([1; 31]);
        let right = URL_SAFE_NO_PAD.encode([1; 32]);
        for (jwk, fault) in [
            (json!({"kty": "RSA", "n": modulus(1024), "e": "AQAB"}), KeyError::Bits(1024)),
            (json!({"kty": "RSA", "n": modulus(16384), "e": "AQAB"}), KeyError::Bits(16384)),
            (json!({"kty": "RSA", "n": modulus(2048), "e": "Aw"}), KeyError::Exponent),
            (json!({"kty": "RSA", "n": modulus(2048), "e": "AQ"}), KeyError::Exponent),
            (json!({"kty": "RSA", "n": modulus(2048), "e": "AQAA"}), KeyError::Exponent),
            (json!({"kty": "RSA", "n": modulus(2048)}), KeyError::Member("e")),
            (
                json!({"kty": "RSA", "n": format!("{}==", modulus(2048)), "e": "AQAB"}),
                KeyError::Member("n"),
            ),
            (json!({"kty": "RSA", "n": modulus(2048), "e": "AAEAAQ"}), KeyError::Member("e")),
            (
                json!({"kty": "RSA", "n": modulus(2048), "e": "AQAB", "d": "AQ"}),
                KeyError::Private("d"),
            ),
            (json!({"kty": "oct", "k": right}), KeyError::Private("k")),
            (json!({"kty": "EC", "crv": "P-384", "x": right, "y": right}), KeyError::Kind),
            (json!({"kty": "EC", "crv": "P-256", "x": right, "y": short}), KeyError::Member("y")),
            (json!({"kty": "EC", "crv": "P-256", "x": right}), KeyError::Member("y")),
            (json!({"kty": "OKP", "crv": "X25519", "x": right}), KeyError::Kind),
            (json!({"kty": "OKP", "crv": "Ed25519", "x": short}), KeyError::Member("x")),
            (
                json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(identity())}),
                KeyError::SmallOrder,
            ),
            (json!({"kty": ["RSA"]}), KeyError::Kind),
            (json!({}), KeyError::Kind),
        ] {
            assert_eq!(read(jwk.clone()).err(), Some(fault), "{jwk}");
        }
    }

    /// The neutral element of the group.
    fn identity() -> [u8; 32] {
        let mut point = [0; 32];
        point[0] = 1;
        point
    }

    #[test]
    fn a_key_for_something_else_is_refused() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let with = |name: &str, value: Value| {
            let mut jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
            jwk[name] = value;
            read(jwk)
        };
        for (name, value) in [
            ("use", json!("sig")),
            ("key_ops", json!(["verify"])),
            ("key_ops", json!(["sign", "verify"])),
            ("alg", json!("EdDSA")),
            ("alg", json!("Ed25519")),
        ] {
            assert!(with(name, value.clone()).is_ok(), "{name} {value}");
        }
        for (name, value) in [
            ("use", json!("enc")),
            ("use", json!(["sig"])),
            ("key_ops", json!([])),
            ("key_ops", json!(["sign"])),
            ("key_ops", json!(["encrypt"])),
            ("key_ops", json!(["verify", "deriveKey"])),
            ("key_ops", json!(["verify", "verify"])),
            ("key_ops", json!(["verify", 7])),
            ("key_ops", json!("verify")),
            ("alg", json!("ES256")),
            ("alg", json!("none")),
            ("alg", json!(null)),
        ] {
            let member = KeyError::Purpose(
                ["use", "key_ops", "alg"].into_iter().find(|one| *one == name).unwrap(),
            );
            assert_eq!(with(name, value.clone()).err(), Some(member), "{name} {value}");
        }
        let rsa =
            read(json!({"kty": "RSA", "n": modulus(2048), "e": "AQAB", "alg": "PS256"})).unwrap();
        assert!(rsa.fits(Algorithm::Ps256) && !rsa.fits(Algorithm::Rs256));
    }

    proptest! {
        #[test]
        fn no_members_crash_the_parser(
            kty in "(RSA|EC|OKP|oct)", crv in "(P-256|Ed25519|P-521)",
            a in "[A-Za-z0-9_-]{0,50}", b in "\\PC{0,10}",
        ) {
            let _ = read(json!({"kty": kty, "crv": crv, "n": a, "e": b, "x": a, "y": b}));
            let _ = read(json!({"kty": kty, "crv": crv, "n": b, "e": a, "x": a, "y": a}));
        }
    }
}
