//! How every program of Jeton writes files.
//!
//! A file appears whole or not at all: its text goes to a draft in the same folder, which is then
//! renamed. The draft is created by the call that opens it (`O_EXCL`), so a link or a file that
//! somebody else puts there first is never written through. Knows nothing of what it writes.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Names that are tried for a draft. Why: another process of the same number may have left some.
const TRIES: u32 = 64;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Its owner alone, whatever the umask and the file that it replaces say.
    Owner,
    /// Who could read the file that it replaces; of a new one, those that the umask lets.
    Shared,
}

/// A file that is being written under another name.
#[derive(Debug)]
pub struct Draft {
    file: File,
    draft: PathBuf,
    path: PathBuf,
    access: Access,
    renamed: bool,
}

impl Draft {
    /// Creates the draft of a file.
    ///
    /// # Errors
    /// When the folder does not take it.
    pub fn new(path: &Path, access: Access) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let folder = folder(path);
        let mut error = io::Error::from(ErrorKind::AlreadyExists);
        for _ in 0..TRIES {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let draft = folder.join(format!(".{}-{number}.new", std::process::id()));
            match create_new(&draft, access) {
                Ok(file) => {
                    let path = path.to_owned();
                    return Ok(Self { file, draft, path, access, renamed: false });
                }
                Err(found) if found.kind() == ErrorKind::AlreadyExists => error = found,
                Err(other) => return Err(other),
            }
        }
        Err(error)
    }

    /// The open file.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Puts it in place of the file, durably.
    ///
    /// # Errors
    /// When it can't be written to disk or renamed; the file is then what it was.
    pub fn commit(mut self) -> io::Result<()> {
        if self.access == Access::Shared
            && let Ok(before) = fs::symlink_metadata(&self.path)
            && before.is_file()
        {
            self.file.set_permissions(fs::Permissions::from_mode(before.mode() & 0o777))?;
        }
        self.file.sync_all()?;
        fs::rename(&self.draft, &self.path)?;
        self.renamed = true;
        sync(folder(&self.path))
    }

    /// Gives it its name unless there is a file of that name, durably.
    ///
    /// # Errors
    /// `AlreadyExists` when there is one, and when it can't be written to disk.
    pub fn commit_new(self) -> io::Result<()> {
        use rustix::{
            fs::{CWD, RenameFlags, renameat_with},
            io::Errno,
        };
        self.file.sync_all()?;
        match renameat_with(CWD, &self.draft, CWD, &self.path, RenameFlags::NOREPLACE) {
            // Some file systems know no such rename; the link is as good, and others know none.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                fs::hard_link(&self.draft, &self.path)?;
            }
            other => other?,
        }
        sync(folder(&self.path))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.renamed {
            // Why ignored: after `commit_new` it may be gone, and nothing else can be done about it.
            let _ = fs::remove_file(&self.draft);
        }
    }
}

/// Writes a file, replacing the one that is there.
///
/// # Errors
/// When it can't be written; the file is then what it was.
pub fn replace(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let mut draft = Draft::new(path, access)?;
    draft.file().write_all(bytes)?;
    draft.commit()
}

/// Writes a new file and never replaces one.
///
/// # Errors
/// `AlreadyExists` when there is one, a link included; else when it can't be written.
pub fn create(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let mut draft = Draft::new(path, access)?;
    draft.file().write_all(bytes)?;
    draft.commit_new()
}

/// Creates a folder for its owner alone, with those above it. One that exists stays as it is.
///
/// # Errors
/// When it can't be created.
pub fn private_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Opens a file that holds nothing and is only locked. A link is no such file.
///
/// # Errors
/// When it can't be opened or created.
pub fn lock_file(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, open};
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(open(path, flags, Mode::RUSR | Mode::WUSR)?))
}

/// From now on, files and folders that this process creates are for its owner alone.
pub fn close_umask() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
}

/// Keeps other processes of the same user from reading this one's memory: neither `ptrace` nor
/// `/proc/PID/mem` opens it, and no core file holds it.
pub fn close_memory() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        // Why ignored: a kernel that refuses this leaves what was before, and nothing can be done.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

/// Puts on disk which files a folder has.
///
/// # Errors
/// When that fails.
pub fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Opens a file that this call creates. A link is no place for one (`O_EXCL`).
///
/// # Errors
/// `AlreadyExists` when something of that name is there, and when it can't be created.
pub fn create_new(path: &Path, access: Access) -> io::Result<File> {
    let mode = match access {
        Access::Owner => 0o600,
        Access::Shared => 0o666,
    };
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path)?;
    if access == Access::Owner {
        // Why: an umask such as 0277 would leave less.
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole_and_keeps_who_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "before").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        replace(&path, b"after", Access::Shared).unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("after", 0o640));
        replace(&path, b"secret", Access::Owner).unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("secret", 0o600));
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn a_secret_is_for_its_owner_whatever_the_umask() {
        let folder = tempfile::tempdir().unwrap();
        for mask in [0o000, 0o277, 0o777] {
            let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
            let path = folder.path().join(format!("{mask:o}"));
            let written = create(&path, b"secret", Access::Owner);
            rustix::process::umask(before);
            written.unwrap();
            assert_eq!(mode(&path), 0o600, "{mask:o}");
        }
    }

    #[test]
    fn what_is_there_is_not_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let (theirs, link) = (folder.path().join("theirs"), folder.path().join("link"));
        fs::write(&theirs, "theirs").unwrap();
        symlink(&theirs, &link).unwrap();
        // Links where the next drafts would be.
        let mut probe = Draft::new(&folder.path().join("probe"), Access::Shared).unwrap();
        let name = probe.draft.file_name().unwrap().to_str().unwrap().to_owned();
        let (pid, number) = name.trim_start_matches('.').split_once('-').unwrap();
        let number: u64 = number.trim_end_matches(".new").parse().unwrap();
        for next in number + 1..number + 4 {
            symlink(&theirs, folder.path().join(format!(".{pid}-{next}.new"))).unwrap();
        }
        replace(&link, b"ours", Access::Owner).unwrap();
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs");
        assert_eq!(fs::read_to_string(&link).unwrap(), "ours");
        assert!(fs::symlink_metadata(&link).unwrap().is_file());
        let refused = create(&theirs, b"ours", Access::Owner).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs");
        probe.file().write_all(b"x").unwrap();
        let lock = folder.path().join("lock");
        symlink(&theirs, &lock).unwrap();
        assert!(lock_file(&lock).is_err());
        drop(probe);
        assert!(!names(folder.path()).contains(&name), "a draft that is dropped leaves nothing");
    }
}
