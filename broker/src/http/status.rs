//! Status lists over HTTP (draft-ietf-oauth-status-list §8), for everyone.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use jeton_domain::token::status_list::MEDIA_TYPE;

use super::problem::{Named, Problem};
use crate::{
    operation::{Broker, Refusal, status_list::status_list},
    signer::status::{PATH, TTL_SECONDS},
};

/// The lists.
pub fn lists(broker: Arc<Broker>) -> Router {
    Router::new().route(&format!("{PATH}{{number}}"), get(list)).with_state(broker)
}

async fn list(State(broker): State<Arc<Broker>>, Named(number): Named) -> Response {
    // Why only the one spelling: each other one would be a copy of its own in every cache.
    let number = number.parse().ok().filter(|parsed: &u64| parsed.to_string() == number);
    let found = match number {
        Some(number) => status_list(&broker, number).await,
        None => Err(Refusal::NotFound("status list")),
    };
    match found {
        Ok(list) => {
            let age = format!("public, max-age={TTL_SECONDS}");
            // Why from every origin: pages check tokens too, and the list is no secret.
            let headers = [
                (CONTENT_TYPE, MEDIA_TYPE),
                (CACHE_CONTROL, &age),
                (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
            ];
            (headers, list).into_response()
        }
        Err(refusal) => Problem::from(refusal).into_response(),
    }
}
