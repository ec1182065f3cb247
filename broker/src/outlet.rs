//! A place outside that is told or asked things by HTTP: never by a redirect or a proxy, bounded in time.

use std::{fs, path::Path};

use reqwest::{
    Certificate, Client, ClientBuilder, RequestBuilder, Response, StatusCode, Url,
    header::HeaderMap, redirect::Policy,
};

use crate::{
    crypto,
    limits::{SIGNAL_ANSWER_BYTES, UPSTREAM_CALL, UPSTREAM_CONNECT},
};

/// The place, and the way to it.
pub struct Outlet {
    url: Url,
    client: Client,
}

/// Why a place can't be called at all.
#[derive(Debug, thiserror::Error)]
pub enum OutletError {
    /// A file of its is not there, or not what it must be.
    #[error("`{0}` can't be read: {1}")]
    File(String, String),
    /// TLS can't be set up.
    #[error(transparent)]
    Client(#[from] reqwest::Error),
}

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// It can't be reached.
    #[error("{}", innermost(.0))]
    Http(#[from] reqwest::Error),
    /// It refused.
    #[error("it answered {0}: {1}")]
    Refused(StatusCode, String),
    /// It answered more than it may.
    #[error("its answer is longer than {0} bytes")]
    TooLong(usize),
}

/// What came back.
pub struct Answer {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, whole.
    pub body: Vec<u8>,
}

impl Outlet {
    /// Sets calls up. The CA is that of its certificate, in PEM; without it those that the web trusts.
    ///
    /// # Errors
    /// When a file is not usable.
    pub fn new(url: Url, ca: Option<&Path>) -> Result<Self, OutletError> {
        Ok(Self { url, client: client(ca)?.build()? })
    }

    /// The same with a connection of its own for each message. Why: on a kept one that the other end just
    /// closed, a question that is put once gets no answer.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn by_fresh_connections(url: Url, ca: Option<&Path>) -> Result<Self, OutletError> {
        Ok(Self { url, client: client(ca)?.pool_max_idle_per_host(0).build()? })
    }

    /// Its address, for log lines.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Posts a message. Any 2xx answer says that it is kept.
    ///
    /// # Errors
    /// When it is not kept, and must be sent again.
    pub async fn post(
        &self,
        dress: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<(), PushError> {
        self.taken(dress).await.map(|_| ())
    }

    /// Posts a question and reads the answer, `most` bytes at most.
    ///
    /// # Errors
    /// When there is no 2xx answer of that size.
    pub async fn ask(
        &self,
        most: usize,
        dress: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Answer, PushError> {
        let mut answer = self.taken(dress).await?;
        let (headers, mut body) = (answer.headers().clone(), Vec::new());
        while let Some(chunk) = answer.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > most {
                return Err(PushError::TooLong(most));
            }
        }
        Ok(Answer { headers, body })
    }

    async fn taken(
        &self,
        dress: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, PushError> {
        let mut answer = dress(self.client.post(self.url.clone())).send().await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let mut said = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            said.extend_from_slice(&chunk);
            if said.len() > SIGNAL_ANSWER_BYTES {
                break;
            }
        }
        // Why so short and plain: it goes into a log line.
        let said = String::from_utf8_lossy(&said);
        let said = said.chars().filter(|letter| !letter.is_control()).take(200).collect();
        Err(PushError::Refused(status, said))
    }
}

fn client(ca: Option<&Path>) -> Result<ClientBuilder, OutletError> {
    crypto::install();

    let mut client = Client::builder()
        .timeout(UPSTREAM_CALL)
        .connect_timeout(UPSTREAM_CONNECT)
        .redirect(Policy::none())
        .no_proxy();
    if let Some(path) = ca {
        let pem = fs::read_to_string(path)
            .map_err(|error| OutletError::File(path.display().to_string(), error.to_string()))?;
        client = client.tls_certs_only(Certificate::from_pem_bundle(pem.as_bytes())?);
    }
    Ok(client)
}

/// The cause: "connection refused" says more than "error sending request".
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
