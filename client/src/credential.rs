//! A credential that stays good: renewed at two thirds of its life, given back when dropped.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jeton_domain::secret::Secret;

use crate::{
    clock::now_millis,
    connect::{Client, jittered},
    types::{GrantInfo, IssuedSecret},
};

/// A credential in hand. It shows its secret through [`Credential::expose`] only.
#[derive(Clone)]
pub struct Credential(Arc<Held>);

/// The secret that is good now. A renewal leaves it as it is; look again for the next one.
pub struct Exposed(Arc<Shown>);

struct Shown {
    secret: Secret,
    expires_at: i64,
}

/// What all hands on one grant share.
pub(crate) struct Held {
    client: Client,
    grant: String,
    username: String,
    shown: RwLock<Arc<Shown>>,
    ended: AtomicBool,
}

impl Credential {
    pub(crate) fn new(held: Arc<Held>) -> Self {
        Self(held)
    }

    /// Shows the secret that is good now.
    #[must_use]
    pub fn expose(&self) -> Exposed {
        Exposed(self.0.now())
    }

    /// When the grant ends unless it is renewed, in milliseconds since 1970.
    #[must_use]
    pub fn expires_at(&self) -> i64 {
        self.0.now().expires_at
    }

    /// The grant.
    #[must_use]
    pub fn grant_id(&self) -> &str {
        &self.0.grant
    }

    /// The user name to send beside it where a protocol wants one.
    #[must_use]
    pub fn username(&self) -> &str {
        &self.0.username
    }
}

impl Exposed {
    /// The text. Each call is a place to review.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.secret.expose()
    }
}

impl Held {
    /// Holds a fresh credential and keeps it good until nobody holds it.
    pub(crate) fn start(client: Client, grant: GrantInfo, issued: IssuedSecret) -> Arc<Self> {
        let shown = Shown { secret: issued.secret, expires_at: grant.expires_at.unwrap_or(0) };
        let held = Arc::new(Self {
            client,
            grant: grant.id,
            username: issued.username,
            shown: RwLock::new(Arc::new(shown)),
            ended: AtomicBool::new(false),
        });
        // Why weak: the task must not keep alive what it renews.
        tokio::spawn(renew(Arc::downgrade(&held)));
        held
    }

    /// Whether there is still some life in it.
    pub(crate) fn is_good(&self) -> bool {
        !self.ended.load(Ordering::Acquire) && self.now().expires_at > now_millis()
    }

    /// Its grant is over: nothing is left to give back.
    pub(crate) fn ended(&self) {
        self.ended.store(true, Ordering::Release);
    }

    fn now(&self) -> Arc<Shown> {
        Arc::clone(&self.shown.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn show(&self, shown: Shown) {
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(shown);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.ended.load(Ordering::Acquire) {
            return;
        }
        // Best effort: without a runtime, or when it ends first, the grant ends by its own time.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (client, grant) = (self.client.clone(), std::mem::take(&mut self.grant));
            runtime.spawn(async move { client.release_grant(&grant).await.map(drop) });
        }
    }
}

/// Renews at two thirds of each life, until the last hand lets go or the broker refuses.
async fn renew(held: std::sync::Weak<Held>) {
    loop {
        let Some(left) = held.upgrade().map(|held| held.now().expires_at - now_millis()) else {
            return;
        };
        let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
        // Between a half and two thirds, so that many agents do not come at once.
        tokio::time::sleep((left / 2 + jittered(left / 3) / 2).max(Duration::from_millis(500)))
            .await;
        let Some(strong) = held.upgrade() else { return };
        if strong.ended.load(Ordering::Acquire) || strong.now().expires_at <= now_millis() {
            return;
        }
        match strong.client.renew_grant(&strong.grant, None).await {
            Ok(granted) => {
                if let Some(issued) = granted.secret {
                    let expires_at = granted.grant.expires_at.unwrap_or(0);
                    strong.show(Shown { secret: issued.secret, expires_at });
                }
            }
            Err(error) if error.is_passing() => {}
            Err(error) if error.is_over() => return strong.ended(),
            // Refused: what is held stays good until its own end, and is asked for anew then.
            Err(_) => return,
        }
    }
}
