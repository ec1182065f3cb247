//! Refusals in the words of OAuth 2.0 (RFC 6749 §5.2, RFC 8693 §2.2.2, RFC 9449 §5), with the members of
//! ours beside them that problems have too.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use super::problem::members;
use crate::{identity::IdentityError, operation::Refusal, store::StoreError, upstream::MintError};

/// What a client is told.
#[derive(Debug)]
pub struct OAuthError {
    status: StatusCode,
    error: &'static str,
    words: String,
    members: Map<String, Value>,
}

impl OAuthError {
    /// The request is not what it must be.
    pub fn invalid_request(words: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", words)
    }

    /// An error with its code (IANA "OAuth Extensions Error").
    pub fn new(status: StatusCode, error: &'static str, words: impl Into<String>) -> Self {
        Self { status, error, words: words.into(), members: Map::new() }
    }

    /// The answer to somebody whom the door let not in.
    pub fn from_door(status: &tonic::Status) -> Self {
        let code = crate::api::status::http_code(status);
        let error = match code {
            StatusCode::UNAUTHORIZED => "invalid_client",
            StatusCode::FORBIDDEN => "unauthorized_client",
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => "invalid_request",
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                "temporarily_unavailable"
            }
            _ => "server_error",
        };
        // Why other words: here is no request id that would make a retry the same request.
        let words = match code {
            StatusCode::GATEWAY_TIMEOUT => "it was not done in time and is taken back; ask again",
            _ => status.message(),
        };
        Self { members: members(status), ..Self::new(code, error, words) }
    }
}

impl From<Refusal> for OAuthError {
    fn from(refusal: Refusal) -> Self {
        let words = refusal.to_string();
        let bad = |error| Self::new(StatusCode::BAD_REQUEST, error, words.clone());
        let told = match &refusal {
            Refusal::NoHandle | Refusal::BadHandle | Refusal::RequestIdReused => {
                bad("invalid_request")
            }
            Refusal::Invalid { field: "scope" | "authorization_details", .. }
            | Refusal::OverBudget(_)
            | Refusal::Waits(_)
            | Refusal::Denied(_) => bad("invalid_scope"),
            Refusal::State(_) => bad("invalid_grant"),
            Refusal::Invalid { field: "scope.upstream", .. } => bad("invalid_target"),
            Refusal::Invalid { field: "dpop", .. } => bad("invalid_dpop_proof"),
            Refusal::Invalid { .. } => bad("invalid_request"),
            Refusal::Forbidden(_) | Refusal::NotFound(_) => bad("unauthorized_client"),
            Refusal::Upstream(error) => match **error {
                MintError::RateLimited { .. }
                | MintError::Unavailable(_)
                | MintError::Lost { .. } => Self::later(words),
                MintError::Refused(_) | MintError::NotInstalled(_) | MintError::Unusable { .. } => {
                    bad("invalid_target")
                }
                // Why not the upstream's words: they are about the broker's key.
                MintError::BrokerRefused(_) => Self::broken(),
            },
            Refusal::InProgress
            | Refusal::Stopping
            | Refusal::Halted(_)
            | Refusal::TooMuchOpen(_)
            | Refusal::Store(StoreError::Busy | StoreError::Full) => Self::later(words),
            Refusal::Store(_) | Refusal::Internal(_) => Self::broken(),
        };
        // What is private goes to the operator's log here.
        Self { members: members(&refusal.into()), ..told }
    }
}

impl OAuthError {
    /// Why a subject token stands for nobody (RFC 8693 §2.2.2: always `invalid_request`).
    pub fn from_subject(error: &IdentityError) -> Self {
        let words = error.to_string();
        if error.is_passing() {
            return Self::later(words);
        }
        if matches!(error, IdentityError::Proof(_)) {
            return Self::new(StatusCode::BAD_REQUEST, "invalid_dpop_proof", words);
        }
        Self::invalid_request(words)
    }

    /// The same may go well in a moment.
    pub fn later(words: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", words)
    }

    fn broken() -> Self {
        let words = "the broker failed; the operator's log says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", words)
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let own =
            [("error", json!(self.error)), ("error_description", json!(described(&self.words)))];
        let own = own.map(|(name, value)| (name.to_owned(), value));
        let body: Map<String, Value> = own.into_iter().chain(self.members).collect();
        let mut answer = (self.status, Json(body)).into_response();
        let headers = answer.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer, DPoP algs=\"EdDSA Ed25519 ES256\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        answer
    }
}

/// The characters that a description may hold (RFC 6749 §5.2).
fn described(words: &str) -> String {
    let fit = |c: char| match c {
        '"' | '\\' => '\'',
        ' '..='~' => c,
        _ => '?',
    };
    words.chars().map(fit).collect()
}
