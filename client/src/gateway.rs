//! Calls through the broker's gateway: the same identity as everywhere, and no secret for whoever makes them.

mod upstreams;

use std::{fs, path::PathBuf};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jeton_domain::secret::Secret;
use jeton_proto::{DPOP_METADATA, SESSION_METADATA};
use reqwest::{Body, Certificate, Identity, Response, Url, redirect::Policy};
use zeroize::Zeroizing;

use crate::{
    connect::Settings,
    dpop::DpopKey,
    error::{Error, ErrorKind},
    session_file,
};

pub use self::upstreams::UpstreamAddress;

/// The way to the gateway, for one session. Cheap to share behind a reference.
pub struct Gateway {
    url: Url,
    http: reqwest::Client,
    identity_token_file: Option<PathBuf>,
    handle: Secret,
    key: Option<DpopKey>,
}

impl Settings {
    /// Makes the way to the gateway. Calls nobody.
    ///
    /// # Errors
    /// When it is not named, there is no session, or a file is not usable.
    pub fn gateway(self) -> Result<Gateway, Error> {
        let (handle, key) = self.session()?;
        let url = self.gateway.as_deref().ok_or_else(|| {
            Error::config(
                "no gateway is named; set JETON_GATEWAY, such as https://jeton.acme.dev:7444",
            )
        })?;
        let odd = || Error::config(format!("`{url}` is no gateway; write https://host:port"));
        let url = Url::parse(url).map_err(|_| odd())?;
        if url.scheme() != "https" || url.path() != "/" || url.query().is_some() {
            return Err(odd());
        }
        let read = |path: PathBuf| {
            fs::read(&path).map(Zeroizing::new).map_err(|error| {
                Error::config(format!("`{}` can't be read: {error}", path.display()))
            })
        };
        // Somebody else in the process may have been faster, with the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let bad = |error: reqwest::Error| Error::config(format!("TLS can't be set up: {error}"));
        let mut http = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .http1_only()
            .user_agent(concat!("jeton/", env!("CARGO_PKG_VERSION")));
        if let Some(ca) = self.ca {
            http = http.tls_certs_only(Certificate::from_pem_bundle(&read(ca)?).map_err(bad)?);
        }
        if let (Some(certificate), Some(key)) = (self.certificate, self.key) {
            let mut pem = read(key)?;
            pem.push(b'\n');
            pem.extend_from_slice(&read(certificate)?);
            http = http.identity(Identity::from_pem(&pem).map_err(bad)?);
        }
        let identity_token_file = self.identity_token_file;
        Ok(Gateway { url, http: http.build().map_err(bad)?, identity_token_file, handle, key })
    }

    /// The session's handle, and the key that it is bound to if there is one.
    pub(crate) fn session(&self) -> Result<(Secret, Option<DpopKey>), Error> {
        match (&self.handle, &self.session_file) {
            (Some(handle), _) => Ok((Secret::new(handle.expose().to_owned()), None)),
            (None, Some(file)) => session_file::read(file),
            (None, None) => Err(Error::config(
                "there is no session; set JETON_SESSION_FILE to the file that `jeton session open --out` wrote",
            )),
        }
    }

    /// The session's handle, for whoever can show nothing else. It opens nothing without the key that it is
    /// bound to.
    ///
    /// # Errors
    /// When there is no session, or its key can't be shown so.
    pub fn bare_handle(&self) -> Result<Secret, Error> {
        match self.session()? {
            (handle, None) => Ok(handle),
            (_, Some(_)) => Err(Error::config(
                "this session is bound to a key that signs each call, which git can't; use `jeton proxy -- git …`",
            )),
        }
    }
}

impl Gateway {
    /// Its address.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Sends a call on, with who calls. The path begins with a slash and may have a query.
    ///
    /// # Errors
    /// When a file can't be read or the gateway can't be reached.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        mut headers: HeaderMap,
        body: Option<Body>,
    ) -> Result<Response, Error> {
        let odd = || Error::config(format!("`{path}` is no path that is written plainly"));
        let url = self.url.join(path).map_err(|_| odd())?;
        // Why: a path such as `//elsewhere/` would join to another host, and one with `..` to another upstream.
        let (as_given, _) = path.split_once('?').unwrap_or((path, ""));
        if url.origin() != self.url.origin() || url.path() != as_given {
            return Err(odd());
        }
        self.sign(&method, &url, &mut headers)?;
        let mut call = self.http.request(method, url).headers(headers);
        if let Some(body) = body {
            call = call.body(body);
        }
        call.send().await.map_err(|error| {
            let words = format!("the gateway can't be reached: {}", error.without_url());
            Error::local(ErrorKind::Unavailable, words)
        })
    }

    /// Adds who calls.
    fn sign(&self, method: &Method, url: &Url, headers: &mut HeaderMap) -> Result<(), Error> {
        let mut put = |name: &'static str, secret: &Secret| {
            let odd = |_| Error::config("a handle or token holds other than visible ASCII");
            let mut value = HeaderValue::from_str(secret.expose()).map_err(odd)?;
            value.set_sensitive(true);
            headers.insert(HeaderName::from_static(name), value);
            Ok::<_, Error>(())
        };
        if let Some(file) = &self.identity_token_file {
            let token = fs::read_to_string(file).map(Secret::new).map_err(|error| {
                Error::config(format!("`{}` can't be read: {error}", file.display()))
            })?;
            put("authorization", &Secret::new(format!("Bearer {}", token.expose().trim())))?;
        }
        put(SESSION_METADATA, &self.handle)?;
        if let Some(key) = &self.key {
            let mut bare = url.clone();
            bare.set_query(None);
            let proof = key.proof(method.as_str(), bare.as_str(), self.handle.expose())?;
            put(DPOP_METADATA, &Secret::new(proof))?;
        }
        Ok(())
    }
}
