//! A host of large files that others wrote, as a process of its own: it signs the addresses that it gives out.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use tempfile::TempDir;

/// What its tokens are signed with.
const KEY: &str = "a key of the tests that signs addresses of large files";

/// A running host; dropping it ends it.
pub struct LargeFiles {
    child: Child,
    url: String,
    folder: TempDir,
}

impl LargeFiles {
    /// Starts it.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("others/large_files.py");
        let mut child = Command::new(crate::emulate::tools().join("nodeenv/bin/python"))
            .arg(script)
            .arg(folder.path())
            .arg(KEY)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.trim().parse().expect("the host of large files did not start");
        Self { child, url: format!("http://127.0.0.1:{port}"), folder }
    }

    /// Its address, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A token that opens all of a repository there.
    pub fn token(repo: &str) -> String {
        let claims = serde_json::json!({
            "sub": "git-host",
            "exp": crate::now().as_second() + 600,
            "scopes": [format!("obj:{repo}/*:read,write")],
        });
        let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        let text = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes()), text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    /// Where it keeps a file, if it does.
    pub fn kept(&self, repo: &str, id: &str) -> Option<PathBuf> {
        Some(self.folder.path().join(repo).join(id)).filter(|path| path.is_file())
    }
}

impl Drop for LargeFiles {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
