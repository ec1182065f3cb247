//! Emergencies: a person who is named for it lifts guards alone, for a short time, loudly, and somebody
//! else looks at it afterwards.

use std::{collections::BTreeSet, sync::Arc};

use jeton_domain::{
    approval::{Breadth, Glass, GlassName, Involved, RequestHash, Unreviewed, involved},
    id::GrantId,
    principal::Role,
    session::Words,
    ttl::Ttl,
};

use super::{
    Broker, Caller, Refusal,
    approvals::{Question, openers, question},
};
use crate::store::{ApprovalDraft, GlassReview};

/// What a person takes upon itself.
pub struct Breaking {
    /// The grant that waits.
    pub grant: GrantId,
    /// The hash of what was shown.
    pub hash: RequestHash,
    /// What the person is named for; may be left out where that is one thing.
    pub glass: Option<GlassName>,
    /// For how long; as long as the catalogue allows if absent.
    pub ttl: Option<Ttl>,
    /// Why.
    pub reason: Words,
}

/// Lifts the guards of a request that waits, and of more like it in its session.
///
/// # Errors
/// When the caller is not named for it, it lies outside what that allows, no reason is given, or the
/// emergency before is not reviewed.
pub async fn break_glass(
    broker: &Broker,
    caller: &Caller,
    breaking: Breaking,
) -> Result<Question, Refusal> {
    broker.halt.is_off()?;
    let mut asked = question(broker, caller, breaking.grant).await?;
    asked.counts(broker, caller)?;
    asked.is(&breaking.hash)?;
    // Why not the person or the opener: in an emergency they may be the only ones awake.
    if let Some(side @ (Involved::Agent | Involved::Delegate)) = asked.involved {
        return Err(Refusal::State(format!("{side}; a person has to do this")));
    }
    if breaking.reason.as_str().trim().is_empty() {
        let message = "say what the emergency is; others will review it".to_owned();
        return Err(Refusal::Invalid { field: "reason", message });
    }
    let rules = broker.policies.current();
    let glass = named(rules.catalogue().glasses(), caller, breaking.glass.as_ref())?;
    let scope = &asked.grant.scope;
    let Some(within) = glass.within.iter().find(|bound| bound.allows(scope)) else {
        let lines: Vec<_> = glass.within.iter().map(ToString::to_string).collect();
        return Err(Refusal::State(format!(
            "`{scope}` lies outside what `{}` opens in an emergency: {}",
            glass.name.as_str(),
            lines.join("; ")
        )));
    };
    let lifted = |groups: &[_]| groups.iter().any(|group| glass.lifts.contains(group));
    if let Some(fixed) = asked.guards.iter().find(|guard| !lifted(&guard.groups)) {
        return Err(Refusal::State(format!(
            "the policy `{}` is not among those that `{}` lifts; its groups have to approve",
            fixed.policy,
            glass.name.as_str()
        )));
    }
    let now = broker.clock.now();
    let ttl = breaking.ttl.map_or(glass.ttl, |ttl| ttl.min(glass.ttl));
    let until = now.plus(ttl).min(asked.session.session.deadline);
    let groups: BTreeSet<_> = asked.guards.iter().flat_map(|guard| guard.groups.iter()).collect();
    let draft = ApprovalDraft {
        grant: breaking.grant,
        by: caller.principal.id.clone(),
        account: caller.principal.account.clone(),
        groups: groups.into_iter().filter(|group| glass.lifts.contains(group)).cloned().collect(),
        guards: asked.guards.iter().map(|guard| guard.policy.clone()).collect(),
        request_hash: breaking.hash,
        breadth: Breadth::Emergency {
            glass: glass.name.clone(),
            within: within.clone(),
            grants: glass.grants,
            until,
        },
        reason: breaking.reason,
        until,
    };
    let approval = broker.store.record_approval(draft, now).await?;
    broker.metrics.glass_broken();
    tracing::error!(
        entry = approval.entry, by = %approval.by, glass = glass.name.as_str(),
        grant = %approval.grant, reason = approval.reason.as_str(),
        "a person lifted guards alone, in an emergency; it has to be reviewed"
    );
    if asked.approvals.iter().all(|one| one.entry != approval.entry) {
        asked.approvals.push(Arc::new(approval));
    }
    Ok(asked)
}

/// What the caller is named for.
fn named<'a>(
    glasses: &'a [Glass],
    caller: &Caller,
    wanted: Option<&GlassName>,
) -> Result<&'a Glass, Refusal> {
    let mut own = glasses.iter().filter(|glass| is_named(glass, caller));
    match (wanted, own.next(), own.next()) {
        (Some(name), first, second) => {
            let all = first.into_iter().chain(second).chain(own);
            all.into_iter()
                .find(|glass| glass.name == *name)
                .ok_or(Refusal::Forbidden("you are not named for that emergency"))
        }
        (None, Some(only), None) => Ok(only),
        (None, None, _) => Err(Refusal::Forbidden("you are named for no emergency")),
        (None, Some(one), Some(other)) => Err(Refusal::Invalid {
            field: "glass",
            message: format!(
                "you are named for several; say for which: {} or {}",
                one.name.as_str(),
                other.name.as_str()
            ),
        }),
    }
}

/// Tells whether somebody is named for an emergency.
pub(super) fn is_named(glass: &Glass, caller: &Caller) -> bool {
    caller.session.is_none() && glass.members.contains(&caller.principal.id)
}

/// Emergencies that nobody has reviewed yet: to those who see everything, and to those who review them.
///
/// # Errors
/// When the store can't be read.
pub async fn unreviewed(broker: &Broker, caller: &Caller) -> Result<Vec<Unreviewed>, Refusal> {
    let all = broker.store.unreviewed().await?;
    Ok(all.into_iter().filter(|one| caller.sees_all() || reviews(broker, caller, one)).collect())
}

/// Records what somebody found, who was not part of it.
///
/// # Errors
/// When there is none to review, or the caller is not the one to do it.
pub async fn review(
    broker: &Broker,
    caller: &Caller,
    entry: u64,
    justified: bool,
    words: Words,
) -> Result<(), Refusal> {
    let found = unreviewed(broker, caller).await?.into_iter().find(|one| one.entry == entry);
    let found = found.ok_or(Refusal::NotFound("emergency to review"))?;
    if !reviews(broker, caller, &found) {
        return Err(Refusal::Forbidden("you are not of the group that reviews it"));
    }
    let who = &caller.principal.id;
    let rules = broker.policies.current();
    let people = rules.catalogue().people();
    if people.are_one(who, &found.by) {
        return Err(Refusal::State("it was yours; somebody else has to review it".into()));
    }
    let session = broker.store.session(found.session).await?;
    let openers = openers(broker, &session.session).await?;
    if let Some(involved) = involved(who, &session.session, openers.iter(), people) {
        return Err(Refusal::State(format!("{involved}; somebody else has to review it")));
    }
    if words.as_str().trim().is_empty() {
        let message = "say what you found; it stands in the log".to_owned();
        return Err(Refusal::Invalid { field: "words", message });
    }
    let review = GlassReview { entry, by: who.clone(), justified, words };
    match broker.store.record_glass_review(review, broker.clock.now()).await? {
        true => Ok(()),
        false => Err(Refusal::NotFound("emergency to review")),
    }
}

/// Tells whether somebody is of the group that reviews an emergency. One that the catalogue knows no more
/// is for operators: nobody may get rid of a review by renaming what it is about.
fn reviews(broker: &Broker, caller: &Caller, one: &Unreviewed) -> bool {
    let rules = broker.policies.current();
    let glass = rules.catalogue().glasses().iter().find(|glass| glass.name == one.glass);
    let group = glass.and_then(|glass| rules.catalogue().group(&glass.reviewed_by));
    caller.session.is_none()
        && match group {
            Some(group) => group.holds(&caller.principal),
            None => caller.principal.has(Role::Operator),
        }
}
