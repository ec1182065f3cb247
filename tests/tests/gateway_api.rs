//! Calls of an API through the gateway: what routes name and policies allow goes out with the credential, and
//! nothing of that comes back.

use std::{
    fs,
    sync::{Arc, Mutex, OnceLock},
};

use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use jeton_client::{Client, Secret};
use jeton_domain::audit::{Entry, Event};
use jeton_proto::v1::ListEntriesRequest;
use jeton_tests::{
    broker::{Broker, Caller},
    loopback::Loopback,
};

const ROUTES: &str = r#"
[[route]]
upstream = "orders"
methods = ["GET", "HEAD"]
path = "/v1/{org}/{shop}/orders/**"
resource = "{org}/{shop}"
action = "orders:read"
query = ["page", "state"]

[[route]]
upstream = "orders"
methods = ["POST"]
path = "/v1/{org}/{shop}/orders"
resource = "{org}/{shop}"
action = "orders:write"
body = "any"
"#;

const RULES: &str = r#"
@id("no-secret-orders") @reason("those are for people")
forbid (principal, action, resource is Jeton::Resource)
when { context has path && context.path like "*/secret*" };
"#;

/// What the API saw, without bodies.
#[derive(Clone, Debug)]
struct Seen {
    line: String,
    headers: Vec<String>,
    body: Vec<u8>,
}

struct Scene {
    broker: Broker,
    api: Loopback,
    seen: Arc<Mutex<Vec<Seen>>>,
    agent: Caller,
    client: reqwest::Client,
}

/// An API that asks the broker whether the token is good, and answers what the path says.
async fn scene() -> Scene {
    scene_with("").await
}

/// The same with more in the catalogue.
async fn scene_with(more: &str) -> Scene {
    scene_of(more, 1).await
}

/// The same with more in the catalogue, and a log that is told of one read of so many.
async fn scene_of(more: &str, one_of: u32) -> Scene {
    let (seen, broker) = (Arc::new(Mutex::new(Vec::new())), Arc::new(OnceLock::<Client>::new()));
    let (kept, asked) = (Arc::clone(&seen), Arc::clone(&broker));
    let api = Loopback::serve(move |request: Request<Body>| {
        let (kept, asked) = (Arc::clone(&kept), Arc::clone(&asked));
        async move { Ok(answer(request, &kept, asked.get().unwrap()).await) }
    })
    .await;
    let url = format!("{}/base", api.url());
    let started = Broker::start_with(|data| {
        let file = data.join("jetond.toml");
        let text = fs::read_to_string(&file).unwrap();
        let own = "audience = \"https://orders.dev.jeton.local\"\n";
        let text = text.replace(own, &format!("{own}api = \"{url}\"\n"));
        let sampled = format!("[gateway]\nlog_one_read_of = {one_of}\n");
        fs::write(&file, text.replace("[gateway]\n", &sampled)).unwrap();
        let file = data.join("policies/catalogue.toml");
        fs::write(&file, fs::read_to_string(&file).unwrap() + ROUTES + more).unwrap();
        fs::write(data.join("policies/more.cedar"), RULES).unwrap();
    });
    let _ = broker.set(started.client("orders").await);
    let (agent, _) = started.agent_with(&["orders:acme/* orders:read,orders:write"]).await;
    let client = started.http(Some("agent"));
    Scene { broker: started, api, seen, agent, client }
}

async fn answer(
    request: Request<Body>,
    kept: &Mutex<Vec<Seen>>,
    broker: &Client,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    let token = parts.headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap();
    let found =
        broker.introspect(&Secret::new(token.to_owned()), "https://orders.dev.jeton.local").await;
    assert!(found.unwrap().active, "a token that is no good");
    let line = format!("{} {}", parts.method, parts.uri);
    let names = parts.headers.keys().map(|name| name.as_str().to_owned()).collect();
    kept.lock().unwrap().push(Seen { line, headers: names, body });
    let answer = Response::builder();
    let path = parts.uri.path();
    if path.ends_with("/echo-header") {
        return answer.header("x-echo", token).body(Body::empty()).unwrap();
    }
    if path.ends_with("/echo") {
        return answer.body(Body::from(format!("you sent {token}, did you?"))).unwrap();
    }
    if path.ends_with("/missing") {
        return answer.status(404).body(Body::empty()).unwrap();
    }
    if path.ends_with("/elsewhere") {
        return answer
            .status(302)
            .header("location", "https://evil.example.org/x")
            .body(Body::empty())
            .unwrap();
    }
    if path.ends_with("/moved") {
        return answer
            .status(301)
            .header("location", "/base/v1/acme/shop/orders/8")
            .body(Body::empty())
            .unwrap();
    }
    if path.ends_with("/packed") {
        return answer.header("content-encoding", "gzip").body(Body::from("x")).unwrap();
    }
    answer.header("set-cookie", "a=b").header("x-page", "2").body(Body::from("an order")).unwrap()
}

impl Scene {
    fn url(&self, path: &str) -> String {
        format!("{}/api/orders{path}", self.broker.env("JETON_GATEWAY"))
    }

    fn call(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let handle = self.agent.handle.clone().unwrap();
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, self.url(path)).header("jeton-session", handle)
    }

    /// What the log tells of uses, once it is this many.
    async fn used(&self, wanted: usize) -> Vec<(String, u16, Option<u32>)> {
        let auditor = self.broker.as_("audrey").await;
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        loop {
            let page = Some(jeton_proto::v1::Page { size: 500, ..Default::default() });
            let request = ListEntriesRequest { oldest_first: true, page, filter: None };
            let answer = auditor.audit().list_entries(request).await.unwrap().into_inner();
            let used = |entry: &jeton_proto::v1::Entry| match Entry::parse(entry.text.as_bytes()) {
                Ok(Entry { event: Event::Used { request, status, one_of, .. }, .. }) => {
                    Some((request.as_str().to_owned(), status, one_of))
                }
                _ => None,
            };
            let used: Vec<_> = answer.entries.iter().filter_map(used).collect();
            if used.len() >= wanted || std::time::Instant::now() > deadline {
                return used;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    async fn told(&self, method: &str, path: &str) -> (u16, String) {
        let answer = self.call(method, path).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

#[tokio::test]
async fn a_call_that_a_route_names_goes_out_with_the_credential_and_nothing_of_it_comes_back() {
    let scene = scene().await;
    let call = scene.call("GET", "/v1/acme/shop/orders/7?page=2").header("cookie", "a=b");
    let call = call.header("x-own", "1").header("traceparent", "00-1");
    let answer = call.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-page"], "2");
    assert!(!answer.headers().contains_key("set-cookie"));
    assert_eq!(answer.text().await.unwrap(), "an order");
    let seen = scene.seen.lock().unwrap().last().cloned().unwrap();
    assert_eq!(seen.line, "GET /base/v1/acme/shop/orders/7?page=2");
    assert!(seen.headers.contains(&"traceparent".to_owned()));
    for name in ["jeton-session", "cookie", "x-own"] {
        assert!(!seen.headers.iter().any(|own| own == name), "{name}");
    }
    let (status, text) = scene.told("GET", "/v1/acme/shop/orders/echo").await;
    assert_eq!(status, 200);
    assert!(
        text.starts_with("you sent ****")
            && text.ends_with("***, did you?")
            && !text.contains("eyJ")
    );
    let (status, text) = scene.told("GET", "/v1/acme/shop/orders/echo-header").await;
    assert!(status == 502 && text.contains("sent the credential back in `x-echo`"), "{text}");
    let (status, text) = scene.told("GET", "/v1/acme/shop/orders/packed").await;
    assert!(status == 502 && text.contains("packed"), "{text}");
}

#[tokio::test]
async fn what_no_route_names_or_a_policy_refuses_never_reaches_the_upstream() {
    let scene = scene().await;
    for (method, path, status, words) in [
        ("DELETE", "/v1/acme/shop/orders/7", 403, "no route of the catalogue names DELETE"),
        ("GET", "/v2/acme/shop/orders/7", 403, "no route of the catalogue"),
        ("GET", "/v1/acme/shop/orders/7?admin=1", 403, "the query key `admin` is not allowed"),
        ("GET", "/v1/acme/shop/orders/7?page=1&%61dmin=1", 403, "the query key `admin`"),
        ("GET", "/v1/other/shop/orders/7", 403, "lies outside the session's envelope"),
        ("GET", "/v1/acme/shop/orders/secret", 403, "those are for people"),
        ("GET", "/v1/acme/shop/orders/%73ecret", 400, "not written plainly"),
        ("GET", "/v1/acme/shop/orders/a%2fsecret", 400, "not written plainly"),
        ("GET", "/v1/acme/shop//orders/7", 400, "not written plainly"),
        ("GET", "/v1/acme/shop/orders/..;/7", 400, "not written plainly"),
        ("POST", "/v1/acme/shop/orders", 403, "no policy allows `orders:write`"),
    ] {
        let (code, text) = scene.told(method, path).await;
        assert_eq!(code, status, "{method} {path}: {text}");
        assert!(text.contains(words), "{method} {path}: {text}");
    }
    assert!(scene.seen.lock().unwrap().is_empty());
    let answer = scene.call("POST", "/v1/acme/shop/orders").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
}

#[tokio::test]
async fn redirects_stay_here_or_lose_the_credential() {
    let scene = scene().await;
    let client = scene.broker.http(None);
    drop(client);
    let send = async |path: &str| {
        let pem = |name: &str| fs::read(scene.broker.data().join("tls").join(name)).unwrap();
        let identity = [pem("agent.key"), pem("agent.pem")].concat();
        let client = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(&pem("ca.pem")).unwrap()])
            .identity(reqwest::Identity::from_pem(&identity).unwrap())
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let handle = scene.agent.handle.clone().unwrap();
        let answer =
            client.get(scene.url(path)).header("jeton-session", handle).send().await.unwrap();
        (answer.status().as_u16(), answer.headers()["location"].to_str().unwrap().to_owned())
    };
    let elsewhere = send("/v1/acme/shop/orders/elsewhere").await;
    assert_eq!(elsewhere, (302, "https://evil.example.org/x".to_owned()));
    let moved = send("/v1/acme/shop/orders/moved").await;
    assert_eq!(moved, (301, "/api/orders/v1/acme/shop/orders/8".to_owned()));
    assert!(scene.api.url().starts_with("http://127.0.0.1"));
}

#[tokio::test]
async fn each_call_is_an_entry_with_its_template_and_one_grant_serves_many() {
    let scene = scene().await;
    for number in 0..5 {
        let path = format!("/v1/acme/shop/orders/{number}");
        assert_eq!(scene.told("GET", &path).await.0, 200);
    }
    let auditor = scene.broker.as_("audrey").await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let page = Some(jeton_proto::v1::Page { size: 500, ..Default::default() });
        let request = ListEntriesRequest { oldest_first: true, page, filter: None };
        let answer = auditor.audit().list_entries(request).await.unwrap().into_inner();
        let events =
            answer.entries.iter().map(|entry| Entry::parse(entry.text.as_bytes()).unwrap().event);
        let events: Vec<_> = events.collect();
        let used = events.iter().filter(|event| match event {
            Event::Used { request, status: 200, received: 8, cut: None, .. } => {
                request.as_str() == "GET /v1/{org}/{shop}/orders/**"
            }
            _ => false,
        });
        let issued = events.iter().filter(|event| matches!(event, Event::Issued { .. })).count();
        if used.count() == 5 {
            assert_eq!(issued, 1);
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{events:#?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn bodies_go_out_as_they_came() {
    let scene = scene().await;
    // For somebody: the example's agents write orders for a person only.
    let agent = scene
        .broker
        .agent_for("spiffe://dev.jeton.local/person/ana", &["orders:acme/* orders:write"])
        .await;
    let body = vec![7; 300_000];
    let answer = scene
        .client
        .post(scene.url("/v1/acme/shop/orders"))
        .header("jeton-session", agent.handle.clone().unwrap())
        .body(body.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(scene.seen.lock().unwrap().last().unwrap().body, body);
}

#[tokio::test]
async fn a_session_makes_no_more_calls_than_its_budget_allows() {
    let scene = scene_with(
        "[[budget]]\nname = \"calls\"\nper = \"session\"\nupstream = \"orders\"\ncalls = 3\nseconds = 3600\n",
    )
    .await;
    for _ in 0..3 {
        assert_eq!(scene.told("GET", "/v1/acme/shop/orders/7").await.0, 200);
    }
    let (status, text) = scene.told("GET", "/v1/acme/shop/orders/7").await;
    assert!(
        status == 403 && text.contains("the budget `calls` allows 3 calls in 3600 s"),
        "{status} {text}"
    );
    assert_eq!(scene.seen.lock().unwrap().len(), 3);
    // Another session has its own.
    let (other, _) = scene.broker.agent_with(&["orders:acme/* orders:read"]).await;
    let call = scene.client.get(scene.url("/v1/acme/shop/orders/7"));
    let answer = call.header("jeton-session", other.handle.clone().unwrap()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn where_reads_are_sampled_one_of_so_many_is_told_and_all_else_is() {
    let scene = scene_of("", 4).await;
    for _ in 0..12 {
        assert_eq!(scene.told("GET", "/v1/acme/shop/orders/7").await.0, 200);
    }
    for _ in 0..3 {
        assert_eq!(scene.told("GET", "/v1/acme/shop/orders/missing").await.0, 404);
    }
    let used = scene.used(6).await;
    let reads = used.iter().filter(|(_, status, one_of)| (*status, *one_of) == (200, Some(4)));
    let missing = used.iter().filter(|(_, status, one_of)| (*status, *one_of) == (404, None));
    assert_eq!((reads.count(), missing.count(), used.len()), (3, 3, 6), "{used:?}");
}
