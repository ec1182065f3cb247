//! Pushes that mean harm by what they rest on: merges with what is old, histories that cost the upstream or the
//! broker too much, and a grant that ends in the middle.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use jeton_proto::v1::WhoAmIRequest;
use jeton_tests::{
    eventually::within,
    gateway::{Agent, Scene},
    git_host::{Arrival, GitClient, GitRun},
};

const WRITE: &str = "git:acme/* contents:write ref=agent/*";
const READ: &str = "git:acme/* contents:read";
const REPO: &str = "acme/api";
const WORKFLOW: &str = ".github/workflows/ci.yml";

/// A scene whose policies allow everything but changes of workflows.
async fn scene() -> Scene {
    let text = r#"
        @id("all") permit (principal, action, resource);
        @id("no-workflows")
        forbid (principal, action == Jeton::Action::"contents:write", resource)
        when { context has file && context.file like ".github/workflows/*" };
    "#;
    Scene::start_with(|data| {
        for name in ["agents.cedar", "limits.cedar", "sessions.cedar"] {
            // Why not removed: what is missing is made again.
            fs::write(data.join("policies").join(name), "// Nothing.\n").unwrap();
        }
        fs::write(data.join("policies/all.cedar"), text).unwrap();
    })
    .await
}

async fn cloned(scene: &Scene) -> Agent {
    let agent = scene.agent(&[READ, WRITE]).await;
    agent.git.run(".", &["clone", "-q", &scene.url(REPO), "work"]).await.succeeded();
    agent
}

async fn push(git: &GitClient, what: &str, to: &str) -> GitRun {
    git.run("work", &["push", "origin", &format!("{what}:refs/heads/agent/{to}")]).await
}

/// A merge of these parents with the files of a commit.
async fn merged(git: &GitClient, files: &str, parents: &[&str]) -> String {
    let tree = git.run("work", &["rev-parse", &format!("{files}^{{tree}}")]).await.succeeded();
    let mut words = vec!["commit-tree", tree.as_str(), "-m", "merge"];
    words.extend(parents.iter().flat_map(|parent| ["-p", *parent]));
    git.run("work", &words).await.succeeded()
}

#[tokio::test]
async fn a_merge_with_an_old_commit_evades_no_rule_about_files() {
    let scene = scene().await;
    // A host that knows no filters sends files as well.
    scene.host.configure(REPO, "uploadpack.allowFilter", "false");
    let host = |content: &[u8]| scene.host.commit(REPO, "refs/heads/main", WORKFLOW, content);
    let none = scene.host.tip(REPO, "refs/heads/main").unwrap();
    let old = host(b"old");
    let main = host(b"of today");
    let agent = cloned(&scene).await;
    let git = &agent.git;
    // One push adds and removes a file that is larger than what the gateway reads of a history.
    let mut large = vec![0; 70 << 20];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut large).unwrap();
    scene.commit(git, "work", "large", &large).await;
    fs::remove_file(scene.home.path().join("work/large")).unwrap();
    let mine = scene.commit(git, "work", "own", b"1").await;
    push(git, "HEAD", "x").await.succeeded();
    for (what, files) in [("brings it back", &old), ("takes it away", &none)] {
        // Files of the old commit, but for the agent's own.
        git.run("work", &["checkout", "-q", "-B", "draft", files]).await.succeeded();
        let draft = scene.commit(git, "work", "own", b"1").await;
        for parents in [[mine.as_str(), files], [files, mine.as_str()]] {
            let merge = merged(git, &draft, &parents).await;
            let said = push(git, &merge, "evil").await.failed();
            assert!(said.contains("no-workflows"), "{what}: {said}");
        }
        // With a commit on top of the old one, neither is behind the other.
        let merge = merged(git, &draft, &[main.as_str(), draft.as_str()]).await;
        let said = push(git, &merge, "evil").await.failed();
        assert!(said.contains("no-workflows"), "{what}, hidden: {said}");
        // Nor if that was pushed before, as a branch that changes no workflow.
        push(git, &draft, what.split(' ').next().unwrap()).await.succeeded();
        let said = push(git, &merge, "evil").await.failed();
        assert!(said.contains("no-workflows"), "{what}, pushed before: {said}");
    }
    assert_eq!(scene.host.tip(REPO, "refs/heads/agent/evil"), None);
    // What people changed meanwhile is merged as ever, where the upstream can leave the files out.
    scene.host.configure(REPO, "uploadpack.allowFilter", "true");
    let newer = host(b"of tomorrow");
    git.run("work", &["fetch", "-q", "origin", "main"]).await.succeeded();
    git.run("work", &["checkout", "-q", "-B", "good", &mine]).await.succeeded();
    git.run("work", &["merge", "-q", "-m", "with main", &newer]).await.succeeded();
    push(git, "HEAD", "good").await.succeeded();
}

#[tokio::test]
async fn what_is_not_known_of_a_merge_denies_it() {
    let scene = scene().await;
    let agent = cloned(&scene).await;
    let git = &agent.git;
    let side = scene.commit(git, "work", "side", b"1").await;
    push(git, "HEAD", "side").await.succeeded();
    let main = scene.host.commit(REPO, "refs/heads/main", "main", b"1");
    git.run("work", &["fetch", "-q", "origin", "main"]).await.succeeded();
    let merge = merged(git, &main, &[&main, &side]).await;
    // The branches are asked for first; how they are related is not answered.
    scene.host.break_reads_after(1);
    let said = push(git, &merge, "merge").await.failed();
    assert!(said.contains("nobody can say how the commits are related"), "{said}");
    assert_eq!(scene.host.tip(REPO, "refs/heads/agent/merge"), None);
    scene.host.break_reads_after(u64::MAX);
    push(git, &merge, "merge").await.succeeded();
}

/// A commit of 40 parents, each a commit of the upstream.
async fn forty_parents(scene: &Scene, git: &GitClient) -> String {
    let mut parents = Vec::new();
    for number in 0..40 {
        let text = number.to_string();
        parents.push(scene.host.commit(REPO, "refs/heads/main", "number", text.as_bytes()));
    }
    git.run("work", &["fetch", "-q", "origin"]).await.succeeded();
    let parents: Vec<_> = parents.iter().map(String::as_str).collect();
    merged(git, "origin/main", &parents).await
}

#[tokio::test]
async fn a_commit_of_forty_parents_causes_few_requests_upstream() {
    let scene = scene().await;
    let agent = cloned(&scene).await;
    let merge = forty_parents(&scene, &agent.git).await;
    let before = scene.host.arrivals().len();
    push(&agent.git, &merge, "merge").await.succeeded();
    let arrivals = scene.host.arrivals().split_off(before);
    println!("requests upstream for 40 parents: {}", arrivals.len());
    assert!(arrivals.len() <= 40 + 8, "{} {arrivals:#?}", arrivals.len());
    assert!(scene.host.tip(REPO, "refs/heads/agent/merge").is_some());
}

#[tokio::test]
async fn after_a_revocation_was_acknowledged_nothing_reaches_the_upstream() {
    let scene = scene().await;
    let agent = cloned(&scene).await;
    let merge = forty_parents(&scene, &agent.git).await;
    scene.host.delay_reads(Duration::from_millis(300));
    let before = scene.host.arrivals().len();
    let pushing = push(&agent.git, &merge, "merge");
    let revoking = async {
        // In the middle: the gateway knows the branches and asks about history.
        let asked = || async {
            let arrivals = scene.host.arrivals();
            let fetched = |one: &Arrival| one.line.ends_with("/git-upload-pack");
            (arrivals[before..].iter().filter(|one| fetched(one)).count() > 1).then_some(())
        };
        within(Duration::from_secs(20), "the gateway asks upstream", asked).await;
        for grant in agent.caller.list_active().await {
            scene.revoke(&grant).await;
        }
        Instant::now()
    };
    let pushing = tokio::time::timeout(Duration::from_secs(20), pushing);
    let (pushed, acknowledged) = tokio::join!(pushing, revoking);
    let late: Vec<_> =
        scene.host.arrivals().into_iter().filter(|one| one.at > acknowledged).collect();
    assert!(late.is_empty(), "{} after the acknowledgement: {late:#?}", late.len());
    pushed.expect("the push ends soon").failed();
    assert_eq!(scene.host.tip(REPO, "refs/heads/agent/merge"), None);
}

#[tokio::test]
async fn each_bound_of_a_push_has_an_error_of_its_own() {
    let scene = scene().await;
    let agent = cloned(&scene).await;
    let git = &agent.git;
    let tree = git.run("work", &["rev-parse", "HEAD^{tree}"]).await.succeeded();
    let mut parents = Vec::new();
    for number in 0..65 {
        let words = ["commit-tree", &tree, "-m", &number.to_string(), "-p", "HEAD"];
        parents.push(git.run("work", &words).await.succeeded());
    }
    let parents: Vec<_> = parents.iter().map(String::as_str).collect();
    let merge = merged(git, "HEAD", &parents).await;
    let said = push(git, &merge, "parents").await.failed();
    assert!(said.contains("a commit with more than 64 parents"), "{said}");
    let fine = merged(git, "HEAD", &parents[..64]).await;
    push(git, &fine, "parents").await.succeeded();
    let many = imported(&scene, 10_001, |_, _| {});
    let said = push(git, &many, "commits").await.failed();
    assert!(said.contains("more than 10000 commits"), "{said}");
    push(git, &format!("{many}~1"), "commits").await.succeeded();
}

/// Makes a line of commits in the agent's folder, on top of nothing. Gives the last.
fn imported(scene: &Scene, count: usize, files: impl Fn(usize, &mut Vec<u8>)) -> String {
    let mut stream = Vec::new();
    for number in 0..count {
        write!(stream, "commit refs/heads/imported\nmark :{}\n", number + 1).unwrap();
        writeln!(stream, "committer A <a@example.org> {} +0000", 1_700_000_000 + number).unwrap();
        write!(stream, "data 1\nx\n").unwrap();
        if number > 0 {
            writeln!(stream, "from :{number}").unwrap();
        }
        files(number, &mut stream);
        stream.push(b'\n');
    }
    let folder = scene.home.path().join("work");
    let mut child = Command::new("git")
        .args(["fast-import", "--quiet", "--force"])
        .current_dir(&folder)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&stream).unwrap();
    assert!(child.wait().unwrap().success());
    let tip = Command::new("git").args(["rev-parse", "imported"]).current_dir(folder).output();
    String::from_utf8(tip.unwrap().stdout).unwrap().trim().to_owned()
}

/// How long `WhoAmI` takes while `until` says so, or for a number of calls: the 99th percentile.
async fn p99(agent: &Agent, goes_on: impl Fn(usize) -> bool) -> Duration {
    let mut took = Vec::new();
    let mut sessions = agent.caller.sessions();
    while goes_on(took.len()) {
        let begun = Instant::now();
        sessions.who_am_i(WhoAmIRequest {}).await.unwrap();
        took.push(begun.elapsed());
    }
    took.sort();
    let place = (took.len() * 99 / 100).min(took.len() - 1);
    println!(
        "{} calls of WhoAmI, p99 {:?}, the slowest {:?}",
        took.len(),
        took[place],
        took[took.len() - 1]
    );
    took[place]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_of_eight_pushes_that_are_costly_to_read_hardly_delays_other_callers() {
    const FILES: usize = 3_000;
    let scene = scene().await;
    let agent = cloned(&scene).await;
    // Two large folders in turns: each commit is small to send and costly to compare.
    let tip = imported(&scene, 30, |number, stream| {
        let all = if number == 0 { FILES } else { 1 };
        for file in 0..all {
            write!(stream, "M 100644 inline f{file}\ndata 1\n{}\n", number % 2).unwrap();
        }
        if number == 29 {
            write!(stream, "M 100644 inline {WORKFLOW}\ndata 1\nx\n").unwrap();
        }
    });
    let pack = Command::new("sh")
        .args(["-c", &format!("echo {tip} | git pack-objects --revs --stdout -q")])
        .current_dir(scene.home.path().join("work"))
        .output()
        .unwrap();
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(scene.agent(&[READ, WRITE]).await);
    }
    let quiet = p99(&agent, |count| count < 500).await;
    let reading = Arc::new(AtomicBool::new(true));
    let mut pushes = tokio::task::JoinSet::new();
    for number in 0..8 {
        let zero = "0".repeat(40);
        let line = format!(
            "{zero} {tip} refs/heads/agent/{number}\0report-status side-band-64k object-format=sha1"
        );
        let front = format!("{:04x}{line}0000", line.len() + 4).into_bytes();
        let call = scene
            .broker
            .http(Some("agent"))
            .post(format!("{}/git-receive-pack", scene.url(REPO)))
            .header("jeton-session", others[number / 2].caller.handle.clone().unwrap())
            .header("content-type", "application/x-git-receive-pack-request")
            .body([front, pack.stdout.clone()].concat());
        pushes.spawn(async move { call.send().await.unwrap().text().await.unwrap() });
    }
    let goes_on = Arc::clone(&reading);
    let finished = async {
        while let Some(said) = pushes.join_next().await {
            let said = said.unwrap();
            assert!(said.contains("no-workflows"), "{said}");
        }
        reading.store(false, Ordering::Release);
    };
    let begun = Instant::now();
    let (loaded, ()) =
        tokio::join!(p99(&agent, |count| count < 10 || goes_on.load(Ordering::Acquire)), finished);
    println!("8 pushes of {} bytes took {:?}", pack.stdout.len(), begun.elapsed());
    let bound = (quiet * 10).max(Duration::from_millis(100));
    assert!(loaded <= bound, "p99 {loaded:?} beside {quiet:?}");
}
