//! Real git through the gateway: what may be done is done, what may not is refused in words that git shows.

use std::{fs, time::Duration};

use jeton_domain::audit::Event;
use jeton_proto::v1::open_session_request::Binding;
use jeton_tests::{
    broker::opening,
    gateway::{Agent, Scene},
    git_host::GitClient,
};

const WRITE: &str = "git:acme/* contents:write ref=agent/*";
const READ: &str = "git:acme/* contents:read";
const REPO: &str = "acme/api";

/// What a policy folder needs for agents that may push anything, anywhere, but for what is refused here.
const OPEN: &str = r#"
@id("all") permit (principal, action, resource);
"#;

async fn cloned(scene: &Scene, envelope: &[&str]) -> Agent {
    let agent = scene.agent(envelope).await;
    agent.git.run(".", &["clone", "-q", &scene.url(REPO), "work"]).await.succeeded();
    agent
}

/// A scene whose policies are these and no others.
async fn ruled(rules: &str) -> Scene {
    let text = format!("{OPEN}{rules}");
    Scene::start_with(|data| {
        for name in ["agents.cedar", "limits.cedar", "sessions.cedar"] {
            // Why not removed: what is missing is made again.
            fs::write(data.join("policies").join(name), "// Nothing.\n").unwrap();
        }
        fs::write(data.join("policies/all.cedar"), text).unwrap();
    })
    .await
}

async fn push(git: &GitClient, words: &[&str]) -> jeton_tests::git_host::GitRun {
    git.run("work", &[&["push", "origin"], words].concat()).await
}

#[tokio::test]
async fn an_agent_clones_pushes_to_its_branch_and_is_refused_on_main_in_words() {
    let scene = Scene::start().await;
    let agent = cloned(&scene, &[READ, WRITE]).await;
    let commit = scene.commit(&agent.git, "work", "fix", b"the fix\n").await;
    push(&agent.git, &["HEAD:refs/heads/agent/fix"]).await.succeeded();
    assert_eq!(scene.host.tip(REPO, "refs/heads/agent/fix"), Some(commit.clone()));

    let before = scene.host.tip(REPO, "refs/heads/main");
    let said = push(&agent.git, &["HEAD:refs/heads/main"]).await.failed();
    for words in [
        "remote: jeton: refs/heads/main is outside this session's scope (agent/*)",
        "! [remote rejected] HEAD -> main",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(scene.host.tip(REPO, "refs/heads/main"), before);
    agent.git.run("work", &["fetch", "-q", "origin", "agent/fix"]).await.succeeded();
}

#[tokio::test]
async fn every_way_around_the_refs_of_the_session_is_refused() {
    let scene = ruled("").await;
    let agent = cloned(&scene, &[READ, WRITE]).await;
    let git = &agent.git;
    scene.commit(git, "work", "fix", b"the fix\n").await;
    git.run("work", &["tag", "v1"]).await.succeeded();
    let main = scene.host.tip(REPO, "refs/heads/main").unwrap();
    let evil: &[&[&str]] = &[
        &["HEAD:refs/heads/main"],
        &["+HEAD:refs/heads/main"],
        &["HEAD:main"],
        &["--force", "HEAD:main"],
        &["--delete", "main"],
        &[":refs/heads/main"],
        &["HEAD:refs/heads/agent/../main"],
        &["HEAD:refs/heads/Agent/x"],
        &["HEAD:refs/heads/agent"],
        &["HEAD:refs/heads/agent/a/b"],
        &["HEAD:refs/heads/agent/\u{43c}ain"],
        &["HEAD:refs/tags/agent/x"],
        &["HEAD:refs/heads/refs/heads/agent/x"],
        &["v1"],
        &["--tags"],
        &["HEAD:refs/pull/1/head"],
        &["HEAD:refs/notes/commits"],
        &["HEAD:refs/replace/x"],
        &["--mirror"],
        &["--all"],
        &["--atomic", "HEAD:refs/heads/agent/atomic", "HEAD:refs/heads/main"],
        &["--signed=yes", "HEAD:refs/heads/agent/signed"],
        &["--push-option=ci.skip", "HEAD:refs/heads/agent/option"],
    ];
    for words in evil {
        let said = push(git, words).await.failed();
        assert!(!said.contains("password"), "{words:?}: {said}");
    }
    // Both in one push: what may be is done, and nothing else.
    let said = push(git, &["HEAD:refs/heads/agent/ok", "HEAD:refs/heads/main"]).await.failed();
    assert!(
        said.contains("[new branch]") && said.contains("remote: jeton: refs/heads/main"),
        "{said}"
    );
    assert!(scene.host.tip(REPO, "refs/heads/agent/ok").is_some());
    let all = scene.host.refs(REPO);
    let names: Vec<_> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["refs/heads/agent/ok", "refs/heads/main"]);
    assert_eq!(scene.host.tip(REPO, "refs/heads/main").unwrap(), main);
    // An insteadOf for pushes leads to the host itself: there, nothing is let in without a credential.
    let around = scene.git(agent.caller.handle.as_deref().unwrap());
    let direct = around.with(
        &format!("url.{}.pushInsteadOf", scene.host.url()),
        &scene.url("").replace("/.git", ""),
    );
    assert!(!push(&direct, &["HEAD:refs/heads/agent/direct"]).await.ok);
}

#[tokio::test]
async fn a_session_whose_envelope_names_no_refs_pushes_to_its_own_alone() {
    let scene = ruled("").await;
    let agent = cloned(&scene, &["git:acme/* contents:write"]).await;
    scene.commit(&agent.git, "work", "fix", b"the fix\n").await;
    let own = format!("refs/heads/agent/{}/fix", agent.session.id);
    push(&agent.git, &[&format!("HEAD:{own}")]).await.succeeded();
    assert!(scene.host.tip(REPO, &own).is_some());
    for name in ["main", "agent/fix", "agent/se_0000000001000000000000000/fix"] {
        let said = push(&agent.git, &[&format!("HEAD:refs/heads/{name}")]).await.failed();
        assert!(said.contains(&format!("agent/{}/**", agent.session.id)), "{said}");
    }
}

#[tokio::test]
async fn policies_tell_a_fast_forward_from_a_force_and_a_delete() {
    let scene = ruled(
        r#"
        @id("no-force") @reason("history stays: push a revert instead")
        forbid (principal, action == Jeton::Action::"contents:write", resource)
        when { context has change && (context.change == "force" || context.change == "delete") };
        "#,
    )
    .await;
    let agent = cloned(&scene, &[READ, WRITE]).await;
    let git = &agent.git;
    let base = git.run("work", &["rev-parse", "HEAD"]).await.succeeded();
    scene.commit(git, "work", "a", b"1").await;
    push(git, &["HEAD:refs/heads/agent/x"]).await.succeeded();
    let two = scene.commit(git, "work", "a", b"2").await;
    push(git, &["HEAD:refs/heads/agent/x"]).await.succeeded();
    // From another branch that the host alone has in between: a merge of both goes on from each.
    git.run("work", &["checkout", "-q", "-b", "other", &base]).await.succeeded();
    scene.commit(git, "work", "b", b"1").await;
    let said = push(git, &["+HEAD:refs/heads/agent/x"]).await.failed();
    assert!(said.contains("no-force") && said.contains("push a revert instead"), "{said}");
    let said = push(git, &["+HEAD~1:refs/heads/agent/x"]).await.failed();
    assert!(said.contains("forcing refs/heads/agent/x"), "{said}");
    let said = push(git, &["--delete", "agent/x"]).await.failed();
    assert!(said.contains("deleting refs/heads/agent/x"), "{said}");
    assert_eq!(scene.host.tip(REPO, "refs/heads/agent/x"), Some(two.clone()));
    git.run("work", &["merge", "-q", "-m", "both", &two]).await.succeeded();
    push(git, &["HEAD:refs/heads/agent/x"]).await.succeeded();
    // A tip that the host has already: whether it goes on, the host's own history has to say.
    push(git, &["HEAD:refs/heads/agent/y"]).await.succeeded();
    git.run("work", &["fetch", "-q", "origin"]).await.succeeded();
    push(git, &["--force", &format!("{two}:refs/heads/agent/z")]).await.succeeded();
    push(git, &["origin/agent/y:refs/heads/agent/z"]).await.succeeded();
    let said = push(git, &["--force", &format!("{two}:refs/heads/agent/z")]).await.failed();
    assert!(said.contains("forcing"), "{said}");
}

#[tokio::test]
async fn policies_rule_files_and_commits_that_a_push_brings() {
    let scene = ruled(
        r#"
        @id("no-workflows") @reason("workflows are changed by people")
        forbid (principal, action == Jeton::Action::"contents:write", resource)
        when { context has file && context.file like ".github/workflows/*" };
        @id("small-files")
        forbid (principal, action == Jeton::Action::"contents:write", resource)
        when { context has bytes && context.bytes > 100000 };
        @id("our-authors")
        forbid (principal, action == Jeton::Action::"contents:write", resource)
        when { context has author && !(context.author like "*@example.org") };
        "#,
    )
    .await;
    let agent = cloned(&scene, &[READ, WRITE]).await;
    let git = &agent.git;
    let base = git.run("work", &["rev-parse", "HEAD"]).await.succeeded();
    scene.commit(git, "work", "src/a", b"1").await;
    scene.commit(git, "work", ".github/CODEOWNERS", b"*").await;
    push(git, &["HEAD:refs/heads/agent/ok"]).await.succeeded();
    scene.commit(git, "work", "src/a", b"2").await;
    push(git, &["HEAD:refs/heads/agent/ok"]).await.succeeded();
    let large = vec![b'x'; 100_001];
    for (file, content, rule) in [
        (".github/workflows/ci.yml", b"on: push".as_slice(), "no-workflows"),
        (".GitHub/WorkFlows/ci.yml", b"on: push", "no-workflows"),
        ("large", &large, "small-files"),
    ] {
        git.run("work", &["checkout", "-q", "-B", "bad", &base]).await.succeeded();
        scene.commit(git, "work", file, content).await;
        // Taken away again: the commit between brings it all the same.
        fs::remove_file(scene.home.path().join("work").join(file)).unwrap();
        scene.commit(git, "work", "other", b"1").await;
        let said = push(git, &["HEAD:refs/heads/agent/bad"]).await.failed();
        assert!(said.contains(rule), "{file}: {said}");
    }
    git.run("work", &["checkout", "-q", "-B", "bad", &base]).await.succeeded();
    let words = ["commit", "-q", "--allow-empty", "-m", "x", "--author", "E <eve@evil.org>"];
    git.run("work", &words).await.succeeded();
    let said = push(git, &["HEAD:refs/heads/agent/bad"]).await.failed();
    assert!(said.contains("our-authors") && said.contains("eve@evil.org"), "{said}");
    assert_eq!(scene.host.tip(REPO, "refs/heads/agent/bad"), None);
    // What the host's branches have is nobody's doing any more: merged in, it passes.
    let people = scene.host.commit(REPO, "refs/heads/main", ".github/workflows/ci.yml", b"theirs");
    git.run("work", &["fetch", "-q", "origin", "main"]).await.succeeded();
    git.run("work", &["checkout", "-q", "-B", "good", &base]).await.succeeded();
    scene.commit(git, "work", "src/b", b"1").await;
    git.run("work", &["merge", "-q", "-m", "with main", &people]).await.succeeded();
    push(git, &["HEAD:refs/heads/agent/merged"]).await.succeeded();
}

#[tokio::test]
async fn clones_of_every_kind_pass_in_every_version_of_the_protocol_and_with_an_older_git() {
    let scene = Scene::start().await;
    let agent = scene.agent(&[READ, WRITE]).await;
    let url = scene.url(REPO);
    for version in ["0", "1", "2"] {
        let name = format!("v{version}");
        let protocol = format!("protocol.version={version}");
        agent.git.run(".", &["-c", &protocol, "clone", "-q", &url, &name]).await.succeeded();
        let name = format!("s{version}");
        let words = ["-c", &protocol, "clone", "-q", "--depth", "1", &url, &name];
        agent.git.run(".", &words).await.succeeded();
        scene.commit(&agent.git, &name, "x", version.as_bytes()).await;
        let to = format!("HEAD:refs/heads/agent/v{version}");
        agent.git.run(&name, &["-c", &protocol, "push", "-q", "origin", &to]).await.succeeded();
    }
    let words = ["clone", "-q", "--filter=blob:none", &url, "partial"];
    agent.git.run(".", &words).await.succeeded();
    agent.git.run("partial", &["fetch", "-q", "origin"]).await.succeeded();
    let old = scene.git(agent.caller.handle.as_deref().unwrap()).by("/usr/bin/git");
    old.run(".", &["clone", "-q", &url, "old"]).await.succeeded();
    scene.commit(&old, "old", "y", b"1").await;
    old.run("old", &["push", "-q", "origin", "HEAD:refs/heads/agent/old"]).await.succeeded();
    let said = old.run("old", &["push", "origin", "HEAD:refs/heads/main"]).await.failed();
    assert!(said.contains("remote: jeton: refs/heads/main is outside"), "{said}");
}

#[tokio::test]
async fn the_log_tells_what_was_pushed_read_and_refused_and_no_credential_reaches_the_agent() {
    let scene = Scene::start().await;
    let agent = cloned(&scene, &[READ, WRITE]).await;
    scene.commit(&agent.git, "work", "fix", b"the fix\n").await;
    let packets =
        agent.git.run("work", &["push", "-v", "origin", "HEAD:refs/heads/agent/fix"]).await;
    assert!(packets.ok && !packets.stderr.contains("eyJ"), "{}", packets.stderr);
    push(&agent.git, &["HEAD:refs/heads/main"]).await.failed();
    let events = scene.events_until(|event| matches!(event, Event::Denied { .. })).await;
    let pushed = events.iter().find_map(|event| match event {
        Event::Pushed { of, refs, objects, bytes } => Some((of, refs, *objects, *bytes)),
        _ => None,
    });
    let (of, refs, objects, bytes) = pushed.unwrap();
    assert_eq!(refs.len(), 1);
    assert_eq!((refs[0].name.as_str(), refs[0].change.word()), ("refs/heads/agent/fix", "create"));
    assert!(objects == 3 && bytes > 100, "{objects} {bytes}");
    assert_eq!(of.session.to_string(), agent.session.id);
    let used = |path: &str| {
        events.iter().any(|event| match event {
            Event::Used { request, status: 200, received, cut: None, .. } => {
                request.as_str().contains(path) && *received > 0
            }
            _ => false,
        })
    };
    assert!(used("POST git-upload-pack") && used("POST git-receive-pack"));
    assert!(events.iter().any(|event| match event {
        Event::Denied { scope, delivery, .. } => {
            scope.git_ref.as_ref().is_some_and(|name| name.as_str() == "main")
                && !delivery.is_direct()
        }
        _ => false,
    }));
    // The agent's own way to the credential of such a grant is closed.
    let grants = agent.caller.list_active().await;
    assert!(!grants.is_empty());
    for grant in grants {
        let claimed = agent.caller.claim(&grant).await.unwrap();
        assert!(claimed.credential.is_none());
        let renewed = agent.caller.renew(&grant).await.unwrap();
        assert!(renewed.credential.is_none());
    }
}

#[tokio::test]
async fn a_transfer_is_cut_within_a_second_of_the_revocation() {
    let scene = Scene::start().await;
    let agent = scene.agent(&[READ]).await;
    scene.host.fill(REPO, 64 * 1024 * 1024);
    // Slowly, so that it is still under way when the grant is taken back.
    let (reading, fast) = scene.slow_clone(&agent, REPO);
    let grant = scene.first_grant(&agent).await;
    scene.revoke(&grant).await;
    let cut = scene.events_until(|event| matches!(event, Event::Used { cut: Some(_), .. }));
    tokio::time::timeout(Duration::from_secs(2), cut).await.unwrap();
    fast.store(true, std::sync::atomic::Ordering::Relaxed);
    let ended = reading.await.unwrap();
    assert!(!ended.whole && ended.bytes < 64 * 1024 * 1024, "{ended:?}");
    let events =
        scene.events_until(|event| matches!(event, Event::Used { cut: Some(_), .. })).await;
    assert!(events.iter().any(|event| match event {
        Event::Used { cut: Some(why), .. } => why.as_str() == "the grant ended",
        _ => false,
    }));
}

#[tokio::test]
async fn what_waits_for_a_person_says_so_and_passes_once_it_is_approved() {
    let scene = Scene::start().await;
    scene.host.create_repo("acme/payments");
    let agent = scene.agent(&[READ, WRITE]).await;
    let url = scene.url("acme/payments");
    agent.git.run(".", &["clone", "-q", &url, "work"]).await.succeeded();
    scene.commit(&agent.git, "work", "fix", b"the fix\n").await;
    let said = push(&agent.git, &["HEAD:refs/heads/agent/fix"]).await.failed();
    assert!(said.contains("waits for the approval of security"), "{said}");
    let again = push(&agent.git, &["HEAD:refs/heads/agent/fix"]).await.failed();
    let waiting =
        |said: &str| said[said.find("gr_").unwrap()..].split([' ', ':']).next().unwrap().to_owned();
    assert_eq!(waiting(&said), waiting(&again), "asked once");
    scene.approve(&waiting(&said)).await;
    push(&agent.git, &["HEAD:refs/heads/agent/fix"]).await.succeeded();
    assert!(scene.host.tip("acme/payments", "refs/heads/agent/fix").is_some());
    // The yes was for that grant: it holds for what is done under it.
    scene.commit(&agent.git, "work", "fix", b"more\n").await;
    push(&agent.git, &["HEAD:refs/heads/agent/fix"]).await.succeeded();
}

#[tokio::test]
async fn whoever_shows_no_good_handle_gets_nothing() {
    let scene = Scene::start().await;
    let agent = scene.agent(&[READ]).await;
    let handle = agent.caller.handle.clone().unwrap();
    let (url, shown) = (scene.url(REPO), format!("jeton-session: {handle}"));
    for (git, words) in [
        (scene.git("jeton_s_x"), "401"),
        (scene.git(&format!("{handle}x")), "401"),
        (scene.git_without_certificate().with("http.extraHeader", &shown), "401"),
    ] {
        let said = git.run(".", &["clone", "-q", &url, "no"]).await.failed();
        assert!(said.contains(words) || said.contains("could not read Username"), "{said}");
    }
    // As a password, which is how git's credential helpers hand it over.
    let with = url.replace("https://", &format!("https://session:{handle}@"));
    let git = scene.git_without_handle();
    git.run(".", &["clone", "-q", &with, "by-password"]).await.succeeded();
    let said = agent.git.run(".", &["clone", "-q", &scene.url("other/api"), "no"]).await.failed();
    assert!(said.contains("remote: jeton: `git:other/api contents:read` lies outside"), "{said}");
    let said = agent.git.run(".", &["clone", "-q", &scene.url("acme/none"), "no"]).await.failed();
    assert!(said.contains("remote: jeton: `git` has no repository `acme/none`"), "{said}");
}

/// Writes an object just as it is. Gives its name.
async fn written(scene: &Scene, git: &GitClient, kind: &str, content: &[u8]) -> String {
    fs::write(scene.home.path().join("work/object"), content).unwrap();
    let words = ["hash-object", "-w", "--literally", "-t", kind, "object"];
    let id = git.run("work", &words).await.succeeded();
    fs::remove_file(scene.home.path().join("work/object")).unwrap();
    id
}

fn bytes_of(id: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&id[at..at + 2], 16).unwrap();
    (0..40).step_by(2).map(digits).collect()
}

#[tokio::test]
async fn objects_that_git_would_read_otherwise_do_not_pass() {
    let scene = ruled(
        r#"
        @id("no-workflows")
        forbid (principal, action == Jeton::Action::"contents:write", resource)
        when { context has file && context.file like ".github/workflows/*" };
        @id("our-authors")
        forbid (principal, action == Jeton::Action::"contents:write", resource)
        when { context has author && !(context.author like "*@example.org") };
        @id("no-force")
        forbid (principal, action == Jeton::Action::"contents:write", resource)
        when { context has change && context.change == "force" };
        "#,
    )
    .await;
    let agent = cloned(&scene, &[READ, WRITE]).await;
    let git = &agent.git;
    let base = git.run("work", &["rev-parse", "HEAD"]).await.succeeded();
    scene.commit(git, "work", "a", b"1").await;
    push(git, &["HEAD:refs/heads/agent/x"]).await.succeeded();
    let tip = git.run("work", &["rev-parse", "HEAD"]).await.succeeded();
    let who = "A <a@example.org> 1700000000 +0000";

    // A folder by another number: git follows it.
    scene.commit(git, "work", ".github/workflows/ci.yml", b"evil").await;
    let folder = git.run("work", &["rev-parse", "HEAD:.github"]).await.succeeded();
    git.run("work", &["reset", "-q", "--hard", &tip]).await.succeeded();
    let tree = [b"40755 .github\0".as_slice(), &bytes_of(&folder)].concat();
    let tree = written(&scene, git, "tree", &tree).await;
    let commit = format!("tree {tree}\nparent {tip}\nauthor {who}\ncommitter {who}\n\nx\n");
    let odd_folder = written(&scene, git, "commit", commit.as_bytes()).await;
    // A parent that git does not see.
    let tree = git.run("work", &["rev-parse", "HEAD^{tree}"]).await.succeeded();
    let commit = format!("tree {tree}\nx y\nparent {tip}\nauthor {who}\ncommitter {who}\n\nx\n");
    let no_parent = written(&scene, git, "commit", commit.as_bytes()).await;
    // An author of whom git shows the first address.
    let two = "C <ceo@evil.org> <a@example.org> 1700000000 +0000";
    let commit = format!("tree {tree}\nparent {tip}\nauthor {two}\ncommitter {who}\n\nx\n");
    let two_authors = written(&scene, git, "commit", commit.as_bytes()).await;
    for (what, id) in
        [("a folder", odd_folder), ("a parent", no_parent), ("an author", two_authors)]
    {
        let said = push(git, &["--force", &format!("{id}:refs/heads/agent/x")]).await.failed();
        assert!(said.contains("can't be read") || said.contains("no-force"), "{what}: {said}");
    }
    // A merge with what was there long ago takes the people's file away.
    let people = scene.host.commit(REPO, "refs/heads/main", ".github/workflows/ci.yml", b"theirs");
    git.run("work", &["fetch", "-q", "origin", "main"]).await.succeeded();
    let old = git.run("work", &["rev-parse", &format!("{base}^{{tree}}")]).await.succeeded();
    let words = ["commit-tree", &old, "-p", &people, "-p", &base, "-m", "merge"];
    let merge = git.run("work", &words).await.succeeded();
    let said = push(git, &[&format!("{merge}:refs/heads/agent/merge")]).await.failed();
    assert!(said.contains("no-workflows"), "{said}");
    // What one ref may not bring comes by no other of the same push.
    git.run("work", &["checkout", "-q", "-B", "bad", &tip]).await.succeeded();
    scene.commit(git, "work", ".github/workflows/ci.yml", b"evil").await;
    let good = format!("{tip}:refs/heads/agent/good");
    let refs = [good.as_str(), "HEAD:refs/heads/agent/bad"];
    let said = push(git, &refs).await.failed();
    assert!(said.contains("push the rest alone"), "{said}");
    assert_eq!(scene.host.tip(REPO, "refs/heads/agent/x"), Some(tip));
    for name in ["agent/merge", "agent/good", "agent/bad"] {
        assert_eq!(scene.host.tip(REPO, &format!("refs/heads/{name}")), None, "{name}");
    }
}

#[tokio::test]
async fn a_session_below_pushes_no_further_than_the_one_above_it_could() {
    let scene = ruled("").await;
    let agent = cloned(&scene, &["git:acme/* contents:write"]).await;
    scene.commit(&agent.git, "work", "fix", b"1").await;
    let mut request = opening(&["git:acme/* contents:write ref=**"]);
    request.parent = agent.session.id.clone();
    request.ttl_seconds = 600;
    request.binding = Some(Binding::CertificateSha256(scene.broker.thumbprint("agent")));
    let below = agent.caller.sessions().open_session(request).await.unwrap().into_inner();
    let git = scene.git(&below.handle);
    let id = below.session.unwrap().id;
    for name in ["main".to_owned(), "agent/fix".to_owned(), format!("agent/{id}x/fix")] {
        let said = push(&git, &[&format!("HEAD:refs/heads/{name}")]).await.failed();
        assert!(said.contains("passed on") || said.contains("outside"), "{name}: {said}");
    }
    for name in [format!("agent/{id}/fix"), format!("agent/{}/fix", agent.session.id)] {
        push(&git, &[&format!("HEAD:refs/heads/{name}")]).await.succeeded();
    }
}

#[tokio::test]
async fn what_stands_behind_a_whole_pack_makes_no_push_of_it_before_it_is_decided() {
    let scene = ruled(
        r#"@id("no-force") forbid (principal, action, resource) when { context has change && context.change == "force" };"#,
    )
    .await;
    let agent = cloned(&scene, &[READ, WRITE]).await;
    let git = &agent.git;
    let old = scene.commit(git, "work", "one", b"one\n").await;
    push(git, &["HEAD:refs/heads/agent/x"]).await.succeeded();
    // Beside it, not behind it: moving the ref there is forced.
    git.run("work", &["reset", "-q", "--hard", "origin/main"]).await.succeeded();
    let new = scene.commit(git, "work", "two", &[7; 20_000]).await;
    let script =
        format!("printf '%s\\n^%s\\n' {new} origin/main | git pack-objects --revs --stdout -q");
    let pack = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(scene.home.path().join("work"))
        .output()
        .unwrap();
    assert!(pack.status.success() && pack.stdout.starts_with(b"PACK"));
    let line =
        format!("{old} {new} refs/heads/agent/x\0report-status side-band-64k object-format=sha1");
    let front = format!("{:04x}{line}0000", line.len() + 4).into_bytes();
    for (behind, wait) in
        [(vec![], 0), (vec![b'x'; 200_000], 0), (vec![b'x'; 200_000], 1500), (vec![], 1500)]
    {
        // In pieces, and slowly: so that what reads it is done with each before the next comes.
        let pieces = [front.clone(), pack.stdout.clone(), behind];
        let (sender, receiver) = tokio::sync::mpsc::channel::<std::io::Result<Vec<u8>>>(1);
        let sending = tokio::spawn(async move {
            for piece in pieces {
                for part in piece.chunks(10_000) {
                    if sender.send(Ok(part.to_vec())).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                tokio::time::sleep(Duration::from_millis(wait)).await;
            }
        });
        let body = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let call = scene
            .broker
            .http(Some("agent"))
            .post(format!("{}/git-receive-pack", scene.url(REPO)))
            .header("jeton-session", agent.caller.handle.clone().unwrap())
            .header("content-type", "application/x-git-receive-pack-request")
            .body(reqwest::Body::wrap_stream(body));
        // Why not looked at: what is told is not what is shown here.
        let _ = call.send().await;
        let _ = sending.await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(scene.host.tip(REPO, "refs/heads/agent/x").as_ref(), Some(&old), "{wait}");
    }
}

#[tokio::test]
async fn a_push_from_a_shallow_clone_passes_and_cuts_no_history_upstream() {
    let scene = Scene::start().await;
    scene.host.commit(REPO, "refs/heads/main", "second", b"two\n");
    // Why: an upstream that would take a cut history.
    scene.host.configure(REPO, "receive.shallowUpdate", "true");
    let agent = scene.agent(&[READ, WRITE]).await;
    let git = &agent.git;
    git.run(".", &["clone", "-q", "--depth", "1", &scene.url(REPO), "work"]).await.succeeded();
    let commit = scene.commit(git, "work", "fix", b"the fix\n").await;
    push(git, &["HEAD:refs/heads/agent/fix"]).await.succeeded();
    assert_eq!(scene.host.tip(REPO, "refs/heads/agent/fix"), Some(commit));

    scene.commit(git, "work", "hidden", b"nobody gets this\n").await;
    let cut = scene.commit(git, "work", "shown", b"only this\n").await;
    let file = scene.home.path().join("work/.git/shallow");
    let roots = fs::read_to_string(&file).unwrap();
    fs::write(file, format!("{roots}{cut}\n")).unwrap();
    let said = push(git, &["HEAD:refs/heads/agent/cut"]).await.failed();
    assert!(said.contains("rejected"), "{said}");
    assert_eq!(scene.host.tip(REPO, "refs/heads/agent/cut"), None, "{said}");
    assert!(!scene.host.is_shallow(REPO), "the repository's history is whole");
}

#[tokio::test]
async fn a_name_that_a_checkout_takes_for_another_evades_no_rule_about_files() {
    let scene = ruled(
        r#"
        @id("workflows") @reason("workflows are for people")
        forbid (principal, action, resource)
        when { context has file && context.file like ".github/workflows/*" };
        "#,
    )
    .await;
    let agent = cloned(&scene, &[READ, WRITE]).await;
    let git = &agent.git;
    for (place, file) in [
        ".github/workflows/x.yml",
        ".GitHub/WORKFLOWS/x.yml",
        ".github/workflow\u{17f}/x.yml",
        ".github\u{a0}/workflows/x.yml",
        ".github./workflows /x.yml",
        ".github::$INDEX_ALLOCATION/workflows/x.yml",
        ".github/workflows/x.yml::$DATA",
        ".git\u{200c}hub/workflows/x.yml",
        ".github/\u{ff37}orkflows/x.yml",
        "GITHUB~1/workflows/x.yml",
        ".github/WORKFL~1/x.yml",
    ]
    .into_iter()
    .enumerate()
    {
        git.run("work", &["checkout", "-q", "-B", "try", "origin/main"]).await.succeeded();
        scene.commit(git, "work", file, b"on: push\n").await;
        let branch = format!("refs/heads/agent/{place}");
        let said = push(git, &[&format!("HEAD:{branch}")]).await.failed();
        let words = ["workflows are for people", "would take for git's own or for another"];
        assert!(words.iter().any(|words| said.contains(words)), "{file}: {said}");
        assert_eq!(scene.host.tip(REPO, &branch), None, "{file}");
    }
    git.run("work", &["checkout", "-q", "-B", "try", "origin/main"]).await.succeeded();
    for file in ["docs/\u{65e5}\u{672c}\u{8a9e}.md", "src/Caf\u{e9}.rs", "a~b/file.c.~1~", "x:y"] {
        scene.commit(git, "work", file, b"plain\n").await;
    }
    push(git, &["HEAD:refs/heads/agent/plain"]).await.succeeded();
}
