//! The front's own answers: GitHub's refusals, and those that no honest upstream gives.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{Response, StatusCode};
use serde_json::{Value, json};
use tokio_stream::StreamExt as _;

use super::script::Script;

/// How much a `HugeBody` holds.
pub(super) const HUGE: u64 = 1_000_000_000;

/// JSON with this status.
pub(super) fn json_answer(status: u16, body: &Value) -> Response<Body> {
    text(status, "application/json; charset=utf-8", body.to_string())
}

/// An error as GitHub words them.
pub(super) fn error(status: u16, message: &str) -> Response<Body> {
    let documentation = "https://docs.github.com/rest";
    json_answer(status, &json!({ "message": message, "documentation_url": documentation }))
}

/// What a dead, unknown or foreign token gets on every path.
pub(super) fn bad_credentials() -> Response<Body> {
    error(401, "Bad credentials")
}

/// A status without a body.
pub(super) fn empty(status: u16) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

/// The answers that need no upstream: nothing is accepted. None for all other scripts.
pub(super) fn of_script(
    script: &Script,
    elsewhere: &str,
    sent: &Arc<AtomicU64>,
) -> Option<Response<Body>> {
    match script {
        Script::HugeBody => Some(huge(Arc::clone(sent))),
        Script::RateLimited403 { retry_after } => {
            let mut answer = error(403, "You have exceeded a secondary rate limit");
            let headers = answer.headers_mut();
            if let Some(seconds) = retry_after {
                headers.insert(RETRY_AFTER, seconds.to_string().parse().unwrap());
            }
            headers.insert("x-ratelimit-remaining", "0".parse().unwrap());
            Some(answer)
        }
        Script::TooMany429 => {
            let mut answer = error(429, "Too many requests");
            answer.headers_mut().insert(RETRY_AFTER, "60".parse().unwrap());
            Some(answer)
        }
        Script::Unauthorized401 => Some(bad_credentials()),
        Script::NotFound404 => Some(error(404, "Not Found")),
        Script::Html200 => {
            let page = "<!doctype html><title>Maintenance</title><p>We are back soon.</p>";
            Some(text(200, "text/html; charset=utf-8", page.to_owned()))
        }
        Script::Redirect => {
            let mut answer = empty(302);
            answer.headers_mut().insert(LOCATION, elsewhere.parse().unwrap());
            Some(answer)
        }
        _ => None,
    }
}

fn text(status: u16, kind: &'static str, body: String) -> Response<Body> {
    let mut answer = empty(status);
    *answer.body_mut() = Body::from(body);
    answer.headers_mut().insert(CONTENT_TYPE, kind.parse().unwrap());
    answer
}

/// JSON that opens a string and never closes it, made as it is sent.
fn huge(sent: Arc<AtomicU64>) -> Response<Body> {
    const CHUNK: &[u8] = &[b'a'; 64 * 1024];
    let opening = tokio_stream::once(axum::body::Bytes::from_static(br#"{"token":""#));
    let rest = std::iter::repeat_with(|| axum::body::Bytes::from_static(CHUNK))
        .take(usize::try_from(HUGE).unwrap() / CHUNK.len());
    let counted = opening.chain(tokio_stream::iter(rest)).map(move |chunk| {
        sent.fetch_add(u64::try_from(chunk.len()).unwrap(), Ordering::Relaxed);
        Ok::<_, std::io::Error>(chunk)
    });
    let mut answer = empty(201);
    *answer.body_mut() = Body::from_stream(counted);
    answer.headers_mut().insert(CONTENT_TYPE, "application/json".parse().unwrap());
    answer
}
