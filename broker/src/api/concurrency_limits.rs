//! How many requests are in progress at the same time: granting waits or is shed, revoking continues.
//!
//! Five lanes, so that none can starve another: health checks and public pages, token exchange, incoming
//! signals, grants and look-ups, and revocations. In each lane a request first waits for its body, and
//! takes a slot for the work itself when that has arrived. Both are shared fairly by accountable subject.

use axum::body::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as HttpBody;
use tokio::time::timeout;
use tonic::body::Body;

use super::rpc_table::{Needs, RpcRow};
use crate::{
    capacity::{Activity, Capacity, Shares, Slot, SlotHolder},
    http::ssf::EVENTS,
    limits::{
        BODY, EXCHANGES_AT_ONCE, GRPC_PREFIX_BYTES, PROBES_AT_ONCE, REQUEST_BYTES,
        REQUESTS_AT_ONCE, REQUESTS_DESPITE_LAG, REVOKES_AT_ONCE, SIGNALS_AT_ONCE, UNKNOWN_AT_ONCE,
    },
};

/// The lanes, and the checks of tokens before them.
pub(super) struct ConcurrencyLimits {
    unknown: Capacity,
    probes: Lane,
    exchanges: Lane,
    signals: Lane,
    work: Lane,
    revocations: Lane,
}

/// Requests of one kind.
pub(super) struct Lane {
    arriving: Capacity,
    working: Capacity,
}

/// Why a body did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyError {
    /// There are too many that have not arrived.
    Shed,
    /// It took too long.
    Late,
    /// It is too long.
    TooLong,
    /// The connection or the stream broke.
    Broken,
}

impl ConcurrencyLimits {
    pub fn new() -> Self {
        // Why twice as many: what waits for its body costs memory alone.
        let lane = |size: usize| Lane {
            arriving: Capacity::new(Shares::halved(size.saturating_mul(2))),
            working: Capacity::new(Shares::halved(size)),
        };
        Self {
            unknown: Capacity::new(Shares::halved(UNKNOWN_AT_ONCE)),
            probes: lane(PROBES_AT_ONCE),
            exchanges: lane(EXCHANGES_AT_ONCE),
            signals: lane(SIGNALS_AT_ONCE),
            work: lane(REQUESTS_AT_ONCE),
            revocations: lane(REVOKES_AT_ONCE),
        }
    }

    /// A slot for finding out whose token it is: that may wait for the keys of its issuer.
    pub fn unknown(&self, subject: &SlotHolder) -> Option<Slot> {
        self.unknown.take(subject)
    }

    /// Whether a call of this row is shed when requests are late: only if its lane is busy enough to be the cause.
    /// Revocations, health checks and calls that prove their sender in the body have lanes of their own.
    pub fn sheds_when_late(&self, row: &RpcRow) -> bool {
        let ordinary = std::ptr::eq(self.lane(row), &self.work);
        ordinary && self.work.working.in_use() >= REQUESTS_DESPITE_LAG
    }

    /// The lane of a call.
    pub fn lane(&self, row: &RpcRow) -> &Lane {
        match row.needs {
            Needs::Nothing => &self.probes,
            // Why of their own: they revoke.
            Needs::InBody if row.path == EVENTS => &self.signals,
            Needs::InBody => &self.exchanges,
            Needs::Identity | Needs::Session | Needs::Verifier | Needs::LogView => {
                if row.takes_back { &self.revocations } else { &self.work }
            }
        }
    }
}

impl Lane {
    /// Waits for the whole body, so that a slow one holds no slot of the work.
    pub async fn body(&self, subject: &SlotHolder, body: Body) -> Result<Body, BodyError> {
        if HttpBody::is_end_stream(&body) {
            return Ok(body);
        }
        let limit = REQUEST_BYTES.saturating_add(GRPC_PREFIX_BYTES);
        let slot = self.arriving.take_evictable(subject, Activity::default());
        let slot = slot.ok_or(BodyError::Shed)?;
        let body = Limited::new(body, limit).collect();
        let arrived = tokio::select! {
            arrived = timeout(BODY, body) => arrived.map_err(|_| BodyError::Late)?,
            () = slot.evicted() => return Err(BodyError::Shed),
        };
        let whole: Bytes = match arrived {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return Err(BodyError::TooLong),
            Err(_) => return Err(BodyError::Broken),
        };
        Ok(Body::new(http_body_util::Full::new(whole)))
    }

    /// A slot for the work itself.
    pub fn work(&self, subject: &SlotHolder) -> Option<Slot> {
        self.working.take(subject)
    }
}

#[cfg(test)]
mod tests {
    use jeton_domain::principal::PrincipalId;

    use super::*;
    use crate::api::rpc_table::find;

    fn subject(name: &str) -> SlotHolder {
        SlotHolder::principal(&PrincipalId::parse(name).unwrap())
    }

    fn fill(lane: &Lane, subject: &SlotHolder) -> Vec<Slot> {
        std::iter::from_fn(|| lane.work(subject)).collect()
    }

    #[test]
    fn one_caller_can_not_hold_every_slot_of_any_lane() {
        let limits = ConcurrencyLimits::new();
        for path in [
            "/grpc.health.v1.Health/Check",
            crate::http::oauth::TOKEN,
            EVENTS,
            "/jeton.v1.GrantService/RequestGrant",
            "/jeton.v1.GrantService/RevokeGrant",
        ] {
            let lane = limits.lane(find(path).unwrap());
            let held: Vec<_> =
                (0..8).map(|agent| fill(lane, &subject(&format!("agent-{agent}")))).collect();
            assert!(lane.work(&subject("ana")).is_some(), "{path}");
            drop(held);
            assert_eq!(lane.working.held(), (0, 0), "{path}: nothing is kept of those that left");
        }
    }

    #[test]
    fn lag_sheds_ordinary_requests_of_a_busy_lane_alone() {
        let limits = ConcurrencyLimits::new();
        let request = find("/jeton.v1.GrantService/RequestGrant").unwrap();
        let revoke = find("/jeton.v1.GrantService/RevokeGrant").unwrap();
        let take = || limits.lane(request).work(&subject("ana")).unwrap();
        let mut held: Vec<_> = (1..REQUESTS_DESPITE_LAG).map(|_| take()).collect();
        assert!(!limits.sheds_when_late(request));
        held.push(take());
        assert!(limits.sheds_when_late(request));
        assert!(!limits.sheds_when_late(revoke));
    }

    #[test]
    fn revocations_and_signals_have_slots_of_their_own() {
        let limits = ConcurrencyLimits::new();
        let lane = |path| limits.lane(find(path).unwrap());
        let ana = subject("ana");
        let _work = fill(lane("/jeton.v1.GrantService/RequestGrant"), &ana);
        let _exchanges = fill(lane(crate::http::oauth::TOKEN), &ana);
        assert!(lane("/jeton.v1.GrantService/RequestGrant").work(&ana).is_none());
        assert!(lane("/jeton.v1.GrantService/RevokeGrant").work(&ana).is_some());
        assert!(lane(EVENTS).work(&ana).is_some());
    }

    /// A body of which nothing ever comes.
    fn endless() -> Body {
        type Piece = Result<hyper::body::Frame<Bytes>, std::convert::Infallible>;
        Body::new(http_body_util::StreamBody::new(tokio_stream::pending::<Piece>()))
    }

    #[tokio::test]
    async fn bodies_that_do_not_arrive_hold_no_slot_and_the_oldest_give_way() {
        let limits = ConcurrencyLimits::new();
        let lane = limits.lane(find(EVENTS).unwrap());
        let (stranger, other) = (subject("stranger"), subject("other"));
        let mut waiting: Vec<_> =
            (0..3 * SIGNALS_AT_ONCE).map(|_| Box::pin(lane.body(&stranger, endless()))).collect();
        let mut shed = 0;
        // Twice: the first look begins them, and the second one finds who had to give way.
        for _ in 0..2 {
            std::future::poll_fn(|cx| {
                waiting.retain_mut(|one| match one.as_mut().poll(cx) {
                    std::task::Poll::Ready(outcome) => {
                        assert_eq!(outcome.err(), Some(BodyError::Shed));
                        shed += 1;
                        false
                    }
                    std::task::Poll::Pending => true,
                });
                std::task::Poll::Ready(())
            })
            .await;
        }
        assert_eq!(waiting.len(), SIGNALS_AT_ONCE / 2, "its share");
        assert_eq!(shed, 3 * SIGNALS_AT_ONCE - waiting.len());
        assert_eq!(lane.working.held().0, 0);
        let whole = Body::new(http_body_util::Full::new(Bytes::from_static(b"x")));
        assert!(lane.body(&other, whole).await.is_ok());
        drop(waiting);
        assert_eq!(lane.arriving.held(), (0, 0));
    }

    #[tokio::test]
    async fn a_body_beyond_the_bound_is_refused_whole() {
        let limits = ConcurrencyLimits::new();
        let lane = limits.lane(find("/jeton.v1.GrantService/RequestGrant").unwrap());
        let of = |bytes: usize| Body::new(http_body_util::Full::new(Bytes::from(vec![0; bytes])));
        let most = REQUEST_BYTES + GRPC_PREFIX_BYTES;
        assert!(lane.body(&subject("ana"), of(most)).await.is_ok());
        let refused = lane.body(&subject("ana"), of(most + 1)).await.err();
        assert_eq!(refused, Some(BodyError::TooLong));
    }
}
