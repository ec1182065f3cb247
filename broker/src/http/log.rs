//! The log over HTTP, as C2SP tlog-tiles lays it out: `checkpoint`, `tile/…` and `tile/entries/…`.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::State,
    http::header::{CACHE_CONTROL, CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use jeton_domain::merkle::{BundleId, TileId};

use super::problem::{Named, Problem};
use crate::operation::{Broker, Caller, Refusal, read_tiles};

/// What a full tile may be kept for: it never changes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// What the edge may be kept for.
const NOT_LONG: &str = "no-cache";
/// Entries hold names: no cache between broker and auditor keeps them.
const PRIVATE: &str = "private, no-store";

/// Checkpoint and hashes, which hold no names, without any identity.
pub fn for_everyone(broker: Arc<Broker>) -> Router {
    Router::new()
        .route("/log/checkpoint", get(checkpoint))
        .route("/log/tile/{*place}", get(tile))
        .with_state(broker)
}

/// All of it, for whoever the door lets in and may see all entries.
pub fn for_auditors(broker: Arc<Broker>) -> Router {
    Router::new()
        .route("/log/checkpoint", get(checkpoint_for))
        .route("/log/tile/{*place}", get(tile_for))
        .with_state(broker)
}

async fn checkpoint(State(broker): State<Arc<Broker>>) -> Response {
    answer(read_tiles::checkpoint(&broker).await.map(|note| {
        ([(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, NOT_LONG)], note)
    }))
}

async fn tile(State(broker): State<Arc<Broker>>, Named(place): Named) -> Response {
    answer(hashes(&broker, &place).await)
}

async fn checkpoint_for(
    State(broker): State<Arc<Broker>>,
    Extension(caller): Extension<Arc<Caller>>,
) -> Response {
    match read_tiles::may_see_all(&caller) {
        Ok(()) => checkpoint(State(broker)).await,
        Err(refusal) => answer(Err::<(), _>(refusal)),
    }
}

async fn tile_for(
    State(broker): State<Arc<Broker>>,
    Extension(caller): Extension<Arc<Caller>>,
    Named(place): Named,
) -> Response {
    if let Err(refusal) = read_tiles::may_see_all(&caller) {
        return answer(Err::<(), _>(refusal));
    }
    let Ok(id) = BundleId::parse(&format!("tile/{place}")) else {
        return answer(hashes(&broker, &place).await);
    };
    let found = read_tiles::entries(&broker, &caller, id).await;
    answer(found.map(|bytes| ([(CONTENT_TYPE, BINARY), (CACHE_CONTROL, PRIVATE)], bytes)))
}

const BINARY: &str = "application/octet-stream";

async fn hashes(broker: &Broker, place: &str) -> Result<impl IntoResponse, Refusal> {
    let id = TileId::parse(&format!("tile/{place}"))
        .map_err(|error| Refusal::Invalid { field: "path", message: error.to_string() })?;
    let bytes = read_tiles::tile(broker, id).await?;
    let kept = if id.is_full() { FOR_EVER } else { NOT_LONG };
    Ok(([(CONTENT_TYPE, BINARY), (CACHE_CONTROL, kept)], bytes))
}

fn answer(found: Result<impl IntoResponse, Refusal>) -> Response {
    match found {
        Ok(found) => found.into_response(),
        Err(refusal) => Problem::from(refusal).into_response(),
    }
}
