//! A session from the agent's side: ask for credentials by scope, close when done.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, Weak},
    time::Duration,
};

use jeton_domain::scope::Scope;
use tokio::sync::Mutex;

use crate::{
    connect::Client,
    credential::{Credential, Held},
    error::{Error, ErrorKind},
    grants::Ask,
    types::SessionInfo,
};

/// The session that the client's handle opens. Cheap to clone.
#[derive(Clone)]
pub struct Session {
    client: Client,
    info: Arc<SessionInfo>,
    held: Arc<std::sync::Mutex<HashMap<String, Slot>>>,
}

/// One scope: whoever comes while it is being asked for waits for the same answer. Weak, so that the
/// grant is given back when the last hand lets go of it.
type Slot = Arc<Mutex<Weak<Held>>>;

impl Client {
    /// The session that this client's handle opens.
    ///
    /// # Errors
    /// When there is no handle, or it opens nothing.
    pub async fn session(&self) -> Result<Session, Error> {
        if !self.has_handle() {
            return Err(Error::config(
                "no session is named; set JETON_SESSION_FILE or JETON_SESSION",
            ));
        }
        let info = self.who_am_i().await?.session.ok_or_else(|| crate::wire::missing("session"))?;
        Ok(Session { client: self.clone(), info: Arc::new(info), held: Arc::default() })
    }
}

impl Session {
    /// The session as it was when it was first asked for.
    #[must_use]
    pub fn info(&self) -> &SessionInfo {
        &self.info
    }

    /// A credential for a scope: the one that somebody holds if it is good, else a new one. One
    /// request is under way for a scope at a time. Given back when its last hand drops it, so keep it
    /// for as long as the work takes.
    ///
    /// # Errors
    /// When it is refused or waits for people.
    pub async fn credential(&self, scope: &str) -> Result<Credential, Error> {
        self.credential_within(scope, Duration::ZERO).await
    }

    /// The same, and where people have to approve it first, waits for them.
    ///
    /// # Errors
    /// When it is refused, or nobody answered in this time.
    pub async fn credential_within(
        &self,
        scope: &str,
        patience: Duration,
    ) -> Result<Credential, Error> {
        let scope = Scope::parse(scope)
            .map_err(|error| Error::local(ErrorKind::Invalid, error.to_string()))?;
        let slot = self.slot(&scope.to_string());
        let mut slot = slot.lock().await;
        if let Some(held) = slot.upgrade().filter(|held| held.is_good()) {
            return Ok(Credential::new(held));
        }
        let mut granted = self.client.request_grant(Ask::direct(scope)).await?;
        if granted.secret.is_none() && !patience.is_zero() {
            granted = self.client.await_grant(&granted.grant.id, patience).await?;
        }
        if !granted.grant.is_open() {
            return Err(Error::local(
                ErrorKind::Denied,
                format!("{}: {}", granted.grant.id, granted.grant.end_reason),
            ));
        }
        let Some(issued) = granted.secret else {
            let guards: Vec<&str> =
                granted.grant.guards.iter().map(|guard| guard.policy_id.as_str()).collect();
            return Err(Error::local(
                ErrorKind::NeedsApproval,
                format!("{} waits for an approval of: {}", granted.grant.id, guards.join(", ")),
            ));
        };
        let held = Held::start(self.client.clone(), granted.grant, issued);
        *slot = Arc::downgrade(&held);
        Ok(Credential::new(held))
    }

    /// Gives everything back and closes the session.
    ///
    /// # Errors
    /// When the broker can't be reached; then everything ends by its own time.
    pub async fn close(self) -> Result<(), Error> {
        self.client.close_session(&self.info.id, "done").await?;
        let slots = std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner));
        for slot in slots.into_values() {
            if let Some(held) = slot.lock().await.upgrade() {
                held.ended();
            }
        }
        Ok(())
    }

    fn slot(&self, scope: &str) -> Slot {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(held.entry(scope.to_owned()).or_default())
    }
}
