//! Serves plain HTTP: bounded in connections, and none may dawdle over its head. Of too many, the oldest
//! of the address that holds the most is closed.

use std::convert::Infallible;

use axum::Router;
use http::Request;
use hyper::{
    body::Incoming,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    capacity::{Activity, Capacity, Held, Shares, SlotHolder},
    limits::{DRAIN, HANDSHAKE, HTTP_CONNECTIONS, HTTP1_HEAD_BYTES},
};

/// Serves pages until it is told to stop, and then lets those in work finish.
pub async fn serve(listener: TcpListener, pages: Router, stop: CancellationToken) {
    let half = HTTP_CONNECTIONS.div_ceil(2);
    let shares = Shares { size: HTTP_CONNECTIONS, of_root: half, of_member: half };
    let slots = Capacity::new(shares);
    let graceful = GracefulShutdown::new();
    let builder = builder();
    loop {
        let (stream, address) = tokio::select! {
            () = stop.cancelled() => break,
            next = listener.accept() => match next {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed; the listener goes on");
                    sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let subject = SlotHolder::address(address.ip());
        let activity = Activity::default();
        let Some(slot) = slots.take_evictable(&subject, activity.clone()) else { continue };
        // Why ignored: only a little latency is lost.
        let _ = stream.set_nodelay(true);
        let pages = TowerToHyperService::new(pages.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (active, pages) = (activity.begin(), pages.clone());
            async move {
                let answer = pages.call(request).await?;
                Ok::<_, Infallible>(answer.map(|body| Held::new(body, Some(active))))
            }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let served = graceful.watch(connection);
        tokio::spawn(async move {
            tokio::select! {
                served = served => if let Err(error) = served {
                    tracing::debug!(error, "a connection broke");
                },
                () = slot.evicted() => tracing::debug!("a connection was closed for another"),
            }
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
