//! What a client certificate says, read once when the connection is accepted.
//!
//! The chain was verified before by rustls; this room reads the name in it. Whether the certificate
//! still holds is asked again on each call, see `peer`.

use std::sync::Arc;

use jeton_domain::{
    jose::weak_key::{is_roca, is_weak_ed25519},
    principal::{PrincipalId, Thumbprint},
    secret::sha256,
    ttl::Timestamp,
};
use rustls_pki_types::CertificateDer;
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    oid_registry::{
        OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519, OID_X509_EXT_BASIC_CONSTRAINTS,
        OID_X509_EXT_KEY_USAGE,
    },
    prelude::FromDer,
    public_key::PublicKey,
};

use super::spiffe::{self, SpiffeError};

/// The client certificate of a connection.
#[derive(Debug, Clone)]
pub struct PeerCertificate {
    /// The workload that it names.
    pub id: PrincipalId,
    /// SHA-256 of the certificate (RFC 8705 `x5t#S256`).
    pub thumbprint: Thumbprint,
    /// First moment of its life.
    pub not_before: Timestamp,
    /// First moment after its life.
    pub not_after: Timestamp,
    /// The certificate and what was sent with it, to be verified anew when the CAs change.
    pub chain: Arc<Vec<CertificateDer<'static>>>,
}

/// Why a certificate identifies nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not X.509, or with a malformed extension.
    #[error("the client certificate can't be read")]
    Unreadable,
    /// A CA must not speak for itself (SPIFFE X509-SVID §5.2).
    #[error("the client certificate is a CA; present a leaf certificate")]
    Authority,
    /// None or several: which of them would it be?
    #[error("the client certificate has {0} URI names; exactly one SPIFFE id is needed")]
    Names(usize),
    /// The one name is no id.
    #[error("the client certificate names no workload: {0}")]
    Name(#[from] SpiffeError),
    /// A key that anyone can sign for.
    #[error(
        "the key of the client certificate, or of a CA in its chain, is weak: {0}; create a new one"
    )]
    WeakKey(&'static str),
    /// `now < not_before`.
    #[error("the client certificate is not valid yet; check the clocks")]
    NotYet,
    /// `not_after ≤ now`.
    #[error("the client certificate has ended; renew it and connect again")]
    Ended,
    /// It stands on a revocation list.
    #[error("the client certificate is revoked; get a new one")]
    Revoked,
    /// No CA of the current configuration stands behind it.
    #[error("no CA that is trusted now vouches for the client certificate; get a new one")]
    Untrusted,
    /// Its CA is bound to other trust domains.
    #[error(
        "the CA of the client certificate does not speak for the trust domain `{0}`; `[[client_ca]]` binds each CA to its own"
    )]
    TrustDomain(String),
}

impl CertificateError {
    /// A short code for programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreadable
            | Self::Authority
            | Self::Names(_)
            | Self::Name(_)
            | Self::WeakKey(_) => "CERTIFICATE_UNUSABLE",
            Self::NotYet => "CERTIFICATE_NOT_YET_VALID",
            Self::Ended => "CERTIFICATE_ENDED",
            Self::Revoked => "CERTIFICATE_REVOKED",
            Self::Untrusted | Self::TrustDomain(_) => "CERTIFICATE_UNTRUSTED",
        }
    }

    /// Tells whether it is a good certificate of somebody without a name here, which is no sign of
    /// an attack: a mesh gives every machine one.
    #[must_use]
    pub fn names_nobody(&self) -> bool {
        match self {
            Self::Unreadable | Self::Authority | Self::Names(_) | Self::Name(_) => true,
            Self::WeakKey(_)
            | Self::NotYet
            | Self::Ended
            | Self::Revoked
            | Self::Untrusted
            | Self::TrustDomain(_) => false,
        }
    }
}

impl PeerCertificate {
    /// Reads the leaf of a verified chain.
    ///
    /// # Errors
    /// When it is a CA, unreadable, has a weak key in its chain, or does not name exactly one workload.
    pub fn read(chain: Vec<CertificateDer<'static>>) -> Result<Self, CertificateError> {
        let leaf = chain.first().ok_or(CertificateError::Unreadable)?;
        let (rest, certificate) =
            X509Certificate::from_der(leaf).map_err(|_| CertificateError::Unreadable)?;
        if !rest.is_empty() {
            return Err(CertificateError::Unreadable);
        }
        refuse_authority(&certificate)?;
        // Why all: a CA between the leaf and the root signs for it.
        for certificate in &chain {
            check_key(certificate)?;
        }
        let seconds = |time: x509_parser::time::ASN1Time| Timestamp::from_seconds(time.timestamp());
        Ok(Self {
            id: name(&certificate)?,
            thumbprint: Thumbprint(sha256(leaf)),
            not_before: seconds(certificate.validity().not_before),
            not_after: seconds(certificate.validity().not_after),
            chain: Arc::new(chain),
        })
    }

    /// Checks its life.
    ///
    /// # Errors
    /// Before and after it.
    pub fn lives_at(&self, now: Timestamp) -> Result<(), CertificateError> {
        if now < self.not_before {
            return Err(CertificateError::NotYet);
        }
        if now >= self.not_after {
            return Err(CertificateError::Ended);
        }
        Ok(())
    }
}

/// Checks that a certificate's key is one that only its owner can sign for.
///
/// # Errors
/// When it is not, or the certificate cannot be read.
pub(super) fn check_key(certificate: &CertificateDer<'_>) -> Result<(), CertificateError> {
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|_| CertificateError::Unreadable)?;
    let key = certificate.public_key();
    if key.algorithm.algorithm == OID_SIG_ED25519 && is_weak_ed25519(&key.subject_public_key.data) {
        return Err(CertificateError::WeakKey("an Ed25519 point of small order"));
    }
    if key.algorithm.algorithm == OID_PKCS1_RSAENCRYPTION {
        let parsed = key.parsed().map_err(|_| CertificateError::Unreadable)?;
        if let PublicKey::RSA(key) = parsed
            && is_roca(key.modulus)
        {
            return Err(CertificateError::WeakKey("an RSA key of CVE-2017-15361"));
        }
    }
    Ok(())
}

fn refuse_authority(certificate: &X509Certificate<'_>) -> Result<(), CertificateError> {
    for extension in certificate.extensions() {
        let decides =
            [OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_KEY_USAGE].contains(&extension.oid);
        let parsed = extension.parsed_extension();
        let may_sign = if let ParsedExtension::BasicConstraints(constraints) = parsed {
            constraints.ca
        } else if let ParsedExtension::KeyUsage(usage) = parsed {
            usage.key_cert_sign() || usage.crl_sign()
        } else if decides {
            // Why: a malformed extension must not read as an absent one.
            return Err(CertificateError::Unreadable);
        } else {
            false
        };
        if may_sign {
            return Err(CertificateError::Authority);
        }
    }
    Ok(())
}

fn name(certificate: &X509Certificate<'_>) -> Result<PrincipalId, CertificateError> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| CertificateError::Unreadable)?
        .ok_or(CertificateError::Names(0))?;
    let mut uris = Vec::new();
    for name in &names.value.general_names {
        if let GeneralName::URI(uri) = name {
            uris.push(*uri);
        }
    }
    match uris.as_slice() {
        [uri] => Ok(spiffe::parse(uri)?),
        many => Err(CertificateError::Names(many.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Ca, leaf};
    use super::*;
    use proptest::prelude::*;
    use rcgen::{BasicConstraints, IsCa, KeyUsagePurpose, SanType};

    fn read(
        change: impl FnOnce(&mut rcgen::CertificateParams),
    ) -> Result<PeerCertificate, CertificateError> {
        let mut params = leaf(&["spiffe://acme.dev/agent/one"]);
        change(&mut params);
        PeerCertificate::read(vec![Ca::new("test").sign(&params).certificate.der().clone()])
    }

    #[test]
    fn one_spiffe_id_is_read_and_dns_names_beside_it_do_not_matter() {
        let read = read(|params| {
            params.subject_alt_names.push(SanType::DnsName("one.acme.dev".try_into().unwrap()));
        })
        .unwrap();
        assert_eq!(read.id.as_str(), "spiffe://acme.dev/agent/one");
        assert_eq!(read.thumbprint.0, sha256(&read.chain[0]));
        assert!(read.not_before < read.not_after);
    }

    #[test]
    fn none_two_or_a_strange_name_is_refused() {
        let uri = |text: &str| SanType::URI(text.try_into().unwrap());
        assert_eq!(read(|p| p.subject_alt_names.clear()).err(), Some(CertificateError::Names(0)));
        let two = read(|p| p.subject_alt_names.push(uri("spiffe://acme.dev/agent/two")));
        assert_eq!(two.err(), Some(CertificateError::Names(2)));
        let foreign = read(|p| p.subject_alt_names.push(uri("https://acme.dev/")));
        assert_eq!(foreign.err(), Some(CertificateError::Names(2)));
        let strange = read(|p| p.subject_alt_names = vec![uri("spiffe://acme.dev/a%2fb")]);
        assert_eq!(
            strange.unwrap_err().to_string(),
            "the client certificate names no workload: the path of `spiffe://acme.dev/a%2fb` must be \
             segments of a-z, A-Z, 0-9, `.`, `-` and `_`, none empty, `.` or `..`"
        );
    }

    #[test]
    fn a_ca_does_not_speak_for_itself() {
        let ca = read(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
        assert_eq!(ca.err(), Some(CertificateError::Authority));
        let signer = read(|p| p.key_usages = vec![KeyUsagePurpose::KeyCertSign]);
        assert_eq!(signer.err(), Some(CertificateError::Authority));
    }

    #[test]
    fn a_key_that_anyone_can_sign_for_is_refused() {
        /// The certificate of a key whose private half nobody needs.
        struct Identity([u8; 32]);
        impl rcgen::PublicKeyData for Identity {
            fn der_bytes(&self) -> &[u8] {
                &self.0
            }
            fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
                &rcgen::PKCS_ED25519
            }
        }
        let mut identity = [0; 32];
        identity[0] = 1;
        let weak =
            Ca::new("test").certify(&leaf(&["spiffe://acme.dev/agent/one"]), &Identity(identity));
        let refused = PeerCertificate::read(vec![weak.clone()]).err().unwrap();
        assert!(matches!(refused, CertificateError::WeakKey(_)), "{refused}");
        assert_eq!(refused.reason(), "CERTIFICATE_UNUSABLE");
        let good = Ca::new("test").sign(&leaf(&["spiffe://acme.dev/agent/one"]));
        let chain = vec![good.certificate.der().clone(), weak];
        assert!(matches!(PeerCertificate::read(chain), Err(CertificateError::WeakKey(_))));
    }

    #[test]
    fn its_life_has_a_first_moment_and_an_end() {
        let read = read(|_| {}).unwrap();
        let before = Timestamp::from_millis(read.not_before.millis() - 1);
        let last = Timestamp::from_millis(read.not_after.millis() - 1);
        assert_eq!(read.lives_at(before), Err(CertificateError::NotYet));
        assert_eq!(read.lives_at(read.not_before), Ok(()));
        assert_eq!(read.lives_at(last), Ok(()));
        assert_eq!(read.lives_at(read.not_after), Err(CertificateError::Ended));
    }

    proptest! {
        #[test]
        fn no_bytes_crash_the_reader(bytes: Vec<u8>, at: prop::sample::Index, flip in 1_u8..) {
            let _ = PeerCertificate::read(vec![CertificateDer::from(bytes)]);
            let mut broken = KNOWN.to_vec();
            let at = at.index(broken.len());
            broken[at] ^= flip;
            let _ = PeerCertificate::read(vec![CertificateDer::from(broken)]);
        }
    }

    static KNOWN: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
        Ca::new("test").sign(&leaf(&["spiffe://acme.dev/a"])).certificate.der().to_vec()
    });
}
