//! Bodies that a route looks into: read whole before anything is decided, and sent on byte for byte after it.
//!
//! Why so few kinds: what our parser and the upstream's could read as two things is decided as one and done as
//! the other.

use axum::body::{Body, Bytes, HttpBody};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use jeton_domain::{
    id::quote,
    route::{Content, Format, Graphql, Json},
};
use tokio::{task::spawn_blocking, time::timeout};

use super::{
    form::{self, FormKind, Parts},
    words::Told,
};
use crate::limits::{CALL_BODY, CALL_BODY_BYTES};

/// What goes out.
pub(super) enum Sent {
    /// No body.
    Nothing,
    /// As it comes, unseen.
    Unseen(Body),
    /// A form with parts, as it comes.
    Form(Parts),
    /// What was read.
    Whole(Bytes),
}

/// Whether a request brings a body, as far as its head says.
pub(super) fn comes_with(headers: &HeaderMap, body: &Body) -> bool {
    let length = headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0");
    length || headers.contains_key(TRANSFER_ENCODING) || !body.is_end_stream()
}

/// Whether a body that was announced is none.
pub(super) async fn is_empty(body: Body) -> bool {
    let read = timeout(CALL_BODY, Limited::new(body, 0).collect()).await;
    read.is_ok_and(|read| read.is_ok())
}

/// Lets a body pass of which nothing is decided, unless it is a form that makes another method of its call.
pub(super) async fn unread(headers: &HeaderMap, body: Body) -> Result<Sent, Told> {
    let Some(kind) = headers.get(CONTENT_TYPE).and_then(form::kind) else {
        return Ok(Sent::Unseen(body));
    };
    if headers.contains_key(CONTENT_ENCODING) {
        let words = "a packed form can't be looked into; send it without `Content-Encoding`";
        return Err(Told::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, words));
    }
    match kind {
        FormKind::Parts => Ok(Sent::Form(Parts::new(body))),
        FormKind::Pairs => {
            let bytes = bytes(body).await?;
            match form::override_in(&bytes) {
                None => Ok(Sent::Whole(bytes)),
                Some(key) => Err(other_method(&key)),
            }
        }
    }
}

/// The refusal of a form.
pub(super) fn other_method(key: &str) -> Told {
    let words = format!(
        "the key `{}` of the form asks for another method than is decided; send the call by the method that you mean",
        quote(key)
    );
    Told::new(StatusCode::FORBIDDEN, &words)
}

/// Reads a body to its end, and what it says.
pub(super) async fn whole(
    headers: &HeaderMap,
    body: Body,
    format: Format,
) -> Result<(Content, Sent), Told> {
    let bytes = bytes(body).await?;
    // Why not for GraphQL: that asks for nothing then.
    if bytes.is_empty() && format == Format::Json {
        return Ok((Content::Empty, Sent::Nothing));
    }
    json(headers)?;
    let looked = bytes.clone();
    // Why a thread of its own: the worst megabyte takes 20 ms, and a parser that gave up would take no other call
    // with it.
    let content = spawn_blocking(move || read_as(format, &looked)).await.map_err(|error| {
        tracing::error!(%error, "a body could not be looked into");
        Told::new(StatusCode::INTERNAL_SERVER_ERROR, "the body could not be looked into")
    })?;
    let content = content.map_err(|words| Told::new(StatusCode::BAD_REQUEST, &words))?;
    Ok((content, Sent::Whole(bytes)))
}

/// All of a body, bounded in size and time.
async fn bytes(body: Body) -> Result<Bytes, Told> {
    let reading = Limited::new(body, CALL_BODY_BYTES).collect();
    let read = timeout(CALL_BODY, reading).await.map_err(|_| {
        let words = format!("the body did not arrive within {} s", CALL_BODY.as_secs());
        Told::new(StatusCode::REQUEST_TIMEOUT, &words)
    })?;
    let read = read.map_err(|error| match error.is::<LengthLimitError>() {
        true => {
            let words = format!(
                "the body is larger than the {CALL_BODY_BYTES} bytes that are looked into here; send less at a time"
            );
            Told::new(StatusCode::PAYLOAD_TOO_LARGE, &words)
        }
        false => Told::new(StatusCode::BAD_REQUEST, "the body breaks off"),
    })?;
    // Why without trailers: nobody decided about them.
    Ok(read.to_bytes())
}

fn read_as(format: Format, bytes: &[u8]) -> Result<Content, String> {
    let body = Json::object(bytes).map_err(|error| error.to_string())?;
    match format {
        Format::Json => Ok(Content::Json(body)),
        Format::Graphql => {
            let asked = Graphql::read(body).map_err(|error| error.to_string())?;
            Ok(Content::Graphql(asked))
        }
    }
}

/// Checks that a body is JSON as it is, and says so once.
fn json(headers: &HeaderMap) -> Result<(), Told> {
    let odd = |words: &str| Told::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, words);
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(odd("a packed body can't be looked into; send it without `Content-Encoding`"));
    }
    let mut all = headers.get_all(CONTENT_TYPE).iter();
    match (all.next(), all.next()) {
        (Some(kind), None) if is_json(kind) => Ok(()),
        _ => Err(odd(
            "this call is looked into; send it as one `Content-Type: application/json`, in UTF-8",
        )),
    }
}

/// Spec: RFC 8259 §11 knows no parameters; `charset=utf-8` is what many send all the same.
fn is_json(kind: &HeaderValue) -> bool {
    let Ok(text) = kind.to_str() else { return false };
    let (name, parameter) = text.split_once(';').map_or((text, None), |(a, b)| (a, Some(b)));
    let utf8 = |parameter: &str| {
        ["charset=utf-8", "charset=\"utf-8\""]
            .iter()
            .any(|known| parameter.trim().eq_ignore_ascii_case(known))
    };
    name.trim_end().eq_ignore_ascii_case("application/json") && parameter.is_none_or(utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (http::HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let mut headers = HeaderMap::new();
        for (name, value) in pairs.iter().map(pair) {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn only_json_in_utf_8_is_looked_into() {
        for good in [
            "application/json",
            "Application/JSON",
            "application/json;charset=utf-8",
            "application/json; charset=UTF-8",
            "application/json ; charset=\"utf-8\"",
        ] {
            assert!(json(&headers(&[("content-type", good)])).is_ok(), "{good}");
        }
        for bad in [
            "",
            "text/json",
            "text/plain",
            "application/graphql",
            "application/json; charset=utf-16",
            "application/json; charset=utf-7",
            "application/json; charset=utf-8; charset=utf-16",
            "application/json; boundary=x",
            "application/json;",
            "application/json, text/plain",
            "application/json-patch+json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/jso\u{e9}",
        ] {
            let value = HeaderValue::from_bytes(bad.as_bytes()).unwrap();
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, value);
            assert!(json(&headers).is_err(), "{bad}");
        }
        let json_type = ("content-type", "application/json");
        for bad in [
            vec![],
            vec![json_type, json_type],
            vec![json_type, ("content-type", "text/plain")],
            vec![json_type, ("content-encoding", "gzip")],
            vec![json_type, ("content-encoding", "identity")],
        ] {
            assert!(json(&headers(&bad)).is_err(), "{bad:?}");
        }
    }
}
