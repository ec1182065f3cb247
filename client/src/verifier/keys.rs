//! The broker's public keys, fetched again when they are old or a token names one that is not among
//! them.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use jeton_domain::jose::{
    Algorithm, Compact,
    json::{self, Object},
    jwk::PublicKey,
};
use reqwest::Url;
use serde_json::Value;
use tokio::sync::Mutex;

use super::{Refused, fetch::Fetcher};
use crate::error::{Error, ErrorKind};

/// How long fetched keys are used without asking again. The broker publishes a key earlier than that.
const LIFE: Duration = Duration::from_secs(300);
/// How long they are used when newer ones can't be had.
const LAST_RESORT: Duration = Duration::from_secs(3600);
/// Shortest time between two fetches. Why: tokens with made-up keys must not flood the broker.
const REFETCH: Duration = Duration::from_secs(10);
/// Keys of a set.
const KEYS: usize = 100;

/// The keys, and where they come from. Cheap to clone.
#[derive(Clone)]
pub struct Keys(Arc<Source>);

struct Source {
    fetcher: Fetcher,
    url: Url,
    set: RwLock<Arc<Set>>,
    /// Held while one caller fetches for all.
    fetching: Mutex<Option<Instant>>,
}

struct Set {
    keys: HashMap<String, (PublicKey, Algorithm)>,
    fetched: Instant,
}

impl Keys {
    /// Fetches them for the first time.
    pub async fn fetch(fetcher: Fetcher, url: Url) -> Result<Self, Error> {
        let set = RwLock::new(Arc::new(fetch(&fetcher, &url).await?));
        Ok(Self(Arc::new(Source { fetcher, url, set, fetching: Mutex::default() })))
    }

    /// Checks that one of them signed a token, and that it is of a type.
    pub async fn check(&self, token: &Compact<'_>, typ: &str) -> Result<(), Refused> {
        let bad = |why: &str| Refused::Token(why.to_owned());
        let text = |name: &str| token.header().get(name).and_then(Value::as_str);
        let named = text("typ").map(|typ| typ.strip_prefix("application/").unwrap_or(typ));
        if named != Some(typ) {
            return Err(bad("it is of another type"));
        }
        let kid = text("kid").ok_or_else(|| bad("it names no key"))?;
        let mut set = self.set();
        if !set.keys.contains_key(kid) || set.fetched.elapsed() > LIFE {
            self.refetch(kid).await;
            set = self.set();
        }
        if set.fetched.elapsed() > LAST_RESORT {
            return Err(Refused::Unsure("the broker's keys can't be had".to_owned()));
        }
        let (key, algorithm) =
            set.keys.get(kid).ok_or_else(|| bad("no published key signed it"))?;
        if Algorithm::parse(token.algorithm()) != Some(*algorithm)
            || !token.is_signed_by(key, *algorithm)
        {
            return Err(bad("its signature is wrong"));
        }
        Ok(())
    }

    fn set(&self) -> Arc<Set> {
        Arc::clone(&self.0.set.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Fetches them again, unless somebody just did. What can't be had leaves the old ones.
    async fn refetch(&self, kid: &str) {
        let (keys, kid) = (self.clone(), kid.to_owned());
        // Why its own task: a caller that goes away must not stop what others wait for.
        let _ = tokio::spawn(async move { keys.fetch_again(&kid).await }).await;
    }

    async fn fetch_again(&self, kid: &str) {
        let mut tried = self.0.fetching.lock().await;
        let set = self.set();
        let known = set.keys.contains_key(kid) && set.fetched.elapsed() <= LIFE;
        if known || tried.is_some_and(|at| at.elapsed() < REFETCH) {
            return;
        }
        *tried = Some(Instant::now());
        if let Ok(set) = fetch(&self.0.fetcher, &self.0.url).await {
            *self.0.set.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
        }
    }
}

async fn fetch(fetcher: &Fetcher, url: &Url) -> Result<Set, Error> {
    let document = fetcher.get(url).await?;
    let bad = || Error::local(ErrorKind::Unavailable, format!("`{url}` is no set of public keys"));
    let document = json::object(&document).ok_or_else(bad)?;
    let listed = document.get("keys").and_then(Value::as_array).ok_or_else(bad)?;
    let keys: HashMap<_, _> =
        listed.iter().take(KEYS).filter_map(Value::as_object).filter_map(key).collect();
    if keys.is_empty() { Err(bad()) } else { Ok(Set { keys, fetched: Instant::now() }) }
}

/// A key that may sign the broker's tokens; others are passed over (RFC 7517 §5).
fn key(jwk: &Object) -> Option<(String, (PublicKey, Algorithm))> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let algorithm = Algorithm::parse(text("alg")?)
        .filter(|algorithm| matches!(algorithm, Algorithm::EdDsa | Algorithm::Es256))?;
    let key = PublicKey::parse(jwk).ok().filter(|key| key.fits(algorithm))?;
    Some((text("kid")?.to_owned(), (key, algorithm)))
}
