//! Whether a token was taken back: by signed lists, by a stream of the broker's, or by asking.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use jeton_domain::{
    jose::Compact,
    limits::LEEWAY_SECONDS,
    secret::Secret,
    token::{
        StatusPlace, VerifiedClaims,
        status_list::{StatusClaims, StatusList, TYPE},
    },
};
use reqwest::Url;
use serde_json::Value;
use tokio::{task::AbortHandle, time::timeout};

use super::{
    Inner, Refused, RevocationBy,
    fetch::{DOCUMENT_BYTES, Fetcher},
    now,
};
use crate::{clock::now_millis, connect::Client};

/// Longest silence of the stream before nothing is accepted any more.
const SILENCE: Duration = Duration::from_secs(5);
/// Longest wait for the broker's word about one token.
const ASK: Duration = Duration::from_secs(3);
/// Longest wait for a list.
const FETCH: Duration = Duration::from_secs(2);
/// How long a list that can't be had is not asked for again. Why as long: callers wait for it half of
/// the time at most.
const FETCH_AGAIN: Duration = Duration::from_secs(2);
/// Longest belief in a list, whatever it says.
const BELIEF_MOST: i64 = 24 * 60 * 60;
/// Pause before a broken stream is opened again.
const AGAIN: Duration = Duration::from_millis(200);
/// Lists that are kept. Why: each tells of 65,536 grants.
const LISTS: usize = 256;
/// Shortest time between two looks for a newer list, whatever the old one says.
const TTL_LEAST: u64 = 1;
/// Longest time.
const TTL_MOST: u64 = 300;

/// How the state of a token is known.
pub enum States {
    /// By lists.
    Lists(Lists),
    /// By a stream.
    Watch(Watched),
    /// By asking.
    Introspection(Client),
    /// Not at all.
    OwnEnd,
}

impl States {
    pub fn new(by: RevocationBy, keys: &Url, fetcher: &Fetcher) -> Self {
        match by {
            RevocationBy::StatusList => Self::Lists(Lists {
                fetcher: fetcher.clone(),
                origin: keys.origin().ascii_serialization(),
                lists: Mutex::default(),
            }),
            // Why without a session: with one, and without the role, it would hear of that session alone.
            RevocationBy::Watch(client) => Self::Watch(Watched::start(client.without_handle())),
            RevocationBy::Introspection(client) => Self::Introspection(client.without_handle()),
            RevocationBy::OwnEnd => Self::OwnEnd,
        }
    }

    /// Checks that a token was not taken back.
    pub async fn check(
        &self,
        verifier: &Inner,
        claims: &VerifiedClaims,
        token: &str,
    ) -> Result<(), Refused> {
        match self {
            Self::Lists(lists) => {
                let unlisted = || Refused::Unsure("the token names no status list".to_owned());
                let place = claims.status.as_ref().ok_or_else(unlisted)?;
                lists.check(verifier, place).await
            }
            Self::Watch(watched) => watched.check(&claims.grant.to_string()),
            Self::Introspection(client) => {
                let token = Secret::new(token.to_owned());
                let asked = timeout(ASK, client.introspect(&token, &verifier.audience)).await;
                match asked {
                    Ok(Ok(found)) if found.active => Ok(()),
                    Ok(Ok(_)) => Err(Refused::Revoked),
                    Ok(Err(error)) => Err(Refused::Unsure(error.to_string())),
                    Err(_) => Err(Refused::Unsure("the broker does not answer".to_owned())),
                }
            }
            Self::OwnEnd => Ok(()),
        }
    }
}

/// Signed lists, kept as long as they say.
pub struct Lists {
    fetcher: Fetcher,
    /// Where lists may be without TLS: where the keys are.
    origin: String,
    lists: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Slot>>>>,
}

/// A list that was asked for.
#[derive(Default)]
struct Slot {
    kept: Option<Kept>,
    /// When a newer one is looked for; at once if never was.
    stale: Option<Instant>,
}

struct Kept {
    list: StatusList,
    /// When it is no longer believed, in seconds since 1970.
    exp: i64,
    /// The same on a clock that nobody sets.
    until: Instant,
    ttl: Duration,
}

impl Lists {
    async fn check(&self, verifier: &Inner, place: &StatusPlace) -> Result<(), Refused> {
        let url: Url = place.uri.parse().map_err(|_| elsewhere(&place.uri))?;
        // Why any host: the broker signed its name. Without TLS somebody else could answer there.
        if url.scheme() != "https" && url.origin().ascii_serialization() != self.origin {
            return Err(elsewhere(&place.uri));
        }
        let slot = self.slot(&place.uri);
        // Why held while it is fetched: one caller fetches for all.
        let mut slot = slot.lock().await;
        if slot.stale.is_none_or(|stale| Instant::now() >= stale) {
            match timeout(FETCH, self.fetch(verifier, &url, &place.uri)).await {
                Ok(Ok(newer)) => {
                    slot.stale = Some(Instant::now() + newer.ttl);
                    slot.kept = Some(newer);
                }
                // Why not an error yet: the old one may still be believed.
                Ok(Err(_)) | Err(_) => slot.stale = Some(Instant::now() + FETCH_AGAIN),
            }
        }
        let unsure = || Refused::Unsure("the list of revoked tokens can't be had".to_owned());
        let kept = slot.kept.as_ref().filter(|kept| kept.is_believed()).ok_or_else(unsure)?;
        match kept.list.is_revoked(place.idx) {
            Some(false) => Ok(()),
            Some(true) => Err(Refused::Revoked),
            None => Err(Refused::Token("its place in the status list is beyond it".to_owned())),
        }
    }

    fn slot(&self, uri: &str) -> Arc<tokio::sync::Mutex<Slot>> {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if lists.len() >= LISTS && !lists.contains_key(uri) {
            lists.clear();
        }
        Arc::clone(lists.entry(uri.to_owned()).or_default())
    }

    async fn fetch(&self, verifier: &Inner, url: &Url, named: &str) -> Result<Kept, String> {
        let bytes = self.fetcher.get(url).await.map_err(|error| error.to_string())?;
        let text = String::from_utf8(bytes).map_err(|_| "it is no text".to_owned())?;
        let list =
            Compact::parse_up_to(&text, DOCUMENT_BYTES).map_err(|error| error.to_string())?;
        verifier.keys.check(&list, TYPE).await.map_err(|refused| refused.to_string())?;
        let claims: StatusClaims = serde_json::from_value(Value::Object(list.claims().clone()))
            .map_err(|error| error.to_string())?;
        // Spec: draft-ietf-oauth-status-list §8.3: `sub` is the place that the token names.
        if claims.sub != named {
            return Err("it is another list".to_owned());
        }
        let leeway = i64::try_from(LEEWAY_SECONDS).unwrap_or(0);
        // Why: a broker whose clock is ahead has forgotten endings that still matter here.
        if claims.iat > now().seconds().saturating_add(leeway) {
            return Err("it is signed in the future".to_owned());
        }
        let list = StatusList::unpack(&claims.status_list).map_err(|error| error.to_string())?;
        let ttl = Duration::from_secs(u64::from(claims.ttl).clamp(TTL_LEAST, TTL_MOST));
        let belief = claims.exp.saturating_sub(claims.iat).clamp(0, BELIEF_MOST);
        let until = Instant::now() + Duration::from_secs(belief.unsigned_abs());
        Ok(Kept { list, exp: claims.exp, until, ttl })
    }
}

impl Kept {
    fn is_believed(&self) -> bool {
        now().seconds() < self.exp && Instant::now() < self.until
    }
}

fn elsewhere(uri: &str) -> Refused {
    let uri = jeton_domain::id::quote(uri);
    Refused::Token(format!(
        "its status list `{uri}` is neither https nor where the broker's keys are"
    ))
}

/// What a stream of the broker's says.
pub struct Watched {
    heard: Arc<RwLock<Heard>>,
    task: AbortHandle,
}

#[derive(Default)]
struct Heard {
    /// Grants that ended early, and when their credentials die by themselves.
    ended: HashMap<String, i64>,
    /// When all that had ended was known last.
    at: Option<Instant>,
}

impl Watched {
    fn start(client: Client) -> Self {
        let heard = Arc::new(RwLock::new(Heard::default()));
        let task = tokio::spawn(listen(client, Arc::clone(&heard))).abort_handle();
        Self { heard, task }
    }

    fn check(&self, grant: &str) -> Result<(), Refused> {
        let heard = self.heard.read().unwrap_or_else(PoisonError::into_inner);
        if heard.at.is_none_or(|at| at.elapsed() > SILENCE) {
            return Err(Refused::Unsure("the broker has fallen silent".to_owned()));
        }
        if heard.ended.contains_key(grant) { Err(Refused::Revoked) } else { Ok(()) }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(client: Client, heard: Arc<RwLock<Heard>>) {
    loop {
        // Why from the start each time: a broker whose store was put back has another log, and it tells
        // only what still matters.
        if let Ok(mut words) = client.watch_revocations(0).await {
            while let Ok(Some(word)) = words.next().await {
                let mut heard = heard.write().unwrap_or_else(PoisonError::into_inner);
                if !word.ended.is_empty() {
                    let now = now_millis();
                    heard.ended.retain(|_, until| *until > now);
                }
                heard.ended.extend(word.ended.into_iter().map(|one| (one.grant, one.until)));
                if word.caught_up {
                    heard.at = Some(Instant::now());
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}
