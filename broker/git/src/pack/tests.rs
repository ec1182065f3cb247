use std::{path::Path, process::Command};

use proptest::prelude::*;

use super::*;

fn git(folder: &Path, words: &[&str], input: &[u8]) -> Vec<u8> {
    use std::{io::Write, process::Stdio};
    let mut child = Command::new("git")
        .args(["-c", "user.name=A", "-c", "user.email=a@example.org"])
        .args(words)
        .current_dir(folder)
        .env("HOME", folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{words:?}");
    output.stdout
}

/// A repository with a history that packs with deltas, and its pack.
fn repository(folder: &Path, extra: &[&str]) -> Vec<u8> {
    git(folder, &["init", "-q", "."], b"");
    for round in 0..30 {
        for file in 0..20 {
            let text =
                format!("{file}\n").repeat(200) + &format!("{}\n", round * usize::from(file < 3));
            std::fs::create_dir_all(folder.join(format!("d{}", file % 4))).unwrap();
            std::fs::write(folder.join(format!("d{}/f{file}", file % 4)), text).unwrap();
        }
        git(folder, &["add", "."], b"");
        git(folder, &["commit", "-q", "-s", "-m", &format!("round {round}")], b"");
    }
    git(folder, &["tag", "-a", "v1", "-m", "one"], b"");
    let words = [&["pack-objects", "--all", "--stdout", "-q"], extra].concat();
    git(folder, &words, b"")
}

fn read(pack: &[u8], piece: usize) -> Result<Objects, PackError> {
    let mut scanner = Scanner::new(1 << 20, true);
    pack.chunks(piece).try_for_each(|piece| scanner.feed(piece))?;
    scanner.finish()
}

#[test]
fn every_commit_tree_and_tag_of_a_real_pack_is_kept_as_git_has_it() {
    for extra in [&["--delta-base-offset"][..], &[]] {
        let folder = tempfile::tempdir().unwrap();
        let pack = repository(folder.path(), extra);
        let list = git(folder.path(), &["cat-file", "--batch-all-objects", "--batch-check"], b"");
        let list = String::from_utf8(list).unwrap();
        for piece in [1, 7, 4096, pack.len()] {
            let objects = read(&pack, piece).unwrap();
            assert_eq!(objects.count, u64::try_from(list.lines().count()).unwrap());
            let (mut kept, mut sized) = (0, 0);
            for line in list.lines() {
                let mut words = line.split(' ');
                let id = ObjectId::parse(words.next().unwrap().as_bytes()).unwrap();
                let (kind, size) = (words.next().unwrap(), words.next().unwrap());
                match kind {
                    "blob" => {
                        sized += 1;
                        let size: u64 = size.parse().unwrap();
                        assert!(match objects.size(id).unwrap() {
                            Size::Is(known) => known == size,
                            Size::AtMost(most) => most >= size,
                        });
                    }
                    kind => {
                        kept += 1;
                        let (found, bytes) = objects.get(id).unwrap_or_else(|| panic!("{line}"));
                        assert_eq!(found.word(), kind);
                        assert_eq!(bytes.len().to_string(), size);
                        let real = git(folder.path(), &["cat-file", kind, &id.to_string()], b"");
                        assert_eq!(bytes, real, "{line}");
                    }
                }
                if piece == 1 && kept > 20 {
                    break;
                }
            }
            assert!(kept > 20 && (piece == 1 || sized > 20));
        }
    }
}

#[test]
fn a_pack_that_is_cut_or_changed_anywhere_is_none() {
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["init", "-q", "."], b"");
    std::fs::write(folder.path().join("a"), "a").unwrap();
    git(folder.path(), &["add", "."], b"");
    git(folder.path(), &["commit", "-q", "-m", "a"], b"");
    let pack = git(folder.path(), &["pack-objects", "--all", "--stdout", "-q"], b"");
    assert!(read(&pack, 16).is_ok());
    for cut in 0..pack.len() {
        assert!(read(&pack[..cut], 16).is_err(), "{cut}");
        let mut changed = pack.clone();
        changed[cut] ^= 1;
        assert!(read(&changed, 16).is_err(), "{cut}");
    }
    assert!(read(&[pack.as_slice(), b"x"].concat(), 16).is_err());
}

#[test]
fn a_file_that_is_too_large_is_refused_by_what_the_pack_says_of_it() {
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["init", "-q", "."], b"");
    std::fs::write(folder.path().join("a"), vec![b'a'; 5000]).unwrap();
    git(folder.path(), &["add", "."], b"");
    git(folder.path(), &["commit", "-q", "-m", "a"], b"");
    let pack = git(folder.path(), &["pack-objects", "--all", "--stdout", "-q"], b"");
    let mut scanner = Scanner::new(4999, false);
    assert_eq!(scanner.feed(&pack), Err(PackError::FileTooLarge(5000, 4999)));
    let mut scanner = Scanner::new(5000, false);
    assert_eq!(scanner.feed(&pack), Ok(()));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), count in 0_u8..4) {
        let mut scanner = Scanner::new(1000, true);
        let head = [b"PACK\0\0\0\x02\0\0\0", &[count][..]].concat();
        let _ = scanner.feed(&head).and_then(|()| scanner.feed(&bytes));
        let _ = scanner.finish();
        let _ = delta::apply(&bytes, &bytes, 1000);
    }
}
