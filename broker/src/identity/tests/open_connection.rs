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

#[tokio::test]
async fn a_ca_speaks_for_its_own_trust_domain_alone() {
    let partner = Ca::new("partner");
    let world = World::federated(&[("partner.example", &partner)]);
    let address = serve(&world, Arc::new(AtomicI64::new(NOW))).await;
    let named = |ca: &Ca, id: &str| ca.sign(&leaf(&[id]));
    let own = named(&world.ca, "spiffe://acme.dev/agent/one");
    let theirs = named(&partner, "spiffe://partner.example/agent/one");
    let mut open = Vec::new();
    for (holder, expected) in [
        (&own, "spiffe://acme.dev/agent/one"),
        (&theirs, "spiffe://partner.example/agent/one"),
        (&named(&partner, "spiffe://acme.dev/agent/ops"), "CERTIFICATE_UNTRUSTED"),
        (&named(&world.ca, "spiffe://partner.example/agent/one"), "CERTIFICATE_UNTRUSTED"),
        (&named(&world.ca, "spiffe://nobody.example/agent/one"), "CERTIFICATE_UNTRUSTED"),
    ] {
        let mut client = Client::connect(&world, address, holder).await;
        assert_eq!(client.calls().await, expected);
        open.push(client);
    }

    // The CAs change places: what is open is checked by the new binding.
    world.disk.write("clients.pem", &partner.pem());
    world.disk.write("partner.example.bundle", &world.ca.pem());
    world.tls.reload_if_changed().unwrap();
    let mut answers = Vec::new();
    for client in &mut open {
        answers.push(client.calls().await);
    }
    assert_eq!(
        answers,
        [
            "CERTIFICATE_UNTRUSTED",
            "CERTIFICATE_UNTRUSTED",
            "spiffe://acme.dev/agent/ops",
            "spiffe://partner.example/agent/one",
            "CERTIFICATE_UNTRUSTED",
        ]
    );
}
