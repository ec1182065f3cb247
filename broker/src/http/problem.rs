//! Refusals over plain HTTP, as problem details (RFC 9457).
//!
//! Each is made of the status that a gRPC caller would get: one table maps refusals to words, and here
//! they only get another form. OAuth's own form carries the same members (see `oauth_error`).

use axum::{
    extract::{FromRequestParts, Path},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use jeton_proto::ERROR_DOMAIN;
use serde_json::{Map, Value, json};
use tonic::Status;
use tonic_types::StatusExt;

use crate::{api::status, operation::Refusal};

/// What a problem is sent as (RFC 9457 §6.1).
pub const MEDIA_TYPE: &str = "application/problem+json";

/// A refusal, to be sent.
#[derive(Debug)]
pub struct Problem(Status);

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self(refusal.into())
    }
}

impl From<Status> for Problem {
    fn from(status: Status) -> Self {
        Self(status)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let code = status::http_code(&self.0);
        let wait = self.0.get_error_details().retry_info().and_then(|info| info.retry_delay);
        let mut answer = sent(code, MEDIA_TYPE, body(&self.0, code));
        if code == StatusCode::SERVICE_UNAVAILABLE {
            // Spec: RFC 9110 §10.2.3: whole seconds.
            let seconds = wait.map_or(1, |wait| wait.as_secs().max(1));
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        answer
    }
}

/// A body of JSON that nobody keeps.
pub fn sent(code: StatusCode, kind: &'static str, body: Map<String, Value>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_LANGUAGE, "en"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (code, headers, Value::Object(body).to_string()).into_response()
}

/// The members of a problem (RFC 9457 §3.1), and those of ours beside them.
fn body(status: &Status, code: StatusCode) -> Map<String, Value> {
    let members = members(status);
    let reason = members.get("reason").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut body = described(&reason, code, status.message());
    body.extend(members);
    body
}

/// The members that every problem has.
pub fn described(reason: &str, code: StatusCode, detail: &str) -> Map<String, Value> {
    let slug = reason.to_ascii_lowercase().replace('_', "-");
    let mut title = slug.replace('-', " ");
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    [
        ("type", json!(format!("https://{ERROR_DOMAIN}/problems/{slug}"))),
        ("title", json!(title)),
        ("status", json!(code.as_u16())),
        ("detail", json!(detail)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into_iter()
    .collect()
}

/// What a refusal says beside its words: the reason that programs compare, and of a denial its layer, its
/// policies, what may be asked for and how.
#[must_use]
pub fn members(status: &Status) -> Map<String, Value> {
    let details = status.get_error_details();
    let mut members = Map::new();
    let Some(info) = details.error_info() else { return members };
    members.insert("reason".to_owned(), json!(info.reason));
    for name in ["layer", "policy_hash", "ask", "field"] {
        if let Some(text) = info.metadata.get(name) {
            members.insert(name.to_owned(), json!(text));
        }
    }
    for (name, key, by) in [("policies", "policy_ids", ','), ("requestable", "requestable", '\n')] {
        if let Some(text) = info.metadata.get(key) {
            let all: Vec<&str> = text.split(by).filter(|part| !part.is_empty()).collect();
            members.insert(name.to_owned(), json!(all));
        }
    }
    members
}

/// What a path names in its last part.
pub struct Named(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(name) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| status::invalid("path", "it is no text"))?;
        Ok(Self(name))
    }
}

/// A path that leads nowhere.
pub async fn nothing_here() -> Problem {
    Problem(status::nothing_here())
}

/// A path that is asked in a way that it does not know.
pub async fn not_so() -> Response {
    let words = "this path is not asked for with that method";
    let code = StatusCode::METHOD_NOT_ALLOWED;
    let mut body = described("METHOD_NOT_ALLOWED", code, words);
    body.insert("reason".to_owned(), json!("METHOD_NOT_ALLOWED"));
    sent(code, MEDIA_TYPE, body)
}
