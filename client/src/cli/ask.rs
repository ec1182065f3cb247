//! Asking for one grant, and the credential that comes with it.

use std::time::Duration;

use jeton_client::{Ask, Client, Delivery, GrantInfo, Granted, IssuedSecret, Scope};

use super::{
    failure::Failure,
    output::{clean, code, note},
};

/// A grant with its credential.
pub struct Held {
    /// The grant.
    pub grant: GrantInfo,
    /// The credential.
    pub issued: IssuedSecret,
}

/// Reads a scope.
///
/// # Errors
/// When it is none, with words on how to write one.
pub fn scope(text: &str) -> Result<Scope, Failure> {
    Scope::parse(text).map_err(|error| Failure::Invalid(error.to_string()))
}

/// Requests a grant, and waits for people where they have to approve it first.
///
/// # Errors
/// When it is refused, or waits for a person longer than `patience`.
pub async fn granted(
    client: &Client,
    ask: Ask,
    patience: Option<Duration>,
) -> Result<Granted, Failure> {
    let granted = client.request_grant(ask).await?;
    match patience {
        Some(patience) if granted.grant.state == "pending" => {
            note(&Failure::Pending(Box::new(granted.grant.clone())).text());
            Ok(client.await_grant(&granted.grant.id, patience).await?)
        }
        Some(_) | None => Ok(granted),
    }
}

/// Requests a grant for this process itself, whose credential is usable at once. `instead` is the command that
/// does the same through the gateway, for the denial of a direct delivery.
///
/// # Errors
/// When it is refused, waits for a person longer than `patience`, or comes with a credential that is not usable; that one is
/// given back.
pub async fn direct(
    client: &Client,
    ask: Ask,
    patience: Option<Duration>,
    instead: &str,
) -> Result<Held, Failure> {
    let ask = Ask { delivery: Some(Delivery::Direct), ..ask };
    let granted = granted(client, ask, patience).await;
    taken(client, granted.map_err(|failure| failure.through_gateway(instead))?).await
}

/// Takes the credential of a grant if it is usable, and gives the grant back if not.
///
/// # Errors
/// When the grant waits for a person or has ended, or the credential is not usable.
pub async fn taken(client: &Client, granted: Granted) -> Result<Held, Failure> {
    let held = held(granted)?;
    match usable(&held.issued) {
        Ok(_) => Ok(held),
        Err(failure) => {
            release(client, &held.grant.id).await;
            Err(failure)
        }
    }
}

/// A grant that may be used now.
///
/// # Errors
/// When it waits for a person, or has ended.
pub fn active(grant: GrantInfo) -> Result<GrantInfo, Failure> {
    match grant.state.as_str() {
        "active" => Ok(grant),
        _ if grant.is_open() => Err(Failure::Pending(Box::new(grant))),
        _ => Err(Failure::Ended(Box::new(grant))),
    }
}

/// Takes the credential of a grant.
///
/// # Errors
/// When the grant waits for a person, or has ended.
pub fn held(granted: Granted) -> Result<Held, Failure> {
    match granted.secret {
        Some(issued) => Ok(Held { grant: granted.grant, issued }),
        None if !granted.grant.is_open() => Err(Failure::Ended(Box::new(granted.grant))),
        None => Err(Failure::Pending(Box::new(granted.grant))),
    }
}

/// Shows the secret, if it is one word that fits everywhere a credential goes.
///
/// # Errors
/// When it is empty, or holds blanks, control characters or anything but ASCII.
pub fn usable(issued: &IssuedSecret) -> Result<&str, Failure> {
    let secret = issued.secret.expose();
    // Why: it ends up in headers, environments and line protocols, where more than a word splits.
    if !secret.is_empty() && secret.chars().all(|c| c.is_ascii_graphic()) {
        return Ok(secret);
    }
    let words =
        "the credential is empty or holds blanks or control characters; it is not handed on";
    Err(Failure::Broken(words.to_owned()))
}

/// Gives a grant back. When that fails it says so: the grant ends by itself.
pub async fn release(client: &Client, id: &str) {
    if let Err(error) = client.release_grant(id).await {
        let words = clean(&error.to_string());
        note(&format!("jeton: grant {} is not given back and ends by itself: {words}\n", code(id)));
    }
}
