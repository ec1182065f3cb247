//! A connection that stays open, through tonic's own server.

use std::{
    convert::Infallible,
    sync::atomic::{AtomicI64, Ordering},
};

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tonic::body::Body;

use super::*;
use crate::identity::listener::{Bounds, Incoming};

/// Serves with tonic's own server and answers each call with the caller's name or the reason.
async fn serve(world: &World, now: Arc<AtomicI64>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = Incoming::tls(listener, Arc::clone(&world.tls), Bounds::default());
    let authenticator = Arc::clone(&world.authenticator);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (authenticator, now) = (Arc::clone(&authenticator), Arc::clone(&now));
        async move {
            let peer = request.extensions().get::<Peer>().unwrap();
            let now = Timestamp::from_seconds(now.load(Ordering::SeqCst));
            let (status, text) = match authenticator.authenticate(nothing(peer), now).await {
                Ok(principal) => (StatusCode::OK, principal.id.to_string()),
                Err(error) => (StatusCode::UNAUTHORIZED, error.reason().to_owned()),
            };
            let body = Body::new(http_body_util::Full::from(text).map_err(|never| match never {}));
            Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
        }
    });
    tokio::spawn(async move {
        let server = tonic::transport::Server::builder();
        let stop = std::future::pending();
        server.serve_with_incoming_shutdown(service, incoming, stop).await
    });
    address
}

/// One HTTP/2 connection, kept open.
struct Client(hyper::client::conn::http2::SendRequest<http_body_util::Empty<&'static [u8]>>);

impl Client {
    async fn connect(world: &World, address: SocketAddr, holder: &Holder) -> Self {
        let stream = world.disk.connect(address, Some(holder)).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    async fn calls(&mut self) -> String {
        let request = Request::post(format!("https://localhost{PATH}"));
        let request = request.body(http_body_util::Empty::new()).unwrap();
        let answer = self.0.send_request(request).await.unwrap();
        String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }
}

#[tokio::test]
async fn an_open_connection_is_checked_on_each_call() {
    const YEAR_5000: i64 = 95_617_584_000;
    let world = World::new();
    let now = Arc::new(AtomicI64::new(NOW));
    let address = serve(&world, Arc::clone(&now)).await;
    let mut client = Client::connect(&world, address, &world.ca.agent("one")).await;
    assert_eq!(client.calls().await, "spiffe://acme.dev/agent/one");

    now.store(YEAR_5000, Ordering::SeqCst);
    assert_eq!(client.calls().await, "CERTIFICATE_ENDED");
    now.store(NOW, Ordering::SeqCst);
    assert_eq!(client.calls().await, "spiffe://acme.dev/agent/one");

    let new_ca = Ca::new("new");
    world.disk.write("clients.pem", &new_ca.pem());
    world.tls.reload_if_changed().unwrap();
    assert_eq!(client.calls().await, "CERTIFICATE_UNTRUSTED");
    let mut newcomer = Client::connect(&world, address, &new_ca.agent("two")).await;
    assert_eq!(newcomer.calls().await, "spiffe://acme.dev/agent/two");
    assert_eq!(client.calls().await, "CERTIFICATE_UNTRUSTED");
}
