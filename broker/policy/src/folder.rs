//! Reads a policy folder: `*.cedar` and `catalogue.toml`, nothing below it and nothing outside it.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{
    catalogue_file::CATALOGUE,
    limits::{FILE_BYTES, FILES},
    problem::{PolicyProblem, Source},
};

/// Looks again if the folder changed under the reading.
const LOOKS: usize = 5;

/// Reads every file that counts, as they stand together; what is wrong goes to `problems`.
///
/// Why looked at before and after: where each file is a link through one that is swapped, as Kubernetes
/// mounts them, half of them might be read before the swap and half behind it.
pub(super) fn read(folder: &Path, problems: &mut Vec<PolicyProblem>) -> Vec<Source> {
    for _ in 0..LOOKS {
        let before = stamp(folder);
        let mut found = vec![];
        let sources = read_once(folder, &mut found);
        if before == stamp(folder) {
            problems.append(&mut found);
            return sources;
        }
    }
    let message = format!("the policy folder `{}` changed while it was read", folder.display());
    problems.push(PolicyProblem::of_file("", message, "load it once it rests"));
    vec![]
}

fn read_once(folder: &Path, problems: &mut Vec<PolicyProblem>) -> Vec<Source> {
    let mut of_folder = |error: io::Error| {
        let message = format!("the policy folder `{}` can't be read: {error}", folder.display());
        problems.push(PolicyProblem::of_file("", message, ""));
    };
    let listing = fs::canonicalize(folder)
        .and_then(|home| Ok((fs::read_dir(&home)?.collect::<io::Result<Vec<_>>>()?, home)));
    let (entries, home) = match listing {
        Ok(listing) => listing,
        Err(error) => {
            of_folder(error);
            return vec![];
        }
    };
    if entries.len() > FILES {
        let message = format!("the policy folder holds more than {FILES} files");
        problems.push(PolicyProblem::of_file("", message, "join some of them"));
        return vec![];
    }
    let mut names: Vec<_> = entries.iter().map(fs::DirEntry::file_name).collect();
    names.sort();
    let mut sources = vec![];
    for name in names {
        let Some(name) = name.to_str() else {
            let message = format!("the name of `{}` is not UTF-8", name.display());
            problems.push(PolicyProblem::of_file("", message, "rename it"));
            continue;
        };
        match kind(name) {
            Kind::Skipped => {}
            Kind::Read => match text(&home, name) {
                Ok(text) => sources.push(Source { name: name.to_owned(), text }),
                Err(problem) => problems.push(problem),
            },
            // Why not skipped: a forbid in a file with a mistyped name would be lost in silence.
            Kind::Strange => {
                let message = format!("`{name}` would not be read");
                let hint = "policies stand in files named `*.cedar`, facts in `catalogue.toml`; rename it or take it out";
                problems.push(PolicyProblem::of_file(name, message, hint));
            }
        }
    }
    missing(&sources, problems);
    sources
}

/// How a folder looks from outside: other files, places, sizes or times mean another look inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Where it really is: mounted Kubernetes config maps change by changing that.
    home: PathBuf,
    /// Name, where it really is, size, time.
    files: Vec<(OsString, PathBuf, u64, Option<SystemTime>)>,
}

/// Looks at a folder from outside. `None` if it can't be seen, or holds too much.
#[must_use]
pub fn stamp(folder: &Path) -> Option<Stamp> {
    let home = fs::canonicalize(folder).ok()?;
    let mut files = Vec::new();
    for entry in fs::read_dir(&home).ok()? {
        let entry = entry.ok()?;
        // Why: what is not read may be anything, such as the lock of an editor that leads nowhere.
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let facts = fs::metadata(entry.path()).ok()?;
        let place = fs::canonicalize(entry.path()).ok()?;
        files.push((entry.file_name(), place, facts.len(), facts.modified().ok()));
        if files.len() > FILES {
            return None;
        }
    }
    files.sort();
    Some(Stamp { home, files })
}

enum Kind {
    Read,
    Skipped,
    Strange,
}

fn kind(name: &str) -> Kind {
    let ends = |end: &str| name.strip_suffix(end).is_some_and(|stem| !stem.is_empty());
    // Why dot-names first: mounted Kubernetes config maps keep their versions in such folders.
    if name.starts_with('.') || ends(".cedarschema") || ends(".md") {
        Kind::Skipped
    } else if name == CATALOGUE || ends(".cedar") {
        Kind::Read
    } else {
        Kind::Strange
    }
}

fn text(home: &Path, name: &str) -> Result<String, PolicyProblem> {
    let broken = |error: io::Error| {
        PolicyProblem::of_file(name, format!("`{name}` can't be read: {error}"), "")
    };
    let path = fs::canonicalize(home.join(name)).map_err(broken)?;
    if !path.starts_with(home) {
        let message = format!("`{name}` leads out of the policy folder");
        return Err(PolicyProblem::of_file(name, message, "put the file itself there"));
    }
    // Why before opening: opening a pipe would wait for its other end.
    if !fs::metadata(&path).map_err(broken)?.is_file() {
        return Err(PolicyProblem::of_file(name, format!("`{name}` is not a file"), "take it out"));
    }
    let mut bytes = vec![];
    File::open(&path)
        .and_then(|file| file.take(FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(broken)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > FILE_BYTES) {
        let message = format!("`{name}` is larger than {FILE_BYTES} bytes");
        return Err(PolicyProblem::of_file(name, message, "divide it"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let source = Source { name: name.to_owned(), text };
        PolicyProblem::at(&source, good, format!("`{name}` is not UTF-8"), "save it as UTF-8")
    })
}

fn missing(sources: &[Source], problems: &mut Vec<PolicyProblem>) {
    if !problems.is_empty() {
        return;
    }
    if !sources.iter().any(|source| source.name == CATALOGUE) {
        let message = format!("the policy folder has no `{CATALOGUE}`");
        problems.push(PolicyProblem::of_file("", message, "add one; it may be empty"));
    }
    if !sources.iter().any(|source| source.name.ends_with(".cedar")) {
        let hint = "add a file named `*.cedar`: without a permit nothing is allowed";
        problems.push(PolicyProblem::of_file("", "the policy folder has no policy", hint));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PolicySet, Vocabulary};
    use super::*;

    #[test]
    fn what_does_not_belong_into_the_folder_is_told() {
        let outside = tempfile::NamedTempFile::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let found = || -> Vec<String> {
            let problems =
                PolicySet::load(folder.path(), &Vocabulary::default()).err().unwrap_or_default();
            problems.iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            found(),
            [
                "the policy folder has no `catalogue.toml`; add one; it may be empty",
                "the policy folder has no policy; add a file named `*.cedar`: without a permit nothing is allowed",
            ]
        );
        std::os::unix::fs::symlink(outside.path(), path("away.cedar")).unwrap();
        fs::create_dir(path("folder.cedar")).unwrap();
        fs::write(path("forbids.ceder"), "").unwrap();
        fs::write(path("latin.cedar"), b"\n// \xe9").unwrap();
        fs::write(path("large.cedar"), vec![b' '; 16 * 1024 * 1024 + 1]).unwrap();
        fs::write(path(".hidden"), "").unwrap();
        assert_eq!(
            found(),
            [
                "away.cedar: `away.cedar` leads out of the policy folder; put the file itself there",
                "folder.cedar: `folder.cedar` is not a file; take it out",
                "forbids.ceder: `forbids.ceder` would not be read; policies stand in files named `*.cedar`, facts in `catalogue.toml`; rename it or take it out",
                "large.cedar: `large.cedar` is larger than 16777216 bytes; divide it",
                "latin.cedar:2: `latin.cedar` is not UTF-8; save it as UTF-8",
            ]
        );
        assert!(PolicySet::load(&path("nowhere"), &Vocabulary::default()).is_err());
    }

    #[test]
    fn a_folder_as_kubernetes_mounts_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("..2026_01_01")).unwrap();
        std::os::unix::fs::symlink("..2026_01_01", path("..data")).unwrap();
        for (name, text) in [
            ("catalogue.toml", ""),
            (
                "a.cedar",
                "@id(\"a\") permit (principal, action in Jeton::Action::\"read\", resource);",
            ),
        ] {
            fs::write(path("..2026_01_01").join(name), text).unwrap();
            std::os::unix::fs::symlink(Path::new("..data").join(name), path(name)).unwrap();
        }
        assert!(PolicySet::load(folder.path(), &Vocabulary::default()).is_ok());
    }

    /// Swaps the folder that all files are read through, over and over, while it is read.
    #[test]
    fn files_of_two_folders_are_never_read_as_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let names = ["a.cedar", "b.cedar", "c.cedar", "catalogue.toml"];
        let next = |number: usize| {
            let version = format!("..{number}");
            fs::create_dir(path(&version)).unwrap();
            names.iter().for_each(|name| fs::write(path(&version).join(name), &version).unwrap());
            std::os::unix::fs::symlink(&version, path(".draft")).unwrap();
            fs::rename(path(".draft"), path("..data")).unwrap();
        };
        next(0);
        for name in names {
            std::os::unix::fs::symlink(Path::new("..data").join(name), path(name)).unwrap();
        }
        let (mixed, whole) = std::thread::scope(|scope| {
            let swapping = scope.spawn(|| (1..800).for_each(next));
            let (mut mixed, mut whole) = (0, std::collections::BTreeSet::new());
            while !swapping.is_finished() {
                let sources = read(folder.path(), &mut vec![]);
                let texts: std::collections::BTreeSet<_> =
                    sources.into_iter().map(|source| source.text).collect();
                mixed += usize::from(texts.len() > 1);
                whole.extend(texts);
            }
            (mixed, whole.len())
        });
        assert_eq!(mixed, 0, "of {whole}");
        assert!(whole > 2, "{whole}");
    }
}
