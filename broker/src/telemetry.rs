//! Logs and metrics. Labels are few and fixed: never a session, an agent or a resource.

mod line_limit;

use std::{sync::atomic::AtomicU64, time::Duration};

use jeton_domain::{audit::Recording, decision::Decision};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use tracing_subscriber::{
    EnvFilter, Registry as Logs, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

use self::line_limit::{LimitLines, limiter};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// For programs: one JSON object a line.
    Json,
}

/// Starts logging to standard error.
///
/// # Errors
/// When the filter can't be read, with what it may be.
pub fn start_logs(format: LogFormat, filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        format!("the log filter `{filter}` can't be read: {error}; write a level such as `info`")
    })?;
    let limited = Logs::default().with(filter).with(LimitLines);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Human => limited.with(lines).try_init(),
        LogFormat::Json => limited.with(lines.json().flatten_event(true)).try_init(),
    };
    started.map_err(|error| error.to_string())
}

/// Which dropped log lines are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suppressed {
    /// Those of a minute that is over.
    Past,
    /// Those of this minute too: the process ends.
    All,
}

/// Writes how many repeated log lines were dropped, a line for each place that they came from.
pub fn report_suppressed(which: Suppressed) {
    limiter().report(which);
}

/// What is counted.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    latency: Histogram,
    decisions: Family<OutcomeLabel, Counter>,
    mint_failures: Counter,
    revocations: Counter,
    upstream_revocation_failures: Counter,
    sign_in_failures: Family<ReasonLabel, Counter>,
    denials: Family<RecordingLabel, Counter>,
    shed: Counter,
    over_budget: Counter,
    sent: Counter,
    received: Counter,
    glass_broken: Counter,
    live_grants: Gauge<i64, std::sync::atomic::AtomicI64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    rpc: &'static str,
    code: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RecordingLabel {
    recording: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Names and registers them all.
    #[must_use]
    pub fn new() -> Self {
        let buckets =
            [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
        let mut metrics = Self {
            registry: Registry::with_prefix("jeton"),
            requests: Family::default(),
            latency: Histogram::new(buckets),
            decisions: Family::default(),
            mint_failures: Counter::<u64, AtomicU64>::default(),
            revocations: Counter::default(),
            upstream_revocation_failures: Counter::default(),
            sign_in_failures: Family::default(),
            denials: Family::default(),
            shed: Counter::default(),
            over_budget: Counter::default(),
            sent: Counter::default(),
            received: Counter::default(),
            glass_broken: Counter::default(),
            live_grants: Gauge::default(),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "rpc_requests",
            "Calls, by RPC and gRPC status code",
            metrics.requests.clone(),
        );
        registry.register(
            "rpc_seconds",
            "Seconds from a call's headers to its answer",
            metrics.latency.clone(),
        );
        registry.register("decisions", "Decisions, by outcome", metrics.decisions.clone());
        registry.register(
            "mint_failures",
            "Mints that gave nothing usable",
            metrics.mint_failures.clone(),
        );
        registry.register(
            "revocations",
            "Grants given back or taken back",
            metrics.revocations.clone(),
        );
        registry.register(
            "upstream_revocation_failures",
            "Tries to revoke upstream that were not confirmed",
            metrics.upstream_revocation_failures.clone(),
        );
        registry.register(
            "sign_in_failures",
            "Callers that could not prove who they are, by reason",
            metrics.sign_in_failures.clone(),
        );
        registry.register(
            "denial_records",
            "Denials and failed authentications, by how the log records them",
            metrics.denials.clone(),
        );
        registry.register(
            "shed_requests",
            "Calls refused because too many were in work",
            metrics.shed.clone(),
        );
        registry.register(
            "over_budget",
            "Requests refused because a budget was spent",
            metrics.over_budget.clone(),
        );
        registry.register(
            "gateway_sent_bytes",
            "Bytes that went through the gateway to upstreams",
            metrics.sent.clone(),
        );
        registry.register(
            "gateway_received_bytes",
            "Bytes that came back through the gateway",
            metrics.received.clone(),
        );
        registry.register(
            "glass_broken",
            "Emergencies in which a person lifted guards alone",
            metrics.glass_broken.clone(),
        );
        registry.register(
            "live_grants",
            "Grants that are pending, minting or active",
            metrics.live_grants.clone(),
        );
        metrics
    }

    /// One decision.
    pub fn decided(&self, decision: &Decision) {
        let outcome = match decision {
            Decision::Permit(_) => "permit",
            Decision::NeedsApproval { .. } => "needs_approval",
            Decision::Deny(_) => "deny",
        };
        self.decisions.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// A mint gave nothing usable.
    pub fn mint_failed(&self) {
        self.mint_failures.inc();
    }

    /// Grants were given back or taken back.
    pub fn revoked(&self, count: usize) {
        self.revocations.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// An upstream did not confirm a revocation.
    pub fn upstream_revocation_failed(&self) {
        self.upstream_revocation_failures.inc();
    }

    /// A caller could not prove who it is.
    pub fn sign_in_failed(&self, reason: &'static str) {
        self.sign_in_failures.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// A denial or a failed authentication was recorded.
    pub fn denial_recorded(&self, recording: Recording) {
        let recording = match recording {
            Recording::Whole => "whole",
            Recording::Counted => "summarized",
        };
        self.denials.get_or_create(&RecordingLabel { recording }).inc();
    }

    /// A person lifted guards alone, in an emergency.
    pub fn glass_broken(&self) {
        self.glass_broken.inc();
    }

    /// A budget was spent.
    pub fn over_budget(&self) {
        self.over_budget.inc();
    }

    /// So many bytes went through the gateway.
    pub fn passed(&self, sent: u64, received: u64) {
        self.sent.inc_by(sent);
        self.received.inc_by(received);
    }

    /// A call was refused because too many were in work.
    pub fn shed(&self) {
        self.shed.inc();
    }

    /// A call was answered. `rpc` is a row of the table: bounded.
    pub fn answered(&self, rpc: &'static str, code: tonic::Code, took: Duration) {
        self.requests.get_or_create(&RequestLabels { rpc, code: i32::from(code) }).inc();
        self.latency.observe(took.as_secs_f64());
    }

    /// The text that Prometheus reads.
    #[must_use]
    pub fn render(&self, live_grants: u64) -> String {
        self.live_grants.set(i64::try_from(live_grants).unwrap_or(i64::MAX));
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::new();
        metrics.revoked(3);
        metrics.answered(
            "/jeton.v1.GrantService/RequestGrant",
            tonic::Code::Ok,
            Duration::from_millis(2),
        );
        let text = metrics.render(7);
        assert!(text.contains("jeton_revocations_total 3"), "{text}");
        assert!(text.contains("jeton_live_grants 7"), "{text}");
        assert!(text.contains("code=\"0\""), "{text}");
    }
}
