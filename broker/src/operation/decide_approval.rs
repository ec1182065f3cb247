//! People answer: yes for once or for the session, no, or a word.
//!
//! A yes is bound to the hash of what its giver saw. Nobody answers their own question.

use std::{collections::BTreeSet, sync::Arc};

use jeton_domain::{
    approval::{Breadth, GroupName, RequestHash, SessionTerms},
    audit::{Event, Subject},
    grant::Grant,
    id::GrantId,
    principal::{PrincipalId, Role},
    scope::{Scope, ScopeBound},
    session::Words,
    ttl::{Timestamp, Ttl},
};

use super::{
    Broker, Caller, Refusal,
    approvals::{Question, question},
};
use crate::store::{ApprovalDraft, Ending};

/// A yes.
pub struct Yes {
    /// The grant that waits.
    pub grant: GrantId,
    /// The hash of what was shown.
    pub hash: RequestHash,
    /// How far it reaches.
    pub reach: Reach,
    /// Why.
    pub reason: Words,
}

/// How far a yes is to reach.
pub enum Reach {
    /// The one request.
    Once,
    /// The session.
    Session {
        /// Scopes; the asked one if absent.
        within: Option<ScopeBound>,
        /// Grants; as many as the group may give if absent.
        grants: Option<u32>,
        /// Time; as long as the group may give if absent.
        ttl: Option<Ttl>,
    },
}

/// Records a yes.
///
/// # Errors
/// When the caller may not give it, it reaches too far, or what was shown is not what is asked.
pub async fn approve(broker: &Broker, caller: &Caller, yes: Yes) -> Result<Question, Refusal> {
    broker.halt.is_off()?;
    let mut asked = question(broker, caller, yes.grant).await?;
    asked.counts(broker, caller)?;
    let mut groups = asked.answerable()?;
    asked.is(&yes.hash)?;
    let now = broker.clock.now();
    let (breadth, until) = match yes.reach {
        Reach::Once => (Breadth::Once, until_of(&asked.grant, now)),
        Reach::Session { within, grants, ttl } => {
            let terms = session_terms(&asked, &mut groups)?;
            let within = bound(within, &asked.grant.scope)?;
            let grants = at_most("grants", grants, terms.grants)?;
            let seconds = at_most("ttl_seconds", ttl.map(Ttl::seconds), terms.ttl.seconds())?;
            let until = Ttl::from_seconds(seconds).map_or(now, |ttl| now.plus(ttl));
            let until = until.min(asked.session.session.deadline);
            (Breadth::Session { within, grants, ttl: asked.grant.ttl, until }, until)
        }
    };
    let wants_reason = |name: &GroupName| {
        asked.groups.iter().any(|group| group.name == *name && group.terms.reason)
    };
    if yes.reason.as_str().trim().is_empty() && groups.iter().any(wants_reason) {
        let message = "the group wants one; say why you approve".to_owned();
        return Err(Refusal::Invalid { field: "reason", message });
    }
    let lifts = |groups: &BTreeSet<GroupName>| {
        let guards = asked.guards.iter();
        let lifted = guards.filter(|guard| guard.groups.iter().any(|name| groups.contains(name)));
        lifted.map(|guard| guard.policy.clone()).collect()
    };
    let draft = ApprovalDraft {
        grant: yes.grant,
        by: caller.principal.id.clone(),
        account: caller.principal.account.clone(),
        guards: lifts(&groups),
        groups,
        request_hash: yes.hash,
        breadth,
        reason: yes.reason,
        until,
    };
    let approval = broker.store.record_approval(draft, now).await?;
    // Why not read again: the agent may have claimed it by now.
    if asked.approvals.iter().all(|one| one.entry != approval.entry) {
        asked.approvals.push(Arc::new(approval));
    }
    Ok(asked)
}

/// Refuses a request for good.
///
/// # Errors
/// When the caller may not, or nobody is asked any more.
pub async fn reject(
    broker: &Broker,
    caller: &Caller,
    id: GrantId,
    reason: Words,
) -> Result<Grant, Refusal> {
    question(broker, caller, id).await?.answerable()?;
    let by = caller.principal.id.clone();
    let ended =
        broker.store.end_grant(id, Ending::Rejected { by, reason }, broker.clock.now()).await?;
    Ok(ended.grant)
}

/// Says something about a request that waits.
///
/// # Errors
/// When the caller may not see it, or says nothing.
pub async fn comment(
    broker: &Broker,
    caller: &Caller,
    id: GrantId,
    words: Words,
) -> Result<(), Refusal> {
    let asked = question(broker, caller, id).await?;
    if words.as_str().trim().is_empty() {
        return Err(Refusal::Invalid { field: "words", message: "say something".into() });
    }
    let by = caller.principal.id.clone();
    let event = Event::Commented { of: Subject::of(&asked.grant), by, words };
    Ok(broker.store.append(event, broker.clock.now()).await?)
}

/// Takes a yes back, as far as it is not used up: the caller's own, or somebody's by an operator.
///
/// # Errors
/// When there is none, the caller may not, or it can't be recorded.
pub async fn withdraw(
    broker: &Broker,
    caller: &Caller,
    id: GrantId,
    whose: Option<PrincipalId>,
) -> Result<(), Refusal> {
    let by = caller.principal.id.clone();
    let whose = whose.map_or_else(|| by.clone(), |whose| broker.identity(&whose));
    if whose != by && !caller.principal.has(Role::Operator) {
        return Err(Refusal::Forbidden("taking back what others approved needs the role operator"));
    }
    match broker.store.withdraw_approval(id, whose, by, broker.clock.now()).await? {
        true => Ok(()),
        false => Err(Refusal::NotFound("approval")),
    }
}

fn until_of(grant: &Grant, now: Timestamp) -> Timestamp {
    grant.state.due().unwrap_or(now)
}

/// What all the groups may give for a session; those that may not stay out.
fn session_terms(
    asked: &Question,
    groups: &mut BTreeSet<GroupName>,
) -> Result<SessionTerms, Refusal> {
    let terms = |name: &GroupName| {
        let group = asked.groups.iter().find(|group| group.name == *name);
        group.and_then(|group| group.terms.session)
    };
    groups.retain(|name| terms(name).is_some());
    let least = |a: SessionTerms, b: SessionTerms| SessionTerms {
        grants: a.grants.min(b.grants),
        ttl: a.ttl.min(b.ttl),
    };
    groups.iter().filter_map(terms).reduce(least).ok_or_else(|| Refusal::Invalid {
        field: "reach",
        message: "your group approves each request by itself; approve it once".into(),
    })
}

/// The scopes that a yes for the session is to reach: the asked one among them.
fn bound(within: Option<ScopeBound>, asked: &Scope) -> Result<ScopeBound, Refusal> {
    let wrong = |message| Refusal::Invalid { field: "within", message };
    let bound = match within {
        Some(bound) => bound,
        None => ScopeBound::parse(&asked.to_string()).map_err(|error| wrong(error.to_string()))?,
    };
    match bound.allows(asked) {
        true => Ok(bound),
        false => Err(wrong(format!("`{bound}` does not hold what is asked, `{asked}`"))),
    }
}

fn at_most(field: &'static str, wanted: Option<u32>, most: u32) -> Result<u32, Refusal> {
    match wanted {
        None => Ok(most),
        Some(wanted) if (1..=most).contains(&wanted) => Ok(wanted),
        Some(wanted) => Err(Refusal::Invalid {
            field,
            message: format!("your group may give 1 to {most}, not {wanted}"),
        }),
    }
}
