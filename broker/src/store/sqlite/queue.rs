//! The queue in front of the writer: two lanes, both bounded.
//!
//! What ends grants and sessions overtakes everything else that waits, so that a revocation never waits behind
//! requests. Why that is safe: nothing in the other lane is acknowledged yet, and each step checks what it depends on
//! inside its own transaction.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::writer::Job;
use crate::{
    limits::{STORE_BATCH, STORE_QUEUE},
    store::StoreError,
};

/// Which lane a step takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Ends grants, sessions or approvals.
    Urgent,
    /// Everything else.
    Ordinary,
}

#[derive(Default)]
struct Lanes {
    urgent: VecDeque<Job>,
    ordinary: VecDeque<(Instant, Job)>,
    closed: bool,
}

/// The queue.
#[derive(Default)]
pub(super) struct JobQueue {
    lanes: Mutex<Lanes>,
    filled: Condvar,
}

impl JobQueue {
    /// Adds a step to its lane.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when the lane is full, [`StoreError::Broken`] when the store is closed.
    pub fn push(&self, lane: Lane, job: Job) -> Result<(), StoreError> {
        let mut lanes = self.lock();
        if lanes.closed {
            return Err(StoreError::Broken("the store is closed".into()));
        }
        let waiting = match lane {
            Lane::Urgent => lanes.urgent.len(),
            Lane::Ordinary => lanes.ordinary.len(),
        };
        if waiting >= STORE_QUEUE {
            return Err(StoreError::Busy);
        }
        match lane {
            Lane::Urgent => lanes.urgent.push_back(job),
            Lane::Ordinary => lanes.ordinary.push_back((Instant::now(), job)),
        }
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for steps and returns one batch, urgent ones first; `None` when the queue is closed and empty.
    pub fn next_batch(&self) -> Option<Vec<Job>> {
        let mut lanes = self.lock();
        loop {
            let mut batch: Vec<Job> = Vec::new();
            while batch.len() < STORE_BATCH {
                let next = lanes.urgent.pop_front();
                let Some(job) = next.or_else(|| lanes.ordinary.pop_front().map(|(_, job)| job))
                else {
                    break;
                };
                batch.push(job);
            }
            if !batch.is_empty() {
                return Some(batch);
            }
            if lanes.closed {
                return None;
            }
            lanes = self.filled.wait(lanes).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How long the oldest ordinary step has waited.
    pub fn oldest_wait(&self) -> Duration {
        self.lock().ordinary.front().map_or(Duration::ZERO, |(since, _)| since.elapsed())
    }

    /// A value that closes the queue and drops what waits when it is dropped. Why: a step that no writer takes any more
    /// must fail, not wait.
    pub fn end_on_drop(&self) -> EndOnDrop<'_> {
        EndOnDrop(self)
    }

    /// Accepts nothing more; what waits is still done.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    // Why a poisoned lock is used: no operation in this file leaves the lanes half changed.
    fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`JobQueue::end_on_drop`].
pub(super) struct EndOnDrop<'a>(&'a JobQueue);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close();
        let mut lanes = self.0.lock();
        lanes.urgent.clear();
        lanes.ordinary.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn job(name: usize, ran: &Arc<Mutex<Vec<usize>>>) -> Job {
        let ran = Arc::clone(ran);
        Box::new(move |_| {
            ran.lock().unwrap().push(name);
            Box::new(|_| {})
        })
    }

    #[test]
    fn urgent_steps_overtake_a_full_ordinary_lane() {
        let (queue, ran) = (JobQueue::default(), Arc::default());
        for name in 0..STORE_QUEUE {
            queue.push(Lane::Ordinary, job(name, &ran)).unwrap();
        }
        let refused = queue.push(Lane::Ordinary, job(0, &ran));
        assert!(matches!(refused, Err(StoreError::Busy)));
        queue.push(Lane::Urgent, job(9_999, &ran)).unwrap();
        assert_eq!(queue.lock().urgent.len(), 1);
        assert_eq!(queue.next_batch().unwrap().len(), STORE_BATCH);
        assert!(queue.lock().urgent.is_empty(), "it is in the first batch");
        assert_eq!(queue.lock().ordinary.len(), STORE_QUEUE - STORE_BATCH + 1);
        assert!(queue.oldest_wait() > Duration::ZERO);
    }

    #[test]
    fn steps_that_no_writer_takes_are_dropped() {
        let (queue, ran) = (JobQueue::default(), Arc::default());
        queue.push(Lane::Ordinary, job(1, &ran)).unwrap();
        drop(queue.end_on_drop());
        assert_eq!(Arc::strong_count(&ran), 1, "the step is gone, and with it its sender");
        assert!(matches!(queue.push(Lane::Urgent, job(2, &ran)), Err(StoreError::Broken(_))));
    }

    #[test]
    fn a_closed_queue_hands_out_what_waits_and_then_ends() {
        let (queue, ran) = (JobQueue::default(), Arc::default());
        queue.push(Lane::Ordinary, job(1, &ran)).unwrap();
        queue.close();
        assert!(matches!(queue.push(Lane::Urgent, job(2, &ran)), Err(StoreError::Broken(_))));
        assert_eq!(queue.next_batch().unwrap().len(), 1);
        assert!(queue.next_batch().is_none());
    }
}
