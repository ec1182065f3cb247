//! The open sessions, in memory: who holds which, what is due, and what each creator holds.
//!
//! An envelope may be large and most sessions are idle, so it is kept as its text, as the row has
//! it. [`ReadSessions`] keeps those that are in use as they are read, within a bound.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use jeton_domain::{
    delegation::Chain,
    id::{Row, SessionId},
    people::People,
    principal::{Issuer, PrincipalId},
    revocation::{Holder, Matching},
    session::{Binding, Session, SessionState, Words},
    ttl::Timestamp,
};
use moka::sync::Cache;

use super::{live::of, rows, writer::RecentKey};
use crate::{
    capacity::SlotHolder,
    limits::{
        SESSION_BYTES, SESSION_BYTES_OF_CREATOR, SESSION_BYTES_READ, SESSION_BYTES_RESERVED,
        SESSIONS_OF_CREATOR,
    },
    store::{SessionRecord, StoreError},
};

/// What a session takes beside its texts: a row of numbers, the handle's hash, its counter.
const ROW_BYTES: u64 = 200;

/// An open session.
pub(super) struct OpenSession {
    id: SessionId,
    agent: PrincipalId,
    person: Option<PrincipalId>,
    opener: PrincipalId,
    /// Who created the first session of its tree.
    creator: PrincipalId,
    task: Words,
    envelope: Box<str>,
    binding: Binding,
    handle_hash: [u8; 32],
    opened: Timestamp,
    deadline: Timestamp,
    chain: Chain,
    issuers: Box<[Issuer]>,
    bytes: u64,
}

impl OpenSession {
    fn new(session: Session, creator: PrincipalId) -> Self {
        // Why no error: what can't be written can't be read either, and is then looked up on disk.
        let envelope = rows::text(&session.envelope).unwrap_or_default();
        let bytes = bytes_beside_envelope(&session).saturating_add(length(&envelope));
        Self {
            id: session.id,
            agent: session.agent,
            person: session.person,
            opener: session.opener,
            creator,
            task: session.task,
            envelope: envelope.into(),
            binding: session.binding,
            handle_hash: session.handle_hash,
            opened: session.opened,
            deadline: session.deadline,
            chain: session.chain,
            issuers: session.issuers.into(),
            bytes,
        }
    }

    fn read(&self) -> Result<SessionRecord, StoreError> {
        let envelope = serde_json::from_str(&self.envelope)
            .map_err(|error| StoreError::Broken(error.to_string()))?;
        Ok(SessionRecord {
            session: Session {
                id: self.id,
                agent: self.agent.clone(),
                person: self.person.clone(),
                opener: self.opener.clone(),
                task: self.task.clone(),
                envelope,
                binding: self.binding,
                handle_hash: self.handle_hash,
                opened: self.opened,
                deadline: self.deadline,
                chain: self.chain.clone(),
                issuers: self.issuers.to_vec(),
            },
            state: SessionState::Open,
        })
    }

    fn holder(&self) -> Holder<'_> {
        Holder {
            session: Some(self.id),
            agent: &self.agent,
            person: self.person.as_ref(),
            opener: Some(&self.opener),
            chain: &self.chain,
        }
    }
}

/// Bytes that a session takes in the store.
///
/// # Errors
/// When its envelope can't be written.
pub(super) fn stored_bytes(session: &Session) -> Result<u64, StoreError> {
    let envelope = length(&rows::text(&session.envelope)?);
    Ok(bytes_beside_envelope(session).saturating_add(envelope))
}

fn bytes_beside_envelope(session: &Session) -> u64 {
    let names = [Some(&session.agent), Some(&session.opener), session.person.as_ref()];
    let names = names.into_iter().flatten().map(PrincipalId::as_str);
    let above = session.chain.links().iter().map(|link| link.agent.as_str());
    let issuers = session.issuers.iter().map(Issuer::as_str);
    let texts = names.chain(above).chain(issuers).chain([session.task.as_str()]);
    texts.map(length).fold(ROW_BYTES, u64::saturating_add)
}

fn length(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

/// What one commit opens, by creator and in all.
#[derive(Default)]
pub(super) struct Opening {
    of_creator: HashMap<PrincipalId, Usage>,
    of_all: Usage,
}

impl Opening {
    /// Adds a session.
    pub fn add(&mut self, creator: PrincipalId, usage: Usage) {
        let held = self.of_creator.entry(creator).or_default();
        *held = held.and(usage);
        self.of_all = self.of_all.and(usage);
    }

    /// What it opens for a creator, and for all.
    pub fn usage(&self, creator: &PrincipalId) -> (Usage, Usage) {
        (self.of_creator.get(creator).copied().unwrap_or_default(), self.of_all)
    }
}

/// Sessions, and the bytes that they take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub sessions: u64,
    pub bytes: u64,
}

impl Usage {
    pub fn one(bytes: u64) -> Self {
        Self { sessions: 1, bytes }
    }

    pub fn and(self, more: Self) -> Self {
        Self {
            sessions: self.sessions.saturating_add(more.sessions),
            bytes: self.bytes.saturating_add(more.bytes),
        }
    }

    fn without(self, less: Self) -> Self {
        Self {
            sessions: self.sessions.saturating_sub(less.sessions),
            bytes: self.bytes.saturating_sub(less.bytes),
        }
    }

    /// Holds what a creator would have open, and what all would, against the limits.
    ///
    /// # Errors
    /// When the creator may not open that much.
    pub fn check(self, of_all: Self) -> Result<(), StoreError> {
        if self.sessions > SESSIONS_OF_CREATOR {
            return Err(StoreError::TooManySessions(SESSIONS_OF_CREATOR));
        }
        // Why a reserve: whoever holds little opens more also when others filled all.
        let most = match of_all.bytes > SESSION_BYTES {
            true => SESSION_BYTES_RESERVED,
            false => SESSION_BYTES_OF_CREATOR,
        };
        if self.bytes > most { Err(StoreError::SessionBytes(most)) } else { Ok(()) }
    }
}

/// All open sessions.
#[derive(Default)]
pub(super) struct OpenSessions {
    by_row: BTreeMap<Row, Arc<OpenSession>>,
    keys: HashMap<Row, RecentKey>,
    due: BTreeSet<(Timestamp, Row)>,
    /// Sessions by the one right above.
    children: BTreeSet<(Row, Row)>,
    of_creator: HashMap<PrincipalId, Usage>,
    of_all: Usage,
}

impl OpenSessions {
    /// Adds a session that opened.
    pub fn open(&mut self, session: Session, key: Option<RecentKey>) {
        let row = session.id.row();
        self.children.extend(session.chain.parent().map(|link| (link.session.row(), row)));
        self.due.insert((session.deadline, row));
        self.keys.extend(key.map(|key| (row, key)));
        let creator = self.creator(&session);
        let open = OpenSession::new(session, creator.clone());
        let usage = Usage::one(open.bytes);
        self.of_all = self.of_all.and(usage);
        let held = self.of_creator.entry(creator).or_default();
        *held = held.and(usage);
        self.by_row.insert(row, Arc::new(open));
    }

    /// Takes out a session that ended; gives the key of its request.
    pub fn close(&mut self, row: Row) -> Option<RecentKey> {
        if let Some(open) = self.by_row.remove(&row) {
            self.due.remove(&(open.deadline, row));
            if let Some(parent) = open.chain.parent() {
                self.children.remove(&(parent.session.row(), row));
            }
            let usage = Usage::one(open.bytes);
            self.of_all = self.of_all.without(usage);
            if let Some(held) = self.of_creator.get_mut(&open.creator) {
                *held = held.without(usage);
                if held.sessions == 0 {
                    self.of_creator.remove(&open.creator);
                }
            }
        }
        self.keys.remove(&row)
    }

    /// Who answers for a session: the creator of the first of its tree.
    pub fn creator(&self, session: &Session) -> PrincipalId {
        let root = session.chain.links().first();
        let root = root.and_then(|root| self.by_row.get(&root.session.row()));
        root.map_or(&session.opener, |root| &root.creator).clone()
    }

    /// Who holds what a session takes of what is shared.
    pub fn slot_holder(&self, session: Row) -> Option<SlotHolder> {
        let open = self.by_row.get(&session)?;
        let agent = open.chain.links().first().map_or(&open.agent, |root| &root.agent);
        Some(SlotHolder::delegated(&open.creator, agent))
    }

    /// What a creator has open, and what all have.
    pub fn usage(&self, creator: &PrincipalId) -> (Usage, Usage) {
        (self.of_creator.get(creator).copied().unwrap_or_default(), self.of_all)
    }

    /// An open session.
    pub fn get(&self, id: SessionId) -> Option<Arc<OpenSession>> {
        self.by_row.get(&id.row()).filter(|open| id.tag().is(&open.id.tag())).cloned()
    }

    /// Sessions whose time has come.
    pub fn due(&self, now: Timestamp, most: usize) -> Vec<SessionId> {
        let over = self.due.iter().take_while(|(due, _)| *due <= now).take(most);
        over.filter_map(|(_, row)| self.by_row.get(row).map(|open| open.id)).collect()
    }

    /// How many open sessions a session opened.
    pub fn children(&self, id: SessionId) -> usize {
        of(&self.children, id.row()).count()
    }

    /// How many open sessions stand below one at any depth; `most` stands for that many or more.
    pub fn below(&self, id: SessionId, most: usize) -> usize {
        let mut rows: Vec<_> = of(&self.children, id.row()).take(most).collect();
        let mut place = 0;
        while let Some(row) = rows.get(place).copied().filter(|_| rows.len() < most) {
            let left = most.saturating_sub(rows.len());
            rows.extend(of(&self.children, row).take(left));
            place = place.saturating_add(1);
        }
        rows.len()
    }

    /// Open sessions that are meant, each with all below it.
    pub fn matching(&self, matching: &Matching, people: &People) -> Vec<SessionId> {
        match matching {
            Matching::Session(id) => {
                let mut rows = vec![id.row()];
                let mut place = 0;
                while let Some(row) = rows.get(place).copied() {
                    rows.extend(of(&self.children, row));
                    place = place.saturating_add(1);
                }
                // Why looked up: the number alone may be that of another session.
                let known = |row: &Row| self.by_row.get(row).map(|open| open.id);
                rows.iter()
                    .filter_map(known)
                    .filter(|own| own.row() != id.row() || own == id)
                    .collect()
            }
            Matching::Agent(_)
            | Matching::Person(_)
            | Matching::All
            | Matching::Resource(..)
            | Matching::Upstream(_)
            | Matching::Policy(_) => {
                let meant = self
                    .by_row
                    .values()
                    .filter(|open| matching.means_holder(open.holder(), people));
                meant.map(|open| open.id).collect()
            }
        }
    }
}

/// Sessions that are in use, with their envelopes read, each with the bytes of its texts.
///
/// Rows are never used twice and what is kept never changes, so an entry is right for as long as
/// the session is open; that is asked of [`OpenSessions`] first.
pub(super) struct ReadSessions(Cache<Row, (Arc<SessionRecord>, u32)>);

impl Default for ReadSessions {
    fn default() -> Self {
        let weigh = |_: &Row, (_, bytes): &(Arc<SessionRecord>, u32)| *bytes;
        Self(Cache::builder().weigher(weigh).max_capacity(SESSION_BYTES_READ).build())
    }
}

impl ReadSessions {
    /// The record of an open session.
    ///
    /// # Errors
    /// When its envelope can't be read.
    pub fn record(&self, open: &OpenSession) -> Result<Arc<SessionRecord>, StoreError> {
        if let Some((record, _)) = self.0.get(&open.id.row()) {
            return Ok(record);
        }
        let record = Arc::new(open.read()?);
        let bytes = u32::try_from(open.bytes).unwrap_or(u32::MAX);
        self.0.insert(open.id.row(), (Arc::clone(&record), bytes));
        Ok(record)
    }
}
