//! The life of a grant, from the request to the credential.

use std::{collections::BTreeSet, sync::Arc};

use jeton_domain::{
    audit::Event,
    budget::OverBudget,
    decision::{Decision, Delivery, Denial, GrantRequest, Layer, Rules},
    grant::{DecidedBy, Grant, GrantState, Phase},
    id::RequestId,
    limits::PENDING_SECONDS,
    permit::Permit,
    review::ReviewerName,
    revocation::UpstreamRevocation,
    scope::Scope,
    session::Words,
    ttl::{Timestamp, Ttl},
};

use super::{
    Broker, Caller, Refusal, Source, budgets,
    delivery::decide_delivery,
    denial_log::{accountable, record_denial},
    seal::Place,
};
use crate::{
    signer::Confirmation,
    store::{
        Failure, Intent, IssueRecord, Issued, PendingDraft, RecordedPermit, SessionRecord, Signed,
        StoreError, Unusable,
    },
    upstream::{Credential, CredentialKind, Local, MintError, Minted, Minter},
};

/// What is asked for.
#[derive(Clone)]
pub struct Ask {
    /// What it is to open.
    pub scope: Scope,
    /// How long; `None` asks for the longest that is allowed.
    pub ttl: Option<Ttl>,
    /// Where the credential goes; `None` leaves the choice to the broker.
    pub delivery: Option<Delivery>,
    /// The agent's words.
    pub reason: Words,
    /// Key for a safe retry.
    pub request_id: Option<RequestId>,
}

/// The answer: a grant, and its credential once it is active.
pub struct Granted {
    /// The grant as recorded.
    pub grant: Grant,
    /// The credential; `None` while the grant is pending, and where it is for the gateway.
    pub credential: Option<Credential>,
}

/// Decides a request and, if it is allowed, records, mints, records again and answers.
///
/// # Errors
/// When it is refused, can't be recorded, or the upstream gives nothing usable.
pub async fn request_grant(
    broker: &Arc<Broker>,
    caller: &Caller,
    ask: Ask,
) -> Result<Granted, Refusal> {
    let record = caller.session()?;
    broker.halt.is_off()?;
    let source = broker.source(&ask.scope.upstream)?;
    let rules = broker.policies.current();
    let request = |delivery| GrantRequest {
        scope: ask.scope.clone(),
        ttl: ask.ttl,
        delivery,
        deed: None,
        reason: ask.reason.clone(),
    };
    let now = broker.clock.now();
    let deliveries = broker.deliveries(&ask.scope.upstream, ask.delivery);
    let (request, decision) = decide_delivery(broker, &rules, record, deliveries, request, now)?;
    // Why from here on: a retry of a request that left it open must not get what was decided for another.
    let ask = Ask { delivery: Some(request.delivery), ..ask };
    broker.metrics.decided(&decision);
    match decision {
        Decision::Deny(denial) => deny(broker, record, &request, denial, now).await,
        Decision::NeedsApproval { guards, ttl, decided_by } => {
            // Why before people are asked: their yes would be for nothing.
            if let Err(over) = budgets::room(broker, &*rules, record, &request, now) {
                return spent(broker, record, &request, over, now).await;
            }
            let until = Ttl::from_seconds(PENDING_SECONDS)
                .map_or(now, |ttl| now.plus(ttl))
                .min(record.session.deadline);
            let named = guards.iter().flat_map(|guard| &guard.groups);
            let named = named.filter_map(|group| rules.catalogue().reviewer_of(group));
            let reviewers = named.map(|(name, _)| name.clone()).collect();
            let state = GrantState::Pending { guards, until };
            let delivery = request.delivery;
            let waiting = Waiting { delivery, ttl, decided_by, state, reviewers };
            pend(broker, record, ask, waiting, now).await
        }
        Decision::Permit(permit) => {
            let granted = match source {
                Source::Signed(minter) => sign(broker, record, &**minter, permit, ask).await,
                Source::Kept(key) => sign(broker, record, &**key, permit, ask).await,
                Source::Minted(minter) => {
                    let work = mint(Arc::clone(broker), Arc::clone(minter), permit, ask);
                    broker.mints.run(&caller.subject, work).await
                }
            };
            match granted {
                Err(Refusal::OverBudget(over)) => spent(broker, record, &request, *over, now).await,
                granted => granted,
            }
        }
    }
}

/// What a request would meet.
pub(super) enum Prospect {
    /// It would be granted, as far as can be seen before it is recorded.
    Granted,
    /// It would wait for people.
    Waits(DecidedBy),
    /// It would be denied.
    Denied(Denial),
}

/// Decides a request of a session that is not recorded yet, and records nothing.
///
/// # Errors
/// When it is not known what is stopped, or nothing is granted at the moment.
pub(super) fn prospect(
    broker: &Broker,
    record: &SessionRecord,
    ask: &Ask,
) -> Result<Prospect, Refusal> {
    broker.halt.is_off()?;
    let (rules, now) = (broker.policies.current(), broker.clock.now());
    let request = |delivery| GrantRequest {
        scope: ask.scope.clone(),
        ttl: ask.ttl,
        delivery,
        deed: None,
        reason: ask.reason.clone(),
    };
    let deliveries = broker.deliveries(&ask.scope.upstream, ask.delivery);
    let (request, decision) = decide_delivery(broker, &rules, record, deliveries, request, now)?;
    Ok(match decision {
        Decision::Deny(denial) => Prospect::Denied(denial),
        Decision::NeedsApproval { decided_by, .. } => Prospect::Waits(decided_by),
        Decision::Permit(_) => match budgets::room(broker, &*rules, record, &request, now) {
            Ok(()) => Prospect::Granted,
            Err(over) => Prospect::Denied(over_budget(broker, &over)),
        },
    })
}

/// Records that a budget is spent, and tells it.
pub(super) async fn spent(
    broker: &Broker,
    record: &SessionRecord,
    request: &GrantRequest,
    over: OverBudget,
    now: Timestamp,
) -> Result<Granted, Refusal> {
    deny(broker, record, request, over_budget(broker, &over), now).await
}

fn over_budget(broker: &Broker, over: &OverBudget) -> Denial {
    broker.metrics.over_budget();
    let decided_by = DecidedBy {
        policies: vec![],
        policy_hash: broker.policies.current().hash().into(),
        approvals: vec![],
    };
    let reason = over.to_string();
    Denial { layer: Layer::Budget, reason, decided_by, requestable: vec![] }
}

/// Records a refusal and tells it.
pub(super) async fn deny(
    broker: &Broker,
    record: &SessionRecord,
    request: &GrantRequest,
    denial: Denial,
    now: Timestamp,
) -> Result<Granted, Refusal> {
    let event = denied(record, &request.scope, request.delivery, &denial);
    record_denial(broker, &accountable(broker, record).await?, event, now).await?;
    Err(Refusal::Denied(Box::new(denial)))
}

/// The entry of a denial.
pub(super) fn denied(
    record: &SessionRecord,
    scope: &Scope,
    delivery: Delivery,
    denial: &Denial,
) -> Event {
    Event::Denied {
        session: record.session.id,
        agent: record.session.agent.clone(),
        person: record.session.person.clone(),
        chain: record.session.chain.clone(),
        scope: scope.clone(),
        delivery,
        layer: denial.layer,
        reason: Words::new(&denial.reason),
        decided_by: denial.decided_by.clone(),
    }
}

struct Waiting {
    delivery: Delivery,
    ttl: Ttl,
    decided_by: DecidedBy,
    state: GrantState,
    reviewers: BTreeSet<ReviewerName>,
}

async fn pend(
    broker: &Broker,
    record: &SessionRecord,
    ask: Ask,
    waiting: Waiting,
    now: Timestamp,
) -> Result<Granted, Refusal> {
    let grant = Grant {
        id: broker.store.reserve_grant(),
        session: record.session.id,
        agent: record.session.agent.clone(),
        person: record.session.person.clone(),
        chain: record.session.chain.clone(),
        scope: ask.scope.clone(),
        delivery: waiting.delivery,
        ttl: waiting.ttl,
        reason: ask.reason.clone(),
        request_id: ask.request_id.clone(),
        decided_by: waiting.decided_by,
        requested: now,
        renewals: 0,
        entry: None,
        state: waiting.state,
    };
    let reviewed = !waiting.reviewers.is_empty();
    let draft = PendingDraft { grant, reviewers: waiting.reviewers };
    let recorded = broker.store.record_pending(draft, now).await?;
    if reviewed {
        broker.reviews.notify_one();
    }
    same_request(&recorded, &ask)?;
    Ok(Granted { grant: recorded, credential: None })
}

/// The broker makes it by itself: intent and issue are one commit.
async fn sign(
    broker: &Broker,
    record: &SessionRecord,
    minter: &dyn Local,
    permit: Permit,
    ask: Ask,
) -> Result<Granted, Refusal> {
    let id = broker.store.reserve_grant();
    let confirmation = confirmation(record, permit.delivery());
    let minted = minter
        .make(id, &permit, confirmation, permit.decided())
        .map_err(|error| Refusal::Internal(error.to_string()))?;
    let issue = broker.signed_record(&minted, &permit);
    match broker.store.record_signed(id, permit, ask.request_id.clone(), issue).await? {
        Signed::Fresh(issued) => {
            let credential = minted.release(&issued);
            Ok(Granted { grant: issued.into_grant(), credential })
        }
        Signed::Seen(issued) => {
            same_request(issued.grant(), &ask)?;
            repeat_signed(minter, issued, confirmation, broker.clock.now())
        }
    }
}

/// The upstream mints: intent, mint, issue.
async fn mint(
    broker: Arc<Broker>,
    minter: Arc<dyn Minter>,
    permit: Permit,
    ask: Ask,
) -> Result<Granted, Refusal> {
    let id = broker.store.reserve_grant();
    match broker.store.record_intent(id, permit, ask.request_id.clone()).await? {
        Intent::Fresh(recorded) => mint_recorded(&broker, &*minter, recorded).await,
        Intent::Seen(issued) => {
            same_request(issued.grant(), &ask)?;
            repeat_minted(&broker, issued).await
        }
    }
}

/// Mints under a recorded intent, and records what came of it.
pub(super) async fn mint_recorded(
    broker: &Broker,
    minter: &dyn Minter,
    recorded: RecordedPermit,
) -> Result<Granted, Refusal> {
    let (id, life) = (recorded.grant(), Life::of(recorded.permit()));
    let minted = mint_once(broker, minter, recorded, Place { grant: id, version: 0 }).await?;
    let now = broker.clock.now();
    let issue = broker.issue_record(&minted, Place { grant: id, version: 0 }, life)?;
    match broker.store.record_issued(id, issue, now).await {
        Ok(issued) => {
            let credential = minted.release(&issued);
            Ok(Granted { grant: issued.into_grant(), credential })
        }
        Err(error) => {
            broker
                .take_back(
                    Place { grant: id, version: 0 },
                    minted,
                    "it was revoked while it was minted",
                )
                .await?;
            Err(error.into())
        }
    }
}

/// Asks the upstream, and records what went wrong if it did.
pub(super) async fn mint_once(
    broker: &Broker,
    minter: &dyn Minter,
    recorded: RecordedPermit,
    place: Place,
) -> Result<Minted, Refusal> {
    let asked = broker.clock.now();
    let error = match minter.mint(recorded, asked).await {
        Ok(minted) => return Ok(minted),
        Err(error) => error,
    };
    broker.metrics.mint_failed();
    tracing::warn!(grant = %place.grant, %error, "the upstream gave no usable credential");
    let (upstream, unusable, error) = match error {
        MintError::Lost { reason, dies } => (
            UpstreamRevocation::Unreachable { until: dies },
            None,
            MintError::Lost { reason, dies },
        ),
        MintError::Unusable { reason, minted } => {
            let sealed = broker.sealer.seal(minted.sealable(), place)?;
            let dies = minted.dies();
            let error = MintError::Unusable { reason, minted };
            (
                UpstreamRevocation::Pending { until: dies },
                Some(Unusable { sealed, version: place.version, dies }),
                error,
            )
        }
        other @ (MintError::Refused(_)
        | MintError::NotInstalled(_)
        | MintError::BrokerRefused(_)
        | MintError::RateLimited { .. }
        | MintError::Unavailable(_)) => (UpstreamRevocation::NotNeeded, None, other),
    };
    let reason = Words::new(&error.to_string());
    let failure = Failure { grant: place.grant, reason, upstream, unusable };
    broker.store.record_failure(failure, broker.clock.now()).await?;
    broker.revocations.notify_one();
    Err(Refusal::Upstream(Box::new(error)))
}

/// Answers a retry of a request whose credential the broker signed: the same token again.
pub(super) fn repeat_signed(
    minter: &dyn Local,
    issued: Issued,
    confirmation: Option<Confirmation>,
    now: Timestamp,
) -> Result<Granted, Refusal> {
    if !may_repeat(&issued.grant().state, now)? {
        return Ok(Granted { grant: issued.into_grant(), credential: None });
    }
    let minted = minter
        .again(issued.grant(), confirmation, now)
        .map_err(|error| Refusal::Internal(error.to_string()))?;
    let credential = minted.release(&issued);
    Ok(Granted { grant: issued.into_grant(), credential })
}

/// Answers a retry of a request whose credential an upstream made: the sealed one again.
pub(super) async fn repeat_minted(broker: &Broker, issued: Issued) -> Result<Granted, Refusal> {
    if !may_repeat(&issued.grant().state, broker.clock.now())? {
        return Ok(Granted { grant: issued.into_grant(), credential: None });
    }
    let grant = issued.grant().id;
    let Some((sealed, version, dies)) = broker.store.sealed(grant).await? else {
        return Err(Refusal::InProgress);
    };
    let secret = broker.sealer.open(&sealed, Place { grant, version })?;
    let minted = Minted::new(secret, CredentialKind::GithubInstallationToken, dies);
    let credential = minted.release(&issued);
    Ok(Granted { grant: issued.into_grant(), credential })
}

/// The key that a credential is bound to: the session's own, if the agent shows it itself.
pub(super) fn confirmation(record: &SessionRecord, delivery: Delivery) -> Option<Confirmation> {
    match delivery {
        Delivery::Direct => Confirmation::of(&record.session.binding),
        Delivery::Gateway => None,
    }
}

/// Whether a retry gets the credential again; a pending grant has none yet.
fn may_repeat(state: &GrantState, now: Timestamp) -> Result<bool, Refusal> {
    match state {
        // Why the clock here: between its end and the next sweep a grant is recorded as what it was.
        GrantState::Active { until } if *until <= now => {
            Err(StoreError::Conflict(Phase::Expired).into())
        }
        GrantState::Pending { until, .. } if *until <= now => {
            Err(StoreError::Conflict(Phase::Lapsed).into())
        }
        GrantState::Active { .. } => Ok(true),
        GrantState::Pending { .. } => Ok(false),
        GrantState::Minting { .. } => Err(Refusal::InProgress),
        GrantState::Released { .. }
        | GrantState::Expired { .. }
        | GrantState::Revoked { .. }
        | GrantState::Failed { .. }
        | GrantState::Lapsed { .. }
        | GrantState::Rejected { .. } => Err(StoreError::Conflict(state.phase()).into()),
    }
}

/// One request id stands for one request.
fn same_request(grant: &Grant, ask: &Ask) -> Result<(), Refusal> {
    let same_ttl = ask.ttl.is_none_or(|ttl| grant.ttl <= ttl);
    if grant.scope == ask.scope && Some(grant.delivery) == ask.delivery && same_ttl {
        Ok(())
    } else {
        Err(Refusal::RequestIdReused)
    }
}

/// What a permit says of the credential's life, kept while minting uses the permit up.
pub(super) struct Life {
    decided_by: DecidedBy,
    ttl: Ttl,
    deadline: Timestamp,
}

impl Life {
    pub(super) fn of(permit: &Permit) -> Self {
        Self {
            decided_by: permit.decided_by().clone(),
            ttl: permit.ttl(),
            deadline: permit.deadline(),
        }
    }
}

impl Broker {
    /// What is recorded of a credential that the broker signed.
    pub(super) fn signed_record(&self, minted: &Minted, permit: &Permit) -> IssueRecord {
        IssueRecord {
            fingerprint: self.fingerprints.fingerprint(minted.sealable()),
            sealed: None,
            decided_by: permit.decided_by().clone(),
            ttl: permit.ttl(),
            until: permit.deadline(),
            dies: minted.dies(),
        }
    }

    /// What is recorded of a credential that an upstream made.
    pub(super) fn issue_record(
        &self,
        minted: &Minted,
        place: Place,
        life: Life,
    ) -> Result<IssueRecord, Refusal> {
        Ok(IssueRecord {
            fingerprint: self.fingerprints.fingerprint(minted.sealable()),
            sealed: Some(self.sealer.seal(minted.sealable(), place)?),
            decided_by: life.decided_by,
            ttl: life.ttl,
            until: life.deadline.min(minted.dies()),
            dies: minted.dies(),
        })
    }

    /// Queues a credential for revocation that nobody may get any more.
    pub(super) async fn take_back(
        &self,
        place: Place,
        minted: Minted,
        why: &str,
    ) -> Result<(), Refusal> {
        let sealed = self.sealer.seal(minted.sealable(), place)?;
        let failure = Failure {
            grant: place.grant,
            reason: Words::new(why),
            upstream: UpstreamRevocation::Pending { until: minted.dies() },
            unusable: Some(Unusable { sealed, version: place.version, dies: minted.dies() }),
        };
        self.store.record_failure(failure, self.clock.now()).await?;
        self.revocations.notify_one();
        Ok(())
    }
}
