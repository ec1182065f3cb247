//! Streams that callers hold open: how many there may be, of all and of one.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::{
    capacity::{Capacity, Shares, Slot},
    operation::{Caller, Refusal},
};

/// Places for streams of one kind.
#[derive(Clone)]
pub(super) struct Streams(Capacity);

/// A place, given back when dropped.
pub(super) struct StreamPlace(#[expect(dead_code, reason = "held until it is dropped")] Slot);

impl Streams {
    /// So many at once, and of those so many of one accountable subject.
    pub fn new(at_once: usize, of_one: usize) -> Self {
        Self(Capacity::new(Shares::with_member(at_once, of_one)))
    }

    /// A place for a caller, if there is one.
    pub fn take(&self, caller: &Caller) -> Option<StreamPlace> {
        self.0.take(&caller.subject).map(StreamPlace)
    }
}

impl StreamPlace {
    /// Runs what fills a stream, and gives the place back when that has ended. A broker that stops
    /// says so: a stream that just ended would look like all there is.
    pub fn run<T, F>(
        self,
        stop: CancellationToken,
        fill: impl FnOnce(mpsc::Sender<Result<T, Refusal>>) -> F,
    ) -> ReceiverStream<Result<T, Refusal>>
    where
        T: Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        // Why one: a reader that is slow holds one message here and one in the transport.
        let (out, stream) = mpsc::channel(1);
        let filled = fill(out.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = filled => {}
                () = stop.cancelled() => {
                    // Why ignored: a reader that went away wants no error.
                    let _ = out.send(Err(Refusal::Stopping)).await;
                }
            }
            drop(self);
        });
        ReceiverStream::new(stream)
    }
}
