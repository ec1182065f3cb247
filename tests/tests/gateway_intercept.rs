//! `jeton proxy` in the place of upstreams: tools that can't be told another address reach them by their own,
//! and nothing else gets out by it.

use std::{
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use jeton_tests::{
    canary::Canaries,
    emulate::{node, tools},
    run::{descendants, ended, files, memory_of, said},
    tls_front::TlsFront,
    two_upstreams::{TwoUpstreams, Wire},
};

/// What each of them is asked to say.
const ORDER: &str = "order 7 0\n";

const CURL: &str = r#"
set -e
curl -sS $API/v1/acme/shop/orders/7
curl -sS -H 'Authorization: Bearer gho_dummy' $API/v1/acme/shop/orders/7
curl -sS -L $API/v1/acme/shop/orders/moved
curl -sS -o /dev/null -w '%{redirect_url}\n' $API/v1/acme/shop/orders/moved
printf 'x%.0s' $(seq 1 300000) | curl -sS -T - -X POST $API/v1/acme/shop/orders/9
curl -sS -w '%{http_code} %{num_connects}\n' $API/v1/acme/shop/orders/7 $API/v1/acme/shop/orders/7
curl -sS -o /dev/null -w '%{http_code}\n' $API/v1/other/shop/orders/7
"#;

#[tokio::test(flavor = "multi_thread")]
async fn curl_reaches_an_api_by_its_own_address() {
    let scene = TwoUpstreams::start(Wire::Tls).await;
    let run = scene.session();
    let mut jeton = run.jeton();
    jeton.env("API", &scene.api).args(["proxy", "--", "sh", "-c", CURL]);
    let (ok, text) = said(&mut jeton);
    assert!(ok, "{text}");
    let moved = format!("{}/v1/acme/shop/orders/8?page=1\n", scene.api);
    let kept = "order 7 0\n200 1\norder 7 0\n200 0\n";
    assert_eq!(text, format!("{ORDER}{ORDER}order 8 0\n{moved}order 9 300000\n{kept}403\n"));
    for seen in scene.seen() {
        assert!(seen.authorization.starts_with("Bearer ey"), "{seen:?}");
    }
}

const PYTHON: &str = r#"
import os, sys, urllib.request
url = os.environ["API"] + "/v1/acme/shop/orders/7"
if sys.argv[1] == "urllib":
    sys.stdout.write(urllib.request.urlopen(url).read().decode())
else:
    import requests
    answer = requests.get(url, headers={"Authorization": "token dummy"})
    sys.stdout.write(answer.text)
    moved = requests.get(os.environ["API"] + "/v1/acme/shop/orders/moved")
    assert moved.status_code == 200 and moved.url.endswith("/orders/8?page=1"), moved.url
"#;

const NODE: &str = r#"
const url = process.env.API + '/v1/acme/shop/orders/';
const got = await fetch(url + '7', { headers: { authorization: 'token dummy' } });
process.stdout.write(await got.text());
const sent = await fetch(url + '9', { method: 'POST', body: 'x'.repeat(100000) });
process.stdout.write(await sent.text());
"#;

#[tokio::test(flavor = "multi_thread")]
async fn python_and_node_reach_it_too() {
    let scene = TwoUpstreams::start(Wire::Tls).await;
    let run = scene.session();
    let python = tools().join("nodeenv/bin/python");
    let python = python.to_str().unwrap();
    let node = node();
    let node = node.to_str().unwrap();
    for (command, expected) in [
        (vec![python, "-c", PYTHON, "urllib"], "order 7 0\n"),
        (vec![python, "-c", PYTHON, "requests"], "order 7 0\n"),
        (vec![node, "--input-type=module", "-e", NODE], "order 7 0\norder 9 100000\n"),
    ] {
        let mut jeton = run.jeton();
        jeton.env("API", &scene.api).args(["proxy", "--"]).args(&command);
        let (ok, text) = said(&mut jeton);
        assert!(ok, "{command:?}: {text}");
        assert_eq!(text, expected, "{command:?}");
    }
    assert!(scene.seen().iter().all(|seen| seen.authorization.starts_with("Bearer ey")));
}

const CLONE: &str = r#"
set -e
git config --global user.name A; git config --global user.email a@example.org
# What users set for other hosts does not lead away from here.
git config --global http.proxy http://127.0.0.1:1; git config --global http.sslCAInfo /dev/null
git clone -q $GIT/acme/api.git work
cd work; echo fix > fix; git add fix; git commit -q -m fix
git push -q origin HEAD:refs/heads/agent/fix
if git push origin HEAD:refs/heads/main; then exit 3; fi
# A git that is told nothing goes through the tunnel; hosts know a name without `.git` too.
git config --global --unset http.proxy
cd ..; env GIT_CONFIG_COUNT=0 git clone -q $GIT/acme/api tunnelled
git -C tunnelled rev-parse HEAD > head
# What git is called with does not matter: nothing else gets out by it.
if env GIT_CONFIG_COUNT=0 git clone -q https://forge.example.org/acme/api.git elsewhere; then exit 4; fi
"#;

#[tokio::test(flavor = "multi_thread")]
async fn git_needs_no_option_at_all_and_shows_why_it_was_refused() {
    let scene = TwoUpstreams::start(Wire::Tls).await;
    let run = scene.session();
    let mut jeton = run.jeton();
    jeton.env("GIT", &scene.git).args(["proxy", "--", "sh", "-c", CLONE]);
    let (ok, text) = said(&mut jeton);
    assert!(ok, "{text}");
    let why = "remote: jeton: refs/heads/main is outside this session's scope (agent/*)";
    assert!(text.contains(why), "{text}");
    assert!(text.contains("CONNECT tunnel failed, response 403"), "{text}");
    assert!(scene.host.tip("acme/api", "refs/heads/agent/fix").is_some());
    let head = fs::read_to_string(scene.home.path().join("head")).unwrap();
    assert_eq!(scene.host.tip("acme/api", "refs/heads/main").unwrap(), head.trim());
}

const LOOK_ROUND: &str = r#"
set -e
curl -sS $API/v1/acme/shop/orders/7
env GIT_CONFIG_COUNT=0 git clone -q $GIT/acme/api.git work
folder=$(dirname $SSL_CERT_FILE)
stat -c %a $folder > $HOME/mode
cp -r $folder $HOME/kept
env > $HOME/environment
echo $folder > $HOME/folder
"#;

/// How a key of the CA's kind begins in PKCS#8, and in SEC 1.
const KEYS: [&[u8]; 2] = [
    b"\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07",
    b"\x02\x01\x01\x04\x20",
];

/// Whether a private key is in there, as it is or as PEM.
fn holds_key(bytes: &[u8]) -> bool {
    let der =
        |bytes: &[u8]| KEYS.iter().any(|key| bytes.windows(key.len()).any(|window| window == *key));
    let text = String::from_utf8_lossy(bytes);
    let body = text.lines().filter(|line| line.is_ascii() && !line.starts_with("--"));
    let body: String = body.collect();
    text.contains("PRIVATE KEY")
        || der(bytes)
        || (0..4).any(|skip| {
            let part: String = body.chars().skip(skip).collect();
            STANDARD.decode(&part[..part.len() / 4 * 4]).is_ok_and(|bytes| der(&bytes))
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agents_side_holds_no_credential_and_the_key_of_the_ca_is_nowhere() {
    let scene = TwoUpstreams::start(Wire::Tls).await;
    let run = scene.session();
    let home = scene.home.path();
    let mut jeton = run.jeton();
    jeton.env("API", &scene.api).env("GIT", &scene.git).env("TMPDIR", home.join("tmp"));
    let (ok, text) = said(jeton.args(["proxy", "--", "sh", "-c", LOOK_ROUND]));
    assert!(ok, "{text}");
    let read = |name: &str| fs::read_to_string(home.join(name)).unwrap();
    assert_eq!(read("mode"), "700\n");
    assert!(read("folder").starts_with(home.join("tmp").to_str().unwrap()));
    assert!(!Path::new(read("folder").trim()).exists(), "the folder outlived the run");
    assert_eq!(fs::read_dir(home.join("tmp")).unwrap().count(), 0);

    let credentials = scene.credentials();
    assert!(credentials.len() >= 2, "one for the API, one for git");
    let mut canaries = Canaries::default();
    credentials.iter().for_each(|token| canaries.add("credential", token));
    canaries.add("handle", &run.handle);
    fs::remove_file(&run.session_file).unwrap();
    let mut looked = 0;
    for file in files(home) {
        let found = fs::read(&file).unwrap();
        assert_eq!(canaries.found_in(&found), Vec::<&str>::new(), "{}", file.display());
        assert!(!holds_key(&found), "{}", file.display());
        looked += 1;
    }
    assert!(looked > 30, "{looked}");
    assert!(files(&home.join("kept")).len() >= 2);
    let environment = read("environment");
    for name in ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "https_proxy", "NO_PROXY"] {
        assert!(environment.contains(&format!("\n{name}=")), "{name}");
    }
    assert!(!environment.contains("JETON_SESSION") && !environment.contains("JETON_KEY"));
    // The same search finds one that is there.
    let planted = fs::read(scene.broker.data().join("tls/agent.key")).unwrap();
    assert!(holds_key(&planted));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_of_a_tool_holds_no_credential_while_it_calls() {
    let scene = TwoUpstreams::start(Wire::Tls).await;
    let run = scene.session();
    let words = "curl -sS --limit-rate 8M -o large $API/v1/acme/shop/orders/large";
    let mut jeton = run.jeton();
    jeton.env("API", &scene.api).args(["proxy", "--", "sh", "-c", words]);
    let mut child = jeton.stdin(Stdio::null()).spawn().unwrap();
    let mut seen = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        // Those below the helper: it knows the session, they know nothing.
        let memory = descendants(child.id()).into_iter().map(memory_of);
        seen.extend(memory.filter(|memory| !memory.is_empty() && seen_enough(memory)));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(child.wait().unwrap().success());
    let mut canaries = Canaries::default();
    scene.credentials().iter().for_each(|token| canaries.add("credential", token));
    canaries.add("handle", &run.handle);
    assert!(seen.len() > 4, "{}", seen.len());
    for memory in seen.iter().take(24) {
        assert_eq!(canaries.found_in(memory), Vec::<&str>::new());
    }
    assert_eq!(fs::read(scene.home.path().join("large")).unwrap().len(), 32 * 1024 * 1024);
}

/// A process that has just been made holds nothing worth a look.
fn seen_enough(memory: &[u8]) -> bool {
    memory.len() > 64 * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_had_set_before_goes_on_working() {
    let scene = TwoUpstreams::start(Wire::Tls).await;
    let run = scene.session();
    let corp = TlsFront::before(scene.host.url()["http://".len()..].parse().unwrap()).await;
    let bundle = scene.home.path().join("corp.pem");
    fs::write(&bundle, corp.ca()).unwrap();
    let script = "
        curl -sS -o /dev/null -w '%{http_code} ' https://127.0.0.1:$CORP/
        curl -sS -o /dev/null -w '%{http_code} ' $API/v1/acme/shop/orders/7
        echo $NO_PROXY";
    let mut jeton = run.jeton();
    jeton.env("API", &scene.api).env("CORP", corp.port().to_string());
    jeton.env("CURL_CA_BUNDLE", &bundle).env("HTTPS_PROXY", "http://127.0.0.1:1");
    jeton.env("NO_PROXY", "127.0.0.1,corp.example.org,localhost").env_remove("no_proxy");
    let (ok, text) = said(jeton.args(["proxy", "--", "sh", "-c", script]));
    assert!(ok, "{text}");
    assert!(text.starts_with("401 200 127.0.0.1,::1,corp.example.org,127.0.0.1:"), "{text}");

    let mut jeton = run.jeton();
    jeton.env("CURL_CA_BUNDLE", scene.home.path());
    let (code, text) = ended(jeton.args(["proxy", "--", "touch", "ran"]));
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("(CURL_CA_BUNDLE) can't be taken over: it is not a file"), "{text}");
    assert!(!scene.home.path().join("ran").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_it_nothing_stands_for_an_upstream() {
    let scene = TwoUpstreams::start(Wire::Tls).await;
    let run = scene.session();
    let script = "
        env > environment
        curl -s -o /dev/null -w '%{http_code} ' -p -x $JETON_PROXY $API/v1/acme/shop/orders/7
        curl -s $ORDERS/v1/acme/shop/orders/7";
    let mut jeton = run.jeton();
    jeton.env("API", &scene.api);
    jeton.args(["proxy", "--no-intercept", "--api", "orders=ORDERS", "--", "sh", "-c", script]);
    let (ok, text) = said(&mut jeton);
    assert!(ok && text == "000 order 7 0\n", "{text}");
    let environment = fs::read_to_string(scene.home.path().join("environment")).unwrap();
    for name in ["HTTPS_PROXY", "https_proxy", "SSL_CERT_FILE", "NO_PROXY"] {
        assert!(!environment.contains(&format!("\n{name}=")), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_without_tls_passes_by_the_proxy_and_nothing_else_does() {
    let scene = TwoUpstreams::start(Wire::Plain).await;
    let run = scene.session();
    let outside = jeton_tests::loopback::Loopback::serve(|_| async {
        Ok(http::Response::new(axum::body::Body::from("outside")))
    })
    .await;
    let script = r#"
        curl -sS $API/v1/acme/shop/orders/7
        curl -sS -L $API/v1/acme/shop/orders/moved
        curl -s --noproxy '' $OUTSIDE/v1
        curl -s --noproxy '' ${API%/base}/elsewhere | cut -c 1-37
        python3 -c 'import os,urllib.request as u; print(u.urlopen(os.environ["JETON_PROXY"] + "/api/orders/v1/acme/shop/orders/7").read())'
    "#;
    let mut jeton = run.jeton();
    jeton.env("API", &scene.api).env("OUTSIDE", outside.url());
    let (ok, text) = said(jeton.args(["proxy", "--", "sh", "-c", script]));
    assert!(ok, "{text}");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("order 7 0"));
    assert_eq!(lines.next(), Some("order 8 0"));
    let refusal = format!(
        "jeton: this address is no upstream of this session, and nothing else passes; what passes: {}, {}; the platform team adds an upstream",
        scene.api, scene.git
    );
    assert_eq!(lines.next(), Some(refusal.as_str()));
    assert_eq!(lines.next(), Some("jeton: this address is no upstream of"));
    assert_eq!(lines.next(), Some("b'order 7 0\\n'"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_is_answered_in_the_place_of_an_upstream() {
    let scene = TwoUpstreams::start(Wire::Tls).await;
    let run = scene.session();
    let script = "
        curl -s -o /dev/null -w '%{http_connect} ' $API/v1/acme/shop/orders/7
        curl -s -o /dev/null -w '%{http_code} ' -H 'Origin: https://evil.example.org' $API/v1/acme/shop/orders/7
        chmod 755 $(dirname $SSL_CERT_FILE)
        setpriv --reuid 65534 --clear-groups curl -s -o /dev/null -w '%{http_connect}' $API/v1/acme/shop/orders/7";
    let mut jeton = run.jeton();
    jeton.env("API", &scene.api).args(["proxy", "--", "sh", "-c", script]);
    let (_, text) = said(&mut jeton);
    assert_eq!(text, "200 403 403");
    assert_eq!(scene.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_run_if_the_gateway_can_not_be_asked() {
    let scene = TwoUpstreams::start(Wire::Tls).await;
    let run = scene.session();
    let ran = scene.home.path().join("ran");
    let mut jeton = run.jeton();
    jeton.env("JETON_GATEWAY", "https://127.0.0.1:1");
    let (code, text) = ended(jeton.args(["proxy", "--", "touch"]).arg(&ran));
    assert_eq!(code, Some(69), "{text}");
    assert!(text.contains("the gateway can't be reached"), "{text}");
    // Somebody else with the same session file.
    let mut jeton = run.jeton();
    let tls = scene.broker.data().join("tls");
    jeton.env("JETON_CERT", tls.join("agent-2.pem")).env("JETON_KEY", tls.join("agent-2.key"));
    let (code, text) = ended(jeton.args(["proxy", "--", "touch"]).arg(&ran));
    assert_eq!(code, Some(77), "{text}");
    assert!(!ran.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_tells_the_addresses_that_the_envelope_names_and_no_more() {
    let scene = TwoUpstreams::start(Wire::Tls).await;
    let url = format!("{}/upstreams", scene.broker.env("JETON_GATEWAY"));
    let client = scene.broker.http(Some("agent"));
    let (agent, _) = scene.broker.agent_with(&["orders:acme/* orders:read"]).await;
    let call = |method: reqwest::Method, url: &str| {
        client.request(method, url).header("jeton-session", agent.handle.clone().unwrap())
    };
    let answer = call(reqwest::Method::GET, &url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let text = answer.text().await.unwrap();
    let expected = format!(r#"{{"upstreams":[{{"name":"orders","api":"{}"}}]}}"#, scene.api);
    assert_eq!(text, expected);
    let post = call(reqwest::Method::POST, &url).send().await.unwrap();
    assert_eq!((post.status().as_u16(), &post.headers()["allow"]), (405, &"GET".parse().unwrap()));
    let below = call(reqwest::Method::GET, &format!("{url}/orders")).send().await.unwrap();
    assert_eq!(below.status(), 404);
    let stranger = client.get(&url).send().await.unwrap();
    assert_eq!(stranger.status(), 401);
}
