//! A push on its way to the upstream while it is still read here: all that was read and lies before the pack's
//! checksum. Without that no upstream can do anything with it, and it goes on only when everything is decided.
//!
//! Why what was read, and not all but the last bytes that came: a client may send more behind a whole pack, and an
//! upstream does not wait for that.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use axum::body::Bytes;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};

use crate::limits::TRANSFER_SILENCE;

/// Pieces on their way.
const PIECES: usize = 8;

/// The way ahead. Dropped, or given up, it leaves the upstream with a push that breaks off.
pub(super) struct Ahead {
    sender: Option<mpsc::Sender<Bytes>>,
    held: VecDeque<Bytes>,
    /// Where the first of them begins in the pack.
    at: u64,
    cleared: Arc<AtomicU64>,
    whole: Arc<AtomicBool>,
}

impl Ahead {
    /// Begins with the front of a push. Gives the body of the request too.
    pub fn new(front: Bytes) -> (Self, impl Stream<Item = io::Result<Bytes>> + Send + 'static) {
        let (sender, receiver) = mpsc::channel(PIECES);
        let whole = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&whole);
        // Why an error: a push that was given up must not look as if it had come to its end.
        let end = tokio_stream::once(()).filter_map(move |()| {
            let given_up = || Err(io::Error::other("the push was given up"));
            (!ended.load(Ordering::Acquire)).then(given_up)
        });
        let body = tokio_stream::once(front).chain(ReceiverStream::new(receiver));
        let body = body.map(Ok).chain(end);
        let sender = Some(sender);
        let cleared = Arc::default();
        (Self { sender, held: VecDeque::new(), at: 0, cleared, whole }, body)
    }

    /// Where whoever reads the pack tells how many bytes of it lie before its checksum.
    pub fn cleared(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.cleared)
    }

    /// Takes a piece, and lets go on what is cleared by now.
    pub async fn feed(&mut self, piece: Bytes) {
        self.held.push_back(piece);
        while let Some(first) = self.held.front() {
            let end = self.at.saturating_add(u64::try_from(first.len()).unwrap_or(u64::MAX));
            if end > self.cleared.load(Ordering::Acquire) {
                return;
            }
            let Some(first) = self.held.pop_front() else { return };
            self.at = end;
            self.send(first).await;
        }
    }

    /// Lets the end go on.
    pub async fn finish(mut self) {
        while let Some(piece) = self.held.pop_front() {
            self.send(piece).await;
        }
        // Why only if all of it went: else the upstream hears that it broke off.
        self.whole.store(self.sender.is_some(), Ordering::Release);
    }

    async fn send(&mut self, piece: Bytes) {
        let Some(sender) = &self.sender else { return };
        // Why given up: an upstream that answers before it has heard all, or reads no more.
        if !matches!(timeout(TRANSFER_SILENCE, sender.send(piece)).await, Ok(Ok(()))) {
            self.sender = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sent(pieces: &[usize], cleared: u64, finish: bool) -> (usize, bool) {
        let (mut ahead, body) = Ahead::new(Bytes::from_static(b"front"));
        ahead.cleared().store(cleared, Ordering::Release);
        let reading = tokio::spawn(async move {
            let mut body = std::pin::pin!(body);
            let mut bytes = 0;
            while let Some(piece) = body.next().await {
                match piece {
                    Ok(piece) => bytes += piece.len(),
                    Err(_) => return (bytes, false),
                }
            }
            (bytes, true)
        });
        for size in pieces {
            ahead.feed(Bytes::from(vec![0; *size])).await;
        }
        match finish {
            true => ahead.finish().await,
            false => drop(ahead),
        }
        reading.await.unwrap()
    }

    #[tokio::test]
    async fn what_is_not_cleared_goes_on_only_when_it_may_and_else_it_breaks_off() {
        for pieces in [&[100_000, 1, 5000, 10][..], &[50], &[4096, 20], &[20, 4096], &[]] {
            let all: usize = pieces.iter().sum();
            for cleared in [0, 20, 50, 100_001, 1_000_000] {
                let bytes = u64::try_from(all).unwrap();
                assert_eq!(sent(pieces, cleared, true).await, (all + 5, true), "{pieces:?}");
                let (ahead, whole) = sent(pieces, cleared, false).await;
                let most = usize::try_from(cleared.min(bytes)).unwrap();
                assert!(!whole && ahead <= 5 + most, "{pieces:?} {cleared}: {ahead}");
            }
        }
    }
}
