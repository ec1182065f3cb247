//! An API that opens only to tokens of a broker, by axum.
//!
//! `cargo run --example axum_api -- ISSUER AUDIENCE KEYS_URL CA`, and optionally `watch` or
//! `introspection` to hear of revocations from the broker itself: that takes `JETON_ENDPOINT`,
//! `JETON_CA`, `JETON_CERT`, `JETON_KEY` of an identity with the role verifier.

#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use axum::{Extension, Router, extract::Path, http::StatusCode, routing::get};
use jeton_client::{
    Client,
    verifier::{Access, RevocationBy, Verifier, VerifierSettings, guard::Guard},
};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let mut word = || words.next().ok_or("say ISSUER AUDIENCE KEYS_URL CA");
    let (issuer, audience, keys, ca) = (word()?, word()?, word()?, word()?);
    let revocation = match words.next().as_deref() {
        Some("watch") => RevocationBy::Watch(Client::from_env().await?),
        Some("introspection") => RevocationBy::Introspection(Client::from_env().await?),
        Some(_) | None => RevocationBy::StatusList,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let verifier = Verifier::new(VerifierSettings {
        issuer,
        audience,
        keys_url: Some(keys),
        ca: Some(ca.into()),
        urls: vec![url.clone()],
        revocation,
    })
    .await?;
    let routes =
        Router::new().route("/invoices/{*resource}", get(invoices)).layer(Guard::new(verifier));
    println!("{url}");
    Ok(axum::serve(listener, routes).await?)
}

/// Shows invoices to whoever may read these.
async fn invoices(
    Extension(access): Extension<Access>,
    Path(resource): Path<String>,
) -> Result<String, (StatusCode, String)> {
    if !access.allows("contents:read", &resource) {
        let words =
            format!("the token opens {}, not `contents:read` on {resource}\n", access.scope);
        return Err((StatusCode::FORBIDDEN, words));
    }
    Ok(format!("invoices of {resource} for {}\n", access.agent))
}
