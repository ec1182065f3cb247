//! The benchmark of taking back: from the acknowledgement of a revocation to the first refusal, for
//! each way in which one can hear of it. Each trial is a grant of its own.

use std::{
    future::Future,
    path::Path,
    time::{Duration, Instant},
};

use jeton_client::verifier::{
    Call, PeerThumbprint, Refused, RevocationBy, Verifier, VerifierSettings,
};
use jeton_proto::v1::{IntrospectRequest, RevokeGrantRequest};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::{
    broker::{Broker, Caller},
    github::{Github, Scene},
};

const ISSUER: &str = "https://dev.jeton.local";
const AUDIENCE: &str = "https://git.dev.jeton.local";
const SIGNED: &str = "git:acme/api contents:read";
const MINTED: &str = "github:acme/web contents:read";
/// Longest wait for a refusal: after it the trial counts as never refused.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two looks by a list, whose lateness is seconds.
const LOOK: Duration = Duration::from_millis(20);
/// Pause between two revocations of the trials by list, so that they fall on all moments of its life.
const SPREAD: Duration = Duration::from_millis(30);

/// What was measured.
#[derive(Serialize)]
pub struct Report {
    trials: usize,
    ways: Vec<Way>,
}

/// One way to hear of a revocation. Times are milliseconds after its acknowledgement.
#[derive(Serialize)]
pub struct Way {
    way: &'static str,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    /// Uses that were accepted after the acknowledgement, in all trials.
    accepted_after: u64,
    /// Trials that were never refused.
    never: usize,
}

/// A trial: how long the refusal took, if it came, and what was accepted until then.
struct Trial {
    took: Option<Duration>,
    accepted: u64,
}

impl Way {
    fn of(way: &'static str, trials: &[Trial]) -> Self {
        let mut took: Vec<f64> = trials
            .iter()
            .filter_map(|trial| trial.took)
            .map(|took| took.as_secs_f64() * 1000.0)
            .collect();
        took.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            let last = took.len().saturating_sub(1);
            took.get((took.len() * percent / 100).min(last)).copied().unwrap_or(f64::NAN)
        };
        Self {
            way,
            p50_ms: at(50),
            p99_ms: at(99),
            max_ms: at(100),
            accepted_after: trials.iter().map(|trial| trial.accepted).sum(),
            never: trials.iter().filter(|trial| trial.took.is_none()).count(),
        }
    }
}

impl Report {
    /// A table for people.
    #[must_use]
    pub fn words(&self) -> String {
        let mut text = format!(
            "from the acknowledgement of a revocation to the first refusal, {} trials each\n\n{:<22} {:>9} {:>9} {:>9}  {:>15}  {:>5}\n",
            self.trials, "way", "p50 ms", "p99 ms", "max ms", "accepted after", "never"
        );
        for way in &self.ways {
            let Way { way, p50_ms, p99_ms, max_ms, accepted_after, never } = way;
            text += &format!(
                "{way:<22} {p50_ms:>9.2} {p99_ms:>9.2} {max_ms:>9.2}  {accepted_after:>15}  {never:>5}\n"
            );
        }
        text
    }
}

/// Looks until it is refused.
async fn until_refused<F: Future<Output = bool>>(
    pause: Duration,
    mut accepts: impl FnMut() -> F,
) -> Trial {
    let began = Instant::now();
    let mut accepted = 0;
    while accepts().await {
        accepted += 1;
        if began.elapsed() > PATIENCE {
            return Trial { took: None, accepted };
        }
        if pause.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(pause).await;
        }
    }
    Trial { took: Some(began.elapsed()), accepted }
}

async fn granted(agent: &Caller, scope: &str) -> (String, String) {
    let answer = agent.requests(scope).await.unwrap();
    (answer.grant.unwrap().id, answer.credential.unwrap().secret)
}

async fn revoke(operator: &Caller, id: &str) {
    let request = RevokeGrantRequest { id: id.into(), reason: "a trial".into(), wait_seconds: 0 };
    operator.grants().revoke_grant(request).await.unwrap();
}

/// An API's side: the verifier of the client library, and the certificate of who calls it.
#[derive(Clone)]
struct Api {
    verifier: Verifier,
    certificate: PeerThumbprint,
}

impl Api {
    async fn new(broker: &Broker, revocation: RevocationBy) -> Self {
        let tls = broker.data().join("tls");
        let settings = VerifierSettings {
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            keys_url: Some(format!("{}/.well-known/jwks.json", broker.env("JETON_ENDPOINT"))),
            ca: Some(tls.join("ca.pem")),
            revocation,
            ..VerifierSettings::default()
        };
        let verifier = Verifier::new(settings).await.unwrap();
        Self { verifier, certificate: thumbprint(&tls.join("agent.pem")) }
    }

    async fn accepts(&self, token: &str) -> bool {
        let authorization = format!("Bearer {token}");
        let call = Call {
            method: "GET",
            path: "/",
            authorization: Some(&authorization),
            dpop: None,
            certificate: Some(self.certificate),
        };
        match self.verifier.check(call).await {
            Ok(_) => true,
            Err(Refused::Revoked) => false,
            Err(other) => panic!("{other}"),
        }
    }
}

fn thumbprint(pem: &Path) -> PeerThumbprint {
    PeerThumbprint::of(&CertificateDer::from_pem_file(pem).unwrap())
}

/// The broker is asked about the token on each use.
async fn introspection(broker: &Broker, agent: &Caller, trials: usize) -> Way {
    let (operator, api) = (broker.as_("ana").await, broker.as_("git-host").await);
    let accepts = async |secret: &str| {
        let request = IntrospectRequest { credential: secret.into(), audience: AUDIENCE.into() };
        api.introspection().introspect(request).await.unwrap().into_inner().active
    };
    let mut done = Vec::new();
    for _ in 0..trials {
        let (id, secret) = granted(agent, SIGNED).await;
        assert!(accepts(&secret).await, "good before");
        revoke(&operator, &id).await;
        done.push(until_refused(Duration::ZERO, || accepts(&secret)).await);
    }
    Way::of("introspection", &done)
}

/// An API listens to the broker's stream.
async fn watch(broker: &Broker, agent: &Caller, trials: usize) -> Way {
    let operator = broker.as_("ana").await;
    let listener = broker.client("git-host").await;
    let api = Api::new(broker, RevocationBy::Watch(listener)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut done = Vec::new();
    for _ in 0..trials {
        let (id, secret) = granted(agent, SIGNED).await;
        assert!(api.accepts(&secret).await, "good before");
        revoke(&operator, &id).await;
        done.push(until_refused(Duration::ZERO, || api.accepts(&secret)).await);
    }
    Way::of("watch subscriber", &done)
}

/// An API reads the signed status lists. The trials run side by side.
async fn status_list(broker: &Broker, agent: &Caller, trials: usize) -> Way {
    let operator = broker.as_("ana").await;
    let api = Api::new(broker, RevocationBy::StatusList).await;
    let mut open = Vec::new();
    for _ in 0..trials {
        open.push(granted(agent, SIGNED).await);
    }
    let (_, first) = open.first().unwrap();
    assert!(api.accepts(first).await, "good before");
    let mut looking = JoinSet::new();
    for (id, secret) in open {
        revoke(&operator, &id).await;
        let api = api.clone();
        looking.spawn(async move { until_refused(LOOK, || api.accepts(&secret)).await });
        tokio::time::sleep(SPREAD).await;
    }
    Way::of("status list", &looking.join_all().await)
}

/// The upstream's own token, used at the upstream.
async fn github(trials: usize, emulator: bool) -> Way {
    let github = if emulator { Github::real().await } else { Github::pretended().await };
    let broker = Broker::start_with(|data| github.configure(data));
    let scene = Scene::before(github, broker).await;
    let client = reqwest::Client::new();
    let url = format!("{}/repos/acme/web", scene.github.front.url());
    let mut done = Vec::new();
    for _ in 0..trials {
        let (id, secret) = granted(&scene.agent, MINTED).await;
        let accepts = async || {
            let sent = client.get(&url).bearer_auth(&secret).send().await;
            sent.unwrap().status().as_u16() == 200
        };
        assert!(accepts().await, "good before");
        revoke(&scene.operator, &id).await;
        done.push(until_refused(Duration::ZERO, accepts).await);
    }
    Way::of("token at GitHub", &done)
}

/// Measures.
pub async fn run(trials: usize, emulator: bool) -> Report {
    let broker = Broker::start();
    let (agent, _) = broker.agent_with(&[SIGNED]).await;
    let ways = vec![
        introspection(&broker, &agent, trials).await,
        watch(&broker, &agent, trials).await,
        status_list(&broker, &agent, trials).await,
        github(trials, emulator).await,
    ];
    Report { trials, ways }
}
