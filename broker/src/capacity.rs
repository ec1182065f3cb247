//! Shared capacity: one type in front of every pool that callers fill, fair between those that are
//! accountable for what is held.
//!
//! Two ways to take a slot. [`Capacity::take`] is for work that cannot be interrupted: a root may hold
//! at most half of what the other roots leave, so that something is always left for the next one.
//! [`Capacity::take_evictable`] is for waiting that costs the other side nothing to lose (an idle
//! connection, a body that has not arrived): a full pool evicts the oldest slot of the subject that
//! holds the most, so that a newcomer is never refused.

mod held;
mod holder;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use jeton_domain::{accountable::AccountableSubject, principal::PrincipalId};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

pub use self::{held::Held, holder::SlotHolder};

/// How much there is, and how much of it may go to whom.
#[derive(Debug, Clone, Copy)]
pub struct Shares {
    /// Slots in all.
    pub size: usize,
    /// Slots of one root: all that one creator, one principal or one address is accountable for.
    pub of_root: usize,
    /// Slots of one member of a root.
    pub of_member: usize,
}

impl Shares {
    /// A root may hold half of it, and a member half of that.
    #[must_use]
    pub const fn halved(size: usize) -> Self {
        Self { size, of_root: size.div_ceil(2), of_member: size.div_ceil(4) }
    }

    /// A root may hold half of it, and a member this many.
    #[must_use]
    pub const fn with_member(size: usize, of_member: usize) -> Self {
        Self { size, of_root: size.div_ceil(2), of_member }
    }
}

/// One pool.
#[derive(Clone)]
pub struct Capacity(Arc<Pool>);

struct Pool {
    shares: Shares,
    state: Mutex<State>,
    released: Notify,
}

#[derive(Default)]
struct State {
    held: usize,
    next: u64,
    roots: HashMap<AccountableSubject, Root>,
}

#[derive(Default)]
struct Root {
    held: usize,
    members: HashMap<Option<PrincipalId>, Member>,
}

#[derive(Default)]
struct Member {
    held: usize,
    evictable: BTreeMap<u64, Evictable>,
}

struct Evictable {
    evicted: CancellationToken,
    activity: Activity,
}

impl Member {
    /// The slot to evict: the oldest idle one, else the oldest.
    fn candidate(&self) -> Option<u64> {
        let idle = self.evictable.iter().find(|(_, slot)| slot.activity.is_idle());
        idle.or_else(|| self.evictable.iter().next()).map(|(ticket, _)| *ticket)
    }

    /// Its oldest evictable slot.
    fn oldest(&self) -> u64 {
        self.evictable.keys().next().copied().unwrap_or(u64::MAX)
    }
}

impl Root {
    /// The member with the most evictable slots; of equal ones, the one with the oldest.
    fn largest(&self) -> Option<(&Option<PrincipalId>, &Member)> {
        self.members
            .iter()
            .filter(|(_, member)| !member.evictable.is_empty())
            .max_by_key(|(_, member)| (member.held, std::cmp::Reverse(member.oldest())))
    }
}

impl State {
    fn root(&self, holder: &SlotHolder) -> usize {
        self.roots.get(holder.subject()).map_or(0, |root| root.held)
    }

    fn member(&self, holder: &SlotHolder) -> usize {
        let root = self.roots.get(holder.subject());
        root.and_then(|root| root.members.get(holder.agent())).map_or(0, |member| member.held)
    }

    /// Whether the subject may hold one more slot that cannot be taken back.
    fn has_share(&self, holder: &SlotHolder, shares: Shares) -> bool {
        let (of_root, of_member) = (self.root(holder), self.member(holder));
        // Why the half: whatever a root holds, as much is left for the next one.
        let left = shares.size.saturating_sub(self.held.saturating_sub(of_root));
        let root_limit = left.div_ceil(2).min(shares.of_root);
        let left = root_limit.saturating_sub(of_root.saturating_sub(of_member));
        let member_limit = left.div_ceil(2).max(1).min(shares.of_member);
        of_root < root_limit && of_member < member_limit
    }

    fn add(&mut self, holder: &SlotHolder, evictable: Option<Evictable>) -> u64 {
        let ticket = self.next;
        self.next = self.next.saturating_add(1);
        self.held = self.held.saturating_add(1);
        let root = self.roots.entry(holder.subject().clone()).or_default();
        root.held = root.held.saturating_add(1);
        let member = root.members.entry(holder.agent().clone()).or_default();
        member.held = member.held.saturating_add(1);
        if let Some(evictable) = evictable {
            member.evictable.insert(ticket, evictable);
        }
        ticket
    }

    /// Gives one slot back. `None` if it was evicted before.
    fn remove(
        &mut self,
        root: &AccountableSubject,
        member: &Option<PrincipalId>,
        slot: Place,
    ) -> Option<CancellationToken> {
        let of_root = self.roots.get_mut(root)?;
        let of_member = of_root.members.get_mut(member)?;
        let evicted = match slot {
            Place::Fixed => CancellationToken::new(),
            Place::Evictable(ticket) => of_member.evictable.remove(&ticket)?.evicted,
        };
        of_member.held = of_member.held.saturating_sub(1);
        if of_member.held == 0 {
            of_root.members.remove(member);
        }
        of_root.held = of_root.held.saturating_sub(1);
        if of_root.held == 0 {
            self.roots.remove(root);
        }
        self.held = self.held.saturating_sub(1);
        Some(evicted)
    }

    /// Evicts until the subject has a slot left. Tells whether it has.
    fn make_room(&mut self, holder: &SlotHolder, shares: Shares) -> bool {
        loop {
            let own = self.roots.get(holder.subject());
            let found = if self.member(holder) >= shares.of_member {
                own.and_then(|root| root.members.get_key_value(holder.agent()))
                    .map(|found| (holder.subject(), found))
            } else if self.root(holder) >= shares.of_root {
                own.and_then(Root::largest).map(|found| (holder.subject(), found))
            } else if self.held >= shares.size {
                let oldest = |root: &Root| root.largest().map_or(u64::MAX, |(_, it)| it.oldest());
                self.roots
                    .iter()
                    .filter(|(_, root)| root.largest().is_some())
                    .max_by_key(|(_, root)| (root.held, std::cmp::Reverse(oldest(root))))
                    .and_then(|(name, root)| Some((name, root.largest()?)))
            } else {
                return true;
            };
            let found = found.and_then(|(root, (name, member))| {
                Some((root.clone(), name.clone(), member.candidate()?))
            });
            let Some((root, member, ticket)) = found else { return false };
            match self.remove(&root, &member, Place::Evictable(ticket)) {
                Some(evicted) => evicted.cancel(),
                None => return false,
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Fixed,
    Evictable(u64),
}

impl Capacity {
    /// An empty pool.
    #[must_use]
    pub fn new(shares: Shares) -> Self {
        Self(Arc::new(Pool { shares, state: Mutex::default(), released: Notify::new() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a slot for work that runs to its end, if the subject has a share left.
    #[must_use]
    pub fn take(&self, holder: &SlotHolder) -> Option<Slot> {
        let mut state = self.state();
        if !state.has_share(holder, self.0.shares) {
            return None;
        }
        state.add(holder, None);
        Some(self.slot(holder, Place::Fixed, CancellationToken::new()))
    }

    /// A slot for what exists already, whatever share the subject has left.
    #[must_use]
    pub fn hold(&self, holder: &SlotHolder) -> Slot {
        self.state().add(holder, None);
        self.slot(holder, Place::Fixed, CancellationToken::new())
    }

    /// As [`Self::take`], waiting for a slot up to a time.
    pub async fn take_within(&self, holder: &SlotHolder, time: Duration) -> Option<Slot> {
        let deadline = Instant::now() + time;
        loop {
            let released = self.0.released.notified();
            tokio::pin!(released);
            // Why before the look: a slot that is released right after it must be noticed.
            released.as_mut().enable();
            if let Some(slot) = self.take(holder) {
                return Some(slot);
            }
            tokio::time::timeout_at(deadline, released).await.ok()?;
        }
    }

    /// Takes a slot that may be evicted while its holder waits for the other side. Those without
    /// activity are evicted first.
    #[must_use]
    pub fn take_evictable(&self, holder: &SlotHolder, activity: Activity) -> Option<Slot> {
        let mut state = self.state();
        if !state.make_room(holder, self.0.shares) {
            return None;
        }
        let evicted = CancellationToken::new();
        let evictable = Evictable { evicted: evicted.clone(), activity };
        let ticket = state.add(holder, Some(evictable));
        Some(self.slot(holder, Place::Evictable(ticket), evicted))
    }

    fn slot(&self, holder: &SlotHolder, place: Place, evicted: CancellationToken) -> Slot {
        Slot { capacity: self.clone(), holder: holder.clone(), place, evicted }
    }

    /// How many slots are held.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.state().held
    }

    /// How many slots are held, and by how many roots.
    #[cfg(test)]
    pub fn held(&self) -> (usize, usize) {
        let state = self.state();
        (state.held, state.roots.len())
    }
}

/// One slot, released when dropped.
pub struct Slot {
    capacity: Capacity,
    holder: SlotHolder,
    place: Place,
    evicted: CancellationToken,
}

impl Slot {
    /// Who is accountable for it.
    #[must_use]
    pub fn holder(&self) -> &SlotHolder {
        &self.holder
    }

    /// Resolves when the slot went to another subject. Never, for one that cannot be evicted.
    pub fn evicted(&self) -> WaitForCancellationFutureOwned {
        self.evicted.clone().cancelled_owned()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let (root, member) = (self.holder.subject(), self.holder.agent());
        // Why ignored: an evicted slot is not held any more.
        let _ = self.capacity.state().remove(root, member, self.place);
        self.capacity.0.released.notify_waiters();
    }
}

/// Counts what goes on under one slot: requests of a connection.
#[derive(Debug, Clone, Default)]
pub struct Activity(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    open: AtomicUsize,
    begun: AtomicUsize,
}

impl Activity {
    /// Whether nothing goes on.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.0.open.load(Ordering::Relaxed) == 0
    }

    /// How much ever began.
    #[must_use]
    pub fn begun(&self) -> usize {
        self.0.begun.load(Ordering::Relaxed)
    }

    /// Begins something, which ends when the value is dropped.
    #[must_use]
    pub fn begin(&self) -> Active {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Active(self.clone())
    }
}

/// Something that goes on.
#[derive(Debug)]
pub struct Active(Activity);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
