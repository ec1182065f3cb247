//! Private keys, parsed once: Ed25519, P-256 and RSA.

use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair,
        UnparsedPublicKey, VerificationAlgorithm,
    },
};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};
use zeroize::Zeroizing;

/// Why a text is no private key. Never holds a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFormatError {
    /// It is no PEM, or holds no private key.
    #[error(
        "it is no private key in PEM; `-----BEGIN PRIVATE KEY-----` or `-----BEGIN RSA PRIVATE KEY-----` is expected"
    )]
    NoPem,
    /// It is a key of another kind, a broken or a weak one.
    #[error("it is no Ed25519, P-256 or RSA key of at least 2048 bits; EC keys must be PKCS#8")]
    Unfit,
}

/// A key that could not sign. Why it names nothing: there is nothing that a caller could do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key could not sign")]
pub struct SignError;

/// A private key, ready to sign.
pub enum PrivateKey {
    /// EdDSA (RFC 8037).
    Ed25519(Ed25519KeyPair),
    /// ES256.
    P256(EcdsaKeyPair),
    /// RS256.
    Rsa(RsaKeyPair),
}

impl PrivateKey {
    /// Reads PEM: PKCS#8, or PKCS#1 for RSA.
    ///
    /// # Errors
    /// When it holds no key, or none of the three kinds.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyFormatError> {
        let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| KeyFormatError::NoPem)?;
        let der = Zeroizing::new(der);
        match &*der {
            PrivateKeyDer::Pkcs1(key) => Self::rsa(key.secret_pkcs1_der()),
            PrivateKeyDer::Pkcs8(key) => Self::from_pkcs8(key.secret_pkcs8_der()),
            PrivateKeyDer::Sec1(_) | _ => Err(KeyFormatError::Unfit),
        }
    }

    /// Reads PKCS#8 of any of the three kinds.
    ///
    /// # Errors
    /// When it is none of them.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyFormatError> {
        Self::ed25519(der)
            .or_else(|_| Self::p256(der))
            .or_else(|_| RsaKeyPair::from_pkcs8(der).map(Self::Rsa))
            .map_err(|_| KeyFormatError::Unfit)
    }

    /// Reads an Ed25519 key as PKCS#8, with or without its public half.
    ///
    /// # Errors
    /// When it is none.
    pub fn ed25519(der: &[u8]) -> Result<Self, KeyFormatError> {
        // Why "maybe unchecked": OpenSSL writes no public half to check against.
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
            .map(Self::Ed25519)
            .map_err(|_| KeyFormatError::Unfit)
    }

    /// Reads a P-256 key as PKCS#8.
    ///
    /// # Errors
    /// When it is none.
    pub fn p256(der: &[u8]) -> Result<Self, KeyFormatError> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &SystemRandom::new())
            .map(Self::P256)
            .map_err(|_| KeyFormatError::Unfit)
    }

    /// Reads an RSA key as PKCS#1.
    ///
    /// # Errors
    /// When it is none, or one of under 2048 bits.
    pub fn rsa(der: &[u8]) -> Result<Self, KeyFormatError> {
        RsaKeyPair::from_der(der).map(Self::Rsa).map_err(|_| KeyFormatError::Unfit)
    }

    /// Signs as the `alg` of this kind of key says.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let random = SystemRandom::new();
        match self {
            Self::Ed25519(key) => Ok(key.sign(message).as_ref().to_vec()),
            Self::P256(key) => key
                .sign(&random, message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| SignError),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map(|()| signature)
                    .map_err(|_| SignError)
            }
        }
    }

    /// Tells whether this key made a signature.
    #[must_use]
    pub fn made(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match self {
            Self::Ed25519(_) => &ED25519,
            Self::P256(_) => &ECDSA_P256_SHA256_FIXED,
            Self::Rsa(_) => &RSA_PKCS1_2048_8192_SHA256,
        };
        UnparsedPublicKey::new(algorithm, self.public()).verify(message, signature).is_ok()
    }

    /// The public half: 32 bytes of Ed25519, an uncompressed point of P-256, PKCS#1 of RSA.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        match self {
            Self::Ed25519(key) => key.public_key().as_ref(),
            Self::P256(key) => key.public_key().as_ref(),
            Self::Rsa(key) => key.public().as_ref(),
        }
    }
}
