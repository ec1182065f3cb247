//! The resource that is decided is the one that is recorded and sent, in its spelling; and so is its length.

use std::{
    fs,
    sync::{Arc, Mutex},
};

use axum::body::Body;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use jeton_domain::audit::Event;
use jeton_tests::{
    broker::{Broker, Caller},
    gateway::Scene,
    github::Github,
    loopback::Loopback,
};
use reqwest::Method;

const ROUTES: &str = r#"
[[route]]
upstream = "orders"
methods = ["GET", "HEAD"]
path = "/v1/{org}/{shop}/orders/**"
resource = "{org}/{shop}"
action = "orders:read"

[[route]]
upstream = "orders"
methods = ["POST"]
path = "/v1/{org}/{shop}/orders/search"
resource = "{org}/{shop}"
action = "orders:read"
body = "any"
"#;

/// Names of repositories in the entries of issued grants.
async fn issued(scene: &Scene) -> Vec<String> {
    let events = scene.events_until(|event| matches!(event, Event::Issued { .. })).await;
    let scope = |event: Event| match event {
        Event::Issued { about, .. } => Some(about.scope.to_string()),
        _ => None,
    };
    events.into_iter().filter_map(scope).collect()
}

#[tokio::test]
async fn a_name_keeps_its_spelling_where_the_upstream_tells_cases_apart() {
    let scene = Scene::start().await;
    scene.host.create_repo("acme/WebApp");
    let agent = scene.agent(&["git:acme/* contents:read", "git:acme/* contents:write ref=agent/*"]);
    let agent = agent.await;
    let git = &agent.git;
    git.run(".", &["clone", "-q", &scene.url("acme/WebApp"), "work"]).await.succeeded();
    scene.commit(git, "work", "fix", b"the fix\n").await;
    git.run("work", &["push", "origin", "HEAD:refs/heads/agent/fix"]).await.succeeded();
    assert!(scene.host.tip("acme/WebApp", "refs/heads/agent/fix").is_some());
    let scopes = issued(&scene).await;
    assert!(scopes.iter().any(|scope| scope.starts_with("git:acme/WebApp contents:write")));
    assert!(scopes.iter().all(|scope| scope.starts_with("git:acme/WebApp ")), "{scopes:?}");
    // Another spelling is another repository, which is not there.
    let said = git.run(".", &["clone", "-q", &scene.url("acme/webapp"), "other"]).await.failed();
    assert!(said.contains("not found") || said.contains("404"), "{said}");

    // What a session may do is as exact.
    let narrow = scene.agent(&["git:acme/WebApp contents:read"]).await;
    narrow.git.run(".", &["clone", "-q", &scene.url("acme/WebApp"), "own"]).await.succeeded();
    narrow.caller.requests("git:acme/webapp contents:read").await.unwrap_err();
}

/// What an API saw of a call.
type Seen = Arc<Mutex<Vec<(String, HeaderMap)>>>;

/// An API at an upstream that has these lines in its configuration.
async fn api(lines: &str) -> (Broker, Caller, Seen, Loopback) {
    let seen = Seen::default();
    let kept = Arc::clone(&seen);
    let api = Loopback::serve(move |request: Request<Body>| {
        let kept = Arc::clone(&kept);
        async move {
            let (parts, body) = request.into_parts();
            body.collect().await.unwrap();
            let path = parts.uri.path().to_owned();
            kept.lock().unwrap().push((path.clone(), parts.headers));
            let streamed = tokio_stream::iter(["12", "345"].map(Ok::<_, std::io::Error>));
            Ok(match path.ends_with("/streamed") {
                true => Response::new(Body::from_stream(streamed)),
                false => Response::new(Body::from("12345")),
            })
        }
    })
    .await;
    let url = api.url();
    let broker = Broker::start_with(|data| {
        let file = data.join("jetond.toml");
        let text = fs::read_to_string(&file).unwrap();
        let own = "audience = \"https://orders.dev.jeton.local\"\n";
        fs::write(&file, text.replace(own, &format!("{own}api = \"{url}\"\n{lines}"))).unwrap();
        let file = data.join("policies/catalogue.toml");
        fs::write(&file, fs::read_to_string(&file).unwrap() + ROUTES).unwrap();
    });
    let (agent, _) = broker.agent_with(&["orders:Acme/* orders:read"]).await;
    (broker, agent, seen, api)
}

/// A call through the gateway.
fn call(broker: &Broker, agent: &Caller, method: Method, path: &str) -> reqwest::RequestBuilder {
    let url = format!("{}/api/orders{path}", broker.env("JETON_GATEWAY"));
    let call = broker.http(Some("agent")).request(method, url);
    call.header("jeton-session", agent.handle.as_ref().unwrap())
}

#[tokio::test]
async fn a_name_is_folded_in_all_three_where_the_upstream_does_not() {
    let (broker, agent, seen, _api) = api("case_sensitive = false\n").await;
    let answer = call(&broker, &agent, Method::GET, "/v1/ACME/Shop/orders/Seven").send().await;
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    assert_eq!(seen.lock().unwrap().last().unwrap().0, "/v1/acme/shop/orders/Seven");
    let mut listed = agent.list_active().await;
    let grant = broker
        .client("agent")
        .await
        .with_handle(jeton_client::Secret::new(agent.handle.clone().unwrap()), None);
    let grant = grant.get_grant(&listed.pop().unwrap()).await.unwrap();
    assert_eq!(grant.scope.to_string(), "orders:acme/shop orders:read");
    let asked = agent.requests("orders:ACME/SHOP orders:read").await.unwrap().grant.unwrap();
    assert_eq!(asked.scope.unwrap().resource, "acme/shop");
}

#[tokio::test]
async fn github_takes_two_spellings_of_a_name_for_one() {
    let github = Github::pretended().await;
    let broker = Broker::start_with(|data| github.configure(data));
    let (agent, session) = broker.agent_with(&["github:Acme/API contents:read"]).await;
    assert_eq!(session.envelope.unwrap().scopes[0].resource, "acme/api");
    let granted = agent.requests("github:ACME/Api contents:read").await.unwrap().grant.unwrap();
    assert_eq!(granted.scope.unwrap().resource, "acme/api");
}

#[tokio::test]
async fn lengths_are_told_on_where_they_are_known() {
    let (broker, agent, seen, _api) = api("case_sensitive = false\n").await;
    let length = |headers: &HeaderMap| {
        headers.get("content-length").map(|value| value.to_str().unwrap().to_owned())
    };
    let path = "/v1/Acme/Shop/orders/search";
    let known = call(&broker, &agent, Method::POST, path).body("hello").send().await.unwrap();
    assert_eq!(known.status(), 200);
    assert_eq!(length(known.headers()).as_deref(), Some("5"), "of the answer");
    assert_eq!(known.text().await.unwrap(), "12345");
    let (_, headers) = seen.lock().unwrap().pop().unwrap();
    assert_eq!(length(&headers).as_deref(), Some("5"), "of the request");
    assert!(!headers.contains_key("transfer-encoding"));
    // Nobody knows how long this is.
    let pieces = tokio_stream::iter(["hel", "lo"].map(Ok::<_, std::io::Error>));
    let pieces = reqwest::Body::wrap_stream(pieces);
    let unknown = call(&broker, &agent, Method::POST, path).body(pieces).send().await.unwrap();
    assert_eq!(unknown.status(), 200);
    let (_, headers) = seen.lock().unwrap().pop().unwrap();
    assert_eq!(length(&headers), None);
    let streamed = call(&broker, &agent, Method::GET, "/v1/Acme/Shop/orders/streamed");
    let streamed = streamed.send().await.unwrap();
    assert_eq!(length(streamed.headers()), None);
    assert_eq!(streamed.text().await.unwrap(), "12345");
    let head = call(&broker, &agent, Method::HEAD, "/v1/Acme/Shop/orders/7").send().await.unwrap();
    assert_eq!(length(head.headers()).as_deref(), Some("5"), "of what would have come");
}
