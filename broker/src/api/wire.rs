//! The only file that names both the wire's types and the domain's.
//!
//! Nothing absent means "all": a missing scope, an empty list and an unknown enum are errors.

pub(super) mod approvals;
pub(super) mod audit;
pub(super) mod budgets;
pub(super) mod explain;

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jeton_domain::{
    approval::Guard,
    decision::{Delivery, PolicyId},
    delegation::{Chain, Link},
    grant::{Grant, GrantState, Phase},
    id::{GrantId, RequestId, SessionId},
    pattern::Pattern,
    principal::{AuthMethod, PrincipalId, PrincipalKind, Role, Thumbprint},
    revocation::{Matching, Stop, UpstreamRevocation},
    scope::{Action, Actions, Resource, Scope, ScopeBound, Upstream},
    session::{Binding, Envelope, SessionState, Words},
    spelling::Spelling,
    ttl::{Timestamp, Ttl},
};
use jeton_proto::v1;

use crate::{
    operation::{
        Caller, Refusal, introspect::Introspection, open_session::Opening, re_decide::Lost,
        request_grant::Ask, revoke::UpstreamSays, watch::Word,
    },
    store::{EndedEarly, SessionPhase, SessionRecord},
    upstream::{Credential, CredentialKind},
};

/// Grants that the answer to a revocation names.
const GRANTS_TOLD: usize = 1000;
/// Longest `@id` of a policy.
const POLICY_ID_CHARS: usize = 256;

type Parsed<T> = Result<T, Refusal>;

fn invalid(field: &'static str, error: impl ToString) -> Refusal {
    Refusal::Invalid { field, message: error.to_string() }
}

/// Reads a field that may be empty.
pub(super) fn optional<T>(
    field: &'static str,
    text: &str,
    parse: impl FnOnce(&'static str, &str) -> Parsed<T>,
) -> Parsed<Option<T>> {
    if text.is_empty() { Ok(None) } else { parse(field, text).map(Some) }
}

pub(super) fn session_id(field: &'static str, text: &str) -> Parsed<SessionId> {
    SessionId::parse(text).map_err(|error| invalid(field, error))
}

pub(super) fn grant_id(field: &'static str, text: &str) -> Parsed<GrantId> {
    GrantId::parse(text).map_err(|error| invalid(field, error))
}

pub(super) fn principal(field: &'static str, text: &str) -> Parsed<PrincipalId> {
    PrincipalId::parse(text).map_err(|error| invalid(field, error))
}

fn request_id(field: &'static str, text: &str) -> Parsed<RequestId> {
    RequestId::parse(text).map_err(|error| invalid(field, error))
}

/// Zero stands for "the longest that is allowed".
pub(super) fn ttl(seconds: u32) -> Option<Ttl> {
    Ttl::from_seconds(seconds)
}

pub(super) fn opening(request: v1::OpenSessionRequest, spelling: &Spelling) -> Parsed<Opening> {
    Ok(Opening {
        agent: principal("agent", &request.agent)?,
        person: optional("person", &request.person, principal)?,
        task: Words::new(&request.task),
        envelope: envelope(request.envelope.ok_or_else(|| {
            invalid("envelope", "it is missing; name what the session may be granted at most")
        })?)?
        .spelled(spelling),
        ttl: ttl(request.ttl_seconds).ok_or_else(|| {
            invalid("ttl_seconds", "it is missing; say how long the session lasts")
        })?,
        binding: binding(request.binding)?,
        parent: optional("parent", &request.parent, session_id)?,
        request_id: optional("request_id", &request.request_id, request_id)?,
    })
}

fn binding(binding: Option<v1::open_session_request::Binding>) -> Parsed<Binding> {
    use v1::open_session_request::Binding as Wire;
    match binding {
        Some(Wire::CertificateSha256(text)) => {
            thumbprint("certificate_sha256", &text).map(Binding::Certificate)
        }
        Some(Wire::JwkSha256(text)) => thumbprint("jwk_sha256", &text).map(Binding::Jwk),
        Some(Wire::UnixUid(uid)) => Ok(Binding::UnixUid(uid)),
        Some(Wire::Bearer(true)) => Ok(Binding::Bearer),
        Some(Wire::Bearer(false)) | None => Err(invalid(
            "binding",
            "it is missing; bind the handle to the agent's certificate, key or user id",
        )),
    }
}

fn thumbprint(field: &'static str, text: &str) -> Parsed<Thumbprint> {
    URL_SAFE_NO_PAD
        .decode(text)
        .ok()
        .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
        .map(Thumbprint)
        .ok_or_else(|| {
            invalid(field, "it is no SHA-256 in base64url without padding: 43 characters")
        })
}

fn envelope(envelope: v1::Envelope) -> Parsed<Envelope> {
    let scopes = envelope.scopes.into_iter().map(read_bound).collect::<Parsed<Vec<_>>>()?;
    Envelope::new(scopes, envelope.max_grants, envelope.max_ttl_seconds)
        .map_err(|error| invalid("envelope", error))
}

pub(super) fn scope_bound(scope: v1::Scope, spelling: &Spelling) -> Parsed<ScopeBound> {
    read_bound(scope).map(|bound| spelling.bound(bound))
}

fn read_bound(scope: v1::Scope) -> Parsed<ScopeBound> {
    let bad = |error| invalid("envelope.scopes", error);
    let upstream = Upstream::parse(&scope.upstream).map_err(bad)?;
    let (actions, git_ref) = limits("envelope.scopes", scope.actions, &scope.r#ref)?;
    ScopeBound::new(upstream, &scope.resource, actions, git_ref).map_err(bad)
}

pub(super) fn ask(request: v1::RequestGrantRequest, spelling: &Spelling) -> Parsed<Ask> {
    Ok(Ask {
        scope: parsed_scope(request.scope, spelling)?,
        ttl: ttl(request.ttl_seconds),
        delivery: delivery(request.delivery)?,
        reason: Words::new(&request.reason),
        request_id: optional("request_id", &request.request_id, request_id)?,
    })
}

/// `None` leaves the choice open.
pub(super) fn delivery(number: i32) -> Parsed<Option<Delivery>> {
    match v1::Delivery::try_from(number) {
        Ok(v1::Delivery::Unspecified) => Ok(None),
        Ok(v1::Delivery::Direct) => Ok(Some(Delivery::Direct)),
        Ok(v1::Delivery::Gateway) => Ok(Some(Delivery::Gateway)),
        Err(_) => Err(invalid("delivery", "it is not known; write DIRECT or GATEWAY")),
    }
}

fn delivered(delivery: Delivery) -> v1::Delivery {
    match delivery {
        Delivery::Direct => v1::Delivery::Direct,
        Delivery::Gateway => v1::Delivery::Gateway,
    }
}

/// Reads a scope. Why with the spelling: what is decided is then what is recorded and sent.
pub(super) fn parsed_scope(scope: Option<v1::Scope>, spelling: &Spelling) -> Parsed<Scope> {
    let scope =
        scope.ok_or_else(|| invalid("scope", "it is missing; say what the grant is to open"))?;
    let (actions, git_ref) = limits("scope", scope.actions, &scope.r#ref)?;
    let upstream = Upstream::parse(&scope.upstream).map_err(|error| invalid("scope", error))?;
    let resource = Resource::parse(&scope.resource).map_err(|error| invalid("scope", error))?;
    let scope = Scope::new(upstream, resource, actions, git_ref);
    scope.map(|scope| spelling.scope(scope)).map_err(|error| invalid("scope.ref", error))
}

fn limits(
    field: &'static str,
    actions: Vec<String>,
    git_ref: &str,
) -> Parsed<(Actions, Option<Pattern>)> {
    let actions = actions
        .iter()
        .map(|action| Action::parse(action))
        .collect::<Result<Vec<_>, _>>()
        .and_then(Actions::new)
        .map_err(|error| invalid(field, error))?;
    let parse = |field, text: &str| Pattern::parse(text).map_err(|error| invalid(field, error));
    Ok((actions, optional("scope.ref", git_ref, parse)?))
}

pub(super) fn matching(
    matching: Option<v1::revoke_matching_request::Matching>,
    spelling: &Spelling,
) -> Parsed<Matching> {
    use v1::revoke_matching_request::Matching as Wire;
    let read = match matching {
        Some(Wire::Session(id)) => session_id("session", &id).map(Matching::Session),
        Some(Wire::Agent(name)) => principal("agent", &name).map(Matching::Agent),
        Some(Wire::Person(name)) => principal("person", &name).map(Matching::Person),
        Some(Wire::Resource(text)) => resource(&text),
        Some(Wire::Upstream(name)) => upstream(&name),
        Some(Wire::Policy(id)) => policy_id(&id).map(Matching::Policy),
        Some(Wire::All(true)) => Ok(Matching::All),
        Some(Wire::All(false)) | None => Err(invalid(
            "matching",
            "it is missing; name a session, agent, person, resource, upstream or policy, or say all",
        )),
    };
    read.map(|read| spelling.matching(read))
}

fn resource(text: &str) -> Parsed<Matching> {
    let (upstream, resource) = text.split_once(':').ok_or_else(|| {
        invalid("resource", "write it as `upstream:resource`, such as `github:acme/api`")
    })?;
    Ok(Matching::Resource(
        Upstream::parse(upstream).map_err(|error| invalid("resource", error))?,
        Resource::parse(resource).map_err(|error| invalid("resource", error))?,
    ))
}

fn upstream(name: &str) -> Parsed<Matching> {
    Upstream::parse(name).map(Matching::Upstream).map_err(|error| invalid("upstream", error))
}

fn policy_id(id: &str) -> Parsed<PolicyId> {
    if (1..=POLICY_ID_CHARS).contains(&id.len()) {
        Ok(PolicyId::new(id))
    } else {
        Err(invalid("policy", format!("a policy's @id has 1 to {POLICY_ID_CHARS} characters")))
    }
}

/// What a stop is about.
pub(super) fn stopped(stop: Option<v1::Stop>, spelling: &Spelling) -> Parsed<Matching> {
    use v1::stop::Matching as Wire;
    let read = match stop.and_then(|stop| stop.matching) {
        Some(Wire::Agent(name)) => principal("agent", &name).map(Matching::Agent),
        Some(Wire::Person(name)) => principal("person", &name).map(Matching::Person),
        Some(Wire::Resource(text)) => resource(&text),
        Some(Wire::Upstream(name)) => upstream(&name),
        Some(Wire::All(true)) => Ok(Matching::All),
        Some(Wire::All(false)) | None => Err(invalid(
            "stop.matching",
            "it is missing; name the agent, person, resource or upstream, or say all",
        )),
    };
    read.map(|read| spelling.matching(read))
}

pub(super) fn stop(stop: &Stop) -> v1::Stop {
    use v1::stop::Matching as Wire;
    let matching = match &stop.matching {
        Matching::Agent(name) => Some(Wire::Agent(name.to_string())),
        Matching::Person(name) => Some(Wire::Person(name.to_string())),
        Matching::Resource(upstream, resource) => {
            Some(Wire::Resource(format!("{upstream}:{resource}")))
        }
        Matching::Upstream(name) => Some(Wire::Upstream(name.to_string())),
        Matching::All => Some(Wire::All(true)),
        // Never ordered: the operation refuses it.
        Matching::Session(_) | Matching::Policy(_) => None,
    };
    v1::Stop {
        matching,
        by: stop.by.to_string(),
        reason: stop.reason.as_str().to_owned(),
        since: Some(time(stop.since)),
    }
}

/// A grant that would not be given any more.
pub(super) fn lost(lost: &Lost) -> v1::LostGrant {
    v1::LostGrant {
        grant: Some(grant(&lost.grant)),
        layer: lost.layer.word().to_owned(),
        reason: lost.reason.clone(),
        policy_ids: lost.policies.iter().map(ToString::to_string).collect(),
    }
}

/// What was taken back, and what upstreams say of it.
pub(super) fn cut(sessions: usize, grants: &[Grant]) -> v1::RevokeMatchingResponse {
    let says = UpstreamSays::of(grants);
    v1::RevokeMatchingResponse {
        revoked: count(grants.len()),
        upstream_pending: count(says.pending),
        upstream_unsupported: count(says.unsupported),
        upstream_confirmed: count(says.confirmed),
        upstream_until: says.until.map(time),
        sessions_closed: count(sessions),
        grants: grants.iter().take(GRANTS_TOLD).map(|grant| grant.id.to_string()).collect(),
    }
}

/// How long a revocation waits for upstreams.
pub(super) fn wait(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

pub(super) fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// What a watcher is told.
pub(super) fn word(word: Word) -> v1::WatchRevocationsResponse {
    let ended = |early: &EndedEarly| v1::EndedGrant {
        grant: early.grant.to_string(),
        until: Some(time(early.dies)),
        entry_index: early.entry,
    };
    v1::WatchRevocationsResponse {
        ended: word.ended.iter().map(ended).collect(),
        next_index: word.next,
        time: Some(time(word.now)),
        caught_up: word.caught_up,
    }
}

fn delegators(chain: &Chain) -> Vec<v1::Delegator> {
    let link = |link: &Link| v1::Delegator {
        session: link.session.to_string(),
        agent: link.agent.to_string(),
    };
    chain.links().iter().map(link).collect()
}

pub(super) fn phase(state: i32) -> Parsed<Option<Phase>> {
    use v1::GrantState as Wire;
    let known = Wire::try_from(state)
        .map_err(|_| invalid("state", format!("{state} is no state of a grant")))?;
    Ok(match known {
        Wire::Unspecified => None,
        Wire::Pending => Some(Phase::Pending),
        Wire::Minting => Some(Phase::Minting),
        Wire::Active => Some(Phase::Active),
        Wire::Released => Some(Phase::Released),
        Wire::Expired => Some(Phase::Expired),
        Wire::Revoked => Some(Phase::Revoked),
        Wire::Failed => Some(Phase::Failed),
        Wire::Lapsed => Some(Phase::Lapsed),
        Wire::Rejected => Some(Phase::Rejected),
    })
}

pub(super) fn session_phase(state: i32) -> Parsed<Option<SessionPhase>> {
    use v1::SessionState as Wire;
    let known = Wire::try_from(state)
        .map_err(|_| invalid("state", format!("{state} is no state of a session")))?;
    Ok(match known {
        Wire::Unspecified => None,
        Wire::Open => Some(SessionPhase::Open),
        Wire::Closed => Some(SessionPhase::Closed),
        Wire::Expired => Some(SessionPhase::Expired),
    })
}

pub(super) fn time(at: Timestamp) -> prost_types::Timestamp {
    let nanos = i32::try_from(at.millis().rem_euclid(1000)).unwrap_or(0).saturating_mul(1_000_000);
    prost_types::Timestamp { seconds: at.seconds(), nanos }
}

pub(super) fn session(record: &SessionRecord, grants_used: u32) -> v1::Session {
    let session = &record.session;
    let (state, close_reason) = match &record.state {
        SessionState::Open => (v1::SessionState::Open, String::new()),
        SessionState::Closed { reason, .. } => {
            (v1::SessionState::Closed, reason.as_str().to_owned())
        }
        SessionState::Expired { .. } => {
            (v1::SessionState::Expired, "its deadline passed".to_owned())
        }
    };
    v1::Session {
        id: session.id.to_string(),
        agent: session.agent.to_string(),
        person: session.person.as_ref().map(ToString::to_string).unwrap_or_default(),
        opener: session.opener.to_string(),
        task: session.task.as_str().to_owned(),
        envelope: Some(v1::Envelope {
            scopes: session.envelope.scopes().iter().map(bound).collect(),
            max_grants: session.envelope.max_grants(),
            max_ttl_seconds: session.envelope.max_ttl().seconds(),
        }),
        open_time: Some(time(session.opened)),
        expire_time: Some(time(session.deadline)),
        state: state.into(),
        binding: session.binding.word().to_owned(),
        grants_used,
        close_reason,
        delegators: delegators(&session.chain),
        issuers: session.issuers.iter().map(|issuer| issuer.as_str().to_owned()).collect(),
    }
}

fn bound(bound: &ScopeBound) -> v1::Scope {
    v1::Scope {
        upstream: bound.upstream.to_string(),
        resource: bound.resource.to_string(),
        actions: bound.actions.iter().map(ToString::to_string).collect(),
        r#ref: bound.git_ref.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

fn scope(scope: &Scope) -> v1::Scope {
    v1::Scope {
        upstream: scope.upstream.to_string(),
        resource: scope.resource.to_string(),
        actions: scope.actions.iter().map(ToString::to_string).collect(),
        r#ref: scope.git_ref.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

pub(super) fn grant(grant: &Grant) -> v1::Grant {
    let (state, expires, guards, end_reason) = match &grant.state {
        GrantState::Pending { guards, until } => (
            v1::GrantState::Pending,
            Some(*until),
            guards.iter().map(guard).collect(),
            String::new(),
        ),
        GrantState::Minting { .. } => (v1::GrantState::Minting, None, vec![], String::new()),
        GrantState::Active { until } => {
            (v1::GrantState::Active, Some(*until), vec![], String::new())
        }
        GrantState::Released { at, .. } => {
            (v1::GrantState::Released, Some(*at), vec![], "given back".into())
        }
        GrantState::Expired { at, .. } => {
            (v1::GrantState::Expired, Some(*at), vec![], "its deadline passed".into())
        }
        GrantState::Revoked { at, by, reason, .. } => (
            v1::GrantState::Revoked,
            Some(*at),
            vec![],
            format!("revoked by {by}: {}", reason.as_str()),
        ),
        GrantState::Failed { at, reason, .. } => {
            (v1::GrantState::Failed, Some(*at), vec![], reason.as_str().to_owned())
        }
        GrantState::Lapsed { at } => {
            (v1::GrantState::Lapsed, Some(*at), vec![], "nobody approved in time".into())
        }
        GrantState::Rejected { at, by, reason } => (
            v1::GrantState::Rejected,
            Some(*at),
            vec![],
            format!("rejected by {by}: {}", reason.as_str()),
        ),
    };
    v1::Grant {
        delivery: delivered(grant.delivery).into(),
        id: grant.id.to_string(),
        session: grant.session.to_string(),
        agent: grant.agent.to_string(),
        scope: Some(scope(&grant.scope)),
        state: state.into(),
        request_time: Some(time(grant.requested)),
        expire_time: expires.map(time),
        policy_ids: grant.decided_by.policies.iter().map(ToString::to_string).collect(),
        policy_hash: grant.decided_by.policy_hash.to_string(),
        guards,
        end_reason,
        upstream_revocation: upstream_revocation(grant.state.upstream()).into(),
        renewals: grant.renewals,
        reason: grant.reason.as_str().to_owned(),
        entry_index: grant.entry,
        delegators: delegators(&grant.chain),
        upstream_until: UpstreamSays::of(std::slice::from_ref(grant)).until.map(time),
    }
}

fn upstream_revocation(upstream: Option<UpstreamRevocation>) -> v1::UpstreamRevocation {
    match upstream {
        None => v1::UpstreamRevocation::Unspecified,
        Some(UpstreamRevocation::NotNeeded) => v1::UpstreamRevocation::NotNeeded,
        Some(UpstreamRevocation::Pending { .. }) => v1::UpstreamRevocation::Pending,
        Some(UpstreamRevocation::Confirmed { .. }) => v1::UpstreamRevocation::Confirmed,
        Some(UpstreamRevocation::Unreachable { .. }) => v1::UpstreamRevocation::Unsupported,
    }
}

fn guard(guard: &Guard) -> v1::Guard {
    v1::Guard {
        policy_id: guard.policy.to_string(),
        groups: guard.groups.iter().map(ToString::to_string).collect(),
        reason: guard.reason.as_str().to_owned(),
    }
}

/// The last step of a credential inside the process.
pub(super) fn credential(credential: Credential) -> v1::Credential {
    let kind = match credential.kind {
        CredentialKind::GithubInstallationToken => v1::CredentialKind::GithubInstallationToken,
        CredentialKind::SignedJwt => v1::CredentialKind::SignedJwt,
        // Never seen: a key that is kept is not released.
        CredentialKind::StaticKey => v1::CredentialKind::Unspecified,
    };
    v1::Credential {
        secret: credential.secret.expose().to_owned(),
        kind: kind.into(),
        expire_time: Some(time(credential.dies)),
        username: "x-access-token".to_owned(),
    }
}

pub(super) fn introspection(found: Introspection) -> v1::IntrospectResponse {
    let grant = &found.grant;
    let expires = match &grant.state {
        GrantState::Active { until } => Some(time(*until)),
        GrantState::Pending { .. }
        | GrantState::Minting { .. }
        | GrantState::Released { .. }
        | GrantState::Expired { .. }
        | GrantState::Revoked { .. }
        | GrantState::Failed { .. }
        | GrantState::Lapsed { .. }
        // Why: it ended between two looks.
        | GrantState::Rejected { .. } => return v1::IntrospectResponse::default(),
    };
    v1::IntrospectResponse {
        active: true,
        grant: grant.id.to_string(),
        session: grant.session.to_string(),
        agent: grant.agent.to_string(),
        person: grant.person.as_ref().map(ToString::to_string).unwrap_or_default(),
        scope: Some(scope(&grant.scope)),
        expire_time: expires,
        confirmation: found
            .confirmation
            .map(|print| URL_SAFE_NO_PAD.encode(print.0))
            .unwrap_or_default(),
        delegators: delegators(&grant.chain),
    }
}

pub(super) fn who_am_i(caller: &Caller) -> v1::WhoAmIResponse {
    let principal = &caller.principal;
    let kind = match principal.kind {
        PrincipalKind::Workload => "workload",
        PrincipalKind::Person => "person",
    };
    let method = match principal.method {
        AuthMethod::Mtls => "mtls",
        AuthMethod::Oidc => "oidc",
        AuthMethod::Unix => "unix",
    };
    let role = |role: &Role| match role {
        Role::Operator => "operator".to_owned(),
        Role::Auditor => "auditor".to_owned(),
        Role::Verifier => "verifier".to_owned(),
    };
    v1::WhoAmIResponse {
        principal: principal.id.to_string(),
        kind: kind.to_owned(),
        authenticated_by: method.to_owned(),
        roles: principal.roles.iter().map(role).collect(),
        session: caller.session.as_ref().map(|record| session(record, 0)),
    }
}
