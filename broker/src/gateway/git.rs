//! Git's smart HTTP: clone, fetch and push through the gateway.
//!
//! Spec: `gitprotocol-http`, `gitprotocol-v2`. What a push brings is decided before the upstream can do anything with it.

mod ahead;
mod budget;
mod content;
mod fetch;
mod large;
mod push;
mod spool;

use std::sync::Arc;

use axum::body::{Body, Bytes};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{
        ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT,
    },
    request::Parts,
};
use jeton_domain::scope::{Action, Actions, Scope};
use jeton_git::{
    advert,
    request::{NoRequest, Request as Wanted, Service},
};
use reqwest::Url;
use tokio_stream::StreamExt;

use super::{
    Gateway,
    door::Admitted,
    length,
    mask::Masked,
    outward::{Call, CallError, GrantEnded, GrantGuard, Outward, Shows, only},
    pump::pumped,
    words::Told,
};
use crate::{
    api::status,
    operation::{
        Caller, Refusal,
        pass::{Pass, pass},
        under_grant::Under,
    },
    store::SessionRecord,
};

/// Which version of the protocol the client speaks.
const GIT_PROTOCOL: HeaderName = HeaderName::from_static("git-protocol");
/// What may go out beside what is put there.
const OUT: [HeaderName; 4] = [CONTENT_TYPE, CONTENT_ENCODING, ACCEPT, USER_AGENT];
/// What may come back.
const BACK: [HeaderName; 2] = [CONTENT_TYPE, CACHE_CONTROL];

/// The action that a service needs. Of a batch its body tells.
fn action(writes: bool) -> &'static str {
    if writes { "contents:write" } else { "contents:read" }
}

/// The actions of one request.
fn actions(writes: bool) -> Option<Actions> {
    Actions::new([Action::parse(action(writes)).ok()?]).ok()
}

/// The scopes that would do, likeliest first: for a push what the lines of the envelope hold, each with its
/// refs or the session's own.
fn scopes(wanted: &Wanted, writes: bool, record: &SessionRecord) -> Vec<Scope> {
    let Some(actions) = actions(writes) else { return vec![] };
    let scope = |git_ref| Scope {
        upstream: wanted.upstream.clone(),
        resource: wanted.resource.clone(),
        actions: actions.clone(),
        git_ref,
    };
    let session = &record.session;
    let own = session.own_refs();
    let lines = session.envelope.scopes().iter().filter(|line| {
        line.upstream == wanted.upstream
            && line.resource.matches(wanted.resource.as_str())
            && line.actions.cover(&actions)
    });
    let mut found: Vec<Scope> = match writes {
        // No ref limits what is read.
        false => lines.map(|_| scope(None)).collect(),
        true => lines.map(|line| scope(line.with_refs(&own).git_ref)).collect(),
    };
    found.dedup();
    // Why at least one: the refusal of it tells what is wrong.
    if found.is_empty() {
        found.push(scope(None));
    }
    found
}

/// Lines of an envelope that are tried for one request.
const SCOPES_TRIED: usize = 4;

/// One request, its caller and its upstream.
struct Asked<'a> {
    gateway: &'a Arc<Gateway>,
    caller: Arc<Caller>,
    wanted: Wanted,
    way: &'a Outward,
    headers: HeaderMap,
}

/// Answers one request.
pub(super) async fn answer(
    gateway: &Arc<Gateway>,
    admitted: Admitted,
    parts: Parts,
    body: Body,
) -> Response<Body> {
    let large = parts.uri.path().contains(".git/info/lfs/");
    let answered = async {
        let (method, path) = (parts.method.as_str(), parts.uri.path());
        let wanted = Wanted::parse(method, path, parts.uri.query()).map_err(nothing)?;
        let spelling = &gateway.broker.spelling;
        let resource = spelling.resource(&wanted.upstream, wanted.resource);
        let wanted = Wanted { resource, ..wanted };
        let way = gateway.ways.get(&wanted.upstream).ok_or_else(|| {
            let words = format!("the upstream `{}` is not configured here", wanted.upstream);
            Told::new(StatusCode::NOT_FOUND, &words)
        })?;
        let caller = Arc::clone(&admitted.caller);
        let mut headers = parts.headers;
        // Spec: RFC 9113 §8.3.1: over HTTP/2 the host stands beside the path.
        if let Some(host) = parts.uri.authority().and_then(|host| host.as_str().parse().ok()) {
            headers.insert(HOST, host);
        }
        let asked = Asked { gateway, caller, wanted, way, headers };
        match asked.wanted.service {
            Service::ReadAdvert | Service::Read => asked.read(body).await,
            Service::PushAdvert => asked.push_advert().await,
            Service::Push => asked.push(body).await,
            Service::Batch => asked.batch(body).await,
            Service::Download(file) => asked.download(file).await,
            Service::Upload(file) => asked.upload(file, body).await,
        }
    };
    let answer = match answered.await {
        Ok(answer) => answer,
        Err(told) if large => told.large(),
        Err(told) => told.response(),
    };
    pumped(answer, admitted)
}

impl Asked<'_> {
    fn record(&self) -> Result<&SessionRecord, Told> {
        self.caller.session.as_deref().ok_or_else(|| Told::of(Refusal::NoHandle))
    }

    fn scopes(&self, record: &SessionRecord) -> Vec<Scope> {
        scopes(&self.wanted, self.wanted.service.writes(), record)
    }

    /// Finds or gets a grant for one of these scopes.
    async fn pass(&self, scopes: &[Scope]) -> Result<Pass, Told> {
        let why = format!("git {}", self.wanted.service.path());
        let scopes = scopes.get(..SCOPES_TRIED).unwrap_or(scopes);
        pass(&self.gateway.broker, &self.caller, scopes, &why).await.map_err(Told::of)
    }

    /// Looks whether today's policies would still give the grant: it may be older than they are.
    async fn still_may(&self, record: &SessionRecord, pass: &Pass) -> Result<(), Told> {
        let under = Under::new(&self.gateway.broker, record, Some(&pass.grant)).await;
        let under = under.map_err(Told::of)?;
        let Err(denial) = under.may(&pass.grant.scope, None) else { return Ok(()) };
        let refused = under.refuse(pass.grant.scope.clone(), None, denial).await;
        Err(refused.map_or_else(Told::of, |()| Told::of(Refusal::NotFound("grant"))))
    }

    /// What git asks for, in the words of the log.
    fn line(&self) -> String {
        let Wanted { service, .. } = &self.wanted;
        format!("{} {}", service.method(), service.path())
    }

    /// Clone and fetch.
    async fn read(&self, body: Body) -> Result<Response<Body>, Told> {
        let record = self.record()?;
        let pass = self.pass(&self.scopes(record)).await?;
        self.still_may(record, &pass).await?;
        let guard = GrantGuard::new(self.gateway, &pass, &self.line());
        let length = length::of_request(&body);
        let body = match self.wanted.service {
            Service::Read => {
                let bytes = guard.transfer().out(body.into_data_stream());
                Some(reqwest::Body::wrap_stream(bytes))
            }
            Service::ReadAdvert
            | Service::PushAdvert
            | Service::Push
            | Service::Batch
            | Service::Download(_)
            | Service::Upload(_) => None,
        };
        let mut call = self.asks(body)?;
        length::told(&mut call.headers, length.filter(|_| call.body.is_some()));
        let answer = self.called(call, &guard).await?;
        Ok(self.back(answer, &guard))
    }

    /// What a push hears first: what there is, and what the upstream and the gateway can.
    async fn push_advert(&self) -> Result<Response<Body>, Told> {
        let record = self.record()?;
        let pass = self.pass(&self.scopes(record)).await?;
        self.still_may(record, &pass).await?;
        let guard = GrantGuard::new(self.gateway, &pass, &self.line());
        let answer = self.call(&guard, None).await?;
        let headers = only(answer.headers(), &BACK);
        let bytes = Masked::new(answer.bytes_stream(), guard.marks());
        let mut bytes = guard.transfer().back(bytes);
        let mut taken = Vec::new();
        let (front, consumed) = loop {
            let unread = |words: &str| {
                let words = format!("the upstream's answer is not understood: {words}");
                Told::new(StatusCode::BAD_GATEWAY, &words)
            };
            match bytes.next().await {
                Some(Ok(more)) => taken.extend_from_slice(&more),
                Some(Err(_)) | None => return Err(unread("it breaks off")),
            }
            if let Some(found) = advert::rewrite(&taken).map_err(unread)? {
                break found;
            }
        };
        let rest = taken.get(consumed..).unwrap_or_default();
        let first = Bytes::from([front.as_slice(), rest].concat());
        let whole = tokio_stream::once(Ok(first)).chain(bytes);
        let mut answer = Response::new(Body::from_stream(whole));
        *answer.headers_mut() = headers;
        answer.extensions_mut().insert(Arc::clone(guard.transfer()));
        Ok(answer)
    }

    /// Calls the upstream, and takes its answer if it is a good one.
    async fn call(
        &self,
        guard: &GrantGuard<'_>,
        body: Option<reqwest::Body>,
    ) -> Result<reqwest::Response, Told> {
        let call = self.asks(body)?;
        self.called(call, guard).await
    }

    /// The call that does upstream what was asked here.
    fn asks(&self, body: Option<reqwest::Body>) -> Result<Call, Told> {
        let Wanted { service, .. } = &self.wanted;
        let url = self.url(&service.path())?;
        let mut headers = only(&self.headers, &OUT);
        if let Some(version) = self.version() {
            headers.insert(GIT_PROTOCOL, version);
        }
        let method = method(*service);
        Ok(Call { method, url, headers, shows: Shows::Credential, body })
    }

    /// Where something of the repository is.
    fn url(&self, path: &str) -> Result<Url, Told> {
        let Wanted { upstream, resource, .. } = &self.wanted;
        self.way.repository(resource, path).ok_or_else(|| {
            let words =
                format!("`{upstream}` has no repositories here: its `git` is not configured");
            Told::new(StatusCode::NOT_FOUND, &words)
        })
    }

    /// Makes one call, and takes its answer if it is a good one.
    async fn called(&self, call: Call, guard: &GrantGuard<'_>) -> Result<reqwest::Response, Told> {
        let answer = self.way.call(guard, call).await;
        self.good(answer, guard)
    }

    /// Takes an answer if it is a good one.
    fn good(
        &self,
        answer: Result<reqwest::Response, CallError>,
        guard: &GrantGuard<'_>,
    ) -> Result<reqwest::Response, Told> {
        let (Wanted { resource, upstream, .. }, transfer) = (&self.wanted, guard.transfer());
        let words = format!("the upstream `{upstream}` can't be reached");
        let answer = answer.map_err(|error| error.refusal(upstream, transfer, &words))?;
        transfer.answered(answer.status().as_u16());
        if answer.status() != StatusCode::OK {
            transfer.ended();
        }
        match answer.status() {
            StatusCode::OK => Ok(answer),
            StatusCode::NOT_FOUND => {
                let words = format!(
                    "`{upstream}` has no repository `{resource}`, or shows it to nobody with such a grant"
                );
                Err(Told::new(StatusCode::NOT_FOUND, &words))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let words = format!(
                    "`{upstream}` refused the credential of the grant {}; its platform team has to look",
                    guard.grant().id
                );
                Err(Told::new(StatusCode::BAD_GATEWAY, &words))
            }
            status if status.is_redirection() => {
                let words = format!(
                    "`{upstream}` says that `{resource}` is elsewhere; use its name of today: grants follow no redirect"
                );
                Err(Told::new(StatusCode::BAD_GATEWAY, &words))
            }
            status => {
                let words = format!("`{upstream}` answered {status}");
                Err(Told::new(StatusCode::BAD_GATEWAY, &words))
            }
        }
    }

    fn version(&self) -> Option<HeaderValue> {
        let value = self.headers.get(GIT_PROTOCOL)?.to_str().ok()?;
        let known = ["version=0", "version=1", "version=2"];
        let known = known.into_iter().find(|known| *known == value)?;
        Some(HeaderValue::from_static(known))
    }

    /// The upstream's answer on its way back.
    fn back(&self, answer: reqwest::Response, guard: &GrantGuard<'_>) -> Response<Body> {
        let mut headers = only(answer.headers(), &BACK);
        let length = length::of_answer(&answer, &Method::GET);
        headers.extend(length.map(|length| (CONTENT_LENGTH, length)));
        let bytes = Masked::new(answer.bytes_stream(), guard.marks());
        let mut answer = Response::new(Body::from_stream(guard.transfer().back(bytes)));
        *answer.headers_mut() = headers;
        answer.extensions_mut().insert(Arc::clone(guard.transfer()));
        answer
    }
}

/// A grant that ended while something was done under it.
fn ended_early(GrantEnded(why): GrantEnded) -> Told {
    Told::new(StatusCode::FORBIDDEN, why)
}

/// The method of a service.
fn method(service: Service) -> Method {
    match service.method() {
        "POST" => Method::POST,
        "PUT" => Method::PUT,
        _ => Method::GET,
    }
}

/// A request for nothing.
fn nothing(why: NoRequest) -> Told {
    Told::new(StatusCode::NOT_FOUND, &why.to_string())
}

/// A push that can't even be read.
fn unreadable(words: &str) -> Told {
    Told::plain(status::invalid("push", words))
}
