//! Tells those outside of what the log says: receivers of signals, in signed event tokens, of what was
//! taken back; webhooks of requests that wait. Each is sent again until it is kept; where it stood is
//! remembered in the store.

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jeton_domain::{
    audit::Entry,
    merkle::leaf_hash,
    signal::{Signal, TYPE},
};
use reqwest::Url;

use super::{Broker, Refusal, receipt::read};
use crate::{
    crypto::{self, jws},
    outlet::PushError,
    receiver::Receiver,
    store::Mark,
};

/// Entries that are looked at in one go.
const BATCH: u32 = 500;
/// Entries that mean nothing to a receiver before its place is remembered all the same.
const REMEMBERED: u64 = 10_000;

/// Somebody outside who is told of entries.
#[async_trait]
pub trait Listener: Send + Sync {
    /// Its address, for log lines.
    fn url(&self) -> &Url;

    /// Its number among all.
    fn number(&self) -> u64;

    /// Has it show that it hears, if it can.
    async fn greet(&self, broker: &Broker) -> Result<(), TellError>;

    /// Tells it of an entry, by a name that stays the same when it is told again. `false` if the entry
    /// means nothing to it.
    async fn hear(&self, broker: &Broker, entry: &Entry, id: &str) -> Result<bool, TellError>;
}

#[async_trait]
impl Listener for Receiver {
    fn url(&self) -> &Url {
        self.url()
    }

    fn number(&self) -> u64 {
        self.number()
    }

    /// Spec: SSF §8.1.4.
    async fn greet(&self, broker: &Broker) -> Result<(), TellError> {
        let state = URL_SAFE_NO_PAD.encode(crypto::random::<16>());
        let signal = Signal::verification(&format!("{:016x}", self.number()), &state);
        push(broker, self, &signal, &state).await
    }

    async fn hear(&self, broker: &Broker, entry: &Entry, id: &str) -> Result<bool, TellError> {
        match Signal::of(entry, self.issuer()).filter(|signal| self.hears_of(signal.kind)) {
            Some(signal) => push(broker, self, &signal, id).await.map(|()| true),
            None => Ok(false),
        }
    }
}

async fn push(
    broker: &Broker,
    receiver: &Receiver,
    signal: &Signal,
    id: &str,
) -> Result<(), TellError> {
    let now = broker.clock.now();
    let claims = signal.token(receiver.issuer(), receiver.audience(), id, now);
    let key = broker.keys.active(now);
    let signed = jws::sign(&key.header_of(TYPE), &claims, key.private());
    let signed = signed.map_err(|error| Refusal::Internal(error.to_string()))?;
    Ok(receiver.push(&signed).await?)
}

/// How far a listener was told.
pub struct Told {
    /// Entries that it was told of, or that mean nothing to it.
    upto: u64,
    /// The same as the store remembers it.
    remembered: u64,
}

impl Told {
    /// Entries that it was told of, or that mean nothing to it.
    #[must_use]
    pub fn upto(&self) -> u64 {
        self.upto
    }
}

/// Why telling stopped.
#[derive(Debug, thiserror::Error)]
pub enum TellError {
    /// The receiver did not take it.
    #[error(transparent)]
    Push(#[from] PushError),
    /// The log can't be read, or nothing can be signed.
    #[error(transparent)]
    Here(#[from] Refusal),
}

/// Where to go on telling a receiver. A new one is told of what happens from now on.
///
/// # Errors
/// When the store can't say.
pub async fn begin(broker: &Broker, listener: &dyn Listener) -> Result<Told, Refusal> {
    let size = broker.store.growth().borrow().size();
    let mark = Mark::Told(listener.number());
    let upto = match broker.store.mark(mark).await? {
        // Why the smaller: a store that was put back has fewer entries, and they are others.
        Some(upto) => upto.min(size),
        None => {
            broker.store.record_mark(mark, size).await?;
            size
        }
    };
    Ok(Told { upto, remembered: upto })
}

/// Tells all that is there now, in the order of the log.
///
/// # Errors
/// When the receiver does not take one: it is told again from there.
pub async fn tell(
    broker: &Broker,
    listener: &dyn Listener,
    told: &mut Told,
) -> Result<(), TellError> {
    let result = tell_all(broker, listener, told).await;
    let due = result.is_err() || told.upto.saturating_sub(told.remembered) >= REMEMBERED;
    if due && told.upto > told.remembered {
        remember(broker, listener, told).await?;
    }
    result
}

async fn tell_all(
    broker: &Broker,
    listener: &dyn Listener,
    told: &mut Told,
) -> Result<(), TellError> {
    loop {
        let texts = broker.store.entries(told.upto, BATCH).await.map_err(Refusal::from)?;
        if texts.is_empty() {
            return Ok(());
        }
        for text in texts {
            let entry = read(&text)?;
            // Why of the leaf: sent again, it has the same name, and another entry never has.
            let id = URL_SAFE_NO_PAD.encode(leaf_hash(text.as_bytes()).0);
            let heard = listener.hear(broker, &entry, &id).await?;
            told.upto = entry.index.saturating_add(1);
            if heard {
                remember(broker, listener, told).await?;
            }
        }
    }
}

async fn remember(
    broker: &Broker,
    listener: &dyn Listener,
    told: &mut Told,
) -> Result<(), Refusal> {
    broker.store.record_mark(Mark::Told(listener.number()), told.upto).await?;
    told.remembered = told.upto;
    Ok(())
}
