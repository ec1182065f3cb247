//! Advisories of 2026 about programs that do what Jeton does, each as a test of the same fault against a real broker.
//!
//! | advisory | fault | here |
//! |---|---|---|
//! | CVE-2026-101998 | a mask fails open when a read returns data and an error | `cve_2026_101998_…` |
//! | CVE-2026-105452 | a client's own credential in another header is forwarded beside the injected one | `cve_2026_105452_…` |
//! | CVE-2026-100971 | a dot segment behind `;` leaves the path that was decided | `cve_2026_100971_…` |
//! | CVE-2026-100978 | a certificate of the upstream that nobody verified | `cve_2026_100978_…`. Host keys: Jeton speaks no SSH to upstreams; git is HTTPS alone |
//! | CVE-2026-104850 | a secret is sent where the other side says, by a redirect or an address in its answer | `cve_2026_104850_…` (redirects), `gateway_large::whatever_an_upstream_says_of_a_file_…` (addresses of large files) |
//! | CVE-2026-115563 | a secret is sent to a token endpoint that the other side names | no such path: Jeton is no client of OAuth. It takes JWKS and metadata from configured issuers, and sends them nothing secret. To GitHub it sends the app's token at the configured address, and follows no redirect: `github_front::…` |
//! | CVE-2026-109444 | an approval gate is off while no person is connected | `cve_2026_109444_…` |
//! | kagent-dev/kagent#2181 | cached tokens are found by session instead of by caller | `kagent_2181_…` |

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use axum::body::Body;
use http::{HeaderMap, Request, Response, header::AUTHORIZATION};
use jeton_proto::v1::{GetGrantRequest, GrantState};
use jeton_tests::{
    broker::{Broker, Caller},
    gateway::Scene as GitScene,
    loopback::Loopback,
    tls_front::TlsFront,
};
use tonic::Code;

const ROUTES: &str = r#"
[[route]]
upstream = "orders"
methods = ["GET"]
path = "/v1/{org}/{shop}/**"
resource = "{org}/{shop}"
action = "orders:read"
"#;

/// Starts a broker whose upstream `orders` has its API here, with more in its table.
fn broker(url: &str, more: &str) -> Broker {
    Broker::start_with(|data| point_at(data, url, more))
}

fn point_at(data: &Path, url: &str, more: &str) {
    let file = data.join("jetond.toml");
    let text = fs::read_to_string(&file).unwrap();
    let own = "audience = \"https://orders.dev.jeton.local\"\n";
    fs::write(&file, text.replace(own, &format!("{own}api = \"{url}\"\n{more}"))).unwrap();
    let file = data.join("policies/catalogue.toml");
    fs::write(&file, fs::read_to_string(&file).unwrap() + ROUTES).unwrap();
}

async fn agent(broker: &Broker) -> Caller {
    broker.agent_with(&["orders:acme/* orders:read"]).await.0
}

fn call(broker: &Broker, agent: &Caller, path: &str) -> reqwest::RequestBuilder {
    let url = format!("{}/api/orders{path}", broker.env("JETON_GATEWAY"));
    broker.http(Some("agent")).get(url).header("jeton-session", agent.handle.clone().unwrap())
}

/// A server that records what comes, and says this to each.
async fn recorder(answer: fn() -> Response<Body>) -> (Loopback, Arc<Mutex<Vec<HeaderMap>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let server = Loopback::serve(move |request: Request<Body>| {
        kept.lock().unwrap().push(request.headers().clone());
        async move { Ok(answer()) }
    })
    .await;
    (server, seen)
}

/// An upstream that answers each call with a part of the credential, and then breaks off: what is read last comes with
/// the end of the connection.
async fn breaks_off(cuts: &'static [usize]) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let path = head.split(' ').nth(1).unwrap();
            let place: usize = path.rsplit('/').next().unwrap().parse().unwrap();
            let token = head.split("Bearer ").nth(1).unwrap().split('\r').next().unwrap();
            let part = &token[..cuts[place].min(token.len())];
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\nbefore {part}");
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    url
}

#[tokio::test]
async fn cve_2026_101998_a_read_that_brings_data_and_an_error_shows_no_credential() {
    // Behind the whole credential, and within it.
    const CUTS: &[usize] = &[usize::MAX, 200, 20];
    let upstream = breaks_off(CUTS).await;
    let broker = broker(&upstream, "");
    let agent = agent(&broker).await;
    for place in 0..CUTS.len() {
        let mut answer =
            call(&broker, &agent, &format!("/v1/acme/shop/{place}")).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{place}");
        let (mut taken, mut broke) = (Vec::new(), false);
        loop {
            match answer.chunk().await {
                Ok(Some(piece)) => taken.extend_from_slice(&piece),
                Ok(None) => break,
                Err(_) => {
                    broke = true;
                    break;
                }
            }
        }
        let text = String::from_utf8_lossy(&taken);
        // With these letters each token of the broker begins.
        assert!(!text.contains("eyJ"), "{place}: {text}");
        assert!(broke, "{place}: what broke off must not look whole");
    }
}

#[tokio::test]
async fn cve_2026_105452_a_clients_own_credential_passes_in_no_header() {
    let (upstream, seen) = recorder(|| Response::new(Body::from("ok"))).await;
    let broker = broker(&upstream.url(), "");
    let agent = agent(&broker).await;
    let names = ["x-api-key", "private-token", "cookie", "proxy-authorization", "x-authorization"];
    for name in names {
        let own = call(&broker, &agent, "/v1/acme/shop/7").header(name, "the-clients-own");
        assert_eq!(own.send().await.unwrap().status(), 200, "{name}");
    }
    // In the header that the broker's goes into, it is a proof to the gateway, and is refused as one.
    let own =
        call(&broker, &agent, "/v1/acme/shop/7").header(AUTHORIZATION, "Bearer the-clients-own");
    assert_eq!(own.send().await.unwrap().status(), 401);
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), names.len());
    for headers in seen {
        assert_eq!(headers.get_all(AUTHORIZATION).iter().count(), 1);
        assert!(headers[AUTHORIZATION].to_str().unwrap().starts_with("Bearer ey"));
        assert!(!headers.values().any(|value| value == "the-clients-own"), "{headers:?}");
    }
}

#[tokio::test]
async fn cve_2026_100971_no_dot_segment_leaves_the_path_that_is_decided() {
    let (upstream, seen) = recorder(|| Response::new(Body::from("ok"))).await;
    let url = upstream.url();
    let broker = Broker::start_with(|data| {
        point_at(data, &url, "");
        let file = data.join("jetond.toml");
        let text = fs::read_to_string(&file).unwrap();
        let own = "audience = \"https://git.dev.jeton.local\"\n";
        fs::write(&file, text.replace(own, &format!("{own}git = \"{url}\"\n"))).unwrap();
    });
    let (agent, _) =
        broker.agent_with(&["orders:acme/* orders:read", "git:acme/* contents:read"]).await;
    for path in [
        "/api/orders/v1/acme/shop/..;/other/7",
        "/api/orders/v1/acme/shop/..;x=y/..;/7",
        "/api/orders/v1/acme/shop/.;/7",
        "/api/orders/v1/acme/shop/%2e%2e;/other/7",
        "/api/orders/v1/acme/shop/..%3b/other/7",
        "/api/orders/v1/acme/shop/7;admin=1",
        "/api/orders/v1/acme/shop/..%2fother/7",
        "/api/orders/v1/acme/shop/7;/../../other",
        "/git/git/acme/..;/other/api.git/info/refs?service=git-upload-pack",
        "/git/git/acme/api;x.git/info/refs?service=git-upload-pack",
        "/git/git/acme/api.git/..;/info/refs?service=git-upload-pack",
    ] {
        let answer = raw(&broker, &agent, path).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
    }
    assert!(seen.lock().unwrap().is_empty(), "{:?}", seen.lock().unwrap());
    assert!(raw(&broker, &agent, "/api/orders/v1/acme/shop/7").await.starts_with("HTTP/1.1 200"));
}

/// A call whose target goes out byte for byte.
async fn raw(broker: &Broker, agent: &Caller, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let port = broker.env("JETON_GATEWAY").rsplit(':').next().unwrap();
    let mut config = (*jeton_tests::raw::tls_config_of(broker, Some("agent"))).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let address = format!("127.0.0.1:{port}");
    let mut stream = jeton_tests::raw::tls_stream_to(&address, &Arc::new(config)).await.unwrap();
    let handle = agent.handle.clone().unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\njeton-session: {handle}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn cve_2026_100978_an_upstream_that_does_not_prove_itself_gets_nothing() {
    let (upstream, seen) = recorder(|| Response::new(Body::from("ok"))).await;
    let front = TlsFront::before(upstream.address()).await;
    let other = TlsFront::before(upstream.address()).await;
    let folder = tempfile::tempdir().unwrap();
    let ca = |front: &TlsFront| {
        let file = folder.path().join(format!("{}.pem", front.port()));
        fs::write(&file, front.ca()).unwrap();
        format!("ca = \"{}\"\n", file.display())
    };
    let port = front.port();
    for (url, more, good) in [
        // Signed by nobody who is trusted.
        (format!("https://localhost:{port}"), String::new(), false),
        (format!("https://localhost:{port}"), ca(&other), false),
        // For other names than this one, which leads to the same place.
        (format!("https://127.0.0.2:{port}"), ca(&front), false),
        // The control.
        (format!("https://localhost:{port}"), ca(&front), true),
    ] {
        let broker = broker(&url, &more);
        let agent = agent(&broker).await;
        let answer = call(&broker, &agent, "/v1/acme/shop/7").send().await.unwrap();
        let status = answer.status().as_u16();
        assert_eq!(status, if good { 200 } else { 502 }, "{url} {more}");
        assert_eq!(seen.lock().unwrap().len(), usize::from(good), "{url} {more}");
    }
}

#[tokio::test]
async fn cve_2026_104850_a_redirect_takes_no_credential_elsewhere() {
    let (elsewhere, stolen) = recorder(|| Response::new(Body::from("mine"))).await;
    let away = elsewhere.url();
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    let upstream = Loopback::serve(move |request: Request<Body>| {
        *count.lock().unwrap() += 1;
        let status: u16 = match request.uri().query() {
            Some(_) => 307,
            None => request.uri().path().rsplit('/').next().unwrap().parse().unwrap_or(302),
        };
        let answer = Response::builder().status(status).header("location", format!("{away}/x"));
        let answer = answer.header("refresh", format!("0; url={away}/x"));
        async move { Ok(answer.body(Body::empty()).unwrap()) }
    })
    .await;
    let url = upstream.url();
    let broker = Broker::start_with(|data| {
        point_at(data, &url, "");
        let file = data.join("jetond.toml");
        let text = fs::read_to_string(&file).unwrap();
        let own = "audience = \"https://git.dev.jeton.local\"\n";
        fs::write(&file, text.replace(own, &format!("{own}git = \"{url}\"\n"))).unwrap();
    });
    let (agent, _) =
        broker.agent_with(&["orders:acme/* orders:read", "git:acme/* contents:read"]).await;
    for status in [301, 302, 303, 307, 308] {
        let answer = raw(&broker, &agent, &format!("/api/orders/v1/acme/shop/{status}")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains(&format!("location: {}", elsewhere.url())), "{answer}");
        assert!(!answer.contains("refresh:"), "{answer}");
    }
    let git = "/git/git/acme/api.git/info/refs?service=git-upload-pack";
    assert!(raw(&broker, &agent, git).await.starts_with("HTTP/1.1 502"));
    assert_eq!(*asked.lock().unwrap(), 6);
    // The agent's own client may follow; the gateway does not.
    assert!(stolen.lock().unwrap().is_empty(), "{:?}", stolen.lock().unwrap());
}

#[tokio::test]
async fn cve_2026_109444_what_needs_approval_waits_although_no_person_is_connected() {
    let scene = GitScene::start_with(|data| {
        // Nobody who could approve ever comes.
        let file = data.join("policies/catalogue.toml");
        let text = fs::read_to_string(&file).unwrap();
        let members =
            "members = [\"spiffe://dev.jeton.local/person/ana\", \"spiffe://dev.jeton.local/person/bo\"]";
        assert!(text.contains(members));
        fs::write(&file, text.replacen(members, "members = [\"spiffe://dev.jeton.local/person/nobody\"]", 1)).unwrap();
    })
    .await;
    scene.host.create_repo("acme/payments");
    const PROD: &str = "git:acme/payments contents:write ref=agent/*";
    let agent = scene.agent(&[PROD]).await;
    let asked = agent.caller.requests(PROD).await;
    // Without anybody who may approve it waits or is denied; it is never granted.
    let waiting = match asked {
        Ok(answer) => {
            assert!(answer.credential.is_none(), "it was granted");
            let grant = answer.grant.unwrap();
            assert_eq!(grant.state(), GrantState::Pending);
            Some(grant.id)
        }
        Err(status) => {
            assert_eq!(status.code(), Code::PermissionDenied, "{status}");
            None
        }
    };
    let url = format!("{}/info/refs?service=git-receive-pack", scene.url("acme/payments"));
    let push = scene.broker.http(Some("agent")).get(url);
    let push = push.header("jeton-session", agent.caller.handle.clone().unwrap());
    let answer = push.send().await.unwrap();
    assert!(answer.status().is_client_error(), "{}", answer.status());
    if let Some(id) = waiting {
        let claimed = agent.caller.claim(&id).await;
        assert!(claimed.is_err() || claimed.unwrap().credential.is_none());
        let shown = agent.caller.grants().get_grant(GetGrantRequest { id }).await.unwrap();
        assert_eq!(shown.into_inner().grant.unwrap().state(), GrantState::Pending);
    }
    assert_eq!(agent.caller.list_active().await, Vec::<String>::new());
}

#[tokio::test]
async fn kagent_2181_a_credential_is_found_by_its_caller_and_not_by_the_session_alone() {
    let (upstream, seen) = recorder(|| Response::new(Body::from("ok"))).await;
    let broker = broker(&upstream.url(), "");
    let first = agent(&broker).await;
    assert_eq!(call(&broker, &first, "/v1/acme/shop/7").send().await.unwrap().status(), 200);
    // The session's handle in other hands, while its credential is at hand.
    let url = format!("{}/api/orders/v1/acme/shop/7", broker.env("JETON_GATEWAY"));
    for who in [Some("orchestrator"), Some("ana"), None] {
        let call = broker.http(who).get(&url);
        let answer = call.header("jeton-session", first.handle.clone().unwrap()).send().await;
        let refused = answer.map_or(true, |answer| answer.status().is_client_error());
        assert!(refused, "{who:?}");
    }
    assert_eq!(seen.lock().unwrap().len(), 1);
    // Another session of the same agent has a credential of its own, or none.
    let second = agent(&broker).await;
    assert_eq!(call(&broker, &second, "/v1/acme/shop/7").send().await.unwrap().status(), 200);
    let (narrow, _) = broker.agent_with(&["orders:acme/other orders:read"]).await;
    assert_eq!(call(&broker, &narrow, "/v1/acme/shop/7").send().await.unwrap().status(), 403);
    let shown: Vec<_> =
        seen.lock().unwrap().iter().map(|headers| headers[AUTHORIZATION].clone()).collect();
    assert_eq!(shown.len(), 2);
    assert_ne!(shown[0], shown[1]);
}
