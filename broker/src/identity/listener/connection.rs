//! One accepted connection, as tonic reads and writes it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    sync::OwnedSemaphorePermit,
    time::{Sleep, sleep},
};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::identity::peer::Peer;

/// A greeted connection. Gives its place back when dropped.
pub struct Connection {
    transport: Transport,
    peer: Peer,
    silence: Option<Pin<Box<Sleep>>>,
    _slot: OwnedSemaphorePermit,
}

/// What carries the bytes.
pub enum Transport {
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
    /// A Unix socket.
    Unix(UnixStream),
}

/// Calls the same method of whatever carries the bytes.
macro_rules! carried {
    ($connection:expr, $method:ident, $($argument:expr),+) => {
        match &mut $connection.get_mut().transport {
            Transport::Tls(stream) => Pin::new(stream).$method($($argument),+),
            Transport::Unix(stream) => Pin::new(stream).$method($($argument),+),
        }
    };
}

impl Connection {
    /// Wraps a connection that must not stay silent longer than `patience`.
    pub(super) fn new(
        transport: Transport,
        peer: Peer,
        slot: OwnedSemaphorePermit,
        patience: Duration,
    ) -> Self {
        Self { transport, peer, silence: Some(Box::pin(sleep(patience))), _slot: slot }
    }

    /// Who is on the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Cuts a client that connects and never says anything: HTTP/2 would wait for ever.
    fn hear(&mut self, cx: &mut Context<'_>, heard: bool) -> Poll<io::Result<()>> {
        match &mut self.silence {
            None => Poll::Pending,
            Some(_) if heard => {
                self.silence = None;
                Poll::Pending
            }
            Some(silence) => silence
                .as_mut()
                .poll(cx)
                .map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client said nothing"))),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = carried!(self.as_mut(), poll_read, cx, buffer);
        let cut = self.hear(cx, buffer.filled().len() > before);
        if read.is_ready() { read } else { cut }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        carried!(self, poll_write, cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        carried!(self, poll_flush, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        carried!(self, poll_shutdown, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        carried!(self, poll_write_vectored, cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Tls(stream) => stream.is_write_vectored(),
            Transport::Unix(stream) => stream.is_write_vectored(),
        }
    }
}
