//! WebSockets: the handshake is decided like any call; then bytes go both ways until one side is done, nothing
//! passes for long, or the grant ends.
//!
//! Spec: RFC 6455 §4. Extensions are left out, because what is packed can't be looked through.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version,
    header::{
        CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
        SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
    },
    request::Parts,
};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use reqwest::Upgraded;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, split};
use tokio_stream::{Stream, StreamExt};
use tokio_util::io::ReaderStream;

use super::{
    door::Admitted,
    leash::Transfer,
    mask::{Marks, Masked},
    words::Told,
};

/// Bytes that are read at once.
const PIECE: usize = 16 * 1024;
/// What a handshake says of itself.
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// The client's side of a handshake.
pub(super) struct Asked(OnUpgrade);

/// Takes the wish for a WebSocket out of a request, if there is one.
pub(super) fn asked(parts: &mut Parts) -> Option<Asked> {
    let says = |name: HeaderName, word: &str| {
        let values = parts.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|all| all.split(',')).any(|own| own.trim().eq_ignore_ascii_case(word))
    };
    let meant = parts.method == Method::GET
        && parts.version == Version::HTTP_11
        && says(UPGRADE, "websocket")
        && says(CONNECTION, "upgrade");
    if meant { parts.extensions.remove::<OnUpgrade>().map(Asked) } else { None }
}

/// Adds what makes a handshake of a call.
///
/// # Errors
/// When it is none of RFC 6455.
pub(super) fn handshake(from: &HeaderMap, to: &mut HeaderMap) -> Result<(), Told> {
    let odd = || {
        let words =
            "this is no handshake of a WebSocket (RFC 6455): one Sec-WebSocket-Key, and version 13";
        Told::new(StatusCode::BAD_REQUEST, words)
    };
    let one = |name: HeaderName| {
        let mut values = from.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())
    };
    let key = one(SEC_WEBSOCKET_KEY).ok_or_else(odd)?;
    one(SEC_WEBSOCKET_VERSION).filter(|version| *version == "13").ok_or_else(odd)?;
    to.remove(SEC_WEBSOCKET_EXTENSIONS);
    to.insert(SEC_WEBSOCKET_KEY, key.clone());
    to.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    to.insert(UPGRADE, WEBSOCKET);
    Ok(())
}

/// What the upstream agreed to: the answer for the client, and the connection that goes on behind it.
pub(super) struct Bridge {
    upstream: Upgraded,
    transfer: Arc<Transfer>,
    marks: Marks,
}

/// Takes the upstream's agreement.
///
/// # Errors
/// When it agreed to something else.
pub(super) async fn agreed(
    answer: reqwest::Response,
    transfer: &Arc<Transfer>,
    marks: Marks,
) -> Result<(Response<Body>, Bridge), Told> {
    let odd = |words: &str| {
        transfer.cut("the upstream agreed to something else");
        Told::new(StatusCode::BAD_GATEWAY, words)
    };
    let headers = answer.headers();
    let upgrade = headers.get(UPGRADE).and_then(|value| value.to_str().ok());
    if !upgrade.is_some_and(|word| word.eq_ignore_ascii_case("websocket")) {
        return Err(odd("the upstream changed to another protocol than was asked for"));
    }
    if headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
        return Err(odd("the upstream uses extensions of WebSocket that nobody asked for"));
    }
    let mut told = Response::new(Body::empty());
    *told.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    for name in [SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL] {
        if let Some(value) = headers.get(&name) {
            if marks.are_in(value.as_bytes()) {
                return Err(odd("the upstream sent the credential back in a header"));
            }
            told.headers_mut().insert(name, value.clone());
        }
    }
    told.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    told.headers_mut().insert(UPGRADE, WEBSOCKET);
    let upstream = answer.upgrade().await;
    let upstream = upstream.map_err(|_| odd("the upstream's connection broke"))?;
    Ok((told, Bridge { upstream, transfer: Arc::clone(transfer), marks }))
}

impl Bridge {
    /// Carries bytes until one side is done.
    pub async fn run(self, client: Asked, _admitted: Admitted) {
        let Self { upstream, transfer, marks } = self;
        let Ok(client) = client.0.await else {
            return transfer.cut("the connection broke");
        };
        let (client_reads, client_writes) = split(TokioIo::new(client));
        let (upstream_reads, upstream_writes) = split(upstream);
        let out = transfer.out(pieces(client_reads)).patient();
        let back = transfer.back(Masked::new(pieces(upstream_reads), marks)).patient();
        tokio::select! {
            () = carried(out, upstream_writes) => transfer.ended(),
            () = carried(back, client_writes) => transfer.ended(),
        }
    }
}

fn pieces<R: AsyncRead>(reads: ReadHalf<R>) -> ReaderStream<ReadHalf<R>> {
    ReaderStream::with_capacity(reads, PIECE)
}

/// Writes what comes, to the end or until it breaks.
async fn carried(
    mut pieces: impl Stream<Item = std::io::Result<Bytes>> + Unpin,
    mut to: impl AsyncWrite + Unpin,
) {
    while let Some(Ok(piece)) = pieces.next().await {
        if to.write_all(&piece).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
    // Why ignored: whoever is gone need not be told that this is the end.
    let _ = to.shutdown().await;
}
