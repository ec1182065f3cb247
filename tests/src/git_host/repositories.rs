//! The bare repositories of a host, made and looked at with `git` itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Makes `<root>/<owner>/<name>.git` that takes pushes, with a first commit on `main`.
pub(super) fn create(root: &Path, full_name: &str) {
    let folder = folder(root, full_name);
    std::fs::create_dir_all(&folder).unwrap();
    run(&folder, &["init", "--quiet", "--bare", "--initial-branch=main", "."]);
    run(&folder, &["config", "http.receivepack", "true"]);
    run(&folder, &["config", "uploadpack.allowFilter", "true"]);
    std::fs::write(folder.join("first"), format!("# {full_name}\n")).unwrap();
    let blob = run(&folder, &["hash-object", "-w", "first"]);
    std::fs::remove_file(folder.join("first")).unwrap();
    // Why `--cacheinfo`: a bare repository has no work tree to take the file from.
    run(&folder, &["update-index", "--add", "--cacheinfo", &format!("100644,{blob},README.md")]);
    let tree = run(&folder, &["write-tree"]);
    let commit = run(&folder, &["commit-tree", &tree, "-m", "Begin"]);
    run(&folder, &["update-ref", "refs/heads/main", &commit]);
}

/// The commit at which a ref stands.
pub(super) fn tip(root: &Path, full_name: &str, name: &str) -> Option<String> {
    let output = git(&folder(root, full_name))
        .args(["rev-parse", "--verify", "--quiet", name])
        .output()
        .unwrap();
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// All refs, in order, with their commits.
pub(super) fn refs(root: &Path, full_name: &str) -> Vec<(String, String)> {
    let told =
        run(&folder(root, full_name), &["for-each-ref", "--format=%(refname) %(objectname)"]);
    let pair = |line: &str| line.split_once(' ').map(|(name, id)| (name.to_owned(), id.to_owned()));
    told.lines().filter_map(pair).collect()
}

/// Sets an option.
pub(super) fn configure(root: &Path, full_name: &str, name: &str, value: &str) {
    run(&folder(root, full_name), &["config", name, value]);
}

/// Tells whether the history is cut somewhere.
pub(super) fn is_shallow(root: &Path, full_name: &str) -> bool {
    run(&folder(root, full_name), &["rev-parse", "--is-shallow-repository"]) == "true"
}

/// Takes a ref away.
pub(super) fn forget(root: &Path, full_name: &str, name: &str) {
    run(&folder(root, full_name), &["update-ref", "-d", name]);
}

/// Puts a file on top of a branch. Gives the commit.
pub(super) fn commit(
    root: &Path,
    full_name: &str,
    name: &str,
    file: &str,
    content: &[u8],
) -> String {
    let folder = folder(root, full_name);
    let draft = folder.join("draft");
    std::fs::write(&draft, content).unwrap();
    let blob = run(&folder, &["hash-object", "-w", "draft"]);
    std::fs::remove_file(draft).unwrap();
    run(&folder, &["read-tree", name]);
    run(&folder, &["update-index", "--add", "--cacheinfo", &format!("100644,{blob},{file}")]);
    let tree = run(&folder, &["write-tree"]);
    let commit = run(&folder, &["commit-tree", &tree, "-p", name, "-m", "By the host"]);
    run(&folder, &["update-ref", name, &commit]);
    commit
}

fn folder(root: &Path, full_name: &str) -> PathBuf {
    root.join(format!("{full_name}.git"))
}

fn run(folder: &Path, words: &[&str]) -> String {
    let output = git(folder).args(words).output().unwrap();
    assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn git(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(folder)
        .env("GIT_DIR", ".")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", folder)
        .stdin(Stdio::null());
    for who in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{who}_NAME"), "host")
            .env(format!("GIT_{who}_EMAIL"), "host@example.org");
    }
    command
}
