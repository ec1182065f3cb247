//! WebSockets and streams of events through the gateway: by a library that others wrote, on both sides.

use std::{
    fs,
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::body::{Body, Bytes};
use http::{Request, Response};
use jeton_domain::audit::{Entry, Event};
use jeton_tests::{
    broker::{Broker, Caller},
    emulate::tools,
    loopback::Loopback,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::mpsc,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;

const ROUTES: &str = r#"
[[route]]
upstream = "orders"
methods = ["GET"]
path = "/v1/{org}/{shop}/talk"
resource = "{org}/{shop}"
action = "orders:read"
socket = true

[[route]]
upstream = "orders"
methods = ["GET"]
path = "/v1/{org}/{shop}/quiet"
resource = "{org}/{shop}"
action = "orders:read"
"#;

fn script() -> Command {
    let mut command = Command::new(tools().join("nodeenv/bin/python"));
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("others/web_socket.py");
    command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    command
}

/// A program that hears lines and says lines.
struct Peer {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { _child: child, input, output }
    }

    async fn line(&mut self) -> String {
        let line = timeout(Duration::from_secs(20), self.output.next_line()).await;
        line.expect("nothing was said").unwrap().unwrap_or_default()
    }

    async fn told(&mut self) -> Value {
        let line = self.line().await;
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"))
    }

    async fn say(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    async fn asks(&mut self, line: &str) -> String {
        self.say(line).await;
        self.told().await["message"].as_str().unwrap().to_owned()
    }
}

/// A broker with an upstream of orders at this address.
fn broker(url: &str) -> Broker {
    Broker::start_with(|data| {
        let file = data.join("jetond.toml");
        let text = fs::read_to_string(&file).unwrap();
        let own = "audience = \"https://orders.dev.jeton.local\"\n";
        fs::write(&file, text.replace(own, &format!("{own}api = \"{url}\"\n"))).unwrap();
        let file = data.join("policies/catalogue.toml");
        fs::write(&file, fs::read_to_string(&file).unwrap() + ROUTES).unwrap();
    })
}

fn talk(broker: &Broker, handle: &str, path: &str) -> Peer {
    let tls = |name: &str| broker.data().join("tls").join(name);
    let url = broker.env("JETON_GATEWAY").replacen("https://", "wss://", 1);
    let mut command = script();
    command.arg("talk").arg(format!("{url}/api/orders{path}")).arg(handle);
    command.arg(tls("ca.pem")).arg(tls("agent.pem")).arg(tls("agent.key"));
    Peer::start(command)
}

async fn events(broker: &Broker) -> Vec<Event> {
    let auditor = broker.as_("audrey").await;
    let page = Some(jeton_proto::v1::Page { size: 500, ..Default::default() });
    let list = jeton_proto::v1::ListEntriesRequest { page, ..Default::default() };
    let entries = auditor.audit().list_entries(list).await.unwrap().into_inner().entries;
    entries.iter().map(|entry| Entry::parse(entry.text.as_bytes()).unwrap().event).collect()
}

async fn revoke(broker: &Broker, agent: &Caller) -> Instant {
    let id = agent.list_active().await.pop().unwrap();
    let request = jeton_proto::v1::RevokeGrantRequest {
        id,
        reason: "seen enough".into(),
        ..Default::default()
    };
    let ana = broker.as_("ana").await;
    let at = Instant::now();
    ana.grants().revoke_grant(request).await.unwrap();
    at
}

#[tokio::test]
async fn a_socket_carries_messages_both_ways_and_never_the_credential() {
    let mut serve = script();
    serve.arg("serve");
    let mut upstream = Peer::start(serve);
    let port = upstream.line().await;
    let broker = broker(&format!("http://127.0.0.1:{port}"));
    let (agent, _) = broker.agent_with(&["orders:acme/* orders:read"]).await;
    let handle = agent.handle.clone().unwrap();

    let mut client = talk(&broker, &handle, "/v1/acme/shop/talk");
    // Both libraries would pack what they say; nothing packed passes.
    assert_eq!(client.told().await["extensions"], 0);
    assert_eq!(client.asks("hello there").await, "hello there");
    let long = "a long message ".repeat(5_000);
    assert_eq!(client.asks(&long).await, long);
    // The last letter is the first of every token that the broker signs.
    assert_eq!(client.asks("the e").await, "the e");
    let told = client.asks("who").await;
    assert!(told.starts_with("you are Bearer ****") && !told.contains("eyJ"), "{told}");
    // Cut into frames in the middle of the credential.
    let told = client.asks("frames").await;
    assert!(told.starts_with("Bearer *****") && told.trim_end_matches('*') == "Bearer ", "{told}");
    // A letter in each message: of all of them it is masked, but for what did not look like it yet.
    client.say("drip").await;
    let mut letters = String::new();
    loop {
        match client.told().await["message"].as_str().unwrap() {
            "over" => break,
            letter => letters += letter,
        }
    }
    assert!(letters.len() > 100 && letters.trim_end_matches('*').len() <= 4, "{letters}");
    let names = client.asks("headers").await;
    assert!(names.contains("authorization") && !names.contains("jeton-session"), "{names}");
    client.say("bye").await;
    assert_eq!(client.told().await["closed"], 1000);

    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let used = |event: &Event| {
            matches!(event, Event::Used { request, status: 101, sent, received, cut: None, .. }
                if request.as_str() == "GET /v1/{org}/{shop}/talk" && *sent > 75_000 && *received > 75_000)
        };
        let events = events(&broker).await;
        if events.iter().any(used) {
            break;
        }
        assert!(Instant::now() < deadline, "{events:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // A route that does not say so opens none.
    let mut quiet = talk(&broker, &handle, "/v1/acme/shop/quiet");
    let told = quiet.told().await;
    assert!(told["error"].as_str().unwrap().contains("HTTP 403"), "{told}");
    let mut elsewhere = talk(&broker, &handle, "/v1/acme/shop/secret");
    let told = elsewhere.told().await;
    assert!(told["error"].as_str().unwrap().contains("HTTP 403"), "{told}");
}

#[tokio::test]
async fn a_socket_is_cut_within_a_second_of_the_revocation() {
    let mut serve = script();
    serve.arg("serve");
    let mut upstream = Peer::start(serve);
    let port = upstream.line().await;
    let broker = broker(&format!("http://127.0.0.1:{port}"));
    let (agent, _) = broker.agent_with(&["orders:acme/* orders:read"]).await;
    let mut client = talk(&broker, &agent.handle.clone().unwrap(), "/v1/acme/shop/talk");
    client.told().await;
    assert_eq!(client.asks("hello").await, "hello");
    let at = revoke(&broker, &agent).await;
    let told = client.told().await;
    assert!(at.elapsed() < Duration::from_millis(1500), "{:?}", at.elapsed());
    assert!(told.get("closed").is_some() || told.get("error").is_some(), "{told}");
    assert!(told["closed"] != 1000, "{told}");
}

#[tokio::test]
async fn an_event_comes_as_soon_as_it_is_sent() {
    let (sender, receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let api = Loopback::serve(move |_: Request<Body>| {
        let stream = ReceiverStream::new(receiver.lock().unwrap().take().unwrap());
        let answer = Response::builder().header("content-type", "text/event-stream");
        async move { Ok(answer.body(Body::from_stream(stream)).unwrap()) }
    })
    .await;
    let broker = broker(&api.url());
    let (agent, _) = broker.agent_with(&["orders:acme/* orders:read"]).await;
    let url = format!("{}/api/orders/v1/acme/shop/talk", broker.env("JETON_GATEWAY"));
    let call = broker.http(Some("agent")).get(url);
    let call = call.header("jeton-session", agent.handle.clone().unwrap());
    let calling = tokio::spawn(call.header("accept", "text/event-stream").send());
    for text in ["data: one\n\n", "data: two\n\n", "data: e"] {
        sender.send(Ok(Bytes::from(text))).await.unwrap();
        if text.contains("one") {
            continue;
        }
    }
    let mut answer = calling.await.unwrap().unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut taken = Vec::new();
    while taken.len() < 29 {
        let piece = timeout(Duration::from_secs(5), answer.chunk()).await;
        taken.extend_from_slice(&piece.expect("it is held back").unwrap().unwrap());
    }
    assert_eq!(taken, b"data: one\n\ndata: two\n\ndata: e");
    let at = revoke(&broker, &agent).await;
    assert!(answer.chunk().await.is_err(), "an answer that was cut must not look whole");
    assert!(at.elapsed() < Duration::from_millis(1500), "{:?}", at.elapsed());
}

#[tokio::test]
async fn a_socket_on_which_nobody_reads_is_cut_as_soon() {
    let mut serve = script();
    serve.arg("serve");
    let mut upstream = Peer::start(serve);
    let port = upstream.line().await;
    let broker = broker(&format!("http://127.0.0.1:{port}"));
    let (agent, _) = broker.agent_with(&["orders:acme/* orders:read"]).await;
    let mut client = talk(&broker, &agent.handle.clone().unwrap(), "/v1/acme/shop/talk");
    client.told().await;
    // Says much and hears nothing of the echo, until nothing goes in either direction.
    let line = "x".repeat(500_000);
    let flood = async {
        loop {
            client.say(&line).await;
        }
    };
    assert!(timeout(Duration::from_secs(3), flood).await.is_err());
    revoke(&broker, &agent).await;
    let deadline = Instant::now() + Duration::from_secs(3);
    loop {
        let cut = |event: &Event| matches!(event, Event::Used { status: 101, cut: Some(why), .. } if why.as_str() == "the grant ended");
        let events = events(&broker).await;
        if events.iter().any(cut) {
            return;
        }
        assert!(Instant::now() < deadline, "it is still open: {events:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
