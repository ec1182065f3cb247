//! Hearing of credentials that end before their time.

use std::time::Duration;

use jeton_proto::v1::{self, revocation_service_client::RevocationServiceClient};
use serde::Serialize;
use tonic::Streaming;

use crate::{
    connect::Client,
    error::{Error, ErrorKind},
    wire,
};

/// Longest silence of a stream that lives: the broker says a word each second.
const SILENCE: Duration = Duration::from_secs(5);

/// A grant whose credentials must no longer be accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct EndedGrant {
    /// The grant: `jti` of the tokens that the broker signs.
    pub grant: String,
    /// When the last of its credentials dies by itself, in milliseconds since 1970.
    pub until: i64,
    /// Place in the log of the entry that ended it.
    pub entry: u64,
}

/// What the broker said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RevocationWord {
    /// Grants that ended; none if this only says that the broker is there.
    pub ended: Vec<EndedGrant>,
    /// Where to go on after this word.
    pub next: u64,
    /// Whether all that ended until now has been told.
    pub caught_up: bool,
}

/// A stream of words, at least one a second.
pub struct Revocations(Streaming<v1::WatchRevocationsResponse>);

impl Client {
    /// Hears of grants that end before their time: first of all those that still matter, or of those
    /// after `from`, the last word's `next`. The broker ends a stream after some minutes.
    ///
    /// # Errors
    /// When the caller may not hear of any.
    pub async fn watch_revocations(&self, from: u64) -> Result<Revocations, Error> {
        let request = v1::WatchRevocationsRequest { from_index: from };
        let path = "/jeton.v1.RevocationService/WatchRevocations";
        self.open(path, request, |channel, request| async move {
            RevocationServiceClient::new(channel).watch_revocations(request).await
        })
        .await
        .map(Revocations)
    }
}

impl Revocations {
    /// The next word; `None` when the stream has ended and is to be opened again.
    ///
    /// # Errors
    /// When the broker can't be heard any more: whoever accepts credentials by what it hears must
    /// stop then.
    pub async fn next(&mut self) -> Result<Option<RevocationWord>, Error> {
        let silent = || Error::local(ErrorKind::Unavailable, "the broker has fallen silent");
        let word = tokio::time::timeout(SILENCE, self.0.message()).await.map_err(|_| silent())?;
        let word = word.map_err(Error::of_stream)?;
        Ok(word.map(wire::revocations))
    }
}
