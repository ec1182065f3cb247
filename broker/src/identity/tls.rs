//! The server side of TLS: one configuration of certificate, CAs and revocation lists, swapped whole.
//!
//! TLS 1.3 only, no session tickets and no session cache: a resumed session would skip the check of
//! the client certificate. A new configuration is built completely before it takes the place of the
//! old one, and has a higher generation, so that open connections know to be checked anew.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use jeton_domain::{secret::sha256, ttl::Timestamp};
use rustls::{
    RootCertStore, ServerConfig,
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime, pem::PemObject,
};
use zeroize::Zeroizing;

use super::{
    certificate::{CertificateError, PeerCertificate, check_key},
    spiffe::TrustDomain,
};
use crate::crypto;

/// Largest of the files, in bytes. Why: a revocation list of 100,000 certificates is under 4 MiB.
const FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Where the parts of the configuration are. All in PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The server's certificate, its intermediates after it.
    pub certificate: PathBuf,
    /// Its private key; nobody but the owner may read the file.
    pub key: PathBuf,
    /// CAs of client certificates, each bound to the trust domain that it speaks for.
    pub client_cas: Vec<ClientCa>,
    /// Revocation lists. If given, it must hold one for each CA that signs: a certificate that no
    /// list covers is refused.
    pub crl: Option<PathBuf>,
}

/// A file of CAs, and the one trust domain whose ids may stand in the certificates that they sign (SPIFFE federation:
/// a bundle belongs to one trust domain). A trust domain may have several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCa {
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// The certificates of the CAs.
    pub file: PathBuf,
}

/// Why a configuration could not be loaded. The one before stays in force.
#[derive(Debug, thiserror::Error)]
#[error("`{}`: {fault}", file.display())]
pub struct TlsError {
    /// The file at fault.
    pub file: PathBuf,
    /// What is wrong with it.
    pub fault: TlsFault,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// It can't be read.
    #[error("can't be read: {0}")]
    Io(#[from] io::Error),
    /// Beyond any real size.
    #[error("is larger than {FILE_BYTES} bytes")]
    TooLarge,
    /// Others on this machine could take the key.
    #[error("can be read by others (mode {0:04o}); run `chmod 600` on it")]
    Mode(u32),
    /// Nothing of the kind in it.
    #[error("holds no {0} in PEM")]
    Nothing(&'static str),
    /// It is there and unusable.
    #[error("is not usable: {0}")]
    Unusable(String),
}

/// What `reload` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// The files are as they were.
    Unchanged,
    /// A new configuration is in force.
    Swapped {
        /// Its number.
        generation: u64,
    },
}

/// The configuration in force.
pub struct TlsState {
    files: TlsFiles,
    current: ArcSwap<Loaded>,
}

/// One configuration.
pub struct Loaded {
    /// What new handshakes use.
    pub server: Arc<ServerConfig>,
    /// Counts configurations from 1.
    pub generation: u64,
    /// For handshakes, which come before the name is known: the CAs of all trust domains.
    any: Arc<dyn ClientCertVerifier>,
    /// The CAs of each trust domain alone.
    bound: BTreeMap<TrustDomain, Arc<dyn ClientCertVerifier>>,
    digest: [u8; 32],
}

impl TlsState {
    /// Loads the files for the first time.
    ///
    /// # Errors
    /// When one of them is missing, unsafe or unusable.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let loaded = Contents::read(&files)?.build(&files, 1)?;
        Ok(Self { files, current: ArcSwap::from_pointee(loaded) })
    }

    /// The configuration in force.
    #[must_use]
    pub fn current(&self) -> Arc<Loaded> {
        self.current.load_full()
    }

    /// Loads the files anew and swaps them in, changed or not.
    ///
    /// # Errors
    /// As `load`; then the configuration before stays in force.
    pub fn reload(&self) -> Result<Reload, TlsError> {
        self.swap(&Contents::read(&self.files)?)
    }

    /// Loads the files anew if their contents changed. Why contents: mounted secrets change by
    /// swapped symbolic links, which times of change and file events miss.
    ///
    /// # Errors
    /// As `reload`, each time until the files are good again.
    pub fn reload_if_changed(&self) -> Result<Reload, TlsError> {
        let contents = Contents::read(&self.files)?;
        if contents.digest() == self.current.load().digest {
            return Ok(Reload::Unchanged);
        }
        self.swap(&contents)
    }

    fn swap(&self, contents: &Contents) -> Result<Reload, TlsError> {
        let generation = self.current.load().generation.saturating_add(1);
        self.current.store(Arc::new(contents.build(&self.files, generation)?));
        Ok(Reload::Swapped { generation })
    }
}

impl Loaded {
    /// Verifies a client's chain against the revocation lists of this configuration and the CAs that are bound to the
    /// trust domain of its name.
    ///
    /// # Errors
    /// When none of those vouches for it now.
    pub fn verify(&self, peer: &PeerCertificate, now: Timestamp) -> Result<(), CertificateError> {
        let (leaf, others) = peer.chain.split_first().ok_or(CertificateError::Unreadable)?;
        let seconds = u64::try_from(now.seconds()).unwrap_or(0);
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let verify = |verifier: &Arc<dyn ClientCertVerifier>| {
            verifier.verify_client_cert(leaf, others, now).map(|_| ()).map_err(|error| {
                let revoked = rustls::CertificateError::Revoked;
                match error == rustls::Error::InvalidCertificate(revoked) {
                    true => CertificateError::Revoked,
                    false => CertificateError::Untrusted,
                }
            })
        };
        let domain = TrustDomain::of(&peer.id)?;
        let bound = self.bound.get(&domain).map_or(Err(CertificateError::Untrusted), verify);
        match bound {
            Err(CertificateError::Untrusted) if verify(&self.any).is_ok() => {
                Err(CertificateError::TrustDomain(domain.as_str().to_owned()))
            }
            outcome => outcome,
        }
    }
}

/// Why by hand: the configuration holds a private key.
impl fmt::Debug for TlsState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsState(generation {})", self.current.load().generation)
    }
}

/// The files as read, all at one time.
struct Contents {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    client_cas: Vec<Vec<u8>>,
    crl: Option<Vec<u8>>,
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: read(&files.certificate, Reader::Anybody)?.to_vec(),
            key: read(&files.key, Reader::Owner)?,
            client_cas: files
                .client_cas
                .iter()
                .map(|ca| Ok(read(&ca.file, Reader::Anybody)?.to_vec()))
                .collect::<Result<_, TlsError>>()?,
            crl: match &files.crl {
                Some(path) => Some(read(path, Reader::Anybody)?.to_vec()),
                None => None,
            },
        })
    }

    fn digest(&self) -> [u8; 32] {
        let none = Vec::new();
        let parts = [&self.certificate, &*self.key, self.crl.as_ref().unwrap_or(&none)];
        // Why each part by its own digest: bytes that move from one file to the next are a change.
        let digests = parts.into_iter().chain(&self.client_cas).map(|part| sha256(part));
        sha256(&digests.collect::<Vec<_>>().concat())
    }

    fn build(&self, files: &TlsFiles, generation: u64) -> Result<Loaded, TlsError> {
        let authorities = self.authorities(files)?;
        let all = authorities.values().flatten().cloned().collect();
        let any = self.verifier(files, all)?;
        let mut bound = BTreeMap::new();
        for (domain, cas) in authorities {
            bound.insert(domain, self.verifier(files, cas)?);
        }
        let chain =
            pem::<CertificateDer<'static>>(&files.certificate, &self.certificate, "certificate")?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| fault(&files.key, TlsFault::Nothing("private key")))?;
        let mut server = ServerConfig::builder_with_provider(crypto::tls_provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| unusable(&files.certificate, &error))?
            .with_client_cert_verifier(Arc::clone(&any))
            .with_single_cert(chain, key)
            .map_err(|error| unusable(&files.certificate, &error))?;
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Loaded { server: Arc::new(server), generation, any, bound, digest: self.digest() })
    }

    /// The CAs of each trust domain.
    fn authorities(
        &self,
        files: &TlsFiles,
    ) -> Result<BTreeMap<TrustDomain, Vec<CertificateDer<'static>>>, TlsError> {
        let mut authorities = BTreeMap::<_, Vec<_>>::new();
        for (ca, bytes) in files.client_cas.iter().zip(&self.client_cas) {
            let certificates = pem::<CertificateDer<'static>>(&ca.file, bytes, "certificate")?;
            for certificate in &certificates {
                check_key(certificate).map_err(|error| unusable(&ca.file, &error))?;
                // Why here: the file at fault is named.
                let added = RootCertStore::empty().add(certificate.clone());
                added.map_err(|error| unusable(&ca.file, &error))?;
            }
            authorities.entry(ca.trust_domain.clone()).or_default().extend(certificates);
        }
        Ok(authorities)
    }

    fn verifier(
        &self,
        files: &TlsFiles,
        cas: Vec<CertificateDer<'static>>,
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let mut roots = RootCertStore::empty();
        let first = files.client_cas.first().map_or(&files.certificate, |ca| &ca.file);
        let blame = files.crl.as_ref().unwrap_or(first);
        for ca in cas {
            roots.add(ca).map_err(|error| unusable(blame, &error))?;
        }
        // Why: callers with a token have no certificate; one that is given must be good.
        let mut builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto::tls_provider())
                .allow_unauthenticated();
        if let Some(crl) = &self.crl {
            let lists =
                pem::<CertificateRevocationListDer<'static>>(blame, crl, "revocation list")?;
            builder = builder.with_crls(lists);
        }
        builder.build().map_err(|error| unusable(blame, &error))
    }
}

#[derive(Clone, Copy)]
enum Reader {
    Anybody,
    Owner,
}

fn read(path: &Path, reader: Reader) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let attempt = || -> Result<Zeroizing<Vec<u8>>, TlsFault> {
        let file = fs::File::open(path)?;
        // Why of the open file: a check of the path could look at another one.
        let mode = file.metadata()?.permissions().mode() & 0o7777;
        match reader {
            Reader::Owner if mode & 0o077 != 0 => return Err(TlsFault::Mode(mode)),
            Reader::Owner | Reader::Anybody => {}
        }
        let mut bytes = Zeroizing::new(Vec::new());
        file.take(FILE_BYTES + 1).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length <= FILE_BYTES) {
            Ok(bytes)
        } else {
            Err(TlsFault::TooLarge)
        }
    };
    attempt().map_err(|error| fault(path, error))
}

fn pem<T: PemObject>(path: &Path, bytes: &[u8], what: &'static str) -> Result<Vec<T>, TlsError> {
    let items: Vec<T> = T::pem_slice_iter(bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(path, &error))?;
    if items.is_empty() { Err(fault(path, TlsFault::Nothing(what))) } else { Ok(items) }
}

fn fault(path: &Path, fault: TlsFault) -> TlsError {
    TlsError { file: path.to_owned(), fault }
}

fn unusable(path: &Path, error: &dyn fmt::Display) -> TlsError {
    fault(path, TlsFault::Unusable(error.to_string()))
}

#[cfg(test)]
mod tests;
