//! The benchmark of the log.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use jeton_client::{Client, EntryFilter, PageOf, Settings, Until};
use jeton_domain::audit::Entry;
use serde::Serialize;

use crate::{
    broker::{Broker, program},
    generate::{self, Dice},
};

/// Rows of a page.
const PAGE: u32 = 100;
/// Entries that filters take their values from.
const SAMPLES: u64 = 2000;

/// What to measure.
pub struct Plan {
    /// Entries of the long log.
    pub entries: u64,
    /// Entries of the short log.
    pub short: u64,
    /// First pages of each filter.
    pub pages: usize,
    /// Grants whose entries are awaited.
    pub tails: usize,
}

/// What was measured. Times are milliseconds.
#[derive(Serialize)]
pub struct Report {
    entries: u64,
    short: u64,
    filters: Vec<Filter>,
    bytes_per_entry: f64,
    index_bytes_per_entry: f64,
    index_seconds: f64,
    tail_p50_ms: f64,
    tail_p99_ms: f64,
    verify_seconds: f64,
    verify_entries_per_second: f64,
    verify_peak_mib: f64,
    broker_mib: f64,
}

#[derive(Serialize)]
struct Filter {
    filter: &'static str,
    p50_ms: f64,
    p99_ms: f64,
    short_p99_ms: f64,
    ratio: f64,
}

struct Log {
    broker: Broker,
    samples: Vec<Entry>,
    index_seconds: f64,
}

impl Log {
    async fn start(count: u64) -> Self {
        let mut samples = Vec::new();
        let every = (count / SAMPLES).max(1);
        let broker = Broker::start_with(|data| {
            generate::store(&data.join("jeton.db"), 7, count, |entry| {
                if entry.index.is_multiple_of(every) {
                    samples.push(entry.clone());
                }
            });
        });
        let began = Instant::now();
        let client = auditor(&broker).await;
        while client.summarise(EntryFilter::default(), "event", None).await.unwrap().looked_at
            < count
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Self { broker, samples, index_seconds: began.elapsed().as_secs_f64() }
    }

    /// Times of first pages, each with values of another entry.
    async fn pages(&self, name: &str, count: usize) -> Vec<f64> {
        let client = auditor(&self.broker).await;
        let mut dice = Dice::new(3);
        let mut took = Vec::new();
        while took.len() < count {
            let at = usize::try_from(dice.below(self.samples.len() as u64)).unwrap();
            let Some(filter) = filter(name, &self.samples[at]) else { continue };
            let began = Instant::now();
            let page = PageOf { size: PAGE, token: None };
            client.list_entries(filter, dice.below(2) == 0, page).await.unwrap();
            took.push(began.elapsed().as_secs_f64() * 1000.0);
        }
        took.sort_by(f64::total_cmp);
        took
    }
}

const FILTERS: [&str; 14] = [
    "none",
    "agent",
    "person",
    "by",
    "session",
    "grant",
    "upstream",
    "resource",
    "resource/**",
    "action",
    "event",
    "outcome",
    "policy",
    "time",
];

/// A filter with the values of an entry, if it has any.
fn filter(name: &str, entry: &Entry) -> Option<EntryFilter> {
    let facts = entry.event.facts();
    let scope = facts.scope;
    let mut filter = EntryFilter::default();
    match name {
        "agent" => filter.agent = Some(facts.agent?.to_string()),
        "person" => filter.person = Some(facts.person?.to_string()),
        "by" => filter.by = Some(facts.by?.to_string()),
        "session" => filter.session = Some(facts.session?.to_string()),
        "grant" => filter.grant = Some(facts.grant?.to_string()),
        "upstream" => filter.upstream = Some(scope?.upstream.to_string()),
        "resource" => filter.resource = Some(scope?.resource.to_string()),
        "resource/**" => {
            let team = scope?.resource.to_string();
            filter.resource = Some(format!("{}/**", team.split_once('/')?.0));
        }
        "action" => filter.action = Some(scope?.actions.iter().next()?.to_string()),
        "event" => filter.event = Some(entry.event.word().to_owned()),
        "outcome" => filter.outcome = Some(facts.outcome.word().to_owned()),
        "policy" => filter.policy = Some(facts.policies.first()?.to_string()),
        "time" => {
            filter.since = Some(entry.at.millis());
            filter.until = Some(entry.at.millis() + 3_600_000);
        }
        _ => {}
    }
    Some(filter)
}

async fn auditor(broker: &Broker) -> Client {
    crate::crypto();
    let tls = broker.data().join("tls");
    let settings = Settings {
        endpoint: Some(broker.env("JETON_ENDPOINT").to_owned()),
        ca: Some(tls.join("ca.pem")),
        certificate: Some(tls.join("audrey.pem")),
        key: Some(tls.join("audrey.key")),
        ..Settings::default()
    };
    settings.connect().await.unwrap()
}

fn at(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

/// Measures.
pub async fn run(plan: &Plan) -> Report {
    let short = Log::start(plan.short).await;
    let mut long = Log::start(plan.entries).await;
    let mut filters = Vec::new();
    for filter in FILTERS {
        // One after the other in turns, so that a slow moment of the machine hits both.
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            ours.extend(long.pages(filter, plan.pages / 4).await);
            theirs.extend(short.pages(filter, plan.pages / 4).await);
        }
        ours.sort_by(f64::total_cmp);
        theirs.sort_by(f64::total_cmp);
        let (p99_ms, short_p99_ms) = (at(&ours, 99), at(&theirs, 99));
        let p50_ms = at(&ours, 50);
        filters.push(Filter { filter, p50_ms, p99_ms, short_p99_ms, ratio: p99_ms / short_p99_ms });
    }
    let tail = tail(&long.broker, plan.tails).await;
    let broker_mib = status_kib(long.broker.pid(), "VmHWM:") / 1024.0;
    long.broker.stop();
    let data = long.broker.data().to_owned();
    let size = |name: &str| std::fs::metadata(data.join(name)).map_or(0, |file| file.len());
    #[allow(clippy::as_conversions, reason = "a figure for people")]
    let each = |bytes: u64| bytes as f64 / plan.entries as f64;
    let (seconds, peak) = verify(&long.broker);
    #[allow(clippy::as_conversions, reason = "a figure for people")]
    let rate = plan.entries as f64 / seconds;
    Report {
        entries: plan.entries,
        short: plan.short,
        filters,
        bytes_per_entry: each(size("jeton.db")),
        index_bytes_per_entry: each(size("jeton.index")),
        index_seconds: long.index_seconds,
        tail_p50_ms: at(&tail, 50),
        tail_p99_ms: at(&tail, 99),
        verify_seconds: seconds,
        verify_entries_per_second: rate,
        verify_peak_mib: peak / 1024.0,
        broker_mib,
    }
}

/// Times from the answer to a request, which its commit goes before, to the subscriber's entry.
async fn tail(broker: &Broker, count: usize) -> Vec<f64> {
    let (agent, _) = broker.agent_with(&["git:acme/api contents:read"]).await;
    let client = auditor(broker).await;
    let from = client.checkpoint().await.unwrap().checkpoint.checkpoint().size;
    let filter = EntryFilter { event: Some("issued".to_owned()), ..EntryFilter::default() };
    let mut stream = client.tail_entries(filter, from, Until::Stopped).await.unwrap();
    let mut took = Vec::new();
    for _ in 0..count {
        let answer = agent.requests("git:acme/api contents:read").await.unwrap();
        let (id, answered) = (answer.grant.unwrap().id, Instant::now());
        'seen: while let Some(batch) = stream.next().await.unwrap() {
            if batch.entries.iter().any(|entry| entry.text.contains(&id)) {
                break 'seen;
            }
        }
        took.push(answered.elapsed().as_secs_f64() * 1000.0);
    }
    took.sort_by(f64::total_cmp);
    took
}

/// Seconds of the offline verifier, and its largest memory in KiB.
fn verify(broker: &Broker) -> (f64, f64) {
    let began = Instant::now();
    let mut child = Command::new(program("jeton"))
        .args(["audit", "verify", "--store"])
        .arg(broker.data().join("jeton.db"))
        .args(["--log-key", broker.env("JETON_LOG_KEY")])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut peak: f64 = 0.0;
    let status = loop {
        if Path::new(&format!("/proc/{}/status", child.id())).exists() {
            peak = peak.max(status_kib(child.id(), "VmHWM:"));
        }
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    assert!(status.success(), "the log does not verify");
    (began.elapsed().as_secs_f64(), peak)
}

fn status_kib(pid: u32, name: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0.0)
}

impl Report {
    /// The report for people.
    pub fn words(&self) -> String {
        let mut text = format!(
            "first page of {PAGE} entries, {} against {} entries\n{:<12} {:>8} {:>8} {:>10} {:>6}\n",
            self.entries, self.short, "filter", "p50 ms", "p99 ms", "short p99", "ratio"
        );
        for filter in &self.filters {
            let Filter { filter, p50_ms, p99_ms, short_p99_ms, ratio } = filter;
            text += &format!(
                "{filter:<12} {p50_ms:>8.2} {p99_ms:>8.2} {short_p99_ms:>10.2} {ratio:>6.2}\n"
            );
        }
        text + &format!(
            "bytes an entry: {:.0} in the store, {:.1} in the index, which was made in {:.1} s\n\
             commit to subscriber: p50 {:.2} ms, p99 {:.2} ms\n\
             verified offline in {:.1} s, {:.0} entries/s, at most {:.0} MiB; the broker took {:.0} MiB",
            self.bytes_per_entry,
            self.index_bytes_per_entry,
            self.index_seconds,
            self.tail_p50_ms,
            self.tail_p99_ms,
            self.verify_seconds,
            self.verify_entries_per_second,
            self.verify_peak_mib,
            self.broker_mib
        )
    }
}
