//! What may stand beside the broker's credential in a call: listed headers, listed query keys and listed bodies, and
//! nothing else. Every case reaches a real broker, and an upstream that records what came.

use std::{
    fs,
    sync::{Arc, Mutex},
};

use axum::body::Body;
use http::{HeaderName, Request, Response};
use http_body_util::BodyExt as _;
use jeton_tests::{
    broker::{Broker, Caller},
    loopback::Loopback,
};

const ROUTES: &str = r#"
[[route]]
upstream = "orders"
methods = ["GET", "DELETE"]
path = "/v1/{org}/{shop}/orders/{id}"
resource = "{org}/{shop}"
action = "orders:read"

[[route]]
upstream = "orders"
methods = ["GET"]
path = "/v1/{org}/{shop}/listed"
resource = "{org}/{shop}"
action = "orders:read"
query = ["page", "$filter"]
headers = ["X-Scope-OrgID"]

[[route]]
upstream = "orders"
methods = ["GET"]
path = "/v1/{org}/{shop}/open"
resource = "{org}/{shop}"
action = "orders:read"
query = "any"

[[route]]
upstream = "orders"
methods = ["POST"]
path = "/v1/{org}/{shop}/open"
resource = "{org}/{shop}"
action = "orders:read"
body = "any"

[[route]]
upstream = "orders"
methods = ["POST"]
path = "/v1/{org}/{shop}/pulls"
resource = "{org}/{shop}"
action = "orders:read"
body = "any"
where = { base = "main" }

[[route]]
upstream = "orders"
methods = ["POST"]
path = "/v1/{org}/{shop}/cancel"
resource = "{org}/{shop}"
action = "orders:read"
body = []

[[route]]
upstream = "orders"
methods = ["GET"]
path = "/v1/{org}/{shop}/socket"
resource = "{org}/{shop}"
action = "orders:read"
socket = true
"#;

/// Headers with which services let a caller say who it is, for whom or for which tenant it calls, from where, or
/// which other call it means.
const IDENTITIES: [&str; 153] = [
    // Credentials of a client's own.
    "Private-Token",
    "Job-Token",
    "Deploy-Token",
    "X-Gitlab-Token",
    "X-Gitea-OTP",
    "X-GitHub-OTP",
    "X-Api-Key",
    "Api-Key",
    "Apikey",
    "X-Api-Token",
    "X-Auth-Token",
    "X-Subject-Token",
    "X-Service-Token",
    "X-Access-Token",
    "X-Id-Token",
    "X-Goog-Api-Key",
    "X-Goog-Iap-Jwt-Assertion",
    "X-Amz-Security-Token",
    "X-Amz-Date",
    "X-Amz-Content-Sha256",
    "X-Amzn-Oidc-Data",
    "X-Amzn-Oidc-Identity",
    "X-Amzn-Oidc-Accesstoken",
    "X-Vault-Token",
    "X-Consul-Token",
    "X-Nomad-Token",
    "X-Rundeck-Auth-Token",
    "X-Octopus-ApiKey",
    "X-Circle-Token",
    "Circle-Token",
    "X-Honeycomb-Team",
    "DD-API-KEY",
    "DD-APPLICATION-KEY",
    "X-Sentry-Auth",
    "X-Shopify-Access-Token",
    "X-JFrog-Art-Api",
    "X-Artifactory-Override-Base-Url",
    "X-NuGet-ApiKey",
    "X-Figma-Token",
    "X-Postmark-Server-Token",
    "X-Dropbox-Auth",
    "X-Auth-Key",
    "X-Auth-Email",
    "X-Auth-User-Service-Key",
    "X-Ms-Authorization-Auxiliary",
    "X-Registry-Auth",
    "Cf-Access-Jwt-Assertion",
    "Cf-Access-Client-Id",
    "Cf-Access-Client-Secret",
    "Cf-Access-Token",
    "X-Csrf-Token",
    "X-Xsrf-Token",
    "Cookie",
    "Cookie2",
    "Proxy-Authorization",
    "X-Authorization",
    "X-Forwarded-Access-Token",
    // Who calls, as a proxy in front of a service would say it.
    "X-Remote-User",
    "Remote-User",
    "X-Remote-Group",
    "X-Remote-Extra-Scopes",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-Auth-Request-User",
    "X-Auth-Request-Email",
    "X-Auth-Request-Groups",
    "X-Authenticated-User",
    "X-Authenticated-Userid",
    "X-User",
    "X-User-Id",
    "X-User-Email",
    "X-Username",
    "X-WebAuth-User",
    "X-Proxy-User",
    "X-SSL-Client-S-DN",
    "X-SSL-Client-Cert",
    "X-Client-Cert",
    "X-Client-Verify",
    "X-Forwarded-Client-Cert",
    "Ssl-Client-Cert",
    "X-Amzn-Mtls-Clientcert",
    "X-Consumer-Id",
    "X-Consumer-Username",
    "X-Credential-Identifier",
    "X-Goog-Authenticated-User-Email",
    "X-Goog-Authenticated-User-Id",
    "X-Ms-Client-Principal",
    "X-Ms-Client-Principal-Name",
    "X-Ms-Token-Aad-Access-Token",
    "Tailscale-User-Login",
    "Tailscale-User-Name",
    "Fly-Client-IP",
    "Fly-Forwarded-Proto",
    "Fly-Region",
    "X-Spiffe-Id",
    "X-Pomerium-Jwt-Assertion",
    "X-Vouch-User",
    "X-Grafana-User",
    "X-Role",
    "X-Roles",
    "X-Hasura-Role",
    "X-Hasura-Admin-Secret",
    "X-Hasura-User-Id",
    "X-Parse-Master-Key",
    "X-Parse-Session-Token",
    // For whom, or for which tenant.
    "Impersonate-User",
    "Impersonate-Group",
    "Impersonate-Uid",
    "Impersonate-Extra-Scopes",
    "Sudo",
    "On-Behalf-Of",
    "X-On-Behalf-Of",
    "X-Scope-OrgID",
    "X-Grafana-Org-Id",
    "X-Vault-Namespace",
    "X-Vault-Request",
    "Stripe-Account",
    "Stripe-Context",
    "OpenAI-Organization",
    "OpenAI-Project",
    "X-Goog-User-Project",
    "X-Goog-Request-Params",
    "X-Tenant-Id",
    "X-Tenant",
    "X-Org-Id",
    "X-Organization-Id",
    "X-Project-Id",
    "X-Account-Id",
    "X-Workspace-Id",
    "X-Atlassian-Token",
    "X-PagerDuty-From",
    "From",
    "X-Restli-Method",
    "X-Prisma-Tenant",
    "X-Kubernetes-Pf-Flowschema-Uid",
    "X-GitHub-Enterprise-Host",
    "X-GitHub-Token",
    "baggage",
    // From where, and which other call.
    "X-Forwarded-For",
    "X-Real-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "X-Client-IP",
    "X-HTTP-Method-Override",
    "X-HTTP-Method",
    "X-Method-Override",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-Forwarded-Host",
    "X-Forwarded-Prefix",
    "Forwarded",
];
/// What each of them says. Nothing that an upstream saw may contain it.
const VALUE: &str = "evil-7f3a";

/// One request as an upstream saw it.
#[derive(Clone, Debug)]
struct Seen {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(own, _)| own == name);
        found.next().map(|(_, value)| value.as_str())
    }
}

struct Scene {
    broker: Broker,
    agent: Caller,
    client: reqwest::Client,
    seen: Arc<Mutex<Vec<Seen>>>,
    _upstream: Loopback,
}

/// A broker whose API and git host are one server that records what comes.
async fn scene() -> Scene {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let upstream = Loopback::serve(move |request: Request<Body>| {
        let kept = Arc::clone(&kept);
        async move {
            let (parts, body) = request.into_parts();
            let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into();
            let pairs = parts.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
            let line = format!("{} {}", parts.method, parts.uri);
            let (line, headers) = (line, pairs.collect());
            // A body that breaks off is none that an upstream acts on.
            if let Ok(body) = body.collect().await {
                let body = body.to_bytes().to_vec();
                kept.lock().unwrap().push(Seen { line, headers, body });
            }
            Ok(Response::new(Body::from("ok")))
        }
    })
    .await;
    let url = upstream.url();
    let broker = Broker::start_with(|data| {
        let file = data.join("jetond.toml");
        let mut text = fs::read_to_string(&file).unwrap();
        for (name, key) in [("orders", "api"), ("git", "git")] {
            let own = format!("audience = \"https://{name}.dev.jeton.local\"\n");
            text = text.replace(&own, &format!("{own}{key} = \"{url}\"\n"));
        }
        fs::write(&file, text).unwrap();
        let file = data.join("policies/catalogue.toml");
        fs::write(&file, fs::read_to_string(&file).unwrap() + ROUTES).unwrap();
    });
    let lines = ["orders:acme/* orders:read", "git:acme/* contents:read"];
    let (agent, _) = broker.agent_with(&lines).await;
    let client = broker.http(Some("agent"));
    Scene { broker, agent, client, seen, _upstream: upstream }
}

impl Scene {
    fn call(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", self.broker.env("JETON_GATEWAY"));
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, url).header("jeton-session", self.agent.handle.clone().unwrap())
    }

    fn orders(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.call(method, &format!("/api/orders/v1/acme/shop/{path}"))
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn told(call: reqwest::RequestBuilder) -> (u16, String) {
    let answer = call.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// The names of those that an upstream saw.
fn passed(seen: &[Seen]) -> Vec<String> {
    let headers = seen.iter().flat_map(|one| &one.headers);
    let evil = headers.filter(|(_, value)| value.contains(VALUE));
    evil.map(|(name, _)| name.clone()).collect()
}

#[tokio::test]
async fn no_identity_tenant_or_override_header_passes_beside_the_credential() {
    assert!(IDENTITIES.len() >= 120);
    let scene = scene().await;
    let mut refused = Vec::new();
    for name in IDENTITIES {
        let before = scene.seen().len();
        let call = scene.orders("GET", "orders/7").header(name, VALUE);
        let (status, text) = told(call).await;
        match status {
            200 => assert_eq!(scene.seen().len(), before + 1, "{name}"),
            // Named, so that whoever sent it knows what to leave out.
            400 if text.contains(&name.to_ascii_lowercase()) => {
                assert_eq!(scene.seen().len(), before, "{name}");
                refused.push(name);
            }
            // A client's own proof, which the gateway takes for one to itself.
            _ => panic!("{name}: {status} {text}"),
        }
    }
    let seen = scene.seen();
    assert!(seen.iter().all(|one| one.header("authorization").unwrap().starts_with("Bearer ey")));
    assert_eq!(passed(&seen), Vec::<String>::new(), "beside the credential");
    for name in ["X-HTTP-Method-Override", "X-Original-URL", "Impersonate-User", "Sudo"] {
        assert!(refused.contains(&name), "{name} would make another call of it");
    }
    // The control: what negotiates, is conditional or traces a call passes, and so does what a route lists.
    let good = [
        ("accept", "text/x"),
        ("accept-language", "de"),
        ("if-none-match", "\"7\""),
        ("traceparent", "00-1"),
        ("user-agent", "x/1"),
        ("x-github-api-version", "2022-11-28"),
        ("x-scope-orgid", "7"),
    ];
    let call = good
        .iter()
        .fold(scene.orders("GET", "listed"), |call, (name, value)| call.header(*name, *value));
    assert_eq!(told(call).await.0, 200);
    let last = scene.seen().pop().unwrap();
    for (name, value) in good {
        assert_eq!(last.header(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn neither_git_nor_a_handshake_nor_a_body_lets_one_pass() {
    let scene = scene().await;
    let plain: Vec<_> = IDENTITIES.into_iter().map(str::to_ascii_lowercase).collect();
    let refused =
        ["x-http", "x-method", "x-original", "x-rewrite", "impersonate", "sudo", "on-behalf"];
    let dropped = plain.iter().filter(|name| !refused.iter().any(|odd| name.starts_with(odd)));
    let dropped: Vec<_> = dropped.collect();
    let batch = r#"{"operation":"download","objects":[{"oid":"","size":1}]}"#;
    let batch = batch.replace("\"oid\":\"\"", &format!("\"oid\":\"{}\"", "a".repeat(64)));
    for headers in dropped.chunks(40) {
        let with = |call: reqwest::RequestBuilder| {
            headers.iter().fold(call, |call, name| call.header(name.as_str(), VALUE))
        };
        let git = "/git/git/acme/api.git";
        for call in [
            scene.call("GET", &format!("{git}/info/refs?service=git-upload-pack")),
            scene.call("POST", &format!("{git}/git-upload-pack")).body("0000"),
            scene.call("POST", &format!("{git}/info/lfs/objects/batch")).body(batch.clone()),
            scene.orders("POST", "open").body("x"),
            scene
                .orders("GET", "socket")
                .version(http::Version::HTTP_11)
                .header("connection", "upgrade")
                .header("upgrade", "websocket")
                .header("sec-websocket-version", "13")
                .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            let before = scene.seen().len();
            let _ = told(with(call)).await;
            let seen = scene.seen();
            assert!(seen.len() > before, "it reached no upstream: {headers:?}");
        }
    }
    assert_eq!(passed(&scene.seen()), Vec::<String>::new(), "beside the credential");
    let (status, text) = told(
        scene
            .orders("GET", "socket")
            .version(http::Version::HTTP_11)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.eA"),
    )
    .await;
    assert!(status == 403 && text.contains("`Sec-WebSocket-Protocol` does not pass"), "{text}");
}

#[tokio::test]
async fn a_header_is_not_smuggled_in_by_its_spelling() {
    let scene = scene().await;
    for name in
        ["x_scope_orgid", "x-scope_orgid", "x_forwarded_user", "x--scope-orgid", "content_type"]
    {
        let name = HeaderName::from_static(name);
        assert_eq!(told(scene.orders("GET", "listed").header(name, VALUE)).await.0, 200);
    }
    let odd = scene.orders("GET", "listed").header("x_http_method_override", "DELETE");
    assert_eq!(told(odd).await.0, 400);
    assert_eq!(passed(&scene.seen()), Vec::<String>::new());
}

#[tokio::test]
async fn a_query_key_that_no_list_names_does_not_pass() {
    let scene = scene().await;
    let unlisted = "the query key `_method` asks for another method";
    for (path, words) in [
        (
            "orders/7?page=1",
            "the query key `page` is not allowed for DELETE|GET /v1/{org}/{shop}/orders/{id}",
        ),
        ("orders/7?_method=DELETE", unlisted),
        ("orders/7?sudo=root", "the query key `sudo` is not allowed"),
        ("listed?page=1&admin=1", "the query key `admin` is not allowed"),
        ("listed?page=1;admin=1", "a raw `;`"),
        ("listed?page=1&amp;admin=1", "a raw `;`"),
        ("listed?page[admin]=1", "the query key `page[admin]`"),
        ("listed?=1", "the query key `` is not allowed"),
        ("listed?Page=1", "the query key `Page`"),
        ("listed?page%00=1", "the query key `page"),
        ("listed?%70age=1&%61dmin=1", "the query key `admin`"),
        ("open?x=1&_method=DELETE", unlisted),
        ("open?x=1&%5Fmethod=DELETE", unlisted),
    ] {
        let (status, text) = told(scene.orders("GET", path)).await;
        let text = text.replace("\\u0000", "");
        assert!(status == 403 && text.contains(words), "{path}: {status} {text}");
    }
    assert!(scene.seen().is_empty(), "{:?}", scene.seen());
    for (path, target) in [
        ("orders/7", "orders/7"),
        ("listed?page=1&page=2", "listed?page=1&page=2"),
        ("listed?page=1%3Badmin=1", "listed?page=1%3Badmin=1"),
        ("listed?", "listed?"),
        ("open?a=1;b=2&sudo=x", "open?a=1;b=2&sudo=x"),
    ] {
        let (status, text) = told(scene.orders("GET", path)).await;
        assert_eq!(status, 200, "{path}: {text}");
        assert_eq!(scene.seen().pop().unwrap().line, format!("GET /v1/acme/shop/{target}"));
    }
}

#[tokio::test]
async fn a_body_passes_only_where_a_route_says_so() {
    let scene = scene().await;
    let form = "application/x-www-form-urlencoded";
    let parts =
        "--b\r\nContent-Disposition: form-data; name=\"_method\"\r\n\r\nDELETE\r\n--b--\r\n";
    let json = "application/json";
    for (method, path, kind, body, words) in [
        ("GET", "orders/7", json, r#"{"a":1}"#, "with a body"),
        ("DELETE", "orders/7", json, r#"{"a":1}"#, "with a body"),
        ("GET", "open", json, "x", "with a body"),
        ("POST", "cancel", json, r#"{"a":1}"#, "with this body (its keys: a)"),
        ("POST", "cancel", form, "a=1", "application/json"),
        ("POST", "pulls", json, r#"{"base":"main","ba_se":"prod"}"#, "with this body"),
        ("POST", "pulls", json, r#"{"base":"main","base[]":"prod"}"#, "with this body"),
        ("POST", "pulls", json, r#"{"ba_se":"main"}"#, "with this body"),
        ("POST", "pulls", json, r#"{"base":"main","_method":"PUT"}"#, "with this body"),
        ("POST", "pulls", form, "base=main", "application/json"),
        ("POST", "open", form, "a=1&_method=DELETE", "the key `_method` of the form"),
        ("POST", "open", form, "a=1&%5Fmethod=DELETE", "the key `_method` of the form"),
        ("POST", "open", "multipart/form-data; boundary=b", parts, "the key `_method` of the form"),
    ] {
        let call = scene.orders(method, path).header("content-type", kind).body(body);
        let (status, text) = told(call).await;
        assert!(
            matches!(status, 403 | 415) && text.contains(words),
            "{path} {body}: {status} {text}"
        );
    }
    assert!(scene.seen().is_empty(), "{:?}", scene.seen());
    let upload = "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a\"\r\n\r\n_method\r\n--b--\r\n";
    for (method, path, kind, body) in [
        ("POST", "cancel", json, ""),
        ("POST", "cancel", json, "{}"),
        ("DELETE", "orders/7", json, ""),
        ("POST", "pulls", json, r#"{"base":"main","database":"x"}"#),
        ("POST", "open", form, "payment_method=card&method=x"),
        ("POST", "open", "multipart/form-data; boundary=b", upload),
        ("POST", "open", "application/octet-stream", "anything"),
    ] {
        let call = scene.orders(method, path).header("content-type", kind).body(body);
        let (status, text) = told(call).await;
        assert_eq!(status, 200, "{method} {path} {body}: {text}");
        let seen = scene.seen().pop().unwrap();
        assert_eq!(seen.body, body.as_bytes());
        assert_eq!(seen.header("content-type"), Some(kind), "{path}");
    }
    // Without a type it is none that a server takes for a form.
    assert_eq!(told(scene.orders("POST", "open").body("_method=DELETE")).await.0, 200);
    assert_eq!(
        scene.seen().pop().unwrap().header("content-type"),
        Some("application/octet-stream")
    );
}

#[tokio::test]
async fn a_filter_of_odata_passes_as_it_is_meant() {
    let scene = scene().await;
    let path = "listed?$filter=name%20eq%20'x'";
    // By hand: clients of URLs encode the quote.
    let (status, text) = raw(&scene, path).await;
    assert_eq!(status, 200, "{text}");
    let line = scene.seen().pop().unwrap().line;
    assert_eq!(line, "GET /v1/acme/shop/listed?$filter=name%20eq%20%27x%27");
}

/// A call whose target goes out byte for byte.
async fn raw(scene: &Scene, path: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let port = scene.broker.env("JETON_GATEWAY").rsplit(':').next().unwrap();
    let mut config = (*jeton_tests::raw::tls_config_of(&scene.broker, Some("agent"))).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let address = format!("127.0.0.1:{port}");
    let mut stream = jeton_tests::raw::tls_stream_to(&address, &Arc::new(config)).await.unwrap();
    let handle = scene.agent.handle.clone().unwrap();
    let head = format!(
        "GET /api/orders/v1/acme/shop/{path} HTTP/1.1\r\nHost: localhost\r\njeton-session: {handle}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    (text.get(9..12).and_then(|code| code.parse().ok()).unwrap_or_default(), text)
}
