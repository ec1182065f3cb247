//! What keeps a broker and its clients closed on the machine that they run on, and over a restart.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jeton_client::DpopKey;
use jeton_proto::v1::{WhoAmIRequest, open_session_request::Binding};
use jeton_tests::{
    broker::{Broker, Caller, opening, program},
    eventually::within,
};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::json;
use tonic::{Code, Request, Status, metadata::MetadataValue};
use tonic_types::StatusExt;

const READ: &str = "git:acme/api contents:read";
const WHO: &str = "http://localhost/jeton.v1.SessionService/WhoAmI";
/// A user that is not the one who tests, if that is root.
const NOBODY: u32 = 65_534;

/// Calls with a proof.
async fn shows(caller: &Caller, proof: &str) -> Result<(), Status> {
    let mut request = Request::new(WhoAmIRequest {});
    request.metadata_mut().insert("dpop", MetadataValue::try_from(proof).unwrap());
    caller.sessions().who_am_i(request).await.map(|_| ())
}

fn reason(refused: Result<(), Status>) -> String {
    let status = refused.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    status.get_error_details().error_info().unwrap().reason.clone()
}

#[tokio::test]
async fn a_dpop_proof_is_not_accepted_again_after_a_restart() {
    let mut broker = Broker::start();
    let key = DpopKey::generate().unwrap();
    let mut request = opening(&[READ]);
    request.binding = Some(Binding::JwkSha256(key.thumbprint()));
    let opened = broker.as_("orchestrator").await.sessions().open_session(request).await.unwrap();
    let handle = opened.into_inner().handle;
    let agent = async |broker: &Broker| {
        let mut agent = broker.as_("agent").await;
        agent.handle = Some(handle.clone());
        agent
    };
    let caught = key.proof("POST", WHO, &handle).unwrap();
    shows(&agent(&broker).await, &caught).await.unwrap();
    assert_eq!(reason(shows(&agent(&broker).await, &caught).await), "DPOP_PROOF_REPLAYED");
    for stops in [false, true] {
        if stops {
            assert_eq!(broker.stop(), Some(0));
        } else {
            broker.kill();
        }
        broker.run();
        let agent = agent(&broker).await;
        assert_eq!(reason(shows(&agent, &caught).await), "DPOP_PROOF_ENDED", "stopped: {stops}");
        let fresh = key.proof("POST", WHO, &handle).unwrap();
        shows(&agent, &fresh).await.unwrap();
    }
}

#[tokio::test]
async fn a_proof_of_a_clock_that_is_ahead_is_not_accepted_again_after_a_restart() {
    let mut broker = Broker::start();
    let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": encode(key.public_key().as_ref())});
    let header = json!({"typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwk});
    let proof = |name: &str, ahead: i64| {
        let iat = jeton_tests::now().as_second() + ahead;
        let claims = json!({"htm": "POST", "htu": WHO, "iat": iat, "jti": name});
        let text = format!(
            "{}.{}",
            encode(header.to_string().as_bytes()),
            encode(claims.to_string().as_bytes())
        );
        let signature = encode(key.sign(text.as_bytes()).as_ref());
        format!("{text}.{signature}")
    };
    let caught = proof("caught", 4);
    shows(&broker.as_("agent").await, &caught).await.unwrap();
    broker.kill();
    broker.run();
    let again = shows(&broker.as_("agent").await, &caught).await;
    assert_eq!(reason(again), "DPOP_PROOF_ENDED");
}

/// Everything in a folder and below it.
fn all(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(all(&path));
        }
        found.push(path);
    }
    found
}

/// A shell that runs a program under the widest umask.
fn under_wide_umask(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "umask 000; exec \"$0\" \"$@\""]).arg(program);
    command
}

#[tokio::test]
async fn what_the_broker_and_its_clients_write_is_for_their_user_alone() {
    let folder = tempfile::tempdir().unwrap();
    let wide = folder.path().join("jetond");
    let own = program("jetond");
    fs::write(&wide, format!("#!/bin/sh\numask 000\nexec '{}' \"$@\"\n", own.display())).unwrap();
    fs::set_permissions(&wide, fs::Permissions::from_mode(0o755)).unwrap();
    let mut broker = Broker::make_of(wide);
    broker.run();
    let (agent, _) = broker.agent_with(&[READ]).await;
    agent.requests(READ).await.unwrap();
    for path in all(broker.data()) {
        // The one is the test's own, to the other those connect whom its mode lets.
        let ours = path.ends_with("log") || path.ends_with("jeton.sock");
        let mode = fs::symlink_metadata(&path).unwrap().mode() & 0o777;
        assert!(ours || mode & 0o077 == 0, "{}: {mode:o}", path.display());
    }

    let (out, secret) = (folder.path().join("log.csv"), folder.path().join("secret"));
    let tls = broker.data().join("tls");
    let jeton = |who: &str, arguments: &[&str]| {
        let output = under_wide_umask(&program("jeton"))
            .envs(broker.envs().iter().cloned())
            .env("JETON_CERT", tls.join(format!("{who}.pem")))
            .env("JETON_KEY", tls.join(format!("{who}.key")))
            .env("JETON_SESSION", agent.handle.as_ref().unwrap())
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    jeton("agent", &["grant", "request", READ, "--secret-file", &text(&secret)]);
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&secret), 0o600);
    let export = under_wide_umask(&program("jeton"))
        .envs(broker.envs().iter().cloned())
        .env("JETON_CERT", tls.join("audrey.pem"))
        .env("JETON_KEY", tls.join("audrey.key"))
        .args(["audit", "export", "--format", "csv", "--out", &text(&out)])
        .output()
        .unwrap();
    assert!(export.status.success(), "{}", String::from_utf8_lossy(&export.stderr));
    assert_eq!(mode(&out), 0o600);
    // A command has the umask that it was started with.
    let seen = jeton("agent", &["exec", "--scope", READ, "--fd", "--", "sh", "-c", "umask"]);
    assert_eq!(seen.trim(), "0000");
}

#[tokio::test]
async fn nothing_is_written_through_a_link() {
    let mut broker = Broker::make();
    let theirs = broker.data().join("theirs");
    fs::write(&theirs, "theirs").unwrap();
    for name in ["env.new", "run/checkpoint.new", "env", "run/checkpoint"] {
        symlink(&theirs, broker.data().join(name)).unwrap();
    }
    // The one may be a copy of another log, which stops the start; it was never written.
    fs::remove_file(broker.data().join("run/checkpoint")).unwrap();
    broker.run();
    let (agent, _) = broker.agent_with(&[READ]).await;
    agent.requests(READ).await.unwrap();
    assert_eq!(broker.stop(), Some(0));
    assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs");
    let copy = fs::symlink_metadata(broker.data().join("run/checkpoint")).unwrap();
    assert!(copy.is_file() && copy.len() > 0);
}

/// The owner of what the kernel shows of a process: of one whose memory is closed, that is root.
fn shown_to(pid: u32) -> u32 {
    fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid()
}

#[tokio::test]
async fn nobody_of_the_same_user_reads_the_memory_of_the_broker_or_of_a_command() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let own = rustix::process::getuid();
    let user = if own.is_root() { NOBODY } else { own.as_raw() };
    let command = |path: &Path| {
        let mut command = Command::new(path);
        if own.is_root() {
            // Why: what root runs is shown to root alone in any case.
            command.uid(user).gid(user);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let copied = |name: &str| {
        let copy = folder.path().join(name);
        fs::copy(program(name), &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        copy
    };
    // The control: what the kernel shows of any other program is the user's.
    let mut other = command(Path::new("cat")).spawn().unwrap();
    assert_eq!(shown_to(other.id()), user);
    other.kill().unwrap();
    other.wait().unwrap();

    let (jetond, jeton) = (copied("jetond"), copied("jeton"));
    let data = folder.path().join("data");
    let made = command(&jetond).args(["dev", "--only-make", "--data"]).arg(&data).status().unwrap();
    assert!(made.success());
    // Each waits for its input.
    let mut seal = command(&jetond);
    seal.args(["seal-key", "git", "--config"]).arg(data.join("jetond.toml"));
    let mut helper = command(&jeton);
    helper.args(["git-credential", "--url", "https://git.example", "--upstream", "git", "get"]);
    for mut waiting in [seal, helper] {
        let mut child = waiting.spawn().unwrap();
        let closed = async || (shown_to(child.id()) == 0).then_some(());
        within(Duration::from_secs(20), "its memory is closed", closed).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
