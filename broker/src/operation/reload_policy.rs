//! Brings a new policy set into force, or keeps the old one and says why.

use std::{path::Path, sync::Arc};

use jeton_domain::{audit::Event, decision::Rules, session::Words};

use super::{Broker, Refusal};
use crate::policy::PolicyProblem;

/// Loads the folder anew, records how that went, and only then puts the set in force.
///
/// # Errors
/// When it can't be recorded; the old set then stays. A bad set is no error here: the old one
/// stays, loudly.
pub async fn reload_policy(broker: &Arc<Broker>, folder: &Path) -> Result<(), Refusal> {
    let before = broker.policies.current().hash().to_owned();
    let (of, folder) = (Arc::clone(broker), folder.to_owned());
    let read = tokio::task::spawn_blocking(move || of.policies.read(&folder))
        .await
        .map_err(|error| Refusal::Internal(error.to_string()))?;
    let now = broker.clock.now();
    match read {
        Ok(set) if set.hash() == before => Ok(()),
        Ok(set) => {
            let policy_hash = set.hash().to_owned();
            tracing::info!(hash = %policy_hash, "a new policy set comes into force");
            broker.store.append(Event::PolicyLoaded { policy_hash, refused: None }, now).await?;
            broker.policies.put(set);
            Ok(())
        }
        Err(problems) => {
            let refused = Some(told(&problems));
            Ok(broker
                .store
                .append(Event::PolicyLoaded { policy_hash: before, refused }, now)
                .await?)
        }
    }
}

fn told(problems: &[PolicyProblem]) -> Words {
    for problem in problems {
        tracing::error!(%problem, "the policy folder was refused; the old set stays in force");
    }
    let first = problems.first().map(ToString::to_string).unwrap_or_default();
    Words::new(&format!("{} problem(s); first: {first}", problems.len()))
}
