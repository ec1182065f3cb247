//! Systems whose word ends sessions: identity providers that send security event tokens (RFC 8417).

use std::{collections::HashMap, sync::Arc};

use jeton_domain::{
    id::quote,
    principal::PrincipalId,
    secret::sha256,
    signal::{Kind, TYPE, Told, ToldError},
    ttl::Timestamp,
};
use serde_json::Value;

use super::{
    Fetcher, IssuerError, KeyPlace, Mapping, TokenError, claims::leeway, key_set::Wanted,
    source::KeySource,
};
use crate::identity::{
    error::IdentityError,
    jose::{Algorithm, Compact, Malformed},
};

/// A system whose signals are taken.
#[derive(Debug, Clone)]
pub struct TransmitterConfig {
    /// Its name, compared exactly with `iss`; the log says that it ended the sessions.
    pub issuer: PrincipalId,
    /// Whom its tokens must be made for, compared exactly with `aud` or one of its entries.
    pub audience: String,
    /// Algorithms that it signs with; at least one.
    pub algorithms: Vec<Algorithm>,
    /// Where its public keys are.
    pub keys: KeyPlace,
    /// Whom a subject identifier (RFC 9493) stands for; the first that fits wins.
    pub subjects: Vec<Mapping>,
}

/// All of them.
pub struct Transmitters(HashMap<String, Transmitter>);

struct Transmitter {
    config: TransmitterConfig,
    keys: Arc<KeySource>,
}

/// A signal that is to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Believed {
    /// Who sent it.
    pub by: PrincipalId,
    /// The token's name.
    pub id: String,
    /// SHA-256 of what is signed: what a token is remembered by. Why not its name: a transmitter that
    /// gives one name twice must be heard twice. Why not the signature: it may have several spellings.
    pub digest: [u8; 32],
    /// When it was issued.
    pub issued: Timestamp,
    /// Who loses sessions.
    pub ends: Vec<Ends>,
}

/// Whose sessions end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ends {
    /// Whom it is about.
    pub person: PrincipalId,
    /// Sessions that opened up to this time. Why no later ones: a signal that is sent again, or by
    /// somebody who caught it on its way, must not end what was opened since.
    pub opened_until: Timestamp,
    /// Whether those that opened later, up to the first time that the token is received, are over too.
    pub until_received: bool,
    /// What was told.
    pub kind: Kind,
}

/// Why a signal is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignalError {
    /// No signed token.
    #[error("the event token can't be read: {0}")]
    Malformed(#[from] Malformed),
    /// Another kind of token.
    #[error("the `typ` of an event token is `{TYPE}`")]
    Type,
    /// Its claims are none of an event token.
    #[error(transparent)]
    Claims(#[from] ToldError),
    /// Nobody here believes it.
    #[error("the issuer `{0}` is no transmitter that is configured here")]
    Issuer(String),
    /// For somebody else.
    #[error("the event token is made for another audience; send it with `{0}`")]
    Audience(String),
    /// Said in the future.
    #[error("the event token is issued in the future; check the clocks")]
    FromFuture,
    /// Not in the transmitter's list.
    #[error("the algorithm `{0}` is not allowed for this transmitter")]
    Algorithm(String),
    /// The transmitter has no such key.
    #[error(transparent)]
    Key(#[from] TokenError),
    /// Made by another key, or changed.
    #[error("the signature of the event token is not of its issuer's key")]
    Signature,
    /// Not the sender's fault.
    #[error("the transmitter's keys can't be had now; send it again in a few seconds")]
    KeysUnavailable,
}

impl SignalError {
    /// The code for programs (RFC 8935 §2.4).
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::Type | Self::Claims(_) | Self::FromFuture => {
                "invalid_request"
            }
            Self::Issuer(_) => "invalid_issuer",
            Self::Audience(_) => "invalid_audience",
            Self::Algorithm(_) | Self::Key(_) | Self::Signature => "invalid_key",
            Self::KeysUnavailable => "keys_unavailable",
        }
    }
}

impl Transmitters {
    /// Takes those of the configuration.
    ///
    /// # Errors
    /// When one stands twice, or its keys come over an unprotected network.
    pub fn new(configs: Vec<TransmitterConfig>, fetcher: &Fetcher) -> Result<Self, IssuerError> {
        let mut all = HashMap::new();
        for config in configs {
            let name = config.issuer.to_string();
            let keys = KeySource::new(&name, &config.keys, fetcher.clone())
                .map_err(|error| IssuerError::Url { issuer: name.clone(), error })?;
            let transmitter = Transmitter { config, keys: Arc::new(keys) };
            if all.insert(name.clone(), transmitter).is_some() {
                return Err(IssuerError::Twice(name));
            }
        }
        Ok(Self(all))
    }

    /// Finds out what an event token says, and whether to believe it. An event or a subject that means
    /// nothing here is passed over.
    ///
    /// # Errors
    /// When it is not to be believed.
    pub async fn believe(&self, token: &str, now: Timestamp) -> Result<Believed, SignalError> {
        let token = Compact::parse(token)?;
        // Spec: RFC 8417 §2.3 and RFC 7515 §4.1.9: `application/` may stand before it.
        let typ = token.header().get("typ").and_then(Value::as_str).unwrap_or_default();
        if typ.strip_prefix("application/").unwrap_or(typ) != TYPE {
            return Err(SignalError::Type);
        }
        let told = Told::read(token.claims())?;
        let sender = self.0.get(&told.issuer);
        let sender = sender.ok_or_else(|| SignalError::Issuer(quote(&told.issuer)))?;
        sender.check(&token, &told, now).await?;
        let by = sender.config.issuer.clone();
        // Why later: it is told in whole seconds, by a clock that may be behind. Why not later than the
        // token: an event that is yet to come would end whatever is open each time it is sent again.
        let latest = |at: i64| {
            Timestamp::from_seconds(at.min(told.issued).saturating_add(leeway())).min(now)
        };
        let ends = told.events.iter().flat_map(|event| {
            let people = event.people.iter().filter_map(|subject| sender.person(subject));
            people.map(|person| Ends {
                person,
                opened_until: if event.kind.is_for_good() {
                    latest(told.issued)
                } else {
                    latest(event.at)
                },
                // An account that is over is over for sessions that opened since, too.
                until_received: event.kind.is_for_good(),
                kind: event.kind,
            })
        });
        Ok(Believed {
            by,
            id: quote(&told.id),
            digest: sha256(token.signed_text().as_bytes()),
            issued: Timestamp::from_seconds(told.issued),
            ends: ends.collect(),
        })
    }
}

impl Transmitter {
    async fn check(
        &self,
        token: &Compact<'_>,
        told: &Told,
        now: Timestamp,
    ) -> Result<(), SignalError> {
        let config = &self.config;
        if !told.audience.contains(&config.audience) {
            return Err(SignalError::Audience(quote(&config.audience)));
        }
        if told.issued > now.seconds().saturating_add(leeway()) {
            return Err(SignalError::FromFuture);
        }
        let algorithm = Algorithm::parse(token.algorithm())
            .filter(|algorithm| config.algorithms.contains(algorithm))
            .ok_or_else(|| SignalError::Algorithm(quote(token.algorithm())))?;
        let wanted = Wanted::read(token.header(), algorithm).map_err(TokenError::from)?;
        let found = self.keys.find(&wanted, now).await.map_err(|error| {
            if let IdentityError::Token(error) = error {
                return SignalError::Key(error);
            }
            SignalError::KeysUnavailable
        })?;
        if token.is_signed_by(&found.key, algorithm) { Ok(()) } else { Err(SignalError::Signature) }
    }

    fn person(&self, subject: &jeton_domain::jose::json::Object) -> Option<PrincipalId> {
        self.config.subjects.iter().find_map(|mapping| mapping.principal(subject))
    }
}
