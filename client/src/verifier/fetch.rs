//! Fetches small public documents over HTTPS.

use std::{fs, path::Path, time::Duration};

use reqwest::{Certificate, Client, Url, redirect::Policy};

use crate::error::{Error, ErrorKind};

/// Time for one document.
const CALL: Duration = Duration::from_secs(5);
/// Largest document, in bytes. Why: a key set of a broker has a handful of keys, a list 16 KiB.
pub const DOCUMENT_BYTES: usize = 256 * 1024;

/// Fetches.
#[derive(Clone)]
pub struct Fetcher(Client);

impl Fetcher {
    /// Trusts one CA, or those of the system.
    pub fn new(ca: Option<&Path>) -> Result<Self, Error> {
        // Why ignored: it is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder()
            .timeout(CALL)
            // Why none: the document is believed because of where it is.
            .redirect(Policy::none())
            .no_proxy();
        if let Some(ca) = ca {
            let bad = |error: &dyn std::fmt::Display| {
                Error::config(format!("`{}` is no usable CA: {error}", ca.display()))
            };
            let pem = fs::read(ca).map_err(|error| bad(&error))?;
            let ca = Certificate::from_pem(&pem).map_err(|error| bad(&error))?;
            client = client.tls_certs_only([ca]);
        }
        client.build().map(Self).map_err(|error| Error::config(error.to_string()))
    }

    /// Fetches a document.
    pub async fn get(&self, url: &Url) -> Result<Vec<u8>, Error> {
        let failed = |why: String| {
            Error::local(ErrorKind::Unavailable, format!("`{url}` can't be fetched: {why}"))
        };
        let own_hosts = ["localhost", "127.0.0.1", "[::1]"];
        let here = url.host_str().is_some_and(|host| own_hosts.contains(&host));
        if url.scheme() != "https" && !here {
            return Err(Error::config(format!("`{url}` must begin with https://")));
        }
        let answer = self.0.get(url.clone()).send().await;
        let mut answer = answer.map_err(|error| failed(error.to_string()))?;
        if !answer.status().is_success() {
            return Err(failed(answer.status().to_string()));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| failed(error.to_string()))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > DOCUMENT_BYTES {
                return Err(failed(format!("it is longer than {DOCUMENT_BYTES} bytes")));
            }
        }
        Ok(bytes)
    }
}
