//! The benchmark of the gateway: transfers and calls through it against the same without it, in one run, and
//! the memory that it takes.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use axum::body::Body;
use http::{Request, Response};
use jeton_proto::v1::{RequestGrantRequest, open_session_request::Binding};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::{
    broker::{opening, scope},
    gateway::{Agent, Scene},
    git_host::GitClient,
    loopback::Loopback,
};

/// What to measure.
pub struct Plan {
    /// Size of the repository, in MiB.
    pub mib: usize,
    /// Rounds of each transfer.
    pub rounds: usize,
    /// Small calls of each kind.
    pub calls: usize,
    /// Clones at once for the memory.
    pub at_once: usize,
}

/// What was measured.
#[derive(Serialize)]
pub struct Report {
    mib: usize,
    clone: Pair,
    push: Pair,
    calls: Vec<Calls>,
    memory: Memory,
}

/// Seconds of each round, without and with the gateway.
#[derive(Serialize)]
pub struct Pair {
    direct: Vec<f64>,
    through: Vec<f64>,
}

/// Small calls, in microseconds.
#[derive(Serialize)]
pub struct Calls {
    way: &'static str,
    p50_us: u128,
    p99_us: u128,
}

/// What the broker held in memory at most, in MiB.
#[derive(Serialize)]
pub struct Memory {
    at_rest: u64,
    after_clone: u64,
    after_push: u64,
    clones_at_once: usize,
    while_many_clone: u64,
}

const ENVELOPE: [&str; 3] = [
    "git:acme/* contents:read",
    "git:acme/* contents:write ref=agent/*",
    "orders:acme/* orders:read",
];
const ROUTE: &str = "
[[route]]
upstream = \"orders\"
methods = [\"GET\"]
path = \"/v1/{org}/{shop}/orders/**\"
resource = \"{org}/{shop}\"
action = \"orders:read\"
";

/// Files that a push is made of. Why: one alone would be larger than a file may be.
const FILES: usize = 10;

/// Measures all of it.
pub async fn run(plan: &Plan) -> Report {
    let api = Loopback::serve(|_: Request<Body>| async {
        Ok(Response::new(Body::from("{\"id\":7,\"state\":\"open\"}")))
    })
    .await;
    let url = api.url();
    let scene = Scene::start_with(|data| {
        let file = data.join("jetond.toml");
        let text = fs::read_to_string(&file).unwrap();
        let own = "audience = \"https://orders.dev.jeton.local\"\n";
        fs::write(&file, text.replace(own, &format!("{own}api = \"{url}\"\n"))).unwrap();
        let file = data.join("policies/catalogue.toml");
        fs::write(&file, fs::read_to_string(&file).unwrap() + ROUTE).unwrap();
    })
    .await;
    let agent = scene.agent(&ENVELOPE).await;
    let at_rest = memory(&scene);
    scene.host.fill("acme/api", plan.mib << 20);
    let mut clone = Pair { direct: vec![], through: vec![] };
    for round in 0..plan.rounds {
        let direct = direct(&scene, &agent, "git:acme/api contents:read").await;
        let folder = format!("direct-{round}");
        let url = scene.host.repo_url("acme/api");
        clone.direct.push(timed(&direct, &["clone", "-q", "--bare", &url, &folder]).await);
        let folder = format!("through-{round}");
        let url = scene.url("acme/api");
        clone.through.push(timed(&agent.git, &["clone", "-q", "--bare", &url, &folder]).await);
    }
    let after_clone = memory(&scene);
    let push = pushes(&scene, &agent, plan).await;
    let after_push = memory(&scene);
    let calls = calls(&scene, &agent, &api.url(), plan.calls).await;
    scene.host.create_repo("acme/small");
    scene.host.fill("acme/small", 8 << 20);
    let while_many_clone = many(&scene, &agent, plan.at_once).await;
    let memory =
        Memory { at_rest, after_clone, after_push, clones_at_once: plan.at_once, while_many_clone };
    Report { mib: plan.mib, clone, push, calls, memory }
}

/// A git that goes to the host itself, with a credential of its own.
async fn direct(scene: &Scene, agent: &Agent, text: &str) -> GitClient {
    let request = RequestGrantRequest {
        scope: Some(scope(text)),
        delivery: jeton_proto::v1::Delivery::Direct.into(),
        ..Default::default()
    };
    let granted = agent.caller.grants().request_grant(request).await.unwrap().into_inner();
    GitClient::at(scene.home.path()).with_bearer(&granted.credential.unwrap().secret)
}

async fn timed(git: &GitClient, words: &[&str]) -> f64 {
    let begun = Instant::now();
    git.run(".", words).await.succeeded();
    begun.elapsed().as_secs_f64()
}

/// The same commit, to a fresh repository each time.
async fn pushes(scene: &Scene, agent: &Agent, plan: &Plan) -> Pair {
    let git = &agent.git;
    git.run(".", &["init", "-q", "work"]).await.succeeded();
    let mut content = vec![0; (plan.mib << 20) / FILES];
    let random = ring::rand::SystemRandom::new();
    for number in 0..FILES {
        ring::rand::SecureRandom::fill(&random, &mut content).unwrap();
        scene.commit(git, "work", &format!("large-{number}"), &content).await;
    }
    git.run("work", &["repack", "-q", "-a", "-d"]).await.succeeded();
    let mut pair = Pair { direct: vec![], through: vec![] };
    for round in 0..plan.rounds {
        for through in [false, true] {
            let name = format!("acme/{}-{round}", if through { "through" } else { "direct" });
            scene.host.create_repo(&name);
            let text = format!("git:{name} contents:write ref=agent/*");
            let own;
            let (git, url) = match through {
                true => (&agent.git, scene.url(&name)),
                false => {
                    own = direct(scene, agent, &text).await;
                    (&own, scene.host.repo_url(&name))
                }
            };
            let begun = Instant::now();
            git.run("work", &["push", "-q", &url, "HEAD:refs/heads/agent/x"]).await.succeeded();
            let took = begun.elapsed().as_secs_f64();
            if through { pair.through.push(took) } else { pair.direct.push(took) }
        }
    }
    pair
}

/// Small calls: to the API itself, by a proxy that does nothing else, and through the gateway.
async fn calls(scene: &Scene, agent: &Agent, api: &str, count: usize) -> Vec<Calls> {
    let behind = api.to_owned();
    let onward = reqwest::Client::new();
    let plain = Loopback::serve(move |request: Request<Body>| {
        let (onward, url) = (onward.clone(), format!("{behind}{}", request.uri().path()));
        async move {
            let answer = onward.get(url).send().await.unwrap();
            Ok(Response::new(Body::from_stream(answer.bytes_stream())))
        }
    })
    .await;
    let client = scene.broker.http(Some("agent"));
    let handle = agent.caller.handle.clone().unwrap();
    let path = "/v1/acme/shop/orders/7";
    let gateway = format!("{}/api/orders{path}", scene.broker.env("JETON_GATEWAY"));
    let ways = [
        ("direct", format!("{api}{path}")),
        ("a plain proxy", format!("{}{path}", plain.url())),
        ("the gateway", gateway),
    ];
    let mut told: Vec<(&'static str, Vec<u128>)> =
        ways.iter().map(|(way, _)| (*way, vec![])).collect();
    // In turns, so that all see the same machine.
    for _ in 0..count {
        for ((_, url), (_, times)) in ways.iter().zip(&mut told) {
            let begun = Instant::now();
            let answer = client.get(url).header("jeton-session", &handle).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            answer.bytes().await.unwrap();
            times.push(begun.elapsed().as_micros());
        }
    }
    let line = |(way, mut times): (&'static str, Vec<u128>)| {
        times.sort_unstable();
        let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
        Calls { way, p50_us: at(50), p99_us: at(99) }
    };
    told.into_iter().map(line).collect()
}

/// Many clones at once. Gives the most that the broker held.
async fn many(scene: &Scene, agent: &Agent, at_once: usize) -> u64 {
    let tip = scene.host.tip("acme/small", "refs/heads/main").unwrap();
    let client = scene.broker.http(Some("agent"));
    let mut clones = JoinSet::new();
    // Several agents: one alone may not hold so many transfers.
    let mut handles = vec![agent.caller.handle.clone().unwrap()];
    let orchestrator = scene.broker.as_("orchestrator").await;
    for number in 0..at_once / 50 {
        let mut request = opening(&ENVELOPE);
        request.agent = format!("spiffe://dev.jeton.local/agent/clone-{number}");
        request.binding = Some(Binding::CertificateSha256(scene.broker.thumbprint("agent")));
        let opened = orchestrator.sessions().open_session(request).await.unwrap().into_inner();
        handles.push(opened.handle);
    }
    for number in 0..at_once {
        let client = client.clone();
        let handle = handles[number % handles.len()].clone();
        let url = format!("{}/git-upload-pack", scene.url("acme/small"));
        let body = format!(
            "0012command=fetch\n0016object-format=sha10001000fno-progress0032want {tip}\n0009done\n0000"
        );
        clones.spawn(async move {
            let call = client
                .post(url)
                .header("jeton-session", handle)
                .header("git-protocol", "version=2")
                .header("content-type", "application/x-git-upload-pack-request")
                .body(body);
            let mut answer = call.send().await.unwrap();
            let mut bytes = 0;
            while let Some(piece) = answer.chunk().await.unwrap() {
                bytes += piece.len();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            bytes
        });
    }
    let mut most = 0;
    loop {
        most = most.max(resident(scene));
        match tokio::time::timeout(Duration::from_millis(20), clones.join_next()).await {
            Ok(None) => return most,
            Ok(Some(bytes)) => assert!(bytes.unwrap() > 8 << 20, "a clone was not whole"),
            Err(_) => {}
        }
    }
}

/// The most that the broker ever held, in MiB.
fn memory(scene: &Scene) -> u64 {
    status(scene, "VmHWM:")
}

fn resident(scene: &Scene) -> u64 {
    status(scene, "VmRSS:")
}

fn status(scene: &Scene, name: &str) -> u64 {
    let path = format!("/proc/{}/status", scene.broker.pid());
    let text = fs::read_to_string(Path::new(&path)).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

impl Report {
    /// For people.
    pub fn words(&self) -> String {
        let middle = |times: &[f64]| {
            let mut times = times.to_vec();
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        };
        let pair = |what: &str, pair: &Pair| {
            let (direct, through) = (middle(&pair.direct), middle(&pair.through));
            format!(
                "{what} of {} MiB: direct {direct:.2} s {:.2?}, through {through:.2} s {:.2?}; throughput {:.2} of direct\n",
                self.mib,
                pair.direct,
                pair.through,
                direct / through
            )
        };
        let mut text = pair("clone", &self.clone) + &pair("push", &self.push);
        for Calls { way, p50_us, p99_us } in &self.calls {
            text += &format!("small call, {way}: p50 {p50_us} µs, p99 {p99_us} µs\n");
        }
        let Memory { at_rest, after_clone, after_push, clones_at_once, while_many_clone } =
            &self.memory;
        text + &format!(
            "memory of the broker: {at_rest} MiB at rest, at most {after_clone} with clones, {after_push} with pushes, {while_many_clone} resident with {clones_at_once} clones at once\n"
        )
    }
}
