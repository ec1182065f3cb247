//! The local helper by raw sockets: nothing that is written oddly gets anywhere by it.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use jeton_tests::{
    run::said,
    two_upstreams::{TwoUpstreams, Wire},
};
use rustix::process::{Pid, Signal, kill_process};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, RootCertStore},
};

/// A run of the helper, and a server that nothing may reach.
struct Helper {
    child: Child,
    at: String,
    ca: String,
    outside: String,
    reached: JoinHandle<()>,
    /// `localhost:PORT` of the API.
    api: String,
}

impl Helper {
    async fn start(scene: &TwoUpstreams) -> Self {
        let run = scene.session();
        let words = "echo $JETON_PROXY > at.new; cp $NODE_EXTRA_CA_CERTS ca.pem; mv at.new at; exec sleep 120";
        let mut jeton = run.jeton();
        jeton.args(["proxy", "--", "sh", "-c", words]).stdin(Stdio::null());
        let child = jeton.spawn().unwrap();
        let at = scene.home.path().join("at");
        for _ in 0..1000 {
            if at.exists() {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        let at = fs::read_to_string(at).unwrap().trim()["http://".len()..].to_owned();
        let ca = fs::read_to_string(scene.home.path().join("ca.pem")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let outside = listener.local_addr().unwrap().to_string();
        let reached = tokio::spawn(async move {
            let _ = listener.accept().await;
        });
        let api = scene.api["https://".len()..].trim_end_matches("/base").to_owned();
        Self { child, at, ca, outside, reached, api }
    }

    async fn open(&self) -> TcpStream {
        TcpStream::connect(&self.at).await.unwrap()
    }

    /// Sends bytes on a connection of its own. Gives the answer.
    async fn sent(&self, bytes: &str) -> String {
        answer(self.open().await, bytes).await
    }

    /// Opens a tunnel to the API, and a handshake in it.
    async fn tunnel(&self, name: &str, protocol: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut stream = self.open().await;
        let head = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", self.api);
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.as_bytes()).unwrap()).unwrap();
        let mut config =
            ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// The same inside of a tunnel.
    async fn inside(&self, bytes: &str) -> String {
        answer(self.tunnel("localhost", b"http/1.1").await.unwrap(), bytes).await
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.child);
        let _ = kill_process(pid, Signal::TERM);
        self.child.wait().unwrap();
    }
}

/// One answer, or what came of it.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &str) -> String {
    // An error means that it was cut while we still wrote.
    let _ = stream.write_all(bytes.as_bytes()).await;
    let mut answer = Vec::new();
    let read = async {
        while !is_whole(&String::from_utf8_lossy(&answer)) {
            if !matches!(stream.read_buf(&mut answer).await, Ok(1..)) {
                return;
            }
        }
    };
    timeout(Duration::from_secs(10), read).await.expect("neither an answer nor an end");
    String::from_utf8_lossy(&answer).into_owned()
}

fn is_whole(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    match length {
        Some(length) => body.len() >= length.parse().unwrap(),
        None => !head.contains("chunked") || body.ends_with("0\r\n\r\n"),
    }
}

/// What came back until it was closed, or for a while.
async fn told(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &str) -> String {
    // An error means that it was cut while we still wrote.
    let _ = stream.write_all(bytes.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_millis(700), stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> &str {
    answer.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).unwrap_or("cut")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_to_the_helper_reaches_what_is_no_upstream() {
    let scene = TwoUpstreams::start(Wire::Tls).await;
    let helper = Helper::start(&scene).await;
    let Helper { api, outside, at, .. } = &helper;
    let port = api.rsplit(':').next().unwrap();
    let connect = |to: &str| format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
    let get = |target: &str, host: &str| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for (request, codes) in [
        (connect(outside), "403"),
        (connect("evil.example.org:443"), "403"),
        (connect(&format!("evil.example.org:{port}")), "403"),
        (connect(&format!("localhost.evil.example.org:{port}")), "403"),
        (connect(&format!("127.0.0.1:{port}")), "403"),
        (connect(&format!("[::1]:{port}")), "403"),
        (connect(&format!("2130706433:{port}")), "403"),
        (connect(&format!("localhost.:{port}")), "403"),
        (connect(&format!("user@localhost:{port}")), "400 403"),
        (connect(&format!("localhost:{port}@{outside}")), "400 403"),
        (connect(&format!("u:p@{outside}")), "400 403"),
        (connect("localhost"), "400 403"),
        (connect("localhost:"), "400 403"),
        (connect("localhost:443"), "403"),
        (connect(&format!("localhost:0{port}")), "400 403"),
        (connect(&format!("localhost:+{port}")), "400 403"),
        (connect("localhost:99999"), "400 403"),
        (connect(&format!("localhost:{port}/base")), "400 403"),
        (connect(&format!("https://localhost:{port}/base")), "400 403"),
        (connect("/"), "400 403"),
        (format!("CONNECT {api} HTTP/1.1\r\nHost: evil.example.org\r\n\r\n"), "421"),
        (format!("CONNECT {api} HTTP/1.1\r\nHost: {api}\r\nHost: {outside}\r\n\r\n"), "421"),
        (format!("CONNECT {api} HTTP/1.1\r\nHost: {api}\r\nContent-Length: 3\r\n\r\nabc"), "400"),
        (format!("CONNECT {api} HTTP/1.1\r\nHost: {api}\r\nOrigin: null\r\n\r\n"), "403"),
        (get(&format!("http://{outside}/"), outside), "403"),
        (get(&format!("http://{outside}/"), at), "403"),
        (get(&format!("http://{outside}/"), api), "403"),
        (get(&format!("http://u@{outside}/"), outside), "400 403"),
        (get(&format!("http://{api}/base/v1/acme/shop/orders/7"), api), "403"),
        (get(&format!("https://{api}/base/v1/acme/shop/orders/7"), api), "403"),
        (get(&format!("ftp://{outside}/"), outside), "400 403"),
        (get(&format!("http://{at}/upstreams"), outside), "421"),
        (get("/upstreams", outside), "421"),
        (get("/upstreams", api), "421"),
        (format!("GET /upstreams HTTP/1.1\r\nHost: {at}\r\nHost: {outside}\r\n\r\n"), "400"),
        ("GET /upstreams HTTP/1.1\r\n\r\n".to_owned(), "400"),
        (get(&format!("//{outside}/"), at), "400"),
        (get("/api/git/../orders/v1/acme/shop/orders/7", at), "502"),
        (
            format!("GET / HTTP/1.1\r\nHost: {at}\r\nX: {}\r\n\r\n", "x".repeat(70_000)),
            "431 400 cut",
        ),
        (format!("GET / HTTP/1.1\r\nHost: {at}\r\n{}\r\n", "X: y\r\n".repeat(200)), "431 400 cut"),
        ("\x16\x03\x01\x02\x00\x01\x00".to_owned(), "400 cut"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), "400 505 cut"),
    ] {
        let answer = helper.sent(&request).await;
        let head: String = request.chars().take(120).collect();
        assert!(codes.split(' ').any(|code| code == status(&answer)), "{head:?}: {answer}");
    }
    let told = helper.sent(&connect("evil.example.org:443")).await;
    let mut known = [scene.api.as_str(), scene.git.as_str()];
    known.sort_unstable();
    let words = format!("what passes: {}; the platform team adds an upstream", known.join(", "));
    assert!(told.contains(&words), "{told}");
    assert!(scene.seen().is_empty(), "{:?}", scene.seen());
    assert!(!helper.reached.is_finished(), "something got out");
    // The same in order reaches what it may.
    let order = get("/api/orders/v1/acme/shop/orders/7", at);
    assert_eq!(status(&helper.sent(&order).await), "200");
    assert_eq!(scene.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_holds_calls_of_its_own_host_only() {
    let scene = TwoUpstreams::start(Wire::Tls).await;
    let helper = Helper::start(&scene).await;
    assert!(helper.tunnel("localhost", b"h2").await.is_err());
    // A client that believes every certificate.
    for (name, established) in [
        (vec!["-servername", "localhost"], true),
        (vec!["-servername", "LOCALHOST"], true),
        (vec!["-servername", "evil.example.org"], false),
        (vec!["-servername", "sub.localhost"], false),
        (vec!["-noservername"], false),
    ] {
        let mut client = Command::new("openssl");
        client.args(["s_client", "-brief", "-proxy", &helper.at, "-connect", &helper.api]);
        let (_, text) = said(client.args(&name));
        assert_eq!(text.contains("CONNECTION ESTABLISHED"), established, "{name:?}: {text}");
    }

    let Helper { api, outside, at, .. } = &helper;
    let path = "/base/v1/acme/shop/orders/7";
    let get = |target: &str, host: &str| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for (request, codes) in [
        (get(path, "localhost"), "421"),
        (get(path, outside), "421"),
        (get(path, at), "421"),
        (get(path, &format!("u@{api}")), "421"),
        (format!("GET {path} HTTP/1.1\r\nHost: {api}\r\nHost: {outside}\r\n\r\n"), "400"),
        (format!("GET {path} HTTP/1.1\r\n\r\n"), "400"),
        (format!("GET {path} HTTP/1.0\r\n\r\n"), "400"),
        (get(&format!("http://{api}{path}"), api), "421"),
        (get(&format!("https://{outside}{path}"), api), "421"),
        (get(&format!("https://{outside}{path}"), outside), "421"),
        (format!("CONNECT {api} HTTP/1.1\r\nHost: {api}\r\n\r\n"), "405"),
        (format!("CONNECT {outside} HTTP/1.1\r\nHost: {outside}\r\n\r\n"), "405"),
        (get(&format!("//{outside}/"), api), "400"),
        (get("/base/../upstreams", api), "502"),
        (get("/base/..%2f..%2fupstreams", api), "400"),
        (get("/upstreams", api), "403"),
        (get("/api/orders/v1/acme/shop/orders/7", api), "403"),
        (get("/based/v1/acme/shop/orders/7", api), "403"),
        (format!("OPTIONS * HTTP/1.1\r\nHost: {api}\r\n\r\n"), "400"),
        (format!("GET {path} HTTP/1.1\r\nHost: {api}\r\nOrigin: https://{api}\r\n\r\n"), "403"),
        (
            format!(
                "GET {path} HTTP/1.1\r\nHost: {api}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"
            ),
            "400",
        ),
        (format!("GET {path} HTTP/1.1\r\nHost: {api}\r\nTransfer-Encoding: gzip\r\n\r\nab"), "400"),
        (format!("GET {path} HTTP/1.1\r\nHost : {api}\r\n\r\n"), "400"),
    ] {
        let answer = helper.inside(&request).await;
        let codes_fit = codes.split(' ').any(|code| code == status(&answer));
        assert!(codes_fit, "{request:?}: {answer}");
    }
    assert!(scene.seen().is_empty(), "{:?}", scene.seen());
    assert!(!helper.reached.is_finished(), "something got out");
    assert_eq!(status(&helper.inside(&get(path, api)).await), "200");
    let whole = get(&format!("https://{api}{path}"), api);
    assert_eq!(status(&helper.inside(&whole).await), "200");
    assert_eq!(scene.seen().len(), 2);
}

/// Of a body with two lengths one is believed, here and behind it: what stands behind it is no request.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_the_body_of_another_stays_a_body() {
    let scene = TwoUpstreams::start(Wire::Tls).await;
    let helper = Helper::start(&scene).await;
    let api = &helper.api;
    let hidden = format!("GET /base/v1/acme/shop/orders/hidden HTTP/1.1\r\nHost: {api}\r\n\r\n");
    let head = format!("POST /base/v1/acme/shop/orders/7 HTTP/1.1\r\nHost: {api}\r\n");
    let both = |first: &str, second: &str, body: &str| format!("{head}{first}{second}\r\n{body}");
    let length = format!("Content-Length: {}\r\n", 5 + hidden.len());
    let chunked = "Transfer-Encoding: chunked\r\n";
    let ended = format!("0\r\n\r\n{hidden}");
    let within = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    for request in [
        both(&length, chunked, &ended),
        both(chunked, &length, &ended),
        both(chunked, "Content-Length: 4\r\n", &within),
        both("Content-Length: 4\r\n", "Transfer-Encoding: chunked, identity\r\n", &within),
        both("Transfer-Encoding: x\r\n", chunked, &ended),
        both("Transfer-Encoding : chunked\r\n", &length, &ended),
        both("Transfer-Encoding:\x0bchunked\r\n", &length, &ended),
        both(&length, "", &ended),
    ] {
        told(helper.tunnel("localhost", b"http/1.1").await.unwrap(), &request).await;
    }
    let lines: Vec<_> = scene.seen().into_iter().map(|seen| seen.line).collect();
    assert!(lines.iter().all(|line| line == "POST /base/v1/acme/shop/orders/7"), "{lines:?}");
    assert!(lines.len() >= 2, "the harmless ones pass: {lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_good_for_a_day_and_for_the_upstreams_alone() {
    let scene = TwoUpstreams::start(Wire::Tls).await;
    let helper = Helper::start(&scene).await;
    let tunnel = helper.tunnel("localhost", b"http/1.1").await.unwrap();
    let leaf = tunnel.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let (leaf_file, ca_file) =
        (scene.home.path().join("leaf.der"), scene.home.path().join("ca.pem"));
    fs::write(&leaf_file, leaf).unwrap();
    let shown = |file: &Path, args: &[&str]| {
        let mut openssl = Command::new("openssl");
        said(openssl.args(["x509", "-noout", "-in"]).arg(file).args(args))
    };
    assert!(shown(&leaf_file, &["-checkend", "84000"]).0);
    assert!(!shown(&leaf_file, &["-checkend", "86400"]).0);
    let (_, text) =
        shown(&leaf_file, &["-ext", "subjectAltName,basicConstraints,extendedKeyUsage"]);
    assert!(text.contains("DNS:localhost\n") && text.contains("TLS Web Server Auth"), "{text}");
    assert!(!text.contains("CA:TRUE"), "{text}");
    let (_, text) = shown(&ca_file, &["-ext", "nameConstraints,basicConstraints,keyUsage"]);
    for words in [
        "CA:TRUE, pathlen:0",
        "Certificate Sign\n",
        "Permitted:\n      DNS:localhost\n",
        "IP:0.0.0.0/0.0.0.0",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    // Each run has its own.
    let before = fs::read(&ca_file).unwrap();
    drop(helper);
    fs::remove_file(scene.home.path().join("at")).unwrap();
    fs::remove_file(scene.home.path().join("session.json")).unwrap();
    let _again = Helper::start(&scene).await;
    assert_ne!(fs::read(&ca_file).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_have_an_end_to_their_number() {
    let scene = TwoUpstreams::start(Wire::Tls).await;
    let helper = Helper::start(&scene).await;
    let mut idle = Vec::new();
    for _ in 0..256 {
        idle.push(helper.open().await);
    }
    let at = &helper.at;
    let get = format!("GET /upstreams HTTP/1.1\r\nHost: {at}\r\n\r\n");
    let mut late = helper.open().await;
    late.write_all(get.as_bytes()).await.unwrap();
    let mut byte = [0];
    let waited = timeout(Duration::from_millis(500), late.read_exact(&mut byte)).await;
    assert!(waited.is_err(), "it was answered");
    idle.truncate(200);
    timeout(Duration::from_secs(10), late.read_exact(&mut byte)).await.unwrap().unwrap();
}
