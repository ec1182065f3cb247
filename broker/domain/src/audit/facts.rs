//! What every entry can be asked, whatever its event: who, for whom, on what, with what outcome.
//!
//! Covers the seven fields that an audit of agents needs at least: agent, person, task (here the
//! session), resource, action, outcome and, on the entry itself, time.

use super::Event;
use crate::{
    accountable::AccountableSubject,
    decision::PolicyId,
    grant::DecidedBy,
    id::{GrantId, SessionId},
    principal::PrincipalId,
    review::Verdict,
    scope::Scope,
};

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It was done.
    Success,
    /// It was refused.
    Denied,
    /// It waits.
    Pending,
    /// It was tried and did not work.
    Failure,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Success, Self::Denied, Self::Pending, Self::Failure];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Denied => "denied",
            Self::Pending => "pending",
            Self::Failure => "failure",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.word() == word)
    }
}

/// What an entry says, in the same words for every event. Absent is what it does not say.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The agent that it is about.
    pub agent: Option<&'a PrincipalId>,
    /// The person that the agent acts for.
    pub person: Option<&'a PrincipalId>,
    /// Whoever did it, if that was not the agent.
    pub by: Option<&'a PrincipalId>,
    /// The session.
    pub session: Option<SessionId>,
    /// The grant.
    pub grant: Option<GrantId>,
    /// What was to be opened.
    pub scope: Option<&'a Scope>,
    /// The policies that decided.
    pub policies: &'a [PolicyId],
    /// The hash of their set.
    pub policy_hash: Option<&'a str>,
    /// How it went.
    pub outcome: Outcome,
}

impl<'a> Facts<'a> {
    const NONE: Self = Self {
        agent: None,
        person: None,
        by: None,
        session: None,
        grant: None,
        scope: None,
        policies: &[],
        policy_hash: None,
        outcome: Outcome::Success,
    };

    fn decided(self, by: &'a DecidedBy) -> Self {
        Self { policies: &by.policies, policy_hash: Some(&by.policy_hash), ..self }
    }

    fn went(self, outcome: Outcome) -> Self {
        Self { outcome, ..self }
    }
}

impl Event {
    /// What it says.
    #[must_use]
    pub fn facts(&self) -> Facts<'_> {
        match self {
            Self::Started { policy_hash, .. } => {
                Facts { policy_hash: Some(policy_hash), ..Facts::NONE }
            }
            Self::PolicyLoaded { policy_hash, refused } => {
                Facts { policy_hash: Some(policy_hash), ..Facts::NONE }
                    .went(kept(refused.is_none()))
            }
            Self::CertificatesLoaded { refused } => Facts::NONE.went(kept(refused.is_none())),
            Self::SignInFailed { subject, .. } => {
                let by = subject.as_ref().and_then(AccountableSubject::principal);
                Facts { by, ..Facts::NONE }.went(Outcome::Denied)
            }
            Self::DenialsSummarized { subject, agent, .. } => {
                let by = subject.as_ref().and_then(AccountableSubject::principal);
                Facts { agent: agent.as_ref(), by, ..Facts::NONE }.went(Outcome::Denied)
            }
            Self::EntriesMoved { .. } | Self::KeyRotated { .. } => Facts::NONE,
            Self::PolicyRolledBack { by, policy_hash, .. } => {
                Facts { by: Some(by), policy_hash: Some(policy_hash), ..Facts::NONE }
            }
            Self::PolicyProposed { by, policy_hash, .. } => {
                Facts { by: Some(by), policy_hash: Some(policy_hash), ..Facts::NONE }
                    .went(Outcome::Pending)
            }
            Self::ReDecided { by, policy_hash, .. } => {
                Facts { by: Some(by), policy_hash: Some(policy_hash), ..Facts::NONE }
                    .went(Outcome::Denied)
            }
            Self::RestoreFound { .. } => Facts::NONE.went(Outcome::Failure),
            Self::LogRead { by, .. }
            | Self::RestoreAcknowledged { by, .. }
            | Self::RevocationAsked { by, .. }
            | Self::StopLifted { by, .. } => Facts { by: Some(by), ..Facts::NONE },
            Self::SessionOpened { session, agent, person, opener, decided_by, .. } => Facts {
                session: Some(*session),
                agent: Some(agent),
                person: person.as_ref(),
                by: Some(opener),
                ..Facts::NONE
            }
            .decided(decided_by),
            Self::SessionRefused { agent, opener, decided_by, .. } => {
                Facts { agent: Some(agent), by: Some(opener), ..Facts::NONE }
                    .decided(decided_by)
                    .went(Outcome::Denied)
            }
            Self::SessionClosed { session, agent, person, by, .. } => Facts {
                session: Some(*session),
                agent: Some(agent),
                person: person.as_ref(),
                by: by.as_ref(),
                ..Facts::NONE
            },
            Self::Denied { session, agent, person, scope, decided_by, .. } => Facts {
                session: Some(*session),
                agent: Some(agent),
                person: person.as_ref(),
                scope: Some(scope),
                ..Facts::NONE
            }
            .decided(decided_by)
            .went(Outcome::Denied),
            Self::Pending { about, .. } => about.facts().went(Outcome::Pending),
            Self::Intent { about, .. } => about.facts().went(Outcome::Pending),
            Self::Issued { about, .. } | Self::Renewed { about, .. } => about.facts(),
            Self::MintFailed { of, .. }
            | Self::UpstreamFailed { of, .. }
            | Self::DriftFound { of, .. } => of.facts().went(Outcome::Failure),
            Self::Released { of, .. }
            | Self::Expired { of, .. }
            | Self::Lapsed { of }
            | Self::Pushed { of, .. }
            | Self::UpstreamAnswered { of, .. } => of.facts(),
            Self::Used { of, cut, .. } => of.facts().went(kept(cut.is_none())),
            Self::Revoked { of, by, .. }
            | Self::ApprovalWithdrawn { of, by, .. }
            | Self::Commented { of, by, .. } => Facts { by: Some(by), ..of.facts() },
            Self::GlassReviewed { by, .. } => Facts { by: Some(by), ..Facts::NONE },
            Self::Approved { of, by, guards, policy_hash, .. }
            | Self::GlassBroken { of, by, guards, policy_hash, .. } => Facts {
                by: Some(by),
                policies: guards,
                policy_hash: Some(policy_hash),
                ..of.facts()
            },
            Self::Rejected { of, by, .. } => {
                Facts { by: Some(by), ..of.facts() }.went(Outcome::Denied)
            }
            Self::ReviewAsked { of, by, .. } => {
                Facts { by: Some(by), ..of.facts() }.went(Outcome::Pending)
            }
            Self::ReviewAnswered { of, by, verdict, cause, .. } => {
                let went = match (cause, verdict) {
                    (Some(_), _) => Outcome::Failure,
                    (None, Verdict::Approve | Verdict::Narrow) => Outcome::Success,
                    (None, Verdict::Escalate) => Outcome::Pending,
                };
                Facts { by: Some(by), ..of.facts() }.went(went)
            }
        }
    }
}

impl super::About {
    fn facts(&self) -> Facts<'_> {
        Facts {
            grant: Some(self.grant),
            session: Some(self.session),
            agent: Some(&self.agent),
            person: self.person.as_ref(),
            scope: Some(&self.scope),
            ..Facts::NONE
        }
        .decided(&self.decided_by)
    }
}

impl super::Subject {
    fn facts(&self) -> Facts<'_> {
        Facts {
            grant: Some(self.grant),
            session: Some(self.session),
            agent: Some(&self.agent),
            person: self.person.as_ref(),
            scope: Some(&self.scope),
            ..Facts::NONE
        }
    }
}

fn kept(accepted: bool) -> Outcome {
    if accepted { Outcome::Success } else { Outcome::Failure }
}
