//! A broker whose gateway stands before a git host and an API, both at addresses of their own.

use std::{
    fs,
    sync::{Arc, Mutex},
};

use axum::body::{Body, Bytes};
use http::{Request, Response, header::AUTHORIZATION};
use http_body_util::BodyExt as _;
use tempfile::TempDir;

use crate::{
    broker::Broker,
    git_host::{ByBroker, GitHost},
    loopback::Loopback,
    run::Run,
    tls_front::TlsFront,
};

/// What the session may.
pub const ENVELOPE: [&str; 3] = [
    "git:acme/* contents:read",
    "git:acme/* contents:write ref=agent/*",
    "orders:acme/* orders:read",
];

const ROUTES: &str = r#"
[[route]]
upstream = "orders"
methods = ["GET", "HEAD", "POST"]
path = "/v1/{org}/{shop}/orders/**"
resource = "{org}/{shop}"
action = "orders:read"
query = ["page"]
body = "any"
"#;

/// How much `…/large` sends.
const LARGE: usize = 32 * 1024 * 1024;

/// How the API is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// By TLS, with a certificate that only the broker trusts.
    Tls,
    /// By plain HTTP.
    Plain,
}

/// What an upstream saw of one call.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Method and target.
    pub line: String,
    /// What let it in.
    pub authorization: String,
    /// The body.
    pub body: Bytes,
}

/// All of it. Everything goes away when dropped.
pub struct TwoUpstreams {
    /// The broker.
    pub broker: Broker,
    /// The git host behind the gateway.
    pub host: GitHost,
    /// What that lets in.
    pub gate: Arc<ByBroker>,
    /// Where the API is, by its own address: without a slash at the end.
    pub api: String,
    /// Where the git host is, the same way.
    pub git: String,
    /// The folder of the agent.
    pub home: TempDir,
    seen: Arc<Mutex<Vec<Seen>>>,
    _servers: (Loopback, TlsFront, TlsFront, TempDir),
}

impl TwoUpstreams {
    /// Starts them.
    pub async fn start(wire: Wire) -> Self {
        let repositories = tempfile::tempdir().unwrap();
        let gate = Arc::new(ByBroker::default());
        let host = GitHost::start(repositories.path(), Arc::clone(&gate) as _).await;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let server = Loopback::serve(move |request: Request<Body>| {
            let kept = Arc::clone(&kept);
            async move { Ok(answer(request, &kept).await) }
        })
        .await;
        let before_api = TlsFront::before(server.address()).await;
        let before_git = TlsFront::before(host.url()["http://".len()..].parse().unwrap()).await;
        let api = match wire {
            Wire::Tls => format!("https://localhost:{}/base", before_api.port()),
            Wire::Plain => format!("{}/base", server.url()),
        };
        let git = format!("https://localhost:{}", before_git.port());
        let broker = Broker::start_with(|data| {
            let file = data.join("jetond.toml");
            let mut text = fs::read_to_string(&file).unwrap();
            for (name, key, url, ca) in
                [("orders", "api", &api, before_api.ca()), ("git", "git", &git, before_git.ca())]
            {
                let ca_file = data.join(format!("{name}-ca.pem"));
                fs::write(&ca_file, ca).unwrap();
                let own = format!("audience = \"https://{name}.dev.jeton.local\"\n");
                let ca_file = ca_file.display();
                let more = format!("{own}{key} = \"{url}\"\nca = \"{ca_file}\"\n");
                text = text.replace(&own, &more);
            }
            fs::write(&file, text).unwrap();
            let file = data.join("policies/catalogue.toml");
            fs::write(&file, fs::read_to_string(&file).unwrap() + ROUTES).unwrap();
        });
        gate.know(broker.client("git-host").await);
        host.create_repo("acme/api");
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("tmp")).unwrap();
        let servers = (server, before_api, before_git, repositories);
        Self { broker, host, gate, api, git, home, seen, _servers: servers }
    }

    /// A session with [`ENVELOPE`].
    pub fn session(&self) -> Run<'_> {
        Run::opened(&self.broker, self.home.path(), &ENVELOPE, &[])
    }

    /// What the API saw so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Every credential that opened something so far.
    pub fn credentials(&self) -> Vec<String> {
        let seen = self.seen();
        let api = seen.iter().filter_map(|seen| seen.authorization.strip_prefix("Bearer "));
        self.gate.tokens().into_iter().chain(api.map(str::to_owned)).collect()
    }
}

async fn answer(request: Request<Body>, kept: &Mutex<Vec<Seen>>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let authorization = parts.headers.get(AUTHORIZATION);
    let authorization = authorization.map_or("", |value| value.to_str().unwrap()).to_owned();
    let line = format!("{} {}", parts.method, parts.uri);
    let length = body.len();
    kept.lock().unwrap().push(Seen { line, authorization, body });
    let path = parts.uri.path();
    if path.ends_with("/moved") {
        let to = "/base/v1/acme/shop/orders/8?page=1";
        return Response::builder().status(302).header("location", to).body(Body::empty()).unwrap();
    }
    if path.ends_with("/large") {
        return Response::new(Body::from(vec![b'x'; LARGE]));
    }
    let words = format!("{} {length}\n", path.rsplit('/').next().unwrap());
    Response::new(Body::from(format!("order {words}")))
}
