//! Accepts connections: bounded in number, with a deadline until the first byte of a request.
//!
//! A door greets each connection in its own task, so that a slow one holds up nobody. The loop ends
//! when nobody takes its connections any more, and for no other reason: an error of `accept`
//! (too many open files) is waited out.

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
    sync::{Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_stream::Stream;

use self::{connection::Transport, tcp::TcpDoor, unix::UnixDoor};
use super::{peer::Peer, tls::TlsState};
use crate::limits::{CONNECTIONS, HANDSHAKE, HTTP1_UNANSWERED};

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
    /// Connections open at once, those in their handshake included.
    pub connections: usize,
    /// Time for the handshake, and again until the first byte after it.
    pub handshake: Duration,
    /// Bytes that a client of HTTP/1.1 may send before it is answered.
    pub unanswered: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { connections: CONNECTIONS, handshake: HANDSHAKE, unanswered: HTTP1_UNANSWERED }
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

    /// Finds out who is there.
    fn greet(&self, raw: Self::Raw) -> impl Future<Output = io::Result<(Transport, Peer)>> + Send;
}

async fn admit<D: Door>(door: Arc<D>, bounds: Bounds, out: mpsc::Sender<io::Result<Connection>>) {
    let slots = Arc::new(Semaphore::new(bounds.connections));
    let mut pause = PAUSES.0;
    loop {
        // Why before `accept`: at the bound, new connections wait in the kernel and cost nothing.
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((slot, door.accept().await?))
        };
        let next = tokio::select! {
            () = out.closed() => return,
            next = next => next,
        };
        let (slot, raw) = match next {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed; the listener goes on");
                sleep(pause).await;
                pause = pause.saturating_mul(2).min(PAUSES.1);
                continue;
            }
        };
        pause = PAUSES.0;
        let (door, out) = (Arc::clone(&door), out.clone());
        tokio::spawn(async move {
            match timeout(bounds.handshake, door.greet(raw)).await {
                Ok(Ok((transport, peer))) => {
                    let connection = Connection::new(transport, peer, slot, bounds);
                    // An error means that nobody serves any more.
                    let _ = out.send(Ok(connection)).await;
                }
                Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
                Err(_) => tracing::debug!("a handshake took too long and was cut"),
            }
        });
    }
}

#[cfg(test)]
mod tests;
