//! Installation tokens of a GitHub App, on github.com and Enterprise servers.
//!
//! A token is always asked for one repository and named permissions, and what comes back is
//! compared with that: GitHub gives everything that the app may do to whoever leaves a list out.
//! No error holds a token or the app's own JWT; no answer is trusted to be short, whole or honest.

mod answer;
mod api;
mod app_key;
mod failure;
mod permissions;
mod revocation;

use std::{net::IpAddr, sync::Arc};

use async_trait::async_trait;
use jeton_domain::{
    decision::Delivery,
    id::quote,
    scope::{Action, Scope, Upstream},
    secret::Secret,
    ttl::Timestamp,
};
use moka::future::Cache;
use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::json;

use self::{
    answer::{Rejected, check},
    api::{Api, Budget, Call, Limits},
    app_key::AppKey,
    failure::Failure,
    permissions::Wanted,
};
use super::{MintError, Minter, RevokeError, Standing};
use crate::{
    crypto::{self, private_key::KeyFormatError},
    limits::{INSTALLATION_LIFE, INSTALLATIONS},
    store::RecordedPermit,
};

/// Where an app is registered, and as what.
pub struct GithubConfig {
    /// Name of the upstream in scopes.
    pub name: Upstream,
    /// `https://api.github.com` or `https://HOST/api/v3`; plain `http` for loopback hosts only.
    pub api_base: String,
    /// The app's number.
    pub app_id: u64,
    /// The app's private key: RSA in PEM, PKCS#1 or PKCS#8.
    pub private_key: Secret,
}

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum GithubConfigError {
    /// The address is none.
    #[error(
        "`{0}` is not the address of a GitHub API; write `https://api.github.com` or `https://HOST/api/v3`"
    )]
    ApiBase(String),
    /// The address is not protected.
    #[error("`{0}` is not https; plain http is for loopback hosts only")]
    PlainHttp(String),
    /// The key is none.
    #[error("the app's private key: {0}; GitHub apps sign with RSA keys")]
    Key(#[from] KeyFormatError),
    /// No TLS client can be built, for example because the host has no CA certificates.
    #[error("no HTTPS client can be built: {0}")]
    Client(String),
}

/// Obtains and takes back installation tokens.
pub struct GithubMinter {
    name: Upstream,
    api: Api,
    app: AppKey,
    /// Ids of installations, by `owner/name`.
    installations: Cache<String, u64>,
}

impl GithubMinter {
    /// Checks a configuration. Calls nobody.
    ///
    /// # Errors
    /// When the address or the key is none.
    pub fn new(config: GithubConfig) -> Result<Self, GithubConfigError> {
        Self::with_limits(config, Limits::default())
    }

    fn with_limits(config: GithubConfig, limits: Limits) -> Result<Self, GithubConfigError> {
        crypto::install();
        let base = base_url(&config.api_base)?;
        let plain = base.scheme() == "http";
        let api = Api::new(base.as_str().trim_end_matches('/'), plain, limits)
            .map_err(|error| GithubConfigError::Client(failure::cause(&error)))?;
        Ok(Self {
            name: config.name,
            api,
            app: AppKey::new(config.app_id, &config.private_key)?,
            installations: Cache::builder()
                .max_capacity(INSTALLATIONS)
                .time_to_live(INSTALLATION_LIFE)
                .build(),
        })
    }

    /// Obtains a token for just this scope.
    async fn mint_scope(
        &self,
        scope: &Scope,
        delivery: Delivery,
        now: Timestamp,
    ) -> Result<super::Minted, MintError> {
        let wanted = self.wanted(scope, delivery).map_err(MintError::Refused)?;
        let budget = self.api.mint_budget();
        let jwt = self.app.jwt(now).map_err(|error| MintError::Unavailable(error.to_string()))?;
        let installation = self
            .installation(&wanted, jwt.text(), budget, now)
            .await
            .map_err(|failure| Failure::clone(&failure).of_lookup())?;
        let answer = match self.token(installation, &wanted, jwt.text(), budget, now).await {
            Ok(answer) => answer,
            Err(failure) => {
                // Why: the app may have been installed anew, under another id.
                if failure.is_refusal() {
                    self.installations.invalidate(&wanted.full_name).await;
                }
                return Err(failure.of_mint(now));
            }
        };
        match check(&answer, &wanted, now) {
            Ok(minted) => Ok(minted),
            Err(Rejected::NoToken(reason)) => Err(Failure::Unclear(reason).of_mint(now)),
            Err(Rejected::Unusable { reason, minted }) => {
                let revoked = self.take_back(minted.sealable(), budget).await;
                let outcome = revoked.map_or_else(|e| e.to_string(), |()| "it was revoked".into());
                Err(MintError::Unusable { reason: format!("{reason}; {outcome}"), minted })
            }
        }
    }

    fn wanted(&self, scope: &Scope, delivery: Delivery) -> Result<Wanted, String> {
        if scope.upstream != self.name {
            return Err(format!("`{}` is not this upstream, `{}`", scope.upstream, self.name));
        }
        // Why: such a token opens every ref. Only the gateway can hold the agent to some of them.
        if let (Some(git_ref), Delivery::Direct) = (&scope.git_ref, delivery) {
            return Err(format!(
                "GitHub can't limit a token to `ref={git_ref}`; ask for delivery by the gateway, or without `ref`"
            ));
        }
        Wanted::of(scope)
    }

    /// The installation that reaches a repository. Callers that ask at once share one call.
    async fn installation(
        &self,
        wanted: &Wanted,
        jwt: &Secret,
        budget: Budget,
        now: Timestamp,
    ) -> Result<u64, Arc<Failure>> {
        #[derive(Deserialize)]
        struct Installation {
            id: u64,
        }
        let look_up = async {
            let path = format!("/repos/{}/installation", wanted.full_name);
            let call = Call { method: Method::GET, path, bearer: jwt, body: None, budget };
            let answer = self.api.call(call).await?.accepted(Some(now))?;
            let Installation { id } = answer.json()?;
            Ok(id)
        };
        self.installations.try_get_with_by_ref(&wanted.full_name, look_up).await
    }

    async fn token(
        &self,
        installation: u64,
        wanted: &Wanted,
        jwt: &Secret,
        budget: Budget,
        now: Timestamp,
    ) -> Result<api::Answer, Failure> {
        let path = format!("/app/installations/{installation}/access_tokens");
        let body = json!({
            "repositories": [wanted.repository],
            "permissions": wanted.permissions,
        });
        let call = Call { method: Method::POST, path, bearer: jwt, body: Some(body), budget };
        self.api.call(call).await?.accepted(Some(now))
    }
}

#[async_trait]
impl Minter for GithubMinter {
    async fn mint(
        &self,
        permit: RecordedPermit,
        now: Timestamp,
    ) -> Result<super::Minted, MintError> {
        let permit = permit.permit();
        self.mint_scope(permit.scope(), permit.delivery(), now).await
    }

    async fn revoke(&self, secret: &Secret) -> Result<(), RevokeError> {
        self.take_back(secret, self.api.mint_budget()).await
    }

    async fn look(&self, secret: &Secret, scope: &Scope) -> Result<Standing, RevokeError> {
        self.standing(secret, scope, self.api.mint_budget()).await
    }

    fn actions(&self) -> Vec<Action> {
        permissions::actions()
    }
}

fn base_url(text: &str) -> Result<Url, GithubConfigError> {
    let odd = || GithubConfigError::ApiBase(quote(text));
    let url = Url::parse(text).map_err(|_| odd())?;
    let bare = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    let host = url.host_str().filter(|_| bare).ok_or_else(odd)?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(host) => Ok(url),
        "http" => Err(GithubConfigError::PlainHttp(quote(text))),
        _ => Err(odd()),
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
