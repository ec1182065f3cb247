//! The door of the host: a Unix socket, whose other end the kernel names.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixStream as StdUnixStream,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::net::{UnixListener, UnixStream};

use super::{Door, Transport};
use crate::{
    capacity::SlotHolder,
    identity::{
        admission::Admission,
        peer::{Peer, UnixPeer},
    },
};

/// Mode of the socket file when the configuration names none: the owner and one group.
const MODE: u32 = 0o660;

/// A bound Unix socket.
pub struct UnixSocket(UnixListener);

/// Why a Unix socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum UnixSocketError {
    /// Another broker is there.
    #[error("`{}`: somebody answers there already; stop it or choose another path", .0.display())]
    InUse(PathBuf),
    /// A file of another kind.
    #[error("`{}` exists and is no socket; choose another path", .0.display())]
    NoSocket(PathBuf),
    /// The system refused.
    #[error("`{}`: {error}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

impl UnixSocket {
    /// Binds the path with a mode, by default 0660. A socket file that nobody answers is replaced.
    ///
    /// # Errors
    /// When somebody answers there, another kind of file is there, or the system refuses.
    pub fn bind(path: &Path, mode: Option<u32>) -> Result<Self, UnixSocketError> {
        let refused = |error| UnixSocketError::Io { path: path.to_owned(), error };
        refuse_taken(path)?;
        // Why under another name first: a socket is born with the mode of the umask, and whoever
        // connects before it is narrowed stays connected.
        let mut draft = path.as_os_str().to_owned();
        draft.push(".new");
        let draft = PathBuf::from(draft);
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refused(error)),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&draft).map_err(refused)?;
        fs::set_permissions(&draft, fs::Permissions::from_mode(mode.unwrap_or(MODE)))
            .map_err(refused)?;
        fs::rename(&draft, path).map_err(refused)?;
        Ok(Self(listener))
    }
}

fn refuse_taken(path: &Path) -> Result<(), UnixSocketError> {
    let refused = |error| UnixSocketError::Io { path: path.to_owned(), error };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused(error)),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(UnixSocketError::NoSocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match StdUnixStream::connect(path) {
        Ok(_) => Err(UnixSocketError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(refused(error)),
    }
}

/// A bound socket that is listened on.
pub struct UnixDoor(UnixListener);

impl UnixDoor {
    /// Listens.
    pub fn new(socket: UnixSocket) -> Self {
        Self(socket.0)
    }
}

impl Door for UnixDoor {
    type Raw = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        self.0.accept().await.map(|(stream, _)| stream)
    }

    fn subject(&self, stream: &UnixStream) -> io::Result<SlotHolder> {
        Ok(SlotHolder::user(stream.peer_cred()?.uid()))
    }

    async fn greet(
        &self,
        stream: UnixStream,
        admission: &Arc<Admission>,
    ) -> io::Result<(Transport, Peer)> {
        let process = stream.peer_cred()?;
        admission.prove_user(process.uid());
        let peer = UnixPeer { uid: process.uid(), gid: process.gid(), pid: process.pid() };
        Ok((Transport::Unix(stream), Peer::Unix(peer)))
    }
}
