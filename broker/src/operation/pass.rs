//! The way through the gateway: finds a grant of the session that holds what is wanted, or asks for one,
//! and takes its credential for the calls to the upstream.

use std::sync::Arc;

use jeton_domain::{
    decision::Delivery,
    grant::{Grant, GrantState, Phase},
    id::GrantId,
    scope::Scope,
    session::Words,
    ttl::{Timestamp, Ttl},
};
use moka::future::Cache;
use tokio::sync::Mutex;

use super::{
    Broker, Caller, Refusal, Source, budgets,
    claim_grant::claim,
    request_grant::{Ask, request_grant},
    seal::Place,
};
use crate::{
    limits::{PASS_LEFT_SECONDS, PASS_TURN_LIFE, PASS_TURNS},
    store::{SessionRecord, StoreError},
    upstream::{Credential, CredentialKind, Local, Minted},
};

/// A grant, and its credential on the way to the upstream. The agent never sees that.
pub struct Pass {
    /// The grant.
    pub grant: Grant,
    credential: Credential,
}

impl Pass {
    /// Its credential, for the guard of the grant alone: whatever carries it upstream goes through that.
    pub(crate) fn credential(&self) -> &Credential {
        &self.credential
    }
}

/// Whose turn it is to ask for a grant: calls that come together share one.
pub struct Turns(Cache<String, Arc<Mutex<()>>>);

impl Default for Turns {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(PASS_TURNS).time_to_idle(PASS_TURN_LIFE).build())
    }
}

/// Lets a session through that holds a grant for one of these scopes, or gets one; the first is the likeliest.
///
/// # Errors
/// When none of them is granted, with the words of the first refusal; or when a budget of calls is spent.
pub async fn pass(
    broker: &Arc<Broker>,
    caller: &Caller,
    scopes: &[Scope],
    why: &str,
) -> Result<Pass, Refusal> {
    let pass = way(broker, caller, scopes, why).await?;
    // Why what is wanted: the grant may hold more, and this call is not of that.
    let wanted = scopes.first().unwrap_or(&pass.grant.scope);
    budgets::call(broker, caller.session()?, wanted).await?;
    Ok(pass)
}

async fn way(
    broker: &Arc<Broker>,
    caller: &Caller,
    scopes: &[Scope],
    why: &str,
) -> Result<Pass, Refusal> {
    let record = caller.session()?;
    if let Some(pass) = found(broker, record, scopes).await? {
        return Ok(pass);
    }
    let Some(first) = scopes.first() else { return Err(Refusal::NotFound("scope")) };
    let key = format!("{} {first}", record.session.id);
    let turn = broker.turns.0.get_with(key, async { Arc::default() }).await;
    let _turn = turn.lock().await;
    // Why again: whoever had the turn before may have got one.
    if let Some(pass) = found(broker, record, scopes).await? {
        return Ok(pass);
    }
    let mut refused = None;
    for scope in scopes {
        let granted = match waiting(broker, caller, scope).await? {
            Some(grant) => grant,
            None => {
                let ask = Ask {
                    scope: scope.clone(),
                    ttl: None,
                    delivery: Some(Delivery::Gateway),
                    reason: Words::new(why),
                    request_id: None,
                };
                match request_grant(broker, caller, ask).await {
                    Ok(granted) => granted.grant,
                    Err(denied @ Refusal::Denied(_)) => {
                        refused = refused.or(Some(denied));
                        continue;
                    }
                    Err(other) => return Err(other),
                }
            }
        };
        if granted.state.phase() == Phase::Active {
            return open(broker, granted.id).await;
        }
        refused = refused.or(Some(Refusal::Waits(Box::new(granted))));
    }
    Err(refused.unwrap_or(Refusal::NotFound("scope")))
}

/// A live grant that holds one of these scopes, and will for a while.
async fn found(
    broker: &Arc<Broker>,
    record: &SessionRecord,
    scopes: &[Scope],
) -> Result<Option<Pass>, Refusal> {
    let now = broker.clock.now();
    for scope in scopes {
        for grant in held(broker, record, scope).await? {
            if lasts(&grant, now) && grant.scope.holds(scope) {
                match open(broker, grant.id).await {
                    // It ended in between.
                    Err(Refusal::State(_)) => {}
                    pass => return pass.map(Some),
                }
            }
        }
    }
    Ok(None)
}

/// What has become of a grant for this scope that waited for people.
async fn waiting(
    broker: &Arc<Broker>,
    caller: &Caller,
    scope: &Scope,
) -> Result<Option<Grant>, Refusal> {
    for grant in held(broker, caller.session()?, scope).await? {
        if grant.state.phase() == Phase::Pending && grant.scope.holds(scope) {
            let same = grant.scope == *scope;
            match claim(broker, caller, grant.id).await {
                // Why not of a wider one that still waits: the narrower may be had at once.
                Ok(claimed) if claimed.grant.state.phase() == Phase::Active || same => {
                    let live = claimed.grant.state.phase().is_live();
                    if live {
                        return Ok(Some(claimed.grant));
                    }
                }
                // Somebody said no, or it lapsed: it is asked anew.
                Ok(_) | Err(Refusal::State(_)) => {}
                Err(other) => return Err(other),
            }
        }
    }
    Ok(None)
}

/// The session's grants for the gateway on a scope's resource.
async fn held(
    broker: &Broker,
    record: &SessionRecord,
    scope: &Scope,
) -> Result<Vec<Grant>, Refusal> {
    let mut grants = Vec::new();
    for id in broker.store.for_gateway(record.session.id, &scope.upstream, &scope.resource) {
        match broker.store.grant(id).await {
            Ok(grant) => grants.push(grant),
            Err(StoreError::NoGrant) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(grants)
}

/// Whether a grant lives long enough to begin something.
fn lasts(grant: &Grant, now: Timestamp) -> bool {
    let least = Ttl::from_seconds(PASS_LEFT_SECONDS.min(grant.ttl.seconds() / 4).max(1));
    match grant.state {
        GrantState::Active { until } => least.is_some_and(|least| now.plus(least) < until),
        GrantState::Pending { .. }
        | GrantState::Minting { .. }
        | GrantState::Released { .. }
        | GrantState::Expired { .. }
        | GrantState::Revoked { .. }
        | GrantState::Failed { .. }
        | GrantState::Lapsed { .. }
        | GrantState::Rejected { .. } => false,
    }
}

fn again(local: &dyn Local, grant: &Grant, now: Timestamp) -> Result<Minted, Refusal> {
    local.again(grant, None, now).map_err(|error| Refusal::Internal(error.to_string()))
}

/// Takes the credential of an active grant for the upstream.
async fn open(broker: &Broker, id: GrantId) -> Result<Pass, Refusal> {
    let issued = broker.store.issued(id).await?;
    let minted = match broker.source(&issued.grant().scope.upstream)? {
        Source::Signed(minter) => again(&**minter, issued.grant(), broker.clock.now())?,
        Source::Kept(key) => again(&**key, issued.grant(), broker.clock.now())?,
        Source::Minted(_) => {
            let Some((sealed, version, dies)) = broker.store.sealed(id).await? else {
                return Err(Refusal::InProgress);
            };
            let secret = broker.sealer.open(&sealed, Place { grant: id, version })?;
            Minted::new(secret, CredentialKind::GithubInstallationToken, dies)
        }
    };
    let credential = minted.inject(&issued).ok_or(Refusal::NotFound("grant"))?;
    Ok(Pass { grant: issued.into_grant(), credential })
}
