//! Where the broker is, who calls, and how a call is sent.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use jeton_domain::secret::Secret;
use jeton_proto::{DPOP_METADATA, SESSION_METADATA};
use tokio::net::UnixStream;
use tonic::{
    Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Uri},
};

use crate::{
    dpop::DpopKey,
    error::{Error, ErrorKind},
    session_file,
};

/// Time to connect.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest wait for one answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// Tries of a call that may be sent again.
const TRIES: u32 = 4;
/// Longest pause between two tries. Why: whoever asks for more time is better asked by the caller.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// First pause between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// Where the broker is and who calls. See [`crate::ENVIRONMENT`] for the variables.
#[derive(Default)]
pub struct Settings {
    /// `https://host:port`, or `unix:/path/to/socket`.
    pub endpoint: Option<String>,
    /// CA of the broker's certificate, in PEM.
    pub ca: Option<PathBuf>,
    /// The caller's certificate, in PEM.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
    /// A file with the caller's identity token; read anew for each call.
    pub identity_token_file: Option<PathBuf>,
    /// A session file, as `jeton session open --out` writes it.
    pub session_file: Option<PathBuf>,
    /// A session's handle, instead of a file.
    pub handle: Option<Secret>,
    /// The gateway, `https://host:port`.
    pub gateway: Option<String>,
}

/// A connection to a broker. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    pub(crate) channel: Channel,
    caller: Arc<CallerParts>,
}

struct CallerParts {
    base_url: String,
    identity_token_file: Option<PathBuf>,
    handle: Option<Secret>,
    key: Option<DpopKey>,
}

impl Settings {
    /// Connects.
    ///
    /// # Errors
    /// When a file is missing or unusable, or nobody answers.
    pub async fn connect(self) -> Result<Client, Error> {
        let endpoint = self.endpoint.clone().ok_or_else(|| {
            Error::config(
                "no broker is named; set JETON_ENDPOINT, such as https://jeton.acme.dev:7443",
            )
        })?;
        let (handle, key) = match (self.handle, &self.session_file) {
            (Some(handle), _) => (Some(handle), None),
            (None, Some(file)) => {
                let (handle, key) = session_file::read(file)?;
                (Some(handle), key)
            }
            (None, None) => (None, None),
        };
        let (channel, base_url) = match endpoint.strip_prefix("unix:") {
            Some(path) => (connect_unix(path.to_owned()).await?, "http://localhost".to_owned()),
            None => {
                let tls = tls(self.ca, self.certificate, self.key)?;
                (connect_tls(&endpoint, tls).await?, endpoint.trim_end_matches('/').to_owned())
            }
        };
        let identity_token_file = self.identity_token_file;
        let caller = CallerParts { base_url, identity_token_file, handle, key };
        Ok(Client { channel, caller: Arc::new(caller) })
    }
}

impl Client {
    /// Connects with what the environment says.
    ///
    /// # Errors
    /// As [`Settings::connect`].
    pub async fn from_env() -> Result<Self, Error> {
        Settings::from_env().connect().await
    }

    /// The same connection with another handle.
    #[must_use]
    pub fn with_handle(&self, handle: Secret, key: Option<DpopKey>) -> Self {
        let caller = CallerParts {
            base_url: self.caller.base_url.clone(),
            identity_token_file: self.caller.identity_token_file.clone(),
            handle: Some(handle),
            key,
        };
        Self { channel: self.channel.clone(), caller: Arc::new(caller) }
    }

    /// The same identity without any session.
    pub(crate) fn without_handle(&self) -> Self {
        let caller = CallerParts {
            base_url: self.caller.base_url.clone(),
            identity_token_file: self.caller.identity_token_file.clone(),
            handle: None,
            key: None,
        };
        Self { channel: self.channel.clone(), caller: Arc::new(caller) }
    }

    pub(crate) fn has_handle(&self) -> bool {
        self.caller.handle.is_some()
    }

    /// Sends a call that may be sent again: it reads, or it carries a request id.
    pub(crate) async fn again<M: Clone, R, F>(
        &self,
        path: &str,
        message: M,
        send: impl Fn(Channel, Request<M>) -> F,
    ) -> Result<R, Error>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            match self.once(path, message.clone(), &send).await {
                Err(error) if error.is_passing() => {
                    let wait = error.retry_after().unwrap_or(pause).min(LONGEST_PAUSE);
                    tokio::time::sleep(jittered(wait)).await;
                    pause = pause.saturating_mul(2);
                }
                done => return done,
            }
        }
        self.once(path, message, &send).await
    }

    /// Sends a call once.
    pub(crate) async fn once<M, R, F>(
        &self,
        path: &str,
        message: M,
        send: impl Fn(Channel, Request<M>) -> F,
    ) -> Result<R, Error>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let request = self.request(path, message)?;
        Ok(send(self.channel.clone(), request).await?.into_inner())
    }

    /// Opens a stream. It may last, so only its opening has a deadline.
    pub(crate) async fn open<M, R, F>(
        &self,
        path: &str,
        message: M,
        send: impl FnOnce(Channel, Request<M>) -> F,
    ) -> Result<R, Error>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let request = self.signed(path, message)?;
        let opened = tokio::time::timeout(DEADLINE, send(self.channel.clone(), request)).await;
        let late = || Error::local(ErrorKind::Unavailable, "the broker does not answer in time");
        Ok(opened.map_err(|_| late())??.into_inner())
    }

    fn request<M>(&self, path: &str, message: M) -> Result<Request<M>, Error> {
        let mut request = self.signed(path, message)?;
        request.set_timeout(DEADLINE);
        Ok(request)
    }

    /// Adds who calls to a message.
    fn signed<M>(&self, path: &str, message: M) -> Result<Request<M>, Error> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        if let Some(file) = &self.caller.identity_token_file {
            let token = fs::read_to_string(file).map(Secret::new).map_err(|error| {
                Error::config(format!("`{}` can't be read: {error}", file.display()))
            })?;
            let value = Secret::new(format!("Bearer {}", token.expose().trim()));
            metadata.insert("authorization", sensitive(&value)?);
        }
        if let Some(handle) = &self.caller.handle {
            metadata.insert(SESSION_METADATA, sensitive(handle)?);
            if let Some(key) = &self.caller.key {
                let proof =
                    key.proof("POST", &format!("{}{path}", self.caller.base_url), handle.expose())?;
                metadata.insert(DPOP_METADATA, sensitive(&Secret::new(proof))?);
            }
        }
        Ok(request)
    }
}

fn sensitive(secret: &Secret) -> Result<MetadataValue<Ascii>, Error> {
    let mut value = MetadataValue::try_from(secret.expose()).map_err(|_| {
        Error::config("a handle or token holds other than visible ASCII; is the file whole?")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn tls(
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<ClientTlsConfig, Error> {
    let read = |path: PathBuf| {
        fs::read(&path)
            .map_err(|error| Error::config(format!("`{}` can't be read: {error}", path.display())))
    };
    let ca = ca.ok_or_else(|| {
        Error::config("the broker's CA is not named; set JETON_CA to its PEM file")
    })?;
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?));
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            Ok(tls.identity(Identity::from_pem(read(certificate)?, read(key)?)))
        }
        (None, None) => Ok(tls),
        (Some(_), None) => {
            Err(Error::config("there is a certificate without a key; set JETON_KEY"))
        }
        (None, Some(_)) => {
            Err(Error::config("there is a key without a certificate; set JETON_CERT"))
        }
    }
}

async fn connect_tls(endpoint: &str, tls: ClientTlsConfig) -> Result<Channel, Error> {
    let bad = |error: tonic::transport::Error| {
        Error::config(format!("`{endpoint}` is no usable endpoint: {}", chain(&error)))
    };
    if !endpoint.starts_with("https://") {
        return Err(Error::config(format!(
            "`{endpoint}` must begin with https:// or unix:; a broker is never called in the clear"
        )));
    }
    let endpoint = kept_alive(Endpoint::from_shared(endpoint.to_owned()).map_err(bad)?)?;
    endpoint.tls_config(tls).map_err(bad)?.connect().await.map_err(|error| unreachable_at(&error))
}

async fn connect_unix(path: String) -> Result<Channel, Error> {
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let endpoint = kept_alive(Endpoint::from_static("http://localhost"))?;
    endpoint.connect_with_connector(connector).await.map_err(|error| unreachable_at(&error))
}

fn kept_alive(endpoint: Endpoint) -> Result<Endpoint, Error> {
    endpoint
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .user_agent(concat!("jeton/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| Error::config(error.to_string()))
}

fn unreachable_at(error: &tonic::transport::Error) -> Error {
    Error::local(ErrorKind::Unavailable, format!("the broker can't be reached: {}", chain(error)))
}

/// An error with what is behind it: the outer ones say little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut inner = error.source();
    while let Some(error) = inner {
        text = format!("{text}: {error}");
        inner = error.source();
    }
    text
}

/// Between half and all of a time, so that many callers do not come back at once.
pub(crate) fn jittered(time: Duration) -> Duration {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut byte = [0_u8; 1];
    let _ = SystemRandom::new().fill(&mut byte);
    let [byte] = byte;
    let half = time / 2;
    half + half * u32::from(byte) / 255
}
