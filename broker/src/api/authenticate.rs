//! The door of every RPC: found in the table, within the limits, identity proved, session opened.
//!
//! A layer and not an interceptor, because checking a token may fetch keys. It runs for each call,
//! also on open connections, so that an ended certificate or session is refused at once.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::response::IntoResponse;
use http::{HeaderMap, Request, Response, header::CONTENT_TYPE, request::Parts};
use jeton_domain::{principal::Role, secret::Secret};
use jeton_proto::{DPOP_METADATA, SESSION_METADATA};
use tokio::time::timeout;
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};

use super::{
    concurrency_limits::{BodyError, ConcurrencyLimits},
    rpc_table::{self, Needs, RpcRow, Speaks},
    status,
};
use crate::{
    capacity::Held,
    http::{oauth_error::OAuthError, problem::Problem},
    identity::{Authenticator, Presented, peer::Peer},
    limits::{BODY, LAG, REQUEST_BYTES, REQUEST_DEADLINE},
    operation::{
        Broker, Caller, Refusal,
        denial_log::record_failure,
        identify::identify,
        session_of::session_of,
        view::{View, nothing},
    },
    reserved_runtime::ReservedRuntime,
    scheduler_lag::SchedulerLag,
};

/// What the door needs.
#[derive(Clone)]
pub struct Door {
    broker: Arc<Broker>,
    authenticator: Arc<Authenticator>,
    limits: Arc<ConcurrencyLimits>,
    lag: Arc<SchedulerLag>,
    reserved: Arc<ReservedRuntime>,
}

impl Door {
    /// Makes the door.
    #[must_use]
    pub fn new(
        broker: Arc<Broker>,
        authenticator: Arc<Authenticator>,
        lag: Arc<SchedulerLag>,
        reserved: Arc<ReservedRuntime>,
    ) -> Self {
        Self { broker, authenticator, limits: Arc::new(ConcurrencyLimits::new()), lag, reserved }
    }

    /// Lets a call in, with its caller, or says why not.
    async fn admit(
        &self,
        row: &RpcRow,
        request: &Parts,
        peer: &Peer,
    ) -> Result<Option<Caller>, Status> {
        if matches!(row.needs, Needs::Nothing | Needs::InBody) {
            return Ok(None);
        }
        let bearer = bearer(&request.headers)?;
        let dpop = single(&request.headers, DPOP_METADATA)?;
        let handle = single(&request.headers, SESSION_METADATA)?;
        // Why not for all: finding out whose certificate or user it is waits for nobody else, while a
        // token may wait for the keys of its issuer.
        let _slot = match bearer.is_some() || !peer.is_proved() {
            true => Some(self.limits.unknown(&peer.slot_holder()).ok_or_else(|| self.shed())?),
            false => None,
        };
        let (method, path) = (request.method.as_str(), request.uri.path());
        let presented = Presented { peer, bearer, dpop, handle, method, path };
        let now = self.broker.clock.now();
        let principal = self.authenticator.authenticate(presented, now).await.map_err(|error| {
            record_failure(&self.broker, &peer.accountable(), error.reason(), row.path);
            Status::from(error)
        })?;
        let principal = identify(&self.broker, principal);
        let session = match handle {
            Some(handle) => {
                let handle = Secret::new(handle.to_owned());
                Some(session_of(&self.broker, &handle, &principal).await?)
            }
            None => None,
        };
        let caller = Caller::new(&self.broker, principal, session).await?;
        match row.needs {
            Needs::Session if caller.session.is_none() => Err(Refusal::NoHandle.into()),
            Needs::Verifier if !verifies(&caller) => {
                Err(Refusal::Forbidden("this call needs the role verifier").into())
            }
            Needs::LogView if !View::is_there(&self.broker, &caller) => Err(nothing().into()),
            Needs::Nothing
            | Needs::InBody
            | Needs::Identity
            | Needs::Session
            | Needs::Verifier
            | Needs::LogView => Ok(Some(caller)),
        }
    }

    /// Why a body that did not arrive is refused.
    fn refused_body(&self, error: BodyError, speaks: Speaks) -> Status {
        match error {
            BodyError::Shed => self.shed(),
            BodyError::Late => status::late_body(BODY, speaks == Speaks::Grpc),
            BodyError::TooLong => status::long_body(REQUEST_BYTES),
            BodyError::Broken => status::invalid("body", "it broke off; send it again"),
        }
    }

    /// Whether requests already wait longer than they may for their turn.
    fn is_late(&self) -> bool {
        self.lag.now().max(self.broker.store.oldest_wait()) > LAG
    }

    fn shed(&self) -> Status {
        self.broker.metrics.shed();
        status::shed()
    }
}

/// The answer to a path that has no row. Why by what is sent: to a reader of pages, gRPC's 200 looks like one.
fn unknown(headers: &HeaderMap) -> Response<Body> {
    let kind = headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    match kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
        true => told(Speaks::Grpc, status::unknown_rpc()),
        false => told(Speaks::Problem, status::nothing_here()),
    }
}

/// A refusal as the caller's protocol tells it.
fn told(speaks: Speaks, refused: Status) -> Response<Body> {
    match speaks {
        Speaks::Grpc => refused.into_http(),
        Speaks::Problem => Problem::from(refused).into_response().map(Body::new),
        Speaks::OAuth => OAuthError::from_door(&refused).into_response().map(Body::new),
    }
}

fn verifies(caller: &Caller) -> bool {
    caller.principal.has(Role::Verifier) || caller.principal.has(Role::Operator)
}

/// How long a call may take: as long as its caller waits, and never longer than any may.
fn allowed_time(headers: &HeaderMap) -> Duration {
    let asked = headers.get("grpc-timeout").and_then(|value| value.to_str().ok());
    asked.and_then(grpc_timeout).unwrap_or(REQUEST_DEADLINE).min(REQUEST_DEADLINE)
}

/// Reads `grpc-timeout` (gRPC over HTTP/2, Requests): at most eight digits and a unit.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let plain = (1..=8).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = plain.then(|| number.parse().ok()).flatten()?;
    Some(match unit {
        "H" => Duration::from_secs(number.saturating_mul(3600)),
        "M" => Duration::from_secs(number.saturating_mul(60)),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The token of `authorization: Bearer …`, if there is one.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Status> {
    match single(headers, "authorization")? {
        None => Ok(None),
        Some(value) => match value.split_once(' ') {
            // Spec: RFC 9449 §7.1: a token that is bound to a key comes as `DPoP`.
            Some((scheme, token))
                if ["bearer", "dpop"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) =>
            {
                Ok(Some(token))
            }
            Some(_) | None => Err(status::invalid(
                "authorization",
                "write it as `Bearer TOKEN`, or as `DPoP TOKEN` beside a proof",
            )),
        },
    }
}

/// A header that may stand once. Why: of two, one part of a system reads the first and another the
/// second.
fn single<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Status> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(status::invalid(name, "it stands more than once; send it once"));
    }
    let text = |value: &'a http::HeaderValue| {
        value.to_str().map_err(|_| status::invalid(name, "it holds other than visible ASCII"))
    };
    first.map(text).transpose()
}

/// Puts the door before a service.
impl<S> Layer<S> for Door {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { door: self.clone(), inner }
    }
}

/// A service behind the door.
#[derive(Clone)]
pub struct Guarded<S> {
    door: Door,
    inner: S,
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // Why: the clone may not be ready, the one that was polled is.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        let door = self.door.clone();
        Box::pin(async move {
            let began = Instant::now();
            let Some(row) = rpc_table::find(request.uri().path()) else {
                return Ok(unknown(request.headers()));
            };
            // Why before anything else is done for the call: what is shed must cost little, or shedding is the overload.
            if door.is_late() && door.limits.sheds_when_late(row) {
                let shed = told(row.speaks, door.shed());
                door.broker.metrics.answered(row.path, Code::Unavailable, began.elapsed());
                return Ok(shed);
            }
            let (mut parts, body) = request.into_parts();
            let Some(peer) = parts.extensions.get::<Peer>().cloned() else {
                let missing = Refusal::Internal("a connection without a peer".into());
                return Ok(told(row.speaks, missing.into()));
            };
            let active = peer.begin();
            let allowed = allowed_time(&parts.headers);
            let inside = door.clone();
            let work = async move {
                let refused = |status| Ok(told(row.speaks, status));
                let caller = match inside.admit(row, &parts, &peer).await {
                    Ok(caller) => caller,
                    Err(status) => return refused(status),
                };
                let subject = caller
                    .as_ref()
                    .map_or_else(|| peer.slot_holder(), |caller| caller.subject.clone());
                let lane = inside.limits.lane(row);
                let body = match row.takes_stream() {
                    true => Ok(body),
                    false => lane.body(&subject, body).await,
                };
                let body = match body {
                    Ok(body) => body,
                    Err(error) => return refused(inside.refused_body(error, row.speaks)),
                };
                let Some(_slot) = lane.work(&subject) else { return refused(inside.shed()) };
                if let Some(caller) = caller {
                    parts.extensions.insert(Arc::new(caller));
                }
                inner.call(Request::from_parts(parts, body)).await
            };
            // Why here and not by tonic: it ends the call without a word to the caller or the metrics.
            let answer = if row.takes_back {
                let done = door.reserved.run(timeout(allowed, work)).await;
                done.unwrap_or_else(|lost| {
                    Ok(Ok(told(row.speaks, Refusal::Internal(lost.to_string()).into())))
                })
            } else {
                timeout(allowed, work).await
            };
            let answer = match answer {
                Ok(answer) => answer?,
                Err(_) => told(row.speaks, status::too_late(allowed)),
            };
            let code = match row.speaks {
                Speaks::Grpc => {
                    Status::from_header_map(answer.headers()).map_or(Code::Ok, |s| s.code())
                }
                Speaks::Problem | Speaks::OAuth => status::code_of(answer.status()),
            };
            door.broker.metrics.answered(row.path, code, began.elapsed());
            Ok(answer.map(|body| Body::new(Held::new(body, active))))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_may_wait_shorter_than_the_limit_and_not_longer() {
        let allowed = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            allowed_time(&headers)
        };
        assert_eq!(allowed_time(&HeaderMap::new()), REQUEST_DEADLINE);
        for (text, millis) in [("500m", 500), ("2S", 2000), ("900000u", 900), ("7000000n", 7)] {
            assert_eq!(allowed(text), Duration::from_millis(millis), "{text}");
        }
        for text in ["9H", "99999999H", "1M", "", "S", "soon", "-1S", "+1S", "123456789m", "1s"] {
            assert_eq!(allowed(text), REQUEST_DEADLINE, "{text}");
        }
    }
}
