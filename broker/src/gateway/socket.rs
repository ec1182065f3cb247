//! WebSockets: the handshake is decided like any call; then bytes go both ways until one side is done, nothing
//! passes for long, or the grant ends.
//!
//! Spec: RFC 6455 §4. Extensions are left out, because what is packed can't be looked through.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
        SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING,
        UPGRADE,
    },
    request::Parts,
};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use reqwest::Upgraded;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, split},
    time::timeout,
};
use tokio_stream::{Stream, StreamExt};
use tokio_util::io::ReaderStream;

use super::{
    door::Admitted,
    leash::Transfer,
    mask::{Marks, Masked},
    words::Told,
};
use crate::limits::TRANSFER_SILENCE;

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
        let words = "this is no handshake of a WebSocket (RFC 6455): one Sec-WebSocket-Key, version 13, and no body";
        Told::new(StatusCode::BAD_REQUEST, words)
    };
    let one = |name: HeaderName| {
        let mut values = from.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())
    };
    // Why: what is sent as a body would go on as if the socket had sent it.
    let body = from.contains_key(TRANSFER_ENCODING)
        || from.get(CONTENT_LENGTH).is_some_and(|length| length != "0");
    if body {
        return Err(odd());
    }
    let key = one(SEC_WEBSOCKET_KEY).ok_or_else(odd)?;
    let version = one(SEC_WEBSOCKET_VERSION).filter(|version| *version == "13").ok_or_else(odd)?;
    to.insert(SEC_WEBSOCKET_KEY, key.clone());
    to.insert(SEC_WEBSOCKET_VERSION, version.clone());
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
        let client = tokio::select! {
            client = client.0 => client,
            why = Arc::clone(&transfer).snapped() => return transfer.cut(why),
        };
        let Ok(client) = client else {
            return transfer.cut("the connection broke");
        };
        let (client_reads, client_writes) = split(TokioIo::new(client));
        let (upstream_reads, upstream_writes) = split(upstream);
        let out = transfer.out(pieces(client_reads)).patient();
        let back = transfer.back(Masked::frames(pieces(upstream_reads), marks)).patient();
        tokio::select! {
            done = carried(out, upstream_writes) => ended(&transfer, done),
            done = carried(back, client_writes) => ended(&transfer, done),
            // Why here too: while both sides wait for the other to read, nobody else looks.
            why = Arc::clone(&transfer).snapped() => transfer.cut(why),
        }
    }
}

fn pieces<R: AsyncRead>(reads: ReadHalf<R>) -> ReaderStream<ReadHalf<R>> {
    ReaderStream::with_capacity(reads, PIECE)
}

fn ended(transfer: &Transfer, done: Result<(), &'static str>) {
    match done {
        Ok(()) => transfer.ended(),
        Err(why) => transfer.cut(why),
    }
}

/// Writes what comes, to the end.
///
/// # Errors
/// Why it broke before.
async fn carried(
    mut pieces: impl Stream<Item = std::io::Result<Bytes>> + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> Result<(), &'static str> {
    while let Some(Ok(piece)) = pieces.next().await {
        let written = async {
            to.write_all(&piece).await?;
            to.flush().await
        };
        match timeout(TRANSFER_SILENCE, written).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err("the connection broke"),
            Err(_) => return Err("nobody read on"),
        }
    }
    // Why ignored: whoever is gone need not be told that this is the end.
    let _ = timeout(TRANSFER_SILENCE, to.shutdown()).await;
    Ok(())
}
