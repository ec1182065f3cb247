//! `jeton` as an agent runs it, and what can be seen of the processes that it starts.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::broker::{AGENT, Broker, program};

/// What a machine may have set for itself, and `jeton proxy` would take over.
const OF_THE_MACHINE: [&str; 18] = [
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NIX_SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "DENO_CERT",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "NO_PROXY",
    "no_proxy",
];

/// A session of the example's agent, as an orchestrator hands it over.
pub struct Run<'a> {
    broker: &'a Broker,
    home: &'a Path,
    /// The file.
    pub session_file: PathBuf,
    /// The handle in it.
    pub handle: String,
}

impl<'a> Run<'a> {
    /// Opens one. Without a binding it is the agent's certificate.
    pub fn opened(broker: &'a Broker, home: &'a Path, envelope: &[&str], binding: &[&str]) -> Self {
        let session_file = home.join("session.json");
        let tls = broker.data().join("tls");
        let mut command = Command::new(program("jeton"));
        command
            .args(["session", "open", "--agent", AGENT, "--task", "a test", "--out"])
            .arg(&session_file)
            .args(envelope.iter().flat_map(|line| ["--allow", line]))
            .args(binding)
            .envs(broker.envs().iter().cloned())
            .env("JETON_CERT", tls.join("orchestrator.pem"))
            .env("JETON_KEY", tls.join("orchestrator.key"));
        if binding.is_empty() {
            command.arg("--bind-certificate").arg(tls.join("agent.pem"));
        }
        let out = command.output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let text = fs::read_to_string(&session_file).unwrap();
        let handle = text.split("\"handle\":\"").nth(1).unwrap().split('"').next().unwrap();
        Self { broker, home, handle: handle.to_owned(), session_file }
    }

    /// `jeton` as the agent, which knows the session and its own certificate.
    pub fn jeton(&self) -> Command {
        let mut command = Command::new(program("jeton"));
        self.know(&mut command);
        command
    }

    /// Lets another program know the same, such as one that starts `jeton`.
    pub fn know(&self, command: &mut Command) {
        let tls = self.broker.data().join("tls");
        command
            .envs(self.broker.envs().iter().cloned())
            .env("JETON_CERT", tls.join("agent.pem"))
            .env("JETON_KEY", tls.join("agent.key"))
            .env("JETON_SESSION_FILE", &self.session_file)
            .env("HOME", self.home)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .current_dir(self.home);
        for name in OF_THE_MACHINE {
            command.env_remove(name);
        }
    }
}

/// Whether a command ended well, and all that it said.
pub fn said(command: &mut Command) -> (bool, String) {
    let (code, text) = ended(command);
    (code == Some(0), text)
}

/// How a command ended, and all that it said.
pub fn ended(command: &mut Command) -> (Option<i32>, String) {
    let out = command.stdin(Stdio::null()).output().unwrap();
    let text = [out.stdout, out.stderr].concat();
    (out.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// All files below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() && !path.is_symlink() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

/// The processes below one.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut all = Vec::new();
    let own = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    for child in own.split_whitespace().filter_map(|child| child.parse().ok()) {
        all.push(child);
        all.extend(descendants(child));
    }
    all
}

/// What is writable in a process's memory, up to 24 MiB; nothing if it is gone.
pub fn memory_of(pid: u32) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let (Ok(maps), Ok(memory)) = (
        fs::read_to_string(format!("/proc/{pid}/maps")),
        fs::File::open(format!("/proc/{pid}/mem")),
    ) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for line in maps
        .lines()
        .filter(|line| line.split(' ').nth(1).is_some_and(|mode| mode.starts_with("rw")))
    {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let (from, to) =
            (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut part = vec![0; usize::try_from(to - from).unwrap().min(4 << 20)];
        if memory.read_at(&mut part, from).is_ok() && found.len() < 24 << 20 {
            found.extend(part);
        }
    }
    found
}
