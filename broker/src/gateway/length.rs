//! Lengths of bodies: told on where they are known, because some servers and clients take no other.
//!
//! What is masked keeps its length, so an answer that is sent on whole is as long as it came. A body that
//! turns out shorter breaks the connection, as it would without a gateway.

use axum::body::{Body, HttpBody};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header::CONTENT_LENGTH};

/// The length of what a client sends, if its request says so. Why not by the header: of one that says two
/// things, this is what is read.
pub(super) fn of_request(body: &Body) -> Option<u64> {
    body.size_hint().exact().filter(|length| *length > 0)
}

/// Tells the upstream how long the body is.
pub(super) fn told(headers: &mut HeaderMap, length: Option<u64>) {
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// The length that an upstream's answer says, if it is what is sent on: that of its body, or where an answer has
/// none, as to `HEAD`, what it says of another.
pub(super) fn of_answer(answer: &reqwest::Response, method: &Method) -> Option<HeaderValue> {
    let said = answer.headers().get(CONTENT_LENGTH)?;
    let length: u64 = said.to_str().ok()?.parse().ok()?;
    let bare = method == Method::HEAD || answer.status() == StatusCode::NOT_MODIFIED;
    (bare || answer.content_length() == Some(length)).then(|| HeaderValue::from(length))
}
