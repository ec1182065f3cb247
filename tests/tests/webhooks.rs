//! People are told of requests that wait, where they are: others' library checks what is told.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use jeton_client::Reach;
use jeton_tests::{broker::Broker, eventually::within};
use serde_json::{Value, json};

const PROD: &str = "git:acme/payments contents:write ref=agent/fix";
const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const SOON: Duration = Duration::from_secs(20);

/// Takes webhooks: a process of Node.
struct Hooks {
    child: Child,
    input: ChildStdin,
    port: u16,
    heard: Arc<Mutex<Vec<Value>>>,
}

impl Hooks {
    fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("others/webhook.mjs");
        let mut child = Command::new(jeton_tests::emulate::node())
            .arg(script)
            .arg(KEY)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&heard);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                all.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { child, input, port: line.trim().parse().unwrap(), heard }
    }

    fn configure(&self, data: &Path) {
        let key = data.join("keys/webhook.key");
        fs::write(&key, format!("{KEY}\n")).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let port = self.port;
        let more = format!(
            r#"
[[approval.webhook]]
url = "http://127.0.0.1:{port}/hook"
key = "keys/webhook.key"
groups = ["security"]
link = "https://console.acme.dev/approvals/{{grant}}"
[[approval.webhook]]
url = "http://127.0.0.1:{port}/chat"
style = "slack"
link = "https://console.acme.dev/approvals/{{grant}}"
[[approval.webhook]]
url = "http://127.0.0.1:{port}/hook?nobody"
key = "keys/webhook.key"
groups = ["others"]
"#
        );
        let file = data.join("jetond.toml");
        let text = fs::read_to_string(&file).unwrap() + &more;
        fs::write(file, text).unwrap();
    }

    fn refuses(&mut self, times: usize) {
        writeln!(self.input, "{times}").unwrap();
    }

    fn of(&self, kind: &str) -> Vec<Value> {
        let heard = self.heard.lock().unwrap();
        heard.iter().filter(|message| message["type"] == kind).cloned().collect()
    }

    fn chats(&self) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        let blocks = |message: &Value| message["chat"]["blocks"].as_array().cloned();
        heard.iter().filter_map(blocks).map(|blocks| Value::from(blocks).to_string()).collect()
    }
}

impl Drop for Hooks {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_told_signed_and_told_again_until_it_is_taken() {
    let mut hooks = Hooks::start();
    let mut broker = Broker::start_with(|data| hooks.configure(data));
    let (agent, _) = broker.agent_with(&["git:acme/* contents:write"]).await;
    hooks.refuses(3);
    let words = "let me in <https://evil.example|here>";
    let answer = agent.requests_with_reason(PROD, words).await.unwrap();
    let grant = answer.grant.unwrap().id;
    let asked = within(SOON, "the question is told", async || hooks.of("approval.asked").pop());
    let asked = asked.await;
    assert_eq!(asked["id"], asked["header"], "whoever takes it twice knows it by that");
    let data = &asked["data"];
    assert_eq!(data["grant"], grant.as_str());
    assert_eq!(data["scope"], PROD);
    assert_eq!(data["groups"], json!(["security"]));
    assert_eq!(data["link"], format!("https://console.acme.dev/approvals/{grant}"));
    let chat = within(SOON, "the chat is told", async || hooks.chats().pop()).await;
    assert!(chat.contains("asks for git:acme/payments contents:write"), "{chat}");
    assert!(
        chat.contains(&format!("<https://console.acme.dev/approvals/{grant}|Answer>")),
        "{chat}"
    );
    for told in [asked.to_string(), chat] {
        assert!(!told.contains("evil"), "nothing that the agent wrote is told: {told}");
    }

    // What happens while the broker is away is told when it is back, and nothing twice.
    let bo = broker.client("bo").await;
    let shown = bo.get_approval(&grant).await.unwrap();
    bo.approve(&shown, Reach::Once, "reviewed").await.unwrap();
    let other = agent.requests(PROD).await.unwrap().grant.unwrap().id;
    bo.reject(&other, "one is enough").await.unwrap();
    broker.kill();
    broker.run();
    let approved = within(SOON, "the yes is told", async || hooks.of("approval.approved").pop());
    assert_eq!(approved.await["data"]["more"]["reason"], "reviewed");
    let rejected = within(SOON, "the no is told", async || hooks.of("approval.rejected").pop());
    let rejected = rejected.await;
    assert_eq!(rejected["data"]["grant"], other.as_str());
    assert_eq!(rejected["data"]["groups"], json!(["security"]));
    let all: Vec<_> = ["asked", "approved", "rejected"]
        .iter()
        .flat_map(|kind| hooks.of(&format!("approval.{kind}")))
        .map(|message| message["id"].as_str().unwrap().to_owned())
        .collect();
    let different: std::collections::BTreeSet<_> = all.iter().collect();
    // Why at least: one that was taken just before the kill may be told again, by the same name.
    // And three or four: nobody is called to a question that was over before it could be told.
    assert!((3..=4).contains(&different.len()), "{all:?}");
    let over =
        hooks.of("approval.asked").iter().filter(|one| one["data"]["grant"] == *other).count();
    assert_eq!(different.len(), 3 + over.min(1), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_without_a_key_or_with_a_bad_link_is_refused_before_a_port_opens() {
    let broker = Broker::make();
    let file = broker.data().join("jetond.toml");
    let good = fs::read_to_string(&file).unwrap();
    for (more, words) in [
        ("url = \"https://h.example/x\"", "whoever takes the webhook checks by it"),
        ("url = \"https://h.example/x\"\nstyle = \"irc\"", "`irc` is not json, slack or teams"),
        (
            "url = \"https://h.example/x\"\nstyle = \"slack\"\nlink = \"https://h.example\"",
            "with `{grant}` in it",
        ),
    ] {
        fs::write(&file, format!("{good}\n[[approval.webhook]]\n{more}\n")).unwrap();
        let program = jeton_tests::broker::program("jetond");
        let checked = Command::new(program).args(["check-config", "--config"]).arg(&file).output();
        let checked = checked.unwrap();
        let told = String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()).into_owned();
        assert_eq!(checked.status.code(), Some(64), "{told}");
        assert!(told.contains(words), "{told}");
    }
}
