//! The local server: who is answered, and which way each request goes.
//!
//! It answers paths of the gateway under its own address, and calls of upstreams under theirs: inside of a
//! tunnel that it opens for their hosts alone, or by a proxy's request if they have no TLS. Nothing else goes
//! anywhere.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use axum::body::Body;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use jeton_client::Gateway;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{
    limits::{BREATH, CONNECTIONS_AT_ONCE, HANDSHAKE, HEAD, HEAD_BYTES, HEADERS},
    owner::Table,
    pass::{pass, refuse},
    places::{Origin, Places},
    run_ca::RunCa,
};

/// The local server.
pub(super) struct Door {
    /// The way out.
    pub gateway: Gateway,
    /// Its address.
    pub own: SocketAddr,
    /// Whose connections there are.
    pub table: Table,
    /// What stands for the upstreams' own addresses, if something does.
    pub stand_in: Option<StandIn>,
}

/// What stands for the upstreams' own addresses.
pub(super) struct StandIn {
    /// Which addresses.
    pub places: Places,
    /// What it shows.
    pub ca: RunCa,
}

/// One connection.
#[derive(Clone)]
struct Connection {
    door: Arc<Door>,
    peer: SocketAddr,
    _place: Arc<OwnedSemaphorePermit>,
}

/// Serves until it is dropped.
pub(super) async fn serve(listener: TcpListener, door: Arc<Door>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_AT_ONCE));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, peer)) = listener.accept().await else {
            sleep(BREATH).await;
            continue;
        };
        let connection = Connection { door: Arc::clone(&door), peer, _place: Arc::new(place) };
        tokio::spawn(connection.converse(stream));
    }
}

fn http() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_header_size(HEAD_BYTES)
        .max_buf_size(HEAD_BYTES.saturating_mul(2))
        .max_headers(HEADERS);
    builder
}

impl Connection {
    async fn converse(self, stream: TcpStream) {
        // Why ignored: it is only slower without.
        let _ = stream.set_nodelay(true);
        let service = service_fn(move |request| {
            let connection = self.clone();
            async move { Ok::<_, Infallible>(connection.answer(request).await) }
        });
        // Why ignored: a tool that goes away in the middle is no fault of ours.
        let _ = http().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
    }

    /// Answers a request from outside of a tunnel.
    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        if let Some(refusal) = self.stranger(request.headers()) {
            return refusal;
        }
        if request.method() == Method::CONNECT {
            return self.tunnel(request);
        }
        let Some(named) = host(request.headers()).map(str::to_owned) else { return no_host() };
        let own = self.door.own.to_string();
        let asked = request.uri().authority().map(|asked| asked.as_str().to_owned());
        match asked {
            Some(asked) if asked != own => self.plainly(request, &asked, &named).await,
            // Why: a page that a browser loaded calls it by another name (DNS rebinding).
            Some(_) | None if named != own => {
                let words = "this port answers under its own address only";
                refuse(StatusCode::MISDIRECTED_REQUEST, words)
            }
            Some(_) | None => {
                let Some(target) = target(&request) else { return no_path() };
                let (parts, body) = request.into_parts();
                pass(&self.door, parts, Body::new(body), &target, None).await
            }
        }
    }

    /// Why somebody, or something, is not answered at all.
    fn stranger(&self, headers: &HeaderMap) -> Option<Response<Body>> {
        if !self.door.table.is_mine(self.peer, self.door.own) {
            let words = "only the user who started `jeton proxy` is answered";
            return Some(refuse(StatusCode::FORBIDDEN, words));
        }
        // Why: a page in a browser of the same user could call it blindly; browsers say so.
        let browser = ["origin", "sec-fetch-site"].iter().any(|name| headers.contains_key(*name));
        if browser {
            return Some(refuse(StatusCode::FORBIDDEN, "pages in a browser are not answered"));
        }
        (!is_framed_plainly(headers)).then(|| {
            let words = "the only transfer encoding is `chunked`, and it stands once";
            let mut refusal = refuse(StatusCode::BAD_REQUEST, words);
            // Why: where the next request would begin is what is in doubt.
            refusal.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            refusal
        })
    }

    /// A proxy's request of an upstream that has no TLS.
    async fn plainly(
        &self,
        request: Request<Incoming>,
        asked: &str,
        named: &str,
    ) -> Response<Body> {
        let plain = request.uri().scheme_str() == Some("http");
        let origin = Origin::of_host(false, asked).filter(|_| plain);
        match origin {
            Some(origin) if self.door.holds(&origin) => {
                self.door.stands_for(&origin, named, request).await
            }
            Some(_) | None => self.door.nowhere(),
        }
    }

    /// Opens a tunnel to an upstream's host, and ends it here.
    fn tunnel(self, request: Request<Incoming>) -> Response<Body> {
        let uri = request.uri();
        // Spec: RFC 9110 §9.3.6: a host and a port, and nothing else.
        let bare = uri.scheme().is_none() && uri.path_and_query().is_none();
        let asked = uri.authority().map(|asked| asked.as_str()).filter(|_| bare);
        let origin = asked.and_then(|asked| Origin::of_tunnel(true, asked));
        let Some(origin) = origin.filter(|origin| self.door.holds(origin)) else {
            return self.door.nowhere();
        };
        let headers = request.headers();
        if [CONTENT_LENGTH, TRANSFER_ENCODING].iter().any(|name| headers.contains_key(name)) {
            return refuse(StatusCode::BAD_REQUEST, "a tunnel is opened without a body");
        }
        // A tool of HTTP/1.0 names no host beside the one that it asks for.
        let named: Vec<_> = headers.get_all(HOST).iter().collect();
        let same = match named.as_slice() {
            [] => true,
            [one] => one.to_str().is_ok_and(|one| is_host_of(one, &origin)),
            _ => false,
        };
        if !same {
            let words = "`Host` is another host than the tunnel's";
            return refuse(StatusCode::MISDIRECTED_REQUEST, words);
        }
        let Some(stand_in) = &self.door.stand_in else { return self.door.nowhere() };
        let tls = match stand_in.ca.speaks_as(&origin.host) {
            Ok(tls) => TlsAcceptor::from(tls),
            Err(failure) => {
                return refuse(StatusCode::INTERNAL_SERVER_ERROR, failure.text().trim());
            }
        };
        tokio::spawn(async move {
            let shaken = async {
                let inner = hyper::upgrade::on(request).await.ok()?;
                tls.accept(TokioIo::new(inner)).await.ok()
            };
            let Ok(Some(stream)) = timeout(HANDSHAKE, shaken).await else { return };
            let service = service_fn(move |request| {
                let (connection, origin) = (self.clone(), origin.clone());
                async move { Ok::<_, Infallible>(connection.inside(request, &origin).await) }
            });
            // Why ignored: as above.
            let _ = http().serve_connection(TokioIo::new(stream), service).await;
        });
        Response::new(Body::empty())
    }

    /// Answers a request from inside of a tunnel.
    async fn inside(&self, request: Request<Incoming>, origin: &Origin) -> Response<Body> {
        if let Some(refusal) = self.stranger(request.headers()) {
            return refusal;
        }
        if request.method() == Method::CONNECT {
            let words = "there is no tunnel within a tunnel";
            return refuse(StatusCode::METHOD_NOT_ALLOWED, words);
        }
        let whole = request.uri().authority().map(|asked| asked.as_str().to_owned());
        let secure = request.uri().scheme_str().is_none_or(|scheme| scheme == "https");
        if !secure || whole.is_some_and(|asked| !is_host_of(&asked, origin)) {
            return elsewhere(origin);
        }
        let Some(named) = host(request.headers()).map(str::to_owned) else { return no_host() };
        self.door.stands_for(origin, &named, request).await
    }
}

impl Door {
    fn holds(&self, origin: &Origin) -> bool {
        self.stand_in.as_ref().is_some_and(|stand_in| stand_in.places.holds(origin))
    }

    /// Answers in the name of an upstream's own address.
    async fn stands_for(
        &self,
        origin: &Origin,
        named: &str,
        request: Request<Incoming>,
    ) -> Response<Body> {
        if !is_host_of(named, origin) {
            return elsewhere(origin);
        }
        let Some(target) = target(&request) else { return no_path() };
        let places = self.stand_in.as_ref().map(|stand_in| &stand_in.places);
        let Some(way) = places.and_then(|places| places.way(origin, &target)) else {
            return self.nowhere();
        };
        let (parts, body) = request.into_parts();
        pass(self, parts, Body::new(body), &way.inner, Some(&way)).await
    }

    /// What stands for no upstream goes nowhere.
    fn nowhere(&self) -> Response<Body> {
        let words = match &self.stand_in {
            Some(stand_in) => format!(
                "this address is no upstream of this session, and nothing else passes; what passes: {}; the platform team adds an upstream",
                stand_in.places.told()
            ),
            None => "this run stands for no upstream's own address; leave `--no-intercept` out, or call $JETON_PROXY/api/UPSTREAM/…".to_owned(),
        };
        refuse(StatusCode::FORBIDDEN, &words)
    }
}

fn elsewhere(origin: &Origin) -> Response<Body> {
    let words = format!("only {origin} is answered here; open another tunnel for another host");
    refuse(StatusCode::MISDIRECTED_REQUEST, &words)
}

fn is_host_of(text: &str, origin: &Origin) -> bool {
    Origin::of_host(origin.secure, text).is_some_and(|named| named == *origin)
}

/// Why: of several codings, one program takes the first for the body's end and another the last.
fn is_framed_plainly(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// The one `Host`. Why one: of two, one program reads the first and another the second.
fn host(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(HOST).iter();
    all.next().filter(|_| all.next().is_none())?.to_str().ok()
}

fn no_host() -> Response<Body> {
    refuse(StatusCode::BAD_REQUEST, "a request names one host, once")
}

/// The path and query of a request, as they came. Why one slash: to some two of them name another host.
fn target(request: &Request<Incoming>) -> Option<String> {
    let target = request.uri().path_and_query()?.as_str();
    (target.starts_with('/') && !target.starts_with("//")).then(|| target.to_owned())
}

fn no_path() -> Response<Body> {
    refuse(StatusCode::BAD_REQUEST, "a path begins with one slash, and with one only")
}
