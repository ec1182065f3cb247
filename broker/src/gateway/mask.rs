//! Replaces the credential in what comes back, see [`jeton_domain::mask`].
//!
//! What is held back because it may be the beginning of a credential is never sent when the upstream's answer breaks.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Bytes;
use base64::{Engine, engine::general_purpose::STANDARD};
use jeton_domain::{
    mask::{self, Masker, Patterns, SocketMasker},
    secret::Secret,
};
use tokio::time::{Sleep, sleep};
use tokio_stream::Stream;
use zeroize::Zeroizing;

use crate::upstream::Credential;

/// What is looked for.
pub(super) struct Marks(Patterns);

/// The credential as it is, and as it is sent in `Basic`.
pub(super) fn marks(credential: &Credential) -> Marks {
    let secret = credential.secret.expose();
    let mut patterns = Patterns::default();
    patterns.add(secret.as_bytes());
    // Of `Basic`, in base64 once more: behind `x-access-token:`, whose length is a whole number of groups, the
    // credential's own groups follow.
    let whole = secret.len().saturating_sub(secret.len() % 3);
    let own = secret.as_bytes().get(..whole).unwrap_or_default();
    patterns.add_base64(Zeroizing::new(STANDARD.encode(own)).as_bytes());
    // A key for `Basic` is a user and a password.
    let pair = STANDARD.decode(secret).ok().map(Zeroizing::new);
    let pair = pair.as_ref().and_then(|bytes| str::from_utf8(bytes).ok());
    if let Some((_, password)) = pair.and_then(|text| text.split_once(':')) {
        patterns.add(pair.unwrap_or_default().as_bytes());
        patterns.add(password.as_bytes());
    }
    Marks(patterns)
}

impl Marks {
    /// Looks for this as well.
    pub fn also(mut self, secret: &Secret) -> Self {
        self.0.add(secret.expose().as_bytes());
        self
    }

    /// Whether one of them is there.
    pub fn are_in(&self, bytes: &[u8]) -> bool {
        self.0.are_in(bytes)
    }
}

/// What masks the pieces of a stream.
pub(super) trait Mask {
    /// Takes the next piece, and gives what can be sent on now.
    ///
    /// # Errors
    /// When it cannot be masked.
    fn push(&mut self, piece: Bytes) -> io::Result<Bytes>;
    /// Whether `release` would give something.
    fn can_release(&self) -> bool;
    /// Gives what is held back, where that is too little of a credential to matter.
    fn release(&mut self) -> Vec<u8>;
    /// Gives the rest.
    fn finish(&mut self) -> Vec<u8>;
}

impl Mask for Masker {
    fn push(&mut self, mut piece: Bytes) -> io::Result<Bytes> {
        Ok(match Self::push(self, &piece) {
            mask::Masked::Front(count) => {
                piece.truncate(count);
                piece
            }
            mask::Masked::Bytes(bytes) => Bytes::from(bytes),
        })
    }

    fn can_release(&self) -> bool {
        Self::can_release(self)
    }

    fn release(&mut self) -> Vec<u8> {
        Self::release(self)
    }

    fn finish(&mut self) -> Vec<u8> {
        Self::finish(self)
    }
}

impl Mask for SocketMasker {
    fn push(&mut self, piece: Bytes) -> io::Result<Bytes> {
        Self::push(self, &piece).map(Bytes::from).map_err(io::Error::other)
    }

    fn can_release(&self) -> bool {
        Self::can_release(self)
    }

    fn release(&mut self) -> Vec<u8> {
        Self::release(self)
    }

    fn finish(&mut self) -> Vec<u8> {
        Self::finish(self)
    }
}

/// A stream in which the credential is covered, also where it is cut between two pieces.
pub(super) struct Masked<S, M = Masker> {
    inner: S,
    mask: M,
    pause: Option<Pin<Box<Sleep>>>,
    over: bool,
}

/// How long an end that may be the beginning of a credential waits for what comes behind it.
const PAUSE: Duration = Duration::from_millis(30);

impl<S> Masked<S> {
    /// Masks the bytes of a body.
    pub fn new(inner: S, marks: Marks) -> Self {
        Self { inner, mask: Masker::new(marks.0), pause: None, over: false }
    }
}

impl<S> Masked<S, SocketMasker> {
    /// Masks what the frames of a WebSocket carry.
    pub fn frames(inner: S, marks: Marks) -> Self {
        let mask = SocketMasker::new(Masker::new(marks.0));
        Self { inner, mask, pause: None, over: false }
    }
}

impl<S, M: Mask> Masked<S, M> {
    /// Sends a short end when nothing comes behind it for a while.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if !self.mask.can_release() {
            return Poll::Pending;
        }
        let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(PAUSE)));
        if pause.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.pause = None;
        let end = self.mask.release();
        if end.is_empty() { Poll::Pending } else { Poll::Ready(Some(Ok(Bytes::from(end)))) }
    }
}

impl<S, M, E> Stream for Masked<S, M>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    M: Mask + Unpin,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.over {
                return Poll::Ready(None);
            }
            match Pin::new(&mut self.inner).poll_next(cx) {
                Poll::Pending => return self.wait(cx),
                Poll::Ready(Some(Err(error))) => {
                    // Why the end: of what is held back it will never be known what it was.
                    self.over = true;
                    return Poll::Ready(Some(Err(io::Error::other(error))));
                }
                Poll::Ready(None) => {
                    self.over = true;
                    let rest = self.mask.finish();
                    return Poll::Ready((!rest.is_empty()).then(|| Ok(Bytes::from(rest))));
                }
                Poll::Ready(Some(Ok(piece))) => {
                    self.pause = None;
                    match self.mask.push(piece) {
                        Ok(bytes) if bytes.is_empty() => {}
                        Ok(bytes) => return Poll::Ready(Some(Ok(bytes))),
                        Err(error) => {
                            self.over = true;
                            return Poll::Ready(Some(Err(error)));
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
