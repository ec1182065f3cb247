//! Git's smart HTTP: clone, fetch and push through the gateway.
//!
//! Spec: `gitprotocol-http`, `gitprotocol-v2`. What a push brings is decided before the upstream hears of it.

mod advert;
mod commands;
mod content;
mod fetch;
mod history;
mod name;
mod pack;
mod push;
mod report;
mod spool;

use std::sync::Arc;

use axum::body::{Body, Bytes};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT},
    request::Parts,
};
use jeton_domain::{
    id::quote,
    scope::{Action, Actions, Resource, Scope, Upstream},
};
use tokio_stream::StreamExt;

use super::{
    Gateway,
    door::Admitted,
    leash::Transfer,
    mask::{Masked, marks},
    outward::{Call, Outward, only},
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
    upstream::Credential,
};

/// Which version of the protocol the client speaks.
const GIT_PROTOCOL: HeaderName = HeaderName::from_static("git-protocol");
/// What may go out beside what is put there.
const OUT: [HeaderName; 4] = [CONTENT_TYPE, CONTENT_ENCODING, ACCEPT, USER_AGENT];
/// What may come back.
const BACK: [HeaderName; 2] = [CONTENT_TYPE, CACHE_CONTROL];

/// What git asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    /// What there is, to read.
    ReadAdvert,
    /// Objects.
    Read,
    /// What there is, to push.
    PushAdvert,
    /// A push.
    Push,
}

impl Service {
    fn path(self) -> &'static str {
        match self {
            Self::ReadAdvert => "info/refs?service=git-upload-pack",
            Self::PushAdvert => "info/refs?service=git-receive-pack",
            Self::Read => "git-upload-pack",
            Self::Push => "git-receive-pack",
        }
    }

    fn method(self) -> Method {
        match self {
            Self::ReadAdvert | Self::PushAdvert => Method::GET,
            Self::Read | Self::Push => Method::POST,
        }
    }

    fn action(self) -> &'static str {
        match self {
            Self::ReadAdvert | Self::Read => "contents:read",
            Self::PushAdvert | Self::Push => "contents:write",
        }
    }
}

/// What is wanted of which repository.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    upstream: Upstream,
    resource: Resource,
    service: Service,
}

impl Wanted {
    /// Reads the request's line. Nothing in it is decoded: a name that needs that is none.
    fn of(method: &Method, path: &str, query: Option<&str>) -> Result<Self, Told> {
        let odd = |words: String| Told::new(StatusCode::NOT_FOUND, &words);
        let shape = || {
            odd(format!(
                "`{}` is no repository here; write /git/UPSTREAM/OWNER/NAME.git",
                quote(path)
            ))
        };
        let rest = path.strip_prefix("/git/").ok_or_else(shape)?;
        let (upstream, rest) = rest.split_once('/').ok_or_else(shape)?;
        // Why the last: a name that holds `.git/` itself would be cut elsewhere by the upstream.
        let (resource, service) = rest.split_once(".git/").ok_or_else(shape)?;
        let service = match (method, service, query) {
            (&Method::GET, "info/refs", Some("service=git-upload-pack")) => Service::ReadAdvert,
            (&Method::GET, "info/refs", Some("service=git-receive-pack")) => Service::PushAdvert,
            (&Method::POST, "git-upload-pack", None) => Service::Read,
            (&Method::POST, "git-receive-pack", None) => Service::Push,
            (_, lfs, _) if lfs.starts_with("info/lfs/") => {
                let words =
                    "large files (LFS) do not pass the gateway yet; keep them out of the push";
                return Err(Told::new(StatusCode::NOT_IMPLEMENTED, words));
            }
            (&Method::GET, "info/refs", _) => {
                return Err(
                    odd("only the smart protocol passes; use a git of this century".into()),
                );
            }
            _ => return Err(shape()),
        };
        let upstream = Upstream::parse(upstream).map_err(|error| odd(error.to_string()))?;
        let plain = |segment: &str| !segment.starts_with('.') && !segment.ends_with('.');
        let resource = Resource::parse(resource)
            .ok()
            .filter(|resource| resource.as_str().split('/').all(plain))
            .ok_or_else(shape)?;
        Ok(Self { upstream, resource, service })
    }

    /// The scopes that would do, likeliest first: for a push what the lines of the envelope hold, each with
    /// its refs or the session's own.
    fn scopes(&self, record: &SessionRecord) -> Vec<Scope> {
        let Some(actions) = self.actions() else { return vec![] };
        let scope = |git_ref| Scope {
            upstream: self.upstream.clone(),
            resource: self.resource.clone(),
            actions: actions.clone(),
            git_ref,
        };
        let session = &record.session;
        let own = session.own_refs();
        let lines = session.envelope.scopes().iter().filter(|line| {
            line.upstream == self.upstream
                && line.resource.matches(self.resource.as_str())
                && line.actions.cover(&actions)
        });
        let mut found: Vec<Scope> = match self.service {
            Service::ReadAdvert | Service::Read => {
                lines.map(|line| scope(line.git_ref.clone())).collect()
            }
            Service::PushAdvert | Service::Push => {
                lines.map(|line| scope(line.with_refs(&own).git_ref)).collect()
            }
        };
        found.dedup();
        // Why at least one: the refusal of it tells what is wrong.
        if found.is_empty() {
            found.push(scope(None));
        }
        found
    }

    fn actions(&self) -> Option<Actions> {
        Actions::new([Action::parse(self.service.action()).ok()?]).ok()
    }
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
    let answered = async {
        let wanted = Wanted::of(&parts.method, parts.uri.path(), parts.uri.query())?;
        let way = gateway.ways.get(&wanted.upstream).ok_or_else(|| {
            let words = format!("the upstream `{}` is not configured here", wanted.upstream);
            Told::new(StatusCode::NOT_FOUND, &words)
        })?;
        let caller = Arc::clone(&admitted.caller);
        let asked = Asked { gateway, caller, wanted, way, headers: parts.headers };
        match asked.wanted.service {
            Service::ReadAdvert | Service::Read => asked.read(body).await,
            Service::PushAdvert => asked.push_advert().await,
            Service::Push => asked.push(body).await,
        }
    };
    let answer = answered.await.unwrap_or_else(Told::response);
    pumped(answer, admitted)
}

impl Asked<'_> {
    fn record(&self) -> Result<&SessionRecord, Told> {
        self.caller.session.as_deref().ok_or_else(|| Told::of(Refusal::NoHandle))
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
        let pass = self.pass(&self.wanted.scopes(record)).await?;
        self.still_may(record, &pass).await?;
        let transfer = Transfer::new(&self.gateway.broker, &pass.grant, &self.line());
        let body = match self.wanted.service {
            Service::Read => {
                let bytes = transfer.out(body.into_data_stream());
                Some(reqwest::Body::wrap_stream(bytes))
            }
            Service::ReadAdvert | Service::PushAdvert | Service::Push => None,
        };
        let answer = self.call(&pass, &transfer, body).await?;
        Ok(self.back(answer, &transfer, &pass.credential))
    }

    /// What a push hears first: what there is, and what the upstream and the gateway can.
    async fn push_advert(&self) -> Result<Response<Body>, Told> {
        let record = self.record()?;
        let pass = self.pass(&self.wanted.scopes(record)).await?;
        self.still_may(record, &pass).await?;
        let transfer = Transfer::new(&self.gateway.broker, &pass.grant, &self.line());
        let answer = self.call(&pass, &transfer, None).await?;
        let headers = only(answer.headers(), &BACK);
        let bytes = Masked::new(answer.bytes_stream(), marks(&pass.credential));
        let mut bytes = transfer.back(bytes);
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
        answer.extensions_mut().insert(transfer);
        Ok(answer)
    }

    /// Calls the upstream, and takes its answer if it is a good one.
    async fn call(
        &self,
        pass: &Pass,
        transfer: &Arc<Transfer>,
        body: Option<reqwest::Body>,
    ) -> Result<reqwest::Response, Told> {
        let Wanted { resource, service, upstream } = &self.wanted;
        let url = self.way.repository(resource, service.path()).ok_or_else(|| {
            let words =
                format!("`{upstream}` has no repositories here: its `git` is not configured");
            Told::new(StatusCode::NOT_FOUND, &words)
        })?;
        let mut headers = only(&self.headers, &OUT);
        if let Some(version) = self.version() {
            headers.insert(GIT_PROTOCOL, version);
        }
        let call =
            Call { method: service.method(), url, headers, credential: &pass.credential, body };
        let answer = tokio::select! {
            answer = self.way.call(call) => answer,
            why = Arc::clone(transfer).snapped() => {
                transfer.cut(why);
                return Err(Told::new(StatusCode::FORBIDDEN, why));
            }
        };
        let answer = answer.map_err(|error| {
            tracing::warn!(%upstream, error = %error.without_url(), "the upstream can't be reached");
            transfer.cut("the upstream can't be reached");
            Told::new(StatusCode::BAD_GATEWAY, &format!("the upstream `{upstream}` can't be reached"))
        })?;
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
                    pass.grant.id
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
    fn back(
        &self,
        answer: reqwest::Response,
        transfer: &Arc<Transfer>,
        credential: &Credential,
    ) -> Response<Body> {
        let headers = only(answer.headers(), &BACK);
        let bytes = Masked::new(answer.bytes_stream(), marks(credential));
        let mut answer = Response::new(Body::from_stream(transfer.back(bytes)));
        *answer.headers_mut() = headers;
        answer.extensions_mut().insert(Arc::clone(transfer));
        answer
    }
}

/// A push that can't even be read.
fn unreadable(words: &str) -> Told {
    Told::plain(status::invalid("push", words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(path: &str) -> Option<String> {
        let found = Wanted::of(&Method::POST, path, None).ok()?;
        Some(format!("{}:{}", found.upstream, found.resource))
    }

    #[test]
    fn a_repository_is_a_name_and_nothing_that_leads_elsewhere() {
        let ok = |name: &str| wanted(&format!("/git/{name}.git/git-upload-pack"));
        assert_eq!(ok("git/acme/web").as_deref(), Some("git:acme/web"));
        assert_eq!(ok("git/Acme/Web").as_deref(), Some("git:acme/web"));
        for bad in [
            "git/acme/../web",
            "git/acme/..",
            "git/./web",
            "git//web",
            "git/acme%2fweb",
            "git/acme/web.git/x",
            "git/acme/.git/web",
            "git/acme/.github",
            "git/acme\\web",
            "GIT/acme/web",
            "git/acme/w\u{435}b",
            "git/acme/*",
            "git",
        ] {
            assert_eq!(ok(bad), None, "{bad}");
        }
        for bad in [
            "/git/git/acme/web.git/git-upload-pack/",
            "/git/git/acme/web.git/git-upload-archive",
            "/git/git/acme/web.git/objects/info/packs",
            "/git/git/acme/web/git-upload-pack",
            "//git/git/acme/web.git/git-upload-pack",
            "/git/git/acme/web.git//git-upload-pack",
        ] {
            assert_eq!(wanted(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_service_is_named_in_one_way_only() {
        let of = |method, tail: &str, query| {
            Wanted::of(&method, &format!("/git/git/a/b.git/{tail}"), query).ok().map(|w| w.service)
        };
        let read = Some("service=git-upload-pack");
        assert_eq!(of(Method::GET, "info/refs", read), Some(Service::ReadAdvert));
        let push = Some("service=git-receive-pack");
        assert_eq!(of(Method::GET, "info/refs", push), Some(Service::PushAdvert));
        for query in [None, Some(""), Some("service=git-receive-pack&service=git-upload-pack")] {
            assert_eq!(of(Method::GET, "info/refs", query), None, "{query:?}");
        }
        assert_eq!(of(Method::GET, "git-receive-pack", None), None);
        assert_eq!(of(Method::POST, "git-receive-pack", Some("x")), None);
    }
}
