//! Space kept aside, so that revoking still works when the disk is full.

use std::{fs, io::Write, path::PathBuf};

/// Bytes kept aside. Why: a revocation writes about 10 KiB, so this is hundreds of them.
const BYTES: usize = 4 * 1024 * 1024;

/// A file of nothing that is given up for room.
pub(super) struct Reserve {
    path: PathBuf,
    spent: bool,
}

impl Reserve {
    /// Makes the file. Without room for it the store starts as full.
    pub fn new(path: PathBuf) -> Self {
        let mut reserve = Self { path, spent: true };
        reserve.restore();
        reserve
    }

    /// Tells whether the disk was full when last seen.
    pub fn is_spent(&self) -> bool {
        self.spent
    }

    /// Gives the space up.
    pub fn spend(&mut self) {
        let _ = fs::remove_file(&self.path);
        self.spent = true;
    }

    /// Takes the space back once there is room again; minting then goes on without a restart.
    pub fn restore(&mut self) {
        if self.spent && self.fill().is_ok() {
            self.spent = false;
        }
    }

    fn fill(&self) -> std::io::Result<()> {
        let write = || {
            let mut file = fs::File::create(&self.path)?;
            file.write_all(&vec![0x5a; BYTES])?;
            file.sync_all()
        };
        write().inspect_err(|_| {
            let _ = fs::remove_file(&self.path);
        })
    }
}
