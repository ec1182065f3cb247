//! One accepted connection, as tonic reads and writes it.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    time::{Instant, Sleep, sleep},
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::transport::server::Connected;

use super::Bounds;
use crate::identity::{admission::Admission, peer::Peer};

/// A greeted connection.
pub struct Connection {
    transport: Transport,
    peer: Peer,
    patience: Option<Patience>,
    speaks: Speaks,
    unanswered: usize,
    admission: Arc<Admission>,
    evicted: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// How long the other end may say nothing.
struct Patience {
    sleep: Pin<Box<Sleep>>,
    bounds: Bounds,
    stage: Stage,
}

/// What it has to say next.
enum Stage {
    /// The first byte.
    Byte,
    /// A request, after so many.
    Request(usize),
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
    /// Wraps a connection that must not stay silent longer than its bounds let it. Its slot is released with it.
    pub(super) fn new(
        transport: Transport,
        peer: Peer,
        admission: Arc<Admission>,
        bounds: Bounds,
    ) -> Self {
        Self {
            transport,
            peer,
            patience: Some(Patience {
                sleep: Box::pin(sleep(bounds.handshake)),
                bounds,
                stage: Stage::Byte,
            }),
            speaks: Speaks::Greeting(0),
            unanswered: bounds.unanswered,
            evicted: Box::pin(admission.evicted()),
            admission,
        }
    }

    /// Who is on the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Closes a connection whose client says nothing, or makes no request and has proved no identity:
    /// HTTP/2 would wait for ever.
    fn wait(&mut self, cx: &mut Context<'_>, heard: bool) -> Poll<io::Result<()>> {
        let Some(patience) = &mut self.patience else { return Poll::Pending };
        let activity = self.admission.activity();
        if let (Stage::Byte, true) = (&patience.stage, heard) {
            patience.begin(Stage::Request(0), patience.bounds.first_request);
        }
        while patience.sleep.as_mut().poll(cx).is_ready() {
            match patience.stage {
                Stage::Byte => return Poll::Ready(timed_out("the client said nothing")),
                Stage::Request(_) if self.admission.is_proved() => {
                    self.patience = None;
                    return Poll::Pending;
                }
                Stage::Request(before) if activity.is_idle() && activity.begun() == before => {
                    return Poll::Ready(timed_out("the client made no request"));
                }
                Stage::Request(_) => {
                    patience.begin(Stage::Request(activity.begun()), patience.bounds.idle);
                }
            }
        }
        Poll::Pending
    }

    /// Fails once the connection is to be closed for another.
    fn kept(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match !self.admission.is_proved() && self.evicted.as_mut().poll(cx).is_ready() {
            true => {
                let words = "there are too many connections without an identity";
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, words))
            }
            false => Ok(()),
        }
    }
}

impl Patience {
    fn begin(&mut self, stage: Stage, time: std::time::Duration) {
        self.stage = stage;
        if let Some(end) = Instant::now().checked_add(time) {
            self.sleep.as_mut().reset(end);
        }
    }
}

fn timed_out(words: &str) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::TimedOut, words))
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
        self.kept(cx)?;
        let before = buffer.filled().len();
        let read = carried!(self.as_mut(), poll_read, cx, buffer);
        let came = buffer.filled().get(before..).unwrap_or_default();
        let most = self.unanswered;
        if self.speaks.took(came, most) {
            let words = "the client sent more than a request and waited for no answer";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, words)));
        }
        let cut = self.wait(cx, buffer.filled().len() > before);
        if read.is_ready() { read } else { cut }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.kept(cx)?;
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
