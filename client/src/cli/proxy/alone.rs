//! `--alone`: the command in a network of its own, where this machine's local server is all that there is.
//!
//! `inside` is the process that becomes the command: it makes the namespaces, opens the port there and hands it
//! out. This side serves that port, and starts nothing that is not cut off.

pub(super) mod inside;

use std::{
    ffi::OsString,
    fs, io,
    mem::MaybeUninit,
    net::{Ipv4Addr, SocketAddr, TcpListener as StdListener},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::{
    io::{AsyncWriteExt, Interest},
    net::{TcpListener, UnixListener, UnixStream},
    process::{Child, Command},
    time::timeout,
};

use super::owner::Table;
use crate::cli::failure::Failure;

/// The server's address in there. Why always the same: in a new network every port is free, and the command's
/// environment is made before it.
pub(super) const OWN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 3128);

/// Time for the other side to come.
const MEET: Duration = Duration::from_secs(10);

/// Time for it to end, once it has failed.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What the other side sends with the port.
const HERE: u8 = 1;
/// What it waits for.
const GO: u8 = 2;

/// Where both sides meet.
pub(super) struct Meeting {
    path: PathBuf,
    listener: UnixListener,
}

/// What there is to serve.
pub(super) struct Met {
    /// The port in the other network.
    pub listener: TcpListener,
    /// Whose connections there are.
    pub table: Table,
}

impl Meeting {
    /// Opens it, in a folder that is this user's alone.
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("meet");
        let listener = UnixListener::bind(&path).map_err(failed)?;
        Ok(Self { path, listener })
    }

    /// The process that becomes the command.
    pub fn command(&self, json: bool, command: &[OsString]) -> Command {
        // Why not a path of the program: it may have been replaced meanwhile.
        let mut inside = Command::new("/proc/self/exe");
        if json {
            inside.arg("--json");
        }
        inside.args([inside::NAME, "--meet"]).arg(&self.path).arg("--").args(command);
        inside
    }

    /// Waits for the other side. `None` if it ended before, and has said why.
    pub async fn wait(self, child: &mut Child) -> Result<Option<Met>, Failure> {
        let met = tokio::select! {
            met = timeout(MEET, self.met(child.id())) => met,
            _ = child.wait() => return Ok(None),
        };
        let error = match met {
            Ok(Ok(met)) => return Ok(Some(met)),
            Ok(Err(error)) => error,
            Err(_) => io::Error::other("it did not come in time"),
        };
        // Why: what fails there is told there, and its connection ends a moment before it does.
        if timeout(LAST_WORDS, child.wait()).await.is_ok() {
            return Ok(None);
        }
        // Why: it must not go on as if it were served. Ignored, for it may be gone.
        let _ = child.kill().await;
        Err(failed(error))
    }

    async fn met(&self, pid: Option<u32>) -> io::Result<Met> {
        loop {
            let (mut stream, _) = self.listener.accept().await?;
            let id = stream.peer_cred()?.pid().and_then(|id| u32::try_from(id).ok());
            if id.is_none() || id != pid {
                continue;
            }
            fs::remove_file(&self.path)?;
            let listener = received(&stream).await?;
            if listener.local_addr()? != OWN {
                return Err(io::Error::other("it opened another port"));
            }
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            // Why now: it waits, and is certainly in the network that its port is in.
            let table = Table::of(id.unwrap_or(0))?;
            stream.write_all(&[GO]).await?;
            return Ok(Met { listener, table });
        }
    }
}

/// The one port that came along.
async fn received(stream: &UnixStream) -> io::Result<StdListener> {
    stream
        .async_io(Interest::READABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut along = RecvAncillaryBuffer::new(&mut space);
            let mut byte = [0];
            let mut parts = [io::IoSliceMut::new(&mut byte)];
            let got = recvmsg(stream, &mut parts, &mut along, RecvFlags::CMSG_CLOEXEC)?;
            let mut ports: Vec<OwnedFd> = Vec::new();
            for message in along.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    ports.extend(fds);
                }
            }
            match (got.bytes, byte, ports.pop()) {
                (1, [HERE], Some(port)) if ports.is_empty() => Ok(StdListener::from(port)),
                _ => Err(io::Error::other("it sent no port")),
            }
        })
        .await
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Broken(format!("the command's own network can't be set up: {error}"))
}
