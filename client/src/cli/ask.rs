//! Asking for one grant, and the credential that comes with it.

use std::time::Duration;

use jeton_client::{Ask, Client, GrantInfo, Granted, IssuedSecret, Scope};

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

/// Asks for a grant that is usable at once.
///
/// # Errors
/// When it is refused, waits for a person longer than `patience`, or comes with a credential that is not usable; that one is
/// given back.
pub async fn grant(client: &Client, ask: Ask, patience: Option<Duration>) -> Result<Held, Failure> {
    let mut granted = client.request_grant(ask).await?;
    if granted.secret.is_none()
        && let Some(patience) = patience
    {
        note(&Failure::Pending(Box::new(granted.grant.clone())).text());
        granted = client.await_grant(&granted.grant.id, patience).await?;
    }
    let held = held(granted)?;
    match usable(&held.issued) {
        Ok(_) => Ok(held),
        Err(failure) => {
            release(client, &held.grant.id).await;
            Err(failure)
        }
    }
}

/// Asks for a grant that the gateway uses, and waits until it may.
///
/// # Errors
/// When it is refused, or waits for a person longer than `patience`.
pub async fn for_gateway(
    client: &Client,
    ask: Ask,
    patience: Option<Duration>,
) -> Result<GrantInfo, Failure> {
    let mut grant = client.request_grant(ask).await?.grant;
    if grant.state == "pending"
        && let Some(patience) = patience
    {
        note(&Failure::Pending(Box::new(grant.clone())).text());
        grant = client.await_grant(&grant.id, patience).await?.grant;
    }
    active(grant)
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
