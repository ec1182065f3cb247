//! OAuth 2.0 over HTTP, for callers without gRPC: token exchange (RFC 8693), introspection
//! (RFC 7662), revocation (RFC 7009) and metadata (RFC 8414, RFC 9728).
//!
//! Speaks for operations that gRPC has too: no rule lives here.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use jeton_domain::{
    pattern::Pattern,
    scope::{Action, Actions, Resource, Scope, Upstream},
    secret::Secret,
    session::Binding,
};
use jeton_proto::{DPOP_METADATA, SESSION_METADATA};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    JWKS_MAX_AGE_SECONDS,
    form::Form,
    oauth_error::OAuthError,
    problem::{Named, Problem},
};
use crate::{
    identity::{Authenticator, Presented, peer::Peer},
    limits::{BODY, REQUEST_BYTES},
    operation::{
        Broker, Caller, Refusal, Source, denial_log::record_failure, exchange, identify::identify,
        introspect, request_grant::Granted, revoke::revoke_token,
    },
    signer::claims::Detail,
    upstream::CredentialKind,
};

/// The one grant that the token endpoint knows (RFC 8693 §2.1).
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// What the endpoints need.
#[derive(Clone)]
pub struct OAuth {
    /// The broker.
    pub broker: Arc<Broker>,
    /// Finds out whose subject tokens are.
    pub authenticator: Arc<Authenticator>,
    /// What the broker calls itself in tokens.
    pub issuer: Arc<str>,
    /// Where clients reach the port behind the door: the first of its external URLs, if it has one.
    pub base: Option<Arc<str>>,
}

/// The endpoints, for the port behind the door.
pub fn endpoints(oauth: OAuth) -> Router {
    Router::new()
        .route(TOKEN, post(token))
        .route(INTROSPECT, post(introspection))
        .route(REVOKE, post(revocation))
        .with_state(oauth)
}

/// Path of the token endpoint.
pub const TOKEN: &str = "/oauth/token";
/// Path of the introspection endpoint.
pub const INTROSPECT: &str = "/oauth/introspect";
/// Path of the revocation endpoint.
pub const REVOKE: &str = "/oauth/revoke";

/// Path of the public keys.
pub const KEYS: &str = "/.well-known/jwks.json";
/// Path of the metadata (RFC 8414 §3).
pub const SERVER: &str = "/.well-known/oauth-authorization-server";
/// Where the metadata of each resource begins (RFC 9728 §3).
pub const RESOURCES: &str = "/.well-known/oauth-protected-resource/";

/// What everyone may read about the endpoints.
pub fn metadata(oauth: OAuth) -> Router {
    Router::new()
        .route(SERVER, get(server_metadata))
        .route(&format!("{RESOURCES}{{upstream}}"), get(resource_metadata))
        .with_state(oauth)
}

async fn token(
    State(oauth): State<OAuth>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, OAuthError> {
    let form = read(&headers, body).await?;
    let must = |name| form.must(name).map_err(OAuthError::invalid_request);
    if must("grant_type")? != EXCHANGE {
        let words = format!("the one grant_type here is {EXCHANGE}");
        return Err(OAuthError::new(StatusCode::BAD_REQUEST, "unsupported_grant_type", words));
    }
    let kind = must("subject_token_type")?;
    if ![JWT, ID_TOKEN, ACCESS_TOKEN].contains(&kind) {
        let words = format!("the subject_token_type must be {JWT}, {ID_TOKEN} or {ACCESS_TOKEN}");
        return Err(OAuthError::invalid_request(words));
    }
    if form.get("actor_token").is_some() || form.get("actor_token_type").is_some() {
        let words = "an actor_token is not understood; open a session below your own instead";
        return Err(OAuthError::invalid_request(words));
    }
    if form.get("requested_token_type").is_some_and(|kind| ![JWT, ACCESS_TOKEN].contains(&kind)) {
        let words = format!("the requested_token_type must be {ACCESS_TOKEN} or {JWT}");
        return Err(OAuthError::invalid_request(words));
    }
    let scope = oauth.broker.spelling.scope(asked(&form)?);
    target(&oauth.broker, &form, &scope)?;
    let handle = single(&headers, SESSION_METADATA)?;
    let presented = Presented {
        peer: &peer,
        bearer: Some(must("subject_token")?),
        dpop: single(&headers, DPOP_METADATA)?,
        handle,
        method: "POST",
        path: TOKEN,
    };
    let now = oauth.broker.clock.now();
    let principal = oauth.authenticator.authenticate(presented, now).await.map_err(|error| {
        record_failure(&oauth.broker, &peer.accountable(), error.reason(), TOKEN);
        OAuthError::from_subject(&error)
    })?;
    let principal = identify(&oauth.broker, principal);
    let handle = handle.map(|handle| Secret::new(handle.to_owned()));
    let (granted, binding) = exchange::exchange(&oauth.broker, principal, handle, scope).await?;
    issued(&oauth, granted, binding)
}

/// The answer that carries the credential (RFC 8693 §2.2.1).
fn issued(oauth: &OAuth, granted: Granted, binding: Binding) -> Result<Response, OAuthError> {
    let Some(credential) = granted.credential else {
        return Err(OAuthError::later("the credential is not there yet"));
    };
    let left = credential.dies.seconds().saturating_sub(oauth.broker.clock.now().seconds());
    let (kind, token_type) = match (credential.kind, binding) {
        (CredentialKind::SignedJwt, Binding::Jwk(_)) => (ACCESS_TOKEN, "DPoP"),
        // A key that is kept never comes here.
        (
            CredentialKind::SignedJwt
            | CredentialKind::GithubInstallationToken
            | CredentialKind::StaticKey,
            _,
        ) => (ACCESS_TOKEN, "Bearer"),
    };
    let body = json!({
        "access_token": credential.secret.expose(),
        "issued_token_type": kind,
        "token_type": token_type,
        "expires_in": left.max(0),
        "scope": granted.grant.scope.to_string(),
        "authorization_details": [Detail::of(&granted.grant.scope)],
        "jeton_grant": granted.grant.id.to_string(),
    });
    Ok(uncached(Json(body)))
}

async fn introspection(
    State(oauth): State<OAuth>,
    Extension(caller): Extension<Arc<Caller>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, OAuthError> {
    let form = read(&headers, body).await?;
    let token = form.must("token").map_err(OAuthError::invalid_request)?;
    let token = Secret::new(token.to_owned());
    // Why it may be absent: RFC 7662 has no parameter for it.
    let audience = form.get("resource").or_else(|| form.get("audience"));
    let found = introspect::introspect(&oauth.broker, &caller, &token, audience).await?;
    let claims =
        found.map_or_else(|| json!({ "active": false }), |live| Value::Object(live.claims));
    Ok(uncached(Json(claims)))
}

async fn revocation(
    State(oauth): State<OAuth>,
    Extension(caller): Extension<Arc<Caller>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, OAuthError> {
    let form = read(&headers, body).await?;
    let token = form.must("token").map_err(OAuthError::invalid_request)?;
    if token.split('.').count() != 3 {
        let words =
            "only tokens that the broker signed can be given here; take others back by their grant";
        return Err(OAuthError::new(StatusCode::BAD_REQUEST, "unsupported_token_type", words));
    }
    revoke_token(&oauth.broker, &caller, token).await?;
    // Spec: RFC 7009 §2.2: also for a token that never was, or is none any more.
    Ok(uncached(StatusCode::OK))
}

/// RFC 8414 §2.
async fn server_metadata(State(oauth): State<OAuth>) -> Response {
    let at = |path: &str| oauth.base.as_ref().map(|base| format!("{base}{path}"));
    let upstreams = oauth.broker.sources.keys().map(Upstream::as_str);
    let mut upstreams: Vec<_> = upstreams.collect();
    upstreams.sort_unstable();
    public(json!({
        "issuer": &*oauth.issuer,
        "token_endpoint": at(TOKEN),
        "introspection_endpoint": at(INTROSPECT),
        "revocation_endpoint": at(REVOKE),
        "jwks_uri": at(KEYS),
        "response_types_supported": [],
        "grant_types_supported": [EXCHANGE],
        "token_endpoint_auth_methods_supported": ["none"],
        "introspection_endpoint_auth_methods_supported": ["tls_client_auth", "Bearer"],
        "revocation_endpoint_auth_methods_supported": ["tls_client_auth"],
        "tls_client_certificate_bound_access_tokens": true,
        "dpop_signing_alg_values_supported": ["EdDSA", "Ed25519", "ES256"],
        "authorization_details_types_supported": ["jeton"],
        "jeton_upstreams": upstreams,
    }))
}

/// RFC 9728 §2, for an upstream that trusts the broker's signature.
async fn resource_metadata(State(oauth): State<OAuth>, Named(upstream): Named) -> Response {
    let source = Upstream::parse(&upstream).ok().and_then(|name| oauth.broker.sources.get(&name));
    let Some(Source::Signed(minter)) = source else {
        return Problem::from(Refusal::NotFound("resource")).into_response();
    };
    public(json!({
        "resource": minter.config().audience,
        "authorization_servers": [&*oauth.issuer],
        "jwks_uri": oauth.base.as_ref().map(|base| format!("{base}{KEYS}")),
        "bearer_methods_supported": ["header"],
        "tls_client_certificate_bound_access_tokens": true,
        "dpop_signing_alg_values_supported": ["EdDSA", "Ed25519", "ES256"],
        "authorization_details_types_supported": ["jeton"],
    }))
}

/// The scope: as `scope` in its text form, or as the one element of `authorization_details`.
fn asked(form: &Form) -> Result<Scope, OAuthError> {
    let bad = |words: String| OAuthError::new(StatusCode::BAD_REQUEST, "invalid_scope", words);
    match (form.get("scope"), form.get("authorization_details")) {
        (Some(text), None) => Scope::parse(text).map_err(|error| bad(error.to_string())),
        (None, Some(text)) => detailed(text).map_err(|words| {
            OAuthError::new(StatusCode::BAD_REQUEST, "invalid_authorization_details", words)
        }),
        (Some(_), Some(_)) => {
            Err(OAuthError::invalid_request("send scope or authorization_details, not both"))
        }
        (None, None) => Err(bad(
            "nothing was asked for; send scope=upstream:resource action,action, such as github:acme/api contents:read".into(),
        )),
    }
}

/// RFC 9396 §2, with the type that the broker's own tokens carry.
fn detailed(text: &str) -> Result<Scope, String> {
    let [detail]: [Detail<'_>; 1] = serde_json::from_str(text)
        .map_err(|error| format!("it must be one element of type jeton: {error}"))?;
    let actions = detail.actions.iter().map(|text| Action::parse(text));
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let upstream = Upstream::parse(&detail.locations[0]).map_err(|error| words(&error))?;
    let resource = Resource::parse(&detail.identifier).map_err(|error| words(&error))?;
    let actions = actions.collect::<Result<Vec<_>, _>>().and_then(Actions::new);
    let git_ref = detail.git_ref.as_deref().map(Pattern::parse).transpose();
    let git_ref = git_ref.map_err(|error| words(&error))?;
    Scope::new(upstream, resource, actions.map_err(|error| words(&error))?, git_ref)
        .map_err(|error| words(&error))
}

/// What is named beside the scope must be the same place (RFC 8693 §2.1, RFC 8707 §2).
fn target(broker: &Broker, form: &Form, scope: &Scope) -> Result<(), OAuthError> {
    let audience = match broker.sources.get(&scope.upstream) {
        Some(Source::Signed(minter)) => Some(minter.config().audience.as_str()),
        Some(Source::Minted(_) | Source::Kept(_)) | None => None,
    };
    for name in ["audience", "resource"] {
        let mut named = form.all(name);
        if named.any(|named| Some(named) != audience && named != scope.upstream.as_str()) {
            let words = format!("`{name}` is another place than the scope's upstream");
            return Err(OAuthError::new(StatusCode::BAD_REQUEST, "invalid_target", words));
        }
    }
    Ok(())
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Form, OAuthError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    let form = "application/x-www-form-urlencoded";
    if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case(form)) {
        let words = "send the parameters as application/x-www-form-urlencoded";
        return Err(OAuthError::invalid_request(words));
    }
    let body: Bytes = timeout(BODY, axum::body::to_bytes(body, REQUEST_BYTES))
        .await
        .map_err(|_| OAuthError::invalid_request("the body did not arrive in time"))?
        .map_err(|_| {
            let words = format!("the body broke, or has over {REQUEST_BYTES} bytes");
            OAuthError::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request", words)
        })?;
    Form::parse(&body).map_err(OAuthError::invalid_request)
}

/// A header that may stand once.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, OAuthError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(OAuthError::invalid_request(format!(
            "the header {name} stands more than once"
        )));
    }
    first
        .map(HeaderValue::to_str)
        .transpose()
        .map_err(|_| OAuthError::invalid_request(format!("the header {name} is no text")))
}

/// Answers that hold tokens, or are true for a moment, are kept by nobody (RFC 6749 §5.1).
fn uncached(answer: impl IntoResponse) -> Response {
    let headers = [(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")];
    (headers, answer).into_response()
}

fn public(mut document: Value) -> Response {
    // Spec: RFC 8414 §3.2: what has no value is left out.
    if let Some(members) = document.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    let age = format!("public, max-age={JWKS_MAX_AGE_SECONDS}");
    ([(header::CACHE_CONTROL, age)], Json(document)).into_response()
}
