//! Serves connections: HTTP/1.1 and HTTP/2 over our own TLS, each request behind the door.

use std::{convert::Infallible, sync::Arc};

use axum::body::Body;
use http::Request;
use hyper::{body::Incoming as Received, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
};
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use super::Gateway;
use crate::{
    capacity::Held,
    identity::listener::Incoming,
    limits::{
        DRAIN, GATEWAY_HEAD, HEADER_BYTES, HTTP1_HEAD_BYTES, KEEPALIVE, KEEPALIVE_ANSWER,
        PENDING_RESETS, TRANSFERS_OF_ONE,
    },
};

/// Serves until it is told to stop, and then lets transfers under way finish within a deadline.
pub async fn serve(mut incoming: Incoming, gateway: Arc<Gateway>, stop: CancellationToken) {
    let graceful = GracefulShutdown::new();
    let builder = builder();
    loop {
        let next = tokio::select! {
            () = stop.cancelled() => break,
            next = incoming.next() => next,
        };
        let Some(Ok(connection)) = next else { break };
        let peer = connection.connect_info();
        let gateway = Arc::clone(&gateway);
        let service = service_fn(move |request: Request<Received>| {
            let (gateway, peer) = (Arc::clone(&gateway), peer.clone());
            async move {
                let active = peer.begin();
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(peer);
                let answer = gateway.answer(request).await;
                Ok::<_, Infallible>(answer.map(|body| Held::new(body, active)))
            }
        });
        let connection =
            builder.serve_connection_with_upgrades(TokioIo::new(connection), service).into_owned();
        let served = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::debug!(error, "a connection of the gateway broke");
            }
        });
    }
    if timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("some transfers did not finish in time and are cut");
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(GATEWAY_HEAD)
        .max_buf_size(HTTP1_HEAD_BYTES.saturating_mul(4));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(u32::try_from(TRANSFERS_OF_ONE).unwrap_or(1))
        .max_header_list_size(HEADER_BYTES)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_ANSWER);
    builder
}
