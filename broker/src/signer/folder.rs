//! The folder that holds the private keys: one PKCS#8 PEM each, named by the second it was made,
//! such as `1763866000.pem`, readable by the broker's user alone.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use jeton_domain::ttl::Timestamp;
use jeton_files::Access;
use zeroize::Zeroizing;

use super::key::{SigningAlgorithm, SigningKey};
use crate::{
    crypto::private_key::{KeyFormatError, PrivateKey, SignError},
    limits::KEY_FILE_BYTES,
};

/// Why the keys can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    /// The system refused.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Others may read or write it.
    #[error("`{}` is open to others (mode {mode:04o}); run `chmod {fix:o} {}`", path.display(), path.display())]
    Mode {
        /// Which file or folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode that it should have.
        fix: u32,
    },
    /// Its name does not tell when it was made.
    #[error("`{}` is not named after the second when it was made; call it `SECONDS.pem`, such as `1763866000.pem`", .0.display())]
    Name(PathBuf),
    /// It is no key for tokens.
    #[error("`{}`: {source}; tokens are signed with Ed25519 or P-256 keys", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: KeyFormatError,
    },
    /// There is one of this second.
    #[error("`{}` exists; a second key in one second is refused", .0.display())]
    Exists(PathBuf),
    /// No key can be made.
    #[error("no key can be made: {0}")]
    Make(#[from] SignError),
}

/// A folder of keys.
pub struct Folder(PathBuf);

impl Folder {
    /// Opens it, or makes it for the owner alone.
    ///
    /// # Errors
    /// When that fails, or others may write there.
    pub fn open(path: &Path) -> Result<Self, KeyRingError> {
        let at = |source| KeyRingError::Io { path: path.to_owned(), source };
        jeton_files::private_folder(path).map_err(at)?;
        let mode = fs::metadata(path).map_err(at)?.mode() & 0o7777;
        // Why: whoever can put a key there can sign as the broker.
        if mode & 0o022 != 0 {
            return Err(KeyRingError::Mode { path: path.to_owned(), mode, fix: 0o700 });
        }
        Ok(Self(path.to_owned()))
    }

    /// Reads every key.
    ///
    /// # Errors
    /// When one of them can't be used.
    pub fn read(&self) -> Result<Vec<SigningKey>, KeyRingError> {
        let at = |source| KeyRingError::Io { path: self.0.clone(), source };
        let mut keys = vec![];
        for entry in fs::read_dir(&self.0).map_err(at)? {
            let path = entry.map_err(at)?.path();
            if path.extension().is_some_and(|extension| extension == "pem") {
                keys.push(read(&path)?);
            }
        }
        keys.sort_by_key(SigningKey::created);
        Ok(keys)
    }

    /// Makes a key and writes it.
    ///
    /// # Errors
    /// When that fails; no file of it is then left that [`Folder::read`] would take.
    pub fn make(
        &self,
        algorithm: SigningAlgorithm,
        now: Timestamp,
    ) -> Result<SigningKey, KeyRingError> {
        let created = Timestamp::from_seconds(now.seconds());
        let path = self.path_of(created);
        let der = algorithm.generate()?;
        write(&path, &pem(&der))?;
        parse(&path, created, PrivateKey::from_pkcs8(&der))
    }

    /// Removes a key that has served.
    ///
    /// # Errors
    /// When that fails. A file that is gone already is fine.
    pub fn remove(&self, key: &SigningKey) -> Result<(), KeyRingError> {
        let path = self.path_of(key.created());
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(KeyRingError::Io { path, source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn path_of(&self, created: Timestamp) -> PathBuf {
        self.0.join(format!("{}.pem", created.seconds()))
    }
}

fn read(path: &Path) -> Result<SigningKey, KeyRingError> {
    let created = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .filter(|stem| stem.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|stem| stem.parse().ok())
        .map(Timestamp::from_seconds)
        .ok_or_else(|| KeyRingError::Name(path.to_owned()))?;
    parse(path, created, PrivateKey::from_pem(&read_pem(path)?))
}

/// Reads a file that only its owner may read.
pub(super) fn read_pem(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyRingError> {
    let at = |source| KeyRingError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(at)?;
    // Why of the open file: the name could point elsewhere a moment later.
    let mode = file.metadata().map_err(at)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyRingError::Mode { path: path.to_owned(), mode, fix: 0o600 });
    }
    let mut pem = Zeroizing::new(Vec::with_capacity(4096));
    file.take(KEY_FILE_BYTES).read_to_end(&mut pem).map_err(at)?;
    Ok(pem)
}

fn parse(
    path: &Path,
    created: Timestamp,
    key: Result<PrivateKey, KeyFormatError>,
) -> Result<SigningKey, KeyRingError> {
    key.and_then(|key| SigningKey::new(key, created))
        .map_err(|source| KeyRingError::Format { path: path.to_owned(), source })
}

/// Writes a file that is there whole or not at all, and never over another.
pub(super) fn write(path: &Path, text: &str) -> Result<(), KeyRingError> {
    jeton_files::create(path, text.as_bytes(), Access::Owner).map_err(|source| {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::AlreadyExists {
            KeyRingError::Exists(path)
        } else {
            KeyRingError::Io { path, source }
        }
    })
}

pub(super) fn pem(der: &[u8]) -> Zeroizing<String> {
    const BEGIN: &str = "-----BEGIN PRIVATE KEY-----\n";
    const END: &str = "-----END PRIVATE KEY-----\n";
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut text = Zeroizing::new(String::with_capacity(body.len() * 2 + BEGIN.len() + END.len()));
    text.push_str(BEGIN);
    for (place, letter) in body.chars().enumerate() {
        if place > 0 && place % 64 == 0 {
            text.push('\n');
        }
        text.push(letter);
    }
    text.push('\n');
    text.push_str(END);
    text
}
