//! Accepts connections: bounded in number and by accountable subject, with a deadline until the first
//! request.
//!
//! Accepting never stops. A peer that proved an identity keeps its connection; of the others the oldest
//! one without a request is closed when there are too many. A door greets each connection in its own
//! task, so that a slow one holds up nobody. The loop ends when nobody takes its connections any more,
//! and for no other reason: an error of `accept` (too many open files) is waited out.

mod connection;
mod tcp;
mod unix;

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    net::TcpListener,
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_stream::Stream;

use self::{connection::Transport, tcp::TcpDoor, unix::UnixDoor};
use super::{
    admission::{Admission, ConnectionCapacity},
    peer::Peer,
    tls::TlsState,
};
use crate::{
    capacity::SlotHolder,
    limits::{
        FIRST_REQUEST, HANDSHAKE, HTTP1_UNANSWERED, PROVED_CONNECTIONS, UNPROVED_CONNECTIONS,
        UNPROVED_IDLE,
    },
};

pub use self::{
    connection::Connection,
    unix::{UnixSocket, UnixSocketError},
};

/// First and longest pause after an error of `accept`.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// Greeted connections that wait to be served. Why: tonic takes them at once.
const WAITING: usize = 32;

/// Bounds of one listener.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Connections at once of peers that proved an identity.
    pub proved: usize,
    /// Connections at once of all others, those in their handshake included.
    pub unproved: usize,
    /// Time for the handshake, and again until the first byte after it.
    pub handshake: Duration,
    /// Time until the first request of a peer that has proved no identity.
    pub first_request: Duration,
    /// Time between two requests of such a peer.
    pub idle: Duration,
    /// Bytes that a client of HTTP/1.1 may send before it is answered.
    pub unanswered: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            proved: PROVED_CONNECTIONS,
            unproved: UNPROVED_CONNECTIONS,
            handshake: HANDSHAKE,
            first_request: FIRST_REQUEST,
            idle: UNPROVED_IDLE,
            unanswered: HTTP1_UNANSWERED,
        }
    }
}

/// Accepted connections, as tonic takes them.
pub struct Incoming(mpsc::Receiver<io::Result<Connection>>);

impl Incoming {
    /// Accepts TLS connections.
    #[must_use]
    pub fn tls(listener: TcpListener, tls: Arc<TlsState>, bounds: Bounds) -> Self {
        Self::through(TcpDoor::new(listener, tls), bounds)
    }

    /// Accepts connections of processes on this host.
    #[must_use]
    pub fn unix(socket: UnixSocket, bounds: Bounds) -> Self {
        Self::through(UnixDoor::new(socket), bounds)
    }

    fn through(door: impl Door, bounds: Bounds) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(admit(Arc::new(door), bounds, sender));
        Self(receiver)
    }
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

/// One kind of socket.
trait Door: Send + Sync + 'static {
    /// A connection before its handshake.
    type Raw: Send + 'static;

    /// Takes the next connection from the kernel.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Raw>> + Send;

    /// Who is accountable for a connection before its handshake.
    fn subject(&self, raw: &Self::Raw) -> io::Result<SlotHolder>;

    /// Finds out who is there.
    fn greet(
        &self,
        raw: Self::Raw,
        admission: &Arc<Admission>,
    ) -> impl Future<Output = io::Result<(Transport, Peer)>> + Send;
}

async fn admit<D: Door>(door: Arc<D>, bounds: Bounds, out: mpsc::Sender<io::Result<Connection>>) {
    let capacity = ConnectionCapacity::new(bounds.proved, bounds.unproved);
    let mut pause = PAUSES.0;
    loop {
        let next = tokio::select! {
            () = out.closed() => return,
            next = door.accept() => next,
        };
        let raw = match next {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed; the listener goes on");
                sleep(pause).await;
                pause = pause.saturating_mul(2).min(PAUSES.1);
                continue;
            }
        };
        pause = PAUSES.0;
        // Why closed: with no slot for it there is nothing to say before TLS.
        let Ok(subject) = door.subject(&raw) else { continue };
        let Some(admission) = capacity.admit(&subject) else { continue };
        tokio::spawn(greet(Arc::clone(&door), raw, admission, bounds, out.clone()));
    }
}

async fn greet<D: Door>(
    door: Arc<D>,
    raw: D::Raw,
    admission: Arc<Admission>,
    bounds: Bounds,
    out: mpsc::Sender<io::Result<Connection>>,
) {
    let greeted = tokio::select! {
        greeted = timeout(bounds.handshake, door.greet(raw, &admission)) => greeted,
        () = admission.evicted() => {
            tracing::debug!("a handshake was cut for another connection");
            return;
        }
    };
    match greeted {
        Ok(Ok((transport, peer))) => {
            let connection = Connection::new(transport, peer, admission, bounds);
            // An error means that nobody serves any more.
            let _ = out.send(Ok(connection)).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
        Err(_) => tracing::debug!("a handshake took too long and was cut"),
    }
}

#[cfg(test)]
mod tests;
