use super::*;
use crate::pack::Scanner;

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

fn git(folder: &Path, words: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("git")
        .args([
            "-c",
            "user.name=A",
            "-c",
            "user.email=a@example.org",
            "-c",
            "init.defaultBranch=main",
        ])
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

/// A repository that plays the upstream and the pusher.
struct Repository(tempfile::TempDir);

impl Repository {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        git(folder.path(), &["init", "-q", "."], b"");
        Self(folder)
    }

    /// A commit with these files and no others.
    fn commit(&self, files: &[(&str, &str)], parents: &[ObjectId]) -> ObjectId {
        let mut tree = Vec::new();
        for (name, text) in files {
            let blob = git(self.0.path(), &["hash-object", "-w", "--stdin"], text.as_bytes());
            let blob = String::from_utf8(blob).unwrap();
            writeln!(tree, "100644 blob {}\t{name}", blob.trim()).unwrap();
        }
        let tree = String::from_utf8(git(self.0.path(), &["mktree"], &tree)).unwrap();
        let mut words =
            vec!["commit-tree".to_owned(), tree.trim().to_owned(), "-m".into(), "x".into()];
        for parent in parents {
            words.extend(["-p".to_owned(), parent.to_string()]);
        }
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        ObjectId::parse(git(self.0.path(), &words, b"").trim_ascii()).unwrap()
    }

    /// What `git pack-objects` makes of these revisions.
    fn objects(&self, revisions: &str, extra: &[&str]) -> Objects {
        let words = [&["pack-objects", "--revs", "--stdout", "-q"], extra].concat();
        let mut scanner = Scanner::new(1 << 20, true);
        scanner.feed(&git(self.0.path(), &words, revisions.as_bytes())).unwrap();
        scanner.finish().unwrap()
    }

    /// What an upstream answers: the history of these without that of the pivot.
    fn answer(&self, pivot: ObjectId, want: &BTreeSet<ObjectId>) -> Objects {
        let want: String = want.iter().map(|id| format!("{id}\n")).collect();
        self.objects(&format!("{want}^{pivot}\n"), &["--filter=tree:0"])
    }

    /// The names of the files that a pushed commit changes, and how many questions that took.
    fn changed(&self, new: ObjectId, upstream: &[ObjectId]) -> (Vec<String>, usize) {
        let without: String = upstream.iter().map(|id| format!("^{id}\n")).collect();
        let mut objects = self.objects(&format!("{new}\n{without}"), &[]);
        let (commits, edge) = objects.brought(&[new]).unwrap();
        let edges = Edges::of(&commits, &edge).unwrap();
        let (mut lineage, mut asked) = (Lineage::default(), 0);
        let measures = loop {
            match lineage.step(&edges, &commits, &objects).unwrap() {
                Step::Done(measures) => break measures,
                Step::Ask { pivot, want } => {
                    asked += 1;
                    let answer = self.answer(pivot, &want);
                    lineage.learn(pivot, want, &answer).unwrap();
                }
            }
        };
        let commit = commits.iter().find(|commit| commit.id == new).unwrap();
        let measure = measures.get(&new).cloned();
        let measure = measure.unwrap_or_else(|| Measure::of_parents(commit));
        let compared: BTreeSet<_> = measure.sides.iter().chain(&measure.bases).copied().collect();
        let all: String = compared.iter().map(|id| format!("{id}\n")).collect();
        objects.add_theirs(self.objects(&all, &["--filter=blob:none"]), &compared);
        let changed = objects.changes(commit, &measure).unwrap();
        (changed.into_keys().collect(), asked)
    }
}

const OLD: (&str, &str) = ("ci", "old");
const NEW: (&str, &str) = ("ci", "new");

#[test]
fn a_merge_with_an_old_commit_changes_what_it_brings_back_or_takes_away() {
    let git = Repository::new();
    let none = git.commit(&[("a", "1")], &[]);
    let old = git.commit(&[("a", "1"), OLD], &[none]);
    let main = git.commit(&[("a", "1"), NEW], &[old]);
    // By the agent, before: on a branch of the upstream.
    let agent = git.commit(&[("a", "2"), NEW], &[main]);
    for (merged, files) in [(old, vec![("a", "2"), OLD]), (none, vec![("a", "2")])] {
        for parents in [[agent, merged], [merged, agent]] {
            let merge = git.commit(&files, &parents);
            assert_eq!(git.changed(merge, &[main, agent]).0, ["ci"], "{files:?}");
        }
    }
    // In one push with what it merges, and with a commit on top of the old one.
    let mine = git.commit(&[("a", "3"), NEW], &[main]);
    let hidden = git.commit(&[("b", "1"), OLD], &[old]);
    for parents in [[mine, old], [mine, hidden], [main, hidden], [hidden, main]] {
        let merge = git.commit(&[("a", "3"), OLD], &parents);
        let changed = git.changed(merge, &[main]).0;
        assert!(changed.contains(&"ci".to_owned()), "{changed:?}");
    }
}

#[test]
fn a_merge_with_an_old_side_branch_does_not_bring_back_what_that_never_changed() {
    let git = Repository::new();
    let old = git.commit(&[("a", "1"), OLD], &[]);
    let main = git.commit(&[("a", "1"), NEW], &[old]);
    // Pushed before, on top of the old commit: neither is behind the other.
    let side = git.commit(&[("a", "1"), ("b", "1"), OLD], &[old]);
    let bad = git.commit(&[("a", "1"), ("b", "1"), OLD], &[main, side]);
    assert_eq!(git.changed(bad, &[main, side]), (vec!["ci".to_owned()], 2));
    let good = git.commit(&[("a", "1"), ("b", "1"), NEW], &[main, side]);
    assert_eq!(git.changed(good, &[main, side]), (vec![], 2));
    // Its own doing beside that.
    let own = git.commit(&[("a", "2"), ("b", "1"), NEW], &[side, main]);
    assert_eq!(git.changed(own, &[main, side]).0, ["a"]);
}

#[test]
fn a_merge_of_the_newest_with_own_work_changes_nothing_but_the_own_work() {
    let git = Repository::new();
    let old = git.commit(&[("a", "1"), OLD], &[]);
    let main = git.commit(&[("a", "1"), NEW], &[old]);
    let mine = git.commit(&[("a", "2"), OLD], &[old]);
    let merge = git.commit(&[("a", "2"), NEW], &[mine, main]);
    assert_eq!(git.changed(merge, &[main]), (vec!["a".to_owned()], 1));
}

#[test]
fn many_parents_take_few_questions() {
    let git = Repository::new();
    let mut line = vec![git.commit(&[OLD], &[])];
    for number in 0..39 {
        let text = number.to_string();
        line.push(git.commit(&[("n", &text), NEW], &[line[number]]));
    }
    // All of one line: the newest is left.
    let merge = git.commit(&[("n", "38"), OLD], &line);
    let (changed, asked) = git.changed(merge, &[line[39]]);
    assert_eq!(changed, ["ci"]);
    assert!(asked <= 3, "{asked}");
    // Forty heads of which none is behind another: what differs from any of them is changed.
    let base = git.commit(&[OLD], &[]);
    let heads: Vec<_> =
        (0..40).map(|number| git.commit(&[OLD, ("n", &number.to_string())], &[base])).collect();
    let merge = git.commit(&[OLD, ("n", "7")], &heads);
    let (changed, asked) = git.changed(merge, &heads);
    assert_eq!((changed, asked), (vec!["n".to_owned()], 1));
}

#[test]
fn what_was_sent_beside_what_was_wanted_proves_nothing() {
    // An upstream whose dates are odd sends too much: `old` lies behind `main` all the same.
    let git = Repository::new();
    let old = git.commit(&[OLD], &[]);
    let main = git.commit(&[NEW], &[old]);
    let merge = git.commit(&[OLD], &[main, old]);
    let objects = git.objects(&format!("{merge}\n^{main}\n"), &[]);
    let (commits, edge) = objects.brought(&[merge]).unwrap();
    let edges = Edges::of(&commits, &edge).unwrap();
    let mut lineage = Lineage::default();
    let whole = git.objects(&format!("{main}\n{old}\n"), &["--filter=tree:0"]);
    for _ in 0..3 {
        match lineage.step(&edges, &commits, &objects).unwrap() {
            Step::Ask { pivot, want } => lineage.learn(pivot, want, &whole).unwrap(),
            Step::Done(measures) => {
                assert_eq!(measures[&merge].sides, [main]);
                return;
            }
        }
    }
    panic!("it never ends");
}

#[test]
fn one_side_without_an_answer_matters_only_if_the_other_does_not_settle_it() {
    let git = Repository::new();
    let old = git.commit(&[OLD], &[]);
    let main = git.commit(&[NEW], &[old]);
    let side = git.commit(&[OLD, ("n", "1")], &[old]);
    for (other, is_settled) in [(old, true), (side, false)] {
        let merge = git.commit(&[OLD], &[main, other]);
        let objects = git.objects(&format!("{merge}\n^{main}\n^{other}\n"), &[]);
        let (commits, edge) = objects.brought(&[merge]).unwrap();
        let edges = Edges::of(&commits, &edge).unwrap();
        let mut lineage = Lineage::default();
        lineage.learn_nothing(other, "it is too large".to_owned());
        let Step::Ask { pivot, want } = lineage.step(&edges, &commits, &objects).unwrap() else {
            panic!()
        };
        assert_eq!(pivot, main);
        let answer = git.answer(pivot, &want);
        lineage.learn(pivot, want, &answer).unwrap();
        match lineage.step(&edges, &commits, &objects) {
            Ok(Step::Done(measures)) => assert!(is_settled && measures[&merge].sides == [main]),
            Err(Untold::Lineage(why)) => assert!(!is_settled && why == "it is too large"),
            other => panic!("{other:?}"),
        }
    }
}
