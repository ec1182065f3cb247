//! What one connection holds of its listener's capacity.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use jeton_domain::principal::PrincipalId;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::capacity::{Active, Activity, Capacity, Shares, Slot, SlotHolder};

/// The slots of one listener. Those of peers that proved an identity are never given to others.
#[derive(Clone)]
pub struct ConnectionCapacity {
    proved: Capacity,
    unproved: Capacity,
}

impl ConnectionCapacity {
    /// So many connections of peers that proved an identity, and of all others.
    #[must_use]
    pub fn new(proved: usize, unproved: usize) -> Self {
        let half = unproved.div_ceil(2);
        let unproved = Shares { size: unproved, of_root: half, of_member: half };
        Self { proved: Capacity::new(Shares::halved(proved)), unproved: Capacity::new(unproved) }
    }

    /// A slot for a connection that proved nothing yet. If there is none, the oldest connection without
    /// a request of whoever holds the most is closed.
    #[must_use]
    pub fn admit(&self, subject: &SlotHolder) -> Option<Arc<Admission>> {
        let activity = Activity::default();
        let slot = self.unproved.take_evictable(subject, activity.clone())?;
        Some(Arc::new(Admission {
            capacity: self.clone(),
            activity,
            slot: Mutex::new(slot),
            proved: AtomicBool::new(false),
        }))
    }
}

/// The slot of one connection.
pub struct Admission {
    capacity: ConnectionCapacity,
    activity: Activity,
    slot: Mutex<Slot>,
    proved: AtomicBool,
}

impl Admission {
    /// Moves the connection to the slots of those that proved an identity, if this one has a share left
    /// there. If it has none, the connection stays one that may be closed for another.
    pub fn prove(&self, principal: &PrincipalId) {
        if !self.is_proved() {
            self.keep(&SlotHolder::principal(principal));
        }
    }

    /// The same for a user of this host.
    pub fn prove_user(&self, uid: u32) {
        self.keep(&SlotHolder::user(uid));
    }

    fn keep(&self, subject: &SlotHolder) {
        if let Some(slot) = self.capacity.proved.take(subject) {
            *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = slot;
            self.proved.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the connection is never closed for another.
    #[must_use]
    pub fn is_proved(&self) -> bool {
        self.proved.load(Ordering::Relaxed)
    }

    /// Resolves when the connection is to be closed for another.
    pub fn evicted(&self) -> WaitForCancellationFutureOwned {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).evicted()
    }

    /// A request begins on the connection.
    #[must_use]
    pub fn begin(&self) -> Active {
        self.activity.begin()
    }

    /// The requests on the connection.
    #[must_use]
    pub fn activity(&self) -> &Activity {
        &self.activity
    }
}
