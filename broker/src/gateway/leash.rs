//! A transfer on the leash of its grant: when that ends the transfer is cut, and when the transfer ends it
//! leaves an entry in the log.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::body::Bytes;
use jeton_domain::{grant::Grant, session::Words};
use tokio::time::{Sleep, sleep};
use tokio_stream::Stream;

use crate::{
    limits::{PUSH_GRACE, PUSH_RATE, TALK_SILENCE, TRANSFER_SILENCE},
    operation::{
        Broker,
        under_grant::{Use, used},
    },
};

/// How often a transfer looks at its grant without being told.
const LOOK: Duration = Duration::from_millis(500);

/// One use of a grant, from its beginning to its end. Dropped, it is told to the log.
pub(super) struct Transfer {
    broker: Arc<Broker>,
    grant: Grant,
    request: Words,
    began: Instant,
    sent: AtomicU64,
    received: AtomicU64,
    told: Told,
    state: Mutex<State>,
}

/// Whether an ordinary read is told to the log. Whatever writes, is refused or is cut always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// Each is.
    Each,
    /// It is the one of so many.
    OneOf(u32),
    /// Another one is told in its place.
    ByAnother,
}

impl Told {
    /// Of the reads counted so far, one in `every` is told.
    pub fn of(count: u64, every: u32) -> Self {
        match every {
            0 | 1 => Self::Each,
            every if count.is_multiple_of(every.into()) => Self::OneOf(every),
            _ => Self::ByAnother,
        }
    }
}

#[derive(Default)]
struct State {
    status: u16,
    cut: Option<&'static str>,
    whole: bool,
}

impl Transfer {
    /// Begins.
    pub fn new(broker: &Arc<Broker>, grant: &Grant, request: &str, told: Told) -> Arc<Self> {
        Arc::new(Self {
            broker: Arc::clone(broker),
            grant: grant.clone(),
            request: Words::new(request),
            began: Instant::now(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            told,
            state: Mutex::default(),
        })
    }

    /// The upstream answered.
    pub fn answered(&self, status: u16) {
        self.with(|state| state.status = status);
    }

    /// It was cut.
    pub fn cut(&self, why: &'static str) {
        self.with(|state| state.cut = state.cut.or(Some(why)));
    }

    /// It came to its end.
    pub fn ended(&self) {
        self.with(|state| state.whole = true);
    }

    fn with(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// So many bytes go to the upstream at once.
    pub fn sends(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What goes to the upstream.
    pub fn out<S>(self: &Arc<Self>, inner: S) -> Flow<S> {
        Flow::new(Arc::clone(self), inner, Way::Out)
    }

    /// What comes back.
    pub fn back<S>(self: &Arc<Self>, inner: S) -> Flow<S> {
        Flow::new(Arc::clone(self), inner, Way::Back)
    }

    /// Whether the grant is live at this moment.
    pub fn is_live(&self) -> bool {
        self.broker.store.is_active(self.grant.id, self.broker.clock.now())
    }

    /// Waits until the grant is good no more.
    pub async fn snapped(self: Arc<Self>) -> &'static str {
        let mut endings = self.broker.store.endings();
        while self.is_live() {
            tokio::select! {
                changed = endings.changed() => if changed.is_err() {
                    return "the store has stopped";
                },
                () = sleep(LOOK) => {}
            }
        }
        "the grant ended"
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        let state = std::mem::take(self.state.get_mut().unwrap_or_else(PoisonError::into_inner));
        let cut = match (state.cut, state.whole) {
            (Some(why), _) => Some(Words::new(why)),
            (None, true) => None,
            (None, false) => Some(Words::new("the connection ended early")),
        };
        let reads = ["GET ", "HEAD ", "POST git-upload-pack"];
        let reads = reads.iter().any(|start| self.request.as_str().starts_with(start));
        let ordinary = reads && cut.is_none() && state.status < 400;
        self.broker
            .metrics
            .passed(self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed));
        let one_of = match self.told {
            Told::ByAnother if ordinary => return,
            Told::OneOf(every) if ordinary => Some(every),
            Told::Each | Told::OneOf(_) | Told::ByAnother => None,
        };
        let done = Use {
            request: self.request.clone(),
            status: state.status,
            sent: self.sent.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            millis: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            cut,
            one_of,
        };
        let (broker, grant) = (Arc::clone(&self.broker), self.grant.clone());
        let record = async move {
            if let Err(error) = used(&broker, &grant, done).await {
                tracing::error!(grant = %grant.id, %error, "the use of a grant could not be recorded");
            }
        };
        self.broker.uses.spawn(record);
    }
}

#[derive(Clone, Copy)]
enum Way {
    Out,
    Back,
}

/// Bytes on their way, counted, cut when the grant ends or nothing comes for long.
pub(super) struct Flow<S> {
    inner: S,
    transfer: Arc<Transfer>,
    way: Way,
    leash: Pin<Box<dyn Future<Output = &'static str> + Send>>,
    patience: Duration,
    silence: Pin<Box<Sleep>>,
    pace: Option<Pace>,
}

/// How fast the sender has to be, for what holds more than a connection. Counts only the time in which
/// nothing was there to take.
struct Pace {
    waited: Duration,
    since: Option<tokio::time::Instant>,
    bytes: u64,
    alarm: Pin<Box<Sleep>>,
}

impl Pace {
    fn new() -> Self {
        Self { waited: Duration::ZERO, since: None, bytes: 0, alarm: Box::pin(sleep(PUSH_GRACE)) }
    }

    fn came(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        if let Some(since) = self.since.take() {
            self.waited = self.waited.saturating_add(since.elapsed());
        }
    }

    /// Ready once the sender is too slow.
    fn poll_slow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.since.is_none() {
            let now = tokio::time::Instant::now();
            self.since = Some(now);
            let earned = Duration::from_secs(self.bytes.checked_div(PUSH_RATE).unwrap_or_default());
            let left = PUSH_GRACE.saturating_add(earned).saturating_sub(self.waited);
            if let Some(end) = now.checked_add(left.min(TALK_SILENCE)) {
                self.alarm.as_mut().reset(end);
            }
        }
        self.alarm.as_mut().poll(cx)
    }
}

impl<S> Flow<S> {
    fn new(transfer: Arc<Transfer>, inner: S, way: Way) -> Self {
        let leash = Box::pin(Arc::clone(&transfer).snapped());
        let (patience, silence) = (TRANSFER_SILENCE, Box::pin(sleep(TRANSFER_SILENCE)));
        Self { inner, transfer, way, leash, patience, silence, pace: None }
    }

    /// Cuts a sender that is slower than any line.
    pub fn steady(self) -> Self {
        Self { pace: Some(Pace::new()), ..self }
    }

    /// Lets longer silences pass: for conversations, whose sides speak when they have something to say.
    pub fn patient(self) -> Self {
        Self { patience: TALK_SILENCE, silence: Box::pin(sleep(TALK_SILENCE)), ..self }
    }
}

impl<S, E> Stream for Flow<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let cut = |why: &'static str| Poll::Ready(Some(Err(io::Error::other(why))));
        if let Poll::Ready(why) = self.leash.as_mut().poll(cx) {
            self.transfer.cut(why);
            return cut(why);
        }
        match Pin::new(&mut self.inner).poll_next(cx) {
            Poll::Ready(Some(Ok(bytes))) => {
                let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                match self.way {
                    Way::Out => self.transfer.sent.fetch_add(count, Ordering::Relaxed),
                    Way::Back => self.transfer.received.fetch_add(count, Ordering::Relaxed),
                };
                self.pace.iter_mut().for_each(|pace| pace.came(count));
                let wake = tokio::time::Instant::now().checked_add(self.patience);
                if let Some(wake) = wake {
                    self.silence.as_mut().reset(wake);
                }
                Poll::Ready(Some(Ok(bytes)))
            }
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(%error, "a transfer broke");
                self.transfer.cut("the connection broke");
                cut("the connection broke")
            }
            Poll::Ready(None) => {
                if let Way::Back = self.way {
                    self.transfer.ended();
                }
                Poll::Ready(None)
            }
            Poll::Pending => match self.silence.as_mut().poll(cx) {
                Poll::Ready(()) => {
                    self.transfer.cut("it stood still for too long");
                    cut("the transfer stood still for too long")
                }
                Poll::Pending => match self.pace.as_mut().map(|pace| pace.poll_slow(cx)) {
                    Some(Poll::Ready(())) => {
                        self.transfer.cut("it came too slowly");
                        cut("the transfer came too slowly")
                    }
                    Some(Poll::Pending) | None => Poll::Pending,
                },
            },
        }
    }
}
