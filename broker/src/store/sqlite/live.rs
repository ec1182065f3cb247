//! What is open at this moment, in memory: it answers introspection and finds what is due.
//!
//! Changed only by the writer, after a commit, by the effects that the commit's steps left.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use jeton_domain::{
    grant::Phase,
    id::{GrantId, Row, SessionId, Tag},
    principal::PrincipalId,
    revocation::Matching,
    scope::{Resource, Upstream},
    session::SessionState,
    ttl::Timestamp,
};

use super::writer::RecentKey;
use crate::store::SessionRecord;

/// One live grant, kept small: a broker may hold a million.
#[derive(Clone, Copy)]
pub(super) struct LiveGrant {
    pub tag: Tag,
    pub phase: Phase,
    pub session: Row,
    pub target: u32,
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
        key: Option<RecentKey>,
    },
    /// A grant ended.
    Ended(GrantId),
}

/// What is open.
#[derive(Default)]
pub(super) struct Live {
    sessions: BTreeMap<Row, Arc<SessionRecord>>,
    session_keys: HashMap<Row, RecentKey>,
    session_due: BTreeSet<(Timestamp, Row)>,
    grants: BTreeMap<Row, LiveGrant>,
    due: BTreeSet<(Timestamp, Row)>,
    minting: BTreeSet<(Timestamp, Row)>,
    keys: HashMap<Row, RecentKey>,
    targets: Vec<(Upstream, Resource)>,
    target_places: HashMap<(Upstream, Resource), u32>,
}

impl Live {
    /// Brings a commit's changes in.
    pub fn apply(&mut self, effects: Vec<Effect>, recent: &mut HashMap<RecentKey, Row>) {
        for effect in effects {
            match effect {
                Effect::Session(record, key) => self.session_changed(record, key, recent),
                Effect::Live { id, session, phase, due, target, key } => {
                    let target = self.place(target);
                    self.forget_due(id.row());
                    if let Some(key) = key {
                        self.keys.insert(id.row(), key);
                    }
                    let queue =
                        if phase == Phase::Minting { &mut self.minting } else { &mut self.due };
                    queue.insert((due, id.row()));
                    self.grants
                        .insert(id.row(), LiveGrant { tag: id.tag(), phase, session, target, due });
                }
                Effect::Ended(id) => {
                    self.forget_due(id.row());
                    self.grants.remove(&id.row());
                    if let Some(key) = self.keys.remove(&id.row()) {
                        recent.remove(&key);
                    }
                }
            }
        }
    }

    fn session_changed(
        &mut self,
        record: Arc<SessionRecord>,
        key: Option<RecentKey>,
        recent: &mut HashMap<RecentKey, Row>,
    ) {
        let row = record.session.id.row();
        match record.state {
            SessionState::Open => {
                self.session_due.insert((record.session.deadline, row));
                if let Some(key) = key {
                    self.session_keys.insert(row, key);
                }
                self.sessions.insert(row, record);
            }
            SessionState::Closed { .. } | SessionState::Expired { .. } => {
                self.session_due.remove(&(record.session.deadline, row));
                self.sessions.remove(&row);
                if let Some(key) = self.session_keys.remove(&row) {
                    recent.remove(&key);
                }
            }
        }
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

    /// An open session.
    pub fn session(&self, id: SessionId) -> Option<Arc<SessionRecord>> {
        let record = self.sessions.get(&id.row())?;
        id.tag().is(&record.session.id.tag()).then(|| Arc::clone(record))
    }

    /// A live grant.
    pub fn grant(&self, id: GrantId) -> Option<LiveGrant> {
        self.grants.get(&id.row()).filter(|grant| id.tag().is(&grant.tag)).copied()
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

    /// Sessions whose time has come.
    pub fn due_sessions(&self, now: Timestamp, most: usize) -> Vec<SessionId> {
        let over = self.session_due.iter().take_while(|(due, _)| *due <= now).take(most);
        over.filter_map(|(_, row)| self.sessions.get(row).map(|record| record.session.id)).collect()
    }

    /// Live grants that match. `whose` tells agent and person of a session that is over by now.
    pub fn matching(
        &self,
        matching: &Matching,
        mut whose: impl FnMut(Row) -> Option<(PrincipalId, Option<PrincipalId>)>,
    ) -> Vec<GrantId> {
        let mut of_session: HashMap<Row, bool> = HashMap::new();
        let mut session_means = |row: Row| {
            *of_session.entry(row).or_insert_with(|| {
                let names = match self.sessions.get(&row) {
                    Some(record) => {
                        Some((record.session.agent.clone(), record.session.person.clone()))
                    }
                    None => whose(row),
                };
                names.is_some_and(|(agent, person)| match matching {
                    Matching::Agent(wanted) => agent == *wanted,
                    Matching::Person(wanted) => person.as_ref() == Some(wanted),
                    Matching::Session(_)
                    | Matching::Resource(..)
                    | Matching::Upstream(_)
                    | Matching::All => false,
                })
            })
        };
        let target = |grant: &LiveGrant| {
            usize::try_from(grant.target).ok().and_then(|place| self.targets.get(place))
        };
        self.grants
            .iter()
            .filter(|(_, grant)| match matching {
                Matching::Session(session) => grant.session == session.row(),
                Matching::Agent(_) | Matching::Person(_) => session_means(grant.session),
                Matching::Resource(upstream, resource) => {
                    target(grant).is_some_and(|(u, r)| u == upstream && r == resource)
                }
                Matching::Upstream(upstream) => target(grant).is_some_and(|(u, _)| u == upstream),
                Matching::All => true,
            })
            .map(|(row, grant)| GrantId::new(*row, grant.tag))
            .collect()
    }
}
