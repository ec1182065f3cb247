//! Reads what others sent on threads of its own: few of them work at one moment, and each works for a short time
//! before the next one has its turn. So neither many pushes nor a large one keep the async threads, or the cores
//! that those need, from other callers.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::available_parallelism,
    time::{Duration, Instant},
};

use jeton_git::pace::Pace;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinError, spawn_blocking},
};

use crate::limits::{CORES_PER_READER, READER_SLICE};

/// The threads that read.
pub(super) struct Readers {
    slots: Arc<Semaphore>,
}

/// How much time is left for something, and whether it was given up.
pub(super) struct TimeLeft {
    nanos: AtomicU64,
    given_up: AtomicBool,
}

/// The turn of one thread, which it holds while it works.
#[derive(Clone)]
pub(super) struct Turn(Arc<State>);

struct State {
    slots: Arc<Semaphore>,
    time: Arc<TimeLeft>,
    runtime: Handle,
    held: Mutex<Option<(OwnedSemaphorePermit, Instant)>>,
}

impl Default for Readers {
    fn default() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        let slots = cores.checked_div(CORES_PER_READER).unwrap_or_default().max(1);
        Self { slots: Arc::new(Semaphore::new(slots)) }
    }
}

impl Readers {
    /// Runs this work on a thread of its own. The pace that it gets is to be asked often.
    ///
    /// # Errors
    /// When it panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        time: &Arc<TimeLeft>,
        work: impl FnOnce(Pace) -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let turn = self.turn(time);
        spawn_blocking(move || turn.during(|| work(turn.pace()))).await
    }

    /// A turn for a thread that waits for bytes in between. It has to be made on an async thread.
    pub fn turn(&self, time: &Arc<TimeLeft>) -> Turn {
        let (slots, time) = (Arc::clone(&self.slots), Arc::clone(time));
        Turn(Arc::new(State { slots, time, runtime: Handle::current(), held: Mutex::default() }))
    }

    /// A turn for a short piece of work on an async thread. Why one at all: else all async threads could work for
    /// pushes at one moment.
    pub async fn short_turn(&self) -> Option<OwnedSemaphorePermit> {
        // Why none is no fault: it is closed by nobody.
        Arc::clone(&self.slots).acquire_owned().await.ok()
    }
}

impl TimeLeft {
    /// So much.
    pub fn of(time: Duration) -> Arc<Self> {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Arc::new(Self { nanos: AtomicU64::new(nanos), given_up: AtomicBool::new(false) })
    }

    /// How much that is.
    pub fn left(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Acquire))
    }

    /// Takes some of it.
    pub fn spend(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let less = |left: u64| Some(left.saturating_sub(nanos));
        // Why ignored: the function always gives a value.
        let _ = self.nanos.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    /// Nobody waits for the outcome any more.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
    }

    fn is_over(&self) -> bool {
        self.given_up.load(Ordering::Acquire) || self.left().is_zero()
    }
}

impl Turn {
    /// Does a piece of work, from the moment on at which it is this thread's turn. Only on a thread that may block.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        self.begin();
        let done = work();
        self.rest();
        done
    }

    /// Asked during the work: lets others have their turn now and then, and stops it when its time is over.
    pub fn pace(&self) -> Pace {
        let turn = self.clone();
        Pace::of(Arc::new(move || turn.proceed()))
    }

    fn begin(&self) {
        let slot = self.0.runtime.block_on(Arc::clone(&self.0.slots).acquire_owned());
        *self.held() = slot.ok().map(|slot| (slot, Instant::now()));
    }

    fn rest(&self) {
        if let Some((_, since)) = self.held().take() {
            self.0.time.spend(since.elapsed());
        }
    }

    fn proceed(&self) -> bool {
        let spent = self.held().as_ref().is_some_and(|(_, since)| since.elapsed() > READER_SLICE);
        if spent {
            self.rest();
            if !self.0.time.is_over() {
                self.begin();
            }
        }
        !self.0.time.is_over()
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<(OwnedSemaphorePermit, Instant)>> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn long_work_lets_others_have_their_turn_and_no_more_than_the_slots_work_together() {
        let readers = Readers { slots: Arc::new(Semaphore::new(1)) };
        let (working, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let time = TimeLeft::of(Duration::from_secs(60));
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let long = readers.run(&time, move |pace| {
            let mut turns = 0_u64;
            while pace.proceed() && !ended.load(Ordering::Acquire) {
                turns += 1;
            }
            turns
        });
        // Others have their turn although the first one never ends by itself.
        let others = async {
            for _ in 0..4 {
                let (working, most) = (Arc::clone(&working), Arc::clone(&most));
                let short = readers.run(&time, move |_| {
                    most.fetch_max(working.fetch_add(1, Ordering::AcqRel) + 1, Ordering::AcqRel);
                    working.fetch_sub(1, Ordering::AcqRel);
                });
                short.await.unwrap();
            }
            stop.store(true, Ordering::Release);
        };
        let (turns, ()) = tokio::join!(long, others);
        assert!(turns.unwrap() > 0);
        assert_eq!(most.load(Ordering::Acquire), 1);
    }

    #[tokio::test]
    async fn work_stops_when_its_time_is_over_or_nobody_waits_for_it() {
        let readers = Readers::default();
        let endless = |pace: Pace| while pace.proceed() {};
        let time = TimeLeft::of(READER_SLICE * 3);
        readers.run(&time, endless).await.unwrap();
        assert!(time.left().is_zero());
        let time = TimeLeft::of(Duration::from_secs(3600));
        let running = readers.run(&time, endless);
        let given_up = async { time.give_up() };
        let (done, ()) = tokio::join!(running, given_up);
        done.unwrap();
        assert!(!time.left().is_zero());
    }
}
