//! Brings a new policy set into force, or keeps the old one and says why.

use std::sync::Arc;

use jeton_domain::{audit::Event, decision::Rules, session::Words};
use jeton_policy::PolicyProblem;

use super::{Broker, Refusal};

/// What a reload led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reloaded {
    /// Another set is in force now.
    Changed,
    /// The same as before.
    Kept,
    /// The folder is no good, and the set before stays.
    Refused(Vec<PolicyProblem>),
}

/// Loads the folder anew, records how that went, and only then puts the set in force.
///
/// # Errors
/// When it can't be recorded; the old set then stays. A bad set is no error here: the old one
/// stays, loudly.
pub async fn reload_policy(broker: &Arc<Broker>) -> Result<Reloaded, Refusal> {
    let _turn = broker.changing_policies.lock().await;
    let before = broker.policies.current().hash().to_owned();
    let of = Arc::clone(broker);
    let read = tokio::task::spawn_blocking(move || of.policies.read())
        .await
        .map_err(|error| Refusal::Internal(error.to_string()))?;
    let now = broker.clock.now();
    match read {
        Ok(set) if set.hash() == before => Ok(Reloaded::Kept),
        Ok(set) => {
            let policy_hash = set.hash().to_owned();
            tracing::info!(hash = %policy_hash, "a new policy set comes into force");
            broker.store.append(Event::PolicyLoaded { policy_hash, refused: None }, now).await?;
            broker.policies.put(set);
            broker.policies_changed.notify_one();
            Ok(Reloaded::Changed)
        }
        Err(problems) => {
            let refused = Some(told(&problems));
            let event = Event::PolicyLoaded { policy_hash: before, refused };
            broker.store.append(event, now).await?;
            Ok(Reloaded::Refused(problems))
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
