//! The file that carries a session from whoever opened it to its agent. Mode 0600.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jeton_domain::secret::Secret;
use jeton_files::Access;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{dpop::DpopKey, error::Error, sessions::OpenedSession};

/// Largest session file, in bytes.
const MOST: u64 = 16 * 1024;

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct SessionFile {
    session: String,
    handle: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dpop_key: Option<String>,
}

/// Writes a new file; an existing one is never overwritten.
///
/// # Errors
/// When it exists or can't be written.
pub fn write(path: &Path, opened: &OpenedSession, key: Option<&DpopKey>) -> Result<(), Error> {
    let file = SessionFile {
        session: opened.session.id.clone(),
        handle: opened.handle.expose().to_owned(),
        dpop_key: key.map(|key| URL_SAFE_NO_PAD.encode(key.pkcs8())),
    };
    let failed = |error: std::io::Error| {
        Error::config(format!("`{}` can't be written: {error}", path.display()))
    };
    let text = serde_json::to_string(&file)
        .map(Secret::new)
        .map_err(|error| Error::config(error.to_string()))?;
    jeton_files::create(path, text.expose().as_bytes(), Access::Owner).map_err(failed)
}

/// Reads the handle, and the key that it is bound to if there is one.
pub(crate) fn read(path: &Path) -> Result<(Secret, Option<DpopKey>), Error> {
    let failed =
        |words: String| Error::config(format!("the session file `{}` {words}", path.display()));
    let meta = fs::metadata(path).map_err(|error| failed(format!("can't be read: {error}")))?;
    if meta.permissions().mode() & 0o077 != 0 {
        return Err(failed("can be read by others; run `chmod 600` on it".to_owned()));
    }
    if meta.len() > MOST {
        return Err(failed(format!("is larger than {MOST} bytes")));
    }
    let text = fs::read_to_string(path)
        .map(Secret::new)
        .map_err(|error| failed(format!("can't be read: {error}")))?;
    // Why not the error's text: it may quote what stands there.
    let file: SessionFile = serde_json::from_str(text.expose())
        .map_err(|_| failed("is none; `jeton session open --out` makes one".to_owned()))?;
    let key = match &file.dpop_key {
        Some(text) => {
            let bytes = URL_SAFE_NO_PAD
                .decode(text)
                .map_err(|_| failed("holds no usable key".to_owned()))?;
            Some(DpopKey::from_pkcs8(&bytes)?)
        }
        None => None,
    };
    Ok((Secret::new(file.handle.clone()), key))
}
