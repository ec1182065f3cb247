//! The way to one upstream: its addresses, and calls that carry its credential.
//!
//! Only what is named here goes out, and only to the configured host: never by a redirect, never by a proxy.

mod grant_guard;

use std::fs;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use jeton_domain::{
    scope::{Resource, Upstream},
    secret::Secret,
};
use reqwest::{Certificate, Client, Response, Url, redirect::Policy};
use zeroize::Zeroizing;

pub(super) use self::grant_guard::{GrantEnded, GrantGuard};
use super::{leash::Transfer, words::Told};
use crate::{
    config::Reach, crypto, limits::UPSTREAM_CONNECT, outlet::OutletError, upstream::CredentialKind,
};

/// The way to one upstream.
pub struct Outward {
    client: Client,
    reach: Reach,
}

/// One call.
pub(super) struct Call {
    /// How.
    pub method: Method,
    /// Where.
    pub url: Url,
    /// What goes along, without a credential.
    pub headers: HeaderMap,
    /// Whether the credential goes along.
    pub shows: Shows,
    /// What is sent.
    pub body: Option<reqwest::Body>,
}

/// What a call shows to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shows {
    /// The credential of the grant.
    Credential,
    /// Nothing: its address opens by itself.
    Nothing,
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// Its grant ended before the answer began.
    #[error(transparent)]
    Ended(#[from] GrantEnded),
    /// The upstream can't be reached.
    #[error(transparent)]
    Failed(#[from] reqwest::Error),
    /// The credential is none that a header can hold. Why an error: a call without it is not the one that was
    /// decided.
    #[error("the credential can't be sent in a header")]
    NoHeader,
}

impl CallError {
    /// What the caller hears: these words, unless the grant ended.
    pub(super) fn refusal(self, upstream: &Upstream, transfer: &Transfer, words: &str) -> Told {
        match self {
            Self::Ended(GrantEnded(why)) => Told::new(StatusCode::FORBIDDEN, why),
            Self::Failed(error) => {
                tracing::warn!(%upstream, error = %error.without_url(), "a call upstream failed");
                transfer.cut("the upstream can't be reached");
                Told::new(StatusCode::BAD_GATEWAY, words)
            }
            Self::NoHeader => {
                tracing::error!(%upstream, "the credential can't be sent in a header");
                transfer.cut("the credential can't be sent");
                Told::new(StatusCode::BAD_GATEWAY, "the credential can't be sent in a header")
            }
        }
    }
}

impl Outward {
    /// Sets calls up.
    ///
    /// # Errors
    /// When its CA is not usable.
    pub fn new(reach: Reach) -> Result<Self, OutletError> {
        crypto::install();
        let mut client = Client::builder()
            .connect_timeout(UPSTREAM_CONNECT)
            .redirect(Policy::none())
            .no_proxy()
            .http1_only();
        if let Some(path) = &reach.ca {
            let file = |error: std::io::Error| {
                OutletError::File(path.display().to_string(), error.to_string())
            };
            let pem = fs::read(path).map_err(file)?;
            client = client.tls_certs_only(Certificate::from_pem_bundle(&pem)?);
        }
        Ok(Self { client: client.build()?, reach })
    }

    /// Its addresses.
    pub(super) fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Where a repository's service is. `None` if there are no repositories here.
    pub(super) fn repository(&self, resource: &Resource, service: &str) -> Option<Url> {
        let base = self.reach.git.as_ref()?.as_str().trim_end_matches('/');
        Url::parse(&format!("{base}/{resource}.git/{service}")).ok()
    }

    /// Where a call of the API goes. `None` if there is no API here.
    pub(super) fn api(&self, target: &str) -> Option<Url> {
        let base = self.reach.api.as_ref()?.as_str().trim_end_matches('/');
        let url = Url::parse(&format!("{base}{target}")).ok()?;
        // Why: what was decided goes out, and nothing that a parser made of it.
        url.as_str().ends_with(target).then_some(url)
    }

    /// Where an upstream says that a large file is, and whether that is the upstream itself. `None` if it may
    /// not be there: neither beside the repositories nor where the configuration says.
    pub(super) fn large_file(&self, address: &Secret) -> Option<(Url, bool)> {
        let url = Url::parse(address.expose()).ok()?;
        if !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        let own = self.reach.git.as_ref().is_some_and(|git| git.origin() == url.origin());
        let known = own || self.reach.large_files.iter().any(|at| at.origin() == url.origin());
        known.then_some((url, own))
    }

    /// The credential of a live grant as its upstream takes it. Why Basic for one of GitHub: its git side takes
    /// nothing else.
    fn shown(&self, guard: &GrantGuard<'_>) -> Result<(HeaderName, HeaderValue), CallError> {
        let credential = guard.credential()?;
        let secret = credential.secret.expose();
        let text = Zeroizing::new(match credential.kind {
            CredentialKind::StaticKey => {
                return self.reach.key.with(&credential.secret).ok_or(CallError::NoHeader);
            }
            CredentialKind::GithubInstallationToken => {
                let pair = Zeroizing::new(format!("x-access-token:{secret}"));
                format!("Basic {}", STANDARD.encode(pair.as_bytes()))
            }
            CredentialKind::SignedJwt => format!("Bearer {secret}"),
        });
        let mut value = HeaderValue::from_str(&text).map_err(|_| CallError::NoHeader)?;
        value.set_sensitive(true);
        Ok((header::AUTHORIZATION, value))
    }

    /// Calls under a live grant, and returns the answer as soon as it begins. When the grant ends before that, the
    /// call is dropped.
    ///
    /// # Errors
    /// When the grant ended, or the upstream can't be reached.
    pub(super) async fn call(
        &self,
        guard: &GrantGuard<'_>,
        call: Call,
    ) -> Result<Response, CallError> {
        let calling = async {
            guard.check()?;
            let Call { method, url, mut headers, shows, body } = call;
            if let Shows::Credential = shows {
                let (name, value) = self.shown(guard)?;
                headers.insert(name, value);
            }
            let mut request = self.client.request(method, url).headers(headers);
            if let Some(body) = body {
                request = request.body(body);
            }
            Ok(request.send().await?)
        };
        guard.while_live(calling).await?
    }
}

/// The headers of these names, each if it stands there once.
pub(super) fn only(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let once = |name: &HeaderName| {
        let mut values = headers.get_all(name).iter();
        let value = values.next().filter(|_| values.next().is_none())?;
        Some((name.clone(), value.clone()))
    };
    names.iter().filter_map(once).collect()
}
