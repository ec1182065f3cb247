//! What a call may carry: keys of its query and its body, and headers. Lists name what passes; everything else stays
//! here.

use std::collections::BTreeSet;

use super::RouteError;
use crate::{
    id::quote,
    limits::{ROUTE_HEADER_CHARS, ROUTE_TERMS},
};

/// The keys that a query or a body may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedKeys {
    /// Any key: nothing is decided about them.
    Any,
    /// These keys and no others.
    Listed(BTreeSet<String>),
}

impl Default for AllowedKeys {
    fn default() -> Self {
        Self::Listed(BTreeSet::new())
    }
}

impl AllowedKeys {
    /// Whether a key may be there.
    #[must_use]
    pub fn allows(&self, key: &str) -> bool {
        match self {
            Self::Any => !is_method_override(key),
            Self::Listed(keys) => keys.contains(key),
        }
    }

    /// Whether it allows no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Listed(keys) if keys.is_empty())
    }

    /// Checks the list of a route.
    pub(super) fn check(&self, list: &str) -> Result<(), RouteError> {
        let Self::Listed(keys) = self else { return Ok(()) };
        if keys.contains("*") {
            return Err(RouteError::Terms(format!(
                "`{list} = [\"*\"]` is not a list of keys; list the keys, or write `{list} = \"any\"`"
            )));
        }
        if let Some(key) = keys.iter().find(|key| is_method_override(key)) {
            let key = quote(key);
            return Err(RouteError::Terms(format!(
                "`{list}` lists `{key}`, which makes another method of the call than the route decides; leave it out"
            )));
        }
        Ok(())
    }

    /// The keys as they are shown, `*` for any.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Any => "*".to_owned(),
            Self::Listed(keys) => keys.iter().cloned().collect::<Vec<_>>().join(","),
        }
    }
}

/// Keys of a query or a form that make another method of a call (Rails, Laravel, Symfony, Google APIs).
const METHOD_OVERRIDES: [&str; 8] = [
    "method",
    "httpmethod",
    "methodoverride",
    "httpmethodoverride",
    "xhttpmethod",
    "xmethodoverride",
    "xhttpmethodoverride",
    "originalmethod",
];

/// Whether a key of a query or a form makes another method of a call, in any spelling of its words.
///
/// A plain `method` is an ordinary key; `_method` and `$method` are not.
#[must_use]
pub fn is_method_override(key: &str) -> bool {
    let key = key.trim();
    if key.eq_ignore_ascii_case("method") {
        return false;
    }
    let folded: String = letters(key).collect();
    METHOD_OVERRIDES.contains(&folded.as_str())
        && (folded != "method" || key.starts_with(|first: char| !first.is_alphanumeric()))
}

/// The letters and digits of a key, without their case.
pub(super) fn letters(key: &str) -> impl Iterator<Item = char> {
    let upper = key.chars().filter(|one| one.is_alphanumeric()).flat_map(char::to_uppercase);
    upper.flat_map(char::to_lowercase)
}

/// Why the query of a call is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryProblem {
    /// A key that is not listed.
    #[error(
        "the query key `{0}` is not allowed for {1}; the platform team adds it to `query` of that route if it may be there"
    )]
    Key(String, String),
    /// A key that makes another method of the call.
    #[error(
        "the query key `{0}` asks for another method than {1} has; send the call by the method that you mean"
    )]
    Method(String, String),
    /// A separator that servers read in two ways.
    #[error(
        "the query of {0} contains a raw `;`, which some servers read as `&`; write `%3B` if it is part of a value"
    )]
    Separator(String),
}

/// What becomes of a header of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderRule {
    /// It reaches the upstream.
    Pass,
    /// It does not.
    Drop,
    /// It does not, and neither does the call: without the header the upstream would do another thing than the
    /// caller meant.
    Refuse(&'static str),
}

/// Request headers that reach every upstream. Each says what the caller can read, what it has already or how the call
/// is traced; none says who calls, for whom, or what else the call should be.
const PASSED_HEADERS: [&str; 14] = [
    // Content negotiation (RFC 9110 §12.5) and what the body is (§8.3). `Accept-Encoding` is the gateway's.
    "accept",
    "accept-language",
    "content-type",
    "content-encoding",
    "content-language",
    "user-agent",
    // GitHub's version of its API: a date, sent by all of its clients.
    "x-github-api-version",
    // Conditional requests (RFC 9110 §13.1) and caching (RFC 9111 §5.2).
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "cache-control",
    // Tracing (W3C Trace Context). Why without `baggage`: some servers take the tenant from there.
    "traceparent",
    "tracestate",
];

/// Headers with which a call means another one. Why refused: dropped, the upstream would do what was not meant.
const REFUSED_HEADERS: [(&str, &str); 14] = [
    ("x-http-method-override", METHOD),
    ("x-http-method", METHOD),
    ("x-method-override", METHOD),
    ("x-method", METHOD),
    ("http-method-override", METHOD),
    ("http-method", METHOD),
    ("method-override", METHOD),
    ("x-original-method", METHOD),
    ("x-original-url", PATH),
    ("x-rewrite-url", PATH),
    ("x-override-url", PATH),
    ("sudo", PERSON),
    ("x-sudo", PERSON),
    ("on-behalf-of", PERSON),
];
const METHOD: &str =
    "asks for another method than is decided; send the call by the method that you mean";
const PATH: &str = "asks for another path than is decided; send the call to the path that you mean";
const PERSON: &str =
    "asks to act as someone else, and the credential is the grant's; send the call without it";

/// Headers that no route can let pass: they are about one connection, carry a credential or an address, or are the
/// gateway's own.
const RESERVED_HEADERS: [&str; 40] = [
    "accept-encoding",
    "alt-used",
    "authorization",
    "cf-connecting-ip",
    "client-ip",
    "connection",
    "content-length",
    "cookie",
    "cookie2",
    "dpop",
    "expect",
    "forwarded",
    "front-end-https",
    "host",
    "http2-settings",
    "if-range",
    "keep-alive",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    // Of a part of an answer, a credential that two parts share could not be masked.
    "range",
    "request-range",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-version",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "via",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-host",
    "x-real-ip",
    "x-forwarded",
];
const RESERVED_PREFIXES: [&str; 3] = ["x-forwarded-", "jeton-", "proxy-"];

/// The headers that a route lets pass beside those that always do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHeaders(BTreeSet<String>);

impl AllowedHeaders {
    /// Checks a list of names.
    ///
    /// # Errors
    /// When one is not a header that a route may let pass.
    pub fn new(names: &BTreeSet<String>) -> Result<Self, RouteError> {
        if names.len() > ROUTE_TERMS {
            return Err(RouteError::Terms(format!(
                "it names more than {ROUTE_TERMS} headers; divide it"
            )));
        }
        names.iter().map(|name| listable(name)).collect::<Result<_, _>>().map(Self)
    }

    /// The names, in lower case.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// What becomes of a header with this name, which is in lower case.
    #[must_use]
    pub fn rule(&self, name: &str) -> HeaderRule {
        if let Some(why) = refusal(name) {
            return HeaderRule::Refuse(why);
        }
        match PASSED_HEADERS.contains(&name) || self.0.contains(name) {
            true => HeaderRule::Pass,
            false => HeaderRule::Drop,
        }
    }
}

fn listable(name: &str) -> Result<String, RouteError> {
    let wrong = |words: &str| Err(RouteError::Header(quote(name), words.to_owned()));
    let lower = name.to_ascii_lowercase();
    let token = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name == "*" {
        return wrong("headers are listed one by one; there is no `*`");
    }
    // Why without a line: many servers take `X_A` for `X-A`.
    if lower.is_empty() || lower.len() > ROUTE_HEADER_CHARS || !lower.bytes().all(token) {
        return wrong("write a name such as `X-Request-Id`: letters, digits and `-`");
    }
    if refusal(&lower).is_some() {
        return wrong("it makes another call of the one that the route decides");
    }
    let reserved = RESERVED_HEADERS.contains(&lower.as_str())
        || RESERVED_PREFIXES.iter().any(|prefix| lower.starts_with(prefix));
    if reserved {
        return wrong(
            "it is about one connection, carries a credential or an address, or is the gateway's own, and never passes",
        );
    }
    Ok(lower)
}

/// Why a call with this header is refused, if it is.
fn refusal(name: &str) -> Option<&'static str> {
    let name = name.replace('_', "-");
    if name.starts_with("impersonate-") || name.starts_with("x-impersonate-") {
        return Some(PERSON);
    }
    REFUSED_HEADERS.iter().find(|(known, _)| *known == name).map(|(_, why)| *why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_passes_only_if_it_always_does_or_its_route_lists_it() {
        let listed = ["X-Scope-OrgID".to_owned(), "graphql-features".to_owned()].into();
        let allowed = AllowedHeaders::new(&listed).unwrap();
        for name in ["accept", "traceparent", "x-scope-orgid", "graphql-features"] {
            assert_eq!(allowed.rule(name), HeaderRule::Pass, "{name}");
        }
        for name in
            ["x-scope_orgid", "cookie", "authorization", "baggage", "private-token", "range"]
        {
            assert_eq!(allowed.rule(name), HeaderRule::Drop, "{name}");
        }
        for name in ["x-http-method-override", "x_http_method_override", "impersonate-user", "sudo"]
        {
            assert!(matches!(allowed.rule(name), HeaderRule::Refuse(_)), "{name}");
        }
    }

    #[test]
    fn a_route_cannot_list_a_header_that_never_passes() {
        for (name, words) in [
            ("*", "one by one"),
            ("", "write a name"),
            ("X_Tenant", "write a name"),
            ("X Tenant", "write a name"),
            ("Authorization", "never passes"),
            ("cookie", "never passes"),
            ("Transfer-Encoding", "never passes"),
            ("Range", "never passes"),
            ("X-Forwarded-User", "never passes"),
            ("Jeton-Session", "never passes"),
            ("X-HTTP-Method-Override", "another call"),
            ("Impersonate-Group", "another call"),
        ] {
            let error = AllowedHeaders::new(&[name.to_owned()].into()).unwrap_err().to_string();
            assert!(error.contains(words), "{name}: {error}");
        }
    }

    #[test]
    fn a_key_that_makes_another_method_of_a_call_is_known_in_its_spellings() {
        for key in [
            "_method",
            "_METHOD",
            "$method",
            "_method[]",
            "X-HTTP-Method-Override",
            "_HttpMethod",
            "http_method",
        ] {
            assert!(is_method_override(key), "{key}");
            assert!(!AllowedKeys::Any.allows(key), "{key}");
        }
        for key in ["method", "Method", "methods", "payment_method", "method_id", "page"] {
            assert!(!is_method_override(key), "{key}");
            assert!(AllowedKeys::Any.allows(key), "{key}");
        }
    }
}
