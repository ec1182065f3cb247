//! A reviewer: a program outside that is asked about requests before people are.
//!
//! Question and answer are signed by the Standard Webhooks specification with a key that both hold, so
//! that an answer comes from whoever holds the key, and is one to this very question.

use std::{path::PathBuf, time::Duration};

use jeton_domain::{
    approval::RequestHash,
    review::{ReviewerName, Said, Verdict},
    scope::Scope,
    secret::Secret,
    session::Words,
    ttl::{Timestamp, Ttl},
};
use reqwest::{Url, header::CONTENT_TYPE};
use serde::Deserialize;

use crate::{
    crypto::webhook_key::{WebhookKey, WebhookKeyError},
    limits::{REVIEW_AGE_SECONDS, REVIEW_BYTES},
    outlet::{Answer, Outlet, OutletError, PushError},
};

/// Where a reviewer is.
#[derive(Debug, Clone)]
pub struct ReviewerConfig {
    /// What the catalogue calls it.
    pub name: ReviewerName,
    /// Where it takes questions.
    pub url: Url,
    /// The file with the key that it shares with the broker.
    pub key: PathBuf,
    /// The CA of its certificate.
    pub ca: Option<PathBuf>,
    /// How long it may take.
    pub timeout: Duration,
}

/// A reviewer that can be asked.
pub struct Reviewer {
    outlet: Outlet,
    key: WebhookKey,
    timeout: Duration,
}

/// Why a reviewer can't be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum ReviewerError {
    /// The way to it.
    #[error(transparent)]
    Outlet(#[from] OutletError),
    /// Its key is none.
    #[error("the key of the reviewer `{0}` {1}")]
    Key(ReviewerName, WebhookKeyError),
}

/// Why there is no answer, or none that counts.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// It took too long.
    #[error("it gave no answer in {0} s")]
    Silent(u64),
    /// It could not be asked, or did not take the question.
    #[error(transparent)]
    Push(PushError),
    /// A header that every answer has is missing, or stands twice.
    #[error("its answer does not have the header `{0}` just once")]
    Header(&'static str),
    /// The answer is one to another question.
    #[error("its answer is for another question: `webhook-id` is not the one of this")]
    OtherId,
    /// The answer was signed too long ago, or in the future.
    #[error("its answer was not signed within five minutes of now")]
    Age,
    /// The signature is not that of its key.
    #[error("its answer is not signed by its key")]
    Signature,
    /// The body is no verdict.
    #[error("its answer is no verdict: {0}")]
    Body(String),
}

/// The body of an answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAnswer {
    verdict: Verdict,
    request_hash: RequestHash,
    scope: Option<String>,
    ttl_seconds: Option<u32>,
    reason: String,
}

impl Reviewer {
    /// Sets calls up.
    ///
    /// # Errors
    /// When the key is none, or a file is not usable.
    pub fn new(config: &ReviewerConfig, key: &Secret) -> Result<Self, ReviewerError> {
        let outlet = Outlet::by_fresh_connections(config.url.clone(), config.ca.as_deref())?;
        let key = WebhookKey::parse(key);
        let key = key.map_err(|error| ReviewerError::Key(config.name.clone(), error))?;
        Ok(Self { outlet, key, timeout: config.timeout })
    }

    /// Puts a question to it.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn ask(&self, id: &str, now: Timestamp, body: &str) -> Result<Answer, NoAnswer> {
        let signature = self.key.sign(id, now.seconds(), body.as_bytes());
        let dress = |call: reqwest::RequestBuilder| {
            call.timeout(self.timeout)
                .header(CONTENT_TYPE, "application/json")
                .header("webhook-id", id)
                .header("webhook-timestamp", now.seconds())
                .header("webhook-signature", signature)
                .body(body.to_owned())
        };
        self.outlet.ask(REVIEW_BYTES, dress).await.map_err(|error| match error {
            PushError::Http(error) if error.is_timeout() => {
                NoAnswer::Silent(self.timeout.as_secs())
            }
            other @ (PushError::Http(_) | PushError::Refused(..) | PushError::TooLong(_)) => {
                NoAnswer::Push(other)
            }
        })
    }

    /// Reads an answer, if it is one to this question, and by this reviewer.
    ///
    /// # Errors
    /// When it is not, or is no verdict.
    pub fn read(&self, id: &str, now: Timestamp, answer: &Answer) -> Result<Said, NoAnswer> {
        let header = |name: &'static str| {
            let mut all = answer.headers.get_all(name).iter();
            match (all.next().and_then(|value| value.to_str().ok()), all.next()) {
                (Some(value), None) => Ok(value),
                _ => Err(NoAnswer::Header(name)),
            }
        };
        if header("webhook-id")? != id {
            return Err(NoAnswer::OtherId);
        }
        let seconds: i64 = header("webhook-timestamp")?.parse().map_err(|_| NoAnswer::Age)?;
        if seconds.abs_diff(now.seconds()) > REVIEW_AGE_SECONDS {
            return Err(NoAnswer::Age);
        }
        if !self.key.signed(id, seconds, &answer.body, header("webhook-signature")?) {
            return Err(NoAnswer::Signature);
        }
        let wrong = |error: &dyn std::fmt::Display| NoAnswer::Body(error.to_string());
        let raw: RawAnswer = serde_json::from_slice(&answer.body).map_err(|error| wrong(&error))?;
        let scope = raw.scope.as_deref().map(Scope::parse).transpose();
        let ttl = match raw.ttl_seconds.map(Ttl::from_seconds) {
            Some(None) => return Err(wrong(&"`ttl_seconds` is 0")),
            Some(ttl) => ttl,
            None => None,
        };
        Ok(Said {
            verdict: raw.verdict,
            request_hash: raw.request_hash,
            scope: scope.map_err(|error| wrong(&error))?,
            ttl,
            reason: Words::new(&raw.reason),
        })
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    const ID: &str = "rv_one";
    const GOOD: &str = r#"{"verdict":"narrow","request_hash":"h","scope":"git:a/b c:read","ttl_seconds":60,"reason":"less"}"#;

    fn reviewer() -> Reviewer {
        let config = ReviewerConfig {
            name: ReviewerName::parse("bot").unwrap(),
            url: Url::parse("https://bot.acme.dev/review").unwrap(),
            key: PathBuf::new(),
            ca: None,
            timeout: Duration::from_secs(1),
        };
        let key = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into());
        Reviewer::new(&config, &key).unwrap()
    }

    fn answer(reviewer: &Reviewer, id: &str, seconds: i64, body: &str) -> Answer {
        let mut headers = HeaderMap::new();
        let signature = reviewer.key.sign(id, seconds, body.as_bytes());
        for (name, value) in [
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", seconds.to_string()),
            ("webhook-signature", signature),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_str(&value).unwrap());
        }
        Answer { headers, body: body.into() }
    }

    #[test]
    fn an_answer_counts_only_if_it_is_signed_for_this_question_and_now() {
        let (reviewer, now) = (reviewer(), Timestamp::from_seconds(1_700_000_000));
        let at = now.seconds();
        let read = |answer: &Answer| reviewer.read(ID, now, answer).map_err(|e| e.to_string());
        let said = read(&answer(&reviewer, ID, at, GOOD)).unwrap();
        assert_eq!((said.verdict, said.ttl), (Verdict::Narrow, Ttl::from_seconds(60)));
        assert!(read(&answer(&reviewer, ID, at - 300, GOOD)).is_ok());
        for seconds in [at - 301, at + 301, i64::MIN] {
            let words = read(&answer(&reviewer, ID, seconds, GOOD)).unwrap_err();
            assert!(words.contains("five minutes"), "{words}");
        }
        let words = read(&answer(&reviewer, "rv_two", at, GOOD)).unwrap_err();
        assert!(words.contains("another question"), "{words}");
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            let mut bare = answer(&reviewer, ID, at, GOOD);
            let value = bare.headers.remove(name).unwrap();
            assert!(read(&bare).unwrap_err().contains(name));
            bare.headers.append(HeaderName::from_static(name), value.clone());
            bare.headers.append(HeaderName::from_static(name), value);
            assert!(read(&bare).unwrap_err().contains(name), "twice");
        }
        let mut changed = answer(&reviewer, ID, at, GOOD);
        changed.body = GOOD.replace("60", "61").into_bytes();
        assert!(read(&changed).unwrap_err().contains("not signed by its key"));
    }

    #[test]
    fn what_is_no_verdict_is_told_and_counts_for_nothing() {
        let (reviewer, now) = (reviewer(), Timestamp::from_seconds(1_700_000_000));
        for (from, to, words) in [
            ("narrow", "yes", "unknown variant `yes`"),
            ("\"reason\"", "\"raeson\"", "unknown field `raeson`"),
            (",\"reason\":\"less\"", "", "missing field `reason`"),
            ("\"request_hash\":\"h\",", "", "missing field `request_hash`"),
            ("60", "0", "`ttl_seconds` is 0"),
            ("60", "-1", "invalid value"),
            ("c:read", "", "no action"),
            ("\"reason\":", "\"verdict\":\"approve\",\"reason\":", "duplicate field `verdict`"),
            ("}", "}{}", "trailing characters"),
            ("{", "[", ""),
        ] {
            let body = GOOD.replacen(from, to, 1);
            assert_ne!(body, GOOD, "{from}");
            let answer = answer(&reviewer, ID, now.seconds(), &body);
            let told = reviewer.read(ID, now, &answer).unwrap_err().to_string();
            assert!(told.starts_with("its answer is no verdict") && told.contains(words), "{told}");
        }
    }
}
