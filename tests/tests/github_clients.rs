//! The clients of GitHub that others wrote, by the routes that are shipped: `gh`, octokit and PyGithub.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use axum::body::Body;
use http::{HeaderMap, Request, Response, header::AUTHORIZATION, request::Parts};
use http_body_util::BodyExt as _;
use jeton_tests::{
    broker::{Broker, program},
    emulate::{node, tools},
    loopback::Loopback,
    run::{Run, ended, said},
};
use serde_json::{Value, json};
use tempfile::TempDir;

const KEY: &str = "ghp_canary0123456789abcdef";
/// The example's rules let agents open pull requests from refs of their own only, which calls do not name.
const RULES: &str = r#"
@id("pulls") permit (principal, action == Jeton::Action::"pull_requests:write", resource in Jeton::Org::"github:acme")
when { context.ttl <= 900 };
"#;
const ENVELOPE: [&str; 1] =
    ["github:acme/* contents:read,issues:read,pull_requests:read,pull_requests:write"];

#[derive(Clone, Debug)]
struct Seen {
    line: String,
    headers: HeaderMap,
}

struct Scene {
    broker: Broker,
    home: TempDir,
    seen: Arc<Mutex<Vec<Seen>>>,
    api: Loopback,
}

/// A broker whose upstream `github` answers as its API does.
async fn scene() -> Scene {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let api = Loopback::serve(move |request: Request<Body>| {
        let kept = Arc::clone(&kept);
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let line = format!("{} {}", parts.method, parts.uri);
            kept.lock().unwrap().push(Seen { line, headers: parts.headers.clone() });
            let told = answer(&parts, &body);
            let answer =
                Response::builder().header("content-type", "application/json; charset=utf-8");
            Ok(answer.body(Body::from(told.to_string())).unwrap())
        }
    })
    .await;
    let url = api.url();
    let broker = Broker::start_with(|data| {
        let file = data.join("jetond.toml");
        let added = format!(
            "\n[[upstream]]\nname = \"github\"\nkind = \"static-key\"\nkey = \"keys/github.key\"\ncase_sensitive = false\nactions = [\"contents:read\", \"issues:read\", \"pull_requests:read\", \"pull_requests:write\"]\napi = \"{url}\"\n"
        );
        fs::write(&file, fs::read_to_string(&file).unwrap() + &added).unwrap();
        fs::write(data.join("policies/limits.cedar"), RULES).unwrap();
        seal(&file);
    });
    Scene { broker, home: tempfile::tempdir().unwrap(), seen, api }
}

fn seal(config: &Path) {
    let mut child = Command::new(program("jetond"))
        .args(["seal-key", "--config"])
        .arg(config)
        .arg("github")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(format!("{KEY}\n").as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// As much of GitHub's answers as its clients read.
fn answer(parts: &Parts, body: &[u8]) -> Value {
    let issue = json!({ "number": 7, "title": "an issue", "state": "open" });
    let pull = json!({ "number": 8, "title": "a change", "state": "open" });
    match (parts.method.as_str(), parts.uri.path()) {
        (_, "/repos/acme/api") => {
            let host = parts.headers["host"].to_str().unwrap();
            let url = format!("http://{host}/repos/acme/api");
            json!({ "id": 1, "name": "api", "full_name": "acme/api", "url": url, "default_branch": "main" })
        }
        (_, "/repos/acme/api/issues") => json!([issue]),
        (_, "/repos/acme/api/issues/7") => issue,
        ("POST", "/repos/acme/api/pulls") => {
            let asked: Value = serde_json::from_slice(body).unwrap();
            json!({ "number": 9, "title": asked["title"], "state": "open" })
        }
        (_, "/repos/acme/api/pulls") => json!([pull]),
        (_, "/graphql") => {
            let page = json!({ "hasNextPage": false, "endCursor": "" });
            let list = |one: &Value| json!({ "totalCount": 1, "nodes": [one], "pageInfo": page });
            json!({ "data": { "repository": {
                "hasIssuesEnabled": true, "issues": list(&issue), "pullRequests": list(&pull),
            } } })
        }
        _ => json!({ "message": "Not Found" }),
    }
}

impl Scene {
    fn run(&self) -> Run<'_> {
        Run::opened(&self.broker, self.home.path(), &ENVELOPE, &[])
    }

    /// What the API saw, each with the broker's key and nothing of the client's own.
    fn lines(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap().clone();
        for one in &seen {
            assert_eq!(one.headers[AUTHORIZATION], format!("Bearer {KEY}"), "{one:?}");
            let own = one.headers.values().any(|value| value.as_bytes().ends_with(b"a-dummy"));
            assert!(!own, "{one:?}");
        }
        seen.into_iter().map(|one| one.line).collect()
    }

    fn agents(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let text = |one: &Seen| one.headers["user-agent"].to_str().unwrap().to_owned();
        seen.iter().map(text).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn octokit_works_unchanged() {
    let scene = scene().await;
    let run = scene.run();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("others/octokit.mjs");
    let mut jeton = run.jeton();
    jeton.args(["proxy", "--no-intercept", "--api", "github=GITHUB_API_URL", "--"]);
    let (ok, text) = said(jeton.arg(node()).arg(&script));
    assert!(ok && text == "acme/api 7 7 8 9 8\n", "{text}");
    let lines = scene.lines();
    assert!(
        lines.contains(&"GET /repos/acme/api/issues?state=open&per_page=50".into()),
        "{lines:?}"
    );
    assert!(lines.contains(&"POST /repos/acme/api/pulls".into()), "{lines:?}");
    assert!(scene.agents().iter().all(|agent| agent.contains("octokit")), "{:?}", scene.agents());
}

#[tokio::test(flavor = "multi_thread")]
async fn pygithub_works_unchanged() {
    let scene = scene().await;
    let run = scene.run();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("others/py_github.py");
    let mut jeton = run.jeton();
    // By the upstream's own address: it follows the addresses that are in answers.
    jeton.env("GITHUB_API_URL", scene.api.url()).args(["proxy", "--"]);
    let (ok, text) = said(jeton.arg(tools().join("nodeenv/bin/python")).arg(script));
    assert!(ok && text == "acme/api 7 7 8 9\n", "{text}");
    assert_eq!(scene.lines().len(), 5);
    assert!(scene.agents().iter().all(|agent| agent.contains("PyGithub")), "{:?}", scene.agents());
}

/// Stands for `http://api.github.localhost`, the address of a GitHub that is developed, which `gh` knows: so nothing on
/// this machine has to be named so. Every header goes on, but for what `jeton proxy` takes out as well.
async fn stand_in(scene: &Scene, handle: &str) -> Loopback {
    let client = scene.broker.http(Some("agent"));
    let gateway = scene.broker.env("JETON_GATEWAY").to_owned();
    let handle = handle.to_owned();
    Loopback::serve(move |request: Request<Body>| {
        let (client, gateway, handle) = (client.clone(), gateway.clone(), handle.clone());
        async move {
            let (mut parts, body) = request.into_parts();
            assert_eq!(parts.uri.host(), Some("api.github.localhost"), "{}", parts.uri);
            let target = parts.uri.path_and_query().unwrap().as_str();
            for name in
                ["authorization", "host", "connection", "proxy-connection", "content-length"]
            {
                parts.headers.remove(name);
            }
            let body = body.collect().await.unwrap().to_bytes();
            let mut call = client.request(parts.method, format!("{gateway}/api/github{target}"));
            call = call.headers(parts.headers).header("jeton-session", handle);
            if !body.is_empty() {
                call = call.body(body);
            }
            let answer = call.send().await.unwrap();
            let told = Response::builder().status(answer.status());
            let kind = answer.headers()["content-type"].clone();
            let told = told.header("content-type", kind);
            Ok(told.body(Body::from(answer.bytes().await.unwrap())).unwrap())
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn gh_works_unchanged() {
    let scene = scene().await;
    let run = scene.run();
    let front = stand_in(&scene, &run.handle).await;
    let gh = |arguments: &[&str]| {
        let mut gh = Command::new("gh");
        run.know(&mut gh);
        gh.args(arguments)
            .env("GH_HOST", "github.localhost")
            .env("GH_TOKEN", "a-dummy")
            .env("GH_NO_UPDATE_NOTIFIER", "1")
            .env("GH_PROMPT_DISABLED", "1")
            .env("HTTP_PROXY", front.url());
        ended(&mut gh)
    };
    for (arguments, wanted) in [
        (vec!["api", "repos/acme/api", "--jq", ".full_name"], "acme/api\n"),
        (vec!["api", "repos/acme/api/issues?state=open", "--jq", ".[0].number"], "7\n"),
        (
            vec!["pr", "list", "--repo", "acme/api", "--json", "number", "--jq", ".[0].number"],
            "8\n",
        ),
        (
            vec!["issue", "list", "--repo", "acme/api", "--json", "number", "--jq", ".[0].number"],
            "7\n",
        ),
        (
            vec![
                "api",
                "repos/acme/api/pulls",
                "-f",
                "title=x",
                "-f",
                "head=agent/x",
                "-f",
                "base=main",
                "-F",
                "draft=true",
                "--jq",
                ".number",
            ],
            "9\n",
        ),
    ] {
        let (code, text) = gh(&arguments);
        assert_eq!((code, text.as_str()), (Some(0), wanted), "{arguments:?}");
    }
    let lines = scene.lines();
    assert!(lines.iter().filter(|line| *line == "POST /graphql").count() >= 2, "{lines:?}");
    assert!(scene.agents().iter().all(|agent| agent.starts_with("GitHub CLI")));
    // And what no route lists stays refused, with what to do.
    let before = lines.len();
    let (code, text) = gh(&["api", "repos/acme/api/issues?admin=1"]);
    assert!(code != Some(0), "{text}");
    let merge = ["api", "-X", "PUT", "repos/acme/api/pulls/7/merge", "-f", "sha=x"];
    assert!(gh(&merge).0 != Some(0));
    assert_eq!(scene.lines().len(), before);
}
