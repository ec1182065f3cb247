//! The load tool: closed-loop callers, a broker in its own process, an echo in another.

pub mod echo;
mod grown;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use jeton_proto::v1::{
    RequestGrantRequest, grant_service_client::GrantServiceClient, open_session_request::Binding,
};
use serde_json::{Value, json};

use crate::broker::{Broker, Caller, opening, scope};

/// Connections of the callers. Why four: one serialises on one task of the server.
const CONNECTIONS: usize = 4;
/// Sessions of the callers.
const SESSIONS: usize = 16;
/// Policies of the set.
const POLICIES: usize = 100;

/// What to measure.
pub struct Plan {
    /// Time of each measurement.
    pub window: Duration,
    /// Measurements of each kind, in turn.
    pub rounds: usize,
    /// Calls at once.
    pub concurrency: Vec<usize>,
    /// Grants of the grown stores, if they are measured.
    pub grown: Option<u64>,
    /// Another build of `jetond` that ours is compared with.
    pub against: Option<PathBuf>,
}

/// What was measured.
pub struct Report(Value);

/// One measurement.
#[derive(Clone, Copy)]
struct Measured {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// Processor time of the server for each answer, in microseconds.
    cpu_us: f64,
}

impl Report {
    /// As JSON.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(&self.0).unwrap()
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut text = String::from(
            "calls at once   grants/s   p50 ms   p99 ms   CPU us     echo/s   CPU us   ratio\n",
        );
        for row in self.0["runs"].as_array().unwrap() {
            let number = |key: &str| row[key].as_f64().unwrap();
            text += &format!(
                "{:>13} {:>10.0} {:>8.2} {:>8.2} {:>8.0} {:>10.0} {:>8.0} {:>7.2}\n",
                row["concurrency"],
                number("grants_per_second"),
                number("p50_ms"),
                number("p99_ms"),
                number("server_cpu_us"),
                number("echo_per_second"),
                number("echo_cpu_us"),
                number("ratio"),
            );
        }
        text += &format!("ratio at 64: {}", self.0["ratio"]);
        for row in self.0["against"].as_array().into_iter().flatten() {
            text += &format!(
                "\nagainst the other build, {} at once: rate {}, processor {}",
                row["concurrency"], row["rate_ratio"], row["cpu_ratio"]
            );
        }
        text
    }
}

/// Runs the plan.
pub async fn run(plan: &Plan) -> Report {
    crate::crypto();
    let broker = Broker::start_with(|data| many_policies(data, POLICIES));
    let echo = echo::Echo::start(broker.data());
    let agents = agents(&broker).await;
    let echoes = connect(&broker, &echo.url).await;
    let mut runs = Vec::new();
    for at_once in &plan.concurrency {
        let (mut grants, mut bare) = (Vec::new(), Vec::new());
        // In turn, because the machine's speed drifts: only ratios side by side hold.
        for _ in 0..plan.rounds {
            grants.push(drive(&agents, *at_once, plan.window, broker.pid()).await);
            bare.push(drive(&echoes, *at_once, plan.window, echo.pid()).await);
        }
        let ratios: Vec<f64> =
            grants.iter().zip(&bare).map(|(g, e)| g.per_second / e.per_second).collect();
        let (grant, echo) = (median_of(&grants), median_of(&bare));
        runs.push(json!({
            "concurrency": at_once,
            "grants_per_second": grant.per_second.round(),
            "p50_ms": grant.p50_ms,
            "p99_ms": grant.p99_ms,
            "server_cpu_us": grant.cpu_us.round(),
            "echo_per_second": echo.per_second.round(),
            "echo_cpu_us": echo.cpu_us.round(),
            "echo_p99_ms": echo.p99_ms,
            "ratio": (median(ratios) * 1000.0).round() / 1000.0,
        }));
    }
    let ratio = runs.iter().find(|run| run["concurrency"] == 64).map(|run| run["ratio"].clone());
    let memory = resident_mib(broker.pid());
    let against = match &plan.against {
        Some(jetond) => against(plan, jetond).await,
        None => Value::Null,
    };
    let grown = match plan.grown {
        Some(grants) => grown::measure(plan.window, plan.rounds, grants).await,
        None => Value::Null,
    };
    Report(json!({
        "policies": POLICIES,
        "durable": "synchronous=FULL, fsync for each commit",
        "credential": "EdDSA at+jwt",
        "transport": "mTLS 1.3",
        "connections": CONNECTIONS,
        "sessions": SESSIONS,
        "seconds": plan.window.as_secs_f64(),
        "rounds": plan.rounds,
        "runs": runs,
        "ratio": ratio,
        "resident_mib": memory,
        "grown": grown,
        "against": against,
    }))
}

/// Our rate and cost over those of another build, in pairs side by side, both on fresh stores.
async fn against(plan: &Plan, jetond: &Path) -> Value {
    let own = Broker::start_with(|data| many_policies(data, POLICIES));
    let mut other = Broker::make_of(jetond.to_owned());
    many_policies(other.data(), POLICIES);
    other.run();
    let (agents, others) = (agents(&own).await, agents(&other).await);
    let (agents, pid) = (&agents[..], own.pid());
    let mut runs = Vec::new();
    for at_once in &plan.concurrency {
        let (mut rates, mut costs) = (Vec::new(), Vec::new());
        for round in 0..plan.rounds.max(3) {
            // Now one first, now the other: whoever is second may find a warmer machine.
            let (ours, theirs) = if round.is_multiple_of(2) {
                let ours = drive(agents, *at_once, plan.window, pid).await;
                (ours, drive(&others, *at_once, plan.window, other.pid()).await)
            } else {
                let theirs = drive(&others, *at_once, plan.window, other.pid()).await;
                (drive(agents, *at_once, plan.window, pid).await, theirs)
            };
            rates.push(ours.per_second / theirs.per_second);
            costs.push(theirs.cpu_us / ours.cpu_us);
        }
        let thousandths = |number: f64| (number * 1000.0).round() / 1000.0;
        runs.push(json!({
            "concurrency": at_once,
            "rate_ratio": thousandths(median(rates)),
            "cpu_ratio": thousandths(median(costs)),
        }));
    }
    Value::Array(runs)
}

/// Agents with a session each, spread over the connections.
async fn agents(broker: &Broker) -> Vec<Caller> {
    let orchestrator = broker.as_("orchestrator").await;
    let connections = connect(broker, broker.env("JETON_ENDPOINT")).await;
    let mut agents = Vec::new();
    for place in 0..SESSIONS {
        let mut request = opening(&["git:acme/* contents:write"]);
        request.binding = Some(Binding::CertificateSha256(broker.thumbprint("agent")));
        request.envelope.as_mut().unwrap().max_grants = 1_000_000;
        let opened = orchestrator.sessions().open_session(request).await.unwrap().into_inner();
        let mut agent = connections[place % CONNECTIONS].clone();
        agent.handle = Some(opened.handle);
        agents.push(agent);
    }
    agents
}

async fn connect(broker: &Broker, url: &str) -> Vec<Caller> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(broker.connect("agent", url).await.unwrap());
    }
    connections
}

/// Sends requests, `at_once` at a time, for a while, to the server that runs as `pid`.
async fn drive(callers: &[Caller], at_once: usize, window: Duration, pid: u32) -> Measured {
    let cpu_before = cpu_seconds(pid);
    let begin = Instant::now();
    let warm = begin + window / 10;
    let end = begin + window;
    let mut tasks = Vec::new();
    for place in 0..at_once {
        let caller = callers[place % callers.len()].clone();
        tasks.push(tokio::spawn(async move {
            let mut client: GrantServiceClient<_> = caller.grants();
            let request = request(place);
            let mut took = Vec::new();
            loop {
                let sent = Instant::now();
                if sent >= end {
                    return took;
                }
                let answer = client.request_grant(request.clone()).await.unwrap().into_inner();
                assert!(answer.credential.is_some(), "each answer carries a credential");
                took.push((sent, sent.elapsed()));
            }
        }));
    }
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.unwrap());
    }
    let cpu = cpu_seconds(pid) - cpu_before;
    let seconds = (Instant::now() - warm).as_secs_f64();
    let cpu_us = cpu * 1e6 / took.len() as f64;
    let warmed = took.into_iter().filter(|(sent, _)| *sent >= warm);
    let mut took: Vec<Duration> = warmed.map(|(_, took)| took).collect();
    took.sort_unstable();
    let at = |part: f64| {
        let place = ((took.len() as f64 * part) as usize).min(took.len().saturating_sub(1));
        (took[place].as_secs_f64() * 1e6).round() / 1e3
    };
    Measured { per_second: took.len() as f64 / seconds, p50_ms: at(0.5), p99_ms: at(0.99), cpu_us }
}

fn request(place: usize) -> RequestGrantRequest {
    RequestGrantRequest {
        scope: Some(scope(&format!("git:acme/api-{} contents:write ref=agent/*", place % 20))),
        ttl_seconds: 600,
        reason: "load".into(),
        request_id: String::new(),
        delivery: jeton_proto::v1::Delivery::Direct.into(),
    }
}

/// Fills the folder up to as many policies: each about another team's repository.
fn many_policies(data: &Path, count: usize) {
    let folder = data.join("policies");
    let text = |file: &fs::DirEntry| fs::read_to_string(file.path()).unwrap_or_default();
    let cedar =
        |file: &fs::DirEntry| file.path().extension().is_some_and(|ending| ending == "cedar");
    let files = fs::read_dir(&folder).unwrap().map(Result::unwrap);
    let there: usize = files.filter(cedar).map(|file| text(&file).matches("@id(").count()).sum();
    let mut more = String::new();
    for number in there..count {
        more += &format!(
            "@id(\"load-{number}\")\npermit (principal in Jeton::Team::\"team-{number}\", action in Jeton::Action::\"write\", resource)\n\
             when {{ context.ttl <= {} && context has ref && context.ref like \"agent/*\" }};\n",
            60 + number
        );
    }
    fs::write(folder.join("load.cedar"), more).unwrap();
    let catalogue = folder.join("catalogue.toml");
    let teams: String =
        (there..count).map(|number| format!("\n[[team]]\nname = \"team-{number}\"\n")).collect();
    let text = fs::read_to_string(&catalogue).unwrap() + &teams;
    fs::write(&catalogue, text).unwrap();
}

fn median_of(measured: &[Measured]) -> Measured {
    let middle = |pick: fn(&Measured) -> f64| median(measured.iter().map(pick).collect());
    Measured {
        per_second: middle(|m| m.per_second),
        p50_ms: middle(|m| m.p50_ms),
        p99_ms: middle(|m| m.p99_ms),
        cpu_us: middle(|m| m.cpu_us),
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Processor time that a process has used. Why: it tells what an answer costs also on a machine
/// whose other work makes the rates drift.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name in brackets may hold spaces; user and system time are the 12th and 13th after it.
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / rustix::param::clock_ticks_per_second() as f64
}

/// Memory of a process that is in RAM, in MiB.
fn resident_mib(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse().unwrap();
    (kib / 102.4).round() / 10.0
}
