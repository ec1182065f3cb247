//! The one table from what a call led to, to what it means for a mint or a revocation.

use std::time::Duration;

use jeton_domain::{
    id::quote,
    ttl::{Timestamp, Ttl},
};
use serde::Deserialize;

use super::api::Answer;
use crate::{
    limits::UPSTREAM_RETRY,
    upstream::{MintError, RevokeError},
};

/// Words longer than this are left out of quotes. Why: tokens and JWTs are, names are not.
const WORD_CHARS: usize = 31;
/// How long an installation token lives at GitHub.
const TOKEN_LIFE_SECONDS: u32 = 3600;

/// Why a call gave no answer that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It understood and said no.
    Refused(String),
    /// It knows no such repository or installation.
    NotInstalled(String),
    /// It did not accept the credential of the call.
    KeyRefused(String),
    /// Too many calls.
    RateLimited(Option<Duration>),
    /// Nothing was sent.
    Unreachable(String),
    /// It was asked, and what it did nobody knows.
    Unclear(String),
}

impl Failure {
    /// Tells whether it certainly did nothing, for a reason that may lie in the installation's id.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::NotInstalled(_) | Self::KeyRefused(_))
    }

    /// What it means where nothing can have been made.
    pub fn of_lookup(self) -> MintError {
        match self {
            Self::Refused(words) => MintError::Refused(words),
            Self::NotInstalled(words) => MintError::NotInstalled(words),
            Self::KeyRefused(words) => MintError::BrokerRefused(words),
            Self::RateLimited(retry_after) => MintError::RateLimited { retry_after },
            Self::Unreachable(words) | Self::Unclear(words) => MintError::Unavailable(words),
        }
    }

    /// What it means where a token may have been made.
    pub fn of_mint(self, now: Timestamp) -> MintError {
        if let Self::Unclear(reason) = self {
            return MintError::Lost { reason, dies: life_from(now) };
        }
        self.of_lookup()
    }

    /// What it means for a revocation.
    pub fn of_revocation(self, call: &str) -> RevokeError {
        let (words, retry_after) = match self {
            Self::RateLimited(retry_after) => ("it limits the rate of calls".into(), retry_after),
            Self::Refused(words)
            | Self::NotInstalled(words)
            | Self::KeyRefused(words)
            | Self::Unreachable(words)
            | Self::Unclear(words) => (words, None),
        };
        RevokeError { reason: format!("{call}: {words}"), retry_after }
    }
}

/// When a token made at this moment dies by itself at the latest.
pub fn life_from(now: Timestamp) -> Timestamp {
    Ttl::from_seconds(TOKEN_LIFE_SECONDS).map_or(now, |life| now.plus(life))
}

/// A call that got no answer.
pub fn of_sending(error: &reqwest::Error, left: Duration) -> Failure {
    if error.is_connect() {
        Failure::Unreachable(format!("no connection: {}", cause(error)))
    } else if error.is_builder() {
        Failure::Unreachable("the call could not be built".into())
    } else if error.is_timeout() {
        Failure::Unclear(format!("no answer within {} ms", left.as_millis()))
    } else {
        Failure::Unclear("the connection ended before the answer".into())
    }
}

/// An answer that does not say yes.
pub fn of_status(answer: &Answer, now: Option<Timestamp>) -> Failure {
    let status = answer.status.as_u16();
    let said = message(answer);
    let words = match &said {
        Some(said) => format!("it answered {status}: `{said}`"),
        None => format!("it answered {status}"),
    };
    match status {
        401 => Failure::KeyRefused(words),
        429 => Failure::RateLimited(retry_after(answer, now)),
        403 if is_rate_limit(answer, said.as_deref()) => {
            Failure::RateLimited(retry_after(answer, now))
        }
        404 => Failure::NotInstalled(format!(
            "{words}; install the GitHub App on this repository, or correct its name"
        )),
        300..=399 => Failure::Refused(format!(
            "{words}, a redirect, which is never followed: the repository was renamed or moved, or `api_base` is wrong"
        )),
        408 | 500..=599 => Failure::Unclear(words),
        _ => Failure::Refused(words),
    }
}

/// The innermost reason of an error: the outer ones repeat the address.
pub fn cause(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    quote(&inner.to_string())
}

/// The words of a refusal: bounded, printable, without anything that could be a secret.
pub fn message(answer: &Answer) -> Option<String> {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
    }
    let Refusal { message } = answer.json().ok()?;
    let harmless = |word| {
        if str::len(word) > WORD_CHARS { "…" } else { word }
    };
    let words: Vec<_> = message.split_whitespace().map(harmless).collect();
    Some(quote(&words.join(" ")))
}

fn is_rate_limit(answer: &Answer, said: Option<&str>) -> bool {
    answer.header("x-ratelimit-remaining") == Some("0")
        || answer.header("retry-after").is_some()
        // Why: GitHub's secondary limits may come without a header.
        || said.is_some_and(|said| said.contains("secondary rate limit"))
}

/// What it asks to wait, if that makes sense.
fn retry_after(answer: &Answer, now: Option<Timestamp>) -> Option<Duration> {
    let seconds = |name| answer.header(name).and_then(|text| text.parse::<u64>().ok());
    let reset = || {
        let now = u64::try_from(now?.seconds()).ok()?;
        seconds("x-ratelimit-reset")?.checked_sub(now)
    };
    let wait = Duration::from_secs(seconds("retry-after").or_else(reset)?);
    (wait <= UPSTREAM_RETRY).then_some(wait)
}
