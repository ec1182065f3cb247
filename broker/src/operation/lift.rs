//! Decides with the approvals that count: where only guards refuse, those that people or reviewers gave
//! for just this request, or for requests like it in this session.

use std::collections::BTreeSet;

use jeton_domain::{
    approval::{Approval, GroupName, Lifters, RequestHash, Wanting, lift},
    decision::{Decision, GrantRequest, Rules, Standing, decide},
    id::GrantId,
    review::Power,
    ttl::Timestamp,
};

use jeton_policy::PolicySet;

use super::{Broker, Refusal};
use crate::store::SessionRecord;

/// Decides a request of a session. `asked` is the grant that waits for an answer about it, and the hash
/// that its approvals are bound to.
///
/// # Errors
/// When it is not known what is stopped.
pub(super) fn decide_lifted(
    broker: &Broker,
    rules: &PolicySet,
    record: &SessionRecord,
    request: &GrantRequest,
    asked: Option<(GrantId, &RequestHash)>,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let stops = broker.stops()?;
    let none = BTreeSet::new();
    let standing = Standing {
        session: &record.session,
        state: &record.state,
        approvals: &none,
        approved_by: &[],
        stops: &stops,
        issuers: &broker.issuers,
        now,
    };
    let decision = decide(rules, standing, request);
    // Why first without: an approval that is not needed is not used up.
    let Decision::NeedsApproval { guards, ttl, .. } = &decision else { return Ok(decision) };
    let wanting = Wanting {
        session: record.session.id,
        asked,
        scope: &request.scope,
        delivery: request.delivery,
        ttl: *ttl,
        policy_hash: rules.hash(),
        now,
    };
    let kept = broker.store.approvals(record.session.id);
    let counting: Vec<&Approval> = kept
        .iter()
        .filter(|(approval, used)| *used < approval.breadth.grants())
        .map(|(approval, _)| &**approval)
        // Why not whether a named giver is still of the group: that stands in the policies' hash. Whom
        // an issuer counted among it is known no more; whoever lost that is stopped.
        .filter(|approval| !stops.silence(&approval.by))
        .filter(|approval| approval.counts_for(wanting))
        .collect();
    let lifters = |name: &GroupName| {
        let quorum = rules.catalogue().group(name)?.terms.quorum;
        let power = |(name, bounds)| {
            let given = broker.store.reviews_given(record.session.id, name)?;
            Some(Power { name, bounds, given })
        };
        let reviewer = rules.catalogue().reviewer_of(name).and_then(power);
        Some(Lifters { quorum, reviewer })
    };
    let lifted = lift(guards, counting.into_iter(), lifters, &wanting, rules.catalogue().people());
    let Some(lifted) = lifted else { return Ok(decision) };
    let standing = Standing { approvals: &lifted.groups, approved_by: &lifted.by, ..standing };
    // What rests on an emergency ends with it.
    let deadlines = kept.iter().filter(|(approval, _)| lifted.by.contains(&approval.entry));
    let deadline = deadlines.filter_map(|(approval, _)| approval.breadth.deadline()).min();
    let left = deadline.and_then(|deadline| now.until(deadline));
    let ttl = left.map_or(*ttl, |left| left.min(*ttl));
    let request = GrantRequest { ttl: Some(ttl), ..request.clone() };
    Ok(match decide(rules, standing, &request) {
        permit @ Decision::Permit(_) => permit,
        Decision::NeedsApproval { .. } | Decision::Deny(_) => decision,
    })
}
