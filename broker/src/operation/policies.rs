//! The sets of policies that were in force: listed, looked at, and gone back to.

use std::{sync::Arc, time::SystemTime};

use jeton_domain::{
    audit::Event,
    decision::Rules,
    principal::{PrincipalId, Role},
    session::Words,
    ttl::{Timestamp, Ttl},
};
use jeton_policy::{Pin, PolicyProblem, problem::Source};

use super::{
    Broker, Caller, Refusal,
    reload_policy::{Reloaded, reload_policy},
};
use crate::limits::PROPOSED_SECONDS;

/// What is in force, and what was.
pub struct Loaded {
    /// The hash of the set in force.
    pub hash: String,
    /// The set that somebody went back to, if that is it.
    pub pinned: Option<Pin>,
    /// Those that are kept, newest first, each with when it came into force first.
    pub kept: Vec<(String, Timestamp)>,
}

/// Tells what is in force, and what was.
///
/// # Errors
/// When the caller may not see it, or it can't be read.
pub async fn loaded(broker: &Arc<Broker>, caller: &Caller) -> Result<Loaded, Refusal> {
    may_see(caller)?;
    let hash = broker.policies.current().hash().to_owned();
    let read = off(broker, |broker| {
        let kept = broker.policies.kept();
        Ok::<_, std::io::Error>((kept.pinned()?, kept.list()?))
    });
    let (pinned, kept) = read.await?.map_err(|error| Refusal::Internal(error.to_string()))?;
    let kept = kept.into_iter().map(|one| (one.hash, stamp(one.since))).collect();
    let pinned = pinned.filter(|pin| pin.to == hash);
    Ok(Loaded { hash, pinned, kept })
}

/// The files of a set that was in force.
///
/// # Errors
/// When the caller may not see it, or it is not kept.
pub async fn files(
    broker: &Arc<Broker>,
    caller: &Caller,
    hash: String,
) -> Result<Vec<Source>, Refusal> {
    may_see(caller)?;
    let read = off(broker, move |broker| broker.policies.kept().sources(&hash));
    let found = read.await?.map_err(|error| Refusal::Internal(error.to_string()))?;
    found.ok_or(Refusal::NotFound("policy set"))
}

/// Loads the folder anew at once.
///
/// # Errors
/// When the caller may not, or it can't be recorded.
pub async fn reload(broker: &Arc<Broker>, caller: &Caller) -> Result<Reloaded, Refusal> {
    may_change(caller)?;
    reload_policy(broker).await
}

/// What one operator wants to go back to, where that takes two.
pub struct Proposal {
    to: String,
    by: PrincipalId,
    until: Timestamp,
}

/// What came of wanting to go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoneBack {
    /// The set is in force.
    InForce,
    /// Another operator has to want the same.
    Proposed,
}

/// Goes back to a set that was in force. It holds, over restarts too, until the folder holds another set
/// than the one that it stands for. Where that takes two, the first one only proposes it.
///
/// # Errors
/// When the caller may not, the set is not kept or no good any more, or it can't be recorded.
pub async fn roll_back(
    broker: &Arc<Broker>,
    caller: &Caller,
    hash: String,
    reason: Words,
) -> Result<GoneBack, Refusal> {
    may_change(caller)?;
    let (of, by) = (Arc::clone(broker), caller.principal.id.clone());
    // Why in a task: a caller that hangs up must not leave it recorded and not in force.
    tokio::spawn(async move { go_back(&of, by, hash, reason).await })
        .await
        .map_err(|error| Refusal::Internal(error.to_string()))?
}

async fn go_back(
    broker: &Arc<Broker>,
    by: PrincipalId,
    hash: String,
    reason: Words,
) -> Result<GoneBack, Refusal> {
    let mut proposal = broker.changing_policies.lock().await;
    let (set, pin) = off(broker, move |broker| broker.policies.back(&hash))
        .await?
        .map_err(|problems| Refusal::State(told(&problems)))?;
    let now = broker.clock.now();
    let open = proposal.take().filter(|open| open.to == pin.to && open.until > now);
    let rules = broker.policies.current();
    let people = rules.catalogue().people();
    if broker.second_person && open.is_none_or(|open| people.are_one(&open.by, &by)) {
        let event = Event::PolicyProposed { by: by.clone(), reason, policy_hash: pin.to.clone() };
        broker.store.append(event, now).await?;
        let until = Ttl::from_seconds(PROPOSED_SECONDS).map_or(now, |ttl| now.plus(ttl));
        *proposal = Some(Proposal { to: pin.to, by, until });
        return Ok(GoneBack::Proposed);
    }
    let event = Event::PolicyRolledBack {
        by,
        reason,
        policy_hash: pin.to.clone(),
        instead_of: pin.instead_of.clone(),
    };
    broker.store.append(event, now).await?;
    off(broker, move |broker| broker.policies.kept().pin(Some(&pin)))
        .await?
        .map_err(|error| Refusal::Internal(error.to_string()))?;
    broker.policies.put(set);
    broker.policies_changed.notify_one();
    Ok(GoneBack::InForce)
}

fn told(problems: &[PolicyProblem]) -> String {
    problems.first().map(ToString::to_string).unwrap_or_default()
}

fn may_see(caller: &Caller) -> Result<(), Refusal> {
    match caller.sees_all() {
        true => Ok(()),
        false => Err(Refusal::Forbidden("seeing policies needs the role operator or auditor")),
    }
}

fn may_change(caller: &Caller) -> Result<(), Refusal> {
    match caller.principal.has(Role::Operator) {
        true => Ok(()),
        false => Err(Refusal::Forbidden("changing policies needs the role operator")),
    }
}

/// Runs what reads files off the async threads.
async fn off<T: Send + 'static>(
    broker: &Arc<Broker>,
    work: impl FnOnce(&Broker) -> T + Send + 'static,
) -> Result<T, Refusal> {
    let broker = Arc::clone(broker);
    tokio::task::spawn_blocking(move || work(&broker))
        .await
        .map_err(|error| Refusal::Internal(error.to_string()))
}

fn stamp(at: SystemTime) -> Timestamp {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
