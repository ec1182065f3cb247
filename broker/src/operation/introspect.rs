//! Tells a resource server whether a credential that the broker signed is good at this moment.

use jeton_domain::{
    grant::Grant,
    principal::{Role, Thumbprint},
    secret::Secret,
    session::Binding,
};

use serde_json::{Map, Value};

use super::{Broker, Caller, Refusal, Source};
use crate::signer::verify::claims;

/// What a live credential is good for.
pub struct Introspection {
    /// Its grant.
    pub grant: Grant,
    /// The key that must be proved with it.
    pub confirmation: Option<Thumbprint>,
    /// What it says of itself, and that it is active (RFC 7662 §2.2).
    pub claims: Map<String, Value>,
}

/// The audiences of the credentials that the broker signs.
#[must_use]
pub fn audiences(broker: &Broker) -> Vec<String> {
    let audience = |source: &Source| match source {
        Source::Signed(minter) => Some(minter.config().audience.clone()),
        Source::Minted(_) => None,
    };
    broker.sources.values().filter_map(audience).collect()
}

/// `None` for whatever is not good: unknown, forged, expired and revoked look alike (RFC 7662 §2.2).
///
/// # Errors
/// When the caller is no resource server, or the store can't answer: unknown is never "good".
pub async fn introspect(
    broker: &Broker,
    caller: &Caller,
    credential: &Secret,
    audience: &str,
) -> Result<Option<Introspection>, Refusal> {
    let role = caller.principal.has(Role::Verifier) || caller.principal.has(Role::Operator);
    if !role {
        return Err(Refusal::Forbidden("introspection needs the role verifier"));
    }
    let now = broker.clock.now();
    let minter = broker.sources.values().find_map(|source| match source {
        Source::Signed(minter) if minter.config().audience == audience => Some(minter),
        Source::Signed(_) | Source::Minted(_) => None,
    });
    let Some(minter) = minter else {
        let message = format!("`{}` is no configured audience", jeton_domain::id::quote(audience));
        return Err(Refusal::Invalid { field: "audience", message });
    };
    let Ok(claims) = minter.verify(credential.expose(), audience, now) else {
        return Ok(None);
    };
    if !broker.store.is_active(claims.grant, now) {
        return Ok(None);
    }
    let grant = broker.store.grant(claims.grant).await?;
    let record = broker.store.session(grant.session).await?;
    let confirmation = match record.session.binding {
        Binding::Certificate(thumbprint) | Binding::Jwk(thumbprint) => Some(thumbprint),
        Binding::UnixUid(_) | Binding::Bearer => None,
    };
    let claims = described(credential, &grant, record.session.binding);
    Ok(Some(Introspection { grant, confirmation, claims }))
}

/// The members of RFC 7662 §2.2: what the token says, and what resource servers expect beside it.
fn described(credential: &Secret, grant: &Grant, binding: Binding) -> Map<String, Value> {
    let mut claims = claims(credential.expose()).unwrap_or_default();
    let token_type = if matches!(binding, Binding::Jwk(_)) { "DPoP" } else { "Bearer" };
    for (name, value) in [
        ("active", Value::Bool(true)),
        ("token_type", token_type.into()),
        ("scope", grant.scope.to_string().into()),
    ] {
        claims.insert(name.to_owned(), value);
    }
    claims
}
