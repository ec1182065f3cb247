//! An upstream that knows only a key that never changes: the key is sealed, goes into calls, and to nobody.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use axum::body::Body;
use http::{Request, Response};
use jeton_domain::audit::Event;
use jeton_tests::{
    broker::{Broker, Caller, program},
    loopback::Loopback,
};
use tonic::Code;

const KEY: &str = "sk-canary/0123+456=789-abcdef";
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

struct Scene {
    broker: Broker,
    agent: Caller,
    seen: Arc<Mutex<Vec<String>>>,
    _api: Loopback,
}

fn seal(config: &Path, upstream: &str, key: &str) -> (bool, String) {
    let mut child = Command::new(program("jetond"))
        .args(["seal-key", "--config"])
        .arg(config)
        .arg(upstream)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(format!("{key}\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

async fn scene() -> Scene {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let api = Loopback::serve(move |request: Request<Body>| {
        let key = request.headers().get("x-api-key").map(|key| key.to_str().unwrap().to_owned());
        kept.lock().unwrap().push(format!("{} {key:?}", request.uri()));
        let ranged = request.headers().contains_key("range");
        let own = key.clone().unwrap_or_default();
        let told = match request.uri().path().rsplit('/').next().unwrap_or_default() {
            "slashed" => own.replace('/', "\\/"),
            "percent" => own.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D"),
            "ranged" => format!("ranged: {ranged}"),
            _ => format!("an invoice for {key:?}"),
        };
        async move { Ok(Response::new(Body::from(told))) }
    })
    .await;
    let broker = Broker::start_with(|data| {
        let file = data.join("jetond.toml");
        let text = fs::read_to_string(&file).unwrap();
        let added = format!(
            "\n[[upstream]]\nname = \"billing\"\nkind = \"static-key\"\nkey = \"keys/billing.key\"\nheader = \"X-Api-Key: {{key}}\"\nactions = [\"invoices:read\"]\napi = \"{}\"\n",
            api.url()
        );
        fs::write(&file, text + &added).unwrap();
        let catalogue = data.join("policies/catalogue.toml");
        fs::write(&catalogue, fs::read_to_string(&catalogue).unwrap() + ROUTES).unwrap();
        fs::write(data.join("policies/more.cedar"), RULES).unwrap();
        let (sealed, said) = seal(&file, "billing", KEY);
        assert!(sealed && said.contains("is sealed in"), "{said}");
    });
    let (agent, _) = broker.agent_with(&["billing:acme/* invoices:read"]).await;
    Scene { broker, agent, seen, _api: api }
}

/// Every file of a folder, with its content.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if let Ok(bytes) = fs::read(&path) {
            found.push((path.display().to_string(), bytes));
        }
    }
    found
}

#[tokio::test]
async fn the_key_goes_into_calls_and_nowhere_else() {
    let scene = scene().await;
    let url = format!("{}/api/billing/v1/acme/invoices/7", scene.broker.env("JETON_GATEWAY"));
    let call = scene.broker.http(Some("agent")).get(&url);
    let call = call.header("jeton-session", scene.agent.handle.clone().unwrap());
    let answer = call.header("x-api-key", "my own").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let told = answer.text().await.unwrap();
    assert!(told.contains("an invoice for Some(\"****") && !told.contains("canary"), "{told}");
    let seen = scene.seen.lock().unwrap().clone();
    assert_eq!(seen, [format!("/v1/acme/invoices/7 Some(\"{KEY}\")")]);

    for path in ["slashed", "percent", "ranged"] {
        let call = scene.broker.http(Some("agent")).get(url.replace("/7", &format!("/{path}")));
        let call = call.header("jeton-session", scene.agent.handle.clone().unwrap());
        // Written with a line, it would be the same header to some, and another to the gateway.
        let call = call.header("range", "bytes=0-9").header("x_api_key", "my own");
        let told = call.send().await.unwrap().text().await.unwrap();
        let covered = told.len() > 20 && told.bytes().all(|byte| byte == b'*');
        assert!(covered || told == "ranged: false", "{path}: {told}");
    }

    let refused = scene.agent.requests("billing:acme/invoices invoices:read").await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("a key that never leaves the broker"), "{refused}");

    let auditor = scene.broker.as_("audrey").await;
    let page = Some(jeton_proto::v1::Page { size: 500, ..Default::default() });
    let list = jeton_proto::v1::ListEntriesRequest { page, ..Default::default() };
    let entries = auditor.audit().list_entries(list).await.unwrap().into_inner().entries;
    let denied = |text: &str| {
        let event = jeton_domain::audit::Entry::parse(text.as_bytes()).unwrap().event;
        matches!(event, Event::Denied { reason, .. } if reason.as_str().contains("never leaves"))
    };
    assert!(entries.iter().any(|entry| denied(&entry.text)));
    for (path, bytes) in files(scene.broker.data()) {
        let found = bytes.windows(KEY.len()).any(|part| part == KEY.as_bytes());
        assert!(!found, "the key stands in {path}");
    }
}

#[tokio::test]
async fn a_key_that_is_not_sealed_for_its_upstream_does_not_start_a_broker() {
    let scene = scene().await;
    let data = scene.broker.data();
    let config = data.join("jetond.toml");
    let check = || {
        let output = Command::new(program("jetond"))
            .args(["check-config", "--config"])
            .arg(&config)
            .output();
        let output = output.unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    assert!(check().0, "{}", check().1);
    let file = data.join("keys/billing.key");
    let good = fs::read(&file).unwrap();
    fs::write(&file, format!("{KEY}\n")).unwrap();
    let (fine, said) = check();
    assert!(!fine && said.contains("jetond seal-key --config FILE billing"), "{said}");
    assert!(!said.contains("canary"), "{said}");
    fs::write(&file, &good).unwrap();
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("name = \"billing\"", "name = \"bills\"")).unwrap();
    assert!(check().1.contains("does not hold a key sealed for `bills`"), "{}", check().1);
    for (upstream, key, words) in [
        ("orders", KEY, "no upstream `orders` of the kind"),
        ("bills", "short", "8 to 4096 characters"),
        ("bills", "with a blank in it", "visible ASCII"),
    ] {
        let (fine, said) = seal(&config, upstream, key);
        assert!(!fine && said.contains(words), "{said}");
    }
}
