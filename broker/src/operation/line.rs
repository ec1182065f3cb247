//! The line to one reader of a stream: how long it may go on, and how it is sent to.

use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use super::{Broker, Caller, Refusal, view::View};
use crate::{
    limits::{STREAM_LOOK, TAIL_LIFE},
    store::StoreError,
};
use jeton_domain::session::SessionState;

/// A line to a reader.
pub(super) struct Line<'a, T> {
    broker: &'a Broker,
    caller: &'a Caller,
    out: &'a mpsc::Sender<Result<T, Refusal>>,
    over: Instant,
    view: View,
}

impl<'a, T> Line<'a, T> {
    /// Opens it.
    pub fn new(
        broker: &'a Broker,
        caller: &'a Caller,
        out: &'a mpsc::Sender<Result<T, Refusal>>,
    ) -> Self {
        Self { broker, caller, out, over: Instant::now() + TAIL_LIFE, view: View::All }
    }

    /// One that ends when its reader sees another part of the log than this.
    pub fn showing(self, view: View) -> Self {
        Self { view, ..self }
    }

    /// When it ends by itself.
    pub fn over(&self) -> Instant {
        self.over
    }

    /// Waits until the reader goes away.
    pub async fn closed(&self) {
        self.out.closed().await;
    }

    /// Tells whether the reader still may be told.
    ///
    /// # Errors
    /// When the broker no longer knows what it would tell, or the reader no longer sees anything.
    pub async fn goes_on(&self) -> Result<bool, Refusal> {
        if !self.broker.store.is_healthy() {
            return Err(unknown());
        }
        let now = self.broker.clock.now();
        if !self.view.stands(self.broker, self.caller)? {
            return Ok(false);
        }
        if Instant::now() >= self.over || now >= self.caller.principal.proof_ends {
            return Ok(false);
        }
        match &self.caller.session {
            Some(own) => {
                let record = self.broker.store.session(own.session.id).await?;
                Ok(record.state == SessionState::Open && now < record.session.deadline)
            }
            None => Ok(true),
        }
    }

    /// Sends, when the reader has taken what was sent before. Tells whether the line goes on: while
    /// a slow reader is waited for, its right may end.
    ///
    /// # Errors
    /// As [`Self::goes_on`].
    pub async fn send(&self, word: T) -> Result<bool, Refusal> {
        // Why here too: what the word holds was looked up before, under policies that may hold no more.
        if !self.view.stands(self.broker, self.caller)? {
            return Ok(false);
        }
        loop {
            match timeout(STREAM_LOOK, self.out.reserve()).await {
                Ok(Ok(place)) => {
                    place.send(Ok(word));
                    return Ok(true);
                }
                Ok(Err(_)) => return Ok(false),
                Err(_) if !self.goes_on().await? => return Ok(false),
                Err(_) => {}
            }
        }
    }
}

/// The store has ended, so nothing is known any more.
pub(super) fn unknown() -> Refusal {
    StoreError::Broken("the store has stopped".into()).into()
}
