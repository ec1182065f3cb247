//! Where old entries go: a folder of bundles and tiles, laid out as C2SP tlog-tiles says, so that it
//! is read by whatever reads such logs. The store reads it too: nothing is out of reach.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use jeton_domain::merkle::{BundleId, Hash, TILE_WIDTH, TileId, bundle, leaf_hash, unbundle};
use jeton_files::Access;

use super::StoreError;

/// Largest file of it, in bytes. Why: a full bundle of the longest entries.
const FILE_BYTES: u64 = 256 * (65_535 + 2);
/// Entries of a full bundle.
const FULL: u16 = 256;

/// The folder.
#[derive(Debug, Clone)]
pub struct Archive(PathBuf);

impl Archive {
    /// Names it.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// Writes a full bundle and its tile, and reads back what is now on disk.
    ///
    /// # Errors
    /// When the entries are not those of the tile, or what was written is not what was read.
    pub fn write_bundle(
        &self,
        index: u64,
        texts: &[String],
        hashes: &[Hash],
    ) -> Result<(), StoreError> {
        let id = BundleId { index, width: FULL };
        let differs = || StoreError::Broken(format!("{id}: the entries are not those of the tree"));
        let leaves = |texts: &[String]| -> Vec<Hash> {
            texts.iter().map(|text| leaf_hash(text.as_bytes())).collect()
        };
        if texts.len() != usize::from(FULL) || leaves(texts) != hashes {
            return Err(differs());
        }
        let joined = bundle(texts.iter().map(String::as_bytes)).ok_or_else(differs)?;
        self.write(&id.to_string(), &joined)?;
        if leaves(&self.bundle(index)?) != hashes {
            return Err(differs());
        }
        self.write_tile(TileId::full(0, index), hashes)
    }

    /// Writes a tile.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write_tile(&self, id: TileId, hashes: &[Hash]) -> Result<(), StoreError> {
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
        self.write(&id.to_string(), &bytes)
    }

    /// Writes the checkpoint that vouches for it.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write_checkpoint(&self, note: &str) -> Result<(), StoreError> {
        self.write("checkpoint", note.as_bytes())
    }

    /// The texts of a full bundle.
    ///
    /// # Errors
    /// When it is not there whole.
    pub fn bundle(&self, index: u64) -> Result<Vec<String>, StoreError> {
        let id = BundleId { index, width: FULL };
        let path = self.0.join(id.to_string());
        let bad = |why: &dyn std::fmt::Display| {
            StoreError::Broken(format!(
                "`{}`: {why}; were moved entries taken away?",
                path.display()
            ))
        };
        let file = fs::File::open(&path).map_err(|error| bad(&error))?;
        let mut bytes = Vec::new();
        file.take(FILE_BYTES).read_to_end(&mut bytes).map_err(|error| bad(&error))?;
        let texts = unbundle(&bytes).map_err(|error| bad(&error))?;
        if texts.len() != usize::from(FULL) {
            return Err(bad(&"it is cut"));
        }
        let text = |text: &[u8]| String::from_utf8(text.to_vec()).map_err(|error| bad(&error));
        texts.into_iter().map(text).collect()
    }

    /// Texts from an index on, up to the end of its bundle.
    ///
    /// # Errors
    /// When they are not there.
    pub fn entries(&self, from: u64, most: u32) -> Result<Vec<String>, StoreError> {
        let texts = self.bundle(from / TILE_WIDTH)?;
        let skip = usize::try_from(from % TILE_WIDTH).unwrap_or(usize::MAX);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Ok(texts.into_iter().skip(skip).take(most).collect())
    }

    /// Writes a file whole or not at all, and durably.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.0.join(name);
        let write = || -> io::Result<()> {
            fs::create_dir_all(path.parent().unwrap_or(&self.0))?;
            jeton_files::replace(&path, bytes, Access::Shared)
        };
        write().map_err(|error| StoreError::Broken(format!("`{}`: {error}", path.display())))
    }
}
