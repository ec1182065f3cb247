//! One accepted connection, as tonic reads and writes it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    sync::OwnedSemaphorePermit,
    time::{Sleep, sleep},
};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::Bounds;
use crate::identity::peer::Peer;

/// A greeted connection. Gives its place back when dropped.
pub struct Connection {
    transport: Transport,
    peer: Peer,
    silence: Option<Pin<Box<Sleep>>>,
    speaks: Speaks,
    unanswered: usize,
    _slot: OwnedSemaphorePermit,
}

/// How HTTP/2 begins (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the other end speaks, by its first bytes.
enum Speaks {
    /// Nothing yet, or so much of the greeting of HTTP/2.
    Greeting(usize),
    /// HTTP/2, whose frames and headers are bounded where they are read.
    Http2,
    /// HTTP/1.1, and how much it has sent since it was last answered. Why counted: what reads it would
    /// buffer a head of hundreds of kilobytes.
    Http1(usize),
}

impl Speaks {
    /// Takes what came in. Tells whether that is more than may be.
    fn took(&mut self, bytes: &[u8], most: usize) -> bool {
        if let Self::Greeting(said) = *self {
            // Why all of it: a method of HTTP/1.1 may begin the same.
            let rest = PREFACE.get(said..).unwrap_or_default();
            let same = rest.iter().zip(bytes).take_while(|(wanted, given)| wanted == given).count();
            *self = match same {
                same if same == rest.len() => Self::Http2,
                same if same == bytes.len() => Self::Greeting(said.saturating_add(same)),
                _ => Self::Http1(said),
            };
        }
        match self {
            Self::Http1(unanswered) => {
                *unanswered = unanswered.saturating_add(bytes.len());
                *unanswered > most
            }
            Self::Greeting(_) | Self::Http2 => false,
        }
    }

    fn answered(&mut self) {
        if let Self::Http1(unanswered) = self {
            *unanswered = 0;
        }
    }
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
    /// Wraps a connection that must not stay silent longer than its bounds let it.
    pub(super) fn new(
        transport: Transport,
        peer: Peer,
        slot: OwnedSemaphorePermit,
        bounds: Bounds,
    ) -> Self {
        Self {
            transport,
            peer,
            silence: Some(Box::pin(sleep(bounds.handshake))),
            speaks: Speaks::Greeting(0),
            unanswered: bounds.unanswered,
            _slot: slot,
        }
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
        let came = buffer.filled().get(before..).unwrap_or_default();
        let most = self.unanswered;
        if self.speaks.took(came, most) {
            let words = "the client sent more than a request and waited for no answer";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, words)));
        }
        let cut = self.hear(cx, buffer.filled().len() > before);
        if read.is_ready() { read } else { cut }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.speaks.answered();
        carried!(self, poll_write, cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        carried!(self, poll_flush, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        carried!(self, poll_shutdown, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.speaks.answered();
        carried!(self, poll_write_vectored, cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Tls(stream) => stream.is_write_vectored(),
            Transport::Unix(stream) => stream.is_write_vectored(),
        }
    }
}
