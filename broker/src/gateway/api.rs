//! Calls of APIs: each is looked up among the catalogue's routes, decided, and sent on with the credential.
//!
//! What no route names does not pass: no path, no query key, no body and no header. The path goes out as it was
//! decided, byte for byte, and so does the body if a route looked into it; what comes back is looked through for the
//! credential.

use std::{collections::BTreeSet, sync::Arc};

use axum::body::Body;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION},
    request::Parts,
};
use jeton_domain::{
    deed::Deed,
    id::quote,
    route::{Content, PlainPath, Route},
    scope::{Actions, Resource, Scope, Upstream},
};
use jeton_policy::catalogue::Reading;
use reqwest::Url;

use super::{
    Gateway,
    body::{self, Sent},
    door::Admitted,
    form::Refused,
    headers::{to_agent, to_upstream},
    leash::Transfer,
    length,
    mask::{Marks, Masked},
    outward::{Call, GrantGuard, Shows},
    pump::pumped,
    socket::{self, Bridge},
    words::Told,
};
use crate::operation::{Caller, Refusal, pass::pass, under_grant::Under};

/// How a stream of events is sent (Server-Sent Events).
const EVENTS: &[u8] = b"text/event-stream";

/// One call, understood.
struct Wanted {
    upstream: Upstream,
    scope: Scope,
    deed: Deed,
    /// What goes out, from the first slash on.
    target: String,
    /// What the log calls it: without what may be secret in it.
    line: String,
    /// Headers that are sent along.
    headers: HeaderMap,
    /// The body that is sent along.
    body: Sent,
    /// Whether it may become a WebSocket.
    socket: bool,
}

/// Answers one call.
pub(super) async fn answer(
    gateway: &Arc<Gateway>,
    admitted: Admitted,
    mut parts: Parts,
    body: Body,
) -> Response<Body> {
    let headers = parts.headers.clone();
    let socket = socket::asked(&mut parts);
    let answered = called(gateway, &admitted.caller, parts, body, socket.is_some()).await;
    match (answered, socket) {
        (Ok((answer, Some(bridge))), Some(socket)) => {
            tokio::spawn(bridge.run(socket, admitted));
            answer
        }
        (Ok((answer, _)), _) => pumped(answer, admitted),
        (Err(told), _) => pumped(told.answer(&headers), admitted),
    }
}

async fn called(
    gateway: &Arc<Gateway>,
    caller: &Arc<Caller>,
    parts: Parts,
    body: Body,
    socket: bool,
) -> Result<(Response<Body>, Option<Bridge>), Told> {
    let wanted = Wanted::of(gateway, &parts, body).await?;
    if socket && !wanted.socket {
        let words = format!(
            "the route of {} opens no WebSocket; the platform team writes `socket = true` there if it may",
            wanted.line
        );
        return Err(Told::new(StatusCode::FORBIDDEN, &words));
    }
    let way = gateway.ways.get(&wanted.upstream);
    let way = way.ok_or_else(|| no_such(&wanted.upstream))?;
    let url = way.api(&wanted.target).ok_or_else(|| no_such(&wanted.upstream))?;
    let record = caller.session.as_deref().ok_or_else(|| Told::of(Refusal::NoHandle))?;
    let broker = &gateway.broker;
    let scopes = [wanted.scope.clone()];
    let pass = pass(broker, caller, &scopes, &wanted.line).await.map_err(Told::of)?;
    let under = Under::new(broker, record, Some(&pass.grant)).await.map_err(Told::of)?;
    if let Err(denial) = under.may(&wanted.scope, Some(&wanted.deed)) {
        let refused = under.refuse(wanted.scope, Some(wanted.deed), denial).await;
        return Err(refused.map_or_else(Told::of, |()| Told::of(Refusal::NotFound("grant"))));
    }
    let guard = GrantGuard::new(gateway, &pass, &wanted.line);
    let transfer = Arc::clone(guard.transfer());
    let mut headers = wanted.headers;
    let brings = !matches!(wanted.body, Sent::Nothing);
    if let Sent::Unseen(body) = &wanted.body {
        length::told(&mut headers, length::of_request(body));
    }
    let (body, form) = outgoing(wanted.body, &parts.method, &transfer);
    // Why: some servers take a body without a type for a form, of which nobody looked for its keys.
    if brings && !headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    }
    if socket {
        socket::handshake(&parts.headers, &mut headers)?;
    }
    let method = parts.method.clone();
    let call = Call { method, url, headers, shows: Shows::Credential, body };
    let words = format!("the upstream `{}` can't be reached", wanted.upstream);
    let answer = way.call(&guard, call).await;
    let answer = answer.map_err(|error| {
        if form.is_some_and(|form| form.is_set()) {
            transfer.cut("the form asked for another method");
            return body::other_method("_method");
        }
        error.refusal(&wanted.upstream, &transfer, &words)
    })?;
    transfer.answered(answer.status().as_u16());
    let marks = guard.marks();
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS && !socket {
        transfer.cut("the upstream changed the protocol");
        let words = "the upstream changed to a protocol that nobody asked for";
        return Err(Told::new(StatusCode::BAD_GATEWAY, words));
    }
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let (answer, bridge) = socket::agreed(answer, &transfer, marks).await?;
        return Ok((answer, Some(bridge)));
    }
    let length = length::of_answer(&answer, &parts.method);
    let mut answer = back(answer, &transfer, marks, way.api("/").as_ref(), &wanted.upstream)?;
    answer.headers_mut().extend(length.map(|length| (CONTENT_LENGTH, length)));
    Ok((answer, None))
}

/// A body on its way out, and whether it is refused while it is sent.
fn outgoing(
    body: Sent,
    method: &Method,
    transfer: &Arc<Transfer>,
) -> (Option<reqwest::Body>, Option<Refused>) {
    match body {
        Sent::Unseen(body) => {
            let bytes = transfer.out(body.into_data_stream());
            (Some(reqwest::Body::wrap_stream(bytes)), None)
        }
        Sent::Form(parts) => {
            let refused = parts.refused();
            (Some(reqwest::Body::wrap_stream(transfer.out(parts))), Some(refused))
        }
        Sent::Whole(bytes) => {
            transfer.sends(bytes.len());
            (Some(reqwest::Body::from(bytes)), None)
        }
        Sent::Nothing if method == Method::GET || method == Method::HEAD => (None, None),
        // Why not left out: some hosts want to be told that nothing comes.
        Sent::Nothing => (Some(reqwest::Body::from("")), None),
    }
}

/// The refusal of a body that no route lets pass.
fn no_body(method: &str, path: &str, upstream: &Upstream) -> Told {
    let words = format!(
        "no route of the catalogue names {method} {} of `{upstream}` with a body; send it without one, or the platform team says in `body` of the route which keys it may have",
        quote(path)
    );
    Told::new(StatusCode::FORBIDDEN, &words)
}

fn no_such(upstream: &Upstream) -> Told {
    let words = format!("`{upstream}` has no API here: it is not configured, or its `api` is not");
    Told::new(StatusCode::NOT_FOUND, &words)
}

impl Wanted {
    /// Finds out what a call is. Reads the body only where a route looks into it.
    async fn of(gateway: &Gateway, parts: &Parts, body: Body) -> Result<Self, Told> {
        let odd = |words: &str| Told::new(StatusCode::BAD_REQUEST, words);
        let (whole_path, query) = (parts.uri.path(), parts.uri.query());
        let rest = whole_path.strip_prefix("/api/").unwrap_or_default();
        let (name, below) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let upstream = Upstream::parse(name).map_err(|error| odd(&error.to_string()))?;
        let path = PlainPath::parse(below).map_err(|error| odd(&error.to_string()))?;
        let rules = gateway.broker.policies.current();
        let (catalogue, method) = (rules.catalogue(), parts.method.as_str());
        let reads = match body::comes_with(&parts.headers, &body) {
            true => Some(catalogue.reads(&upstream, method, &path)),
            false => None,
        };
        let (content, body) = match reads {
            None => (Content::Empty, Sent::Nothing),
            Some(Some(Reading::Whole(format))) => body::whole(&parts.headers, body, format).await?,
            Some(Some(Reading::Unread)) => {
                (Content::Unread, body::unread(&parts.headers, body).await?)
            }
            Some(None) => match body::is_empty(body).await {
                true => (Content::Empty, Sent::Nothing),
                false => return Err(no_body(method, below, &upstream)),
            },
        };
        let found = catalogue.route(&upstream, method, &path, &content);
        let Some((route, resource)) = found else {
            let known = catalogue.routes_at(&upstream, method, &path);
            let words =
                unknown(&format!("{method} {} of `{upstream}`", quote(below)), &content, known);
            return Err(Told::new(StatusCode::FORBIDDEN, &words));
        };
        let keys = keys(query.unwrap_or_default());
        route
            .check_query(query.unwrap_or_default(), keys.iter().map(String::as_str))
            .map_err(|problem| Told::new(StatusCode::FORBIDDEN, &problem.to_string()))?;
        let headers = to_upstream(&parts.headers, route)?;
        // Why also the path: what is decided is what is sent.
        let sent = if route.folds { route.folded(below) } else { below.to_owned() };
        let target = match query {
            None => sent.clone(),
            Some(query) => format!("{sent}?{}", spelled(query)),
        };
        let path = PlainPath::parse(&sent).map_err(|error| odd(&error.to_string()))?;
        let operation = content.operation();
        let asked = operation.iter().map(|operation| format!(" {operation}")).collect::<String>();
        let (method, path) = (method.into(), path.as_str().into());
        Ok(Self {
            socket: route.socket,
            scope: scope(&upstream, resource, route)?,
            deed: Deed::Call { method, path, operation },
            target,
            line: format!("{} {}{asked}", parts.method, template(route)),
            upstream,
            headers,
            body,
        })
    }
}

/// Why a call is none that is known: what was asked, and what its path is for.
fn unknown<'r>(call: &str, content: &Content, known: impl Iterator<Item = &'r Route>) -> String {
    const SHOWN: usize = 3;
    let asked = match content {
        Content::Empty => String::new(),
        Content::Unread => " with a body".to_owned(),
        Content::Json(body) => {
            let fields = body.fields().unwrap_or_default().iter().take(32);
            let keys: Vec<_> = fields.map(|(key, _)| quote(key)).collect();
            format!(" with this body (its keys: {})", keys.join(", "))
        }
        Content::Graphql(_) => {
            let operation = content.operation();
            let asked = operation.map(|operation| operation.to_string()).unwrap_or_default();
            format!(" with the GraphQL operation `{asked}`")
        }
    };
    let known: Vec<_> = known.take(SHOWN).map(|route| format!("`{}`", route.title())).collect();
    let known = match known.as_slice() {
        [] => String::new(),
        known => format!("; what it is for: {}", known.join(", ")),
    };
    format!(
        "no route of the catalogue names {call}{asked}, so nobody can say what it does; the platform team adds one ([[route]]){known}"
    )
}

fn scope(upstream: &Upstream, resource: Resource, route: &Route) -> Result<Scope, Told> {
    let actions = Actions::new([route.action.clone()]);
    let actions = actions.map_err(|error| Told::new(StatusCode::FORBIDDEN, &error.to_string()))?;
    Ok(Scope { upstream: upstream.clone(), resource, actions, git_ref: None })
}

/// The path of a route, without its methods.
fn template(route: &Route) -> &str {
    route.text().split_once(' ').map_or("", |(_, path)| path)
}

/// The keys of a query, decoded.
fn keys(query: &str) -> BTreeSet<String> {
    form_urlencoded::parse(query.as_bytes()).map(|(key, _)| key.into_owned()).collect()
}

/// A query in the spelling of RFC 3986. Why: what is left as it is here would be encoded on the way, and what goes
/// out is what was decided.
fn spelled(query: &str) -> String {
    let mut text = String::with_capacity(query.len());
    for byte in query.bytes() {
        match byte {
            b'\'' | b'"' | b'<' | b'>' | 0x7f.. => text.push_str(&format!("%{byte:02X}")),
            plain => text.push(char::from(plain)),
        }
    }
    text
}

/// What comes back of what the upstream said.
fn back(
    answer: reqwest::Response,
    transfer: &Arc<Transfer>,
    marks: Marks,
    base: Option<&Url>,
    upstream: &Upstream,
) -> Result<Response<Body>, Told> {
    let mut headers = to_agent(answer.headers());
    for (name, value) in &headers {
        if marks.are_in(value.as_bytes()) {
            transfer.cut("a header of the answer held the credential");
            let words = format!(
                "`{upstream}` sent the credential back in `{name}`; the answer is kept here"
            );
            return Err(Told::new(StatusCode::BAD_GATEWAY, &words));
        }
    }
    if answer.status() == StatusCode::PARTIAL_CONTENT {
        transfer.cut("the answer was a part");
        let words = format!("`{upstream}` sent a part of its answer although nobody asked for one");
        return Err(Told::new(StatusCode::BAD_GATEWAY, &words));
    }
    if headers.get(CONTENT_ENCODING).is_some_and(|value| value != "identity") {
        transfer.cut("the answer was packed");
        let words = format!(
            "`{upstream}` packed its answer although it was not asked to; it can't be looked through"
        );
        return Err(Told::new(StatusCode::BAD_GATEWAY, &words));
    }
    let to = headers.get(LOCATION).and_then(|place| moved(place, answer.url(), base, upstream));
    if let Some(own) = to {
        headers.insert(LOCATION, own);
    }
    let status = answer.status();
    let events = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(EVENTS));
    let bytes = transfer.back(Masked::new(answer.bytes_stream(), marks));
    // Why: events may be far apart.
    let bytes = if events { bytes.patient() } else { bytes };
    let mut told = Response::new(Body::from_stream(bytes));
    *told.status_mut() = status;
    *told.headers_mut() = headers;
    told.extensions_mut().insert(Arc::clone(transfer));
    Ok(told)
}

/// Where a redirect leads, if that is the same upstream: to the gateway again, for elsewhere the credential
/// does not go.
fn moved(
    place: &HeaderValue,
    at: &Url,
    base: Option<&Url>,
    upstream: &Upstream,
) -> Option<HeaderValue> {
    let to = at.join(place.to_str().ok()?).ok()?;
    let base = base?;
    if to.origin() != base.origin() {
        return None;
    }
    let below = to.as_str().strip_prefix(base.as_str().trim_end_matches('/'))?;
    // Why: `/v3-x` is not below `/v3`.
    let below = below.starts_with(['/', '?', '#']).then_some(below)?;
    HeaderValue::from_str(&format!("/api/{upstream}{below}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_written_so_that_nothing_on_the_way_changes_it() {
        assert_eq!(spelled("$filter=name eq 'x'&a=\"<>"), "$filter=name eq %27x%27&a=%22%3C%3E");
        for query in ["$filter=name%20eq%20'x'", "a=b&c[]=d|e", "q=\u{e9}`{}^\\"] {
            let url = Url::parse(&format!("https://h/base/x?{}", spelled(query))).unwrap();
            assert!(url.as_str().ends_with(&spelled(query)), "{query}: {url}");
        }
    }

    #[test]
    fn a_redirect_leads_through_the_gateway_or_loses_the_credential() {
        let url = |text: &str| Url::parse(text).unwrap();
        let (at, base) = (url("https://h/api/v3/a/b"), url("https://h/api/v3/"));
        let upstream = Upstream::parse("github").unwrap();
        let to = |place: &'static str| {
            let moved = moved(&HeaderValue::from_static(place), &at, Some(&base), &upstream);
            moved.map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(to("/api/v3/c?x=1").as_deref(), Some("/api/github/c?x=1"));
        assert_eq!(to("d").as_deref(), Some("/api/github/a/d"));
        for elsewhere in
            ["https://other/a", "http://h/api/v3/a", "https://h:8443/api/v3/a", "/login"]
        {
            assert_eq!(to(elsewhere), None, "{elsewhere}");
        }
    }
}
