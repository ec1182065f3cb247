//! jsonwebtoken's cryptography, on ring.
//!
//! Signs and checks EdDSA, ES256 and RS256, checks PS256, and knows no other algorithm: no HMAC, so
//! a public key can't be taken for a shared secret, and no "none".

use std::sync::{Arc, LazyLock};

use jeton_domain::secret::sha256;
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{ErrorKind, Result, new_error},
    jwk::{EllipticCurve, ThumbprintHash},
    signature::{Error as SignatureError, Signer, Verifier},
};
use moka::sync::Cache;
use ring::{
    digest,
    signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
        RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
    },
};

use super::private_key::PrivateKey;
use crate::limits::PARSED_KEYS;

/// The provider. [`super::install`] puts it in place.
pub static RING: CryptoProvider = CryptoProvider {
    signer_factory: signer,
    verifier_factory: verifier,
    key_utils: KeyUtils {
        rsa_pub_components_from_private_key: |_| Err(unsupported()),
        rsa_pub_components_from_public_key: |_| Err(unsupported()),
        ec_pub_components_from_private_key: p256_point,
        ed_pub_components_from_private_key: ed25519_point,
        compute_digest,
    },
};

/// Parsed private keys by the SHA-256 of family and bytes. Why: jsonwebtoken hands over the bytes
/// on each call, and parsing costs more than signing.
static PARSED: LazyLock<Cache<[u8; 32], Arc<PrivateKey>>> =
    LazyLock::new(|| Cache::new(PARSED_KEYS));

/// How each allowed algorithm is checked.
const SCHEMES: [(Algorithm, Scheme); 4] = [
    (Algorithm::EdDSA, Scheme::Point(&ED25519)),
    (Algorithm::ES256, Scheme::Point(&ECDSA_P256_SHA256_FIXED)),
    (Algorithm::RS256, Scheme::Rsa(&RSA_PKCS1_2048_8192_SHA256)),
    (Algorithm::PS256, Scheme::Rsa(&RSA_PSS_2048_8192_SHA256)),
];

#[derive(Clone, Copy)]
enum Scheme {
    Point(&'static dyn VerificationAlgorithm),
    Rsa(&'static RsaParameters),
}

struct RingSigner {
    algorithm: Algorithm,
    key: Arc<PrivateKey>,
}

struct RingVerifier {
    algorithm: Algorithm,
    scheme: Scheme,
    key: DecodingKey,
}

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    let family = key.family();
    let signs = [Algorithm::EdDSA, Algorithm::ES256, Algorithm::RS256].contains(algorithm);
    if !signs || algorithm.family() != family {
        return Err(unsupported());
    }
    let named = [format!("{family:?}:").as_bytes(), key.as_bytes()].concat();
    let key = PARSED
        .try_get_with(sha256(&zeroize::Zeroizing::new(named)), || parse(family, key.as_bytes()))
        .map_err(|_| new_error(ErrorKind::InvalidKeyFormat))?;
    Ok(Box::new(RingSigner { algorithm: *algorithm, key }))
}

fn parse(family: AlgorithmFamily, der: &[u8]) -> Result<Arc<PrivateKey>> {
    match family {
        AlgorithmFamily::Ed => PrivateKey::ed25519(der),
        AlgorithmFamily::Ec => PrivateKey::p256(der),
        AlgorithmFamily::Rsa => PrivateKey::rsa(der),
        AlgorithmFamily::Hmac => return Err(unsupported()),
    }
    .map(Arc::new)
    .map_err(|_| new_error(ErrorKind::InvalidKeyFormat))
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let known = SCHEMES.iter().find(|(known, _)| known == algorithm);
    let Some((_, scheme)) = known.filter(|_| algorithm.family() == key.family()) else {
        return Err(unsupported());
    };
    Ok(Box::new(RingVerifier { algorithm: *algorithm, scheme: *scheme, key: key.clone() }))
}

impl Signer<Vec<u8>> for RingSigner {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, SignatureError> {
        self.key.sign(message).map_err(|_| SignatureError::new())
    }
}

impl JwtSigner for RingSigner {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(
        &self,
        message: &[u8],
        signature: &Vec<u8>,
    ) -> std::result::Result<(), SignatureError> {
        match (self.scheme, self.key.kind()) {
            (Scheme::Point(algorithm), DecodingKeyKind::SecretOrDer(key)) => {
                UnparsedPublicKey::new(algorithm, key).verify(message, signature)
            }
            (Scheme::Rsa(algorithm), DecodingKeyKind::SecretOrDer(key)) => {
                UnparsedPublicKey::new(algorithm, key).verify(message, signature)
            }
            (Scheme::Rsa(algorithm), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(algorithm, message, signature)
            }
            (Scheme::Point(_), DecodingKeyKind::RsaModulusExponent { .. }) => {
                Err(ring::error::Unspecified)
            }
        }
        .map_err(|_| SignatureError::new())
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

fn p256_point(der: &[u8], algorithm: Algorithm) -> Result<(EllipticCurve, Vec<u8>, Vec<u8>)> {
    let invalid = || new_error(ErrorKind::InvalidEcdsaKey);
    if algorithm != Algorithm::ES256 {
        return Err(unsupported());
    }
    let key = PrivateKey::p256(der).map_err(|_| invalid())?;
    let (x, y) =
        key.public().get(1..).and_then(|xy| xy.split_at_checked(32)).ok_or_else(invalid)?;
    Ok((EllipticCurve::P256, x.to_vec(), y.to_vec()))
}

fn ed25519_point(der: &[u8], curve: &EllipticCurve) -> Result<Vec<u8>> {
    if *curve != EllipticCurve::Ed25519 {
        return Err(unsupported());
    }
    let key = PrivateKey::ed25519(der).map_err(|_| new_error(ErrorKind::InvalidEddsaKey))?;
    Ok(key.public().to_vec())
}

fn compute_digest(data: &[u8], hash: ThumbprintHash) -> Result<Vec<u8>> {
    let known = [
        (ThumbprintHash::SHA256, &digest::SHA256),
        (ThumbprintHash::SHA384, &digest::SHA384),
        (ThumbprintHash::SHA512, &digest::SHA512),
    ];
    let (_, algorithm) =
        known.into_iter().find(|(name, _)| *name == hash).ok_or_else(unsupported)?;
    Ok(digest::digest(algorithm, data).as_ref().to_vec())
}

fn unsupported() -> jsonwebtoken::errors::Error {
    new_error(ErrorKind::UnsupportedAlgorithm)
}

#[cfg(test)]
mod tests;
