//! The threads that revocations run on.
//!
//! A place in a pool does not help a call whose every step waits behind the tasks of thousands of others. What ends
//! grants and sessions therefore runs on a runtime of its own; the operating system shares the processors between its
//! thread and those of the ordinary runtime.

use std::io;

use tokio::runtime::{Builder, Runtime};

use crate::limits::RESERVED_THREADS;

/// A runtime that runs revocations and nothing else.
pub struct ReservedRuntime(Option<Runtime>);

/// The work ended without a result: it panicked, or the broker is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the reserved runtime stopped before the work was done")]
pub struct ReservedWorkLost;

impl ReservedRuntime {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the operating system gives none.
    pub fn new() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(RESERVED_THREADS)
            .thread_name("reserved")
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// Runs work to its end on the reserved threads, also if the caller stops waiting.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, ReservedWorkLost> {
        let runtime = self.0.as_ref().ok_or(ReservedWorkLost)?;
        runtime.spawn(work).await.map_err(|_| ReservedWorkLost)
    }
}

impl Drop for ReservedRuntime {
    fn drop(&mut self) {
        // Why not waited for: this may run inside the ordinary runtime, where nothing may block.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        time::Duration,
    };

    use super::*;

    #[tokio::test]
    async fn reserved_work_runs_while_the_ordinary_runtime_is_blocked() {
        static DONE: AtomicBool = AtomicBool::new(false);
        let reserved = ReservedRuntime::new().unwrap();
        let work = reserved.run(async {
            tokio::task::yield_now().await;
            DONE.store(true, Ordering::SeqCst);
            7
        });
        let mut work = std::pin::pin!(work);
        // The first poll starts the work.
        tokio::select! {
            biased;
            _ = &mut work => {}
            () = std::future::ready(()) => {}
        }
        // This blocks the only thread of the ordinary runtime.
        for _ in 0..5_000 {
            if DONE.load(Ordering::SeqCst) {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(DONE.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn work_that_panics_is_reported() {
        let reserved = ReservedRuntime::new().unwrap();
        let lost = reserved.run(async { panic!("a test") }).await;
        assert_eq!(lost, Err::<(), _>(ReservedWorkLost));
    }
}
