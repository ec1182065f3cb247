//! The gRPC door: parse, call an operation, render. No rule lives here.

pub mod approvals;
pub mod audit;
pub mod authenticate;
mod concurrency_limits;
pub mod grants;
pub mod introspection;
pub mod page;
pub mod policies;
pub mod revocations;
pub mod rpc_table;
pub mod sessions;
pub mod status;
mod streams;
pub mod wire;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tonic::{Extensions, Request};

use self::streams::Streams;
use crate::{
    limits::{
        LOOKS_AT_ONCE, LOOKS_OF_ONE, TAILS_AT_ONCE, TAILS_OF_ONE, WAITS_AT_ONCE, WAITS_OF_ONE,
        WATCHES_AT_ONCE, WATCHES_OF_ONE,
    },
    operation::{Broker, Caller, Refusal},
};

/// The services' common ground.
#[derive(Clone)]
pub struct Api {
    /// What the operations work with.
    pub broker: Arc<Broker>,
    /// Streams of the log.
    tails: Streams,
    /// Calls that list or count entries.
    looks: Streams,
    /// Streams of what ended.
    watches: Streams,
    /// Agents that wait for people.
    waits: Streams,
    /// Cancelled when the broker stops: streams end then.
    stop: CancellationToken,
}

impl Api {
    /// The services of one broker.
    #[must_use]
    pub fn new(broker: Arc<Broker>, stop: CancellationToken) -> Self {
        let tails = Streams::new(TAILS_AT_ONCE, TAILS_OF_ONE);
        let looks = Streams::new(LOOKS_AT_ONCE, LOOKS_OF_ONE);
        let watches = Streams::new(WATCHES_AT_ONCE, WATCHES_OF_ONE);
        let waits = Streams::new(WAITS_AT_ONCE, WAITS_OF_ONE);
        Self { broker, tails, looks, watches, waits, stop }
    }
}

/// The caller that the authentication layer found.
fn caller<T>(request: &Request<T>) -> Result<Arc<Caller>, Refusal> {
    of(request.extensions())
}

fn of(extensions: &Extensions) -> Result<Arc<Caller>, Refusal> {
    // Why an error and not a default: a request that came past the layer is a mistake of ours.
    extensions.get::<Arc<Caller>>().cloned().ok_or_else(|| {
        Refusal::Internal("a request reached a service without authentication".into())
    })
}
