//! What the broker does by itself: sweeps, upstream revocations, reloads, key rotation.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use jeton_domain::{audit::Event, merkle::SignedCheckpoint, scope::Upstream, session::Words};
use jeton_policy::{Stamp, stamp};
use reqwest::Url;
use tokio::{
    runtime::Handle,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{build::Parts, telling::telling};
use crate::{
    config::{Config, UpstreamKind, WitnessConfig},
    identity::tls::{Reload, TlsState},
    limits::{
        CHECKPOINT_ENTRIES, CHECKPOINT_EVERY, DENIALS_EVERY, INDEX_EVERY, MINT_DEADLINE,
        MOVE_EVERY, POLICY_LOOK, RELOAD_EVERY, SWEEP_EVERY, WITNESS_EVERY,
    },
    operation::{
        Broker,
        checkpoint::checkpoint,
        copy_out, denial_log,
        move_out::{Retention, move_out},
        re_decide::{Then, re_decide_all},
        reconcile::{Reconciled, Rounds, reconcile},
        reload_policy::reload_policy,
        revoke_upstream::UnderWay,
        sweep::{Moment, sweep},
        transmit::Listener,
        witness::{Seen, witness},
    },
    signer::KeyRing,
    store::StoreError,
    telemetry::{Suppressed, report_suppressed},
    witness::Outside,
};

/// How often the queue of upstream revocations is looked at without being woken.
const REVOCATIONS_EVERY: Duration = Duration::from_secs(1);

/// Starts them all.
pub(super) fn start(
    tasks: &TaskTracker,
    stop: &CancellationToken,
    parts: &Parts,
    listeners: Vec<Arc<dyn Listener>>,
    config: &Config,
) {
    tasks.spawn(sweeping(Arc::clone(&parts.broker), stop.clone()));
    tasks.spawn(revoking(Arc::clone(&parts.broker), stop.clone()));
    // Why a thread of its own: it parses every entry, and writes segments to a file.
    let (runtime, index) = (Handle::current(), indexing(Arc::clone(&parts.broker), stop.clone()));
    tasks.spawn_blocking(move || runtime.block_on(index));
    if let Some(retention) = config.audit.retention.clone() {
        tasks.spawn(moving(Arc::clone(&parts.broker), retention, stop.clone()));
    }
    tasks.spawn(summarizing(Arc::clone(&parts.broker), stop.clone()));
    let (signed, newest) = watch::channel(None);
    tasks.spawn(vouching(Arc::clone(&parts.broker), signed, stop.clone()));
    let copies = Copies {
        file: config.audit.copy.clone(),
        url: config.audit.copy_url.clone(),
        outside: parts.outside.clone(),
    };
    if copies.file.is_some() || copies.url.is_some() {
        tasks.spawn(copying(Arc::clone(&parts.broker), newest, copies, stop.clone()));
    }
    if !config.audit.witnesses.is_empty() {
        let witnesses = config.audit.witnesses.clone();
        let outside = parts.outside.clone();
        tasks.spawn(witnessing(Arc::clone(&parts.broker), outside, witnesses, stop.clone()));
    }
    for listener in listeners {
        tasks.spawn(telling(Arc::clone(&parts.broker), listener, stop.clone()));
    }
    for upstream in &config.upstreams {
        if let UpstreamKind::GithubApp { reconcile_every: Some(every), .. } = upstream.kind {
            let (broker, upstream) = (Arc::clone(&parts.broker), upstream.name.clone());
            tasks.spawn(reconciling(broker, upstream, every, stop.clone()));
        }
    }
    if let Some(then) = config.re_decide {
        // Why once at the start: the policies may have changed while no broker ran.
        parts.broker.policies_changed.notify_one();
        tasks.spawn(deciding_again(Arc::clone(&parts.broker), then, stop.clone()));
    }
    tasks.spawn(reloading(
        Arc::clone(&parts.broker),
        Arc::clone(&parts.tls),
        Arc::clone(&parts.keys),
        stop.clone(),
    ));
}

async fn sweeping(broker: Arc<Broker>, stop: CancellationToken) {
    while !stopped_within(&stop, SWEEP_EVERY).await {
        if let Err(error) = sweep(&broker, Moment::Running).await {
            tracing::error!(%error, "a sweep failed; the next one tries again");
        }
    }
}

async fn revoking(broker: Arc<Broker>, stop: CancellationToken) {
    let mut under_way = UnderWay::default();
    loop {
        let done = tokio::select! {
            () = stop.cancelled() => return under_way.finish().await,
            done = under_way.one_done() => done,
            () = broker.revocations.notified() => Ok(()),
            () = tokio::time::sleep(REVOCATIONS_EVERY) => Ok(()),
        };
        // Why not at once after an error: what was not recorded is still due, and that would be a loop.
        let begun = match done {
            Ok(()) => under_way.begin(&broker).await,
            error @ Err(_) => error,
        };
        if let Err(error) = begun {
            tracing::error!(%error, "the queue of upstream revocations can't be worked off; the next try is in a moment");
            if stopped_within(&stop, REVOCATIONS_EVERY).await {
                return;
            }
        }
    }
}

/// Keeps the log's index near its end. Whoever searches reads what it lacks from the log itself.
async fn indexing(broker: Arc<Broker>, stop: CancellationToken) {
    let Some(mut feed) = broker.store.feed() else { return };
    let behind = |error: StoreError| {
        tracing::error!(%error, "the log's index is behind; searches read the log itself");
    };
    loop {
        match broker.index.keep_up(&*broker.store).await {
            Ok(true) if !stop.is_cancelled() => continue,
            Ok(_) => break,
            Err(error) => behind(error),
        }
        if stopped_within(&stop, INDEX_EVERY).await {
            return;
        }
    }
    // Why by time: one wake-up for each commit would cost as much as the work.
    while !stopped_within(&stop, INDEX_EVERY).await {
        while let Ok(entries) = feed.try_recv() {
            if let Err(error) = broker.index.take(&*broker.store, &entries).await {
                behind(error);
            }
        }
    }
}

/// Moves entries out of the store that are older than they need to be there.
async fn moving(broker: Arc<Broker>, retention: Retention, stop: CancellationToken) {
    loop {
        match move_out(&broker, &retention).await {
            Ok(true) if !stop.is_cancelled() => continue,
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "old entries can't be moved out; they stay"),
        }
        if stopped_within(&stop, MOVE_EVERY).await {
            return;
        }
    }
}

/// Writes failed authentications soon after they happen, and summaries of denials when their minute
/// has passed. What is left at the end is written by [`super::Running::drain`].
async fn summarizing(broker: Arc<Broker>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = broker.denials.added() => {}
            () = tokio::time::sleep(DENIALS_EVERY) => {}
        }
        if let Err(error) = denial_log::write_due(&broker).await {
            tracing::error!(%error, "denials could not be recorded; the next try is in a moment");
            if stopped_within(&stop, DENIALS_EVERY).await {
                return;
            }
        }
        report_suppressed(Suppressed::Past);
    }
}

/// Signs a checkpoint a second after an entry that none covers, or as soon as those are many.
async fn vouching(
    broker: Arc<Broker>,
    signed: watch::Sender<Option<SignedCheckpoint>>,
    stop: CancellationToken,
) {
    let mut growth = broker.store.growth();
    let mut covered = 0;
    loop {
        let many = async {
            // An error means that the store has closed, and so that the broker stops.
            growth.wait_for(|tree| tree.size() > covered).await?;
            let enough = CHECKPOINT_ENTRIES.saturating_add(covered);
            let more = growth.wait_for(|tree| tree.size() >= enough);
            let _ = tokio::time::timeout(CHECKPOINT_EVERY, more).await;
            Ok::<(), watch::error::RecvError>(())
        };
        tokio::select! {
            () = stop.cancelled() => return,
            grown = many => if grown.is_err() { return },
        }
        match checkpoint(&broker).await {
            Ok(checkpoint) => {
                covered = checkpoint.checkpoint().size;
                signed.send_replace(Some(checkpoint));
            }
            Err(error) => {
                tracing::error!(%error, "the log could not be signed; the next try covers it");
                if stopped_within(&stop, CHECKPOINT_EVERY).await {
                    return;
                }
            }
        }
    }
}

/// Copies the newest checkpoint out of the house, one a second at most.
async fn copying(
    broker: Arc<Broker>,
    mut newest: watch::Receiver<Option<SignedCheckpoint>>,
    to: Copies,
    stop: CancellationToken,
) {
    let (mut copied, mut failing) = (0, false);
    loop {
        let newer = newest
            .wait_for(|newest| newest.as_ref().is_some_and(|it| it.checkpoint().size > copied));
        let checkpoint = tokio::select! {
            () = stop.cancelled() => return,
            newer = newer => match newer.as_deref() {
                Ok(Some(checkpoint)) => checkpoint.clone(),
                Ok(None) | Err(_) => return,
            },
        };
        // Why not over a restored store's: the copy outside is what shows that it was put back.
        if broker.halt.restored().is_none() {
            copy_out::tell(&broker, true);
            let size = checkpoint.checkpoint().size;
            let written = tokio::select! {
                () = stop.cancelled() => return,
                written = to.write(checkpoint) => written,
            };
            match written {
                Ok(()) => {
                    copy_out::tell(&broker, false);
                    let first = copied == 0 && to.file.is_some();
                    if first && let Err(error) = copy_out::note(&broker, size).await {
                        tracing::error!(%error, "it could not be noted that checkpoints are copied out");
                    }
                    (copied, failing) = (size, false);
                }
                Err(error) if !failing => {
                    tracing::error!(
                        error,
                        "checkpoints can't be copied out; soon nothing is granted any more"
                    );
                    failing = true;
                }
                Err(_) => {}
            }
        }
        if stopped_within(&stop, CHECKPOINT_EVERY).await {
            return;
        }
    }
}

/// Where checkpoints are copied to.
struct Copies {
    file: Option<PathBuf>,
    url: Option<Url>,
    outside: Outside,
}

impl Copies {
    async fn write(&self, checkpoint: SignedCheckpoint) -> Result<(), String> {
        if let Some(url) = self.url.clone() {
            let posted = self.outside.post(url.clone(), &checkpoint).await;
            posted.map_err(|error| format!("`{url}`: {error}"))?;
        }
        let Some(path) = self.file.clone() else { return Ok(()) };
        let shown = path.display().to_string();
        tokio::task::spawn_blocking(move || copy_out::write(&checkpoint, &path))
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| format!("`{shown}`: {error}"))
    }
}

/// Holds live credentials against what their upstream says of them, now and then.
async fn reconciling(
    broker: Arc<Broker>,
    upstream: Upstream,
    every: Duration,
    stop: CancellationToken,
) {
    let mut rounds = Rounds::default();
    while !stopped_within(&stop, every).await {
        match reconcile(&broker, &upstream, &mut rounds).await {
            Ok(Reconciled { asked, drifted }) => {
                tracing::debug!(%upstream, asked, drifted, "live credentials were held against their upstream");
            }
            Err(error) => {
                tracing::error!(%upstream, %error, "live credentials could not be held against their upstream")
            }
        }
    }
}

/// Has checkpoints cosigned, now and then.
async fn witnessing(
    broker: Arc<Broker>,
    outside: Outside,
    witnesses: Vec<WitnessConfig>,
    stop: CancellationToken,
) {
    let mut seen = Seen::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            done = witness(&broker, &outside, &witnesses, &mut seen) => if let Err(error) = done {
                tracing::error!(%error, "the log could not be witnessed");
            },
        }
        if stopped_within(&stop, WITNESS_EVERY).await {
            return;
        }
    }
}

async fn reloading(
    broker: Arc<Broker>,
    tls: Arc<TlsState>,
    keys: Arc<KeyRing>,
    stop: CancellationToken,
) {
    let mut asked = signal(SignalKind::hangup())
        .inspect_err(|error| tracing::error!(%error, "SIGHUP can't be heard; certificates, keys and policies are still looked at by time"))
        .ok();
    let (mut refused, mut folder, mut tended) = (None, Folder::default(), Instant::now());
    loop {
        let by_signal = tokio::select! {
            () = stop.cancelled() => return,
            () = heard(asked.as_mut()) => true,
            () = tokio::time::sleep(POLICY_LOOK) => false,
        };
        if by_signal || tended.elapsed() >= RELOAD_EVERY {
            tended = Instant::now();
            reload_tls(&broker, &tls, &mut refused).await;
            tend_keys(&broker, &keys).await;
        }
        if !folder.changed(broker.policies.folder()).await && !by_signal {
            continue;
        }
        match reload_policy(&broker).await {
            Ok(_) => folder.taken(),
            // It is tried again at the next look.
            Err(error) => {
                tracing::error!(%error, "a reload of the policies could not be recorded");
            }
        }
    }
}

/// The folder of policies as it was seen last, and as it was taken last.
#[derive(Default)]
struct Folder {
    seen: Option<Stamp>,
    taken: Option<Stamp>,
}

impl Folder {
    /// Looks at it. Tells whether it is another than the one that was taken, and rests.
    async fn changed(&mut self, folder: &Path) -> bool {
        let folder = folder.to_owned();
        let now = tokio::task::spawn_blocking(move || stamp(&folder)).await.ok().flatten();
        if now.is_none() && self.seen.is_some() {
            tracing::error!("the policy folder can't be looked at; what changes in it is not seen");
        }
        let rests = now.is_some() && now == self.seen;
        self.seen = now;
        rests && self.seen != self.taken
    }

    /// Whatever comes of it, it is not looked into again before it changes.
    fn taken(&mut self) {
        self.taken.clone_from(&self.seen);
    }
}

/// Decides live grants again, each time that the policies changed.
async fn deciding_again(broker: Arc<Broker>, then: Then, stop: CancellationToken) {
    // When to look once more without a change: after a failed look, and for what was still being
    // minted, decided by the policies before.
    let (mut again, mut owed) = (None, false);
    loop {
        let later = async {
            match again {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = broker.policies_changed.notified() => owed = true,
            () = later => {}
        }
        let done = tokio::select! {
            () = stop.cancelled() => return,
            done = re_decide_all(&broker, then) => done,
        };
        again = match done {
            Ok(()) => std::mem::take(&mut owed).then_some(MINT_DEADLINE),
            Err(error) => {
                tracing::error!(%error, "live grants could not be decided again; the next try is in a moment");
                Some(RELOAD_EVERY)
            }
        };
    }
}

/// Waits for a signal, for ever if none can be heard.
async fn heard(asked: Option<&mut Signal>) {
    match asked {
        Some(asked) => {
            asked.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Takes new certificates. What was refused and still stands is told and recorded once.
async fn reload_tls(broker: &Broker, tls: &Arc<TlsState>, refused: &mut Option<Words>) {
    let state = Arc::clone(tls);
    let outcome = match tokio::task::spawn_blocking(move || state.reload_if_changed()).await {
        Ok(Ok(Reload::Unchanged)) => {
            *refused = None;
            return;
        }
        Ok(Ok(Reload::Swapped { generation })) => {
            tracing::info!(generation, "new certificates are in force");
            None
        }
        Ok(Err(error)) => Some(Words::new(&error.to_string())),
        Err(error) => Some(Words::new(&error.to_string())),
    };
    if let Some(why) = &outcome {
        if *refused == outcome {
            return;
        }
        tracing::error!(
            error = why.as_str(),
            "the new certificates were refused; the old ones stay in force"
        );
    }
    refused.clone_from(&outcome);
    let event = Event::CertificatesLoaded { refused: outcome };
    if let Err(error) = broker.store.append(event, broker.clock.now()).await {
        tracing::error!(%error, "a change of certificates could not be recorded");
    }
}

async fn tend_keys(broker: &Arc<Broker>, keys: &Arc<KeyRing>) {
    let (ring, now) = (Arc::clone(keys), broker.clock.now());
    let tended = tokio::task::spawn_blocking(move || ring.tend(now)).await;
    match tended {
        Ok(Ok(tended)) => {
            if let Some(kid) = tended.made {
                tracing::info!(%kid, "a new signing key is published");
                if let Err(error) = broker.store.append(Event::KeyRotated { kid }, now).await {
                    tracing::error!(%error, "a key rotation could not be recorded");
                }
            }
        }
        Ok(Err(error)) => tracing::error!(%error, "the signing keys could not be tended"),
        Err(error) => tracing::error!(%error, "the signing keys could not be tended"),
    }
}

pub(super) async fn stopped_within(stop: &CancellationToken, time: Duration) -> bool {
    tokio::time::timeout(time, stop.cancelled()).await.is_ok()
}
