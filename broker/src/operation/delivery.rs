//! Chooses the delivery of a grant where the request leaves it open: the gateway first, where the upstream is
//! reached through one, then direct.
//!
//! Invariant: the choice is made before anything is decided about the credential, and what is decided,
//! recorded and released is for the chosen delivery alone.

use jeton_domain::{
    decision::{Decision, Delivery, Denial, GrantRequest, Layer, Rules},
    grant::DecidedBy,
    scope::{Scope, Upstream},
    ttl::Timestamp,
};
use jeton_policy::PolicySet;

use super::{Broker, Refusal, Source, lift::decide_lifted};
use crate::store::SessionRecord;

impl Broker {
    /// The deliveries that a request for an upstream may get, the preferred one first: the one that it
    /// names, or all that there are.
    pub(super) fn deliveries(
        &self,
        upstream: &Upstream,
        wanted: Option<Delivery>,
    ) -> &'static [Delivery] {
        match (wanted, self.behind_gateway.contains(upstream)) {
            (Some(Delivery::Gateway), _) => &[Delivery::Gateway],
            (Some(Delivery::Direct), _) | (None, false) => &[Delivery::Direct],
            (None, true) => &[Delivery::Gateway, Delivery::Direct],
        }
    }
}

/// Decides a request with the first of these deliveries that is not denied. If all are denied, the preferred
/// one's denial counts. Returns the request with its delivery, and the decision.
///
/// # Errors
/// When it is not known what is stopped, or there is no such upstream.
pub(super) fn decide_delivery(
    broker: &Broker,
    rules: &PolicySet,
    record: &SessionRecord,
    deliveries: &[Delivery],
    request: impl Fn(Delivery) -> GrantRequest,
    now: Timestamp,
) -> Result<(GrantRequest, Decision), Refusal> {
    let mut denied = None;
    for delivery in deliveries {
        let request = request(*delivery);
        match decide_one(broker, rules, record, &request, now)? {
            Decision::Deny(denial) => denied = denied.or(Some((request, Decision::Deny(denial)))),
            decision @ (Decision::Permit(_) | Decision::NeedsApproval { .. }) => {
                return Ok((request, decision));
            }
        }
    }
    denied.ok_or_else(|| Refusal::Internal("an upstream without any delivery".to_owned()))
}

/// Decides a request with the delivery that it has.
///
/// # Errors
/// When it is not known what is stopped, or there is no such upstream.
pub(super) fn decide_one(
    broker: &Broker,
    rules: &PolicySet,
    record: &SessionRecord,
    request: &GrantRequest,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    match (broker.source(&request.scope.upstream)?, request.delivery) {
        (Source::Kept(_), Delivery::Direct) => {
            Ok(Decision::Deny(static_key_stays(rules, &request.scope)))
        }
        (Source::Kept(_) | Source::Signed(_) | Source::Minted(_), _) => {
            decide_lifted(broker, rules, record, request, None, now)
        }
    }
}

/// Why no agent gets a static key.
fn static_key_stays(rules: &PolicySet, scope: &Scope) -> Denial {
    let reason = format!(
        "`{}` is opened by a key that never leaves the broker; call it through the gateway, or ask for a grant for that (--for-gateway)",
        scope.upstream
    );
    let decided_by =
        DecidedBy { policies: vec![], policy_hash: rules.hash().into(), approvals: vec![] };
    Denial { layer: Layer::Delivery, reason, decided_by, requestable: vec![] }
}
