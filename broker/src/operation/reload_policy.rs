//! Brings a new policy set into force, or keeps the old one and says why.

use std::path::Path;

use jeton_domain::{audit::Event, decision::Rules, session::Words};

use super::{Broker, Refusal};

/// Loads the folder anew and records how that went.
///
/// # Errors
/// When it can't be recorded. A bad set is no error here: the old one stays, loudly.
pub async fn reload_policy(broker: &Broker, folder: &Path) -> Result<(), Refusal> {
    let before = broker.policies.current().hash().to_owned();
    let refused = match broker.policies.reload(folder) {
        Ok(hash) if hash == before => return Ok(()),
        Ok(hash) => {
            tracing::info!(%hash, "a new policy set is in force");
            None
        }
        Err(problems) => {
            for problem in &problems {
                tracing::error!(%problem, "the policy folder was refused; the old set stays in force");
            }
            let first = problems.first().map(ToString::to_string).unwrap_or_default();
            Some(Words::new(&format!("{} problem(s); first: {first}", problems.len())))
        }
    };
    let policy_hash = broker.policies.current().hash().to_owned();
    let event = Event::PolicyLoaded { policy_hash, refused };
    Ok(broker.store.append(event, broker.clock.now()).await?)
}
