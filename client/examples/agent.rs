//! An agent's whole program. Start it with the variables of a session:
//!
//! `JETON_ENDPOINT=… JETON_CA=… JETON_CERT=… JETON_KEY=… JETON_SESSION_FILE=… cargo run --example agent`

#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use jeton_client::{Client, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let session = Client::from_env().await?.session().await?;
    let credential = match session.credential("git:acme/api contents:read").await {
        Ok(credential) => credential,
        Err(error) => {
            eprintln!("refused: {error}; {}", error.advice());
            return Err(error);
        }
    };
    // Here it would go into a request. It is shown by `expose` only, and renewed in the background.
    println!(
        "{} holds a credential of {} characters",
        credential.grant_id(),
        credential.expose().expose().len()
    );
    session.close().await
}
