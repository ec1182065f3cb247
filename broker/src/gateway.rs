//! The gateway: agents call their upstreams through it, and it adds the credential that they never see.
//!
//! Each call proves its identity anew, finds a grant of its session or asks for one, is decided with the
//! policies that hold now, and leaves an entry in the log. What can't be parsed does not pass. A transfer is
//! cut when its grant ends.

mod api;
mod body;
mod directory;
mod door;
mod form;
mod git;
mod headers;
mod leash;
mod length;
mod mask;
mod outward;
mod pump;
mod readers;
mod serve;
mod socket;
mod words;

use std::{
    collections::HashMap,
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::body::Body;
use http::{Request, Response, StatusCode};
use jeton_domain::{grant::Grant, scope::Upstream};

use self::{leash::Transfer, readers::Readers, words::Told};
pub use self::{outward::Outward, serve::serve};
use crate::{
    capacity::{Capacity, Shares},
    identity::Authenticator,
    limits::{PUSHES_AT_ONCE, TRANSFERS_AT_ONCE, UNKNOWN_AT_ONCE},
    operation::Broker,
};

/// What may be taken, and where it waits.
#[derive(Debug, Clone)]
pub struct Room {
    /// The folder where pushes wait until they are decided.
    pub spool: PathBuf,
    /// Largest push, in bytes.
    pub push_bytes: u64,
    /// Largest file of a push, in bytes.
    pub file_bytes: u64,
    /// One of so many ordinary reads is told to the log.
    pub one_of: u32,
}

/// The gateway.
pub struct Gateway {
    broker: Arc<Broker>,
    authenticator: Authenticator,
    ways: HashMap<Upstream, Outward>,
    room: Room,
    transfers: Capacity,
    unknown: Capacity,
    pushes: Capacity,
    readers: Readers,
    begun: AtomicU64,
}

impl Gateway {
    /// Puts it together.
    ///
    /// # Errors
    /// When its folder can't be made.
    pub fn new(
        broker: Arc<Broker>,
        authenticator: Authenticator,
        ways: HashMap<Upstream, Outward>,
        room: Room,
    ) -> io::Result<Self> {
        folder(&room.spool)?;
        Ok(Self {
            broker,
            authenticator,
            ways,
            room,
            transfers: Capacity::new(Shares::halved(TRANSFERS_AT_ONCE)),
            unknown: Capacity::new(Shares::halved(UNKNOWN_AT_ONCE)),
            pushes: Capacity::new(Shares::halved(PUSHES_AT_ONCE)),
            readers: Readers::default(),
            begun: AtomicU64::new(0),
        })
    }

    /// Begins one use of a grant.
    fn transfer(&self, grant: &Grant, line: &str) -> Arc<Transfer> {
        let count = self.begun.fetch_add(1, Ordering::Relaxed);
        Transfer::new(&self.broker, grant, line, leash::Told::of(count, self.room.one_of))
    }

    /// Answers one request.
    async fn answer(self: &Arc<Self>, request: Request<Body>) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let admitted = match self.admit(&mut parts).await {
            Ok(admitted) => admitted,
            Err(refusal) => return Told::plain(refusal).response(),
        };
        match parts.uri.path().split('/').nth(1) {
            Some("git") => git::answer(self, admitted, parts, body).await,
            Some("api") => api::answer(self, admitted, parts, body).await,
            Some("upstreams") => directory::answer(self, &admitted, &parts),
            _ => {
                let words = "there is nothing at this path; repositories are at /git/UPSTREAM/OWNER/NAME.git, APIs at /api/UPSTREAM/…, and /upstreams says which there are";
                Told::new(StatusCode::NOT_FOUND, words).response()
            }
        }
    }
}

fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
        io::Error::new(error.kind(), format!("`{}` can't be made: {error}", path.display()))
    })
}
