//! What the broker does by itself: sweeps, upstream revocations, reloads, key rotation.

use std::{path::PathBuf, sync::Arc, time::Duration};

use jeton_domain::audit::Event;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::build::Parts;
use crate::{
    config::Config,
    identity::tls::{Reload, TlsState},
    limits::{RELOAD_EVERY, SWEEP_EVERY},
    operation::{
        Broker,
        reload_policy::reload_policy,
        revoke_upstream::revoke_upstream,
        sweep::{Moment, sweep},
    },
    signer::KeyRing,
};

/// How often the queue of upstream revocations is looked at without being woken.
const REVOCATIONS_EVERY: Duration = Duration::from_secs(1);

/// Starts them all.
pub(super) fn start(tasks: &TaskTracker, stop: &CancellationToken, parts: &Parts, config: &Config) {
    tasks.spawn(sweeping(Arc::clone(&parts.broker), stop.clone()));
    tasks.spawn(revoking(Arc::clone(&parts.broker), stop.clone()));
    tasks.spawn(reloading(
        Arc::clone(&parts.broker),
        Arc::clone(&parts.tls),
        Arc::clone(&parts.keys),
        config.policies.clone(),
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
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = broker.revocations.notified() => {}
            () = tokio::time::sleep(REVOCATIONS_EVERY) => {}
        }
        loop {
            match revoke_upstream(&broker).await {
                Ok(0) => break,
                // Why again at once: more than one batch may wait. Failed tries wait for their time.
                Ok(_) if !stop.is_cancelled() => {}
                Ok(_) => return,
                Err(error) => {
                    tracing::error!(%error, "the queue of upstream revocations can't be read");
                    break;
                }
            }
        }
    }
}

async fn reloading(
    broker: Arc<Broker>,
    tls: Arc<TlsState>,
    keys: Arc<KeyRing>,
    policies: PathBuf,
    stop: CancellationToken,
) {
    let mut asked = signal(SignalKind::hangup())
        .inspect_err(|error| tracing::error!(%error, "SIGHUP can't be heard; certificates and keys are still looked at by time"))
        .ok();
    loop {
        let by_signal = tokio::select! {
            () = stop.cancelled() => return,
            () = heard(asked.as_mut()) => true,
            () = tokio::time::sleep(RELOAD_EVERY) => false,
        };
        reload_tls(&tls);
        tend_keys(&broker, &keys).await;
        if by_signal && let Err(error) = reload_policy(&broker, &policies).await {
            tracing::error!(%error, "a reload of the policies could not be recorded");
        }
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

fn reload_tls(tls: &TlsState) {
    match tls.reload_if_changed() {
        Ok(Reload::Unchanged) => {}
        Ok(Reload::Swapped { generation }) => {
            tracing::info!(generation, "new certificates are in force")
        }
        Err(error) => {
            tracing::error!(%error, "the new certificates were refused; the old ones stay in force")
        }
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

async fn stopped_within(stop: &CancellationToken, time: Duration) -> bool {
    tokio::time::timeout(time, stop.cancelled()).await.is_ok()
}
