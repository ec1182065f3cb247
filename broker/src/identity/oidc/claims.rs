//! The claims that every identity token must have, and when they hold.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jeton_domain::{
    id::quote,
    principal::Thumbprint,
    session::Binding,
    ttl::{Timestamp, Ttl},
};
use serde_json::Value;

use super::IssuerConfig;
use crate::{
    identity::{jose::numeric_date, json::Object},
    limits::LEEWAY_SECONDS,
};

/// The claims of a token, each of its right type.
pub struct Claims {
    subject: Box<str>,
    audience: Vec<String>,
    issued: Option<i64>,
    begins: Option<i64>,
    ends: i64,
    binding: Option<Binding>,
}

/// Why the claims of a token do not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// Missing or of the wrong type.
    #[error("the claim `{claim}` of the token must be {wanted}")]
    Malformed {
        /// Its name.
        claim: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// For somebody else.
    #[error("the token is made for another audience; ask the issuer for `{0}`")]
    Audience(String),
    /// `nbf` is still to come.
    #[error("the token is not valid yet; check the clocks")]
    NotYet,
    /// `iat` is still to come.
    #[error("the token is issued in the future; check the clocks")]
    FromFuture,
    /// `exp` passed.
    #[error("the token has ended; get a new one")]
    Ended,
    /// Longer ago than this issuer's tokens may be.
    #[error("the token is older than {0} s; get a new one")]
    TooOld(u32),
}

impl ClaimError {
    /// A short code for programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "TOKEN_INVALID",
            Self::Audience(_) => "TOKEN_AUDIENCE_WRONG",
            Self::NotYet | Self::FromFuture => "TOKEN_NOT_YET_VALID",
            Self::Ended | Self::TooOld(_) => "TOKEN_ENDED",
        }
    }
}

impl Claims {
    /// Reads them.
    ///
    /// # Errors
    /// When one is missing or of the wrong type.
    pub fn read(claims: &Object) -> Result<Self, ClaimError> {
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
        if subject.is_empty() {
            return Err(ClaimError::Malformed { claim: "sub", wanted: "a text that is not empty" });
        }
        Ok(Self {
            subject: subject.into(),
            audience: audience(claims.get("aud"))?,
            issued: date(claims, "iat")?,
            begins: date(claims, "nbf")?,
            ends: date(claims, "exp")?.ok_or_else(|| no_date("exp"))?,
            binding: claims.get("cnf").map(binding).transpose()?,
        })
    }

    /// The account at the issuer.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Checks audience and times.
    ///
    /// # Errors
    /// When the token is for somebody else, not valid yet, or not any more.
    pub fn check(&self, config: &IssuerConfig, now: Timestamp) -> Result<(), ClaimError> {
        if !self.audience.contains(&config.audience) {
            return Err(ClaimError::Audience(quote(&config.audience)));
        }
        let latest_begin = now.seconds().saturating_add(leeway());
        if self.begins.is_some_and(|begins| begins > latest_begin) {
            return Err(ClaimError::NotYet);
        }
        if self.issued.is_some_and(|issued| issued > latest_begin) {
            return Err(ClaimError::FromFuture);
        }
        if now >= Timestamp::from_seconds(self.ends.saturating_add(leeway())) {
            return Err(ClaimError::Ended);
        }
        if let Some(age) = config.max_age {
            let issued = self.issued.ok_or_else(|| no_date("iat"))?;
            let oldest =
                now.seconds().saturating_sub(i64::from(age.seconds())).saturating_sub(leeway());
            if issued < oldest {
                return Err(ClaimError::TooOld(age.seconds()));
            }
        }
        Ok(())
    }

    /// When the token ends by itself.
    pub fn ends(&self) -> Timestamp {
        Timestamp::from_seconds(self.ends)
    }

    /// When it ends or is too old, whichever comes first.
    pub fn useful_until(&self, max_age: Option<Ttl>) -> Timestamp {
        let aged =
            max_age.zip(self.issued).map(|(age, issued)| Timestamp::from_seconds(issued).plus(age));
        aged.map_or(self.ends(), |aged| aged.min(self.ends()))
    }

    /// The key that must be proved beside the token.
    pub fn binding(&self) -> Option<Binding> {
        self.binding
    }
}

fn audience(aud: Option<&Value>) -> Result<Vec<String>, ClaimError> {
    let malformed = ClaimError::Malformed { claim: "aud", wanted: "a text or a list of texts" };
    match aud {
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(many)) => many
            .iter()
            .map(|one| one.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or(malformed),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {
            Err(malformed)
        }
    }
}

fn date(claims: &Object, claim: &'static str) -> Result<Option<i64>, ClaimError> {
    // Why not `null` as absent: a claim that is there says something, and this says nothing.
    claims.get(claim).map(|value| numeric_date(value).ok_or_else(|| no_date(claim))).transpose()
}

fn no_date(claim: &'static str) -> ClaimError {
    ClaimError::Malformed { claim, wanted: "a number of seconds since 1970" }
}

/// Spec: RFC 7800 §3; `jkt` of RFC 9449 §6.1, `x5t#S256` of RFC 8705 §3.1.
fn binding(cnf: &Value) -> Result<Binding, ClaimError> {
    let wanted = "either `jkt` or `x5t#S256`";
    let malformed = || ClaimError::Malformed { claim: "cnf", wanted };
    let cnf = cnf.as_object().filter(|cnf| cnf.len() == 1).ok_or_else(malformed)?;
    let (method, value) = cnf.iter().next().ok_or_else(malformed)?;
    let digest = value.as_str().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let digest =
        digest.and_then(|bytes| bytes.try_into().ok()).map(Thumbprint).ok_or_else(malformed)?;
    match method.as_str() {
        "jkt" => Ok(Binding::Jwk(digest)),
        "x5t#S256" => Ok(Binding::Certificate(digest)),
        _ => Err(malformed()),
    }
}

/// Seconds that clocks may differ.
pub fn leeway() -> i64 {
    i64::try_from(LEEWAY_SECONDS).unwrap_or(0)
}
