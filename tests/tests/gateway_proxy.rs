//! `jeton proxy` and `jeton git setup --through-gateway`: git works, and the credential is nowhere near it.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use jeton_tests::{
    canary::Canaries,
    gateway::Scene,
    run::{Run, descendants, files, memory_of, said},
};

const ENVELOPE: [&str; 2] = ["git:acme/* contents:read", "git:acme/* contents:write ref=agent/*"];
/// What the agent calls the host.
const FORGE: &str = "https://forge.example.org";

fn opened<'a>(scene: &'a Scene, binding: &[&str]) -> Run<'a> {
    Run::opened(&scene.broker, scene.home.path(), &ENVELOPE, binding)
}

const WORK: &str = r#"
set -e
git config --global user.name A; git config --global user.email a@example.org
git clone -q https://forge.example.org/acme/api.git work
cd work; echo fix > fix; git add fix; git commit -q -m fix
GIT_TRACE_CURL=$HOME/trace GIT_TRACE_REDACT=0 GIT_TRACE_PACKET=$HOME/packets git push -q origin HEAD:refs/heads/agent/fix
env > $HOME/environment
if git push origin HEAD:refs/heads/main; then exit 3; fi
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_command_under_the_proxy_needs_no_secret_and_finds_none() {
    let scene = Scene::start().await;
    let agent = opened(&scene, &[]);
    let mut command = agent.jeton();
    command.args(["proxy", "--git", &format!("git={FORGE}"), "--", "sh", "-c", WORK]);
    let (ok, text) = said(&mut command);
    assert!(ok, "{text}");
    assert!(
        text.contains("remote: jeton: refs/heads/main is outside this session's scope (agent/*)"),
        "{text}"
    );
    assert!(scene.host.tip("acme/api", "refs/heads/agent/fix").is_some());

    let mut canaries = Canaries::default();
    let tokens = scene.gate.tokens();
    assert!(tokens.len() >= 2, "one to read, one to write");
    for token in &tokens {
        canaries.add("credential", token);
    }
    canaries.add("handle", &agent.handle);
    fs::remove_file(&agent.session_file).unwrap();
    let mut looked = 0;
    for file in files(scene.home.path()) {
        let found = fs::read(&file).unwrap();
        assert_eq!(canaries.found_in(&found), Vec::<&str>::new(), "{}", file.display());
        looked += 1;
    }
    assert!(looked > 30, "{looked}");
    for name in ["trace", "packets", "environment"] {
        assert!(fs::read(scene.home.path().join(name)).unwrap().len() > 100, "{name}");
    }
    assert_eq!(canaries.found_in(text.as_bytes()), Vec::<&str>::new());
    // The same search finds one that is there.
    let planted = format!("x {} y", tokens.iter().next().unwrap());
    assert!(!canaries.found_in(planted.as_bytes()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_of_git_holds_no_credential_while_it_clones() {
    let scene = Scene::start().await;
    scene.host.fill("acme/api", 48 * 1024 * 1024);
    let agent = opened(&scene, &[]);
    let words =
        "git -c transfer.fsckObjects=false clone -q https://forge.example.org/acme/api.git work";
    let mut command = agent.jeton();
    command.args(["proxy", "--git", &format!("git={FORGE}"), "--", "sh", "-c", words]);
    let mut child = command.stdin(Stdio::null()).spawn().unwrap();
    let mut seen = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        // Those below the helper: it knows the session, they know nothing.
        for pid in descendants(child.id()) {
            let memory = memory_of(pid);
            if !memory.is_empty() && seen.len() < 24 {
                seen.push(memory);
            }
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    assert!(child.wait().unwrap().success());
    let mut canaries = Canaries::default();
    scene.gate.tokens().iter().for_each(|token| canaries.add("credential", token));
    canaries.add("handle", &agent.handle);
    assert!(seen.len() > 4, "{}", seen.len());
    for memory in &seen {
        assert_eq!(canaries.found_in(memory), Vec::<&str>::new());
    }
    let token = scene.gate.tokens().into_iter().next().unwrap();
    let mut holder = holding(&token);
    assert!(!canaries.found_in(&memory_of(holder.id())).is_empty(), "the control was not found");
    holder.kill().unwrap();
    holder.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn git_is_set_up_to_go_through_the_gateway_with_the_handle_as_its_password() {
    let scene = Scene::start().await;
    let agent = opened(&scene, &[]);
    let gateway = scene.broker.env("JETON_GATEWAY").to_owned();
    let mut setup = agent.jeton();
    setup.args(["git", "setup", "--global", "--url", FORGE, "--upstream", "git"]);
    let (ok, text) = said(setup.args(["--through-gateway", &gateway]));
    assert!(ok && text.contains(&format!("git reaches {FORGE} through {gateway}")), "{text}");
    let mut git = agent.jeton();
    git.args([
        "exec",
        "--scope",
        "git:acme/api contents:read",
        "--keep-session",
        "--",
        "sh",
        "-c",
        WORK,
    ]);
    let (ok, text) = said(&mut git);
    assert!(ok, "{text}");
    assert!(text.contains("remote: jeton: refs/heads/main is outside"), "{text}");
    assert!(scene.host.tip("acme/api", "refs/heads/agent/fix").is_some());
    let config = fs::read_to_string(scene.home.path().join(".gitconfig")).unwrap();
    assert!(!config.contains(&agent.handle) && config.contains("git-handle"), "{config}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_bound_to_a_key_works_through_the_proxy_and_its_proofs_are_its_own() {
    let scene = Scene::start().await;
    let agent = opened(&scene, &["--bind-new-key"]);
    let mut command = agent.jeton();
    command.args(["proxy", "--git", &format!("git={FORGE}"), "--", "sh", "-c", WORK]);
    let (ok, text) = said(&mut command);
    assert!(ok, "{text}");
    let mut helper = agent.jeton();
    let gateway = scene.broker.env("JETON_GATEWAY").to_owned();
    helper.args(["git-handle", "--url", &gateway, "get"]).stdin(Stdio::piped());
    let mut child = helper.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let host = gateway.trim_start_matches("https://");
    let question = format!("protocol=https\nhost={host}\n\n");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), question.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout), "quit=1\n");
    assert!(String::from_utf8_lossy(&out.stderr).contains("jeton proxy -- git"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_helper_answers_nobody_else() {
    let scene = Scene::start().await;
    let agent = opened(&scene, &[]);
    let script = r#"
        curl -s -o /dev/null -w '%{http_code} ' -H 'Host: evil.example.org' $JETON_PROXY/git/git/acme/api.git/info/refs?service=git-upload-pack
        curl -s -o /dev/null -w '%{http_code} ' $JETON_PROXY/git/git/acme/api.git/info/refs?service=git-upload-pack
        curl -s -o /dev/null -w '%{http_code} ' -H 'jeton-session: jeton_s_x' $JETON_PROXY/git/git/acme/api.git/info/refs?service=git-upload-pack
        curl -s -o /dev/null -w '%{http_code} ' --path-as-is $JETON_PROXY//evil.example.org/x
        setpriv --reuid 65534 --clear-groups curl -s -o /dev/null -w '%{http_code}' $JETON_PROXY/git/git/acme/api.git/info/refs?service=git-upload-pack
    "#;
    let mut command = agent.jeton();
    let (ok, text) = said(command.args(["proxy", "--", "sh", "-c", script]));
    assert!(ok, "{text}");
    assert_eq!(text, "421 200 200 400 403");
}

fn holding(token: &str) -> Child {
    Command::new("sleep").arg("60").env("CANARY", token).spawn().unwrap()
}
