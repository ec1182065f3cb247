//! `jeton mcp`: an agent that is a model asks by tools, hears what to do, and never sees a credential.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use jeton_client::{Client, Reach};
use jeton_proto::v1::ReleaseGrantRequest;
use jeton_tests::{
    broker::{Broker, program},
    eventually::within,
};
use serde_json::{Value, json};

const WRITE: &str = "git:acme/api contents:write ref=agent/*";
const MAIN: &str = "git:acme/api contents:write ref=main";
const PROD: &str = "git:acme/payments contents:write ref=agent/fix";
const ENVELOPE: [&str; 1] = ["git:acme/* contents:read,contents:write"];
const SOON: Duration = Duration::from_secs(10);

/// One conversation, with all that was said in it.
struct Model {
    child: Child,
    says: ChildStdin,
    hears: BufReader<ChildStdout>,
    said: String,
    calls: u64,
}

/// What a tool told.
struct Told {
    text: String,
    failed: bool,
}

fn jeton(broker: &Broker, handle: Option<&str>) -> Command {
    let tls = broker.data().join("tls");
    let mut command = Command::new(program("jeton"));
    command
        .arg("mcp")
        .envs(broker.envs().iter().cloned())
        .env("JETON_CERT", tls.join("agent.pem"))
        .env("JETON_KEY", tls.join("agent.key"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(handle) = handle {
        command.env("JETON_SESSION", handle);
    }
    command
}

impl Model {
    fn starts(broker: &Broker, handle: &str) -> Self {
        let mut child = jeton(broker, Some(handle)).spawn().unwrap();
        let says = child.stdin.take().unwrap();
        let hears = BufReader::new(child.stdout.take().unwrap());
        let mut model = Self { child, says, hears, said: String::new(), calls: 0 };
        let hello = model.asks(
            "initialize",
            json!({
                "protocolVersion": "2025-06-18",
                "capabilities": {},
                "clientInfo": { "name": "test", "version": "1" },
            }),
        );
        let hello = model.answer(hello);
        assert_eq!(hello["result"]["protocolVersion"], "2025-06-18");
        assert_eq!(hello["result"]["serverInfo"]["name"], "jeton");
        assert!(hello["result"]["instructions"].as_str().unwrap().contains("`session` first"));
        model.line(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        model
    }

    fn line(&mut self, message: &Value) {
        let line = format!("{message}\n");
        self.said += &line;
        self.says.write_all(line.as_bytes()).unwrap();
    }

    /// Asks, and waits for no answer.
    fn asks(&mut self, method: &str, params: Value) -> u64 {
        self.calls += 1;
        let id = self.calls;
        self.line(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        id
    }

    fn answer(&mut self, id: u64) -> Value {
        let mut line = String::new();
        self.hears.read_line(&mut line).unwrap();
        self.said += &line;
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    fn begins(&mut self, tool: &str, arguments: Value) -> u64 {
        self.asks("tools/call", json!({ "name": tool, "arguments": arguments }))
    }

    fn told(&mut self, id: u64) -> Told {
        let answer = self.answer(id);
        let result = &answer["result"];
        assert_eq!(result["content"].as_array().unwrap().len(), 1, "{answer}");
        Told {
            text: result["content"][0]["text"].as_str().unwrap().to_owned(),
            failed: result["isError"].as_bool().unwrap(),
        }
    }

    fn calls(&mut self, tool: &str, arguments: Value) -> Told {
        let id = self.begins(tool, arguments);
        self.told(id)
    }

    /// Ends the conversation and gives all that was said in it, on standard error too.
    fn ends(self) -> String {
        let Self { mut child, says, mut hears, mut said, .. } = self;
        drop(says);
        let mut rest = String::new();
        hears.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "nothing is said after the last answer");
        let mut errors = String::new();
        child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert_eq!(errors, "");
        assert_eq!(child.wait().unwrap().code(), Some(0));
        said += &errors;
        said
    }
}

impl Told {
    fn done(self) -> String {
        assert!(!self.failed, "{}", self.text);
        self.text
    }

    fn refused(self) -> String {
        assert!(self.failed, "{}", self.text);
        self.text
    }
}

/// The grant's id that stands in a text.
fn grant(text: &str) -> String {
    let start = text.find("gr_").unwrap_or_else(|| panic!("no grant in: {text}"));
    text[start..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

fn all_in(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no `{word}` in:\n{text}");
    }
}

async fn approves(approver: &Client, id: &str) {
    let shown = approver.get_approval(id).await.unwrap();
    approver.approve(&shown, Reach::Once, "").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_asks_is_taught_waits_and_gives_back_and_never_sees_a_credential() {
    let broker = Broker::start();
    let (agent, session) = broker.agent_with(&ENVELOPE).await;
    let handle = agent.handle.clone().unwrap();
    let bo = broker.client("bo").await;
    let mut model = Model::starts(&broker, &handle);

    let listed = model.asks("tools/list", json!({}));
    let listed = model.answer(listed);
    let tools = listed["result"]["tools"].as_array().unwrap();
    let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["session", "explain", "request", "wait", "release", "grants"]);
    let changing = tools.iter().filter(|tool| tool["annotations"]["readOnlyHint"] == false);
    assert_eq!(changing.count(), 3, "request, wait and release");

    let text = model.calls("session", json!({})).done();
    all_in(
        &text,
        &[&session.id, "may ask for", ENVELOPE[0], "0 of 100000 used", "expires", "`any-other`"],
    );
    let payments = text
        .lines()
        .find(|line| line.contains("acme/payments contents:write ref=agent/*"))
        .unwrap();
    all_in(payments, &["needs approval", "security"]);

    let text = model.calls("explain", json!({ "scope": WRITE, "ttl_seconds": 300 })).done();
    all_in(&text, &["allow: ", "300 s", "builders-write-code", "call `request` with the scope"]);
    let text = model.calls("explain", json!({ "scope": MAIN })).done();
    all_in(&text, &["deny: ", "policy", "only-agent-refs", "ask instead"]);

    let refused = model.calls("request", json!({ "scope": MAIN, "reason": "a fix" })).refused();
    let instead = format!("ask instead:  call `request` with the scope `{WRITE}`");
    all_in(&refused, &["refused", "layer:", "only-agent-refs", "open a pull request", &instead]);
    let outside = json!({ "scope": "orders:acme/live orders:read", "reason": "to look" });
    let refused = model.calls("request", outside).refused();
    all_in(&refused, &["envelope", "ask within:", ENVELOPE[0]]);

    let asked = json!({ "scope": WRITE, "reason": "push a fix", "ttl_seconds": 300 });
    let text = model.calls("request", asked).done();
    all_in(&text, &["active", WRITE, "for the gateway", "expires", "in 5m", "call `release`"]);
    let pushed = grant(&text);

    let waits = json!({ "scope": PROD, "reason": "fix the payments" });
    let pending = model.calls("request", waits).refused();
    all_in(
        &pending,
        &["waits for a person", "prod-writes-need-security", "security", "call `wait`"],
    );
    let fix = grant(&pending);
    let still = model.calls("wait", json!({ "grant": fix, "wait_seconds": 0 })).refused();
    assert_eq!(still, pending);
    let waiting = model.begins("wait", json!({ "grant": fix, "wait_seconds": 60 }));
    approves(&bo, &fix).await;
    let text = model.told(waiting).done();
    all_in(&text, &[&fix, "active", "for the gateway"]);

    for id in [&pushed, &fix] {
        let told = broker.client("audrey").await.get_grant(id).await.unwrap();
        assert_eq!((told.state.as_str(), told.gateway), ("active", true));
        let text = model.calls("release", json!({ "grant": id })).done();
        all_in(&text, &[id, "released"]);
    }
    let text = model.calls("grants", json!({})).done();
    all_in(&text, &[&pushed, &fix, "released", PROD]);

    let said = model.ends();
    assert!(!said.contains("eyJ") && !said.contains("jeton_s_"), "{said}");
    assert!(!said.contains(&handle));
    let direct = agent.requests(WRITE).await.unwrap().credential.unwrap().secret;
    assert!(
        direct.contains("eyJ") && handle.contains("jeton_s_"),
        "the search finds what is there"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_refuse_or_a_model_gives_up_is_told_and_taken_back() {
    let broker = Broker::start();
    let (agent, _) = broker.agent_with(&ENVELOPE).await;
    let bo = broker.client("bo").await;
    let mut model = Model::starts(&broker, agent.handle.as_deref().unwrap());
    let asked = |wait: u32| json!({ "scope": PROD, "reason": "a fix", "wait_seconds": wait });
    let asks = async || {
        within(SOON, "the question is asked", async || {
            bo.list_approvals().await.unwrap().into_iter().next()
        })
        .await
    };

    let waiting = model.begins("request", asked(60));
    let question = asks().await;
    assert!(question.grant.gateway, "people see where it goes");
    bo.reject(&question.grant.id, "not on a Friday").await.unwrap();
    let text = model.told(waiting).refused();
    all_in(&text, &["rejected", "not on a Friday", "what to do"]);

    let pending = grant(&model.calls("request", asked(0)).refused());
    let text = model.calls("release", json!({ "grant": pending })).done();
    all_in(&text, &[&pending, "released"]);
    let text = model.calls("wait", json!({ "grant": pending })).refused();
    all_in(&text, &[&pending, "released"]);

    // A call that its client gives up: no answer is heard, so nobody would give the grant back.
    let id = model.begins("request", asked(60));
    let question = asks().await;
    let params = json!({ "requestId": id, "reason": "too slow" });
    let method = "notifications/cancelled";
    model.line(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    let audrey = broker.client("audrey").await;
    within(SOON, "it is taken back", async || {
        let told = audrey.get_grant(&question.grant.id).await.unwrap();
        (told.state == "released").then_some(())
    })
    .await;

    // A grant of the same session that is for the agent's own hands: its credential is not taken.
    let direct = agent.requests(PROD).await.unwrap().grant.unwrap().id;
    let text = model.calls("wait", json!({ "grant": direct })).refused();
    all_in(&text, &["not for the gateway"]);
    agent.grants().release_grant(ReleaseGrantRequest { id: direct }).await.unwrap();

    // And one that waits when the conversation ends.
    let id = model.begins("request", asked(60));
    let question = asks().await;
    let Model { mut child, says, hears, .. } = model;
    drop(says);
    let last = hears.lines().last().unwrap().unwrap();
    all_in(&last, &[&format!("\"id\":{id}"), "given up before it was done"]);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(audrey.get_grant(&question.grant.id).await.unwrap().state, "released");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_errs_is_told_what_to_write() {
    let broker = Broker::start();
    let (agent, _) = broker.agent_with(&ENVELOPE).await;
    let mut model = Model::starts(&broker, agent.handle.as_deref().unwrap());
    for (tool, arguments, words) in [
        ("request", json!({ "scope": WRITE }), "missing field `reason`"),
        ("request", json!({ "scope": "api", "reason": "a fix" }), "`scope`: "),
        ("explain", json!({ "scope": WRITE, "ttl_seconds": 0 }), "it is 1 to 43200"),
        ("wait", json!({ "grant": "gr_1" }), "is not a grant id"),
        ("session", json!({ "agent": "x" }), "unknown field `agent`"),
    ] {
        let text = model.calls(tool, arguments).refused();
        all_in(&text, &[&format!("`{tool}`: "), words, "write such as {"]);
    }
    let unknown = model.begins("grant", json!({}));
    let unknown = model.answer(unknown);
    all_in(
        unknown["error"]["message"].as_str().unwrap(),
        &["no tool `grant`", "there are session"],
    );

    // Lines that are no messages and lines without end are passed over.
    model.says.write_all(b"no json\n").unwrap();
    model
        .says
        .write_all(&[b"{\"x\":\"".to_vec(), vec![b'x'; 1 << 20], b"\"}\n".to_vec()].concat())
        .unwrap();
    all_in(&model.calls("grants", json!({})).done(), &["no grants yet"]);
    model.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_session_or_a_client_it_ends_and_says_why_on_standard_error() {
    let broker = Broker::start();
    let output = jeton(&broker, None).stdin(Stdio::null()).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(78), 0));
    all_in(
        &String::from_utf8_lossy(&output.stderr),
        &["no session is named", "JETON_SESSION_FILE"],
    );

    let (agent, _) = broker.agent_with(&ENVELOPE).await;
    let handle = agent.handle.as_deref();
    let output = jeton(&broker, handle).stdin(Stdio::null()).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0), "{output:?}");

    let mut child = jeton(&broker, handle).spawn().unwrap();
    let line = b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n";
    child.stdin.take().unwrap().write_all(line).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(65), 0), "{output:?}");
    all_in(&String::from_utf8_lossy(&output.stderr), &["does not begin as MCP does"]);
}
