//! The way to one upstream: its addresses, and calls that carry its credential.
//!
//! Only what is named here goes out, and only to the configured host: never by a redirect, never by a proxy.

use std::fs;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use jeton_domain::{scope::Resource, secret::Secret};
use reqwest::{Certificate, Client, Response, Url, redirect::Policy};
use zeroize::Zeroizing;

use crate::{
    config::Reach,
    crypto,
    limits::UPSTREAM_CONNECT,
    outlet::OutletError,
    upstream::{Credential, CredentialKind},
};

/// The way to one upstream.
pub struct Outward {
    client: Client,
    reach: Reach,
}

/// One call.
pub(super) struct Call<'a> {
    /// How.
    pub method: Method,
    /// Where.
    pub url: Url,
    /// What goes along, without a credential.
    pub headers: HeaderMap,
    /// The credential. `None` where the address opens by itself.
    pub credential: Option<&'a Credential>,
    /// What is sent.
    pub body: Option<reqwest::Body>,
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

    /// The credential as its upstream takes it. Why Basic for one of GitHub: its git side takes nothing else.
    fn shown(&self, credential: &Credential) -> Option<(HeaderName, HeaderValue)> {
        let secret = credential.secret.expose();
        let text = Zeroizing::new(match credential.kind {
            CredentialKind::StaticKey => return self.reach.key.with(&credential.secret),
            CredentialKind::GithubInstallationToken => {
                let pair = Zeroizing::new(format!("x-access-token:{secret}"));
                format!("Basic {}", STANDARD.encode(pair.as_bytes()))
            }
            CredentialKind::SignedJwt => format!("Bearer {secret}"),
        });
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some((header::AUTHORIZATION, value))
    }

    /// Calls, and gives the answer as soon as it begins.
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Response, reqwest::Error> {
        let Call { method, url, mut headers, credential, body } = call;
        if let Some((name, value)) = credential.and_then(|credential| self.shown(credential)) {
            headers.insert(name, value);
        }
        let mut request = self.client.request(method, url).headers(headers);
        if let Some(body) = body {
            request = request.body(body);
        }
        request.send().await
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
