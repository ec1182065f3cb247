//! An upstream that shows its key again, in every spelling that honest programs use: none of it reaches the agent.

use std::{collections::BTreeMap, fs, io::Write as _, process::Stdio, sync::Arc};

use axum::body::{Body, Bytes};
use http::{Request, Response};
use jeton_tests::{
    broker::{Broker, program},
    loopback::Loopback,
};
use tokio_stream::StreamExt as _;

/// The key of `golden/spellings.json`.
const KEY: &str = "sk-canary/0123+456=ab&cd'ef?gh";
const SPELLINGS: &str = include_str!("../golden/spellings.json");
const ROUTES: &str = r#"
[[upstream]]
name = "billing"
actions = ["invoices:read"]

[[route]]
upstream = "billing"
methods = ["GET"]
path = "/v1/{org}/invoices/**"
resource = "{org}/invoices"
action = "invoices:read"
"#;
const RULES: &str = r#"
@id("billing") permit (principal, action == Jeton::Action::"invoices:read", resource in Jeton::Org::"billing:acme");
"#;

/// A broker with an upstream at this address that knows the key.
fn broker(url: &str) -> Broker {
    Broker::start_with(|data| {
        let file = data.join("jetond.toml");
        let text = fs::read_to_string(&file).unwrap();
        let added = format!(
            "\n[[upstream]]\nname = \"billing\"\nkind = \"static-key\"\nkey = \"keys/billing.key\"\nheader = \"X-Api-Key: {{key}}\"\nactions = [\"invoices:read\"]\napi = \"{url}\"\n"
        );
        fs::write(&file, text + &added).unwrap();
        let catalogue = data.join("policies/catalogue.toml");
        fs::write(&catalogue, fs::read_to_string(&catalogue).unwrap() + ROUTES).unwrap();
        fs::write(data.join("policies/more.cedar"), RULES).unwrap();
        let mut child = std::process::Command::new(program("jetond"))
            .args(["seal-key", "--config"])
            .arg(&file)
            .arg("billing")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(format!("{KEY}\n").as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    })
}

#[tokio::test]
async fn no_spelling_of_the_key_reaches_the_agent_whole_or_in_pieces() {
    let spellings: BTreeMap<String, String> = serde_json::from_str(SPELLINGS).unwrap();
    assert!(spellings.len() >= 45, "{}", spellings.len());
    let texts: Arc<Vec<String>> = Arc::new(spellings.values().cloned().collect());
    // `/v1/acme/invoices/NUMBER/SIZE`: that spelling, in pieces of that size.
    let api = Loopback::serve(move |request: Request<Body>| {
        let texts = Arc::clone(&texts);
        async move {
            assert_eq!(request.headers()["x-api-key"], KEY);
            let mut path = request.uri().path().rsplit('/').map(|part| part.parse::<usize>());
            let size = path.next().unwrap().unwrap();
            let text = format!("<{}>", texts[path.next().unwrap().unwrap()]);
            let pieces: Vec<_> = text.as_bytes().chunks(size).map(Bytes::copy_from_slice).collect();
            let pieces = tokio_stream::iter(pieces).map(Ok::<_, std::io::Error>);
            Ok(Response::new(Body::from_stream(pieces)))
        }
    })
    .await;
    let broker = broker(&api.url());
    let (agent, _) = broker.agent_with(&["billing:acme/* invoices:read"]).await;
    let client = broker.http(Some("agent"));
    let mut leaks = vec![];
    for (number, (name, spelling)) in spellings.iter().enumerate() {
        for size in [4096, 7] {
            let gateway = broker.env("JETON_GATEWAY");
            let url = format!("{gateway}/api/billing/v1/acme/invoices/{number}/{size}");
            let call = client.get(url).header("jeton-session", agent.handle.clone().unwrap());
            let answer = call.send().await.unwrap();
            assert_eq!(answer.status(), 200, "{name}");
            let text = String::from_utf8(answer.bytes().await.unwrap().to_vec()).unwrap();
            assert_eq!(text.len(), spelling.len() + 2, "{name}");
            // All spellings are at least as long as the key.
            let longest = text.split(|letter| letter != '*').map(str::len).max().unwrap();
            if longest < KEY.len() {
                leaks.push(format!("{name} by {size}: {text}"));
            }
        }
    }
    assert!(leaks.is_empty(), "{} leak: {leaks:#?}", leaks.len());
}
