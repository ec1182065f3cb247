//! From a configuration to the parts of a running broker.

use std::{collections::HashMap, fs, path::Path, sync::Arc};

use jeton_domain::{
    audit::Event,
    decision::Rules,
    limits::GRANT_TTL_SECONDS,
    scope::Upstream,
    secret::{FingerprintKey, Secret, sha256},
    ttl::{Timestamp, Ttl},
};
use tokio::sync::Notify;

use super::AppError;
use crate::{
    clock::{Clock, SystemClock},
    config::{Config, UpstreamConfig, UpstreamKind},
    crypto,
    http::JWKS_MAX_AGE_SECONDS,
    identity::{
        Authenticator,
        dpop::Dpop,
        oidc::{Fetcher, Oidc},
        roles::Roles,
        tls::TlsState,
        unix::UnixAccounts,
    },
    operation::{
        Broker, Source,
        checkpoint::checkpoint,
        copy_out,
        halt::Halt,
        mints::Mints,
        read_tiles::Readers,
        restore,
        seal::Sealer,
        session_of::Handles,
        sign_ins::SignIns,
        sweep::{Moment, sweep},
    },
    policy::{Policies, Vocabulary},
    signer::{
        KeyRing,
        log_key::LogKey,
        schedule::Rotation,
        token::{SignedConfig, SignedMinter},
    },
    store::{Store, archive::Archive, index::LogIndex, sqlite::SqliteStore},
    telemetry::Metrics,
    upstream::github::{GithubConfig, GithubMinter},
    witness::Outside,
};

/// What a running broker consists of.
pub(super) struct Parts {
    pub broker: Arc<Broker>,
    pub outside: Outside,
    pub tls: Arc<TlsState>,
    pub keys: Arc<KeyRing>,
    pub store: Arc<SqliteStore>,
}

/// Builds everything that can be checked without the store.
pub(super) fn check(config: &Config) -> Result<(), AppError> {
    crypto::install();
    let now = SystemClock::starting_at(Timestamp::from_millis(0)).now();
    let keys = key_ring(config, now)?;
    TlsState::load(config.grpc.tls.clone()).map_err(unusable)?;
    read_key(&config.keys.sealing)?;
    let sources = sources(config, &keys)?;
    Policies::load(&config.policies, vocabulary(&sources)).map_err(problems)?;
    authenticator(config, config.grpc.listen.port())?;
    Ok(())
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
    if store.first_entry() > 0 && config.audit.archive.is_none() {
        return Err(AppError::Unusable(format!(
            "entries before {} were moved out of the store; name the folder where they are with `archive` in [audit]",
            store.first_entry()
        )));
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::starting_at(store.last_entry()));
    let keys = key_ring(config, clock.now())?;
    let log_key = LogKey::open(&config.audit.key, config.audit.name.clone()).map_err(unusable)?;
    let sources = sources(config, &keys)?;
    let policies =
        Arc::new(Policies::load(&config.policies, vocabulary(&sources)).map_err(problems)?);
    let index = LogIndex::open(&config.store, &*store).await.map_err(unusable)?;
    let broker = Arc::new(Broker {
        store: Arc::<SqliteStore>::clone(&store),
        clock,
        policies,
        sources,
        sealer: Sealer::new(&derive(&root, "seal")).map_err(unusable)?,
        fingerprints: FingerprintKey::new(&derive(&root, "fingerprint")),
        handles: Handles::new(&derive(&root, "handle")),
        metrics: Arc::new(Metrics::new()),
        mints: Mints::new(),
        sign_ins: SignIns::default(),
        readers: Readers::default(),
        index: Arc::new(index),
        log_key,
        halt: Halt::default(),
        revocations: Notify::new(),
        bearer_handles: config.bearer_handles,
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
    Ok(Parts { broker, outside, tls, keys, store })
}

/// Holds the log against the checkpoints that were signed before.
async fn check_log(broker: &Broker, copy: Option<&Path>) -> Result<(), AppError> {
    let outside = match copy {
        None => None,
        Some(path) => copy_out::read(path, broker.log_key.public()).map_err(|error| {
            let path = path.display();
            AppError::Unusable(format!(
                "`{path}` is no checkpoint of this log: {error}; move it away if it is another's"
            ))
        })?,
    };
    let restored = restore::find(broker, outside.as_ref()).await.map_err(unusable)?;
    if let (true, Some(outside), Some(path)) = (restored, outside, copy) {
        // Why kept beside: the next copy replaces the file, and the old one is evidence.
        let kept = path.with_extension(format!("before-{}", outside.checkpoint().size));
        copy_out::write(&outside, &kept).map_err(unusable)?;
        tracing::error!(
            signed = outside.checkpoint().size,
            "the store was restored from a backup: every session in it is ended, and nothing is granted until an operator acknowledges it"
        );
    }
    Ok(())
}

/// The actions that each upstream knows: what policies may name.
fn vocabulary(sources: &HashMap<Upstream, Source>) -> Vocabulary {
    let actions = |source: &Source| match source {
        Source::Minted(minter) => minter.actions(),
        Source::Signed(minter) => minter.config().actions.clone(),
    };
    let known: Vec<_> =
        sources.iter().map(|(name, source)| (name.clone(), actions(source))).collect();
    Vocabulary::new(&known)
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

fn sources(config: &Config, keys: &Arc<KeyRing>) -> Result<HashMap<Upstream, Source>, AppError> {
    config
        .upstreams
        .iter()
        .map(|upstream| Ok((upstream.name.clone(), source(config, upstream, keys)?)))
        .collect()
}

fn source(
    config: &Config,
    upstream: &UpstreamConfig,
    keys: &Arc<KeyRing>,
) -> Result<Source, AppError> {
    let name = upstream.name.clone();
    match &upstream.kind {
        UpstreamKind::Signed { audience, actions } => {
            let signed = SignedConfig {
                name,
                audience: audience.clone(),
                actions: actions.clone(),
                issuer: config.keys.issuer.clone(),
            };
            Ok(Source::Signed(Arc::new(SignedMinter::new(signed, Arc::clone(keys)))))
        }
        UpstreamKind::GithubApp { api, app_id, private_key } => {
            let pem = read_private(private_key)?;
            let github =
                GithubConfig { name, api_base: api.clone(), app_id: *app_id, private_key: pem };
            Ok(Source::Minted(Arc::new(GithubMinter::new(github).map_err(unusable)?)))
        }
    }
}

/// What clients call the port behind the door, without a slash at the end. A port 0 stands for the
/// one that was opened.
pub(super) fn external_urls(config: &Config, port: u16) -> Vec<String> {
    let opened = |url: &String| match url.strip_suffix(":0") {
        Some(host) => format!("{host}:{port}"),
        None => url.trim_end_matches('/').to_owned(),
    };
    config.grpc.external_urls.iter().map(opened).collect()
}

/// Builds what finds out who calls.
pub(super) fn authenticator(config: &Config, port: u16) -> Result<Authenticator, AppError> {
    let fetcher = Fetcher::new().map_err(unusable)?;
    Ok(Authenticator {
        oidc: Oidc::new(config.identity.issuers.clone(), &fetcher).map_err(unusable)?,
        dpop: Dpop::new(&external_urls(config, port)),
        unix: UnixAccounts::new(config.identity.unix.clone()),
        roles: Roles::new(config.identity.roles.clone()),
    })
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
