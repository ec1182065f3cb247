//! The only file that names both the wire's types and ours.

use jeton_domain::{
    decision::Delivery,
    scope::{Scope, ScopeBound},
    secret::Secret,
};
use jeton_proto::v1;

use crate::{
    approvals::{ApprovalInfo, ApproverGroupInfo, GivenApprovalInfo},
    audit::{EntryInfo, Summary, SummaryPart},
    emergencies::EmergencyInfo,
    error::{Error, ErrorKind},
    policies::{PolicyAnswer, PolicyRow},
    revocations::{EndedGrant, RevocationWord},
    types::{
        BudgetInfo, DelegatorInfo, GrantInfo, Granted, GuardInfo, Introspection, IssuedSecret,
        LostInfo, Revoked, SessionInfo, StopInfo, WhoAmI,
    },
};

/// What is missing from an answer that must have it.
pub(crate) fn missing(what: &str) -> Error {
    Error::local(
        ErrorKind::Internal,
        format!("the broker's answer has no {what}; is it of another version?"),
    )
}

pub(crate) fn scope(scope: &Scope) -> v1::Scope {
    v1::Scope {
        upstream: scope.upstream.to_string(),
        resource: scope.resource.to_string(),
        actions: scope.actions.iter().map(ToString::to_string).collect(),
        r#ref: scope.git_ref.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

pub(crate) fn bound(bound: &ScopeBound) -> v1::Scope {
    v1::Scope {
        upstream: bound.upstream.to_string(),
        resource: bound.resource.to_string(),
        actions: bound.actions.iter().map(ToString::to_string).collect(),
        r#ref: bound.git_ref.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

pub(crate) fn delivery(delivery: Option<Delivery>) -> v1::Delivery {
    match delivery {
        None => v1::Delivery::Unspecified,
        Some(Delivery::Direct) => v1::Delivery::Direct,
        Some(Delivery::Gateway) => v1::Delivery::Gateway,
    }
}

pub(crate) fn session(session: v1::Session) -> SessionInfo {
    let state = word(session.state().as_str_name(), "SESSION_STATE_");
    let envelope = session.envelope.unwrap_or_default();
    SessionInfo {
        id: session.id,
        agent: session.agent,
        person: session.person,
        opener: session.opener,
        task: session.task,
        envelope: envelope.scopes.iter().map(scope_text).collect(),
        max_grants: envelope.max_grants,
        max_grant_ttl_seconds: envelope.max_ttl_seconds,
        opened_at: millis(session.open_time).unwrap_or(0),
        expires_at: millis(session.expire_time).unwrap_or(0),
        state,
        binding: session.binding,
        grants_used: session.grants_used,
        close_reason: session.close_reason,
        delegators: delegators(session.delegators),
        issuers: session.issuers,
    }
}

fn delegators(links: Vec<v1::Delegator>) -> Vec<DelegatorInfo> {
    links
        .into_iter()
        .map(|v1::Delegator { session, agent }| DelegatorInfo { session, agent })
        .collect()
}

pub(crate) fn revoked(answer: v1::RevokeMatchingResponse) -> Revoked {
    Revoked {
        revoked: answer.revoked,
        upstream_pending: answer.upstream_pending,
        upstream_unsupported: answer.upstream_unsupported,
        upstream_confirmed: answer.upstream_confirmed,
        upstream_until: millis(answer.upstream_until),
        sessions_closed: answer.sessions_closed,
        grants: answer.grants,
    }
}

pub(crate) fn revocations(word: v1::WatchRevocationsResponse) -> RevocationWord {
    let ended = |ended: v1::EndedGrant| EndedGrant {
        grant: ended.grant,
        // Why for ever: what is not known to be dead must be remembered.
        until: millis(ended.until).unwrap_or(i64::MAX),
        entry: ended.entry_index,
    };
    RevocationWord {
        ended: word.ended.into_iter().map(ended).collect(),
        next: word.next_index,
        caught_up: word.caught_up,
    }
}

pub(crate) fn budget(budget: v1::Budget) -> BudgetInfo {
    let v1::Budget {
        name,
        per,
        whom,
        live,
        max_live,
        begun,
        max_begun,
        seconds,
        wait_seconds,
        calls,
        max_calls,
    } = budget;
    BudgetInfo {
        name,
        per,
        whom,
        live,
        max_live,
        begun,
        max_begun,
        seconds,
        wait_seconds,
        calls,
        max_calls,
    }
}

pub(crate) fn emergency(one: v1::Emergency) -> EmergencyInfo {
    let v1::Emergency { entry_index, glass, by, grant, session, reason, time } = one;
    let at = millis(time).unwrap_or(0);
    EmergencyInfo { entry: entry_index, glass, by, grant, session, reason, at }
}

pub(crate) fn lost(lost: v1::LostGrant) -> Option<LostInfo> {
    let v1::LostGrant { grant: of, layer, reason, policy_ids } = lost;
    Some(LostInfo { grant: grant(of?), layer, reason, policy_ids })
}

pub(crate) fn stop(stop: v1::Stop) -> StopInfo {
    use v1::stop::Matching as Wire;
    let matching = match stop.matching {
        Some(Wire::Agent(name)) => format!("agent {name}"),
        Some(Wire::Person(name)) => format!("person {name}"),
        Some(Wire::Resource(name)) => format!("resource {name}"),
        Some(Wire::Upstream(name)) => format!("upstream {name}"),
        Some(Wire::All(_)) => "everything".to_owned(),
        None => "what this program does not know".to_owned(),
    };
    let since = millis(stop.since).unwrap_or(0);
    StopInfo { matching, by: stop.by, reason: stop.reason, since }
}

pub(crate) fn grant(grant: v1::Grant) -> GrantInfo {
    let state = word(grant.state().as_str_name(), "GRANT_STATE_");
    let upstream = word(grant.upstream_revocation().as_str_name(), "UPSTREAM_REVOCATION_");
    GrantInfo {
        id: grant.id,
        session: grant.session,
        agent: grant.agent,
        scope: grant.scope.as_ref().map(scope_text).unwrap_or_default(),
        state,
        requested_at: millis(grant.request_time).unwrap_or(0),
        expires_at: millis(grant.expire_time),
        policy_ids: grant.policy_ids,
        policy_hash: grant.policy_hash,
        guards: grant.guards.into_iter().map(guard).collect(),
        end_reason: grant.end_reason,
        upstream_revocation: if upstream == "unspecified" { String::new() } else { upstream },
        renewals: grant.renewals,
        reason: grant.reason,
        entry: grant.entry_index,
        gateway: grant.delivery == i32::from(v1::Delivery::Gateway),
        delegators: delegators(grant.delegators),
        upstream_until: millis(grant.upstream_until),
    }
}

pub(crate) fn approval(approval: v1::Approval) -> Result<ApprovalInfo, Error> {
    let group = |group: v1::ApproverGroup| ApproverGroupInfo {
        name: group.name,
        quorum: group.quorum,
        reason_required: group.reason_required,
        session_grants: group.session_grants,
        session_seconds: group.session_seconds,
        yours: group.yours,
    };
    let given = |given: v1::GivenApproval| GivenApprovalInfo {
        by: given.by,
        groups: given.groups,
        at: millis(given.time).unwrap_or(0),
        reason: given.reason,
        for_session: given.for_session,
        entry: given.entry_index,
    };
    Ok(ApprovalInfo {
        grant: grant(approval.grant.ok_or_else(|| missing("grant"))?),
        session: session(approval.session.ok_or_else(|| missing("session"))?),
        request_hash: approval.request_hash,
        summary: approval.summary,
        groups: approval.groups.into_iter().map(group).collect(),
        given: approval.given.into_iter().map(given).collect(),
        stale: approval.stale,
        answerable: approval.answerable,
        not_answerable: approval.not_answerable,
    })
}

pub(crate) fn granted(
    found: Option<v1::Grant>,
    credential: Option<v1::Credential>,
) -> Result<Granted, Error> {
    let issued = |credential: v1::Credential| {
        let kind = word(credential.kind().as_str_name(), "CREDENTIAL_KIND_");
        IssuedSecret {
            secret: Secret::new(credential.secret),
            kind,
            username: credential.username,
            expires_at: millis(credential.expire_time),
        }
    };
    let found = found.ok_or_else(|| missing("grant"))?;
    Ok(Granted { grant: grant(found), secret: credential.map(issued) })
}

pub(crate) fn who_am_i(who: v1::WhoAmIResponse) -> WhoAmI {
    WhoAmI {
        principal: who.principal,
        kind: who.kind,
        authenticated_by: who.authenticated_by,
        roles: who.roles,
        session: who.session.map(session),
    }
}

pub(crate) fn introspection(found: v1::IntrospectResponse) -> Introspection {
    Introspection {
        active: found.active,
        grant: found.grant,
        session: found.session,
        agent: found.agent,
        person: found.person,
        scope: found.scope.as_ref().map(scope_text).unwrap_or_default(),
        expires_at: millis(found.expire_time),
        confirmation: found.confirmation,
        delegators: delegators(found.delegators),
    }
}

pub(crate) fn entry(entry: v1::Entry) -> EntryInfo {
    EntryInfo {
        index: entry.index,
        at: millis(entry.time).unwrap_or(0),
        event: entry.event,
        outcome: entry.outcome,
        line: entry.line,
        text: entry.text,
    }
}

pub(crate) fn summary(summary: v1::SummariseResponse) -> Summary {
    let part = |part: v1::summarise_response::Part| SummaryPart {
        start: millis(part.start_time).unwrap_or(0),
        counts: part.counts.into_iter().map(|count| (count.value, count.count)).collect(),
    };
    Summary {
        parts: summary.parts.into_iter().map(part).collect(),
        looked_at: summary.looked_at,
        part: Some(summary.part).filter(|part| !part.is_empty()),
    }
}

fn guard(guard: v1::Guard) -> GuardInfo {
    let v1::Guard { policy_id, groups, reason } = guard;
    GuardInfo { policy_id, groups, reason }
}

pub(crate) fn policy_answer(answer: v1::PolicyAnswer) -> PolicyAnswer {
    PolicyAnswer {
        answer: answer.answer,
        ttl_seconds: Some(answer.ttl_seconds).filter(|seconds| *seconds > 0),
        policy_ids: answer.policy_ids,
        guards: answer.guards.into_iter().map(guard).collect(),
        reason: answer.reason,
        layer: Some(answer.layer).filter(|layer| !layer.is_empty()),
        requestable: answer.requestable,
        delivery: match v1::Delivery::try_from(answer.delivery) {
            Ok(v1::Delivery::Direct) => Some(Delivery::Direct),
            Ok(v1::Delivery::Gateway) => Some(Delivery::Gateway),
            Ok(v1::Delivery::Unspecified) | Err(_) => None,
        },
    }
}

pub(crate) fn policy_row(row: v1::SurveyRow) -> Result<PolicyRow, Error> {
    Ok(PolicyRow {
        agent: row.agent,
        scope: scope_text(&row.scope.ok_or_else(|| missing("scope"))?),
        answer: policy_answer(row.answer.ok_or_else(|| missing("answer"))?),
    })
}

fn scope_text(scope: &v1::Scope) -> String {
    let text = format!("{}:{} {}", scope.upstream, scope.resource, scope.actions.join(","));
    if scope.r#ref.is_empty() { text } else { format!("{text} ref={}", scope.r#ref) }
}

fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}

pub(crate) fn millis(time: Option<prost_types::Timestamp>) -> Option<i64> {
    time.map(|time| {
        time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanos) / 1_000_000)
    })
}
