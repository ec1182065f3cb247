//! Which upstreams a session may call through the gateway, and what their own addresses are.
//!
//! A local helper asks for it, so that it knows which hosts' calls come here. It tells addresses and no more:
//! no credential, no file, and no upstream that the session's envelope does not name.

use std::collections::BTreeSet;

use axum::{Json, body::Body, response::IntoResponse};
use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL},
    request::Parts,
};
use jeton_domain::scope::Upstream;
use serde::Serialize;

use super::{Gateway, door::Admitted, words::Told};
use crate::{config::Reach, operation::Refusal};

/// Its path.
const PATH: &str = "/upstreams";

#[derive(Serialize)]
struct Directory {
    upstreams: Vec<Known>,
}

/// One upstream.
#[derive(Serialize, Debug, PartialEq, Eq)]
struct Known {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    api: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    git: Option<String>,
}

/// Answers one request.
pub(super) fn answer(gateway: &Gateway, admitted: &Admitted, parts: &Parts) -> Response<Body> {
    if parts.uri.path() != PATH || parts.uri.query().is_some() {
        let words = "there is nothing at this path; which upstreams there are stands at /upstreams";
        return Told::new(StatusCode::NOT_FOUND, words).response();
    }
    if parts.method != Method::GET {
        let told = Told::new(StatusCode::METHOD_NOT_ALLOWED, "it can only be read; use GET");
        let mut answer = told.response();
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return answer;
    }
    let Some(record) = admitted.caller.session.as_deref() else {
        return Told::of(Refusal::NoHandle).response();
    };
    let scopes = record.session.envelope.scopes();
    let named: BTreeSet<&Upstream> = scopes.iter().map(|scope| &scope.upstream).collect();
    let known = |name: &Upstream| known(name, gateway.ways.get(name)?.reach());
    let upstreams = named.into_iter().filter_map(known).collect();
    let mut answer = Json(Directory { upstreams }).into_response();
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// What is told of one. `None` if it can't be called through the gateway at all.
fn known(name: &Upstream, reach: &Reach) -> Option<Known> {
    if reach.api.is_none() && reach.git.is_none() {
        return None;
    }
    let told = |url: &Option<reqwest::Url>| url.as_ref().map(|url| url.as_str().to_owned());
    Some(Known { name: name.to_string(), api: told(&reach.api), git: told(&reach.git) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_and_neither_files_nor_upstreams_without_one() {
        let name = Upstream::parse("github").unwrap();
        let ca = Some("/var/lib/jeton/ca.pem".into());
        let reach = Reach { ca: ca.clone(), ..Reach::default() };
        assert_eq!(known(&name, &reach), None);
        let git = reqwest::Url::parse("https://github.com").ok();
        let told = known(&name, &Reach { git, ca, ..Reach::default() }).unwrap();
        let text = serde_json::to_string(&told).unwrap();
        assert_eq!(text, r#"{"name":"github","git":"https://github.com/"}"#);
    }
}
