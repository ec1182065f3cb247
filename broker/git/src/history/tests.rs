use super::*;
use crate::pack::Scanner;

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

fn git(folder: &Path, words: &[&str], input: &[u8]) -> String {
    String::from_utf8(raw(folder, words, input)).unwrap().trim().to_owned()
}

fn raw(folder: &Path, words: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("git")
        .args(["-c", "user.name=A", "-c", "user.email=a@example.org"])
        .args(["-c", "init.defaultBranch=main"])
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

struct Work(tempfile::TempDir);

impl Work {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        git(folder.path(), &["init", "-q", "."], b"");
        Self(folder)
    }

    fn commit(&self, files: &[(&str, &str)], words: &[&str]) -> ObjectId {
        for (name, text) in files {
            let path = self.0.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        git(self.0.path(), &["add", "-A"], b"");
        git(self.0.path(), &[&["commit", "-q", "--allow-empty", "-m", "x"], words].concat(), b"");
        self.id("HEAD")
    }

    fn id(&self, name: &str) -> ObjectId {
        ObjectId::parse(git(self.0.path(), &["rev-parse", name], b"").as_bytes()).unwrap()
    }

    /// What a push of these brings.
    fn pack(&self, revisions: &str) -> Objects {
        let words = ["pack-objects", "--revs", "--stdout", "-q"];
        let mut scanner = Scanner::new(1 << 20, true);
        scanner.feed(&raw(self.0.path(), &words, revisions.as_bytes())).unwrap();
        scanner.finish().unwrap()
    }
}

/// The changes of a commit against its parents.
fn by_parents(objects: &Objects, id: ObjectId) -> Result<Changes, Untold> {
    let commit = objects.commit(id).unwrap()?;
    objects.changes(&commit, &Measure::of_parents(&commit))
}

#[test]
fn a_ref_goes_on_only_if_a_way_leads_back_to_where_it_stood() {
    let work = Work::new();
    let one = work.commit(&[("a", "1")], &[]);
    let two = work.commit(&[("a", "2")], &[]);
    let three = work.commit(&[("a", "3")], &[]);
    let all = work.pack("HEAD\n");
    assert_eq!(all.ancestry(three, one), Ancestry::Yes);
    assert_eq!(all.ancestry(one, three), Ancestry::No);
    let part = work.pack(&format!("HEAD\n^{two}\n"));
    assert_eq!(part.ancestry(three, two), Ancestry::Yes);
    assert_eq!(part.ancestry(three, one), Ancestry::Beyond([two].into()));
}

#[test]
fn a_merge_changes_only_what_neither_side_had() {
    let work = Work::new();
    work.commit(&[("a", "1"), (".github/workflows/ci", "x")], &[]);
    git(work.0.path(), &["checkout", "-q", "-b", "side"], b"");
    work.commit(&[(".github/workflows/ci", "changed by people")], &[]);
    git(work.0.path(), &["checkout", "-q", "main"], b"");
    work.commit(&[("a", "2")], &[]);
    git(work.0.path(), &["merge", "-q", "--no-commit", "side"], b"");
    let merge = work.commit(&[("b", "with the merge")], &[]);
    let objects = work.pack("HEAD\n");
    let commit = objects.commit(merge).unwrap().unwrap();
    assert_eq!(commit.parents.len(), 2);
    let sides = commit.parents.clone();
    let measure = Measure { sides, ..Measure::default() };
    let changed = objects.changes(&commit, &measure).unwrap();
    assert_eq!(changed.keys().collect::<Vec<_>>(), ["b"]);
    let changed = objects.changes(&commit, &Measure { any: true, ..measure }).unwrap();
    assert_eq!(changed.keys().collect::<Vec<_>>(), [".github/workflows/ci", "a", "b"]);
}

#[test]
fn files_that_come_go_move_or_change_their_mode_are_told_and_others_are_not() {
    let work = Work::new();
    let many = [("a/b/c", "1"), ("a/b/d", "1"), ("e", "1"), ("f", "1"), ("g/h", "1")];
    work.commit(&many, &[]);
    git(work.0.path(), &["rm", "-q", "e"], b"");
    git(work.0.path(), &["mv", "g", "i"], b"");
    git(work.0.path(), &["update-index", "--chmod=+x", "f"], b"");
    git(work.0.path(), &["commit", "-q", "-m", "x"], b"");
    let after = work.id("HEAD");
    std::fs::write(work.0.path().join("a/b/c"), "2").unwrap();
    let objects = work.pack("HEAD\n");
    let changed = by_parents(&objects, after).unwrap();
    let told: Vec<_> =
        changed.iter().map(|(path, one)| (path.as_str(), one.is.is_some())).collect();
    assert_eq!(told, [("e", false), ("f", true), ("g/h", false), ("i/h", true)]);
}

#[test]
fn what_is_not_here_is_named() {
    let work = Work::new();
    let one = work.commit(&[("a/b", "1"), ("c", "1")], &[]);
    let two = work.commit(&[("c", "2")], &[]);
    let part = work.pack(&format!("HEAD\n^{one}\n"));
    let Err(Untold::Missing(missing)) = by_parents(&part, two) else { panic!() };
    assert_eq!(missing.commits, [one].into());
    let mut whole = part;
    whole.add_theirs(work.pack(&format!("{one}\n")), &[one].into());
    assert_eq!(by_parents(&whole, two).unwrap().keys().collect::<Vec<_>>(), ["c"]);
    let (brought, edge) = whole.brought(&[two]).unwrap();
    assert_eq!((brought.len(), edge), (1, [one].into()), "what the upstream has is not brought");
}

#[test]
fn authors_and_their_lines_are_read() {
    let work = Work::new();
    let plain = work.commit(&[("a", "1")], &["--author", "E V <eve@evil.org>"]);
    let signed = work.commit(&[("a", "2")], &["-s"]);
    let other = work.commit(&[("a", "3")], &["-m", "Signed-off-by: B <b@example.org>"]);
    let objects = work.pack("HEAD\n");
    let commit = |id| objects.commit(id).unwrap().unwrap();
    assert_eq!((commit(plain).author.as_str(), commit(plain).signed_off), ("eve@evil.org", false));
    assert!(commit(signed).signed_off);
    assert!(!commit(other).signed_off, "signed off by somebody else");
}

#[test]
fn a_commit_whose_head_git_reads_otherwise_is_none() {
    let (tree, id) = ("4".repeat(40), "1".repeat(40));
    let who = "A <a@example.org> 1700000000 +0100";
    let text = |head: &str| commit(ObjectId::NONE, format!("{head}\n\nwords\n").as_bytes());
    let good = format!("tree {tree}\nparent {id}\nauthor {who}\ncommitter {who}");
    assert_eq!(text(&good).unwrap().parents.len(), 1);
    assert!(text(&format!("{good}\ngpgsig x\n parent {id}")).is_some());
    for bad in [
        format!("tree {tree}\nx y\nparent {id}\nauthor {who}\ncommitter {who}"),
        format!("tree {tree}\nauthor {who}\nparent {id}\ncommitter {who}"),
        format!("tree {tree}\nparent {id}\ncommitter {who}\nauthor {who}"),
        format!("tree {tree}\nauthor C <c@acme.com> <a@acme.dev> 1 +0000\ncommitter {who}"),
        format!("tree {tree}\nauthor C <c@acme.com>> 1 +0000\ncommitter {who}"),
        format!("tree {tree}\nauthor C <c@acme.com> x +0000\ncommitter {who}"),
        format!("tree {tree}\nauthor C <c@acme.com> 1 +0000 x\ncommitter {who}"),
    ] {
        assert!(text(&bad).is_none(), "{bad}");
    }
    let odd = |mode: &[u8]| entries(&[mode, b" .github\0", &[7; 20]].concat());
    assert!(odd(b"40000").unwrap()[".github"].folder);
    for mode in [&b"40755"[..], b"040000", b"0040000", b"40001", b"100600", b""] {
        assert_eq!(odd(mode), None, "{mode:?}");
    }
}

#[test]
fn paths_that_a_checkout_takes_for_gits_own_are_refused() {
    for name in
        [".git", ".GIT", ".git ", ".git.", ".g\u{200c}it", "git~1", "..", "a\\b", ".git::$DATA"]
    {
        assert!(harmless(name, "").is_err(), "{name:?}");
    }
    for name in [".github", ".gitignore", "git", "a.git", "..a"] {
        assert_eq!(harmless(name, ""), Ok(()), "{name:?}");
    }
    assert_eq!(folded(".GitHub/Work\u{200b}flows./x"), ".github/workflows/x");
}

#[test]
fn a_folder_with_two_of_one_name_or_with_odd_bytes_is_none() {
    let entry = |name: &[u8]| [b"100644 ", name, b"\0", &[7; 20]].concat();
    assert_eq!(entries(&entry(b"a")).unwrap().len(), 1);
    assert_eq!(entries(&[entry(b"a"), entry(b"a")].concat()), None);
    for bad in
        [entry(b"a/b"), entry(b""), entry(b"\xff"), b"100644 a\0short".to_vec(), b"x".to_vec()]
    {
        assert_eq!(entries(&bad), None, "{bad:?}");
    }
}

#[test]
fn a_commit_that_cannot_be_read_leaves_ancestry_unknown() {
    let work = Work::new();
    let one = work.commit(&[("a", "1")], &[]);
    let tree = work.id("HEAD^{tree}");
    let broken = format!("tree {tree}\nparent {one}x\n\nx\n");
    let words = ["hash-object", "-w", "--literally", "-t", "commit", "--stdin"];
    let broken = git(work.0.path(), &words, broken.as_bytes());
    let text = format!(
        "tree {tree}\nparent {broken}\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nx\n"
    );
    let above = git(work.0.path(), &words, text.as_bytes());
    let packed = raw(
        work.0.path(),
        &["pack-objects", "--stdout", "-q"],
        format!("{broken}\n{above}\n").as_bytes(),
    );
    let mut scanner = Scanner::new(1 << 20, true);
    scanner.feed(&packed).unwrap();
    let objects = scanner.finish().unwrap();
    let above = ObjectId::parse(above.as_bytes()).unwrap();
    assert_eq!(objects.ancestry(above, one), Ancestry::Unknown);
}

#[test]
fn work_on_a_history_stops_when_it_is_not_to_go_on() {
    let work = Work::new();
    let one = work.commit(&[("a/b", "1")], &[]);
    let two = work.commit(&[("a/b", "2")], &[]);
    let mut objects = work.pack("HEAD\n");
    assert_eq!(objects.check_bounds(), Ok(0));
    objects.pace = crate::pace::Pace::of(std::sync::Arc::new(|| false));
    assert_eq!(objects.brought(&[two]), Err(Untold::Stopped));
    assert_eq!(by_parents(&objects, two), Err(Untold::Stopped));
    assert_eq!(objects.ancestry(two, one), Ancestry::Unknown);
    assert_eq!(objects.check_bounds(), Err(Untold::Stopped));
}
