//! From a configuration to the parts of a running broker.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use jeton_domain::{
    audit::Event,
    decision::Rules,
    limits::GRANT_TTL_SECONDS,
    principal::Issuer,
    scope::Upstream,
    secret::{FingerprintKey, Secret, sha256},
    spelling::Spelling,
    ttl::{Timestamp, Ttl},
};
use jeton_files::Access;
use jeton_policy::{Kept, Policies, PolicySet, Vocabulary};
use tokio::sync::{Mutex, Notify, Semaphore};
use tokio_util::task::TaskTracker;

use super::AppError;
use crate::{
    capacity::{Capacity, Shares},
    clock::{Clock, SystemClock},
    config::{Config, UpstreamConfig, UpstreamKind},
    crypto,
    gateway::Outward,
    http::JWKS_MAX_AGE_SECONDS,
    identity::{
        Authenticator,
        dpop::Dpop,
        oidc::{Fetcher, Oidc, Transmitters},
        proofs::ProofHorizon,
        roles::Roles,
        tls::TlsState,
        unix::UnixAccounts,
    },
    limits::{DPOP_REPLAYS, REVOKE_WAITERS, SEARCHES_AT_ONCE},
    operation::{
        Broker, Source,
        checkpoint::checkpoint,
        copy_out::{self, beside},
        denial_log::DenialLog,
        halt::Halt,
        mints::Mints,
        pass::Turns,
        read_tiles::Readers,
        restore::{self, Evidence},
        review::{Reviewers, missing},
        seal::Sealer,
        session_of::Handles,
        status_list::SignedLists,
        sweep::{Moment, sweep},
        transmit::Listener,
    },
    receiver::Receiver,
    reviewer::{Reviewer, ReviewerConfig},
    signer::{
        KeyRing,
        log_key::LogKey,
        schedule::Rotation,
        status::StatusLists,
        token::{SignedConfig, SignedMinter},
    },
    store::{Store, archive::Archive, index::LogIndex, sqlite::SqliteStore},
    telemetry::Metrics,
    upstream::{
        github::{GithubConfig, GithubMinter},
        kept::{self, KeptKey},
    },
    webhook::Webhook,
    witness::Outside,
};

/// What a running broker consists of.
pub(super) struct Parts {
    pub broker: Arc<Broker>,
    pub outside: Outside,
    pub tls: Arc<TlsState>,
    pub keys: Arc<KeyRing>,
    pub store: Arc<SqliteStore>,
    pub transmitters: Arc<Transmitters>,
    /// Only proofs that were made later are taken.
    pub proofs_after: Timestamp,
}

/// Builds everything that can be checked without the store. Tells what is odd, and no fault.
pub(super) fn check(config: &Config) -> Result<Vec<String>, AppError> {
    crypto::install();
    let now = SystemClock::starting_at(Timestamp::from_millis(0)).now();
    let keys = key_ring(config, now)?;
    TlsState::load(config.grpc.tls.clone()).map_err(unusable)?;
    let sealer = sealer(&read_key(&config.keys.sealing)?)?;
    let sources = sources(config, &keys, &Arc::new(StatusLists::new([0; 16])), &sealer)?;
    // Why not as a broker does: that keeps what it loads.
    let rules =
        PolicySet::load(&config.policies, &vocabulary(config, &sources)).map_err(problems)?;
    authenticator(config, &config.grpc.external_urls, config.grpc.listen.port(), None)?;
    gateway_ways(config)?;
    transmitters(config)?;
    listeners(config)?;
    let reviewers = reviewers(config)?;
    let missing = missing(&rules, |name| reviewers.contains_key(name));
    let odd = missing.map(|name| {
        format!(
            "the catalogue names the reviewer `{name}`, which the configuration does not: what it would be asked goes to people; add [[approval.reviewer]]"
        )
    });
    Ok(odd.collect())
}

/// Builds everything and closes what a crash left open.
pub(super) async fn build(config: &Config) -> Result<Parts, AppError> {
    crypto::install();
    let root = read_key(&config.keys.sealing)?;
    let tls = Arc::new(TlsState::load(config.grpc.tls.clone()).map_err(unusable)?);
    let store = Arc::new(
        SqliteStore::open_with(&config.store, config.audit.archive.as_deref().map(Archive::new))
            .map_err(unusable)?,
    );
    let first = store.first_entry().await.map_err(unusable)?;
    if first > 0 && config.audit.archive.is_none() {
        return Err(AppError::Unusable(format!(
            "entries before {first} were moved out of the store; name the folder where they are with `archive` in [audit]"
        )));
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::starting_at(store.last_entry()));
    // Why now: the process before has ended, for the store is this one's.
    let proofs_after =
        ProofHorizon::begin(&*store, store.is_new(), clock.now()).await.map_err(unusable)?;
    let keys = key_ring(config, clock.now())?;
    let log_key = LogKey::open(&config.audit.key, config.audit.name.clone()).map_err(unusable)?;
    let status = Arc::new(status_lists(&root));
    let sealer = sealer(&root)?;
    let sources = sources(config, &keys, &status, &sealer)?;
    let spelling = spelling(config);
    let policies = Arc::new(policies(config, &sources)?);
    let index = LogIndex::open(&config.store, &*store).await.map_err(unusable)?;
    let broker = Arc::new(Broker {
        store: Arc::<SqliteStore>::clone(&store),
        clock,
        policies,
        sources,
        spelling,
        sealer,
        fingerprints: FingerprintKey::new(&derive(&root, "fingerprint")),
        handles: Handles::new(&derive(&root, "handle")),
        metrics: Arc::new(Metrics::new()),
        mints: Mints::new(),
        calls: std::sync::Mutex::default(),
        turns: Turns::default(),
        uses: TaskTracker::new(),
        denials: DenialLog::default(),
        readers: Readers::default(),
        index: Arc::new(index),
        searches: Arc::new(Semaphore::new(SEARCHES_AT_ONCE)),
        waiting: Capacity::new(Shares::halved(REVOKE_WAITERS)),
        keys: Arc::clone(&keys),
        status,
        signed_lists: SignedLists::default(),
        log_key,
        halt: Halt::default(),
        revocations: Notify::new(),
        reviews: Notify::new(),
        policies_changed: Notify::new(),
        changing_policies: Mutex::new(None),
        second_person: config.second_person,
        issuers: config.identity.issuers.iter().map(|known| Issuer::new(&known.issuer)).collect(),
        bearer_handles: config.bearer_handles,
        behind_gateway: behind_gateway(config),
    });
    let started = Event::Started {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        policy_hash: broker.policies.current().hash().to_owned(),
        configuration: config.hash.clone(),
    };
    let now = broker.clock.now();
    store.append(started, now).await.map_err(unusable)?;
    store.recover(now).await.map_err(unusable)?;
    let closed = sweep(&broker, Moment::Start).await.map_err(unusable)?;
    if closed > 0 {
        tracing::info!(closed, "what the last run left open is closed");
    }
    check_log(&broker, config.audit.copy.as_deref()).await?;
    // Why now: whoever asks from the first moment on finds one.
    if let Err(error) = checkpoint(&broker).await {
        tracing::warn!(%error, "no checkpoint could be signed at the start");
    }
    let outside = Outside::new().map_err(unusable)?;
    let transmitters = Arc::new(transmitters(config)?);
    Ok(Parts { broker, outside, tls, keys, store, transmitters, proofs_after })
}

/// Holds the log against the checkpoints that were signed before.
async fn check_log(broker: &Broker, copy: Option<&Path>) -> Result<(), AppError> {
    let read = |path: &Path| {
        copy_out::read(path, broker.log_key.public()).map_err(|error| {
            let path = path.display();
            AppError::Unusable(format!(
                "`{path}` is no checkpoint of this log: {error}; move it away if it is another's"
            ))
        })
    };
    let evidence = match copy.map(read).transpose()? {
        None => Evidence::Unused,
        Some(None) => Evidence::Missing,
        Some(Some(copy)) => Evidence::Copy(copy),
    };
    if !restore::find(broker, &evidence).await.map_err(unusable)? {
        return Ok(());
    }
    const THEN: &str =
        "every session in it is ended, and nothing is granted until an operator acknowledges it";
    match (evidence, copy) {
        (Evidence::Copy(copied), Some(path)) => {
            // Why kept beside: the next copy replaces the file, and the old one is evidence.
            let signed = copied.checkpoint().size;
            let kept = beside(path, &format!("before-{signed}"));
            copy_out::write(&copied, &kept).map_err(unusable)?;
            tracing::error!(signed, "the store was restored from a backup: {THEN}");
        }
        (_, path) => {
            let path = path.map(|path| path.display().to_string()).unwrap_or_default();
            tracing::error!(
                path,
                "the copy of the log's checkpoint is gone, so the store may have been restored from a backup: {THEN}"
            );
        }
    }
    Ok(())
}

fn policies(config: &Config, sources: &HashMap<Upstream, Source>) -> Result<Policies, AppError> {
    let kept = Kept::new(config.store.with_extension("policies"));
    Policies::load(config.policies.clone(), kept, vocabulary(config, sources)).map_err(problems)
}

/// Which upstreams tell names apart by their case.
fn spelling(config: &Config) -> Spelling {
    let upstreams = config.upstreams.iter();
    Spelling::new(upstreams.map(|upstream| (upstream.name.clone(), upstream.case_sensitive)))
}

/// The actions that each upstream knows: what policies may name, and how names are spelled.
fn vocabulary(config: &Config, sources: &HashMap<Upstream, Source>) -> Vocabulary {
    let actions = |source: &Source| match source {
        Source::Minted(minter) => minter.actions(),
        Source::Signed(minter) => minter.config().actions.clone(),
        Source::Kept(key) => key.actions().to_vec(),
    };
    let known: Vec<_> =
        sources.iter().map(|(name, source)| (name.clone(), actions(source))).collect();
    Vocabulary::new(&known).spelled(spelling(config))
}

fn key_ring(config: &Config, now: Timestamp) -> Result<Arc<KeyRing>, AppError> {
    let seconds = |seconds| {
        Ttl::from_seconds(seconds)
            .ok_or_else(|| AppError::Broken("a key's life is zero".to_owned()))
    };
    let rotation = Rotation {
        every: config.keys.rotate_every,
        // Why twice: a verifier may have fetched the set just before the key was published.
        overlap: seconds(JWKS_MAX_AGE_SECONDS.saturating_mul(2))?,
        longest_life: seconds(GRANT_TTL_SECONDS)?,
    };
    KeyRing::open(&config.keys.signing, config.keys.algorithm, rotation, now)
        .map(Arc::new)
        .map_err(unusable)
}

fn sources(
    config: &Config,
    keys: &Arc<KeyRing>,
    status: &Arc<StatusLists>,
    sealer: &Sealer,
) -> Result<HashMap<Upstream, Source>, AppError> {
    config
        .upstreams
        .iter()
        .map(|upstream| {
            Ok((upstream.name.clone(), source(config, upstream, keys, status, sealer)?))
        })
        .collect()
}

fn source(
    config: &Config,
    upstream: &UpstreamConfig,
    keys: &Arc<KeyRing>,
    status: &Arc<StatusLists>,
    sealer: &Sealer,
) -> Result<Source, AppError> {
    let name = upstream.name.clone();
    match &upstream.kind {
        UpstreamKind::Signed { audience, actions, verifiers, ed25519 } => {
            let signed = SignedConfig {
                name,
                audience: audience.clone(),
                actions: actions.clone(),
                verifiers: verifiers.clone(),
                issuer: config.keys.issuer.clone(),
                ed25519: *ed25519,
            };
            Ok(Source::Signed(Arc::new(SignedMinter::new(
                signed,
                Arc::clone(keys),
                Arc::clone(status),
            ))))
        }
        UpstreamKind::StaticKey { key, actions } => {
            let kept = read_sealed(sealer, &name, key)?;
            let kept = KeptKey::new(name, kept, actions.clone()).map_err(unusable)?;
            Ok(Source::Kept(Arc::new(kept)))
        }
        UpstreamKind::GithubApp { api, app_id, private_key, reconcile_every: _ } => {
            let pem = read_private(private_key)?;
            let github =
                GithubConfig { name, api_base: api.clone(), app_id: *app_id, private_key: pem };
            Ok(Source::Minted(Arc::new(GithubMinter::new(github).map_err(unusable)?)))
        }
    }
}

/// What clients call the port behind the door, without a slash at the end. A port 0 stands for the
/// one that was opened.
pub(super) fn external_urls(urls: &[String], port: u16) -> Vec<String> {
    let opened = |url: &String| match url.strip_suffix(":0") {
        Some(host) => format!("{host}:{port}"),
        None => url.trim_end_matches('/').to_owned(),
    };
    urls.iter().map(opened).collect()
}

/// Builds what finds out who calls.
pub(super) fn authenticator(
    config: &Config,
    urls: &[String],
    port: u16,
    parts: Option<&Parts>,
) -> Result<Authenticator, AppError> {
    let fetcher = Fetcher::new().map_err(unusable)?;
    let dpop = Dpop::new(&external_urls(urls, port), DPOP_REPLAYS);
    Ok(Authenticator {
        oidc: Oidc::new(config.identity.issuers.clone(), &fetcher).map_err(unusable)?,
        dpop: match parts {
            Some(parts) => dpop.made_after(parts.proofs_after),
            None => dpop,
        },
        proofs: ProofHorizon::new(parts.map(|parts| Arc::clone(&parts.broker.store))),
        unix: UnixAccounts::new(config.identity.unix.clone()),
        roles: Roles::new(config.identity.roles.clone()),
    })
}

fn transmitters(config: &Config) -> Result<Transmitters, AppError> {
    let fetcher = Fetcher::new().map_err(unusable)?;
    Transmitters::new(config.ssf.transmitters.clone(), &fetcher).map_err(unusable)
}

/// The ways from the gateway to its upstreams.
pub(super) fn gateway_ways(config: &Config) -> Result<HashMap<Upstream, Outward>, AppError> {
    let way = |upstream: &UpstreamConfig| {
        let outward = Outward::new(upstream.reach.clone()).map_err(unusable)?;
        Ok((upstream.name.clone(), outward))
    };
    config.upstreams.iter().map(way).collect()
}

/// The upstreams that calls or pushes reach through the gateway.
fn behind_gateway(config: &Config) -> HashSet<Upstream> {
    if config.gateway.is_none() {
        return HashSet::new();
    }
    let reached =
        |upstream: &&UpstreamConfig| upstream.reach.api.is_some() || upstream.reach.git.is_some();
    config.upstreams.iter().filter(reached).map(|upstream| upstream.name.clone()).collect()
}

/// Whoever outside is told of what the log says.
pub(super) fn listeners(config: &Config) -> Result<Vec<Arc<dyn Listener>>, AppError> {
    let mut all: Vec<Arc<dyn Listener>> = Vec::new();
    for receiver in &config.ssf.receivers {
        let token = receiver.token.as_deref().map(read_private).transpose()?;
        let made = Receiver::new(receiver.clone(), token, &config.keys.issuer);
        all.push(Arc::new(made.map_err(unusable)?));
    }
    for webhook in &config.approval.webhooks {
        let key = webhook.key.as_deref().map(read_private).transpose()?;
        all.push(Arc::new(Webhook::new(webhook.clone(), key).map_err(unusable)?));
    }
    Ok(all)
}

/// Whoever outside is asked about requests before people are.
pub(super) fn reviewers(config: &Config) -> Result<Reviewers, AppError> {
    let made = |reviewer: &ReviewerConfig| {
        let key = read_private(&reviewer.key)?;
        let made = Reviewer::new(reviewer, &key).map_err(unusable)?;
        Ok((reviewer.name.clone(), made))
    };
    config.approval.reviewers.iter().map(made).collect()
}

/// Reads the root key: 64 digits of hex in a file that only its owner may read.
fn read_key(path: &Path) -> Result<[u8; 32], AppError> {
    let text = read_private(path)?;
    let digits = text.expose().trim();
    let byte = |pair: &[u8]| {
        std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())
    };
    let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
        AppError::Unusable(format!(
            "`{}` is not 32 bytes in hex; `openssl rand -hex 32` makes them",
            path.display()
        ))
    })
}

/// Reads a secret file that only its owner may read.
fn read_private(path: &Path) -> Result<Secret, AppError> {
    use std::os::unix::fs::PermissionsExt;
    let failed = |error: std::io::Error| {
        AppError::Unusable(format!("`{}` can't be read: {error}", path.display()))
    };
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(AppError::Unusable(format!(
            "`{}` can be read by others (mode {mode:04o}); run `chmod 600` on it",
            path.display()
        )));
    }
    fs::read_to_string(path).map(Secret::new).map_err(failed)
}

fn sealer(root: &[u8; 32]) -> Result<Sealer, AppError> {
    Sealer::new(&derive(root, "seal")).map_err(unusable)
}

/// Reads the key of an upstream, as it was sealed.
fn read_sealed(sealer: &Sealer, upstream: &Upstream, file: &Path) -> Result<Secret, AppError> {
    // Why an error of the same words: a file with the bare key must not be taken for a good one.
    let wrong = || AppError::Unusable(kept::does_not_open(file, upstream));
    let text = fs::read_to_string(file).map_err(|_| wrong())?;
    let sealed = STANDARD.decode(text.trim()).map_err(|_| wrong())?;
    sealer.open_key(&sealed, &kept::place(upstream)).ok_or_else(wrong)
}

/// Seals the key of an upstream into the file that the configuration names. Gives that.
pub(crate) fn seal_key(
    config: &Config,
    upstream: &Upstream,
    key: &Secret,
) -> Result<PathBuf, AppError> {
    crypto::install();
    let known = config.upstreams.iter().find(|known| known.name == *upstream);
    let Some(UpstreamConfig { kind: UpstreamKind::StaticKey { key: file, .. }, .. }) = known else {
        return Err(AppError::Unusable(format!(
            "the configuration names no upstream `{upstream}` of the kind \"static-key\""
        )));
    };
    kept::usable(key).map_err(unusable)?;
    let sealer = sealer(&read_key(&config.keys.sealing)?)?;
    let sealed = sealer.seal_key(key, &kept::place(upstream)).map_err(unusable)?;
    let failed = |error: std::io::Error| {
        AppError::Unusable(format!("`{}` can't be written: {error}", file.display()))
    };
    let text = format!("{}\n", STANDARD.encode(sealed));
    jeton_files::replace(file, text.as_bytes(), Access::Owner).map_err(failed)?;
    Ok(file.clone())
}

/// Where the state of tokens is told. Why a key that stays: a token is signed again with the same claims.
fn status_lists(root: &[u8; 32]) -> StatusLists {
    let key = derive(root, "status list");
    StatusLists::new(key.first_chunk().copied().unwrap_or_default())
}

/// One key for each use, so that none can be used as another.
fn derive(root: &[u8; 32], purpose: &str) -> [u8; 32] {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, root);
    sha256(ring::hmac::sign(&key, purpose.as_bytes()).as_ref())
}

fn unusable(error: impl ToString) -> AppError {
    AppError::Unusable(error.to_string())
}

fn problems<P: ToString>(problems: Vec<P>) -> AppError {
    AppError::Unusable(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}
