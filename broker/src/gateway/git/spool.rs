//! A push on disk until it is decided: written as it comes, read by the scanner on the way, and sent on from
//! there. The file has no name, so that nothing is left of it whatever happens.

use std::{
    fs::File,
    io::{self, Seek, Write},
    path::Path,
    sync::atomic::Ordering,
};

use axum::body::Bytes;
use jeton_git::{
    history::Untold,
    pack::{Objects, PackError, Scanner},
};
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt};

use super::{ahead::Ahead, budget::PushBudget};
use crate::{capacity::Slot, gateway::readers::Readers};

/// Pieces on their way to the disk.
const PIECES: usize = 8;

/// A pack that came whole.
pub(super) struct Spooled {
    /// How long it is.
    pub bytes: u64,
    file: File,
    slot: Option<Slot>,
}

/// Why it did not.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpoolError {
    /// It is no pack that is taken.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// It brings more than one push may.
    #[error(transparent)]
    TooMuch(#[from] Untold),
    /// It is too long.
    #[error("the push is larger than the {0} bytes that are allowed")]
    TooLong(u64),
    /// The connection broke.
    #[error("the push breaks off: {0}")]
    Broken(String),
    /// It can't be written.
    #[error("the gateway has no room for the push")]
    Disk(io::Error),
}

/// Bounds of what is taken.
#[derive(Clone, Copy)]
pub(super) struct Most {
    /// Bytes in all.
    pub bytes: u64,
    /// Bytes of one file.
    pub file: u64,
}

/// Takes a pack in, and sends it ahead if it may be.
pub(super) async fn spool<E: std::fmt::Display>(
    folder: &Path,
    mut pieces: impl Stream<Item = Result<Bytes, E>> + Unpin,
    most: Most,
    names_blobs: bool,
    mut ahead: Option<&mut Ahead>,
    (readers, budget): (&Readers, &PushBudget),
) -> Result<(Objects, Spooled), SpoolError> {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(PIECES);
    let folder = folder.to_owned();
    let cleared = ahead.as_ref().map(|ahead| ahead.cleared()).unwrap_or_default();
    let turn = readers.turn(budget.time());
    // Why a thread of its own: inflating and writing would hold others up.
    let written = tokio::task::spawn_blocking(move || {
        let mut file = tempfile::tempfile_in(folder).map_err(SpoolError::Disk)?;
        let mut scanner = Scanner::new(most.file, names_blobs).paced(turn.pace());
        let mut bytes = 0_u64;
        while let Some(piece) = receiver.blocking_recv() {
            bytes = bytes.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            if bytes > most.bytes {
                return Err(SpoolError::TooLong(most.bytes));
            }
            turn.during(|| scanner.feed(&piece))?;
            cleared.store(scanner.before_checksum(), Ordering::Release);
            file.write_all(&piece).map_err(SpoolError::Disk)?;
        }
        file.rewind().map_err(SpoolError::Disk)?;
        let (objects, edges) = turn.during(|| -> Result<_, SpoolError> {
            let mut objects = scanner.finish()?;
            objects.pace = turn.pace();
            let edges = objects.check_bounds()?;
            Ok((objects, edges))
        })?;
        Ok((objects, edges, Spooled { bytes, file, slot: None }))
    });
    let mut broken = None;
    while let Some(piece) = pieces.next().await {
        match piece {
            Ok(piece) => {
                // The thread gave up; why, it tells below.
                if sender.send(piece.clone()).await.is_err() {
                    break;
                }
                if let Some(ahead) = &mut ahead {
                    ahead.feed(piece).await;
                }
            }
            Err(error) => {
                broken = Some(error.to_string());
                break;
            }
        }
    }
    drop(sender);
    let spooled = written.await.map_err(|error| SpoolError::Broken(error.to_string()))?;
    match broken {
        Some(why) => Err(SpoolError::Broken(why)),
        None => {
            let (objects, edges, spooled) = spooled?;
            budget.allow_for(edges);
            Ok((objects, spooled))
        }
    }
}

impl Spooled {
    /// Keeps a slot as long as the push is on disk.
    pub fn keep(&mut self, slot: Slot) {
        self.slot = Some(slot);
    }

    /// Its bytes, from the first on.
    pub fn stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let file = tokio::fs::File::from_std(self.file);
        let slot = self.slot;
        tokio_util::io::ReaderStream::with_capacity(file, 256 * 1024).map(move |piece| {
            // Why with the bytes: the next one begins when this one is off the disk.
            let _ = &slot;
            piece
        })
    }
}
