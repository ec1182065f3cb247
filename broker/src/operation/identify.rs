//! Gives a caller its one name: a person has it under every name, account and certificate.

use jeton_domain::principal::{AuthMethod, Principal, PrincipalKind};

use super::Broker;

/// The caller under its one name. Everything behind this compares and records that name.
///
/// A declared account decides before the name of the token. Whoever shows the client certificate,
/// or runs as the local user, of a declared person is that person.
#[must_use]
pub fn identify(broker: &Broker, caller: Principal) -> Principal {
    let rules = broker.policies.current();
    let people = rules.catalogue().people();
    let person = caller.kind == PrincipalKind::Person;
    let account = caller.account.as_ref().filter(|_| person);
    if let Some(id) = account.and_then(|account| people.of_account(account)) {
        return Principal { id: id.clone(), ..caller };
    }
    match caller.method {
        // Why not a token of a workload: its mapping says what it is.
        AuthMethod::Oidc if !person => caller,
        AuthMethod::Mtls | AuthMethod::Unix if !person && !people.declares(&caller.id) => caller,
        AuthMethod::Oidc | AuthMethod::Mtls | AuthMethod::Unix => {
            let id = people.identity(&caller.id);
            Principal { id, kind: PrincipalKind::Person, ..caller }
        }
    }
}
