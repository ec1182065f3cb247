//! Space kept aside, so that revoking still works when the disk is full.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Bytes kept aside. Why: a revocation writes about 10 KiB, so this is hundreds of them.
const BYTES: u64 = 4 * 1024 * 1024;
/// Free bytes at which the disk counts as having room again. Why four times: what the reserve freed
/// must not look like room.
const ROOM: u64 = 4 * BYTES;
/// Pause between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// A file of nothing that is given up for room.
pub(super) struct Reserve {
    path: PathBuf,
    spent: bool,
    looked: Option<Instant>,
}

impl Reserve {
    /// Takes the file that is there, or makes it. Without much more room than it needs the store
    /// starts as full: what is free may be what the reserve was given up for.
    pub fn new(path: PathBuf) -> Self {
        let kept = fs::metadata(&path).is_ok_and(|file| file.len() == BYTES);
        let mut reserve = Self { path, spent: !kept, looked: None };
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
        self.looked = Some(Instant::now());
    }

    /// Takes the space back once there is room again; minting then goes on without a restart.
    pub fn restore(&mut self) {
        if !self.spent || self.looked.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        self.looked = Some(Instant::now());
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let room = rustix::fs::statvfs(folder.unwrap_or(Path::new(".")))
            .is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) >= ROOM);
        if room && self.fill().is_ok() {
            self.spent = false;
        }
    }

    fn fill(&self) -> io::Result<()> {
        let write = || {
            // Why removed before: a link must lead nowhere, and what is too short is none.
            let _ = fs::remove_file(&self.path);
            let mut file = fs::File::create_new(&self.path)?;
            io::copy(&mut io::repeat(0x5a).take(BYTES), &mut file)?;
            file.sync_all()
        };
        write().inspect_err(|_| {
            let _ = fs::remove_file(&self.path);
        })
    }
}
