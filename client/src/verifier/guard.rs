//! A tower layer that lets only calls with a good token through, for axum, tonic and whatever else
//! speaks HTTP by tower. Handlers find an [`Access`](super::Access) among the request's extensions.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE},
};
use jeton_proto::DPOP_METADATA;
use tonic::Status;
use tower::{Layer, Service};

use super::{Call, PeerThumbprint, Refused, Verifier};

/// Guards every call of a server.
#[derive(Clone)]
pub struct Guard(Verifier);

impl Guard {
    /// Guards by a verifier.
    #[must_use]
    pub fn new(verifier: Verifier) -> Self {
        Self(verifier)
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { verifier: self.0.clone(), inner }
    }
}

/// A guarded service.
#[derive(Clone)]
pub struct Guarded<S> {
    verifier: Verifier,
    inner: S,
}

impl<S, In, Out> Service<Request<In>> for Guarded<S>
where
    S: Service<Request<In>, Response = Response<Out>> + Clone + Send + 'static,
    S::Future: Send,
    In: Send + 'static,
    Out: Default,
{
    type Response = Response<Out>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Out>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<In>) -> Self::Future {
        // Why: the clone may not be ready, the one that was polled is.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        let verifier = self.verifier.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let checked = match (
                one(&parts.headers, AUTHORIZATION.as_str()),
                one(&parts.headers, DPOP_METADATA),
            ) {
                (Ok(authorization), Ok(dpop)) => {
                    let call = Call {
                        method: parts.method.as_str(),
                        path: parts.uri.path(),
                        authorization,
                        dpop,
                        certificate: parts.extensions.get::<PeerThumbprint>().copied(),
                    };
                    verifier.check(call).await
                }
                (Err(refused), _) | (_, Err(refused)) => Err(refused),
            };
            match checked {
                Ok(access) => {
                    parts.extensions.insert(access);
                    inner.call(Request::from_parts(parts, body)).await
                }
                Err(refused) => Ok(answer(&parts.headers, &refused)),
            }
        })
    }
}

/// A header that may stand once. Why: of two, one part of a system reads the first and another the
/// second.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Refused> {
    let bad = || Refused::Request(format!("the header `{name}` must stand once, in visible ASCII"));
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(bad());
    }
    first.map(HeaderValue::to_str).transpose().map_err(|_| bad())
}

/// The refusal as the caller's protocol tells it.
fn answer<Out: Default>(headers: &HeaderMap, refused: &Refused) -> Response<Out> {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
        let words = refused.to_string();
        let status = match code(refused) {
            StatusCode::SERVICE_UNAVAILABLE => Status::unavailable(words),
            StatusCode::BAD_REQUEST => Status::invalid_argument(words),
            _ => Status::unauthenticated(words),
        };
        return status.into_http();
    }
    let mut answer = Response::new(Out::default());
    *answer.status_mut() = code(refused);
    let authorization = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
    let scheme = authorization.and_then(|value| value.get(..5));
    let dpop = scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"dpop "));
    if let Some(challenge) = challenge(refused, if dpop { DPOP } else { "Bearer" }) {
        answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    answer
}

fn code(refused: &Refused) -> StatusCode {
    match refused {
        Refused::Unsure(_) => StatusCode::SERVICE_UNAVAILABLE,
        Refused::Request(_) => StatusCode::BAD_REQUEST,
        Refused::NoToken
        | Refused::Token(_)
        | Refused::Expired
        | Refused::Revoked
        | Refused::Unproved(_)
        | Refused::Certificate(_)
        | Refused::BadProof(_) => StatusCode::UNAUTHORIZED,
    }
}

/// The scheme of tokens that are bound to a key.
const DPOP: &str = "DPoP";

/// What the caller should bring (RFC 6750 §3, RFC 9449 §7.1), in the scheme that it used where that is
/// the right one. `None` where it brought all it could.
fn challenge(refused: &Refused, used: &'static str) -> Option<HeaderValue> {
    let words: String = refused
        .to_string()
        .chars()
        // Spec: RFC 6750 §3: neither quotes nor backslashes, nor anything beyond ASCII.
        .map(|c| if matches!(c, ' '..='~') && !matches!(c, '"' | '\\') { c } else { '\'' })
        .collect();
    let (scheme, error) = match refused {
        Refused::NoToken => {
            return HeaderValue::try_from("Bearer, DPoP algs=\"EdDSA Ed25519 ES256\"").ok();
        }
        Refused::Unsure(_) => return None,
        Refused::Unproved(_) => (DPOP, "invalid_token"),
        Refused::BadProof(_) => (DPOP, "invalid_dpop_proof"),
        Refused::Certificate(_) => ("Bearer", "invalid_token"),
        Refused::Request(_) => (used, "invalid_request"),
        Refused::Token(_) | Refused::Expired | Refused::Revoked => (used, "invalid_token"),
    };
    let algorithms = if scheme == DPOP { ", algs=\"EdDSA Ed25519 ES256\"" } else { "" };
    let text = format!("{scheme} error=\"{error}\", error_description=\"{words}\"{algorithms}");
    HeaderValue::try_from(text).ok()
}
