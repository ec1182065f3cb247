//! Asks the upstream for what a decision needs and the push did not bring: commits and folders, never files.
//!
//! Spec: `gitprotocol-v2`, `fetch` and `ls-refs`. What can't be had is told as nothing, and refuses.

use axum::body::Bytes;
use gix_packetline::{PacketLineRef, decode};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use jeton_domain::scope::Resource;
use tokio_stream::StreamExt;

use super::{
    GIT_PROTOCOL,
    commands::line,
    name::ObjectId,
    pack::{Objects, Scanner},
};
use crate::{
    gateway::outward::{Call, Outward},
    limits::PACK_KEPT_BYTES,
    upstream::Credential,
};

/// Branches that an upstream may name. Why: each stands in the question what is new.
const TIPS: usize = 20_000;
/// Bytes in which it names them.
const TIPS_BYTES: usize = 4 * 1024 * 1024;

/// What to ask for.
#[derive(Default)]
pub(super) struct Question<'a> {
    /// These.
    pub want: Vec<ObjectId>,
    /// Nothing that can be reached from these.
    pub have: Vec<ObjectId>,
    /// How far back, if not all the way.
    pub deepen: Option<u32>,
    /// What is left out, as `filter-spec`.
    pub filter: &'a str,
}

/// The upstream's side of one repository.
pub(super) struct Origin<'a> {
    pub way: &'a Outward,
    pub resource: &'a Resource,
    pub credential: &'a Credential,
}

impl Origin<'_> {
    /// Fetches objects. `None` if they can't be had.
    pub async fn fetch(&self, question: &Question<'_>) -> Option<Objects> {
        let found = self.fetch_with(question, true).await;
        match found {
            Some(objects) => Some(objects),
            // An upstream that knows no filters sends files too; they are read over.
            None => self.fetch_with(question, false).await,
        }
    }

    async fn fetch_with(&self, question: &Question<'_>, filtered: bool) -> Option<Objects> {
        let mut body = Vec::new();
        line(&mut body, b"command=fetch\n");
        line(&mut body, b"agent=jeton\n");
        line(&mut body, b"object-format=sha1\n");
        body.extend_from_slice(b"0001");
        line(&mut body, b"no-progress\n");
        line(&mut body, b"ofs-delta\n");
        if filtered {
            line(&mut body, format!("filter {}\n", question.filter).as_bytes());
        }
        if let Some(depth) = question.deepen {
            line(&mut body, format!("deepen {depth}\n").as_bytes());
        }
        for id in &question.want {
            line(&mut body, format!("want {id}\n").as_bytes());
        }
        for id in &question.have {
            line(&mut body, format!("have {id}\n").as_bytes());
        }
        line(&mut body, b"done\n");
        body.extend_from_slice(b"0000");
        let answer = self.ask(body).await?;
        packed(answer.bytes_stream()).await
    }

    /// The commits at which the upstream's branches stand. `None` if that can't be known.
    pub async fn tips(&self) -> Option<Vec<ObjectId>> {
        let mut body = Vec::new();
        line(&mut body, b"command=ls-refs\n");
        line(&mut body, b"object-format=sha1\n");
        body.extend_from_slice(b"0001");
        line(&mut body, b"ref-prefix refs/heads/\n");
        body.extend_from_slice(b"0000");
        let mut pieces = self.ask(body).await?.bytes_stream();
        let mut taken = Vec::new();
        while let Some(piece) = pieces.next().await {
            taken.extend_from_slice(&piece.ok()?);
            if taken.len() > TIPS_BYTES {
                return None;
            }
        }
        let (mut rest, mut tips) = (taken.as_slice(), Vec::new());
        loop {
            let (packet, consumed) = complete(rest)?;
            rest = rest.get(consumed..)?;
            match packet {
                PacketLineRef::Data(content) => {
                    let id =
                        content.split(|byte| *byte == b' ').next().and_then(ObjectId::parse)?;
                    tips.push(id);
                }
                PacketLineRef::Flush => break,
                PacketLineRef::Delimiter | PacketLineRef::ResponseEnd => return None,
            }
        }
        (tips.len() <= TIPS).then_some(tips)
    }

    async fn ask(&self, body: Vec<u8>) -> Option<reqwest::Response> {
        let mut headers = HeaderMap::new();
        let kind = HeaderValue::from_static("application/x-git-upload-pack-request");
        headers.insert(CONTENT_TYPE, kind);
        headers.insert(ACCEPT, HeaderValue::from_static("application/x-git-upload-pack-result"));
        headers.insert(GIT_PROTOCOL, HeaderValue::from_static("version=2"));
        let call = Call {
            method: Method::POST,
            url: self.way.repository(self.resource, "git-upload-pack")?,
            headers,
            credential: self.credential,
            body: Some(body.into()),
        };
        let answer = self.way.call(call).await;
        answer.ok().filter(|answer| answer.status() == StatusCode::OK)
    }
}

fn complete(bytes: &[u8]) -> Option<(PacketLineRef<'_>, usize)> {
    match decode::streaming(bytes).ok()? {
        decode::Stream::Complete { line, bytes_consumed } => Some((line, bytes_consumed)),
        decode::Stream::Incomplete { .. } => None,
    }
}

/// Reads the pack out of an answer to `fetch`: sections, then `packfile` on side bands.
async fn packed<E>(
    mut pieces: impl tokio_stream::Stream<Item = Result<Bytes, E>> + Unpin,
) -> Option<Objects> {
    let (mut taken, mut begun, mut bytes) = (Vec::new(), false, 0_usize);
    let mut scanner = Scanner::new(u64::MAX, false);
    loop {
        let mut at = 0_usize;
        let mut over = false;
        while let Some(rest) = taken.get(at..).filter(|rest| !rest.is_empty()) {
            let (packet, consumed) = match decode::streaming(rest).ok()? {
                decode::Stream::Complete { line, bytes_consumed } => (line, bytes_consumed),
                decode::Stream::Incomplete { .. } => break,
            };
            match packet {
                PacketLineRef::Data(content) if begun => match content.split_first()? {
                    (1, content) => scanner.feed(content).ok()?,
                    (2, _) => {}
                    _ => return None,
                },
                PacketLineRef::Data(content) => {
                    if content.starts_with(b"ERR ") {
                        return None;
                    }
                    begun = content.strip_suffix(b"\n").unwrap_or(content) == b"packfile";
                }
                PacketLineRef::Flush if begun => over = true,
                PacketLineRef::Delimiter if !begun => {}
                PacketLineRef::Flush | PacketLineRef::Delimiter | PacketLineRef::ResponseEnd => {
                    return None;
                }
            }
            at = at.saturating_add(consumed);
        }
        if over {
            return scanner.finish().ok();
        }
        taken.drain(..at);
        let piece = pieces.next().await?.ok()?;
        bytes = bytes.saturating_add(piece.len());
        // Why: it is for a decision; one that needs more is "no".
        if bytes > PACK_KEPT_BYTES {
            return None;
        }
        taken.extend_from_slice(&piece);
    }
}
