//! What is open at this moment, in memory: it answers introspection and finds what is due.
//!
//! Changed only by the writer, after a commit, by the effects that the commit's steps left.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::{Bound, Range},
    sync::Arc,
};

use jeton_domain::{
    approval::Approval,
    budget::{Spent, Tally},
    decision::Delivery,
    grant::Phase,
    id::{GrantId, Row, SessionId, Tag},
    review::{Review, ReviewerName},
    revocation::{Matching, Stops},
    scope::{Resource, Upstream},
    session::SessionState,
    ttl::Timestamp,
};

use super::{open_sessions::OpenSessions, writer::RecentKey};
use crate::{
    capacity::{Capacity, Shares, Slot, SlotHolder},
    limits::{PENDING_AT_ONCE, PENDING_OF_AGENT},
    store::{EndedEarly, SessionRecord},
};

/// One live grant, kept small: a broker may hold a million.
#[derive(Clone, Copy)]
pub(super) struct LiveGrant {
    pub tag: Tag,
    pub phase: Phase,
    pub session: Row,
    pub target: u32,
    pub delivery: Delivery,
    pub due: Timestamp,
}

/// A change that a commit made.
pub(super) enum Effect {
    /// A session opened, or changed its state.
    Session(Arc<SessionRecord>, Option<RecentKey>),
    /// A grant is live, in this phase.
    Live {
        id: GrantId,
        session: Row,
        phase: Phase,
        due: Timestamp,
        target: (Upstream, Resource),
        delivery: Delivery,
        key: Option<RecentKey>,
        /// Of the requests that wait for people, if it is one.
        slot: Option<Slot>,
    },
    /// A grant ended; perhaps while a credential of it still looks good by itself.
    Ended(GrantId, Option<EndedEarly>),
    /// Those that ended early by these entries are dead by themselves.
    Dead(Vec<u64>),
    /// Other stops hold.
    Stops(Arc<Stops>),
    /// A person approved; it was used so often.
    Approved(Arc<Approval>, u32),
    /// An approval of a session was used once more.
    ApprovalUsed(Row, u64),
    /// An approval of a session is used up, or was taken back.
    ApprovalGone(Row, u64),
    /// A grant took its shares of budgets.
    Spent(Row, Box<[Spent]>, Timestamp),
    /// A reviewer is to be asked about a request, or answered.
    Review(GrantId, Arc<Review>),
    /// A reviewer gave so many yes in a session.
    Reviewed(Row, ReviewerName, u32),
}

/// What is open.
pub(super) struct Live {
    sessions: OpenSessions,
    grants: BTreeMap<Row, LiveGrant>,
    /// Live grants by their session.
    held: BTreeSet<(Row, Row)>,
    /// Grants that ended early, by the entry that ended them.
    early: BTreeMap<u64, EndedEarly>,
    early_due: BTreeSet<(Timestamp, u64)>,
    due: BTreeSet<(Timestamp, Row)>,
    /// Grants that wait for people.
    pending: BTreeMap<Row, Slot>,
    /// How many there may be, of whom.
    pending_slots: Capacity,
    /// How many of them each session has.
    pending_of: HashMap<Row, usize>,
    /// Counts each change of what waits for people and of what they said.
    asked: u64,
    /// Approvals that are not used up, with how often they were used, by session and entry.
    approvals: BTreeMap<(Row, u64), (Arc<Approval>, u32)>,
    /// Reviews of what waits.
    reviews: BTreeMap<Row, Vec<Arc<Review>>>,
    /// How many yes reviewers gave, by session.
    reviewed: HashMap<Row, BTreeMap<ReviewerName, u32>>,
    minting: BTreeSet<(Timestamp, Row)>,
    keys: HashMap<Row, RecentKey>,
    targets: Vec<(Upstream, Resource)>,
    target_places: HashMap<(Upstream, Resource), u32>,
    stops: Arc<Stops>,
    /// What live grants, and those that began lately, spent of budgets.
    tally: Tally,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            sessions: OpenSessions::default(),
            grants: BTreeMap::new(),
            held: BTreeSet::new(),
            early: BTreeMap::new(),
            early_due: BTreeSet::new(),
            due: BTreeSet::new(),
            pending: BTreeMap::new(),
            pending_slots: Capacity::new(Shares::with_member(PENDING_AT_ONCE, PENDING_OF_AGENT)),
            pending_of: HashMap::new(),
            asked: 0,
            approvals: BTreeMap::new(),
            reviews: BTreeMap::new(),
            reviewed: HashMap::new(),
            minting: BTreeSet::new(),
            keys: HashMap::new(),
            targets: Vec::new(),
            target_places: HashMap::new(),
            stops: Arc::default(),
            tally: Tally::default(),
        }
    }
}

impl Live {
    /// Brings a commit's changes in.
    pub fn apply(&mut self, effects: Vec<Effect>, recent: &mut HashMap<RecentKey, Row>) {
        for effect in effects {
            match effect {
                Effect::Session(record, key) => self.session_changed(record, key, recent),
                Effect::Live { id, session, phase, due, target, delivery, key, slot } => {
                    let target = self.place(target);
                    self.forget_due(id.row());
                    if let Some(key) = key {
                        self.keys.insert(id.row(), key);
                    }
                    let queue =
                        if phase == Phase::Minting { &mut self.minting } else { &mut self.due };
                    queue.insert((due, id.row()));
                    if phase == Phase::Pending {
                        self.waits(session, id.row(), slot);
                    } else {
                        self.waits_no_more(session, id.row());
                    }
                    self.held.insert((session, id.row()));
                    self.grants.insert(
                        id.row(),
                        LiveGrant { tag: id.tag(), phase, session, target, delivery, due },
                    );
                }
                Effect::Ended(id, early) => {
                    self.forget_due(id.row());
                    self.tally.end(id.row());
                    if let Some(grant) = self.grants.remove(&id.row()) {
                        self.waits_no_more(grant.session, id.row());
                        self.held.remove(&(grant.session, id.row()));
                    }
                    if let Some(key) = self.keys.remove(&id.row()) {
                        recent.remove(&key);
                    }
                    if let Some(early) = early {
                        self.early.insert(early.entry, early);
                        self.early_due.insert((early.dies, early.entry));
                    }
                }
                Effect::Dead(entries) => {
                    for entry in entries {
                        if let Some(early) = self.early.remove(&entry) {
                            self.early_due.remove(&(early.dies, entry));
                        }
                    }
                }
                Effect::Stops(stops) => self.stops = stops,
                Effect::Approved(approval, used) => {
                    let place = (approval.session.row(), approval.entry);
                    self.approvals.insert(place, (approval, used));
                    self.asked = self.asked.saturating_add(1);
                }
                Effect::ApprovalUsed(session, entry) => {
                    if let Some((_, used)) = self.approvals.get_mut(&(session, entry)) {
                        *used = used.saturating_add(1);
                    }
                }
                Effect::Spent(grant, shares, at) => self.tally.spend(grant, &shares, at),
                Effect::ApprovalGone(session, entry) => {
                    self.approvals.remove(&(session, entry));
                    self.asked = self.asked.saturating_add(1);
                }
                Effect::Review(id, review) => {
                    let of = self.reviews.entry(id.row()).or_default();
                    of.retain(|before| before.reviewer != review.reviewer);
                    of.push(review);
                    self.asked = self.asked.saturating_add(1);
                }
                Effect::Reviewed(session, reviewer, given) => {
                    self.reviewed.entry(session).or_default().insert(reviewer, given);
                }
            }
        }
    }

    /// What is live now, with what was spent before.
    pub fn with_tally(self, tally: Tally) -> Self {
        Self { tally, ..self }
    }

    /// What was spent of budgets.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    fn session_changed(
        &mut self,
        record: Arc<SessionRecord>,
        key: Option<RecentKey>,
        recent: &mut HashMap<RecentKey, Row>,
    ) {
        let SessionRecord { session, state } = Arc::unwrap_or_clone(record);
        let row = session.id.row();
        match state {
            SessionState::Open => self.sessions.open(session, key),
            SessionState::Closed { .. } | SessionState::Expired { .. } => {
                let key = self.sessions.close(row);
                let over: Vec<_> = self.approvals_at(row).map(|(place, _)| *place).collect();
                for place in over {
                    self.approvals.remove(&place);
                }
                self.reviewed.remove(&row);
                if let Some(key) = key {
                    recent.remove(&key);
                }
            }
        }
    }

    fn waits(&mut self, session: Row, grant: Row, slot: Option<Slot>) {
        if self.pending.contains_key(&grant) {
            return;
        }
        // Why without a look at the share: it is recorded already.
        let slot = slot.unwrap_or_else(|| self.pending_slots.hold(&self.slot_holder(session)));
        if self.pending.insert(grant, slot).is_none() {
            let count = self.pending_of.entry(session).or_default();
            *count = count.saturating_add(1);
            self.asked = self.asked.saturating_add(1);
        }
    }

    fn waits_no_more(&mut self, session: Row, grant: Row) {
        if self.pending.remove(&grant).is_none() {
            return;
        }
        self.asked = self.asked.saturating_add(1);
        self.reviews.remove(&grant);
        if let Some(count) = self.pending_of.get_mut(&session) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.pending_of.remove(&session);
            }
        }
    }

    /// Who holds what a session asks. Why one for all that are not open: nothing new waits there.
    fn slot_holder(&self, session: Row) -> SlotHolder {
        self.sessions.slot_holder(session).unwrap_or_else(|| SlotHolder::user(u32::MAX))
    }

    /// A slot for one more request of a session that waits for people, if there is one.
    pub fn may_wait(&self, session: SessionId) -> Option<Slot> {
        self.pending_slots.take(&self.slot_holder(session.row()))
    }

    /// How many grants of a session wait for people.
    pub fn pending_of(&self, session: SessionId) -> usize {
        self.pending_of.get(&session.row()).copied().unwrap_or_default()
    }

    fn approvals_at(
        &self,
        session: Row,
    ) -> impl Iterator<Item = (&(Row, u64), &(Arc<Approval>, u32))> {
        self.approvals.range((session, 0)..=(session, u64::MAX))
    }

    /// Approvals of a session that are not used up, with how often each was used.
    pub fn approvals_of(&self, session: SessionId) -> Vec<(Arc<Approval>, u32)> {
        self.approvals_at(session.row()).map(|(_, kept)| kept.clone()).collect()
    }

    /// A grant that waits for people, by its number.
    pub fn waiting(&self, row: Row) -> Option<GrantId> {
        let grant = self.grants.get(&row).filter(|_| self.pending.contains_key(&row))?;
        Some(GrantId::new(row, grant.tag))
    }

    /// Reviewers that are still to be asked, or whose answer is not recorded yet.
    pub fn due_reviews(&self) -> Vec<(GrantId, ReviewerName)> {
        let all = self.reviews.iter().flat_map(|(row, of)| of.iter().map(move |one| (row, one)));
        let due = all.filter(|(_, review)| review.answer.is_none());
        due.filter_map(|(row, one)| Some((self.waiting(*row)?, one.reviewer.clone()))).collect()
    }

    /// The reviews of a grant that waits.
    pub fn reviews_of(&self, id: GrantId) -> Vec<Arc<Review>> {
        let of = self.reviews.get(&id.row()).filter(|_| self.waiting(id.row()) == Some(id));
        of.cloned().unwrap_or_default()
    }

    /// How many yes a reviewer gave in a session.
    pub fn reviews_given(&self, session: SessionId, reviewer: &ReviewerName) -> u32 {
        let of = self.reviewed.get(&session.row());
        of.and_then(|of| of.get(reviewer)).copied().unwrap_or_default()
    }

    /// Another number than before if something changed about what waits for people.
    pub fn asked(&self) -> u64 {
        self.asked
    }

    /// Grants that wait for people, below a row, newest first.
    pub fn pending(&self, below: Option<Row>) -> Vec<GrantId> {
        let end = below.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.pending.range((Bound::Unbounded, end)).rev();
        rows.filter_map(|(row, _)| self.waiting(*row)).collect()
    }

    /// The same, by turns of those who are accountable for them: nobody's are behind all of another's.
    pub fn pending_by_turns(&self) -> Vec<GrantId> {
        let mut taken: HashMap<&SlotHolder, usize> = HashMap::new();
        let mut turns: Vec<_> = self
            .pending
            .iter()
            .rev()
            .map(|(row, slot)| {
                let turn = taken.entry(slot.holder()).or_default();
                *turn = turn.saturating_add(1);
                (*turn, *row)
            })
            .collect();
        turns.sort_by_key(|(turn, row)| (*turn, std::cmp::Reverse(*row)));
        turns.into_iter().filter_map(|(_, row)| self.waiting(row)).collect()
    }

    fn forget_due(&mut self, row: Row) {
        if let Some(grant) = self.grants.get(&row) {
            let queue =
                if grant.phase == Phase::Minting { &mut self.minting } else { &mut self.due };
            queue.remove(&(grant.due, row));
        }
    }

    fn place(&mut self, target: (Upstream, Resource)) -> u32 {
        if let Some(place) = self.target_places.get(&target) {
            return *place;
        }
        let place = u32::try_from(self.targets.len()).unwrap_or(u32::MAX);
        self.targets.push(target.clone());
        self.target_places.insert(target, place);
        place
    }

    /// The open sessions.
    pub fn sessions(&self) -> &OpenSessions {
        &self.sessions
    }

    /// A live grant.
    pub fn grant(&self, id: GrantId) -> Option<LiveGrant> {
        self.grants.get(&id.row()).filter(|grant| id.tag().is(&grant.tag)).copied()
    }

    /// Active grants in order of their numbers.
    pub fn active_from(&self, from: Option<Row>, most: usize) -> Vec<GrantId> {
        let bound = from.map_or(Bound::Unbounded, Bound::Included);
        self.grants
            .range((bound, Bound::Unbounded))
            .filter(|(_, grant)| grant.phase == Phase::Active)
            .take(most)
            .map(|(row, grant)| GrantId::new(*row, grant.tag))
            .collect()
    }

    /// Grants of a session for the gateway on one resource: active ones, and those that wait; newest first.
    pub fn for_gateway(&self, session: SessionId, target: &(Upstream, Resource)) -> Vec<GrantId> {
        let Some(place) = self.target_places.get(target) else { return vec![] };
        let live = |row: Row| Some((row, self.grants.get(&row)?));
        let mine = of(&self.held, session.row()).filter_map(live).filter(|(_, grant)| {
            grant.target == *place
                && grant.delivery == Delivery::Gateway
                && grant.phase != Phase::Minting
        });
        let mut found: Vec<_> = mine.map(|(row, grant)| GrantId::new(row, grant.tag)).collect();
        found.reverse();
        found
    }

    /// How many grants are live.
    pub fn count(&self) -> usize {
        self.grants.len()
    }

    /// The lowest row that is live: what lies below need not be read at the next start.
    pub fn lowest(&self) -> Option<Row> {
        self.grants.keys().next().copied()
    }

    /// Grants whose time has come.
    pub fn due(&self, now: Timestamp, minting_before: Timestamp, most: usize) -> Vec<GrantId> {
        let over = self.due.iter().take_while(|(due, _)| *due <= now);
        let stuck = self.minting.iter().take_while(|(since, _)| *since <= minting_before);
        stuck
            .chain(over)
            .take(most)
            .filter_map(|(_, row)| self.grants.get(row).map(|grant| GrantId::new(*row, grant.tag)))
            .collect()
    }

    /// What is stopped.
    pub fn stops(&self) -> Arc<Stops> {
        Arc::clone(&self.stops)
    }

    /// Grants that ended early, by entries from `from` on.
    pub fn ended_early(&self, from: u64, most: usize) -> Vec<EndedEarly> {
        self.early.range(from..).take(most).map(|(_, early)| *early).collect()
    }

    /// Of them, those whose numbers are in a range.
    pub fn ended_rows(&self, rows: Range<u64>) -> Vec<Row> {
        let ended = self.early.values().map(|early| early.grant.row());
        ended.filter(|row| rows.contains(&row.get())).collect()
    }

    /// Those of them that are dead by themselves.
    pub fn dead(&self, now: Timestamp, most: usize) -> Vec<u64> {
        let over = self.early_due.iter().take_while(|(dies, _)| *dies <= now);
        over.take(most).map(|(_, entry)| *entry).collect()
    }

    /// Live grants of one session.
    pub fn grants_of(&self, session: SessionId) -> Vec<GrantId> {
        let id = |row| self.grants.get(&row).map(|grant| GrantId::new(row, grant.tag));
        of(&self.held, session.row()).filter_map(id).collect()
    }

    /// Live grants for one resource, at one upstream, or all.
    pub fn grants_for(&self, matching: &Matching) -> Vec<GrantId> {
        let target = |grant: &LiveGrant| {
            usize::try_from(grant.target).ok().and_then(|place| self.targets.get(place))
        };
        let meant = |grant: &LiveGrant| match matching {
            Matching::Resource(upstream, resource) => {
                target(grant).is_some_and(|(u, r)| u == upstream && r == resource)
            }
            Matching::Upstream(upstream) => target(grant).is_some_and(|(u, _)| u == upstream),
            Matching::All => true,
            Matching::Session(_)
            | Matching::Agent(_)
            | Matching::Person(_)
            | Matching::Policy(_) => false,
        };
        let grants = self.grants.iter().filter(|(_, grant)| meant(grant));
        grants.map(|(row, grant)| GrantId::new(*row, grant.tag)).collect()
    }
}

/// What stands right of one number.
pub(super) fn of(pairs: &BTreeSet<(Row, Row)>, left: Row) -> impl Iterator<Item = Row> {
    pairs.range((left, Row::FIRST)..).take_while(move |(row, _)| *row == left).map(|(_, row)| *row)
}
