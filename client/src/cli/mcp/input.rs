//! Standard input that tells when it has ended.
//!
//! Why: the protocol's library lets calls that are under way go on for seconds after the end, and
//! clients kill a server that lingers. A call that waits for people has to give back what it asked for
//! before that.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::watch,
};

/// A reader, and who is told of its end.
pub struct Input<R> {
    inner: R,
    open: Option<watch::Sender<()>>,
}

/// Waits for the end of an [`Input`].
#[derive(Clone)]
pub struct Ended(watch::Receiver<()>);

impl<R> Input<R> {
    /// Wraps a reader.
    pub fn new(inner: R) -> (Self, Ended) {
        let (open, ended) = watch::channel(());
        (Self { inner, open: Some(open) }, Ended(ended))
    }
}

impl Ended {
    /// Comes back when nothing more will be read.
    pub async fn ended(mut self) {
        // Nothing is ever sent, so this waits until the sender is gone.
        while self.0.changed().await.is_ok() {}
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Input<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (room, before) = (buffer.remaining(), buffer.filled().len());
        let read = ready!(Pin::new(&mut self.inner).poll_read(context, buffer));
        let nothing = room > 0 && buffer.filled().len() == before;
        if nothing || read.is_err() {
            self.open = None;
        }
        Poll::Ready(read)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn the_end_is_told_when_all_is_read_and_not_before() {
        let (mut input, ended) = Input::new(&b"ab"[..]);
        let mut one = [0];
        input.read_exact(&mut one).await.unwrap();
        let early = tokio::time::timeout(std::time::Duration::ZERO, ended.clone().ended()).await;
        assert!(early.is_err());
        let mut rest = Vec::new();
        input.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"b");
        ended.ended().await;
    }
}
