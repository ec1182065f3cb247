//! Sessions that sessions open: what a sub-agent gets lies within what its parent has.
//!
//! Nothing is ever added on the way down: envelope, deadline and person of a child come from its
//! parent or are narrower, and each grant of a child counts in every session above it.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    id::SessionId,
    limits::DELEGATION_DEPTH,
    principal::PrincipalId,
    scope::ScopeBound,
    session::{Envelope, Session, SessionState},
    ttl::{Timestamp, Ttl},
};

/// One session that passed something on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The session.
    pub session: SessionId,
    /// Its agent.
    pub agent: PrincipalId,
}

/// The sessions above one, from the first that was opened to the parent. Empty at the top.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<Link>", into = "Vec<Link>")]
pub struct Chain(Option<Arc<[Link]>>);

/// Why a list of links is no chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a chain has at most {DELEGATION_DEPTH} links, each of another session")]
pub struct ChainError;

impl Chain {
    /// Tells whether nobody passed anything on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// From the first session to the parent.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        self.0.as_deref().unwrap_or_default()
    }

    /// How many sessions are above.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.links().len()
    }

    /// The session right above.
    #[must_use]
    pub fn parent(&self) -> Option<&Link> {
        self.links().last()
    }

    /// Tells whether a session is above.
    #[must_use]
    pub fn holds(&self, session: SessionId) -> bool {
        self.links().iter().any(|link| link.session == session)
    }

    /// Tells whether an agent's session is above.
    #[must_use]
    pub fn holds_agent(&self, agent: &PrincipalId) -> bool {
        self.links().iter().any(|link| link.agent == *agent)
    }

    /// The chain of the link at a depth: those above it.
    #[must_use]
    pub fn above(&self, depth: usize) -> Self {
        match self.links().get(..depth) {
            None | Some([]) => Self(None),
            Some(links) => Self(Some(links.into())),
        }
    }

    /// The chain of what this session opens.
    fn below(session: &Session) -> Self {
        let own = Link { session: session.id, agent: session.agent.clone() };
        Self(Some(session.chain.links().iter().cloned().chain([own]).collect()))
    }
}

impl TryFrom<Vec<Link>> for Chain {
    type Error = ChainError;
    fn try_from(links: Vec<Link>) -> Result<Self, ChainError> {
        let twice = |(place, link): (usize, &Link)| {
            links.iter().take(place).any(|before| before.session == link.session)
        };
        if links.len() > DELEGATION_DEPTH || links.iter().enumerate().any(twice) {
            return Err(ChainError);
        }
        Ok(if links.is_empty() { Self(None) } else { Self(Some(links.into())) })
    }
}

impl From<Chain> for Vec<Link> {
    fn from(chain: Chain) -> Self {
        chain.links().to_vec()
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, link) in self.links().iter().enumerate() {
            write!(f, "{}{}", if place == 0 { "" } else { " → " }, link.agent)?;
        }
        Ok(())
    }
}

/// What a parent asks for its child.
#[derive(Debug, Clone)]
pub struct Bequest {
    /// The most that the child may be granted.
    pub envelope: Envelope,
    /// The person that it acts for; `None` takes the parent's.
    pub person: Option<PrincipalId>,
    /// How long it lasts.
    pub ttl: Ttl,
}

/// What a child has of its parent. Only [`inherit`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inheritance {
    envelope: Envelope,
    person: Option<PrincipalId>,
    deadline: Timestamp,
    chain: Chain,
}

/// Why a child can't have what was asked for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DelegationError {
    /// The parent is over.
    #[error("the session is over; what is over passes nothing on")]
    Over,
    /// Too many sessions above.
    #[error(
        "the session has {DELEGATION_DEPTH} sessions above it, as many as may be; do the work in it, or open the child from one above"
    )]
    TooDeep,
    /// A line that no line of the parent's holds.
    #[error("`{asked}` lies outside the session's envelope; it holds {held}")]
    Scope {
        /// What was asked for.
        asked: ScopeBound,
        /// What there is.
        held: String,
    },
    /// More grants than the parent may have.
    #[error(
        "max_grants is {asked}, the session's own is {most}; each grant of a child counts in its parent too"
    )]
    Grants {
        /// What was asked for.
        asked: u32,
        /// What there is.
        most: u32,
    },
    /// Longer grants than the parent may have.
    #[error("max_ttl_seconds is {asked}, the session's own is {most}")]
    Ttl {
        /// What was asked for.
        asked: u32,
        /// What there is.
        most: u32,
    },
    /// Another person.
    #[error("a child acts for whom its parent acts for: {0}; leave `person` out")]
    Person(String),
}

/// What the child of a session has, if its parent may pass that on.
///
/// The deadline is the parent's where more is asked for: nobody can know the seconds that are left.
///
/// # Errors
/// With the first thing that the parent does not have.
pub fn inherit(
    parent: &Session,
    state: &SessionState,
    asked: Bequest,
    now: Timestamp,
) -> Result<Inheritance, DelegationError> {
    if *state != SessionState::Open || now >= parent.deadline {
        return Err(DelegationError::Over);
    }
    if parent.chain.depth() >= DELEGATION_DEPTH {
        return Err(DelegationError::TooDeep);
    }
    if asked.person.is_some() && asked.person != parent.person {
        let whom = parent.person.as_ref().map_or("nobody", PrincipalId::as_str);
        return Err(DelegationError::Person(whom.to_owned()));
    }
    narrower(&asked.envelope, &parent.envelope)?;
    Ok(Inheritance {
        envelope: asked.envelope,
        person: parent.person.clone(),
        deadline: now.plus(asked.ttl).min(parent.deadline),
        chain: Chain::below(parent),
    })
}

fn narrower(asked: &Envelope, held: &Envelope) -> Result<(), DelegationError> {
    // Why one line for each: two that hold half each were written for two purposes.
    let within = |line: &&ScopeBound| !held.scopes().iter().any(|own| own.contains(line));
    if let Some(outside) = asked.scopes().iter().find(within) {
        let lines: Vec<_> = held.scopes().iter().map(|line| format!("`{line}`")).collect();
        return Err(DelegationError::Scope { asked: outside.clone(), held: lines.join(", ") });
    }
    let (grants, most) = (asked.max_grants(), held.max_grants());
    if grants > most {
        return Err(DelegationError::Grants { asked: grants, most });
    }
    let (ttl, most) = (asked.max_ttl().seconds(), held.max_ttl().seconds());
    if ttl > most { Err(DelegationError::Ttl { asked: ttl, most }) } else { Ok(()) }
}

impl Inheritance {
    /// The most that the child may be granted.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The person that it acts for.
    #[must_use]
    pub fn person(&self) -> Option<&PrincipalId> {
        self.person.as_ref()
    }

    /// When it ends.
    #[must_use]
    pub fn deadline(&self) -> Timestamp {
        self.deadline
    }

    /// The sessions above it.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::{Row, Tag},
        session::{Binding, Words},
    };

    fn session(row: u64, chain: Chain) -> Session {
        let lines = ["git:acme/* contents:write ref=agent/*", "git:acme/* contents:read"];
        let scopes = lines.iter().map(|line| ScopeBound::parse(line).unwrap()).collect();
        Session {
            id: SessionId::new(Row::new(row).unwrap(), Tag([7; 10])),
            agent: PrincipalId::parse(&format!("agent-{row}")).unwrap(),
            person: Some(PrincipalId::parse("ana").unwrap()),
            opener: PrincipalId::parse("ci").unwrap(),
            task: Words::new(""),
            envelope: Envelope::new(scopes, 10, 600).unwrap(),
            binding: Binding::Bearer,
            handle_hash: [0; 32],
            opened: Timestamp::from_seconds(0),
            deadline: Timestamp::from_seconds(1000),
            chain,
            issuers: vec![],
        }
    }

    fn asked(line: &str, grants: u32, ttl: u32) -> Bequest {
        let scopes = vec![ScopeBound::parse(line).unwrap()];
        let envelope = Envelope::new(scopes, grants, ttl).unwrap();
        Bequest { envelope, person: None, ttl: Ttl::from_seconds(5000).unwrap() }
    }

    fn ask(parent: &Session, asked: Bequest) -> Result<Inheritance, DelegationError> {
        inherit(parent, &SessionState::Open, asked, Timestamp::from_seconds(10))
    }

    #[test]
    fn a_child_has_less_or_the_same_and_its_parents_person_and_end() {
        let parent = session(1, Chain::default());
        let child =
            ask(&parent, asked("git:acme/api contents:write ref=agent/x", 10, 600)).unwrap();
        assert_eq!(child.person(), parent.person.as_ref());
        assert_eq!(child.deadline(), parent.deadline);
        assert!(child.chain().holds(parent.id) && child.chain().holds_agent(&parent.agent));
        assert_eq!(child.chain().parent().map(|link| link.session), Some(parent.id));
    }

    #[test]
    fn whatever_is_more_than_the_parents_is_refused_with_what_there_is() {
        let parent = session(1, Chain::default());
        for (line, grants, ttl, words) in [
            ("git:acme/api contents:write", 1, 1, "outside the session's envelope; it holds"),
            ("git:other/api contents:read", 1, 1, "`git:acme/* contents:read`"),
            ("hub:acme/api contents:read", 1, 1, "outside"),
            ("git:acme/api contents:admin ref=agent/x", 1, 1, "outside"),
            ("git:acme/api contents:read", 11, 1, "max_grants is 11, the session's own is 10"),
            ("git:acme/api contents:read", 1, 601, "max_ttl_seconds is 601"),
        ] {
            let error = ask(&parent, asked(line, grants, ttl)).unwrap_err().to_string();
            assert!(error.contains(words), "{line}: {error}");
        }
        let other = PrincipalId::parse("bob").unwrap();
        let bequest = Bequest { person: Some(other), ..asked("git:acme/api contents:read", 1, 1) };
        let error = ask(&parent, bequest).unwrap_err().to_string();
        assert!(error.contains("acts for: ana; leave `person` out"), "{error}");
    }

    #[test]
    fn what_is_over_or_too_deep_passes_nothing_on() {
        let mut parent = session(1, Chain::default());
        let wanted = || asked("git:acme/api contents:read", 1, 1);
        let late = Timestamp::from_seconds(1000);
        let over = inherit(&parent, &SessionState::Open, wanted(), late);
        assert_eq!(over, Err(DelegationError::Over));
        let closed = SessionState::Expired { at: late };
        let now = Timestamp::from_seconds(10);
        assert_eq!(inherit(&parent, &closed, wanted(), now), Err(DelegationError::Over));
        for row in 2.. {
            match ask(&parent, wanted()) {
                Ok(child) => parent = session(row, child.chain().clone()),
                Err(error) => {
                    assert_eq!(error, DelegationError::TooDeep);
                    assert_eq!(parent.chain.depth(), DELEGATION_DEPTH);
                    return;
                }
            }
        }
    }

    #[test]
    fn a_chain_reads_back_and_no_other_list_is_one() {
        let top = session(1, Chain::default());
        let chain = Chain::below(&session(2, Chain::below(&top)));
        let text = serde_json::to_string(&chain).unwrap();
        assert_eq!(serde_json::from_str::<Chain>(&text).unwrap(), chain);
        assert_eq!(chain.to_string(), "agent-1 → agent-2");
        let link = chain.links().first().unwrap().clone();
        assert_eq!(Chain::try_from(vec![link.clone(), link]), Err(ChainError));
        assert_eq!(serde_json::from_str::<Chain>("[]").unwrap(), Chain::default());
    }
}
