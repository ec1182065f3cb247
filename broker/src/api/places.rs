//! Places for requests in work: granting waits or is shed, taking back goes on.
//!
//! Five pools, so that none can starve another: callers whose identity is still to be found out, those
//! who prove it in a body, health checks of whomever, grants and look-ups, and revocations, of which no
//! single caller may hold more than a few.

use std::sync::Arc;

use jeton_domain::principal::PrincipalId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    rpc_table::{Needs, RpcRow},
    shares::{Share, Shares},
};
use crate::{
    identity::peer::Peer,
    limits::{
        EXCHANGES_AT_ONCE, PROBES_AT_ONCE, REQUESTS_AT_ONCE, REQUESTS_DESPITE_LAG, REVOKES_AT_ONCE,
        REVOKES_OF_ONE, UNKNOWN_AT_ONCE,
    },
};

/// The pools.
pub(super) struct Places {
    unknown: Arc<Semaphore>,
    probes: Arc<Semaphore>,
    exchanges: Arc<Semaphore>,
    work: Arc<Semaphore>,
    revokes: Arc<Semaphore>,
    revoking: Shares,
}

/// A place, given back when dropped.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    _share: Option<Share>,
}

impl Places {
    pub fn new() -> Self {
        let pool = |size| Arc::new(Semaphore::new(size));
        Self {
            unknown: pool(UNKNOWN_AT_ONCE),
            probes: pool(PROBES_AT_ONCE),
            exchanges: pool(EXCHANGES_AT_ONCE),
            work: pool(REQUESTS_AT_ONCE),
            revokes: pool(REVOKES_AT_ONCE),
            revoking: Shares::new(REVOKES_OF_ONE),
        }
    }

    /// A place at the door. Whoever proved a certificate or a user id when connecting needs none:
    /// finding out who that is asks nobody else, while a token may wait for its issuer's keys.
    pub fn at_the_door(
        &self,
        peer: &Peer,
        has_token: bool,
    ) -> Option<Option<OwnedSemaphorePermit>> {
        if !has_token && peer.is_proved() {
            return Some(None);
        }
        Arc::clone(&self.unknown).try_acquire_owned().ok().map(Some)
    }

    /// Whether a call of this row is shed when requests are late: only if the pool that it would join is busy enough to
    /// be the cause. Revocations, health checks and calls that prove their sender in the body have pools of their own.
    pub fn sheds_when_late(&self, row: &RpcRow) -> bool {
        let ordinary = match row.needs {
            Needs::Nothing | Needs::InBody => false,
            Needs::Identity | Needs::Session | Needs::Verifier | Needs::LogView => !row.takes_back,
        };
        let in_progress = REQUESTS_AT_ONCE.saturating_sub(self.work.available_permits());
        ordinary && in_progress >= REQUESTS_DESPITE_LAG
    }

    /// A place for the work itself.
    pub fn for_work(&self, row: &RpcRow, caller: Option<&PrincipalId>) -> Option<Place> {
        let pool = match row.needs {
            Needs::Nothing => &self.probes,
            Needs::InBody => &self.exchanges,
            Needs::Identity | Needs::Session | Needs::Verifier | Needs::LogView => {
                if row.takes_back { &self.revokes } else { &self.work }
            }
        };
        let share = match caller.filter(|_| row.takes_back) {
            Some(caller) => Some(self.revoking.take(caller)?),
            None => None,
        };
        let permit = Arc::clone(pool).try_acquire_owned().ok()?;
        Some(Place { _permit: permit, _share: share })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::rpc_table::find;

    #[test]
    fn one_caller_can_not_hold_every_place_for_revocations() {
        let places = Places::new();
        let revoke = find("/jeton.v1.GrantService/RevokeGrant").unwrap();
        let ana = PrincipalId::parse("ana@acme.dev").unwrap();
        let bob = PrincipalId::parse("bob@acme.dev").unwrap();
        let held: Vec<_> =
            (0..REVOKES_AT_ONCE).map_while(|_| places.for_work(revoke, Some(&ana))).collect();
        assert_eq!(held.len(), REVOKES_OF_ONE);
        assert!(places.for_work(revoke, Some(&bob)).is_some(), "another caller still gets one");
        drop(held);
        assert!(places.for_work(revoke, Some(&ana)).is_some(), "and so does the first, later");
        assert_eq!(places.revoking.callers(), 0, "nothing is kept of who left");
    }

    #[test]
    fn strangers_with_slow_bodies_hold_no_place_of_callers_that_are_known() {
        let places = Places::new();
        let exchange = find(crate::http::oauth::TOKEN).unwrap();
        let request = find("/jeton.v1.GrantService/RequestGrant").unwrap();
        let held: Vec<_> =
            (0..=EXCHANGES_AT_ONCE).map_while(|_| places.for_work(exchange, None)).collect();
        assert_eq!(held.len(), EXCHANGES_AT_ONCE);
        let ana = PrincipalId::parse("ana@acme.dev").unwrap();
        assert!(places.for_work(request, Some(&ana)).is_some());
    }

    #[test]
    fn lag_sheds_ordinary_requests_of_a_busy_pool_alone() {
        let places = Places::new();
        let request = find("/jeton.v1.GrantService/RequestGrant").unwrap();
        let revoke = find("/jeton.v1.GrantService/RevokeGrant").unwrap();
        let ana = PrincipalId::parse("ana@acme.dev").unwrap();
        let mut held: Vec<_> =
            (1..REQUESTS_DESPITE_LAG).map_while(|_| places.for_work(request, Some(&ana))).collect();
        assert!(!places.sheds_when_late(request));
        held.extend(places.for_work(request, Some(&ana)));
        assert_eq!(held.len(), REQUESTS_DESPITE_LAG);
        assert!(places.sheds_when_late(request));
        assert!(!places.sheds_when_late(revoke));
    }

    #[test]
    fn granting_at_its_limit_leaves_the_places_for_revocations() {
        let places = Places::new();
        let request = find("/jeton.v1.GrantService/RequestGrant").unwrap();
        let revoke = find("/jeton.v1.GrantService/RevokeGrant").unwrap();
        let ana = PrincipalId::parse("ana@acme.dev").unwrap();
        let held: Vec<_> =
            (0..=REQUESTS_AT_ONCE).map_while(|_| places.for_work(request, Some(&ana))).collect();
        assert_eq!(held.len(), REQUESTS_AT_ONCE);
        assert!(places.for_work(request, Some(&ana)).is_none());
        assert!(places.for_work(revoke, Some(&ana)).is_some());
    }
}
