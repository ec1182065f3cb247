//! Keeps the key set of one issuer: fetched when needed, by one caller at a time, and kept for a
//! while when the issuer can't be reached.
//!
//! Fresh for [`JWKS_LIFE`]; usable for twelve times that when no newer one can be had. An unknown key
//! makes it ask again, but never more often than [`JWKS_REFETCH`].

use std::{path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use jeton_domain::ttl::Timestamp;
use reqwest::Url;
use serde_json::Value;
use tokio::sync::Mutex;

use super::{
    KeyPlace, TokenError,
    fetch::{FetchError, Fetcher, Reach, UrlError, is_loopback, read_file, safe_url},
    key_set::{KeySet, KeySetError, Wanted},
};
use crate::{
    identity::{error::IdentityError, json, jwk::PublicKey},
    limits::{JWKS_LIFE, JWKS_REFETCH},
};

/// How many lives an old key set is used for when no newer one can be had.
const STALE_LIVES: u32 = 12;
/// Pause after a fetch that failed. Why shorter than after a good one: callers are waiting.
const RETRY: Duration = Duration::from_secs(5);

/// The keys of one issuer.
pub struct KeySource {
    issuer: String,
    place: Place,
    fetcher: Fetcher,
    current: ArcSwapOption<Fetched>,
    /// Who holds it fetches; within it, the time before which nobody does.
    fetching: Mutex<Option<Timestamp>>,
}

/// A key that was found.
pub struct Found {
    /// The key.
    pub key: Arc<PublicKey>,
    /// Version of the set that it is in.
    pub version: [u8; 32],
}

enum Place {
    Discovery { url: Url, reach: Reach },
    Jwks(Url),
    File(PathBuf),
}

struct Fetched {
    set: KeySet,
    at: Timestamp,
}

/// Why no key set came. For logs.
#[derive(Debug, thiserror::Error)]
enum SourceError {
    #[error("the discovery document: {0}")]
    Discovery(FetchError),
    #[error("the discovery document is malformed, or of another issuer")]
    OtherIssuer,
    #[error("the `jwks_uri` of the discovery document: {0}")]
    Uri(#[from] UrlError),
    #[error("the key set: {0}")]
    Keys(#[from] FetchError),
    #[error("the key set: {0}")]
    Set(#[from] KeySetError),
}

impl KeySource {
    /// Sets up a source; fetches nothing yet.
    ///
    /// # Errors
    /// When its URL is neither https nor on this host.
    pub fn new(issuer: &str, place: &KeyPlace, fetcher: Fetcher) -> Result<Self, UrlError> {
        let place = match place {
            KeyPlace::Discovery => {
                // Spec: OpenID Connect Discovery §4.1: one `/` at the end is taken off.
                let base = issuer.strip_suffix('/').unwrap_or(issuer);
                let url = format!("{base}/.well-known/openid-configuration");
                let url = safe_url(&url, Reach::HttpsOrLoopback)?;
                // Why: what a remote issuer names must not lead us to services of this host.
                let reach = if is_loopback(&url) { Reach::HttpsOrLoopback } else { Reach::Https };
                Place::Discovery { url, reach }
            }
            KeyPlace::JwksUrl(url) => Place::Jwks(safe_url(url, Reach::HttpsOrLoopback)?),
            KeyPlace::File(path) => Place::File(path.clone()),
        };
        let issuer = issuer.to_owned();
        Ok(Self {
            issuer,
            place,
            fetcher,
            current: ArcSwapOption::empty(),
            fetching: Mutex::new(None),
        })
    }

    /// Version of the key set that is in use.
    pub fn version(&self) -> Option<[u8; 32]> {
        self.current.load().as_ref().map(|fetched| fetched.set.version())
    }

    /// Finds the key for a token.
    ///
    /// # Errors
    /// When the issuer has none, or no key set can be had.
    pub async fn find(
        self: &Arc<Self>,
        wanted: &Wanted,
        now: Timestamp,
    ) -> Result<Found, IdentityError> {
        let known = self.current.load_full();
        let usable = known.as_ref().filter(|fetched| fetched.is_usable(now));
        let held = usable.and_then(|fetched| fetched.find(wanted).ok());
        let fresh = usable.is_some_and(|fetched| fetched.is_fresh(now));
        match held {
            Some(found) if fresh => return Ok(found),
            // Why not wait: the old key is good, and somebody is asking already.
            Some(found) if self.fetching.try_lock().is_err() => return Ok(found),
            Some(_) | None => {}
        }
        let source = Arc::clone(self);
        // Why its own task: a caller that gives up must not stop the fetch that others wait for.
        let refresh = tokio::spawn(async move { source.refresh(now).await });
        if let Err(error) = refresh.await {
            tracing::warn!(issuer = self.issuer, %error, "fetching the keys of an issuer broke off");
        }
        let unavailable = || IdentityError::KeysUnavailable { issuer: self.issuer.clone() };
        let usable = self.current.load_full().filter(|fetched| fetched.is_usable(now));
        Ok(usable.ok_or_else(unavailable)?.find(wanted)?)
    }

    async fn refresh(&self, now: Timestamp) {
        let mut not_before = self.fetching.lock().await;
        // Also for whoever waited here while somebody else fetched: it has what it wanted.
        if not_before.is_some_and(|time| now < time) {
            return;
        }
        match self.fetch().await {
            Ok(set) => {
                self.current.store(Some(Arc::new(Fetched { set, at: now })));
                *not_before = Some(later(now, JWKS_REFETCH));
            }
            Err(error) => {
                tracing::warn!(issuer = self.issuer, %error, "the keys of an issuer can't be had");
                *not_before = Some(later(now, RETRY));
            }
        }
    }

    async fn fetch(&self) -> Result<KeySet, SourceError> {
        let document = match &self.place {
            Place::File(path) => read_file(path).await?,
            Place::Jwks(url) => self.fetcher.get(url.clone()).await?,
            Place::Discovery { url, reach } => {
                let found = self.fetcher.get(url.clone()).await.map_err(SourceError::Discovery)?;
                self.fetcher.get(safe_url(&self.jwks_uri(&found)?, *reach)?).await?
            }
        };
        Ok(KeySet::parse(&document)?)
    }

    fn jwks_uri(&self, document: &[u8]) -> Result<String, SourceError> {
        let found = json::object(document).ok_or(SourceError::OtherIssuer)?;
        let text = |name: &str| found.get(name).and_then(Value::as_str);
        // Spec: OpenID Connect Discovery §4.3: exactly the same, or it speaks for somebody else.
        if text("issuer") != Some(self.issuer.as_str()) {
            return Err(SourceError::OtherIssuer);
        }
        text("jwks_uri").map(str::to_owned).ok_or(SourceError::OtherIssuer)
    }
}

impl Fetched {
    fn is_fresh(&self, now: Timestamp) -> bool {
        now < later(self.at, JWKS_LIFE)
    }

    fn is_usable(&self, now: Timestamp) -> bool {
        now < later(self.at, JWKS_LIFE * STALE_LIVES)
    }

    fn find(&self, wanted: &Wanted) -> Result<Found, TokenError> {
        Ok(Found { key: self.set.pick(wanted)?, version: self.set.version() })
    }
}

fn later(time: Timestamp, wait: Duration) -> Timestamp {
    let millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(time.millis().saturating_add(millis))
}

#[cfg(test)]
mod tests;
