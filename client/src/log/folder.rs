//! A folder of tiles, laid out as C2SP tlog-tiles says: `checkpoint`, `tile/…`, `tile/entries/…`.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use jeton_domain::merkle::{
    BundleId, Hash, TILE_WIDTH, TileBuilder, TileId, bundle, leaf_hash, unbundle,
};
use jeton_files::Access;

use super::{FILE_BYTES, LogError, LogSource};

/// The folder.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

/// Writes entries into a folder, from where it ends. What is cut off in the middle goes on behind the
/// last whole bundle.
pub struct FolderWriter {
    folder: Folder,
    edge: TileBuilder,
    pending: Vec<Vec<u8>>,
}

impl Folder {
    /// Names a folder; it is read when it is asked.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, LogError> {
        let path = self.0.join(name);
        let file = match fs::File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| unreadable(&path, &error))?,
        };
        let mut bytes = Vec::new();
        file.take(FILE_BYTES).read_to_end(&mut bytes).map_err(|error| unreadable(&path, &error))?;
        Ok(Some(bytes))
    }

    /// Writes a file whole or not at all, and durably.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), LogError> {
        let path = self.0.join(name);
        let written = || {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            jeton_files::replace(&path, bytes, Access::Shared)
        };
        written().map_err(|error| unreadable(&path, &error))
    }

    /// Entries in full bundles, counted from the first. They are there without a gap or not at all.
    fn whole_bundles(&self) -> Result<u64, LogError> {
        let there = |index: u64| -> Result<bool, LogError> {
            let id = BundleId { index, width: 256 };
            Ok(self.0.join(id.to_string()).is_file())
        };
        // Doubling and halving: a log of a million entries has thousands of bundles.
        let mut beyond = 1_u64;
        while there(beyond.saturating_sub(1))? {
            beyond = beyond.saturating_mul(2);
        }
        let mut least = beyond / 2;
        while least < beyond {
            let middle = least.midpoint(beyond);
            if there(middle)? { least = middle.saturating_add(1) } else { beyond = middle }
        }
        Ok(least)
    }
}

impl LogSource for Folder {
    fn size(&self) -> Result<Option<u64>, LogError> {
        Ok(None)
    }

    fn first(&self) -> Result<u64, LogError> {
        Ok(0)
    }

    fn checkpoint(&self) -> Result<Option<String>, LogError> {
        let none = || LogError::NoLog(self.0.display().to_string());
        String::from_utf8(self.read("checkpoint")?.ok_or_else(none)?)
            .map(Some)
            .map_err(|_| LogError::Missing("the text of `checkpoint`".into()))
    }

    fn bundle(&self, id: BundleId) -> Result<Vec<Vec<u8>>, LogError> {
        let name = id.to_string();
        let bytes = match self.read(&name)? {
            Some(bytes) => bytes,
            // A log that has grown since then has the full one.
            None => self
                .read(&BundleId { width: 256, ..id }.to_string())?
                .ok_or(LogError::Missing(name.clone()))?,
        };
        let texts = unbundle(&bytes).map_err(|error| LogError::Tile { name, error })?;
        Ok(texts.into_iter().take(id.width.into()).map(<[u8]>::to_vec).collect())
    }

    fn tile(&self, id: TileId) -> Result<Option<Vec<Hash>>, LogError> {
        let name = id.to_string();
        if let Some(bytes) = self.read(&name)? {
            return id.hashes(&bytes).map(Some).map_err(|error| LogError::Tile { name, error });
        }
        let full = TileId::full(id.level, id.index);
        match self.read(&full.to_string())? {
            Some(bytes) => {
                let hashes = full.hashes(&bytes).map_err(|error| LogError::Tile { name, error })?;
                Ok(Some(hashes.into_iter().take(id.width.into()).collect()))
            }
            None => Err(LogError::Missing(name)),
        }
    }
}

impl FolderWriter {
    /// Opens a folder to go on behind its last whole bundle.
    ///
    /// # Errors
    /// When what is there can't be read.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let folder = Folder::new(path);
        let mut edge = TileBuilder::new();
        for index in 0..folder.whole_bundles()? {
            // Why from the texts: tiles of higher levels may be missing where it was cut off.
            let hashes = match folder.tile(TileId::full(0, index)) {
                Ok(Some(hashes)) => hashes,
                Ok(None) | Err(_) => {
                    let texts = folder.bundle(BundleId { index, width: 256 })?;
                    texts.iter().map(|text| leaf_hash(text)).collect()
                }
            };
            for hash in hashes {
                for tile in edge.push(hash) {
                    if folder.tile(tile.id).ok().flatten().as_ref() != Some(&tile.hashes) {
                        folder.write(&tile.id.to_string(), &bytes(&tile.hashes))?;
                    }
                }
            }
        }
        Ok(Self { folder, edge, pending: Vec::new() })
    }

    /// Index of the entry that it wants next.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.edge.size()
    }

    /// Root over the entries so far.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.edge.frontier().root()
    }

    /// Takes the next entry.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn push(&mut self, text: &[u8]) -> Result<(), LogError> {
        let index = self.edge.size() / TILE_WIDTH;
        self.pending.push(text.to_vec());
        let full = self.edge.push(leaf_hash(text));
        if full.is_empty() {
            return Ok(());
        }
        // Why the entries first: where this is cut off, the tile is made anew from them.
        self.write_bundle(BundleId { index, width: 256 })?;
        self.pending.clear();
        full.iter()
            .try_for_each(|tile| self.folder.write(&tile.id.to_string(), &bytes(&tile.hashes)))
    }

    /// Writes the right edge and the checkpoint that vouches for all of it.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn finish(self, checkpoint: &str) -> Result<(), LogError> {
        if let Some(id) = BundleId::holding(self.edge.size().saturating_sub(1), self.edge.size())
            && !self.pending.is_empty()
        {
            self.write_bundle(id)?;
        }
        for (id, hashes) in self.edge.partial() {
            self.folder.write(&id.to_string(), &bytes(hashes))?;
        }
        self.folder.write("checkpoint", checkpoint.as_bytes())
    }

    fn write_bundle(&self, id: BundleId) -> Result<(), LogError> {
        let joined = bundle(self.pending.iter().map(Vec::as_slice));
        let joined = joined.ok_or_else(|| LogError::Missing("room for a longer entry".into()))?;
        self.folder.write(&id.to_string(), &joined)
    }
}

fn bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

fn unreadable(path: &Path, error: &io::Error) -> LogError {
    LogError::Unreadable { path: path.display().to_string(), why: error.to_string() }
}
