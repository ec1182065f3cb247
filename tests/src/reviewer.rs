//! A reviewer as a process of Node, which does with each question what it is told to.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
    time::Duration,
};

use serde_json::Value;

/// What it is called.
pub const REVIEWER: &str = "diff-bot";
/// The name under which it acts.
pub const PRINCIPAL: &str = "reviewer:diff-bot";
const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The process.
pub struct Bot {
    child: Child,
    url: String,
    asked: Arc<Mutex<Vec<Value>>>,
    /// Its input, and the word that it took a line of it.
    talk: Mutex<(ChildStdin, Receiver<()>)>,
}

impl Bot {
    /// Starts one that takes questions by plain HTTP.
    pub fn start() -> Self {
        Self::start_by("http", &[])
    }

    /// Starts one that has the certificate of a folder's server.
    pub fn start_tls(data: &Path) -> Self {
        Self::start_by("https", &[&data.join("tls/server.pem"), &data.join("tls/server.key")])
    }

    fn start_by(scheme: &str, files: &[&Path]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("others/reviewer.mjs");
        let mut child = Command::new(crate::emulate::node())
            .arg(script)
            .arg(KEY)
            .args(files)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut port = String::new();
        output.read_line(&mut port).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&asked);
        let (hears, heard) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let told: Value = serde_json::from_str(&line).unwrap();
                match told["heard"] == true {
                    true => hears.send(()).unwrap_or_default(),
                    false => all.lock().unwrap().push(told),
                }
            }
        });
        let url = format!("{scheme}://127.0.0.1:{}/review", port.trim());
        Self { child, url, asked, talk: Mutex::new((input, heard)) }
    }

    /// Says from now on this, and to what it held back as well.
    pub fn says(&mut self, how: &Value) {
        self.tell(how);
    }

    fn tell(&self, line: &Value) {
        let mut talk = self.talk.lock().unwrap();
        writeln!(talk.0, "{line}").unwrap();
        talk.1.recv_timeout(Duration::from_secs(30)).unwrap();
    }

    /// The questions so far: all that came before this call.
    pub fn asked(&self) -> Vec<Value> {
        self.tell(&serde_json::json!({ "ping": true }));
        self.asked.lock().unwrap().clone()
    }

    /// Names it in the configuration; `more` are further keys.
    pub fn configure(&self, data: &Path, more: &str) {
        let key = data.join("keys/reviewer.key");
        fs::write(&key, format!("{KEY}\n")).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let url = &self.url;
        let table = format!(
            "\n[[approval.reviewer]]\nname = \"{REVIEWER}\"\nurl = \"{url}\"\nkey = \"keys/reviewer.key\"\n{more}\n"
        );
        append(&data.join("jetond.toml"), &table);
    }
}

impl Drop for Bot {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets the group `security` of the example name the reviewer, with these bounds in the catalogue.
pub fn name_it(data: &Path, bounds: &str) {
    let file = data.join("policies/catalogue.toml");
    let text = fs::read_to_string(&file).unwrap();
    let group =
        text.replacen("quorum = 1\n", &format!("quorum = 1\nreviewer = \"{REVIEWER}\"\n"), 1);
    assert_ne!(group, text);
    fs::write(&file, group).unwrap();
    append(&file, &format!("\n[[reviewer]]\nname = \"{REVIEWER}\"\n{bounds}\n"));
}

/// Adds to a file.
pub fn append(file: &Path, more: &str) {
    let text = fs::read_to_string(file).unwrap() + more;
    fs::write(file, text).unwrap();
}
