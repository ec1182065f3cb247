//! Tells a resource server whether a credential that the broker signed is good at this moment.

use jeton_domain::{
    grant::Grant,
    principal::{Role, Thumbprint},
    secret::Secret,
    session::Binding,
    ttl::Timestamp,
};

use serde_json::{Map, Value};

use super::{Broker, Caller, Refusal, Source};
use crate::signer::{
    token::SignedMinter,
    verify::{VerifiedClaims, claims},
};

/// What a live credential is good for.
pub struct Introspection {
    /// Its grant.
    pub grant: Grant,
    /// The key that must be proved with it.
    pub confirmation: Option<Thumbprint>,
    /// What it says of itself, and that it is active (RFC 7662 §2.2).
    pub claims: Map<String, Value>,
}

/// What a token says, if the broker signed it and its time is now, and whose tokens it is of. Its
/// signature is checked once, however many upstreams there are.
pub(super) fn verified<'a>(
    broker: &'a Broker,
    token: &str,
    now: Timestamp,
) -> Option<(&'a SignedMinter, VerifiedClaims)> {
    let named = claims(token)?;
    let audience = named.get("aud")?.as_str()?;
    let minter = minter_of(broker, audience)?;
    let verified = minter.verify(token, audience, now).ok()?;
    Some((minter, verified))
}

fn minter_of<'a>(broker: &'a Broker, audience: &str) -> Option<&'a SignedMinter> {
    broker.sources.values().find_map(|source| match source {
        Source::Signed(minter) if minter.config().audience == audience => Some(&**minter),
        Source::Signed(_) | Source::Minted(_) | Source::Kept(_) => None,
    })
}

/// `None` for whatever is not good: unknown, forged, expired, revoked and for another resource server
/// look alike (RFC 7662 §2.2). A token for one resource server must not look good at another, so the
/// caller must be one that the token's upstream names as its verifier; an operator, who serves no
/// resource, may look at any by its audience.
///
/// # Errors
/// When the caller is no resource server, or the store can't answer: unknown is never "good".
pub async fn introspect(
    broker: &Broker,
    caller: &Caller,
    credential: &Secret,
    audience: Option<&str>,
) -> Result<Option<Introspection>, Refusal> {
    let role = caller.principal.has(Role::Verifier) || caller.principal.has(Role::Operator);
    if !role {
        return Err(Refusal::Forbidden("introspection needs the role verifier"));
    }
    let now = broker.clock.now();
    if let Some(audience) = audience.filter(|audience| minter_of(broker, audience).is_none()) {
        let message = format!("`{}` is no configured audience", jeton_domain::id::quote(audience));
        return Err(Refusal::Invalid { field: "audience", message });
    }
    let Some((minter, claims)) = verified(broker, credential.expose(), now) else {
        return Ok(None);
    };
    let config = minter.config();
    let name = caller.principal.id.as_str();
    let named = config.verifiers.iter().any(|pattern| pattern.matches(name));
    let meant = match audience {
        Some(audience) => {
            let operator = caller.principal.has(Role::Operator);
            config.audience == audience && (named || operator || config.verifiers.is_empty())
        }
        None => named || (config.verifiers.is_empty() && signed(broker) == 1),
    };
    if !meant {
        return Ok(None);
    }
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

/// How many upstreams have credentials that the broker signs.
fn signed(broker: &Broker) -> usize {
    broker.sources.values().filter(|source| matches!(source, Source::Signed(_))).count()
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
