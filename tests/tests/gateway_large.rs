//! Large files through the gateway, with the real client of Git LFS and a host of large files that others
//! wrote.

use std::{
    fs,
    sync::{Arc, Mutex},
};

use axum::body::Body;
use http::{Request, Response};
use jeton_domain::audit::Event;
use jeton_tests::{
    broker::Broker,
    gateway::{Agent, Scene},
    git_host::GitClient,
    large_files::LargeFiles,
    loopback::Loopback,
    run::{Run, said},
};

const WRITE: &str = "git:acme/* contents:write ref=agent/*";
const READ: &str = "git:acme/* contents:read";
const REPO: &str = "acme/api";
/// Policies that refuse files over a size.
const SMALL: &str = r#"
@id("all") permit (principal, action, resource);
@id("small-files") forbid (principal, action, resource) when { context has bytes && context.bytes > 5000 };
"#;

/// A scene whose git host keeps large files elsewhere, at an address that its configuration names or not.
async fn scene(known: bool, rules: Option<&str>) -> (Scene, LargeFiles) {
    let files = LargeFiles::start();
    let scene = Scene::start_with(|data| {
        if known {
            let file = data.join("jetond.toml");
            let text = fs::read_to_string(&file).unwrap();
            let own = "audience = \"https://git.dev.jeton.local\"\n";
            let added = format!("{own}large_files = [\"{}\"]\n", files.url());
            fs::write(&file, text.replace(own, &added)).unwrap();
        }
        if let Some(rules) = rules {
            for name in ["agents.cedar", "limits.cedar", "sessions.cedar"] {
                fs::write(data.join("policies").join(name), "// Nothing.\n").unwrap();
            }
            fs::write(data.join("policies/all.cedar"), rules).unwrap();
        }
    })
    .await;
    scene.host.large.keep_at(&files);
    (scene, files)
}

/// A git that knows large files.
fn with_lfs(git: GitClient, scene: &Scene) -> GitClient {
    let git = git
        .with("filter.lfs.process", "git-lfs filter-process")
        .with("filter.lfs.clean", "git-lfs clean -- %f")
        .with("filter.lfs.smudge", "git-lfs smudge -- %f")
        .with("filter.lfs.required", "true");
    // The client of large files is git's child and reads what git was told; the handle as git would show it.
    let base = scene.broker.env("JETON_GATEWAY");
    git.with(&format!("lfs.{base}.access"), "none").with("lfs.locksverify", "false")
}

async fn agent(scene: &Scene, envelope: &[&str]) -> Agent {
    let mut agent = scene.agent(envelope).await;
    let handle = agent.caller.handle.clone().unwrap();
    agent.git = with_lfs(scene.git(&handle), scene);
    agent
}

/// Commits a large file on a branch of the agent's, with the hook that brings it along.
async fn large(scene: &Scene, agent: &Agent, content: &[u8]) -> String {
    agent.git.run(".", &["clone", "-q", &scene.url(REPO), "work"]).await.succeeded();
    agent.git.run("work", &["lfs", "install", "--local"]).await.succeeded();
    let attributes = b"*.bin filter=lfs diff=lfs merge=lfs -text\n";
    fs::write(scene.home.path().join("work/.gitattributes"), attributes).unwrap();
    scene.commit(&agent.git, "work", "model.bin", content).await;
    let digest = ring::digest::digest(&ring::digest::SHA256, content);
    jeton_domain::secret::hex(digest.as_ref())
}

#[tokio::test]
async fn large_files_come_and_go_and_their_signed_addresses_stay_here() {
    let (scene, files) = scene(true, None).await;
    let agent = agent(&scene, &[READ, WRITE]).await;
    let content = b"a large file, as far as git is concerned".repeat(50_000);
    let id = large(&scene, &agent, &content).await;
    let traced =
        GitRunTraced::run(&agent.git, "work", &["push", "origin", "HEAD:refs/heads/agent/x"]);
    traced.await;
    let kept = files.kept(REPO, &id).expect("it was not kept");
    assert_eq!(fs::read(kept).unwrap(), content);

    let words = ["clone", "-q", "-b", "agent/x", &scene.url(REPO), "again"];
    GitRunTraced::run(&agent.git, ".", &words).await;
    assert_eq!(fs::read(scene.home.path().join("again/model.bin")).unwrap(), content);

    let said = scene.host.large.said().join("\n");
    assert!(
        said.contains(files.url()) && said.contains("Bearer"),
        "the control is missing: {said}"
    );
    let told = GitRunTraced::all(&scene);
    assert!(told.contains("info/lfs/objects/"), "nothing was traced");
    for secret in scene.gate.tokens() {
        assert!(!told.contains(&secret), "a credential reached the agent");
    }
    assert!(!told.contains(files.url()), "an address of the host of large files reached the agent");
    let is_upload = |event: &Event| {
        matches!(event, Event::Used { request, cut: None, .. }
            if request.as_str().starts_with("PUT info/lfs/objects/"))
    };
    let is_download = |event: &Event| {
        matches!(event, Event::Used { request, cut: None, received, .. }
            if request.as_str().starts_with("GET info/lfs/objects/") && *received > 1_000_000)
    };
    let events = scene.events_until(is_download).await;
    assert!(events.iter().any(is_upload), "{events:#?}");
}

#[tokio::test]
async fn what_may_not_be_brought_is_refused_in_words_that_git_shows() {
    let (scene, files) = scene(true, Some(SMALL)).await;
    let agent = agent(&scene, &[READ, WRITE]).await;
    let id = large(&scene, &agent, &[7; 6000]).await;
    let said = agent.git.run("work", &["push", "origin", "HEAD:refs/heads/agent/x"]).await.failed();
    assert!(said.contains("small-files"), "{said}");
    assert!(files.kept(REPO, &id).is_none());
    assert_eq!(scene.host.tip(REPO, "refs/heads/agent/x"), None);

    let small = [8; 4000];
    scene.commit(&agent.git, "work", "model.bin", &small).await;
    agent.git.run("work", &["reset", "-q", "--soft", "origin/main"]).await.succeeded();
    agent.git.run("work", &["commit", "-q", "-m", "Small"]).await.succeeded();
    agent.git.run("work", &["push", "origin", "HEAD:refs/heads/agent/x"]).await.succeeded();
}

#[tokio::test]
async fn a_session_that_may_only_read_brings_nothing() {
    let (scene, files) = scene(true, None).await;
    let agent = agent(&scene, &[READ]).await;
    let content = [9; 9000];
    let id = large(&scene, &agent, &content).await;
    agent.git.run("work", &["push", "origin", "HEAD:refs/heads/agent/x"]).await.failed();
    let put = scene
        .broker
        .http(Some("agent"))
        .put(format!("{}/info/lfs/objects/{id}/9000", scene.url(REPO)))
        .header("jeton-session", agent.caller.handle.clone().unwrap())
        .body(content.to_vec());
    let answer = put.send().await.unwrap();
    assert_eq!(answer.status(), 403);
    let told: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert!(told["message"].as_str().unwrap().starts_with("jeton: "), "{told}");
    assert!(files.kept(REPO, &id).is_none());
}

#[tokio::test]
async fn a_host_of_large_files_that_nobody_named_gets_nothing() {
    let (scene, files) = scene(false, None).await;
    let agent = agent(&scene, &[READ, WRITE]).await;
    let id = large(&scene, &agent, &[1; 3000]).await;
    let said = agent.git.run("work", &["push", "origin", "HEAD:refs/heads/agent/x"]).await.failed();
    assert!(said.contains(files.url()) && said.contains("`large_files`"), "{said}");
    assert!(files.kept(REPO, &id).is_none());
}

#[tokio::test]
async fn bytes_that_are_another_file_are_not_kept() {
    let (scene, files) = scene(true, None).await;
    let agent = agent(&scene, &[READ, WRITE]).await;
    let put = |id: String, size: &'static str, body: Vec<u8>| {
        scene
            .broker
            .http(Some("agent"))
            .put(format!("{}/info/lfs/objects/{id}/{size}", scene.url(REPO)))
            .header("jeton-session", agent.caller.handle.clone().unwrap())
            .body(body)
            .send()
    };
    let wrong = "ab".repeat(32);
    assert_eq!(put(wrong.clone(), "5", b"hello".to_vec()).await.unwrap().status(), 502);
    assert!(files.kept(REPO, &wrong).is_none());
    let hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_eq!(put(hello.to_owned(), "6", b"hello".to_vec()).await.unwrap().status(), 411);
    assert_eq!(put(hello.to_owned(), "5", b"hello".to_vec()).await.unwrap().status(), 200);
    assert_eq!(fs::read(files.kept(REPO, hello).unwrap()).unwrap(), b"hello");
}

/// Runs of git with all that its programs tell of their calls.
struct GitRunTraced;

impl GitRunTraced {
    async fn run(git: &GitClient, folder: &str, words: &[&str]) {
        let run = git.traced(folder, words).await;
        assert!(run.ok, "git failed: {}", run.stderr);
    }

    fn all(scene: &Scene) -> String {
        fs::read_to_string(scene.home.path().join("trace")).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_the_local_helper_large_files_need_no_setting_at_all() {
    let (scene, files) = scene(true, None).await;
    let run = Run::opened(&scene.broker, scene.home.path(), &[READ, WRITE], &[]);
    // As the user knows the repository: by the upstream's own address.
    let script = format!(
        "set -e
         git lfs install > /dev/null
         git config --global user.name Agent && git config --global user.email agent@example.org
         git clone -q {url} work && cd work
         git lfs track '*.bin' > /dev/null
         head -c 300000 /dev/zero | tr '\\0' x > model.bin
         git add -A && git commit -q -m Model && git push -q origin HEAD:refs/heads/agent/x
         cd .. && git clone -q -b agent/x {url} again && cmp work/model.bin again/model.bin
         echo done",
        url = scene.host.repo_url(REPO),
    );
    let mut jeton = run.jeton();
    jeton.args(["proxy", "--", "sh", "-c", &script]);
    let (good, told) = tokio::task::spawn_blocking(move || said(&mut jeton)).await.unwrap();
    assert!(good && told.contains("done"), "{told}");
    let digest = ring::digest::digest(&ring::digest::SHA256, &[b'x'; 300_000]);
    let id = jeton_domain::secret::hex(digest.as_ref());
    assert_eq!(fs::read(files.kept(REPO, &id).unwrap()).unwrap().len(), 300_000);
}

/// An upstream that says of large files what no honest one would.
async fn hostile() -> (Broker, Loopback, Arc<Mutex<Vec<String>>>) {
    let stolen = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&stolen);
    let elsewhere = Loopback::serve(move |request: Request<Body>| {
        heard.lock().unwrap().push(format!("{:?}", request.headers()));
        async { Ok(Response::new(Body::from("elsewhere"))) }
    })
    .await;
    let away = elsewhere.url();
    let upstream = Loopback::serve(move |request: Request<Body>| {
        let away = away.clone();
        async move { Ok(says(request, &away).await) }
    })
    .await;
    let (git, files) = (upstream.url(), elsewhere.url());
    let broker = Broker::start_with(|data| {
        let file = data.join("jetond.toml");
        let text = fs::read_to_string(&file).unwrap();
        let own = "audience = \"https://git.dev.jeton.local\"\n";
        let added = format!("{own}git = \"{git}\"\nlarge_files = [\"{files}\"]\n");
        fs::write(&file, text.replace(own, &added)).unwrap();
    });
    // Why forgotten: both live as long as the test.
    std::mem::forget(upstream);
    (broker, elsewhere, stolen)
}

async fn says(request: Request<Body>, away: &str) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let token = parts.headers["authorization"].to_str().unwrap().to_owned();
    let bare = token.strip_prefix("Bearer ").unwrap();
    if !parts.uri.path().ends_with("/batch") {
        // How the call is framed is not for the other side's answer to say.
        assert!(!parts.headers.contains_key("te"), "{:?}", parts.headers);
        let gzip = parts.uri.path().ends_with("/packed");
        let answer =
            Response::builder().header("content-encoding", if gzip { "gzip" } else { "identity" });
        return answer.body(Body::from("the type is application/octet-stream here")).unwrap();
    }
    let asked = axum::body::to_bytes(body, 100_000).await.unwrap();
    let asked: serde_json::Value = serde_json::from_slice(&asked).unwrap();
    let file = &asked["objects"][0];
    let way = asked["operation"].as_str().unwrap();
    let host = format!("http://{}", parts.headers["host"].to_str().unwrap());
    let octets = serde_json::json!({ "accept": "application/octet-stream", "te": "trailers" });
    let mut told = serde_json::json!({ "oid": file["oid"], "size": file["size"] });
    let path = parts.uri.path();
    if path.contains("/error.git") {
        told["error"] = serde_json::json!({ "code": 403, "message": format!("{bare} may not") });
    } else if path.contains("/away.git") {
        let header = serde_json::json!({ "authorization": token });
        told["actions"] =
            serde_json::json!({ way: { "href": format!("{away}/x"), "header": header } });
    } else if path.contains("/packed.git") {
        told["actions"] =
            serde_json::json!({ way: { "href": format!("{host}/packed"), "header": null } });
    } else {
        told["actions"] =
            serde_json::json!({ way: { "href": format!("{host}/x"), "header": octets } });
    }
    Response::new(Body::from(serde_json::json!({ "objects": [told] }).to_string()))
}

#[tokio::test]
async fn whatever_an_upstream_says_of_a_file_its_credential_goes_to_nobody() {
    let (broker, _elsewhere, stolen) = hostile().await;
    let (agent, _) = broker.agent_with(&[READ, WRITE]).await;
    let handle = agent.handle.clone().unwrap();
    let id = "ab".repeat(32);
    let base = format!("{}/git/git/acme", broker.env("JETON_GATEWAY"));
    let client = broker.http(Some("agent"));
    let told = async |call: reqwest::RequestBuilder| {
        let answer = call.header("jeton-session", handle.clone()).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap_or_default())
    };
    let batch = format!(r#"{{"operation":"download","objects":[{{"oid":"{id}","size":9}}]}}"#);
    for name in ["error", "away", "packed", "fine"] {
        let at = |path: &str| format!("{base}/{name}.git/info/lfs/objects/{path}");
        let all = [
            told(client.post(at("batch")).body(batch.clone())).await,
            told(client.get(at(&format!("{id}/9"))).header("range", "bytes=0-3")).await,
            told(client.put(at(&format!("{id}/9"))).body("123456789")).await,
        ];
        for (status, text) in &all {
            assert!(!text.contains("eyJ"), "{name}: {status} {text}");
        }
        let (status, text) = &all[1];
        match name {
            "fine" => assert_eq!(
                (*status, text.as_str()),
                (200, "the type is application/octet-stream here")
            ),
            "error" => assert!(
                *status == 403 && text.contains("put the credential into its answer"),
                "{text}"
            ),
            "away" => {
                assert!(*status == 502 && text.contains("goes to the upstream alone"), "{text}")
            }
            _ => assert!(*status == 502 && text.contains("packed the file"), "{text}"),
        }
    }
    assert!(stolen.lock().unwrap().is_empty(), "{stolen:?}");
}

#[tokio::test]
async fn a_refused_file_is_read_over_so_that_its_client_sees_why() {
    let (scene, _files) = scene(true, None).await;
    let agent = agent(&scene, &[READ]).await;
    let client = scene.broker.http(Some("agent"));
    let put =
        client.put(format!("{}/info/lfs/objects/{}/30000000", scene.url(REPO), "ab".repeat(32)));
    let put = put.header("jeton-session", agent.caller.handle.clone().unwrap());
    let answer = put.body(vec![7; 30_000_000]).send().await.unwrap();
    assert_eq!(answer.status(), 403);
}
