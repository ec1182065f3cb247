//! Decides each thing that is done through the gateway, with the policies that hold now: what a grant was
//! given for is not yet all that is done with it.

use std::{collections::BTreeSet, sync::Arc};

use jeton_domain::{
    audit::{Entry, Event, Subject},
    decision::{
        Decision, Delivery, Denial, GrantRequest, Layer, PolicyId, Rules, Standing, decide,
    },
    deed::{Deed, Moved},
    grant::{DecidedBy, Grant},
    revocation::Stops,
    scope::Scope,
    session::{Session, Words},
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
    /// The sessions that passed it on.
    above: Vec<Arc<SessionRecord>>,
}

impl<'a> Under<'a> {
    /// Looks what holds now: under a grant, or under none where something is refused anyway.
    ///
    /// # Errors
    /// When it is not known what is stopped, what was approved, or who passed it on.
    pub async fn new(
        broker: &'a Broker,
        record: &'a SessionRecord,
        grant: Option<&'a Grant>,
    ) -> Result<Self, Refusal> {
        let (rules, stops) = (broker.policies.current(), broker.stops()?);
        let mut above = Vec::new();
        for link in record.session.chain.links() {
            above.push(broker.store.session(link.session).await?);
        }
        let lifted = match grant {
            Some(grant) if rules.hash() == &*grant.decided_by.policy_hash => {
                lifted(broker, grant).await?
            }
            // Why: an approval holds as long as the policies do that it was given under.
            Some(_) | None => BTreeSet::new(),
        };
        Ok(Self { broker, record, rules, stops, grant, lifted, above })
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
            Decision::Permit(_) | Decision::NeedsApproval { .. }
                if !self.passed_on(scope, deed) =>
            {
                let reason = format!("`{scope}` lies outside what was passed on to this session");
                let decided_by = self.decided_by();
                Err(Denial { layer: Layer::Envelope, reason, decided_by, requestable: vec![] })
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

    /// Whether a push lies within what each session above could push, or within this one's own refs. Why: an
    /// envelope that names no refs holds any for a credential, but for a push only those of its own session.
    fn passed_on(&self, scope: &Scope, deed: Option<&Deed>) -> bool {
        if deed.and_then(Deed::change).is_none() {
            return true;
        }
        let own = self.record.session.own_refs();
        let mine = scope.git_ref.as_ref().is_some_and(|refs| refs.is_within(&own));
        self.above.iter().all(|above| {
            let Session { envelope, .. } = &above.session;
            mine || envelope.allows_push(scope, &above.session.own_refs())
        })
    }

    fn decided_by(&self) -> DecidedBy {
        DecidedBy { policies: vec![], policy_hash: self.rules.hash().into(), approvals: vec![] }
    }
}

/// The guards that the approvals of a grant named.
async fn lifted(broker: &Broker, grant: &Grant) -> Result<BTreeSet<PolicyId>, Refusal> {
    let places = grant.decided_by.approvals.clone();
    let mut lifted = BTreeSet::new();
    if places.is_empty() {
        return Ok(lifted);
    }
    for text in broker.store.entries_at(places).await? {
        let entry = Entry::parse(text.as_bytes());
        let entry = entry.map_err(|error| Refusal::Internal(error.to_string()))?;
        if let Event::Approved { guards, .. } | Event::GlassBroken { guards, .. } = entry.event {
            lifted.extend(guards);
        }
    }
    Ok(lifted)
}

/// Records a push that is let through, before the upstream can act on it.
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
    /// Of how many reads this is the one that is told, if not each is.
    pub one_of: Option<u32>,
}

/// Records that a grant was used.
///
/// # Errors
/// When it can't be recorded.
pub async fn used(broker: &Broker, grant: &Grant, done: Use) -> Result<(), Refusal> {
    let Use { request, status, sent, received, millis, cut, one_of } = done;
    let of = Subject::of(grant);
    let event = Event::Used { of, request, status, sent, received, millis, cut, one_of };
    Ok(broker.store.append(event, broker.clock.now()).await?)
}
