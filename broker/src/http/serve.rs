//! Serves plain HTTP: bounded in connections, and none may dawdle over its head.

use std::sync::Arc;

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::limits::{DRAIN, HANDSHAKE, HTTP_CONNECTIONS, HTTP1_HEAD_BYTES};

/// Serves pages until it is told to stop, and then lets those in work finish.
pub async fn serve(listener: TcpListener, pages: Router, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(HTTP_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let builder = builder();
    loop {
        // Why before `accept`: at the bound, new connections wait in the kernel and cost nothing.
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await.map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>((slot, listener.accept().await?.0))
        };
        let (slot, stream) = tokio::select! {
            () = stop.cancelled() => break,
            next = next => match next {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed; the listener goes on");
                    sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        // Why ignored: only a little latency is lost.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(pages.clone());
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let served = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::debug!(error, "a connection broke");
            }
            drop(slot);
        });
    }
    if timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("some readers of pages did not finish in time and are cut");
    }
}

/// Why HTTP/1.1 alone: it is the one whose silence is bounded from the first moment on, and readers of
/// these pages need no other.
fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE)
        .max_buf_size(HTTP1_HEAD_BYTES);
    builder
}
