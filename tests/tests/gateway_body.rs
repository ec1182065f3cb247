//! Calls whose body decides what they are: GraphQL by operation and root field, JSON by its fields. What goes out is
//! what was decided, and nothing else does.

use std::{
    fs,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use jeton_domain::audit::{Entry, Event};
use jeton_proto::v1::ListEntriesRequest;
use jeton_tests::{
    broker::{Broker, Caller},
    loopback::Loopback,
};
use serde_json::{Value, json};
use tokio_stream::StreamExt as _;

const ROUTES: &str = r#"
[[route]]
upstream = "orders"
methods = ["POST"]
path = "/graphql"
graphql = "query"
fields = ["repository"]
arguments = { owner = "owner", name = "name" }
resource = "{owner}/{name}"
action = "orders:read"

[[route]]
upstream = "orders"
methods = ["POST"]
path = "/graphql"
graphql = "query"
fields = ["viewer", "rateLimit"]
resource = "acme/viewer"
action = "orders:read"

[[route]]
upstream = "orders"
methods = ["POST"]
path = "/graphql"
graphql = "mutation"
fields = ["createIssue", "addComment", "deleteIssue"]
resource = "acme/shop"
action = "orders:write"

[[route]]
upstream = "orders"
methods = ["GET", "POST"]
path = "/{any}"
resource = "acme/any"
action = "orders:read"
query = "any"
body = "any"

[[route]]
upstream = "orders"
methods = ["POST", "PATCH"]
path = "/v1/{org}/pulls"
body = ["title", "shop", "base", "draft", "number", "parent"]
where = { base = ["main", "next"], "parent.type" = "page", draft = true, number = 7 }
resource = "{org}/{body.shop}"
action = "orders:read"

[[route]]
upstream = "orders"
methods = ["POST"]
path = "/v1/{org}/things"
body = "any"
where = { size = "small" }
resource = "{org}/shop"
action = "orders:read"

[[route]]
upstream = "orders"
methods = ["POST"]
path = "/v1/{org}/things"
body = "any"
resource = "{org}/shop"
action = "orders:write"
"#;

const RULES: &str = r#"
@id("no-deleting") @reason("issues are deleted by people")
forbid (principal, action, resource is Jeton::Resource)
when { context has fields && context.fields.contains("deleteIssue") };
@id("one-at-a-time") @reason("comment in a mutation of its own")
forbid (principal, action, resource is Jeton::Resource)
when { context has operation && context has fields && context.operation == "mutation" && context.fields.containsAll(["addComment", "createIssue"]) };
"#;

const ANA: &str = "spiffe://dev.jeton.local/person/ana";
const KIND: &str = "application/json";

#[derive(Clone, Debug, PartialEq)]
struct Seen {
    line: String,
    kind: Vec<String>,
    length: Option<String>,
    body: Vec<u8>,
}

struct Scene {
    broker: Broker,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Reads.
    agent: Caller,
    /// Writes too, for somebody.
    writer: Caller,
    client: reqwest::Client,
    _api: Loopback,
}

async fn scene() -> Scene {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let api = Loopback::serve(move |request: Request<Body>| {
        let kept = Arc::clone(&kept);
        async move {
            let (parts, body) = request.into_parts();
            let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
            let one = Seen {
                line: format!("{} {}", parts.method, parts.uri),
                kind: parts.headers.get_all("content-type").iter().map(text).collect(),
                length: parts.headers.get("content-length").map(text),
                body: body.collect().await.unwrap().to_bytes().to_vec(),
            };
            kept.lock().unwrap().push(one);
            Ok(Response::new(Body::from("{\"data\":{}}")))
        }
    })
    .await;
    let url = api.url();
    let broker = Broker::start_with(|data| {
        let file = data.join("jetond.toml");
        let text = fs::read_to_string(&file).unwrap();
        let own = "audience = \"https://orders.dev.jeton.local\"\n";
        fs::write(&file, text.replace(own, &format!("{own}api = \"{url}\"\n"))).unwrap();
        let file = data.join("policies/catalogue.toml");
        fs::write(&file, fs::read_to_string(&file).unwrap() + ROUTES).unwrap();
        fs::write(data.join("policies/more.cedar"), RULES).unwrap();
    });
    let envelope = ["orders:acme/* orders:read,orders:write"];
    let (agent, _) = broker.agent_with(&envelope).await;
    let writer = broker.agent_for(ANA, &envelope).await;
    let client = broker.http(Some("agent"));
    Scene { broker, seen, agent, writer, client, _api: api }
}

impl Scene {
    fn call(&self, who: &Caller, method: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}/api/orders{path}", self.broker.env("JETON_GATEWAY"));
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, url).header("jeton-session", who.handle.clone().unwrap())
    }

    /// Sends a body as JSON. Gives the status and the words of the answer.
    async fn sends(
        &self,
        who: &Caller,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> (u16, String) {
        told(self.call(who, "POST", path).header("content-type", KIND).body(body)).await
    }

    async fn asks(&self, who: &Caller, document: &str, variables: Value) -> (u16, String) {
        let body = json!({ "query": document, "variables": variables }).to_string();
        self.sends(who, "/graphql", body).await
    }

    fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().cloned().unwrap()
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

async fn told(call: reqwest::RequestBuilder) -> (u16, String) {
    let answer = call.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn what_routes_name_goes_out_byte_for_byte() {
    let scene = scene().await;
    let named = json!({ "o": "acme", "n": "shop" });
    for (document, variables) in [
        ("{ repository(owner: \"acme\", name: \"shop\") { id } }", json!(null)),
        (
            "query Q($o: String!, $n: String!) { repository(owner: $o, name: $n) { id } }",
            named.clone(),
        ),
        (
            "query Q($o: String = \"acme\", $n: String!) { r: repository(owner: $o, name: $n) { id } }",
            json!({ "n": "shop" }),
        ),
        (
            "query Q($o: String!) { ...F __typename } fragment F on Query { ... on Query { repository(name: \"shop\", owner: $o) { id } } }",
            named.clone(),
        ),
        (
            "{ a: repository(owner: \"acme\", name: \"shop\") { id } b: repository(owner: \"acme\", name: \"shop\") { id } }",
            json!({}),
        ),
        ("{ viewer { login } rateLimit { cost } }", json!(null)),
        (
            "query A { viewer { login } } query B { me: viewer @include(if: true) { login } }",
            json!(null),
        ),
        ("{ viewer { login } # } mutation { deleteIssue }\n }", json!(null)),
    ] {
        let (status, text) = scene.asks(&scene.agent, document, variables.clone()).await;
        assert_eq!(status, 200, "{document}: {text}");
        let sent = json!({ "query": document, "variables": variables }).to_string();
        assert_eq!(scene.last().body, sent.as_bytes(), "{document}");
    }
    // As it came: blanks, order, escapes and all.
    let odd = " {\n\t\"operationName\" : \"A\",\"\\u0071uery\":\"query A{viewer{login}} query B{viewer{id}}\" , \"extensions\":{\"clientLibrary\":{\"name\":\"x\"}}}\r\n ";
    let call = scene.call(&scene.agent, "POST", "/graphql");
    let call = call
        .header("content-type", "Application/json; charset=UTF-8")
        .header("connection", "content-type");
    assert_eq!(told(call.body(odd)).await.0, 200);
    let seen = Seen {
        line: "POST /graphql".into(),
        kind: vec!["Application/json; charset=UTF-8".into()],
        length: Some(odd.len().to_string()),
        body: odd.as_bytes().to_vec(),
    };
    assert_eq!(scene.last(), seen);
    // In pieces without a length.
    let pieces = ["{\"query\":\"{ vie", "wer { login } }\"", "}"].map(Ok::<_, std::io::Error>);
    let body = reqwest::Body::wrap_stream(tokio_stream::iter(pieces));
    assert_eq!(scene.sends(&scene.agent, "/graphql", body).await.0, 200);
    assert_eq!(scene.last().body, b"{\"query\":\"{ viewer { login } }\"}");
    assert_eq!(scene.last().length.as_deref(), Some("32"));
    let (status, text) =
        scene.asks(&scene.writer, "mutation { createIssue(input: {}) { id } }", json!({})).await;
    assert_eq!(status, 200, "{text}");
}

#[tokio::test]
async fn what_a_document_asks_for_beyond_a_route_never_reaches_the_upstream() {
    let scene = scene().await;
    let repository = "repository(owner: \"acme\", name: \"shop\") { id }";
    let other = "repository(owner: \"acme\", name: \"other\") { id }";
    let cases = [
        // Another field, however it is written.
        ("{ search { id } }".to_owned(), "operation `query search`"),
        ("{ viewer: search { id } }".into(), "operation `query search`"),
        ("{ viewer { id } search { id } }".into(), "operation `query search, viewer`"),
        ("{ viewer { id } ...F } fragment F on Query { search { id } }".into(), "query search, viewer"),
        ("{ viewer { id } ...F } fragment F on Query { ...G } fragment G on Query { a: search { id } }".into(), "query search, viewer"),
        ("{ viewer { id } ... { search { id } } }".into(), "query search, viewer"),
        ("{ viewer { id } ... on Query @skip(if: true) { search { id } } }".into(), "query search, viewer"),
        ("{ viewer { id } search @include(if: false) { id } }".into(), "query search, viewer"),
        ("{ __schema { types { name } } }".into(), "query __schema"),
        ("{ Viewer { id } }".into(), "query Viewer"),
        ("query A { viewer { id } } query B { search { id } }".into(), "query search, viewer"),
        ("{ viewer { id } # \n search { id } }".into(), "query search, viewer"),
        ("{ viewer(x: \"}\") { id } search { id } }".into(), "query search, viewer"),
        ("{ viewer(x: \"\"\" \" } \"\"\") { id } search { id } }".into(), "query search, viewer"),
        // Fields of two routes.
        (format!("{{ viewer {{ id }} {repository} }}"), "query repository, viewer"),
        // A mutation in the clothes of a query.
        ("mutation { viewer { id } }".into(), "operation `mutation viewer`"),
        ("mutation query { search { id } }".into(), "operation `mutation search`"),
        ("mutation viewer { closeIssue { id } }".into(), "operation `mutation closeIssue`"),
        ("query { createIssue { id } }".into(), "operation `query createIssue`"),
        ("query { viewer { id } } mutation { createIssue { id } }".into(), "queries and mutations"),
        ("fragment F on Query { viewer { id } } mutation { x: closeIssue { id } ...F }".into(), "mutation closeIssue, viewer"),
        ("subscription { viewer { id } }".into(), "subscriptions are not taken"),
        // Another resource.
        (format!("{{ {repository} b: {other} }}"), "operation `query repository`"),
        ("{ repository(name: \"shop\") { id } }".into(), "operation `query repository`"),
        ("{ repository(owner: \"acme/shop\", name: \"..\") { id } }".into(), "query repository"),
        ("{ repository(owner: \"acme\", name: \"a/b\") { id } }".into(), "query repository"),
        ("{ repository(owner: \"ac\\u006de\", name: \"shop\") { id } }".into(), "query repository"),
        ("query($o: String = \"acme\") { repository(owner: $o, name: \"shop\") { id } }".into(), "lies outside the session's envelope"),
        ("{ repository(owner: \"other\", name: \"shop\") { id } }".into(), "lies outside the session's envelope"),
        ("{ repository(owner: \"acme\", owner: \"other\", name: \"shop\") { id } }".into(), "two arguments named `owner`"),
        ("query($o: S = \"acme\", $o: S = \"other\") { repository(owner: $o, name: \"shop\") { id } }".into(), "two variables named `o`"),
        ("{ __typename }".into(), "control"),
        // What parsers see differently.
        ("{ viewer { id } # \r search { id }\n }".into(), "holds the character"),
        ("{ viewer { id } # \u{2028} search { id }\n }".into(), "holds the character"),
        ("\u{feff}{ viewer { id } }".into(), "holds the character"),
        ("{ viewer { id } \0 }".into(), "holds the character"),
        ("{ viewer(x: \"\n\") { id } }".into(), "more than one line"),
        ("{ viewer { id } } }".into(), "ends nothing"),
        ("{ viewer { id }".into(), "is missing"),
        ("{ viewer { id } } extend type Query { search: Int }".into(), "other than operations and fragments"),
        ("{ viewer { ...F } } fragment F on U { id } fragment F on Query { search }".into(), "two fragments named `F`"),
        ("{ ...F }".into(), "spreads the fragment `F`"),
        (format!("{}viewer{}", "{ a ".repeat(200), "}".repeat(201)), "brackets open at once"),
        (format!("{{ viewer {{ {} }} }}", "id ".repeat(20_000)), "tokens"),
        (format!("{{ {} }}", "viewer ".repeat(500)), "root fields"),
    ];
    for (document, words) in cases {
        let variables = json!({ "o": "other" });
        let (status, text) = scene.asks(&scene.agent, &document, variables).await;
        if words == "control" {
            // Nothing but the type's name: the second route, which has no arguments, takes it.
            assert_eq!((status, scene.count()), (200, 1), "{text}");
            scene.seen.lock().unwrap().clear();
            continue;
        }
        assert!(matches!(status, 400 | 403), "{document}: {status} {text}");
        let text = text.replace("\\\"", "\"").replace("\\\\", "\\");
        assert!(text.contains(words), "{document}: {text}");
    }
    assert_eq!(scene.count(), 0, "{:#?}", scene.seen.lock().unwrap());
}

#[tokio::test]
async fn what_could_be_read_as_another_request_never_reaches_the_upstream() {
    let scene = scene().await;
    let good = "{\"query\":\"{ viewer { id } }\"}";
    let evil = "mutation { deleteIssue { id } }";
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let bodies: Vec<(Vec<u8>, &str)> = vec![
        (format!("[{good}]").into(), "one call at a time"),
        (format!("[{good},{good}]").into(), "one call at a time"),
        ("\"{ viewer { id } }\"".into(), "one call at a time"),
        (format!("{{\"query\":\"{{ viewer }}\",\"query\":\"{evil}\"}}").into(), "twice"),
        (format!("{{\"query\":\"{{ viewer }}\",\"\\u0071uery\":\"{evil}\"}}").into(), "twice"),
        (format!("{{\"query\":\"{{ viewer }}\",\"Query\":\"{evil}\"}}").into(), "twice"),
        (format!("{{\"query\":\"{{ viewer }}\",\"query\\u0000\":\"{evil}\"}}").into(), "control character"),
        (format!("{{\"query\":\"{{ viewer }}\",\"mutation\":\"{evil}\"}}").into(), "the key `mutation`"),
        ("{\"query\":\"{ viewer }\",\"variables\":{\"a\":1,\"a\":2}}".into(), "twice"),
        ("{\"query\":\"{ viewer }\",\"variables\":\"{}\"}".into(), "not an object"),
        ("{\"query\":\"{ viewer }\",\"operationName\":\"Other\"}".into(), "no operation `Other`"),
        ("{\"query\":[\"{ viewer }\"]}".into(), "no text in `query`"),
        ("{\"query\":\"{ viewer }\",\"documentId\":\"x\"}".into(), "the key `documentId`"),
        ("{\"query\":\"{ viewer }\",\"extensions\":{\"persistedQuery\":{\"version\":1,\"sha256Hash\":\"x\"}}}".into(), "persistedQuery"),
        ("{\"extensions\":{\"persistedQuery\":{\"version\":1,\"sha256Hash\":\"x\"}}}".into(), "persistedQuery"),
        ("{\"id\":\"x\"}".into(), "the key `id`"),
        (format!("\u{feff}{good}").into(), "no JSON that is taken"),
        (format!("{good} {good}").into(), "no JSON that is taken"),
        (format!("{good}//").into(), "no JSON that is taken"),
        ([b"{\"query\":\"{ viewer }\",\"operationName\":\"\xff\"}".to_vec()].concat(), "not UTF-8"),
        (utf16, "no JSON that is taken"),
        (vec![], "no route of the catalogue names POST /graphql"),
        ("query=%7B+viewer+%7D".into(), "no JSON that is taken"),
        (format!("{{\"query\":\"{{ viewer }}\",\"variables\":{{\"a\":{}}}}}", "[".repeat(5_000)).into(), "recursion limit"),
        (format!("{{\"query\":\"{{ viewer }}\",\"variables\":{{\"a\":[{}1]}}}}", "1,".repeat(100_000)).into(), "more than 100000 values"),
        (format!("{{\"query\":\"{{ viewer }}{}\"}}", " ".repeat(1024 * 1024)).into(), "larger than the 1048576 bytes"),
    ];
    for (body, words) in bodies {
        let shown = String::from_utf8_lossy(&body).chars().take(100).collect::<String>();
        let (status, text) = scene.sends(&scene.agent, "/graphql", body).await;
        assert!(matches!(status, 400 | 403 | 413), "{shown}: {status} {text}");
        assert!(text.contains(words), "{shown}: {text}");
    }
    let post = |path: &str| scene.call(&scene.agent, "POST", path);
    let kind = |call: reqwest::RequestBuilder| call.header("content-type", KIND);
    let query = "query=%7B%20viewer%20%7D";
    for (call, code, words) in [
        (post("/graphql").body(good), 415, "application/json"),
        (post("/graphql").header("content-type", "text/plain").body(good), 415, "application/json"),
        (
            post("/graphql").header("content-type", "application/graphql").body("{ viewer }"),
            415,
            "application/json",
        ),
        (
            post("/graphql").header("content-type", "application/json; charset=utf-16").body(good),
            415,
            "application/json",
        ),
        (
            post("/graphql")
                .header("content-type", "application/x-www-form-urlencoded")
                .body(query),
            415,
            "application/json",
        ),
        (
            post("/graphql").header("content-type", "multipart/form-data; boundary=x").body(good),
            415,
            "application/json",
        ),
        (kind(kind(post("/graphql"))).body(good), 415, "application/json"),
        (
            kind(post("/graphql")).header("content-type", "text/plain").body(good),
            415,
            "application/json",
        ),
        (kind(post("/graphql")).header("content-encoding", "gzip").body(good), 415, "packed"),
        (kind(post("/graphql")).header("content-encoding", "identity").body(good), 415, "packed"),
        (kind(post(&format!("/graphql?{query}"))).body(good), 403, "the query key `query`"),
        (kind(post("/graphql?operationName=x")).body(good), 403, "the query key `operationName`"),
        (kind(post("/graphql?x")).body(good), 403, "the query key `x`"),
        (
            scene.call(&scene.agent, "GET", &format!("/graphql?{query}")),
            403,
            "no route of the catalogue names GET",
        ),
        (scene.call(&scene.agent, "GET", "/graphql"), 403, "no route of the catalogue names GET"),
        (kind(post("/GraphQL")).body(good), 403, "no route of the catalogue names POST"),
        (
            scene.call(&scene.agent, "GET", &format!("/GRAPHQL?{query}")),
            403,
            "no route of the catalogue names GET",
        ),
        (kind(post("/graphql/")).body(good), 400, "not written plainly"),
        (kind(post("/%67raphql")).body(good), 400, "not written plainly"),
        (
            kind(scene.call(&scene.agent, "PUT", "/graphql")).body(good),
            403,
            "no route of the catalogue names PUT",
        ),
        (
            kind(scene.call(&scene.agent, "GET", "/graphql"))
                .header("x-http-method-override", "POST")
                .body(good),
            403,
            "no route",
        ),
    ] {
        let call = call.build().unwrap();
        let shown = format!("{call:?}");
        let answer = scene.client.execute(call).await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert_eq!(status, code, "{shown}: {text}");
        assert!(text.contains(words), "{shown}: {text}");
    }
    assert_eq!(scene.count(), 0, "{:#?}", scene.seen.lock().unwrap());
    // The control: the route beside it still takes what is no GraphQL.
    assert_eq!(told(scene.call(&scene.agent, "GET", &format!("/other?{query}"))).await.0, 200);
    assert_eq!(scene.count(), 1);
}

#[tokio::test]
async fn policies_see_the_operation_and_the_log_tells_it() {
    let scene = scene().await;
    let ask = async |document: &str| scene.asks(&scene.writer, document, json!({})).await;
    let (status, text) =
        scene.asks(&scene.agent, "mutation { createIssue { id } }", json!({})).await;
    assert!(status == 403 && text.contains("no policy allows `orders:write`"), "{text}");
    let (status, text) = ask("mutation { x: deleteIssue(id: \"secret\") { id } }").await;
    assert!(status == 403 && text.contains("issues are deleted by people"), "{text}");
    let (status, text) =
        ask("mutation { addComment { id } ...F } fragment F on M { createIssue { id } }").await;
    assert!(status == 403 && text.contains("comment in a mutation of its own"), "{text}");
    assert_eq!(scene.count(), 0);
    assert_eq!(ask("mutation Make { b: createIssue(title: \"secret\") { id } }").await.0, 200);
    assert_eq!(
        scene.asks(&scene.agent, "{ rateLimit { x } viewer { id } }", json!({})).await.0,
        200
    );
    let pull = json!({ "shop": "shop", "base": "main", "draft": true, "number": 7, "parent": { "type": "page" } });
    assert_eq!(scene.sends(&scene.agent, "/v1/acme/pulls", pull.to_string()).await.0, 200);
    let wanted = [
        "POST /graphql mutation createIssue",
        "POST /graphql query rateLimit, viewer",
        "POST /v1/{org}/pulls",
    ];
    let auditor = scene.broker.as_("audrey").await;
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let page = Some(jeton_proto::v1::Page { size: 500, ..Default::default() });
        let request = ListEntriesRequest { oldest_first: true, page, filter: None };
        let answer = auditor.audit().list_entries(request).await.unwrap().into_inner();
        assert!(answer.entries.iter().all(|entry| !entry.text.contains("secret")));
        let events =
            answer.entries.iter().map(|one| Entry::parse(one.text.as_bytes()).unwrap().event);
        let used = events.filter_map(|event| match event {
            Event::Used { request, sent, .. } => Some((request.as_str().to_owned(), sent)),
            _ => None,
        });
        let mut used: Vec<_> = used.collect();
        used.sort();
        if used.len() == wanted.len() {
            assert!(used.iter().map(|(line, _)| line.as_str()).eq(wanted), "{used:?}");
            assert_eq!(used[2].1, u64::try_from(pull.to_string().len()).unwrap());
            return;
        }
        assert!(Instant::now() < deadline, "{used:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_json_body_is_held_to_its_keys_and_fields() {
    let scene = scene().await;
    let good = r#"{"title":"x","shop":"shop","base":"main","draft":true,"number":7,"parent":{"type":"page","id":1}}"#;
    for (from, to) in [
        ("", ""),
        ("main", "next"),
        ("\"title\":\"x\",", ""),
        ("\"x\"", "{\"base\":[1]}"),
        ("\"base\"", "\"b\\u0061se\""),
    ] {
        let body = good.replacen(from, to, 1);
        let (status, text) = scene.sends(&scene.agent, "/v1/acme/pulls", body.clone()).await;
        assert_eq!(status, 200, "{body}: {text}");
        assert_eq!(scene.last().body, body.as_bytes());
    }
    scene.seen.lock().unwrap().clear();
    for (from, to, words) in [
        ("\"main\"", "\"prod\"", "no route of the catalogue names POST /v1/acme/pulls"),
        ("\"main\"", "\"Main\"", "no route"),
        ("\"main\"", "\"main \"", "no route"),
        ("\"main\"", "[\"main\"]", "no route"),
        ("\"main\"", "null", "no route"),
        ("\"base\":\"main\",", "", "no route"),
        ("\"base\"", "\"Base\"", "with this body (its keys: title, shop, Base"),
        ("\"base\":\"main\"", "\"base\":\"main\",\"base\":\"prod\"", "twice"),
        ("\"base\":\"main\"", "\"base\":\"main\",\"b\\u0061se\":\"prod\"", "twice"),
        ("\"base\":\"main\"", "\"base\":\"main\",\"BASE\":\"prod\"", "twice"),
        ("\"base\":\"main\"", "\"base\":\"main\",\"base[]\":\"prod\"", "no route"),
        ("\"base\":\"main\"", "\"base\":\"main\",\"admin\":true", "no route"),
        ("true", "\"true\"", "no route"),
        ("true", "1", "no route"),
        ("true", "false", "no route"),
        ("7", "\"7\"", "no route"),
        ("7", "7.0", "no route"),
        ("7", "7e0", "no route"),
        ("7", "8", "no route"),
        ("\"type\":\"page\"", "\"type\":\"workspace\"", "no route"),
        ("\"type\":\"page\"", "\"type\":\"page\",\"Type\":\"workspace\"", "twice"),
        ("{\"type\":\"page\",\"id\":1}", "[{\"type\":\"page\"}]", "no route"),
        ("\"parent\":{\"type\":\"page\",\"id\":1}", "\"parent.type\":\"page\"", "no route"),
        ("\"shop\":\"shop\"", "\"shop\":\"a/b\"", "no route"),
        ("\"shop\":\"shop\"", "\"shop\":\"..\"", "no route"),
        ("\"shop\":\"shop\"", "\"shop\":\"*\"", "no route"),
        ("\"shop\":\"shop\"", "\"shop\":\"\"", "no route"),
        ("\"shop\":\"shop\"", "\"shop\":{}", "no route"),
        ("\"shop\":\"shop\",", "", "no route"),
    ] {
        assert!(good.contains(from), "{from}");
        let body = good.replacen(from, to, 1);
        let (status, text) = scene.sends(&scene.agent, "/v1/acme/pulls", body.clone()).await;
        assert!(matches!(status, 400 | 403), "{body}: {status} {text}");
        assert!(text.contains(words), "{body}: {text}");
    }
    let (status, text) = scene.sends(&scene.agent, "/v1/other/pulls", good).await;
    assert!(status == 403 && text.contains("outside the session's envelope"), "{text}");
    let (status, text) = scene.sends(&scene.agent, "/v1/acme/pulls?base=prod", good).await;
    assert!(status == 403 && text.contains("the query key `base`"), "{text}");
    assert_eq!(scene.count(), 0, "{:#?}", scene.seen.lock().unwrap());
}

#[tokio::test]
async fn the_first_route_that_takes_the_whole_call_decides() {
    let scene = scene().await;
    let small = scene.sends(&scene.agent, "/v1/acme/things", r#"{"size":"small","more":1}"#).await;
    assert_eq!(small.0, 200, "{}", small.1);
    let (status, text) = scene.sends(&scene.agent, "/v1/acme/things", r#"{"size":"large"}"#).await;
    assert!(status == 403 && text.contains("no policy allows `orders:write`"), "{text}");
    let (status, text) = scene.sends(&scene.writer, "/v1/acme/things", r#"{"size":"large"}"#).await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(scene.last().body, br#"{"size":"large"}"#);
    let broken = scene.sends(&scene.writer, "/v1/acme/things", "{\"size\":\"large\"").await;
    assert_eq!(broken.0, 400, "what can't be looked into is for no route");
    assert_eq!(scene.count(), 2);
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_or_breaks_off_is_given_up() {
    let scene = scene().await;
    let never = tokio_stream::iter([Ok::<_, std::io::Error>("{\"query\":\"{ viewer }\"")]);
    let broken = never.chain(tokio_stream::iter([Err(std::io::Error::other("gone"))]));
    let call = scene.call(&scene.agent, "POST", "/graphql").header("content-type", KIND);
    assert!(call.body(reqwest::Body::wrap_stream(broken)).send().await.is_err());
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<&str, std::io::Error>>(1);
    sender.send(Ok("{\"query\":\"{ viewer }\"")).await.unwrap();
    let body = reqwest::Body::wrap_stream(tokio_stream::wrappers::ReceiverStream::new(receiver));
    let began = Instant::now();
    let (status, text) = scene.sends(&scene.agent, "/graphql", body).await;
    assert!(status == 408 && text.contains("did not arrive within 30 s"), "{status} {text}");
    assert!(began.elapsed() < Duration::from_secs(40));
    drop(sender);
    assert_eq!(scene.count(), 0);
}
