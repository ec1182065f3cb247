//! Sends security event tokens to whoever is to hear of what the broker takes back (RFC 8935).

use std::{collections::BTreeSet, path::PathBuf};

use jeton_domain::{
    secret::{Secret, sha256},
    signal::{Kind, MEDIA_TYPE},
};
use reqwest::{
    Url,
    header::{ACCEPT, CONTENT_TYPE},
};

use crate::outlet::{Outlet, OutletError, PushError};

/// Where signals go.
#[derive(Debug, Clone)]
pub struct ReceiverConfig {
    /// Where it takes them.
    pub url: Url,
    /// What it calls itself: `aud`.
    pub audience: String,
    /// What it wants to hear of.
    pub kinds: BTreeSet<Kind>,
    /// The file with the bearer token that it knows the broker by, if it wants one.
    pub token: Option<PathBuf>,
    /// The CA of its certificate, in PEM; without it those that the web trusts.
    pub ca: Option<PathBuf>,
}

/// A receiver that can be called.
pub struct Receiver {
    config: ReceiverConfig,
    issuer: String,
    token: Option<Secret>,
    outlet: Outlet,
}

impl Receiver {
    /// Sets calls up, in the name of this issuer.
    ///
    /// # Errors
    /// When a file is not usable.
    pub fn new(
        config: ReceiverConfig,
        token: Option<Secret>,
        issuer: &str,
    ) -> Result<Self, OutletError> {
        let outlet = Outlet::new(config.url.clone(), config.ca.as_deref())?;
        let token = token.map(|token| Secret::new(token.expose().trim().to_owned()));
        Ok(Self { token, outlet, issuer: issuer.to_owned(), config })
    }

    /// What it calls itself.
    pub fn audience(&self) -> &str {
        &self.config.audience
    }

    /// What the broker calls itself: `iss`.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Its address, for log lines.
    pub fn url(&self) -> &Url {
        self.outlet.url()
    }

    /// Whether it wants to hear of this.
    pub fn hears_of(&self, kind: Kind) -> bool {
        self.config.kinds.contains(&kind)
    }

    /// Its number among all: of its address and its name.
    pub fn number(&self) -> u64 {
        let digest = sha256(format!("{} {}", self.config.url, self.config.audience).as_bytes());
        let [a, b, c, d, e, f, g, h, ..] = digest;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// Sends a token. Any 2xx answer says that it is kept; the standard's is 202.
    ///
    /// # Errors
    /// When it is not kept, and must be sent again.
    pub async fn push(&self, event_token: &Secret) -> Result<(), PushError> {
        let token = self.token.as_ref();
        self.outlet
            .post(|call| {
                let call = call
                    .header(CONTENT_TYPE, MEDIA_TYPE)
                    .header(ACCEPT, "application/json")
                    .body(event_token.expose().to_owned());
                match token {
                    Some(token) => call.bearer_auth(token.expose()),
                    None => call,
                }
            })
            .await
    }
}
