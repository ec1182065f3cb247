//! The git host of the tests, held against the real `git` command.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use jeton_tests::git_host::{Gate, GitClient, GitHost, Need, RefUpdate, Refusal};
use tempfile::TempDir;

/// One question that the host asked its gate.
#[derive(Clone, Debug)]
struct Question {
    token: String,
    need: Need,
    refs: Vec<RefUpdate>,
}

/// Lets `good` do everything and `reader` read, but nobody push outside `refs/heads/agent/`.
#[derive(Default)]
struct House {
    asked: Mutex<Vec<Question>>,
    closed: Mutex<bool>,
}

impl Gate for House {
    fn check(
        &self,
        token: String,
        _repo: String,
        need: Need,
        refs: Vec<RefUpdate>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send>> {
        let known = token == "good" || token == "reader";
        let stray = refs.iter().find(|update| !update.name.starts_with("refs/heads/agent/"));
        let verdict = if !known || *self.closed.lock().unwrap() {
            Err(Refusal::bad_credential("this credential is not known"))
        } else if token == "reader" && need == Need::Write {
            Err(Refusal::forbidden("this credential only reads"))
        } else if let Some(update) = stray {
            Err(Refusal::forbidden(&format!("`{}` is out of bounds for agents", update.name)))
        } else {
            Ok(())
        };
        self.asked.lock().unwrap().push(Question { token, need, refs });
        Box::pin(async move { verdict })
    }
}

struct Scene {
    home: TempDir,
    _repositories: TempDir,
    house: Arc<House>,
    host: GitHost,
}

const REPO: &str = "acme/web";

async fn scene() -> Scene {
    let repositories = tempfile::tempdir().unwrap();
    let house = Arc::new(House::default());
    let host = GitHost::start(repositories.path(), Arc::clone(&house) as Arc<dyn Gate>).await;
    host.create_repo(REPO);
    Scene { home: tempfile::tempdir().unwrap(), _repositories: repositories, house, host }
}

impl Scene {
    /// A git that sends this as the password of some user name.
    fn git(&self, password: &str) -> GitClient {
        let url = self.host.url();
        let with = url.replace("http://", &format!("http://x-access-token:{password}@"));
        GitClient::at(self.home.path()).with(&format!("url.{with}.insteadOf"), &url)
    }

    async fn clone_as(&self, password: &str) -> GitClient {
        let git = self.git(password);
        git.run(".", &["clone", &self.host.repo_url(REPO), "work"]).await.succeeded();
        git
    }

    async fn commit(&self, git: &GitClient, file: &str, content: &[u8]) -> String {
        std::fs::write(self.home.path().join("work").join(file), content).unwrap();
        git.run("work", &["add", "."]).await.succeeded();
        git.run("work", &["commit", "-m", "Change"]).await.succeeded();
        git.run("work", &["rev-parse", "HEAD"]).await.succeeded()
    }

    fn asked(&self) -> Vec<Question> {
        self.house.asked.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn a_good_credential_clones_pushes_and_fetches() {
    let scene = scene().await;
    let git = scene.clone_as("good").await;
    assert!(scene.home.path().join("work/README.md").is_file());

    let commit = scene.commit(&git, "new", b"new\n").await;
    git.run("work", &["push", "origin", "HEAD:refs/heads/agent/new"]).await.succeeded();
    assert_eq!(scene.host.tip(REPO, "refs/heads/agent/new"), Some(commit.clone()));

    git.run(".", &["clone", &scene.host.repo_url(REPO), "other"]).await.succeeded();
    git.run("other", &["fetch", "origin", "agent/new"]).await.succeeded();
    let fetched = git.run("other", &["rev-parse", "FETCH_HEAD"]).await.succeeded();
    assert_eq!(fetched, commit);
}

#[tokio::test]
async fn a_bearer_credential_is_as_good_as_a_password() {
    let scene = scene().await;
    let git = GitClient::at(scene.home.path()).with_bearer("good");
    git.run(".", &["clone", &scene.host.repo_url(REPO), "work"]).await.succeeded();
    assert!(scene.asked().iter().all(|question| question.token == "good"));
}

#[tokio::test]
async fn the_gate_is_told_which_refs_a_push_moves_from_where_to_where() {
    let scene = scene().await;
    let git = scene.clone_as("good").await;
    let old = git.run("work", &["rev-parse", "HEAD"]).await.succeeded();
    git.run("work", &["push", "origin", "HEAD:refs/heads/agent/a"]).await.succeeded();
    let new = scene.commit(&git, "new", b"new\n").await;
    let both = ["push", "origin", "HEAD:refs/heads/agent/a", "HEAD:refs/heads/agent/b"];
    git.run("work", &both).await.succeeded();

    let refs = scene.asked().last().unwrap().refs.clone();
    let none = "0".repeat(40);
    let told: Vec<_> = refs.iter().map(|u| (u.name.as_str(), &u.old, &u.new)).collect();
    assert_eq!(told, [("refs/heads/agent/a", &old, &new), ("refs/heads/agent/b", &none, &new)]);
}

#[tokio::test]
async fn a_bad_credential_is_refused_and_nothing_is_a_credential_too() {
    let scene = scene().await;
    let url = scene.host.repo_url(REPO);
    let said = scene.git("stolen").run(".", &["clone", &url, "work"]).await.failed();
    assert!(said.contains("Authentication failed"), "{said}");

    let before = scene.asked().len();
    let said = GitClient::at(scene.home.path()).run(".", &["clone", &url, "work"]).await.failed();
    assert!(said.contains("could not read Username"), "{said}");
    assert_eq!(scene.asked().len(), before, "the gate is asked about credentials only");
}

#[tokio::test]
async fn a_credential_is_judged_at_every_request() {
    let scene = scene().await;
    let git = scene.clone_as("good").await;
    assert_eq!(scene.asked().len(), 3, "refs, listing and pack: {:?}", scene.asked());

    *scene.house.closed.lock().unwrap() = true;
    let said = git.run("work", &["fetch", "origin"]).await.failed();
    assert!(said.contains("Authentication failed"), "{said}");
}

#[tokio::test]
async fn a_credential_that_only_reads_clones_but_does_not_push() {
    let scene = scene().await;
    let git = scene.clone_as("reader").await;
    let said = git.run("work", &["push", "origin", "HEAD:refs/heads/agent/a"]).await.failed();
    assert!(said.contains("remote: this credential only reads"), "{said}");
    assert!(said.contains("403"), "{said}");
    assert_eq!(scene.asked().last().unwrap().need, Need::Write);
}

#[tokio::test]
async fn a_push_to_a_forbidden_ref_is_refused_and_git_shows_why() {
    let scene = scene().await;
    let git = scene.clone_as("good").await;
    let before = scene.host.tip(REPO, "refs/heads/main");
    scene.commit(&git, "new", b"new\n").await;

    let said = git.run("work", &["push", "origin", "HEAD:refs/heads/main"]).await.failed();
    assert!(said.contains("remote: `refs/heads/main` is out of bounds for agents"), "{said}");
    assert!(said.contains("[remote rejected] HEAD -> main"), "{said}");
    assert_eq!(scene.host.tip(REPO, "refs/heads/main"), before);
}

#[tokio::test]
async fn one_forbidden_ref_among_allowed_ones_refuses_the_whole_push() {
    let scene = scene().await;
    let git = scene.clone_as("good").await;
    scene.commit(&git, "new", b"new\n").await;
    let both = ["push", "origin", "HEAD:refs/heads/agent/a", "HEAD:refs/heads/main"];
    git.run("work", &both).await.failed();
    assert_eq!(scene.host.tip(REPO, "refs/heads/agent/a"), None);
}

#[tokio::test]
async fn a_push_of_twenty_megabytes_streams_through() {
    let scene = scene().await;
    let git = scene.clone_as("good").await;
    let mut noise = vec![0; 20 * 1024 * 1024];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut noise).unwrap();
    let commit = scene.commit(&git, "noise", &noise).await;
    git.run("work", &["push", "origin", "HEAD:refs/heads/agent/big"]).await.succeeded();
    assert_eq!(scene.host.tip(REPO, "refs/heads/agent/big"), Some(commit));
}

#[tokio::test]
async fn a_refused_push_of_twenty_megabytes_still_shows_why() {
    let scene = scene().await;
    let git = scene.clone_as("good").await;
    let mut noise = vec![0; 20 * 1024 * 1024];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut noise).unwrap();
    scene.commit(&git, "noise", &noise).await;
    let said = git.run("work", &["push", "origin", "HEAD:refs/heads/main"]).await.failed();
    assert!(said.contains("out of bounds for agents"), "{said}");
}

#[tokio::test]
async fn a_fetch_with_a_packed_request_is_understood() {
    let scene = scene().await;
    let git = scene.clone_as("good").await;
    // Why so many: git packs the request of a fetch once it is longer than a kilobyte.
    let mut push = vec!["push".to_owned(), "origin".to_owned()];
    for number in 0..40 {
        let commit = scene.commit(&git, "new", format!("{number}\n").as_bytes()).await;
        push.push(format!("{commit}:refs/heads/agent/{number}"));
    }
    let push: Vec<&str> = push.iter().map(String::as_str).collect();
    git.run("work", &push).await.succeeded();
    git.run(".", &["clone", &scene.host.repo_url(REPO), "other"]).await.succeeded();
    let fetched = git.run("other", &["rev-parse", "origin/agent/39"]).await.succeeded();
    assert_eq!(Some(fetched), scene.host.tip(REPO, "refs/heads/agent/39"));
}

#[tokio::test]
async fn paths_outside_the_four_requests_of_git_are_not_there() {
    let scene = scene().await;
    jeton_tests::crypto();
    let client = reqwest::Client::new();
    for path in [
        "acme/web.git/config",
        "acme/web.git/HEAD",
        "acme/web.git/info/refs",
        "acme/web.git/info/refs?service=git-upload-archive",
        "acme/nowhere.git/info/refs?service=git-upload-pack",
    ] {
        let url = format!("{}/{path}", scene.host.url());
        let answer = client.get(url).bearer_auth("good").send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 404, "{path}");
    }
}
