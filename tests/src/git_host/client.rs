//! The real `git` command, kept away from the settings of the person who runs the tests.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

/// A git client with a home of its own and no way to ask anybody for a password.
pub struct GitClient {
    program: String,
    home: PathBuf,
    config: Vec<(String, String)>,
}

/// What one run of git did.
#[derive(Debug)]
pub struct GitRun {
    pub ok: bool,
    pub stdout: String,
    pub stderr: String,
}

impl GitClient {
    /// A client that keeps its home in this folder and works relative to it.
    pub fn at(home: &Path) -> Self {
        let config = [
            ("user.name", "Agent"),
            ("user.email", "agent@example.org"),
            ("init.defaultBranch", "main"),
            ("credential.helper", ""),
        ];
        let config = config.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        Self { program: "git".to_owned(), home: home.to_owned(), config }
    }

    /// Adds a setting, as `git -c key=value` does.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.config.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The same by another program, such as an older git.
    #[must_use]
    pub fn by(self, program: &str) -> Self {
        Self { program: program.to_owned(), ..self }
    }

    /// Sends this token as `Authorization: Bearer` with every request.
    #[must_use]
    pub fn with_bearer(self, token: &str) -> Self {
        self.with("http.extraHeader", &format!("Authorization: Bearer {token}"))
    }

    /// Runs `git` with these words in a folder below the home.
    pub async fn run(&self, folder: &str, words: &[&str]) -> GitRun {
        self.ran(folder, words, false).await
    }

    /// The same, with all that git and its helpers tell of their calls put into the file `trace` of the home.
    pub async fn traced(&self, folder: &str, words: &[&str]) -> GitRun {
        self.ran(folder, words, true).await
    }

    async fn ran(&self, folder: &str, words: &[&str], traced: bool) -> GitRun {
        let mut command = Command::new(&self.program);
        for (key, value) in &self.config {
            command.arg("-c").arg(format!("{key}={value}"));
        }
        if traced {
            let file = self.home.join("trace");
            for name in ["GIT_TRACE", "GIT_TRACE_CURL", "GIT_CURL_VERBOSE"] {
                command.env(name, &file);
            }
        }
        let output = command
            .args(words)
            .current_dir(self.home.join(folder))
            .env("HOME", &self.home)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("LC_ALL", "C")
            .env_remove("GIT_SSL_CAINFO")
            .env_remove("GIT_ASKPASS")
            .env_remove("SSH_ASKPASS")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        GitRun {
            ok: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl GitRun {
    /// Its standard output, trimmed.
    ///
    /// # Panics
    /// When git failed.
    pub fn succeeded(self) -> String {
        assert!(self.ok, "git failed: {}", self.stderr);
        self.stdout.trim().to_owned()
    }

    /// What it said on standard error.
    ///
    /// # Panics
    /// When git did not fail.
    pub fn failed(self) -> String {
        assert!(!self.ok, "git was to fail: {}", self.stdout);
        self.stderr
    }
}
