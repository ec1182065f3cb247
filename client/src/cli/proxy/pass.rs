//! Sends one request on to the gateway, and its answer back.

use axum::body::Body;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{
        AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, LOCATION, TE,
        TRAILER, TRANSFER_ENCODING, UPGRADE,
    },
    request::Parts,
};

use super::{door::Door, places::Way};

/// Headers that are about the connection to this process, or that would say who calls.
const STAY: [HeaderName; 15] = [
    HOST,
    CONNECTION,
    AUTHORIZATION,
    CONTENT_LENGTH,
    EXPECT,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-authorization"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("jeton-session"),
    HeaderName::from_static("dpop"),
    BASE,
];
/// Where this process says under which address the command knows the gateway.
const BASE: HeaderName = HeaderName::from_static("jeton-base");

/// Sends a request on to a path of the gateway. What came for an upstream's own address is answered in its
/// name.
pub(super) async fn pass(
    door: &Door,
    parts: Parts,
    body: Body,
    path: &str,
    way: Option<&Way>,
) -> Response<Body> {
    let sends =
        [CONTENT_LENGTH, TRANSFER_ENCODING].iter().any(|name| parts.headers.contains_key(name));
    let mut headers = HeaderMap::new();
    for (name, value) in parts.headers.iter().filter(|(name, _)| !STAY.contains(name)) {
        headers.append(name, value.clone());
    }
    // Why said again: hosts of large files want to know before they begin.
    let length = parts.headers.get(CONTENT_LENGTH);
    let length = length.filter(|_| !parts.headers.contains_key(TRANSFER_ENCODING));
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, length.clone());
    }
    if let Ok(base) = HeaderValue::from_str(&format!("http://{}", door.own)) {
        headers.insert(BASE, base);
    }
    let body = sends.then(|| reqwest::Body::wrap_stream(body.into_data_stream()));
    match door.gateway.call(parts.method, path, headers, body).await {
        Ok(answer) => {
            let (status, headers) = (answer.status(), answer.headers().clone());
            let mut told = Response::new(Body::from_stream(answer.bytes_stream()));
            *told.status_mut() = status;
            *told.headers_mut() = headers;
            for name in [CONNECTION, TRANSFER_ENCODING] {
                told.headers_mut().remove(name);
            }
            if let Some(way) = way {
                turn_back(told.headers_mut(), way);
            }
            told
        }
        Err(error) => refuse(StatusCode::BAD_GATEWAY, &error.to_string()),
    }
}

/// Why: whoever called the upstream's own address knows no other.
fn turn_back(headers: &mut HeaderMap, way: &Way) {
    let place = headers.get(LOCATION).and_then(|place| place.to_str().ok());
    let own = place.and_then(|place| way.outward(place));
    if let Some(own) = own.and_then(|own| HeaderValue::from_str(&own).ok()) {
        headers.insert(LOCATION, own);
    }
}

/// A refusal of this side.
pub(super) fn refuse(code: StatusCode, words: &str) -> Response<Body> {
    let mut answer = Response::new(Body::from(format!("jeton: {words}\n")));
    *answer.status_mut() = code;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, plain);
    answer
}
