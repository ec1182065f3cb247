//! Sends checkpoints to whoever watches the log: witnesses that cosign them (C2SP tlog-witness), and
//! an address that keeps them.

use jeton_domain::merkle::{CheckpointError, ConsistencyProof, SignedCheckpoint, WitnessKey};
use reqwest::{Client, StatusCode, Url, redirect::Policy};

use crate::{
    crypto,
    limits::{UPSTREAM_CALL, UPSTREAM_CONNECT, WITNESS_BYTES},
};

/// Why a checkpoint was not taken.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// It can't be reached.
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    /// It refused.
    #[error("it answered {0}: {1}")]
    Refused(StatusCode, String),
    /// It answered more than it should.
    #[error("its answer is longer than any")]
    TooLong,
    /// Its cosignature is none of this checkpoint.
    #[error(transparent)]
    Cosignature(#[from] CheckpointError),
    /// It saw a longer log than there is: the store was put back, or its key signs another log.
    #[error("it has seen a log of {0} entries, which is more than there are")]
    Ahead(u64),
}

/// What a witness says.
pub enum Answer {
    /// It cosigned.
    Cosigned(Box<SignedCheckpoint>),
    /// It last saw the log at another size: the proof must begin there.
    Saw(u64),
}

/// Calls to outsiders.
#[derive(Clone)]
pub struct Outside(Client);

impl Outside {
    /// Sets calls up with the limits of this process.
    ///
    /// # Errors
    /// When TLS can't be set up.
    pub fn new() -> Result<Self, reqwest::Error> {
        crypto::install();
        let client = Client::builder()
            .timeout(UPSTREAM_CALL)
            .connect_timeout(UPSTREAM_CONNECT)
            .redirect(Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self(client))
    }

    /// Posts a checkpoint to an address that keeps it. Any 2xx answer says that it is kept.
    ///
    /// # Errors
    /// When it is not.
    pub async fn post(&self, url: Url, checkpoint: &SignedCheckpoint) -> Result<(), WitnessError> {
        let (status, text) = self.send(url, checkpoint.to_string()).await?;
        if status.is_success() { Ok(()) } else { Err(WitnessError::Refused(status, text)) }
    }

    /// Asks a witness to cosign a checkpoint, with the proof that it grew from the one seen before.
    ///
    /// # Errors
    /// When it does not.
    pub async fn add_checkpoint(
        &self,
        url: &Url,
        key: &WitnessKey,
        proof: &ConsistencyProof,
        checkpoint: &SignedCheckpoint,
    ) -> Result<Answer, WitnessError> {
        let mut url = url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push("add-checkpoint");
        }
        let path: String = proof.path.iter().map(|hash| format!("{hash}\n")).collect();
        let body = format!("old {}\n{path}\n{checkpoint}", proof.old);
        let (status, text) = self.send(url, body).await?;
        match status {
            StatusCode::OK => {
                Ok(Answer::Cosigned(Box::new(checkpoint.clone().cosigned(&text, key)?)))
            }
            StatusCode::CONFLICT => match text.trim().parse() {
                Ok(size) if size > proof.new => Err(WitnessError::Ahead(size)),
                Ok(size) => Ok(Answer::Saw(size)),
                Err(_) => Err(WitnessError::Refused(status, text)),
            },
            _ => Err(WitnessError::Refused(status, text)),
        }
    }

    async fn send(&self, url: Url, body: String) -> Result<(StatusCode, String), WitnessError> {
        let mut answer = self.0.post(url).body(body).send().await?;
        let status = answer.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > WITNESS_BYTES {
                return Err(WitnessError::TooLong);
            }
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        // Why: what is no answer by the protocol goes into a log line.
        let shown = match status {
            StatusCode::OK => text,
            _ => text.chars().filter(|c| !c.is_control()).take(200).collect(),
        };
        Ok((status, shown))
    }
}
