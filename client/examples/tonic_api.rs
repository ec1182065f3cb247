//! A gRPC service that opens only to tokens of a broker, by tonic, over mutual TLS: tokens that are
//! bound to a certificate are taken from its holder alone. The health service stands for any.
//!
//! `cargo run --example tonic_api -- ISSUER AUDIENCE KEYS_URL CA CERTIFICATE KEY`

#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::fs;

use jeton_client::verifier::{PeerThumbprint, Verifier, VerifierSettings, guard::Guard};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{
    Certificate, Identity, Server, ServerTlsConfig,
    server::{TcpConnectInfo, TlsConnectInfo},
};
use tower::util::MapRequestLayer;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let mut word = || words.next().ok_or("say ISSUER AUDIENCE KEYS_URL CA CERTIFICATE KEY");
    let (issuer, audience, keys, ca) = (word()?, word()?, word()?, word()?);
    let identity = Identity::from_pem(fs::read(word()?)?, fs::read(word()?)?);
    let clients = Certificate::from_pem(fs::read(&ca)?);
    let verifier = Verifier::new(VerifierSettings {
        issuer,
        audience,
        keys_url: Some(keys),
        ca: Some(ca.into()),
        ..VerifierSettings::default()
    })
    .await?;
    let (_health, service) = tonic_health::server::health_reporter();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("https://localhost:{}", listener.local_addr()?.port());
    Server::builder()
        .tls_config(ServerTlsConfig::new().identity(identity).client_ca_root(clients))?
        .layer(MapRequestLayer::new(with_thumbprint))
        .layer(Guard::new(verifier))
        .add_service(service)
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await?;
    Ok(())
}

/// Puts the certificate of the connection where the guard looks for it.
fn with_thumbprint<B>(mut request: http::Request<B>) -> http::Request<B> {
    let connection = request.extensions().get::<TlsConnectInfo<TcpConnectInfo>>();
    let certificates = connection.and_then(TlsConnectInfo::peer_certs);
    if let Some(own) = certificates.as_deref().and_then(|chain| chain.first()) {
        let thumbprint = PeerThumbprint::of(own);
        request.extensions_mut().insert(thumbprint);
    }
    request
}
