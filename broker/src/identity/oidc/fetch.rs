//! Gets small public documents over HTTP: bounded, without redirects, and never over a network that
//! could change them.

use std::{io, path::Path, time::Duration};

use jeton_domain::id::quote;
use reqwest::{Client, Url, redirect::Policy};
use tokio::io::AsyncReadExt;

use crate::{
    crypto,
    limits::{JWKS_BYTES, UPSTREAM_CALL, UPSTREAM_CONNECT},
};

/// Gets documents.
#[derive(Clone)]
pub struct Fetcher(Client);

/// Why a URL is not one to fetch keys from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` must be an https URL without user, or http on a loopback address")]
pub struct UrlError(String);

/// Why there is no document. For logs: it may name what is not the caller's business.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No connection, no TLS, too slow, cut.
    #[error("it could not be fetched: {0}")]
    Http(#[from] reqwest::Error),
    /// Another status than 200; a redirect is one.
    #[error("the answer was {0}")]
    Status(reqwest::StatusCode),
    /// No such file, or not readable.
    #[error("it can't be read: {0}")]
    Io(#[from] io::Error),
    /// Beyond the limit.
    #[error("it is larger than {JWKS_BYTES} bytes")]
    TooLarge,
}

/// Which URLs are safe to fetch keys from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Protected by TLS.
    Https,
    /// That, or this host by plain HTTP.
    HttpsOrLoopback,
}

impl Fetcher {
    /// Sets up the client with the limits of this process.
    ///
    /// # Errors
    /// When TLS can't be set up, such as without any trusted root certificates.
    pub fn new() -> Result<Self, reqwest::Error> {
        Self::with_deadline(UPSTREAM_CALL)
    }

    pub(super) fn with_deadline(call: Duration) -> Result<Self, reqwest::Error> {
        crypto::install();
        let client = Client::builder()
            .timeout(call)
            .connect_timeout(UPSTREAM_CONNECT)
            // Why none: a redirect could lead into this network, or to plain HTTP.
            .redirect(Policy::none())
            // Why: the environment is read by the configuration alone.
            .no_proxy()
            .build()?;
        Ok(Self(client))
    }

    /// Gets a document of at most [`JWKS_BYTES`].
    ///
    /// # Errors
    /// When there is none in time, it is a redirect or an error, or it is too large.
    pub async fn get(&self, url: Url) -> Result<Vec<u8>, FetchError> {
        let mut answer = self.0.get(url).send().await?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let mut document = Vec::new();
        // Why not by `Content-Length`: it is a claim, and may be absent.
        while let Some(chunk) = answer.chunk().await? {
            if document.len() + chunk.len() > JWKS_BYTES {
                return Err(FetchError::TooLarge);
            }
            document.extend_from_slice(&chunk);
        }
        Ok(document)
    }
}

/// Reads a file of at most [`JWKS_BYTES`].
///
/// # Errors
/// When it can't be read or is too large.
pub async fn read_file(path: &Path) -> Result<Vec<u8>, FetchError> {
    let most = u64::try_from(JWKS_BYTES).unwrap_or(u64::MAX);
    let mut document = Vec::new();
    let file = tokio::fs::File::open(path).await?;
    file.take(most.saturating_add(1)).read_to_end(&mut document).await?;
    if document.len() > JWKS_BYTES { Err(FetchError::TooLarge) } else { Ok(document) }
}

/// Reads a URL that keys may be fetched from.
///
/// # Errors
/// When it is no URL, carries a user, or what it leads to could be changed on the way.
pub fn safe_url(text: &str, reach: Reach) -> Result<Url, UrlError> {
    let refused = || UrlError(quote(text));
    let url = Url::parse(text).map_err(|_| refused())?;
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    let protected = match url.scheme() {
        "https" => url.has_host(),
        "http" => reach == Reach::HttpsOrLoopback && is_loopback(&url),
        _ => false,
    };
    if plain && protected { Ok(url) } else { Err(refused()) }
}

/// Tells whether a URL leads to this host by address. Why not by the name `localhost`: names are
/// looked up, and an answer can change between the check and the connection.
pub fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_come_by_https_or_from_this_host() {
        for (text, https, loopback) in [
            ("https://issuer.example/keys?x=1", true, true),
            ("http://127.0.0.1:8080/keys", false, true),
            ("http://[::1]:8080/keys", false, true),
            ("http://2130706433/keys", false, true),
            ("http://localhost:8080/keys", false, false),
            ("http://[::ffff:169.254.169.254]/keys", false, false),
            ("http://[::ffff:127.0.0.1]/keys", false, false),
            ("http://0251.0376.0251.0376/keys", false, false),
            ("http://issuer.example/keys", false, false),
            ("https://me:pass@issuer.example/keys", false, false),
            ("https://me@issuer.example/keys", false, false),
            ("https://issuer.example/keys#x", false, false),
            ("file:///etc/passwd", false, false),
            ("https://", false, false),
            ("keys", false, false),
            ("", false, false),
        ] {
            assert_eq!(safe_url(text, Reach::Https).is_ok(), https, "{text}");
            assert_eq!(safe_url(text, Reach::HttpsOrLoopback).is_ok(), loopback, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_crashes_the_parser(text in "(https?://)?\\PC{0,40}") {
            let _ = safe_url(&text, Reach::HttpsOrLoopback);
        }
    }
}
