//! A gate that asks the broker at every request whether a credential is good right now.

use std::{
    collections::BTreeSet,
    future::Future,
    pin::Pin,
    sync::{Mutex, OnceLock},
};

use jeton_client::{Client, Scope, Secret};
use jeton_domain::scope::Action;

use super::{Gate, Need, RefUpdate, Refusal};

/// The name under which the host knows itself to the broker.
const AUDIENCE: &str = "https://git.dev.jeton.local";

/// Introspection at the broker, at every request.
#[derive(Default)]
pub struct ByBroker {
    broker: OnceLock<Client>,
    tokens: Mutex<BTreeSet<String>>,
}

impl ByBroker {
    /// One that knows its broker.
    pub fn knowing(broker: Client) -> Self {
        Self { broker: OnceLock::from(broker), tokens: Mutex::default() }
    }

    /// Tells it its broker, which started after it. Before that nothing is good.
    pub fn know(&self, broker: Client) {
        let _ = self.broker.set(broker);
    }

    /// Every credential that was shown to it.
    pub fn tokens(&self) -> BTreeSet<String> {
        self.tokens.lock().unwrap().clone()
    }
}

impl Gate for ByBroker {
    fn check(
        &self,
        token: String,
        repo: String,
        need: Need,
        refs: Vec<RefUpdate>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send>> {
        self.tokens.lock().unwrap().insert(token.clone());
        let client = self.broker.get().cloned();
        Box::pin(async move {
            let client = client.ok_or_else(|| Refusal::bad_credential("there is no broker yet"))?;
            let found = client
                .introspect(&Secret::new(token), AUDIENCE)
                .await
                // Why refused: a host that can't ask can't know, and unknown is never good.
                .map_err(|error| {
                    Refusal::bad_credential(&format!("the broker did not answer: {error}"))
                })?;
            if !found.active {
                return Err(Refusal::bad_credential("the credential is not good, or not any more"));
            }
            let scope = Scope::parse(&found.scope)
                .map_err(|error| Refusal::forbidden(&error.to_string()))?;
            allowed(&scope, &repo, need, &refs)
        })
    }
}

fn allowed(scope: &Scope, repo: &str, need: Need, refs: &[RefUpdate]) -> Result<(), Refusal> {
    if scope.resource.as_str() != repo {
        return Err(Refusal::forbidden(&format!(
            "the credential opens {}, not {repo}",
            scope.resource
        )));
    }
    let wanted = match need {
        Need::Read => "contents:read",
        Need::Write => "contents:write",
    };
    let covers = Action::parse(wanted)
        .is_ok_and(|wanted| scope.actions.iter().any(|action| action.covers(&wanted)));
    if !covers {
        return Err(Refusal::forbidden(&format!(
            "the credential allows {}, not {wanted}",
            scope.actions
        )));
    }
    let Some(pattern) = &scope.git_ref else { return Ok(()) };
    for update in refs {
        let branch = update.name.strip_prefix("refs/heads/").unwrap_or(&update.name);
        if !pattern.matches(branch) {
            return Err(Refusal::forbidden(&format!(
                "{} is outside the credential's scope (ref={pattern})",
                update.name
            )));
        }
    }
    Ok(())
}
