//! Who holds a slot.

use std::net::IpAddr;

use jeton_domain::{accountable::AccountableSubject, principal::PrincipalId};

/// The accountable subject that a slot counts for, and the agent that uses it.
///
/// For a call in a session the subject is the tree of the first session's creator, and the agent is that
/// of this first session. So a tree of any size counts as one agent, and all agents of one creator count
/// as one subject.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SlotHolder {
    subject: AccountableSubject,
    agent: Option<PrincipalId>,
}

impl SlotHolder {
    /// An authenticated principal that calls without a session.
    #[must_use]
    pub fn principal(id: &PrincipalId) -> Self {
        Self { subject: AccountableSubject::Principal(id.clone()), agent: None }
    }

    /// An agent, and the creator of the first session of its delegation tree.
    #[must_use]
    pub fn delegated(creator: &PrincipalId, agent: &PrincipalId) -> Self {
        let subject = AccountableSubject::Tree(creator.clone());
        Self { subject, agent: Some(agent.clone()) }
    }

    /// A peer that proved nothing.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        Self { subject: AccountableSubject::of_address(address), agent: None }
    }

    /// A user of this host.
    #[must_use]
    pub fn user(uid: u32) -> Self {
        Self { subject: AccountableSubject::LocalUser(uid), agent: None }
    }

    /// Who is accountable.
    #[must_use]
    pub fn subject(&self) -> &AccountableSubject {
        &self.subject
    }

    /// The agent, if several share what the subject may hold.
    #[must_use]
    pub fn agent(&self) -> &Option<PrincipalId> {
        &self.agent
    }
}
