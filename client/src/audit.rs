//! Calls about the audit log.

use jeton_domain::{
    audit::Entry,
    merkle::{
        CheckpointError, ConsistencyProof, Hash, InclusionProof, ProofError, SignedCheckpoint,
        VerifierKey, leaf_hash,
    },
};
use jeton_proto::v1::{self, audit_service_client::AuditServiceClient};
use prost_types::Timestamp;
use serde::Serialize;
use tonic::Streaming;

use crate::{
    connect::Client,
    error::{Error, ErrorKind},
    types::PageOf,
    wire,
};

/// Which entries. Every field that is set must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of the protocol, documented there")]
pub struct EntryFilter {
    pub agent: Option<String>,
    pub person: Option<String>,
    pub by: Option<String>,
    pub session: Option<String>,
    pub grant: Option<String>,
    pub upstream: Option<String>,
    pub resource: Option<String>,
    pub action: Option<String>,
    pub event: Option<String>,
    pub outcome: Option<String>,
    pub policy: Option<String>,
    /// Not before, in milliseconds since 1970.
    pub since: Option<i64>,
    /// Before, in milliseconds since 1970.
    pub until: Option<i64>,
}

/// One entry of the log.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct EntryInfo {
    /// Place in the log, from 0.
    pub index: u64,
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// What happened, in a word.
    pub event: String,
    /// How it went, in a word.
    pub outcome: String,
    /// What happened, in a line. Holds words of agents.
    pub line: String,
    /// The entry as it is stored and hashed.
    pub text: String,
}

/// A page of entries.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EntryPage {
    /// In the order asked for.
    pub items: Vec<EntryInfo>,
    /// Token of the next page; absent at the end.
    pub next: Option<String>,
    /// Which part of the log the caller sees, in words; absent if that is all of it.
    pub part: Option<String>,
}

/// Entries of a stream, and where it stands.
#[derive(Debug, Clone)]
pub struct EntryBatch {
    /// Oldest first; may be none.
    pub entries: Vec<EntryInfo>,
    /// Every entry below was looked at.
    pub next: u64,
    /// Whether that is the end that was asked for. A stream that ends without it broke off: go on at
    /// `next`.
    pub at_end: bool,
    /// Which part of the log the caller sees, in words; absent if that is all of it.
    pub part: Option<String>,
}

/// How many entries there are.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// Parts of the time, those without entries left out.
    pub parts: Vec<SummaryPart>,
    /// Entries that were looked at, from the first on.
    pub looked_at: u64,
    /// Which part of the log the caller sees, in words; absent if that is all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
}

/// One part of the time.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct SummaryPart {
    /// When it begins, in milliseconds since 1970.
    pub start: i64,
    /// Values and how many entries have them, the most first.
    pub counts: Vec<(String, u64)>,
}

/// How long a stream goes on.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// For ever; the broker ends it now and then.
    Stopped,
    /// Up to the log's present end.
    End(Purpose),
}

/// What entries are read for: it goes on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To look at.
    Look,
    /// To hand them to another program.
    Export,
    /// To hold them against a checkpoint. Only for who may see the whole log.
    Verify,
}

/// An open stream of entries.
pub struct Tail(Streaming<v1::TailEntriesResponse>);

/// The proof that an entry is in the log, checked: entry, proof and checkpoint belong together.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// The entry.
    pub entry: EntryInfo,
    /// The proof, from the leaf to the root.
    pub proof: InclusionProof,
    /// The checkpoint with that root.
    pub checkpoint: SignedCheckpoint,
    /// The key that signed it, as the broker names it.
    pub key: VerifierKey,
}

/// A signed checkpoint, its signature checked.
#[derive(Debug, Clone)]
pub struct CheckpointInfo {
    /// What was signed, and by whom.
    pub checkpoint: SignedCheckpoint,
    /// The newest one that witnesses cosigned, if the broker has witnesses.
    pub cosigned: Option<SignedCheckpoint>,
    /// The key that signed it, as the broker names it.
    pub key: VerifierKey,
}

impl Client {
    /// Lists entries.
    ///
    /// # Errors
    /// When the filter is not well-formed or the caller may not.
    pub async fn list_entries(
        &self,
        filter: EntryFilter,
        oldest_first: bool,
        page: PageOf,
    ) -> Result<EntryPage, Error> {
        let request = v1::ListEntriesRequest {
            filter: Some(filter.into()),
            oldest_first,
            page: Some(v1::Page { size: page.size, token: page.token.unwrap_or_default() }),
        };
        let path = "/jeton.v1.AuditService/ListEntries";
        let answer = self
            .again(path, request, |channel, request| async move {
                AuditServiceClient::new(channel).list_entries(request).await
            })
            .await?;
        let items = answer.entries.into_iter().map(wire::entry).collect();
        let [next, part] =
            [answer.next_page_token, answer.part].map(|text| Some(text).filter(|t| !t.is_empty()));
        Ok(EntryPage { items, next, part })
    }

    /// Counts entries by what they say (`event`, `agent`, `policy` …), in parts of a length.
    ///
    /// # Errors
    /// When they can't be counted by that, or the caller may not look.
    pub async fn summarise(
        &self,
        filter: EntryFilter,
        by: &str,
        every: Option<std::time::Duration>,
    ) -> Result<Summary, Error> {
        let every = every.map_or(Ok(0), |every| u32::try_from(every.as_secs()));
        let request = v1::SummariseRequest {
            filter: Some(filter.into()),
            by: by.to_owned(),
            every_seconds: every
                .map_err(|_| Error::config("the parts are longer than a century"))?,
        };
        let path = "/jeton.v1.AuditService/Summarise";
        let answer = self
            .again(path, request, |channel, request| async move {
                AuditServiceClient::new(channel).summarise(request).await
            })
            .await?;
        Ok(wire::summary(answer))
    }

    /// Follows the log from an index on. The broker ends a stream after some minutes; go on at the
    /// last batch's `next`.
    ///
    /// # Errors
    /// When the filter is not well-formed, the log is shorter, or the caller may not.
    pub async fn tail_entries(
        &self,
        filter: EntryFilter,
        from: u64,
        until: Until,
    ) -> Result<Tail, Error> {
        let (stop_at_end, purpose) = match until {
            Until::Stopped => (false, Purpose::Look),
            Until::End(purpose) => (true, purpose),
        };
        let purpose = v1::tail_entries_request::Purpose::from(purpose).into();
        let filter = Some(filter.into());
        let request = v1::TailEntriesRequest { from_index: from, filter, stop_at_end, purpose };
        let path = "/jeton.v1.AuditService/TailEntries";
        self.open(path, request, |channel, request| async move {
            AuditServiceClient::new(channel).tail_entries(request).await
        })
        .await
        .map(Tail)
    }

    /// Proves one entry. The proof and the signature are checked here, against the broker's own key:
    /// compare [`Receipt::key`] with the one that you got by another way.
    ///
    /// # Errors
    /// When there is no such entry for this caller, or the answer proves nothing.
    pub async fn receipt(&self, index: u64) -> Result<Receipt, Error> {
        self.receipt_of(v1::get_receipt_request::Of::Index(index)).await
    }

    /// Proves the entry with which a grant's credential was released; see [`Self::receipt`].
    ///
    /// # Errors
    /// As [`Self::receipt`].
    pub async fn receipt_of_grant(&self, id: &str) -> Result<Receipt, Error> {
        self.receipt_of(v1::get_receipt_request::Of::Grant(id.to_owned())).await
    }

    async fn receipt_of(&self, of: v1::get_receipt_request::Of) -> Result<Receipt, Error> {
        let request = v1::GetReceiptRequest { of: Some(of.clone()) };
        let path = "/jeton.v1.AuditService/GetReceipt";
        let answer = self
            .again(path, request, |channel, request| async move {
                AuditServiceClient::new(channel).get_receipt(request).await
            })
            .await?;
        let entry = answer.entry.ok_or_else(|| wire::missing("entry"))?;
        let entry = asked_for(entry.text, &of)?;
        let signed = open(&answer.checkpoint, &answer.verifier_key)?;
        let proof = InclusionProof {
            index: entry.index,
            size: signed.checkpoint.checkpoint().size,
            path: hashes(answer.inclusion_proof)?,
        };
        let receipt = Receipt { entry, proof, checkpoint: signed.checkpoint, key: signed.key };
        receipt.check()?;
        Ok(receipt)
    }

    /// The newest checkpoint. Its signature is checked against the broker's own key.
    ///
    /// # Errors
    /// When there is none yet, or it is not signed.
    pub async fn checkpoint(&self) -> Result<CheckpointInfo, Error> {
        let path = "/jeton.v1.AuditService/GetCheckpoint";
        let answer = self
            .again(path, v1::GetCheckpointRequest {}, |channel, request| async move {
                AuditServiceClient::new(channel).get_checkpoint(request).await
            })
            .await?;
        let mut found = open(&answer.checkpoint, &answer.verifier_key)?;
        if !answer.cosigned.is_empty() {
            found.cosigned = Some(open(&answer.cosigned, &answer.verifier_key)?.checkpoint);
        }
        Ok(found)
    }

    /// Proves that the log with `new` entries begins with what it was with `old`. To be checked
    /// against both roots with [`ConsistencyProof::verify`].
    ///
    /// # Errors
    /// When the log never had these sizes.
    pub async fn consistency(&self, old: u64, new: u64) -> Result<ConsistencyProof, Error> {
        let request = v1::GetConsistencyProofRequest { old_size: old, new_size: new };
        let path = "/jeton.v1.AuditService/GetConsistencyProof";
        let answer = self
            .again(path, request, |channel, request| async move {
                AuditServiceClient::new(channel).get_consistency_proof(request).await
            })
            .await?;
        Ok(ConsistencyProof { old, new, path: hashes(answer.proof)? })
    }

    /// Answers for a store that was restored from a backup.
    ///
    /// # Errors
    /// When the caller is no operator or nothing waits for it.
    pub async fn acknowledge_restore(&self, reason: &str) -> Result<(), Error> {
        let request = v1::AcknowledgeRestoreRequest { reason: reason.to_owned() };
        let path = "/jeton.v1.AuditService/AcknowledgeRestore";
        self.again(path, request, |channel, request| async move {
            AuditServiceClient::new(channel).acknowledge_restore(request).await
        })
        .await
        .map(drop)
    }
}

impl Tail {
    /// The next entries; `None` when the stream has ended.
    ///
    /// # Errors
    /// When it broke, or the caller may not look any longer.
    pub async fn next(&mut self) -> Result<Option<EntryBatch>, Error> {
        let batch = self.0.message().await.map_err(Error::of_stream)?;
        Ok(batch.map(|batch| EntryBatch {
            entries: batch.entries.into_iter().map(wire::entry).collect(),
            next: batch.next_index,
            at_end: batch.at_end,
            part: Some(batch.part).filter(|part| !part.is_empty()),
        }))
    }
}

impl Receipt {
    fn check(&self) -> Result<(), Error> {
        let root = &self.checkpoint.checkpoint().root;
        let leaf = leaf_hash(self.entry.text.as_bytes());
        self.proof.verify(&leaf, root).map_err(|error: ProofError| untrue(&error))
    }
}

/// Reads an entry and tells what it says by itself: a proof is of its text, and of nothing that the
/// broker says beside it.
fn asked_for(text: String, of: &v1::get_receipt_request::Of) -> Result<EntryInfo, Error> {
    use v1::get_receipt_request::Of;
    let read = Entry::parse(text.as_bytes()).map_err(|error| untrue(&error))?;
    let facts = read.event.facts();
    let is_it = match of {
        Of::Index(index) => read.index == *index,
        Of::Grant(id) => facts.grant.is_some_and(|grant| grant.to_string() == *id),
    };
    if !is_it {
        return Err(untrue(&"it is of another entry than was asked for"));
    }
    Ok(EntryInfo {
        index: read.index,
        at: read.at.millis(),
        event: read.event.word().to_owned(),
        outcome: facts.outcome.word().to_owned(),
        line: read.event.line(),
        text,
    })
}

fn open(checkpoint: &str, key: &str) -> Result<CheckpointInfo, Error> {
    let key = VerifierKey::parse(key).map_err(|error| untrue(&error))?;
    let checkpoint = SignedCheckpoint::open(checkpoint, &key)
        .map_err(|error: CheckpointError| untrue(&error))?;
    Ok(CheckpointInfo { checkpoint, cosigned: None, key })
}

fn hashes(path: Vec<Vec<u8>>) -> Result<Vec<Hash>, Error> {
    path.iter()
        .map(|bytes| Hash::from_slice(bytes).ok_or_else(|| untrue(&"a hash that is not 32 bytes")))
        .collect()
}

/// An answer that does not prove what it says.
fn untrue(why: &dyn std::fmt::Display) -> Error {
    Error::local(ErrorKind::Internal, format!("the broker's proof does not hold: {why}"))
}

impl From<Purpose> for v1::tail_entries_request::Purpose {
    fn from(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Look => Self::Unspecified,
            Purpose::Export => Self::Export,
            Purpose::Verify => Self::Verify,
        }
    }
}

impl From<EntryFilter> for v1::EntryFilter {
    fn from(filter: EntryFilter) -> Self {
        let text = Option::unwrap_or_default;
        let time = |millis: i64| Timestamp {
            seconds: millis.div_euclid(1000),
            nanos: i32::try_from(millis.rem_euclid(1000)).unwrap_or(0).saturating_mul(1_000_000),
        };
        Self {
            agent: text(filter.agent),
            person: text(filter.person),
            by: text(filter.by),
            session: text(filter.session),
            grant: text(filter.grant),
            upstream: text(filter.upstream),
            resource: text(filter.resource),
            action: text(filter.action),
            event: text(filter.event),
            outcome: text(filter.outcome),
            policy_id: text(filter.policy),
            from_time: filter.since.map(time),
            until_time: filter.until.map(time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jeton_domain::{audit::Event, ttl};
    use v1::get_receipt_request::Of;

    #[test]
    fn a_receipt_of_another_entry_is_none() {
        let event = Event::KeyRotated { kid: "k1".to_owned() };
        let at = ttl::Timestamp::from_millis(5);
        let entry = Entry { v: jeton_domain::audit::ENTRY_VERSION, index: 7, at, event };
        let text = entry.text().unwrap();
        let found = asked_for(text.clone(), &Of::Index(7)).unwrap();
        assert_eq!((found.index, found.event.as_str(), found.at), (7, "key_rotated", 5));
        for of in [Of::Index(8), Of::Grant("gr_1".to_owned())] {
            let error = asked_for(text.clone(), &of).unwrap_err().to_string();
            assert!(error.contains("another entry than was asked for"), "{error}");
        }
    }
}
