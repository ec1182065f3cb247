//! Asks reviewers, as long as the broker runs.

use std::{sync::Arc, time::Duration};

use jeton_domain::decision::Rules;
use tokio_util::sync::CancellationToken;

use super::upkeep::stopped_within;
use crate::operation::{
    Broker,
    review::{Looked, Reviewers, UnderWay, missing},
};

/// How often it is looked for what is due without being woken.
const LOOK: Duration = Duration::from_secs(1);
/// Pause after something could not be recorded. Why: it is still due, and would be asked again at once.
const PAUSE: Duration = Duration::from_secs(5);

/// Asks what is due until the broker stops. What is under way then is asked again at the next start.
pub(super) async fn reviewing(
    broker: Arc<Broker>,
    reviewers: Arc<Reviewers>,
    stop: CancellationToken,
) {
    let (mut under_way, mut seen) = (UnderWay::default(), None);
    let mut look = std::pin::pin!(tokio::time::sleep(LOOK));
    loop {
        warn_once(&broker, &reviewers, &mut seen);
        let done = tokio::select! {
            () = stop.cancelled() => return,
            done = under_way.one_done() => done,
            () = broker.reviews.notified() => Ok(Looked::Recorded),
            () = &mut look => {
                look.set(tokio::time::sleep(LOOK));
                Ok(Looked::Recorded)
            }
        };
        match done {
            Ok(Looked::Recorded) => {}
            // Why not at once: it is still due, and that would be a loop.
            Ok(Looked::Passed) => continue,
            Err(error) => {
                tracing::error!(%error, "what a reviewer said could not be recorded; it is asked again");
                if stopped_within(&stop, PAUSE).await {
                    return;
                }
            }
        }
        under_way.begin(&broker, &reviewers);
    }
}

/// Tells, once for each set of policies, which reviewers nobody can ask.
fn warn_once(broker: &Broker, reviewers: &Reviewers, seen: &mut Option<String>) {
    let rules = broker.policies.current();
    if seen.as_deref() == Some(rules.hash()) {
        return;
    }
    *seen = Some(rules.hash().to_owned());
    for reviewer in missing(&rules, |name| reviewers.contains_key(name)) {
        tracing::warn!(%reviewer, "the catalogue names a reviewer that the configuration does not; what it would be asked goes to people");
    }
}
