//! The gateway by raw sockets: requests that two programs would read differently, and pushes that no git sends.

use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use jeton_tests::{
    broker::{Broker, Caller},
    gateway::Scene,
    loopback::Loopback,
    raw,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

const ROUTE: &str = "
[[route]]
upstream = \"orders\"
methods = [\"GET\", \"POST\"]
path = \"/v1/{org}/{shop}/orders/**\"
resource = \"{org}/{shop}\"
action = \"orders:read\"
body = \"any\"
";

struct Api {
    broker: Broker,
    agent: Caller,
    seen: Arc<Mutex<Vec<String>>>,
    _api: Loopback,
}

/// An API that only counts what reaches it.
async fn api() -> Api {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let api = Loopback::serve(move |request: Request<Body>| {
        let kept = Arc::clone(&kept);
        async move {
            let line = format!("{} {}", request.method(), request.uri());
            let body = request.into_body().collect().await.map(|body| body.to_bytes().len());
            kept.lock().unwrap().push(format!("{line} {body:?}"));
            Ok(Response::new(Body::from("ok")))
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
        fs::write(&file, fs::read_to_string(&file).unwrap() + ROUTE).unwrap();
    });
    let (agent, _) = broker.agent_with(&["orders:acme/* orders:read"]).await;
    Api { broker, agent, seen, _api: api }
}

/// Sends bytes on a connection of its own. Gives what came back until it was closed, or for a while.
async fn sent(broker: &Broker, bytes: &[u8]) -> String {
    let port = broker.env("JETON_GATEWAY").rsplit(':').next().unwrap();
    let mut config = (*raw::tls_config_of(broker, Some("agent"))).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = raw::tls_stream_to(&format!("127.0.0.1:{port}"), &Arc::new(config)).await;
    let mut stream = stream.unwrap();
    // An error means that it was cut while we still wrote.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = async {
        let mut buffer = [0; 4096];
        while let Ok(count) = stream.read(&mut buffer).await {
            if count == 0 {
                return;
            }
            answer.extend_from_slice(&buffer[..count]);
        }
    };
    let _ = timeout(Duration::from_millis(700), read).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn what_two_programs_would_read_differently_reaches_no_upstream_twice() {
    let api = api().await;
    let handle = api.agent.handle.clone().unwrap();
    let head = format!("Host: localhost\r\njeton-session: {handle}\r\n");
    let path = "/api/orders/v1/acme/shop/orders/7";
    let smuggled = "GET /api/orders/v1/acme/shop/orders/smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let honest = format!("GET {path} HTTP/1.1\r\n{head}\r\n");
    assert!(sent(&api.broker, honest.as_bytes()).await.starts_with("HTTP/1.1 200"), "the control");
    assert_eq!(api.seen.lock().unwrap().len(), 1);
    let long = "x".repeat(300_000);
    let many: String = (0..500).map(|number| format!("x-{number}: y\r\n")).collect();
    let cases = [
        (
            "two lengths",
            format!(
                "POST {path} HTTP/1.1\r\n{head}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello{smuggled}"
            ),
        ),
        (
            "a signed length",
            format!("POST {path} HTTP/1.1\r\n{head}Content-Length: +5\r\n\r\nhello{smuggled}"),
        ),
        (
            "a list of lengths",
            format!("POST {path} HTTP/1.1\r\n{head}Content-Length: 5, 6\r\n\r\nhello{smuggled}"),
        ),
        (
            "a long length",
            format!(
                "POST {path} HTTP/1.1\r\n{head}Content-Length: 99999999999999999999999\r\n\r\nhello"
            ),
        ),
        (
            "two encodings",
            format!(
                "POST {path} HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{smuggled}"
            ),
        ),
        (
            "an odd encoding",
            format!(
                "POST {path} HTTP/1.1\r\n{head}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}"
            ),
        ),
        (
            "an encoding with a tab",
            format!(
                "POST {path} HTTP/1.1\r\n{head}Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n{smuggled}"
            ),
        ),
        (
            "a bad chunk",
            format!(
                "POST {path} HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"
            ),
        ),
        ("a folded header", format!("GET {path} HTTP/1.1\r\n{head}x: a\r\n b\r\n\r\n")),
        ("a header without a colon", format!("GET {path} HTTP/1.1\r\n{head}x\r\n\r\n")),
        ("a blank in a name", format!("GET {path} HTTP/1.1\r\n{head}x : y\r\n\r\n")),
        ("a null", format!("GET {path} HTTP/1.1\r\n{head}x: a\0b\r\n\r\n")),
        (
            "the handle twice",
            format!("GET {path} HTTP/1.1\r\n{head}jeton-session: {handle}\r\n\r\n"),
        ),
        ("no version", format!("GET {path}\r\n{head}\r\n")),
        ("another version", format!("GET {path} HTTP/3.0\r\n{head}\r\n")),
        ("a tunnel", format!("CONNECT 169.254.169.254:80 HTTP/1.1\r\n{head}\r\n")),
        ("everything", format!("OPTIONS * HTTP/1.1\r\n{head}\r\n")),
        ("a trace", format!("TRACE {path} HTTP/1.1\r\n{head}\r\n")),
        (
            "an encoded slash",
            format!("GET /api/orders/v1/acme%2fshop/orders/7 HTTP/1.1\r\n{head}\r\n"),
        ),
        ("two slashes", format!("GET //api/orders/v1/acme/shop/orders/7 HTTP/1.1\r\n{head}\r\n")),
        ("dots", format!("GET /api/orders/v1/acme/shop/orders/../orders/7 HTTP/1.1\r\n{head}\r\n")),
        ("a long path", format!("GET {path}/{long} HTTP/1.1\r\n{head}\r\n")),
        ("a long header", format!("GET {path} HTTP/1.1\r\n{head}x: {long}\r\n\r\n")),
        ("many headers", format!("GET {path} HTTP/1.1\r\n{head}{many}\r\n")),
        ("no handle", format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")),
        ("a preface that is none", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_owned()),
        ("noise", "\x16\x03\x01 nothing\r\n\r\n".to_owned()),
    ];
    for (what, bytes) in cases {
        let before = api.seen.lock().unwrap().len();
        let answer = sent(&api.broker, bytes.as_bytes()).await;
        let good = answer.matches("HTTP/1.1 200").count();
        let seen = api.seen.lock().unwrap().clone();
        assert_eq!(good, 0, "{what}: {answer}");
        assert_eq!(seen.len(), before, "{what}: {seen:?}");
    }
    // These pass, once. Of both lengths the encoding counts, and the connection ends (RFC 9112 §6.1).
    for (what, bytes) in [
        (
            "an upgrade that is not taken up",
            format!(
                "GET {path} HTTP/1.1\r\n{head}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
            ),
        ),
        (
            "a wait for the word to go on",
            format!(
                "POST {path} HTTP/1.1\r\n{head}Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello"
            ),
        ),
        (
            "a chunk with an extension",
            format!(
                "POST {path} HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\n\r\n"
            ),
        ),
        (
            "an address as a whole",
            format!("GET http://evil.example.org{path} HTTP/1.1\r\n{head}\r\n"),
        ),
        (
            "both lengths",
            format!(
                "POST {path} HTTP/1.1\r\n{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
            ),
        ),
    ] {
        let before = api.seen.lock().unwrap().len();
        let answer = sent(&api.broker, bytes.as_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{what}: {answer}");
        let seen = api.seen.lock().unwrap().clone();
        assert_eq!(seen.len(), before + 1, "{what}: {seen:?}");
    }
    let seen = api.seen.lock().unwrap().clone();
    assert!(seen.iter().all(|line| line.contains(" /v1/acme/shop/orders/7 ")), "{seen:?}");
}

/// A pkt-line.
fn pkt(line: &str) -> String {
    format!("{:04x}{line}", line.len() + 4)
}

#[tokio::test]
async fn a_push_that_no_git_sends_moves_nothing() {
    let scene = Scene::start().await;
    let agent =
        scene.agent(&["git:acme/* contents:read", "git:acme/* contents:write ref=agent/*"]).await;
    let handle = agent.caller.handle.clone().unwrap();
    let main = scene.host.tip("acme/api", "refs/heads/main").unwrap();
    let (zero, other) = ("0".repeat(40), "1".repeat(40));
    let caps = "\0report-status side-band-64k object-format=sha1";
    let ok = "refs/heads/agent/x";
    // With a pack of nothing: what it needs is there already.
    let empty_pack = b"PACK\0\0\0\x02\0\0\0\0\x02\x9d\x08\x82\x3b\xd8\xa8\xea\xb5\x10\xad\x6a\xc7\x5c\x82\x3c\xfd\x3e\xd3\x1e";
    let fronts = [
        (
            "main behind a good one",
            pkt(&format!("{zero} {main} {ok}{caps}"))
                + &pkt(&format!("{main} {zero} refs/heads/main"))
                + "0000",
            true,
        ),
        ("a wrong old commit", pkt(&format!("{other} {main} {ok}{caps}")) + "0000", false),
        (
            "a ref twice",
            pkt(&format!("{zero} {main} {ok}{caps}"))
                + &pkt(&format!("{zero} {main} {ok}"))
                + "0000",
            false,
        ),
        (
            "two spellings",
            pkt(&format!("{zero} {main} {ok}{caps}"))
                + &pkt(&format!("{zero} {main} refs/heads/agent/X"))
                + "0000",
            false,
        ),
        (
            "a ref behind the null",
            pkt(&format!("{zero} {main} {ok}{caps} {main} {zero} refs/heads/main")) + "0000",
            true,
        ),
        (
            "a newline in a ref",
            pkt(&format!("{zero} {main} {ok}\nrefs/heads/main{caps}")) + "0000",
            false,
        ),
        (
            "a certificate",
            pkt("push-cert\0 x")
                + &pkt(&format!("{zero} {main} refs/heads/main"))
                + &pkt("push-cert-end\n")
                + "0000",
            false,
        ),
        (
            "options",
            pkt(&format!("{zero} {main} {ok}{caps} push-options"))
                + "0000"
                + &pkt("ci.skip")
                + "0000",
            false,
        ),
        ("another hash", pkt(&format!("{zero} {main} {ok}\0object-format=sha256")) + "0000", false),
        (
            "a flush before",
            "0000".to_owned() + &pkt(&format!("{main} {zero} refs/heads/main{caps}")) + "0000",
            false,
        ),
        (
            "a delimiter",
            pkt(&format!("{zero} {main} {ok}{caps}"))
                + "0001"
                + &pkt(&format!("{main} {zero} refs/heads/main"))
                + "0000",
            false,
        ),
        ("a length that lies", format!("0fff{zero} {main} {ok}{caps}0000"), false),
        ("a length that is none", format!("-001{zero} {main} {ok}{caps}0000"), false),
        ("a command without a name", pkt(&format!("{zero} {main}{caps}")) + "0000", false),
        ("HEAD", pkt(&format!("{main} {zero} HEAD{caps}")) + "0000", false),
        ("nothing at all", String::new(), false),
    ];
    for (what, front, creates) in &fronts {
        for chunked in [false, true] {
            scene.host.forget("acme/api", ok);
            let body = [front.as_bytes(), empty_pack].concat();
            let head = format!(
                "POST /git/git/acme/api.git/git-receive-pack HTTP/1.1\r\nHost: localhost\r\njeton-session: {handle}\r\nContent-Type: application/x-git-receive-pack-request\r\n"
            );
            let request = match chunked {
                true => {
                    let mut text = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
                    for part in body.chunks(7) {
                        text.extend(format!("{:x}\r\n", part.len()).into_bytes());
                        text.extend(part);
                        text.extend(b"\r\n");
                    }
                    text.extend(b"0\r\n\r\n");
                    text
                }
                false => {
                    [format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes(), &body]
                        .concat()
                }
            };
            let answer = sent(&scene.broker, &request).await;
            assert_eq!(
                scene.host.tip("acme/api", "refs/heads/main").unwrap(),
                main,
                "{what}: {answer}"
            );
            let created = scene.host.tip("acme/api", ok).is_some();
            assert_eq!(created, *creates, "{what}, chunked {chunked}: {answer}");
        }
    }
    // Packed, so that nobody could look into it.
    let head = format!(
        "POST /git/git/acme/api.git/git-receive-pack HTTP/1.1\r\nHost: localhost\r\njeton-session: {handle}\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello"
    );
    assert!(sent(&scene.broker, head.as_bytes()).await.starts_with("HTTP/1.1 415"));
    let names: Vec<_> = scene.host.refs("acme/api").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["refs/heads/main"]);
}
