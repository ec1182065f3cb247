//! What each tool does.
//!
//! Invariant: a [`Granted`] is let go of by [`kept`] as soon as it comes. What follows knows the grant
//! alone.

use std::time::Duration;

use jeton_client::{
    Ask, Client, Delivery, ErrorKind, GrantFilter, GrantInfo, Granted, PageOf, PolicyQuestion,
    Scope, SessionInfo,
};

use super::{arguments::Call, told::Told};
use crate::cli::{ask, failure::Failure};

/// What a model requests and asks about: it never gets a credential.
const GATEWAY: Option<Delivery> = Some(Delivery::Gateway);

/// Grants that are listed. Why: a model reads all of them each time.
const LISTED: u32 = 50;

/// Does what a model wants, unless it gives the call up.
///
/// # Errors
/// When the broker refuses or can't be reached, or the grant waits for a person.
pub async fn answer(
    client: &Client,
    call: Call,
    given_up: impl Future<Output = ()>,
) -> Result<Told, Failure> {
    match call {
        Call::Session => {
            let session = own(client).await?;
            Ok(Told::session(&session, &client.may(None, None, GATEWAY).await?))
        }
        Call::Explain { scope, ttl } => {
            let delivery = GATEWAY;
            let question = PolicyQuestion { ttl, delivery, ..PolicyQuestion::new(scope.clone()) };
            let answer = client.explain(question).await?.into_iter().next();
            let answer = answer.ok_or_else(|| Failure::Broken("there is no answer".to_owned()))?;
            Ok(Told::answer(&scope, &answer))
        }
        Call::Request { scope, reason, ttl, wait } => {
            let asked = Asked { scope, reason, ttl };
            request(client, asked, wait, given_up).await.map(|grant| Told::grant(&grant))
        }
        Call::Wait { grant, wait } => {
            let grant = client.get_grant(&grant.to_string()).await?;
            let grant = tokio::select! {
                grant = decided(client, grant, wait) => grant?,
                () = given_up => return Err(cut_short()),
            };
            Ok(Told::grant(&grant))
        }
        Call::Release { grant } => {
            Ok(Told::grant(&client.release_grant(&grant.to_string()).await?))
        }
        Call::Grants => {
            let filter = GrantFilter { session: Some(own(client).await?.id), ..Default::default() };
            let page = client.list_grants(filter, PageOf { size: LISTED, token: None }).await?;
            Ok(Told::grants(&page))
        }
    }
}

/// There is no session to speak for.
#[must_use]
pub fn no_session() -> Failure {
    Failure::config("no session is named; set JETON_SESSION_FILE or JETON_SESSION")
}

struct Asked {
    scope: Scope,
    reason: String,
    ttl: Option<Duration>,
}

async fn request(
    client: &Client,
    Asked { scope, reason, ttl }: Asked,
    patience: Duration,
    given_up: impl Future<Output = ()>,
) -> Result<GrantInfo, Failure> {
    let asked = Ask { ttl, reason, delivery: GATEWAY, ..Ask::new(scope) };
    let grant = kept(client.request_grant(asked).await?);
    let id = grant.id.clone();
    if !grant.gateway {
        ask::release(client, &id).await;
        let words = "the broker gives the credential to the agent and not to a gateway, so it was given \
                     back; is it of another version?";
        return Err(Failure::Broken(words.to_owned()));
    }
    tokio::select! {
        // Why first: a call that was given up in the meantime is heard by nobody.
        biased;
        () = given_up => {
            // Why: nobody knows of this grant, so nobody would give it back.
            ask::release(client, &id).await;
            Err(cut_short())
        }
        grant = decided(client, grant, patience) => grant,
    }
}

/// A grant that may be used, at once or once people approved it.
async fn decided(
    client: &Client,
    grant: GrantInfo,
    patience: Duration,
) -> Result<GrantInfo, Failure> {
    let waits = grant.is_open() && grant.state != "active";
    if !waits || patience.is_zero() {
        return ask::active(grant);
    }
    if !grant.gateway {
        // Why: to wait for it would take its credential, and lose it.
        let words = "the grant's credential is for whoever asked for it, not for the gateway; call \
                     `request`";
        return Err(Failure::Invalid(words.to_owned()));
    }
    match client.await_grant(&grant.id, patience).await {
        Ok(granted) => ask::active(kept(granted)),
        Err(error) if error.kind() == ErrorKind::NeedsApproval => {
            Err(Failure::Pending(Box::new(grant)))
        }
        Err(error) => Err(error.into()),
    }
}

/// The grant without its credential, which the broker should not have sent. It is wiped here.
pub(super) fn kept(granted: Granted) -> GrantInfo {
    granted.grant
}

fn cut_short() -> Failure {
    Failure::Broken("the call was given up before it was done".to_owned())
}

async fn own(client: &Client) -> Result<SessionInfo, Failure> {
    client.who_am_i().await?.session.ok_or_else(no_session)
}
