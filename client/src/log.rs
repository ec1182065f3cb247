//! A log outside of the broker that writes it: a store's file, a folder of tiles, or an address that
//! serves them. Whoever has one of these and the log's public key needs no broker to verify it.

mod folder;
mod store_file;
mod verify;
mod web;

use jeton_domain::merkle::{BundleId, CheckpointError, Fault, Hash, TileError, TileId};

pub use self::{
    folder::{Folder, FolderWriter},
    store_file::StoreFile,
    verify::{Report, verify},
    web::Web,
};

/// Largest piece of a log, in bytes. Why: a full bundle of the longest entries.
const FILE_BYTES: u64 = 256 * (65_535 + 2);

/// Where a log is read from, by the names that tiles and bundles have (C2SP tlog-tiles).
pub trait LogSource {
    /// Entries in it, if that can be told without a checkpoint.
    ///
    /// # Errors
    /// When it can't be read.
    fn size(&self) -> Result<Option<u64>, LogError>;

    /// Index of the first entry whose text is here; older ones are here by their hashes only.
    ///
    /// # Errors
    /// When it can't be read.
    fn first(&self) -> Result<u64, LogError>;

    /// The newest checkpoint that lies with it, not to be believed unread.
    ///
    /// # Errors
    /// When it can't be read.
    fn checkpoint(&self) -> Result<Option<String>, LogError>;

    /// The texts of a bundle, as many as it is wide.
    ///
    /// # Errors
    /// When it is not there whole.
    fn bundle(&self, id: BundleId) -> Result<Vec<Vec<u8>>, LogError>;

    /// The hashes of a tile; `None` where this kind of source keeps none of them.
    ///
    /// # Errors
    /// When it should be there and is not, or is cut.
    fn tile(&self, id: TileId) -> Result<Option<Vec<Hash>>, LogError>;
}

/// Why a log was not verified.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It is not what was signed.
    #[error("{0}")]
    Fault(#[from] Fault),
    /// There is no log.
    #[error("`{0}` holds no `checkpoint`: it is no log of tiles, or its name is mistyped")]
    NoLog(String),
    /// A part is missing.
    #[error("{0} is missing")]
    Missing(String),
    /// A file of tiles is not well-formed.
    #[error("{name}: {error}")]
    Tile {
        /// Which.
        name: String,
        /// Why.
        error: TileError,
    },
    /// A checkpoint is not to be believed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// There is nothing that anybody signed.
    #[error(
        "there is no checkpoint to hold the log against; name one that you kept, with --checkpoint"
    )]
    Unsigned,
    /// It can't be read at all.
    #[error("`{path}`: {why}")]
    Unreadable {
        /// The file, folder or address.
        path: String,
        /// Why.
        why: String,
    },
}
