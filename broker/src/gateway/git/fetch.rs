//! Asks the upstream for what a decision needs and the push did not bring: commits and folders, never files.
//!
//! Spec: `gitprotocol-v2`, `fetch` and `ls-refs`. What can't be had is told as nothing, and refuses.

use axum::body::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use jeton_domain::scope::Resource;
use jeton_git::{
    answer::{self, Packed},
    limits::TIPS_BYTES,
    line::line,
    name::ObjectId,
    pack::Objects,
};
use tokio_stream::StreamExt;

use super::GIT_PROTOCOL;
use crate::{
    gateway::outward::{Call, Outward},
    upstream::Credential,
};

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
        answer::tips(&taken)
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
            credential: Some(self.credential),
            body: Some(body.into()),
        };
        let answer = self.way.call(call).await;
        answer.ok().filter(|answer| answer.status() == StatusCode::OK)
    }
}

/// Reads the pack out of an answer to `fetch`.
async fn packed<E>(
    mut pieces: impl tokio_stream::Stream<Item = Result<Bytes, E>> + Unpin,
) -> Option<Objects> {
    let mut packed = Packed::default();
    while !packed.feed(&pieces.next().await?.ok()?)? {}
    packed.objects()
}
