//! Tells those outside what the log says: one job for each, so that none waits for another.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::upkeep::stopped_within;
use crate::{
    limits::SIGNAL_PAUSE,
    operation::{
        Broker,
        transmit::{Listener, TellError, Told, begin, tell},
    },
};

/// Pause before the first new try.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Tells one until the broker stops.
pub(super) async fn telling(
    broker: Arc<Broker>,
    listener: Arc<dyn Listener>,
    stop: CancellationToken,
) {
    let mut pauses = Pauses::new(&*listener);
    let mut told = loop {
        match begin(&broker, &*listener).await {
            Ok(told) => break told,
            Err(error) => pauses.failed(&TellError::Here(error)),
        }
        if stopped_within(&stop, pauses.next()).await {
            return;
        }
    };
    let mut verified = false;
    let mut growth = broker.store.growth();
    loop {
        let done = tokio::select! {
            () = stop.cancelled() => return,
            done = once(&broker, &*listener, &mut told, &mut verified) => done,
        };
        match done {
            Ok(()) => {
                pauses.over();
                let grown = growth.wait_for(|tree| tree.size() > told.upto());
                tokio::select! {
                    () = stop.cancelled() => return,
                    grown = grown => if grown.is_err() { return },
                }
            }
            Err(error) => {
                pauses.failed(&error);
                if stopped_within(&stop, pauses.next()).await {
                    return;
                }
            }
        }
    }
}

async fn once(
    broker: &Broker,
    listener: &dyn Listener,
    told: &mut Told,
    verified: &mut bool,
) -> Result<(), TellError> {
    if !*verified {
        listener.greet(broker).await?;
        tracing::info!(listener = place(listener), "somebody outside hears");
        *verified = true;
    }
    tell(broker, listener, told).await
}

/// Where somebody listens, for log lines. Why no more of the address: some hold a secret.
fn place(listener: &dyn Listener) -> String {
    format!("{} ({:08x})", listener.url().host_str().unwrap_or_default(), listener.number() >> 32)
}

/// Growing pauses, and one log line each time that it begins or ends to fail.
struct Pauses {
    listener: String,
    next: Duration,
    failing: bool,
}

impl Pauses {
    fn new(listener: &dyn Listener) -> Self {
        Self { listener: place(listener), next: FIRST_PAUSE, failing: false }
    }

    fn failed(&mut self, error: &TellError) {
        if !self.failing {
            tracing::error!(listener = self.listener, %error, "somebody outside does not take what it is told; it is kept and sent again");
        }
        self.failing = true;
    }

    fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(SIGNAL_PAUSE);
        pause
    }

    fn over(&mut self) {
        if self.failing {
            tracing::info!(
                listener = self.listener,
                "somebody outside takes what it is told again"
            );
        }
        (self.next, self.failing) = (FIRST_PAUSE, false);
    }
}
