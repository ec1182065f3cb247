//! Shared signals: takes event tokens of trusted transmitters (RFC 8935), and tells what this broker
//! is as a transmitter itself (OpenID Shared Signals Framework 1.0 §7.1).

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use jeton_domain::signal::MEDIA_TYPE;
use serde_json::json;
use tokio::time::timeout;

use super::{
    JWKS_MAX_AGE_SECONDS,
    oauth::KEYS,
    problem::{self, described},
};
use crate::{
    identity::{
        oidc::{SignalError, Transmitters},
        peer::Peer,
    },
    limits::{BODY, JWT_BYTES},
    operation::{Broker, denial_log::record_failure, hear::hear},
};

/// Path of the endpoint.
pub const EVENTS: &str = "/ssf/events";
/// Path of the metadata.
pub const CONFIGURATION: &str = "/.well-known/ssf-configuration";

/// What the pages need.
#[derive(Clone)]
pub struct Ssf {
    /// The broker.
    pub broker: Arc<Broker>,
    /// Whose signals are taken.
    pub transmitters: Arc<Transmitters>,
    /// What the broker calls itself.
    pub issuer: Arc<str>,
    /// Where it is reached, if that is known.
    pub base: Option<Arc<str>>,
}

/// Why a signal was not taken, as RFC 8935 §2.3 tells it.
struct Refused {
    status: StatusCode,
    err: &'static str,
    description: String,
}

/// The endpoint, for the port behind the door.
pub fn endpoint(ssf: Ssf) -> Router {
    Router::new().route(EVENTS, post(events)).with_state(ssf)
}

/// What everyone may read.
pub fn metadata(ssf: Ssf) -> Router {
    Router::new().route(CONFIGURATION, get(configuration)).with_state(ssf)
}

async fn events(
    State(ssf): State<Ssf>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Refused> {
    let token = read(&headers, body).await?;
    let broker = &ssf.broker;
    let now = broker.clock.now();
    let believed = ssf.transmitters.believe(&token, now).await.inspect_err(|error| {
        record_failure(broker, &peer.accountable(), error.code(), EVENTS);
    })?;
    hear(broker, believed).await.map_err(|refusal| Refused {
        status: StatusCode::SERVICE_UNAVAILABLE,
        err: "not_recorded",
        description: format!("{refusal}; send it again"),
    })?;
    Ok(StatusCode::ACCEPTED)
}

async fn read(headers: &HeaderMap, body: Body) -> Result<String, Refused> {
    let invalid = |description: String| Refused {
        status: StatusCode::BAD_REQUEST,
        err: "invalid_request",
        description,
    };
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case(MEDIA_TYPE)) {
        return Err(invalid(format!("send the event token as {MEDIA_TYPE}")));
    }
    let body = timeout(BODY, axum::body::to_bytes(body, JWT_BYTES))
        .await
        .map_err(|_| invalid("the body did not arrive in time".to_owned()))?
        .map_err(|_| invalid(format!("the body broke, or has over {JWT_BYTES} bytes")))?;
    String::from_utf8(body.into()).map_err(|_| invalid("the body is no text".to_owned()))
}

async fn configuration(State(ssf): State<Ssf>) -> Response {
    let age = format!("public, max-age={JWKS_MAX_AGE_SECONDS}");
    let document = json!({
        "spec_version": "1_0",
        "issuer": &*ssf.issuer,
        "jwks_uri": ssf.base.as_ref().map(|base| format!("{base}{KEYS}")),
        "delivery_methods_supported": ["urn:ietf:rfc:8935"],
        "default_subjects": "ALL",
    });
    ([(header::CACHE_CONTROL, age)], Json(document)).into_response()
}

impl From<SignalError> for Refused {
    fn from(error: SignalError) -> Self {
        let status = match error == SignalError::KeysUnavailable {
            true => StatusCode::SERVICE_UNAVAILABLE,
            false => StatusCode::BAD_REQUEST,
        };
        Self { status, err: error.code(), description: error.to_string() }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut said = described(self.err, self.status, &self.description);
        said.insert("err".to_owned(), json!(self.err));
        said.insert("description".to_owned(), json!(self.description));
        // Spec: RFC 8935 §2.3: what is wrong with a token is told as application/json.
        let kind = match self.status == StatusCode::BAD_REQUEST {
            true => "application/json",
            false => problem::MEDIA_TYPE,
        };
        problem::sent(self.status, kind, said)
    }
}
