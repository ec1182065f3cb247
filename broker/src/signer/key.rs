//! One signing key, and what is computed from it once.

use std::fmt::Display;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jeton_domain::{jose, secret::sha256, ttl::Timestamp};
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, EllipticCurveKeyParameters,
    EllipticCurveKeyType, Jwk, KeyAlgorithm, OctetKeyPairParameters, OctetKeyPairType,
    PublicKeyUse,
};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::crypto::{
    jws,
    private_key::{KeyFormatError, PrivateKey, SignError},
};

/// What new keys are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SigningAlgorithm {
    /// Ed25519 (RFC 8037).
    #[default]
    EdDsa,
    /// P-256, for verifiers that know no EdDSA.
    Es256,
}

impl SigningAlgorithm {
    /// Makes a private key, as PKCS#8.
    pub(super) fn generate(self) -> Result<Zeroizing<Vec<u8>>, SignError> {
        let random = SystemRandom::new();
        let document = match self {
            Self::EdDsa => Ed25519KeyPair::generate_pkcs8(&random),
            Self::Es256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random),
        };
        document.map(|der| Zeroizing::new(der.as_ref().to_vec())).map_err(|_| SignError)
    }
}

/// How a token names the algorithm Ed25519. The two names are two algorithms to a verifier that compares texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ed25519Name {
    /// `EdDSA` (RFC 8037), which more verifiers know.
    #[default]
    EdDsa,
    /// `Ed25519` (RFC 9864).
    Ed25519,
}

/// A key that signs access tokens.
pub struct SigningKey {
    kid: String,
    created: Timestamp,
    algorithm: KeyAlgorithm,
    header: String,
    jwk: Jwk,
    /// The same key by its other name.
    renamed: Option<Renamed>,
    key: PrivateKey,
}

/// An Ed25519 key as RFC 9864 names its algorithm. Why another id: a verifier that finds a key by its id compares the
/// algorithm too.
struct Renamed {
    header: String,
    jwk: Value,
}

impl SigningKey {
    /// Derives id, header and public form.
    ///
    /// # Errors
    /// When it is an RSA key: its signatures are too long and too slow for a token for each call.
    pub fn new(key: PrivateKey, created: Timestamp) -> Result<Self, KeyFormatError> {
        let (algorithm, parameters, canonical) = match &key {
            PrivateKey::Ed25519(_) => ed25519(key.public()),
            PrivateKey::P256(_) => p256(key.public()).ok_or(KeyFormatError::Unfit)?,
            PrivateKey::Rsa(_) => return Err(KeyFormatError::Unfit),
        };
        let kid = URL_SAFE_NO_PAD.encode(sha256(canonical.as_bytes()));
        let access = header("at+jwt", algorithm, &kid);
        let common = CommonParameters {
            public_key_use: Some(PublicKeyUse::Signature),
            key_algorithm: Some(algorithm),
            key_id: Some(kid.clone()),
            ..CommonParameters::default()
        };
        let jwk = Jwk { common, algorithm: parameters };
        let renamed = match &key {
            PrivateKey::Ed25519(_) => Renamed::new(&kid, &jwk),
            PrivateKey::P256(_) | PrivateKey::Rsa(_) => None,
        };
        Ok(Self { kid, created, algorithm, header: jws::encode_header(&access), jwk, renamed, key })
    }

    /// Its id: the thumbprint of its public half (RFC 7638).
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// When it was made.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        self.created
    }

    /// The encoded header of every access token that it signs for upstreams that know `EdDSA`.
    #[must_use]
    pub fn header(&self) -> &str {
        &self.header
    }

    /// The encoded header of access tokens in which the algorithm Ed25519 has this name. That of another algorithm
    /// has one name.
    #[must_use]
    pub fn header_named(&self, name: Ed25519Name) -> &str {
        match (name, &self.renamed) {
            (Ed25519Name::Ed25519, Some(renamed)) => &renamed.header,
            (Ed25519Name::EdDsa, _) | (Ed25519Name::Ed25519, None) => &self.header,
        }
    }

    /// Its public half under the name of RFC 9864. `None` unless it is an Ed25519 key.
    #[must_use]
    pub fn renamed_jwk(&self) -> Option<&Value> {
        self.renamed.as_ref().map(|renamed| &renamed.jwk)
    }

    /// The encoded header of tokens of another type that it signs.
    #[must_use]
    pub fn header_of(&self, typ: &str) -> String {
        jws::encode_header(&header(typ, self.algorithm, &self.kid))
    }

    /// Its public half.
    #[must_use]
    pub fn jwk(&self) -> &Jwk {
        &self.jwk
    }

    /// Its private half.
    #[must_use]
    pub fn private(&self) -> &PrivateKey {
        &self.key
    }
}

impl Renamed {
    fn new(kid: &str, jwk: &Jwk) -> Option<Self> {
        let kid = format!("{kid}.{}", jose::ED25519);
        let mut jwk = serde_json::to_value(jwk).ok()?;
        let members = jwk.as_object_mut()?;
        members.insert("kid".to_owned(), Value::from(kid.as_str()));
        members.insert("alg".to_owned(), Value::from(jose::ED25519));
        let header = jws::encode_header(&header("at+jwt", jose::ED25519, &kid));
        Some(Self { header, jwk })
    }
}

fn header(typ: &str, algorithm: impl Display, kid: &str) -> String {
    format!(r#"{{"typ":"{typ}","alg":"{algorithm}","kid":"{kid}"}}"#)
}

/// Algorithm, public form, and the members that RFC 7638 hashes, in its order.
fn ed25519(point: &[u8]) -> (KeyAlgorithm, AlgorithmParameters, String) {
    let x = URL_SAFE_NO_PAD.encode(point);
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    let parameters = AlgorithmParameters::OctetKeyPair(OctetKeyPairParameters {
        key_type: OctetKeyPairType::OctetKeyPair,
        curve: EllipticCurve::Ed25519,
        x,
    });
    (KeyAlgorithm::EdDSA, parameters, canonical)
}

fn p256(point: &[u8]) -> Option<(KeyAlgorithm, AlgorithmParameters, String)> {
    let (x, y) = point.strip_prefix(&[4])?.split_at_checked(32)?;
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    let parameters = AlgorithmParameters::EllipticCurve(EllipticCurveKeyParameters {
        key_type: EllipticCurveKeyType::EC,
        curve: EllipticCurve::P256,
        x,
        y,
    });
    Some((KeyAlgorithm::ES256, parameters, canonical))
}
