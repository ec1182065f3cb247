//! The HTTP side: public keys for verifiers, and on a loopback port liveness and metrics.

mod form;
pub mod log;
pub mod oauth;
pub mod oauth_error;
pub mod problem;
pub mod serve;
pub mod ssf;
mod status;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use serde_json::Value;

use self::{oauth::OAuth, ssf::Ssf};
use crate::{
    operation::{Broker, Source},
    signer::{Ed25519Name, KeyRing},
};

/// Seconds that verifiers may keep the key set. A new key is published longer than that before use.
pub const JWKS_MAX_AGE_SECONDS: u32 = 300;

/// What the pages show.
#[derive(Clone)]
pub struct Pages {
    /// The broker.
    pub broker: Arc<Broker>,
    /// Its signing keys.
    pub keys: Arc<KeyRing>,
}

/// What everyone may read of the broker as an issuer: its keys, where its endpoints are, and which
/// tokens were taken back.
pub fn issuer(pages: Pages, oauth: OAuth, ssf: Ssf) -> Router {
    let keys = Router::new().route(oauth::KEYS, get(jwks)).with_state(pages);
    let lists = status::lists(Arc::clone(&oauth.broker));
    keys.merge(lists).merge(oauth::metadata(oauth)).merge(ssf::metadata(ssf))
}

/// What everyone may see; the log's hashes and checkpoints only if they are meant to.
pub fn public(pages: Pages, oauth: OAuth, ssf: Ssf, public_tiles: bool) -> Router {
    let broker = Arc::clone(&pages.broker);
    let issuer = issuer(pages, oauth, ssf);
    let pages = if public_tiles { issuer.merge(log::for_everyone(broker)) } else { issuer };
    refusing(pages)
}

/// Pages that say in the words of problems what they have not.
pub fn refusing(pages: Router) -> Router {
    pages.fallback(problem::nothing_here).method_not_allowed_fallback(problem::not_so)
}

/// What only this host may see.
pub fn admin(pages: Pages) -> Router {
    let pages = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(pages);
    refusing(pages)
}

async fn jwks(State(pages): State<Pages>) -> Response {
    let now = pages.broker.clock.now();
    let mut keys = serde_json::json!(pages.keys.jwks(now));
    let renamed = pages.broker.sources.values().any(|source| match source {
        Source::Signed(minter) => minter.config().ed25519 == Ed25519Name::Ed25519,
        Source::Minted(_) | Source::Kept(_) => false,
    });
    if let Some(listed) = keys.get_mut("keys").and_then(Value::as_array_mut).filter(|_| renamed) {
        listed.extend(pages.keys.renamed_jwks(now));
    }
    let age = format!("public, max-age={JWKS_MAX_AGE_SECONDS}");
    ([(header::CACHE_CONTROL, age)], Json(keys)).into_response()
}

async fn ready(State(pages): State<Pages>) -> Response {
    if pages.broker.store.is_healthy() {
        (StatusCode::OK, "ready\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the store has stopped\n").into_response()
    }
}

async fn metrics(State(pages): State<Pages>) -> Response {
    let text = pages.broker.metrics.render(pages.broker.store.live_grants());
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
