//! Decides each thing that is done through the gateway, with the policies that hold now: what a grant was
//! given for is not yet all that is done with it.

use std::{collections::BTreeSet, sync::Arc};

use jeton_domain::{
    audit::{Event, Subject},
    decision::{
        Decision, Delivery, Denial, GrantRequest, Layer, PolicyId, Rules, Standing, decide,
    },
    deed::{Deed, Moved},
    grant::{DecidedBy, Grant},
    revocation::Stops,
    scope::Scope,
    session::Words,
    ttl::Ttl,
};
use jeton_policy::PolicySet;

use super::{Broker, Refusal, request_grant::deny};
use crate::store::SessionRecord;

/// What holds while something is done: one set of policies for all of it.
pub struct Under<'a> {
    broker: &'a Broker,
    record: &'a SessionRecord,
    rules: Arc<PolicySet>,
    stops: Arc<Stops>,
    grant: Option<&'a Grant>,
    /// Guards that the grant's own approvals lifted.
    lifted: BTreeSet<PolicyId>,
}

impl<'a> Under<'a> {
    /// Looks what holds now: under a grant, or under none where something is refused anyway.
    ///
    /// # Errors
    /// When it is not known what is stopped.
    pub fn new(
        broker: &'a Broker,
        record: &'a SessionRecord,
        grant: Option<&'a Grant>,
    ) -> Result<Self, Refusal> {
        let (rules, stops) = (broker.policies.current(), broker.stops()?);
        let mut under = Self { broker, record, rules, stops, grant, lifted: BTreeSet::new() };
        under.lifted = under.lifted();
        Ok(under)
    }

    /// Decides one thing.
    ///
    /// # Errors
    /// Why it may not be done.
    pub fn may(&self, scope: &Scope, deed: Option<&Deed>) -> Result<(), Denial> {
        let outside = self.grant.filter(|grant| !grant.scope.holds(scope));
        match self.decide(scope, deed) {
            Decision::Deny(denial) => Err(denial),
            Decision::NeedsApproval { guards, decided_by, .. }
                if guards.iter().any(|guard| !self.lifted.contains(&guard.policy)) =>
            {
                let open = guards.iter().find(|guard| !self.lifted.contains(&guard.policy));
                let (policy, groups, words) = open.map_or_else(Default::default, |guard| {
                    let groups: Vec<_> = guard.groups.iter().map(|group| group.as_str()).collect();
                    (guard.policy.to_string(), groups.join(" or "), guard.reason.as_str())
                });
                let reason = format!(
                    "the policy `{policy}` wants somebody of {groups} to approve it: {words}"
                );
                Err(Denial { layer: Layer::Policy, reason, decided_by, requestable: vec![] })
            }
            Decision::Permit(_) | Decision::NeedsApproval { .. } => match outside {
                None => Ok(()),
                Some(grant) => {
                    let reason = format!("`{scope}` lies outside the grant {}", grant.id);
                    let requestable = vec![scope.to_string()];
                    let decided_by = self.decided_by();
                    Err(Denial { layer: Layer::Envelope, reason, decided_by, requestable })
                }
            },
        }
    }

    /// Whether the policies look at what a push brings along.
    #[must_use]
    pub fn reads_content(&self, scope: &Scope) -> bool {
        self.rules.reads_content(&self.record.session, scope)
    }

    /// Records that something was refused.
    ///
    /// # Errors
    /// Always: with the refusal, or because it could not be recorded.
    pub async fn refuse(
        &self,
        scope: Scope,
        deed: Option<Deed>,
        denial: Denial,
    ) -> Result<(), Refusal> {
        let request = GrantRequest {
            scope,
            ttl: None,
            delivery: Delivery::Gateway,
            deed,
            reason: Words::default(),
        };
        let now = self.broker.clock.now();
        deny(self.broker, self.record, &request, denial, now).await.map(|_| ())
    }

    fn decide(&self, scope: &Scope, deed: Option<&Deed>) -> Decision {
        let (none, now) = (BTreeSet::new(), self.broker.clock.now());
        let standing = Standing {
            session: &self.record.session,
            state: &self.record.state,
            approvals: &none,
            approved_by: &[],
            stops: &self.stops,
            issuers: &self.broker.issuers,
            now,
        };
        let request = GrantRequest {
            scope: scope.clone(),
            ttl: self.ttl(),
            delivery: Delivery::Gateway,
            deed: deed.cloned(),
            reason: Words::default(),
        };
        // Why nothing comes of a permit: it is dropped here, and only the store makes anything of one.
        decide(&*self.rules, standing, &request)
    }

    fn ttl(&self) -> Option<Ttl> {
        self.grant.map(|grant| grant.ttl)
    }

    /// The guards that stood in the way of the grant itself, which somebody lifted.
    fn lifted(&self) -> BTreeSet<PolicyId> {
        let Some(grant) = self.grant else { return BTreeSet::new() };
        let approved = !grant.decided_by.approvals.is_empty();
        // Why: an approval holds as long as the policies do that it was given under.
        if !approved || self.rules.hash() != &*grant.decided_by.policy_hash {
            return BTreeSet::new();
        }
        match self.decide(&grant.scope, None) {
            Decision::NeedsApproval { guards, .. } => {
                guards.into_iter().map(|guard| guard.policy).collect()
            }
            Decision::Permit(_) | Decision::Deny(_) => BTreeSet::new(),
        }
    }

    fn decided_by(&self) -> DecidedBy {
        DecidedBy { policies: vec![], policy_hash: self.rules.hash().into(), approvals: vec![] }
    }
}

/// Records a push that is let through, before the upstream hears of it.
///
/// # Errors
/// When it can't be recorded: then it must not go on.
pub async fn pushed(
    broker: &Broker,
    grant: &Grant,
    refs: Vec<Moved>,
    (objects, bytes): (u64, u64),
) -> Result<(), Refusal> {
    let event = Event::Pushed { of: Subject::of(grant), refs, objects, bytes };
    Ok(broker.store.append(event, broker.clock.now()).await?)
}

/// How a grant was used.
pub struct Use {
    /// The method and the path.
    pub request: Words,
    /// What was answered.
    pub status: u16,
    /// Bytes to the upstream.
    pub sent: u64,
    /// Bytes back.
    pub received: u64,
    /// How long it took.
    pub millis: u64,
    /// Why it was cut, if it was.
    pub cut: Option<Words>,
}

/// Records that a grant was used.
///
/// # Errors
/// When it can't be recorded.
pub async fn used(broker: &Broker, grant: &Grant, done: Use) -> Result<(), Refusal> {
    let Use { request, status, sent, received, millis, cut } = done;
    let of = Subject::of(grant);
    let event = Event::Used { of, request, status, sent, received, millis, cut };
    Ok(broker.store.append(event, broker.clock.now()).await?)
}
