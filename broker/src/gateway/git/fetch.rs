//! Asks the upstream for what a decision needs and the push did not bring: commits and folders, never files.
//!
//! Every request is made under the guard of the grant and counted against the budget of the push. What the upstream
//! does not give is an error, and whoever asked says what that means.
//!
//! Spec: `gitprotocol-v2`, `fetch` and `ls-refs`.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering},
};

use axum::body::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use jeton_domain::scope::Resource;
use jeton_git::{
    answer::{self, NoPack, Packed},
    limits::TIPS_BYTES,
    line::line,
    name::ObjectId,
    pack::Objects,
};
use tokio::{
    sync::mpsc,
    task::{JoinError, spawn_blocking},
};
use tokio_stream::StreamExt;

use super::{
    GIT_PROTOCOL,
    budget::{OverBudget, PushBudget},
};
use crate::gateway::{
    outward::{Call, CallError, GrantEnded, GrantGuard, Outward, Shows},
    readers::Readers,
};

/// Pieces on their way to the thread that reads them.
const PIECES: usize = 8;

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

/// The upstream's side of one repository, for one push.
pub(super) struct Origin<'a> {
    pub way: &'a Outward,
    pub resource: &'a Resource,
    pub guard: &'a GrantGuard<'a>,
    pub budget: &'a PushBudget,
    pub readers: &'a Readers,
    /// Whether the upstream answered without a filter what it did not answer with one.
    pub unfiltered: AtomicBool,
}

/// Why the upstream gives nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// The grant ended.
    #[error(transparent)]
    Ended(#[from] GrantEnded),
    /// The push costs too much.
    #[error(transparent)]
    OverBudget(#[from] OverBudget),
    /// The upstream can't be reached, or says something else than asked.
    #[error("the upstream {0}")]
    Unavailable(&'static str),
    /// What it sends is not read.
    #[error(transparent)]
    NoPack(#[from] NoPack),
    /// A thread that read it panicked.
    #[error("reading the upstream's answer failed")]
    Thread(#[from] JoinError),
}

impl FetchError {
    /// Whether no other question may be asked either.
    pub fn ends_the_push(&self) -> bool {
        match self {
            Self::Ended(_) | Self::OverBudget(_) | Self::Thread(_) => true,
            Self::Unavailable(_) | Self::NoPack(_) => false,
        }
    }

    /// Whether the same question without a filter may be answered.
    fn may_be_the_filter(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::NoPack(NoPack::Odd) => true,
            Self::NoPack(NoPack::TooLarge | NoPack::Stopped)
            | Self::Ended(_)
            | Self::OverBudget(_)
            | Self::Thread(_) => false,
        }
    }
}

impl Origin<'_> {
    /// Fetches objects.
    ///
    /// # Errors
    /// When the upstream does not give them.
    pub async fn fetch(&self, question: &Question<'_>) -> Result<Objects, FetchError> {
        if self.unfiltered.load(Ordering::Acquire) {
            return self.fetch_with(question, false).await;
        }
        match self.fetch_with(question, true).await {
            // An upstream that knows no filters sends files too; they are read over.
            Err(error) if error.may_be_the_filter() => {
                let found = self.fetch_with(question, false).await?;
                self.unfiltered.store(true, Ordering::Release);
                Ok(found)
            }
            found => found,
        }
    }

    async fn fetch_with(
        &self,
        question: &Question<'_>,
        filtered: bool,
    ) -> Result<Objects, FetchError> {
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
        let asking = async {
            let answer = self.ask(body).await?;
            // Why only without a depth: with one, history is left out because it was asked so.
            self.packed(answer.bytes_stream(), question.deepen.is_none()).await
        };
        self.guard.while_live(asking).await?
    }

    /// The commits at which the upstream's branches stand.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn tips(&self) -> Result<HashSet<ObjectId>, FetchError> {
        let mut body = Vec::new();
        line(&mut body, b"command=ls-refs\n");
        line(&mut body, b"object-format=sha1\n");
        body.extend_from_slice(b"0001");
        line(&mut body, b"ref-prefix refs/heads/\n");
        body.extend_from_slice(b"0000");
        let asking = async {
            let mut pieces = self.ask(body).await?.bytes_stream();
            let mut taken = Vec::new();
            while let Some(piece) = self.budget.timed(pieces.next()).await? {
                taken.extend_from_slice(&piece.map_err(|_| BREAKS_OFF)?);
                if taken.len() > TIPS_BYTES {
                    return Err(FetchError::Unavailable("names too many branches"));
                }
            }
            self.budget.take_bytes(taken.len())?;
            let time = self.budget.time();
            let tips = self.readers.run(time, move |_| answer::tips(&taken)).await?;
            let tips = tips.ok_or(FetchError::Unavailable("does not say which branches it has"))?;
            Ok(tips.into_iter().collect())
        };
        self.guard.while_live(asking).await?
    }

    async fn ask(&self, body: Vec<u8>) -> Result<reqwest::Response, FetchError> {
        self.budget.take_call()?;
        let mut headers = HeaderMap::new();
        let kind = HeaderValue::from_static("application/x-git-upload-pack-request");
        headers.insert(CONTENT_TYPE, kind);
        headers.insert(ACCEPT, HeaderValue::from_static("application/x-git-upload-pack-result"));
        headers.insert(GIT_PROTOCOL, HeaderValue::from_static("version=2"));
        let url = self.way.repository(self.resource, "git-upload-pack");
        let url = url.ok_or(FetchError::Unavailable("has no repositories here"))?;
        let (method, shows) = (Method::POST, Shows::Credential);
        let call = Call { method, url, headers, shows, body: Some(body.into()) };
        let answer = self.budget.timed(self.way.call(self.guard, call)).await?;
        let answer = answer.map_err(|error| match error {
            CallError::Ended(ended) => FetchError::Ended(ended),
            CallError::Failed(_) | CallError::NoHeader => {
                FetchError::Unavailable("can't be reached")
            }
        })?;
        match answer.status() {
            StatusCode::OK => Ok(answer),
            _ => Err(FetchError::Unavailable("does not answer what it has")),
        }
    }

    /// Reads the pack out of an answer to `fetch`, on a thread of its own.
    async fn packed<E>(
        &self,
        mut pieces: impl tokio_stream::Stream<Item = Result<Bytes, E>> + Unpin,
        whole_history: bool,
    ) -> Result<Objects, FetchError> {
        let (sender, mut receiver) = mpsc::channel::<Bytes>(PIECES);
        let turn = self.readers.turn(self.budget.time());
        let reading = spawn_blocking(move || {
            let mut packed = Packed::default().paced(turn.pace());
            while let Some(piece) = receiver.blocking_recv() {
                if turn.during(|| packed.feed(&piece))? {
                    let (bytes, cut_short) = (packed.bytes(), packed.is_cut_short());
                    return turn.during(|| packed.objects().map(|all| (all, bytes, cut_short)));
                }
            }
            Err(NoPack::Odd)
        });
        while let Some(piece) = self.budget.timed(pieces.next()).await? {
            let piece = piece.map_err(|_| BREAKS_OFF)?;
            self.budget.take_bytes(piece.len())?;
            // Why a break: the thread is done, or gave up; which, it says below.
            if sender.send(piece).await.is_err() {
                break;
            }
        }
        drop(sender);
        let (objects, bytes, cut_short) = match reading.await? {
            Err(NoPack::Stopped) => return Err(OverBudget::Time.into()),
            read => read?,
        };
        // Beside what came: what keeping it costs more than that.
        self.budget.take_bytes(objects.kept_bytes.saturating_sub(bytes))?;
        match cut_short && whole_history {
            true => Err(FetchError::Unavailable("does not have all of its history")),
            false => Ok(objects),
        }
    }
}

const BREAKS_OFF: FetchError = FetchError::Unavailable("breaks off its answer");
