//! A log at an address that serves tiles (C2SP tlog-tiles), as a broker does at `/log`.

use std::{fs, time::Duration};

use jeton_domain::merkle::{BundleId, Hash, TileId, unbundle};
use reqwest::{Certificate, Client, Identity, StatusCode, Url, redirect::Policy};
use tokio::runtime::Handle;

use super::{FILE_BYTES, LogError, LogSource};
use crate::connect::Settings;

/// Time for one piece.
const CALL: Duration = Duration::from_secs(30);

/// The address, and how it is asked.
pub struct Web {
    base: String,
    client: Client,
    token: Option<String>,
    runtime: Handle,
}

impl Web {
    /// Sets up calls with the caller's certificate or identity token. Must be made within a runtime,
    /// and used where blocking is allowed.
    ///
    /// # Errors
    /// When a file is unusable, or the address is none to send an identity to.
    pub fn new(url: &str, settings: &Settings) -> Result<Self, LogError> {
        let bad = |why: String| LogError::Unreadable { path: url.to_owned(), why };
        let parsed = Url::parse(url).map_err(|error| bad(error.to_string()))?;
        let own_hosts = ["localhost", "127.0.0.1", "[::1]"];
        let own_host = parsed.host_str().is_some_and(|host| own_hosts.contains(&host));
        let encrypted = parsed.scheme() == "https";
        let here = parsed.scheme() == "http" && own_host;
        if !encrypted && !here {
            return Err(bad("an address begins with https://, or is on this host".into()));
        }
        // Why ignored: it is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder()
            .timeout(CALL)
            // Why none: nobody but the named host gets to know who asks.
            .redirect(Policy::none())
            .no_proxy();
        let read = |path: &std::path::Path| {
            fs::read(path).map_err(|error| bad(format!("`{}`: {error}", path.display())))
        };
        let unusable = |error: reqwest::Error| bad(told(&error));
        if let Some(ca) = &settings.ca {
            let ca = Certificate::from_pem(&read(ca)?).map_err(unusable)?;
            client = client.tls_certs_only([ca]);
        }
        if let (Some(certificate), Some(key)) = (&settings.certificate, &settings.key) {
            let both = [read(certificate)?, b"\n".to_vec(), read(key)?].concat();
            client = client.identity(Identity::from_pem(&both).map_err(unusable)?);
        }
        let token = settings.identity_token_file.as_deref().map(read).transpose()?;
        let token = token.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
        Ok(Self {
            base: url.trim_end_matches('/').to_owned(),
            client: client.build().map_err(unusable)?,
            token: token.filter(|_| encrypted),
            runtime: Handle::current(),
        })
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, LogError> {
        let url = format!("{}/{name}", self.base);
        let bad = |why: String| LogError::Unreadable { path: url.clone(), why };
        self.runtime.block_on(async {
            let mut request = self.client.get(&url);
            if let Some(token) = &self.token {
                request = request.bearer_auth(token);
            }
            let mut answer = request.send().await.map_err(|error| bad(told(&error)))?;
            if answer.status() == StatusCode::NOT_FOUND {
                return Ok(None);
            }
            let status = answer.status();
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(|error| bad(told(&error)))? {
                body.extend_from_slice(&chunk);
                if u64::try_from(body.len()).is_ok_and(|length| length > FILE_BYTES) {
                    return Err(bad("the answer is longer than any piece of a log".into()));
                }
            }
            if status.is_success() {
                return Ok(Some(body));
            }
            let said: String = said(&body).chars().take(200).collect();
            Err(bad(format!("{status}: {said}")))
        })
    }

    fn piece(&self, name: &str) -> Result<Vec<u8>, LogError> {
        self.get(name)?.ok_or_else(|| LogError::Missing(name.to_owned()))
    }
}

impl LogSource for Web {
    fn size(&self) -> Result<Option<u64>, LogError> {
        Ok(None)
    }

    fn first(&self) -> Result<u64, LogError> {
        Ok(0)
    }

    fn checkpoint(&self) -> Result<Option<String>, LogError> {
        let none = || LogError::NoLog(self.base.clone());
        String::from_utf8(self.get("checkpoint")?.ok_or_else(none)?)
            .map(Some)
            .map_err(|_| LogError::Missing("the text of `checkpoint`".into()))
    }

    fn bundle(&self, id: BundleId) -> Result<Vec<Vec<u8>>, LogError> {
        let name = id.to_string();
        let bytes = self.piece(&name)?;
        let texts = unbundle(&bytes).map_err(|error| LogError::Tile { name, error })?;
        Ok(texts.into_iter().map(<[u8]>::to_vec).collect())
    }

    fn tile(&self, id: TileId) -> Result<Option<Vec<Hash>>, LogError> {
        let name = id.to_string();
        let bytes = self.piece(&name)?;
        id.hashes(&bytes).map(Some).map_err(|error| LogError::Tile { name, error })
    }
}

/// What a refusal says: the detail of a problem (RFC 9457), or the text as it is.
fn said(body: &[u8]) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let detail = problem.as_ref().and_then(|problem| problem.get("detail")?.as_str());
    detail.map_or_else(|| String::from_utf8_lossy(body).trim().to_owned(), str::to_owned)
}

/// An error with what is behind it: the outer ones say little.
fn told(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut inner = std::error::Error::source(error);
    while let Some(error) = inner {
        text = format!("{text}: {error}");
        inner = error.source();
    }
    text
}
