//! One HTTP call: bounded in time and size, without redirects, proxies or a second try.

use std::time::Duration;

use jeton_domain::{secret::Secret, ttl::Timestamp};
use reqwest::{
    Client, Method, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
    redirect,
};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::failure::{self, Failure};
use crate::limits::{UPSTREAM_BYTES, UPSTREAM_CALL, UPSTREAM_CONNECT, UPSTREAM_MINT};

const API_VERSION: &str = "2022-11-28";

/// How long things may take.
#[derive(Clone, Copy)]
pub struct Limits {
    /// One call.
    pub call: Duration,
    /// All calls of one mint or revocation.
    pub mint: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { call: UPSTREAM_CALL, mint: UPSTREAM_MINT }
    }
}

/// The end of the time for one mint or revocation.
#[derive(Clone, Copy)]
pub struct Budget(Instant);

/// A server and the client for it.
pub struct Api {
    base: String,
    http: Client,
    limits: Limits,
}

/// What to ask.
pub struct Call<'a> {
    /// How.
    pub method: Method,
    /// Below the base, with its first slash.
    pub path: String,
    /// The app's JWT, or a token.
    pub bearer: &'a Secret,
    /// What to send.
    pub body: Option<serde_json::Value>,
    /// Until when.
    pub budget: Budget,
}

/// What came back, whole.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Zeroizing<Vec<u8>>,
}

impl Api {
    /// Builds the client.
    pub fn new(base: &str, plain: bool, limits: Limits) -> Result<Self, reqwest::Error> {
        let http = Client::builder()
            .user_agent(concat!("jeton/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(UPSTREAM_CONNECT)
            .redirect(redirect::Policy::none())
            .referer(false)
            // Why: a proxy named by the environment would see every token.
            .no_proxy()
            .https_only(!plain);
        let http = if plain { http.http1_only() } else { http };
        Ok(Self { base: base.to_owned(), http: http.build()?, limits })
    }

    /// Starts the time of a mint or revocation.
    pub fn mint_budget(&self) -> Budget {
        Budget(Instant::now() + self.limits.mint)
    }

    /// Asks, and reads the answer to its end.
    pub async fn call(&self, call: Call<'_>) -> Result<Answer, Failure> {
        let left = call.budget.0.saturating_duration_since(Instant::now()).min(self.limits.call);
        if left.is_zero() {
            return Err(Failure::Unreachable("no time was left for the call".into()));
        }
        let bearer = Zeroizing::new(format!("Bearer {}", call.bearer.expose()));
        let mut bearer = HeaderValue::from_str(&bearer)
            .map_err(|_| Failure::Unreachable("the credential is no header value".into()))?;
        bearer.set_sensitive(true);
        let mut request = self
            .http
            .request(call.method, format!("{}{}", self.base, call.path))
            .timeout(left)
            .header(AUTHORIZATION, bearer)
            .header(ACCEPT, "application/vnd.github+json")
            .header("x-github-api-version", API_VERSION);
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| failure::of_sending(&error, left))?;
        read(response, left).await
    }
}

async fn read(mut response: reqwest::Response, left: Duration) -> Result<Answer, Failure> {
    let status = response.status();
    let headers = std::mem::take(response.headers_mut());
    let mut body = Zeroizing::new(Vec::with_capacity(4096));
    let whole = loop {
        match response.chunk().await {
            Ok(None) => break Ok(()),
            Ok(Some(chunk)) if body.len().saturating_add(chunk.len()) <= UPSTREAM_BYTES => {
                body.extend_from_slice(&chunk);
            }
            Ok(Some(_)) => break Err(format!("the answer is longer than {UPSTREAM_BYTES} bytes")),
            Err(error) if error.is_timeout() => {
                break Err(format!("the answer did not end within {} ms", left.as_millis()));
            }
            Err(_) => break Err("the answer was cut short".to_owned()),
        }
    };
    // Why not of a refusal: its status alone says that nothing was done.
    match whole {
        Err(reason) if status.is_success() => Err(Failure::Unclear(reason)),
        Ok(()) | Err(_) => Ok(Answer { status, headers, body }),
    }
}

impl Answer {
    /// The answer itself if it says yes.
    pub fn accepted(self, now: Option<Timestamp>) -> Result<Self, Failure> {
        if self.status.is_success() { Ok(self) } else { Err(failure::of_status(&self, now)) }
    }

    /// Reads the body. Why the error says so little: a JSON error quotes what it did not expect,
    /// and that may be the token.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        if !self.is_json() {
            return Err(Failure::Unclear("the answer is not JSON by its content type".into()));
        }
        serde_json::from_slice(&self.body).map_err(|_| {
            Failure::Unclear("the answer is not the JSON that GitHub documents".into())
        })
    }

    /// One header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn is_json(&self) -> bool {
        let media = self.header(CONTENT_TYPE.as_str()).and_then(|value| value.split(';').next());
        media.is_some_and(|media| {
            let media = media.trim().to_ascii_lowercase();
            media == "application/json"
                || (media.starts_with("application/") && media.ends_with("+json"))
        })
    }
}
