//! Which headers pass, in both directions.
//!
//! Towards an upstream an allow-list: beside the broker's credential any other header could say who calls, for which
//! tenant, or what else the call should be. Back to the agent a list of what stays here, each with its reason: an
//! answer adds no authority, and the credential is masked in all of it.

use std::collections::BTreeSet;

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{
        ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST,
        PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, REFRESH, SEC_WEBSOCKET_PROTOCOL, SET_COOKIE,
        STRICT_TRANSPORT_SECURITY, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, WWW_AUTHENTICATE,
    },
};
use jeton_domain::{
    id::quote,
    route::{HeaderRule, Route},
};

use super::words::Told;

/// Headers that are about one connection only (RFC 9110 §7.6.1), or frame what is sent on it.
const OF_A_CONNECTION: [HeaderName; 11] = [
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Headers of an answer that do not come back, beside those of a connection.
const NEVER_BACK: [HeaderName; 22] = [
    // Credentials of their own, and requests for some: the agent has none to give, and gives none to this address.
    SET_COOKIE,
    HeaderName::from_static("set-cookie2"),
    WWW_AUTHENTICATE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("authentication-info"),
    HeaderName::from_static("proxy-authentication-info"),
    // A redirect that is not looked at as one.
    REFRESH,
    // What the gateway's address is for, and who may read there: the upstream does not speak for it.
    STRICT_TRANSPORT_SECURITY,
    HeaderName::from_static("alt-svc"),
    HeaderName::from_static("access-control-allow-credentials"),
    HeaderName::from_static("access-control-allow-origin"),
    HeaderName::from_static("access-control-allow-private-network"),
    HeaderName::from_static("clear-site-data"),
    // Where a client sends reports about its calls.
    HeaderName::from_static("nel"),
    HeaderName::from_static("report-to"),
    HeaderName::from_static("reporting-endpoints"),
    // With these a proxy in front of the gateway would send a file of its own, or another page.
    HeaderName::from_static("x-accel-redirect"),
    HeaderName::from_static("x-lighttpd-send-file"),
    HeaderName::from_static("x-reproxy-file"),
    HeaderName::from_static("x-reproxy-url"),
    HeaderName::from_static("x-sendfile"),
];

/// Whether a header is about one connection only. Nobody but the client of that connection writes it.
pub(super) fn is_of_a_connection(name: &HeaderName) -> bool {
    OF_A_CONNECTION.contains(name)
}

/// What reaches the upstream of a request's headers.
///
/// # Errors
/// When one of them would make another call of it, or could be read in two ways.
pub(super) fn to_upstream(headers: &HeaderMap, route: &Route) -> Result<HeaderMap, Told> {
    let named = named_by_connection(headers);
    let mut passed = HeaderMap::new();
    for (name, value) in headers {
        match route.header_rule(name.as_str()) {
            // Why not the type: it is what the body was read as.
            HeaderRule::Pass if named.contains(name.as_str()) && name != CONTENT_TYPE => {}
            HeaderRule::Pass => {
                passed.append(name, value.clone());
            }
            HeaderRule::Drop => {}
            HeaderRule::Refuse(why) => {
                let words = format!("the header `{}` {why}", quote(name.as_str()));
                return Err(Told::new(StatusCode::BAD_REQUEST, &words));
            }
        }
    }
    if passed.get_all(CONTENT_TYPE).iter().nth(1).is_some() {
        let words = "`Content-Type` is there more than once; send it once";
        return Err(Told::new(StatusCode::BAD_REQUEST, words));
    }
    // Why refused: an upstream that does not see it agrees to none, and the client gives up without a reason.
    if headers.contains_key(SEC_WEBSOCKET_PROTOCOL) && !passed.contains_key(SEC_WEBSOCKET_PROTOCOL)
    {
        let words = format!(
            "`Sec-WebSocket-Protocol` does not pass for {}; the platform team adds it to `headers` of that route if it may",
            route.text()
        );
        return Err(Told::new(StatusCode::FORBIDDEN, &words));
    }
    // Why: what is packed can't be looked through.
    passed.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Ok(passed)
}

/// What comes back of an answer's headers, before the credential is looked for in them.
pub(super) fn to_agent(headers: &HeaderMap) -> HeaderMap {
    let named = named_by_connection(headers);
    let stays = |name: &HeaderName| {
        is_of_a_connection(name)
            || NEVER_BACK.contains(name)
            || named.contains(name.as_str())
            // Why: those are the broker's own.
            || name.as_str().starts_with("jeton-")
    };
    let mut passed = HeaderMap::new();
    for (name, value) in headers.iter().filter(|(name, _)| !stays(name)) {
        passed.append(name, value.clone());
    }
    passed
}

/// What `Connection` names is about that connection too (RFC 9110 §7.6.1).
fn named_by_connection(headers: &HeaderMap) -> BTreeSet<String> {
    let named = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    named.flat_map(|all| all.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jeton_domain::{
        route::{AllowedKeys, RouteParts, TermsParts},
        scope::{Action, Upstream},
    };

    fn route(headers: &[&str]) -> Route {
        Route::new(RouteParts {
            upstream: Upstream::parse("github").unwrap(),
            methods: ["GET".to_owned()].into(),
            path: "/user",
            resource: "me",
            action: Action::parse("issues:read").unwrap(),
            query: AllowedKeys::default(),
            headers: headers.iter().map(|name| (*name).to_owned()).collect(),
            socket: false,
            terms: TermsParts::default(),
        })
        .unwrap()
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn only_listed_headers_reach_the_upstream() {
        let given = headers(&[
            ("connection", "close, traceparent"),
            ("traceparent", "00-1"),
            ("cookie", "a=b"),
            ("host", "evil"),
            ("accept-encoding", "gzip"),
            ("x-github-api-version", "2022-11-28"),
            ("content-type", "application/json"),
            ("x-scope-orgid", "7"),
            ("x_scope_orgid", "8"),
            ("range", "bytes=0-1"),
        ]);
        let plain = to_upstream(&given, &route(&[])).unwrap();
        assert_eq!(names(&plain), ["accept-encoding", "content-type", "x-github-api-version"]);
        assert_eq!(plain.get(ACCEPT_ENCODING).unwrap(), "identity");
        let listed = to_upstream(&given, &route(&["X-Scope-OrgID"])).unwrap();
        assert_eq!(listed.get("x-scope-orgid").unwrap(), "7");
        assert!(!listed.contains_key("x_scope_orgid"));
    }

    #[test]
    fn headers_that_make_another_call_are_refused() {
        for (name, words) in [
            ("x-http-method-override", "another method"),
            ("x_http_method_override", "another method"),
            ("x-original-url", "another path"),
            ("impersonate-user", "act as someone else"),
            ("sudo", "act as someone else"),
            ("sec-websocket-protocol", "does not pass for GET /user"),
        ] {
            let told = to_upstream(&headers(&[(name, "x")]), &route(&[])).unwrap_err();
            assert!(told.first().contains(words), "{name}: {}", told.first());
        }
        let twice = [("content-type", "text/plain"), ("content-type", "application/json")];
        assert!(to_upstream(&headers(&twice), &route(&[])).is_err());
        let protocol = headers(&[("sec-websocket-protocol", "graphql-transport-ws")]);
        assert!(to_upstream(&protocol, &route(&["Sec-WebSocket-Protocol"])).is_ok());
    }

    #[test]
    fn an_answer_speaks_neither_for_the_gateway_nor_for_a_connection() {
        let given = headers(&[
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("set-cookie", "a=b"),
            ("www-authenticate", "Basic"),
            ("strict-transport-security", "max-age=1"),
            ("access-control-allow-origin", "*"),
            ("x-accel-redirect", "/etc/passwd"),
            ("jeton-session", "x"),
            ("etag", "\"1\""),
            ("link", "<https://h/a?page=2>; rel=\"next\""),
            ("x-ratelimit-remaining", "7"),
        ]);
        assert_eq!(names(&to_agent(&given)), ["etag", "link", "x-ratelimit-remaining"]);
    }
}
