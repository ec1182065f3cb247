//! The server side of TLS: one configuration of certificate, CAs and revocation lists, swapped whole.
//!
//! TLS 1.3 only, no session tickets and no session cache: a resumed session would skip the check of
//! the client certificate. A new configuration is built completely before it takes the place of the
//! old one, and has a higher generation, so that open connections know to be checked anew.

use std::{
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

use super::certificate::{CertificateError, PeerCertificate};
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
    /// CAs of client certificates.
    pub client_ca: PathBuf,
    /// Revocation lists. If given, it must hold one for each CA that signs: a certificate that no
    /// list covers is refused.
    pub crl: Option<PathBuf>,
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
    verifier: Arc<dyn ClientCertVerifier>,
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
    /// Verifies a client's chain against the CAs and revocation lists of this configuration.
    ///
    /// # Errors
    /// When no CA here vouches for it now.
    pub fn verify(&self, peer: &PeerCertificate, now: Timestamp) -> Result<(), CertificateError> {
        let (leaf, others) = peer.chain.split_first().ok_or(CertificateError::Unreadable)?;
        let seconds = u64::try_from(now.seconds()).unwrap_or(0);
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        match self.verifier.verify_client_cert(leaf, others, now) {
            Ok(_) => Ok(()),
            Err(rustls::Error::InvalidCertificate(rustls::CertificateError::Revoked)) => {
                Err(CertificateError::Revoked)
            }
            Err(_) => Err(CertificateError::Untrusted),
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
    client_ca: Vec<u8>,
    crl: Option<Vec<u8>>,
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: read(&files.certificate, Reader::Anybody)?.to_vec(),
            key: read(&files.key, Reader::Owner)?,
            client_ca: read(&files.client_ca, Reader::Anybody)?.to_vec(),
            crl: match &files.crl {
                Some(path) => Some(read(path, Reader::Anybody)?.to_vec()),
                None => None,
            },
        })
    }

    fn digest(&self) -> [u8; 32] {
        let none = Vec::new();
        let parts =
            [&self.certificate, &*self.key, &self.client_ca, self.crl.as_ref().unwrap_or(&none)];
        // Why each part by its own digest: bytes that move from one file to the next are a change.
        sha256(&parts.map(|part| sha256(part)).concat())
    }

    fn build(&self, files: &TlsFiles, generation: u64) -> Result<Loaded, TlsError> {
        let verifier = self.verifier(files)?;
        let chain =
            pem::<CertificateDer<'static>>(&files.certificate, &self.certificate, "certificate")?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| fault(&files.key, TlsFault::Nothing("private key")))?;
        let mut server = ServerConfig::builder_with_provider(crypto::tls_provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| unusable(&files.certificate, &error))?
            .with_client_cert_verifier(Arc::clone(&verifier))
            .with_single_cert(chain, key)
            .map_err(|error| unusable(&files.certificate, &error))?;
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Loaded { server: Arc::new(server), generation, verifier, digest: self.digest() })
    }

    fn verifier(&self, files: &TlsFiles) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let mut roots = RootCertStore::empty();
        for ca in pem::<CertificateDer<'static>>(&files.client_ca, &self.client_ca, "certificate")?
        {
            roots.add(ca).map_err(|error| unusable(&files.client_ca, &error))?;
        }
        // Why: callers with a token have no certificate; one that is given must be good.
        let mut builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto::tls_provider())
                .allow_unauthenticated();
        let blame = files.crl.as_ref().unwrap_or(&files.client_ca);
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
