//! What all subjects of one kind share.

use std::collections::BTreeMap;

use super::{DenialKind, PoolLimits, Recording, Summary};
use crate::{
    accountable::AccountableSubject,
    audit::Event,
    limits::{
        DENIAL_BYTES_OF_SUBJECT, DENIAL_ENTRIES_OF_SUBJECT, DENIAL_ENTRIES_RESERVED,
        DENIAL_SUBJECTS, DENIAL_WINDOW_MILLIS,
    },
    ttl::Timestamp,
};

/// One minute of one subject.
struct Window {
    began: Timestamp,
    entries: u32,
    bytes: u64,
    summary: Summary,
}

impl Window {
    fn new(subject: Option<&AccountableSubject>, now: Timestamp) -> Self {
        let summary = Summary::new(subject.cloned(), now);
        Self { began: now, entries: 0, bytes: 0, summary }
    }

    fn is_over(&self, now: Timestamp) -> bool {
        passed(self.began, now)
    }
}

fn passed(began: Timestamp, now: Timestamp) -> bool {
    now.millis().saturating_sub(began.millis()) >= DENIAL_WINDOW_MILLIS
}

/// The windows of all subjects, and what they have written together.
pub(super) struct Pool {
    limits: PoolLimits,
    began: Timestamp,
    entries: u32,
    bytes: u64,
    windows: BTreeMap<AccountableSubject, Window>,
    /// Subjects beyond [`DENIAL_SUBJECTS`], together.
    overflow: Option<Window>,
    /// Summaries of windows that were over when the next one began.
    over: Vec<Summary>,
}

impl Pool {
    pub fn new(limits: PoolLimits) -> Self {
        Self {
            limits,
            began: Timestamp::from_millis(0),
            entries: 0,
            bytes: 0,
            windows: BTreeMap::new(),
            overflow: None,
            over: Vec::new(),
        }
    }

    pub fn admit(
        &mut self,
        subject: &AccountableSubject,
        kind: DenialKind,
        event: &Event,
        now: Timestamp,
    ) -> Recording {
        if passed(self.began, now) {
            (self.began, self.entries, self.bytes) = (now, 0, 0);
        }
        let bytes = size(event);
        let (limits, entries, used) =
            (self.limits, self.entries.saturating_add(1), self.bytes.saturating_add(bytes));
        let window = self.window(Some(subject), now);
        let of_subject = (window.entries.saturating_add(1), window.bytes.saturating_add(bytes));
        let within_own =
            of_subject.0 <= DENIAL_ENTRIES_OF_SUBJECT && of_subject.1 <= DENIAL_BYTES_OF_SUBJECT;
        // Why half: those that write much leave the other half to the first entries of the rest.
        let share = if of_subject.0 <= DENIAL_ENTRIES_RESERVED { 1 } else { 2 };
        let within_all =
            entries <= limits.entries / share && used <= limits.bytes / u64::from(share);
        if within_own && within_all {
            (window.entries, window.bytes) = of_subject;
            (self.entries, self.bytes) = (entries, used);
            Recording::Whole
        } else {
            window.summary.count(kind, event, now);
            Recording::Counted
        }
    }

    pub fn count(
        &mut self,
        subject: &AccountableSubject,
        kind: DenialKind,
        event: &Event,
        now: Timestamp,
    ) {
        self.window(Some(subject), now).summary.count(kind, event, now);
    }

    /// Takes the summaries of windows that are over at `now`, or all.
    pub fn take_due(&mut self, now: Option<Timestamp>) -> Vec<Summary> {
        let over = |window: &Window| now.is_none_or(|now| window.is_over(now));
        let mut due = std::mem::take(&mut self.over);
        let ended = self.windows.extract_if(.., |_, window| over(window));
        due.extend(ended.map(|(_, window)| window.summary));
        due.extend(self.overflow.take_if(|window| over(window)).map(|window| window.summary));
        due.retain(|summary| !summary.is_empty());
        due
    }

    pub fn put_back(
        &mut self,
        subject: Option<&AccountableSubject>,
        summary: Summary,
        now: Timestamp,
    ) {
        self.window(subject, now).summary.merge(summary);
    }

    /// The window of a subject at this time; a new one if there is none, or the last is over.
    fn window(&mut self, subject: Option<&AccountableSubject>, now: Timestamp) -> &mut Window {
        let room = self.windows.len() < DENIAL_SUBJECTS;
        let apart = subject.filter(|subject| room || self.windows.contains_key(*subject));
        let window = match apart {
            Some(subject) => self
                .windows
                .entry(subject.clone())
                .or_insert_with(|| Window::new(Some(subject), now)),
            None => self.overflow.get_or_insert_with(|| Window::new(None, now)),
        };
        if window.is_over(now) {
            let last = std::mem::replace(window, Window::new(apart, now));
            if !last.summary.is_empty() {
                self.over.push(last.summary);
            }
        }
        window
    }
}

/// Bytes that the event takes in the log.
fn size(event: &Event) -> u64 {
    let text = serde_json::to_vec(event);
    text.map_or(u64::MAX, |text| u64::try_from(text.len()).unwrap_or(u64::MAX))
}
