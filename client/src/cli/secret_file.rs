//! A file that holds one credential: mode 0600, replaced at once as a whole.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use jeton_files::Access;

use super::failure::Failure;

/// The file. One that was reserved goes away when this is dropped, unless it is kept.
pub struct SecretFile {
    path: PathBuf,
    remove: bool,
}

impl SecretFile {
    /// Makes a new, empty file, so that a bad path fails before anything is granted.
    ///
    /// # Errors
    /// When there is one already, which may be another's, or it can't be made.
    pub fn reserve(path: &Path) -> Result<Self, Failure> {
        jeton_files::create_new(path, Access::Owner).map_err(|error| failed(path, &error))?;
        Ok(Self { path: path.to_owned(), remove: true })
    }

    /// Names a file that may be there already and stays.
    #[must_use]
    pub fn standing(path: &Path) -> Self {
        Self { path: path.to_owned(), remove: false }
    }

    /// Puts a secret in the place of what stood there. A reader sees the one or the other.
    ///
    /// # Errors
    /// When it can't be written; what stood there stands.
    pub fn write(&self, secret: &str) -> Result<(), Failure> {
        jeton_files::replace(&self.path, secret.as_bytes(), Access::Owner)
            .map_err(|error| failed(&self.path, &error))
    }

    /// Leaves the file where it is.
    pub fn keep(mut self) {
        self.remove = false;
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        if self.remove {
            // Why ignored: it may be gone already.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::config(format!("`{}` can't be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_reserved_file_is_private_is_replaced_and_goes_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let file = SecretFile::reserve(&path).ok().unwrap();
        for secret in ["one", "two"] {
            file.write(secret).ok().unwrap();
            assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), (secret, 0o600));
        }
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_kept_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        SecretFile::reserve(&path).ok().unwrap().keep();
        SecretFile::standing(&path).write("three").ok().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "three");
    }

    #[test]
    fn the_file_of_another_is_not_taken_and_a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("theirs"), folder.path().join("link"));
        fs::write(&path, "theirs").unwrap();
        symlink(&path, &link).unwrap();
        assert!(SecretFile::reserve(&path).is_err());
        assert!(SecretFile::reserve(&link).is_err());
        SecretFile::standing(&link).write("ours").ok().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
        assert_eq!(mode(&link), 0o600);
    }
}
