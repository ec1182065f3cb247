//! Which part of the log somebody sees: operators and auditors all of it, the holder of a session's handle
//! the entries of that session, people the entries about resources that their teams own.
//!
//! Invariant: nothing else tells anybody an entry. What is owned, the policies in force at that moment say.

use std::sync::Arc;

use jeton_domain::{
    audit::{Entry, EntryFilter, Resources},
    decision::Rules,
    id::SessionId,
};

use super::{Broker, Caller, Refusal};

/// Resources that are named when somebody is told what it sees.
const NAMED: usize = 5;

/// A part of the log.
#[derive(Debug, Clone)]
pub enum View {
    /// All of it.
    All,
    /// The entries of one session.
    Session(SessionId),
    /// The entries about some resources.
    Owned {
        /// Which.
        resources: Arc<Resources>,
        /// Hash of the policies that say who owns them.
        policy_hash: Arc<str>,
    },
}

impl View {
    /// What a caller sees.
    ///
    /// # Errors
    /// When that is nothing.
    pub fn of(broker: &Broker, caller: &Caller) -> Result<Self, Refusal> {
        if caller.sees_all() {
            return Ok(Self::All);
        }
        // Why a session comes first: with a handle, somebody works as that session.
        if let Some(own) = &caller.session {
            return Ok(Self::Session(own.session.id));
        }
        let rules = broker.policies.current();
        let resources = rules.catalogue().owned_by(&caller.principal.id);
        if resources.0.is_empty() {
            return Err(nothing());
        }
        Ok(Self::Owned { resources: Arc::new(resources), policy_hash: rules.hash().into() })
    }

    /// Tells whether a caller sees anything.
    #[must_use]
    pub fn is_there(broker: &Broker, caller: &Caller) -> bool {
        let owns = || broker.policies.current().catalogue().owns_any(&caller.principal.id);
        caller.sees_all() || caller.session.is_some() || owns()
    }

    /// Limits a filter to it.
    ///
    /// # Errors
    /// When the filter names another session than the one that is seen.
    pub fn narrow(&self, filter: EntryFilter) -> Result<EntryFilter, Refusal> {
        match self {
            Self::All => Ok(filter),
            Self::Session(own) if filter.session.is_some_and(|session| session != *own) => {
                Err(Refusal::NotFound("session"))
            }
            Self::Session(own) => Ok(EntryFilter { session: Some(*own), ..filter }),
            Self::Owned { resources, .. } => {
                Ok(EntryFilter { within: Some(Arc::clone(resources)), ..filter })
            }
        }
    }

    /// Tells whether it holds an entry.
    #[must_use]
    pub fn holds(&self, entry: &Entry) -> bool {
        let facts = entry.event.facts();
        match self {
            Self::All => true,
            Self::Session(own) => facts.session == Some(*own),
            Self::Owned { resources, .. } => facts.scope.is_some_and(|scope| resources.hold(scope)),
        }
    }

    /// Tells whether looking at it goes on record: who reads what others did.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        match self {
            Self::All | Self::Owned { .. } => true,
            Self::Session(_) => false,
        }
    }

    /// Tells whether it still is what the caller sees: other policies may give its resources to others.
    ///
    /// # Errors
    /// When the caller sees nothing any more.
    pub fn stands(&self, broker: &Broker, caller: &Caller) -> Result<bool, Refusal> {
        let Self::Owned { policy_hash, .. } = self else { return Ok(true) };
        if broker.policies.current().hash() == &**policy_hash {
            return Ok(true);
        }
        match Self::is_there(broker, caller) {
            true => Ok(false),
            false => Err(nothing()),
        }
    }

    /// What part that is, in words for whoever sees it; none for all.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        match self {
            Self::All => None,
            Self::Session(own) => Some(format!("the entries of your session {own}")),
            Self::Owned { resources, .. } => {
                let named = resources.iter().take(NAMED);
                let named = named.map(|(upstream, resource)| format!("{upstream}:{resource}"));
                let named = named.collect::<Vec<_>>().join(", ");
                let more = match resources.count().saturating_sub(NAMED) {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                Some(format!("the entries about what your teams own: {named}{more}"))
            }
        }
    }
}

/// The refusal for whoever sees nothing.
pub fn nothing() -> Refusal {
    Refusal::Forbidden(
        "reading the log needs the role auditor, the handle of the session whose entries you want, or a team that owns resources of the catalogue",
    )
}
