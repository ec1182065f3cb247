//! The one table from refusals to gRPC statuses.
//!
//! Each status carries `google.rpc.ErrorInfo` (a reason that programs compare, the domain, and the
//! words as metadata), and `BadRequest` or `RetryInfo` where that helps the caller. A denial teaches: which
//! layer, which policies, what may be asked for instead and how. `http::problem` makes of the same status
//! what callers of plain HTTP read.

use std::{collections::HashMap, time::Duration};

use jeton_domain::decision::{Denial, Layer};
use jeton_proto::ERROR_DOMAIN;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{identity::IdentityError, operation::Refusal, store::StoreError, upstream::MintError};

/// How long a caller waits that was shed, in milliseconds.
const SHED_WAIT: Duration = Duration::from_millis(250);
/// Longest text of a status. Why: it travels in a header, whose size clients limit.
const MESSAGE_BYTES: usize = 1024;
/// Longest list in a status, of policies or of scopes. Why: as above; text and lists together, in the base64
/// of the header, are under the 8 KiB that many clients and proxies take.
const LIST_BYTES: usize = 1536;

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::NoHandle => status(Code::Unauthenticated, "NO_SESSION_HANDLE", &message, []),
            Refusal::BadHandle => status(Code::Unauthenticated, "BAD_SESSION_HANDLE", &message, []),
            Refusal::Forbidden(_) => status(Code::PermissionDenied, "ROLE_MISSING", &message, []),
            Refusal::Denied(denial) => denied(&denial),
            Refusal::OverBudget(_) => status(Code::ResourceExhausted, "BUDGET_SPENT", &message, []),
            Refusal::Waits(grant) => status(
                Code::FailedPrecondition,
                "NEEDS_APPROVAL",
                &message,
                [("grant", grant.id.to_string())],
            ),
            Refusal::Invalid { field, message } => invalid(field, &message),
            Refusal::NotFound(_) => status(Code::NotFound, "NOT_FOUND", &message, []),
            Refusal::State(_) => status(Code::FailedPrecondition, "STATE", &message, []),
            Refusal::TooMuchOpen(_) => {
                status(Code::ResourceExhausted, "SESSION_LIMIT_REACHED", &message, [])
            }
            Refusal::RequestIdReused => {
                status(Code::AlreadyExists, "REQUEST_ID_REUSED", &message, [])
            }
            Refusal::InProgress => later("IN_PROGRESS", &message, Some(SHED_WAIT)),
            Refusal::Stopping => later("STOPPING", &message, Some(SHED_WAIT)),
            Refusal::Halted(_) => later("HALTED", &message, None),
            Refusal::Store(error) => store(&error, &message),
            Refusal::Upstream(error) => upstream(&error, &message),
            Refusal::Internal(private) => internal(&private),
        }
    }
}

impl From<IdentityError> for Status {
    fn from(error: IdentityError) -> Self {
        if error.is_passing() {
            return later(error.reason(), &error.to_string(), Some(SHED_WAIT));
        }
        status(Code::Unauthenticated, error.reason(), &error.to_string(), [])
    }
}

/// More requests are in work than the process takes.
#[must_use]
pub fn shed() -> Status {
    later("OVERLOADED", "the broker is busy; try again in a moment", Some(SHED_WAIT))
}

/// A request that was not done within its time.
#[must_use]
pub fn too_late(allowed: Duration) -> Status {
    let message = format!(
        "the request was not done within {} ms and is given up; what it asked for may still happen, so ask again with the same request_id",
        allowed.as_millis()
    );
    status(Code::DeadlineExceeded, "DEADLINE", &message, [])
}

/// A request whose body did not arrive within its time.
#[must_use]
pub fn late_body(allowed: Duration, grpc: bool) -> Status {
    let message = format!("the body did not arrive within {} s; send it again", allowed.as_secs());
    // Why not for all: plain HTTP would read 504 as the broker's fault.
    match grpc {
        true => status(Code::DeadlineExceeded, "BODY_LATE", &message, []),
        false => invalid("body", &message),
    }
}

/// A request whose body is larger than any may be.
#[must_use]
pub fn long_body(limit: usize) -> Status {
    let message = format!("the body is larger than the limit of {limit} bytes");
    status(Code::OutOfRange, "BODY_TOO_LONG", &message, [])
}

/// What the same refusal is to callers of plain HTTP.
#[must_use]
pub fn http_code(status: &Status) -> http::StatusCode {
    match status.code() {
        Code::Unauthenticated => http::StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => http::StatusCode::FORBIDDEN,
        Code::NotFound | Code::Unimplemented => http::StatusCode::NOT_FOUND,
        Code::InvalidArgument => http::StatusCode::BAD_REQUEST,
        // Only a body that is too long has this code.
        Code::OutOfRange => http::StatusCode::PAYLOAD_TOO_LARGE,
        Code::Unavailable | Code::ResourceExhausted => http::StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => http::StatusCode::GATEWAY_TIMEOUT,
        Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => {
            http::StatusCode::CONFLICT
        }
        Code::Ok | Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => {
            http::StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

/// What an answer of plain HTTP counts as.
#[must_use]
pub fn code_of(status: http::StatusCode) -> Code {
    match status {
        http::StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        http::StatusCode::FORBIDDEN => Code::PermissionDenied,
        http::StatusCode::NOT_FOUND | http::StatusCode::METHOD_NOT_ALLOWED => Code::NotFound,
        http::StatusCode::CONFLICT => Code::FailedPrecondition,
        http::StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        http::StatusCode::GATEWAY_TIMEOUT => Code::DeadlineExceeded,
        other if other.is_client_error() => Code::InvalidArgument,
        other if other.is_server_error() => Code::Internal,
        _ => Code::Ok,
    }
}

/// A path that has no row in the table.
#[must_use]
pub fn unknown_rpc() -> Status {
    status(Code::Unimplemented, "UNKNOWN_RPC", "there is no such call here", [])
}

/// A path of plain HTTP that leads nowhere.
#[must_use]
pub fn nothing_here() -> Status {
    status(Code::NotFound, "NOT_FOUND", "there is nothing at this path", [])
}

/// A part of the request that is not what it must be.
pub fn invalid(field: &'static str, message: &str) -> Status {
    let mut details = details("INVALID", [("field", field.to_owned())]);
    details.add_bad_request_violation(field, cut(message));
    with(Code::InvalidArgument, &format!("{field}: {message}"), details)
}

fn denied(denial: &Denial) -> Status {
    let ids = denial.decided_by.policies.iter().map(|id| id.as_str());
    let requestable = joined(denial.requestable.iter().map(String::as_str), "\n");
    let metadata = [
        ("layer", denial.layer.word().to_owned()),
        ("policy_ids", joined(ids, ",")),
        ("policy_hash", denial.decided_by.policy_hash.to_string()),
        ("ask", way(denial.layer, requestable.is_empty()).to_owned()),
        ("requestable", requestable),
    ];
    status(Code::PermissionDenied, "DENIED", &denial.reason, metadata)
}

/// How the denied gets what it needs, or something like it. What needs an approval is no denial: the pending
/// grant names the groups.
fn way(layer: Layer, nothing_requestable: bool) -> &'static str {
    match (layer, nothing_requestable) {
        (Layer::Session, _) => "open another session (SessionService.OpenSession)",
        (Layer::Stop, _) => {
            "an operator has to lift the stop (GrantService.LiftStop); until then the same is refused again"
        }
        (Layer::Envelope, false) => {
            "ask within `requestable` (GrantService.RequestGrant), or have whoever opens your sessions open one whose envelope holds this (SessionService.OpenSession)"
        }
        (Layer::Envelope, true) => {
            "have whoever opens your sessions open one whose envelope holds this (SessionService.OpenSession)"
        }
        (Layer::Budget, _) => {
            "release what you need no more (GrantService.ReleaseGrant), or wait; GrantService.ListBudgets tells what is left"
        }
        (Layer::Delivery, _) => {
            "use the gateway: `jeton proxy`, `jeton git setup --through-gateway`, or `jeton grant request --for-gateway` (GrantService.RequestGrant, delivery GATEWAY)"
        }
        (Layer::Policy, false) => "ask for one of `requestable` (GrantService.RequestGrant)",
        (Layer::Policy, true) => {
            "no approval lifts this; PolicyService.Survey tells what you may do, and the platform team changes policies"
        }
    }
}

/// The first items of a list, whole, as many as there is room for.
fn joined<'a>(items: impl Iterator<Item = &'a str>, by: &str) -> String {
    let mut text = String::new();
    for item in items {
        if text.len().saturating_add(by.len()).saturating_add(item.len()) > LIST_BYTES {
            break;
        }
        if !text.is_empty() {
            text.push_str(by);
        }
        text.push_str(item);
    }
    text
}

fn store(error: &StoreError, message: &str) -> Status {
    match error {
        StoreError::Busy => later("OVERLOADED", message, Some(SHED_WAIT)),
        StoreError::Full => later("STORE_FULL", message, None),
        StoreError::Broken(private) => internal(private),
        StoreError::NoSession
        | StoreError::NoGrant
        | StoreError::SessionOver
        | StoreError::GrantsUsedUp(_)
        | StoreError::TooManyChildren(_)
        | StoreError::TooManySessions(_)
        | StoreError::SessionBytes(_)
        | StoreError::Stopped(_)
        | StoreError::TooManyPending(_)
        | StoreError::PendingShareUsed
        | StoreError::OverBudget(_)
        | StoreError::ApprovalGone
        | StoreError::AlreadyApproved
        | StoreError::Unreviewed(_)
        | StoreError::NoEntry { .. }
        | StoreError::Conflict(_) => status(Code::FailedPrecondition, "STATE", message, []),
    }
}

fn upstream(error: &MintError, message: &str) -> Status {
    let layer = [("layer", "upstream".to_owned())];
    match error {
        MintError::Refused(_) => status(Code::PermissionDenied, "UPSTREAM_REFUSED", message, layer),
        MintError::NotInstalled(_) => {
            status(Code::FailedPrecondition, "UPSTREAM_NOT_INSTALLED", message, layer)
        }
        MintError::BrokerRefused(_) => {
            // Why not the upstream's words: they are about the broker's key, which is the operator's.
            let text = "the upstream refused the broker itself; tell the platform team";
            status(Code::FailedPrecondition, "UPSTREAM_REFUSED_BROKER", text, layer)
        }
        MintError::RateLimited { retry_after } => {
            later("UPSTREAM_RATE_LIMITED", message, *retry_after)
        }
        MintError::Unavailable(_) => {
            later("UPSTREAM_UNAVAILABLE", message, Some(Duration::from_secs(2)))
        }
        MintError::Lost { .. } => later("UPSTREAM_LOST", message, Some(Duration::from_secs(2))),
        MintError::Unusable { .. } => {
            status(Code::FailedPrecondition, "UPSTREAM_UNUSABLE", message, layer)
        }
    }
}

/// The private text goes to the operator's log; the caller gets none of it.
fn internal(private: &str) -> Status {
    tracing::error!(%private, "a request failed inside the broker");
    status(Code::Internal, "INTERNAL", "the broker failed; the operator's log says why", [])
}

fn later(reason: &'static str, message: &str, wait: Option<Duration>) -> Status {
    let mut details = details(reason, []);
    details.set_retry_info(wait);
    with(Code::Unavailable, message, details)
}

fn status<const N: usize>(
    code: Code,
    reason: &'static str,
    message: &str,
    metadata: [(&str, String); N],
) -> Status {
    with(code, message, details(reason, metadata))
}

fn details<const N: usize>(reason: &'static str, metadata: [(&str, String); N]) -> ErrorDetails {
    let metadata: HashMap<String, String> =
        metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    ErrorDetails::with_error_info(reason, ERROR_DOMAIN, metadata)
}

fn with(code: Code, message: &str, details: ErrorDetails) -> Status {
    Status::with_error_details(code, cut(message), details)
}

fn cut(message: &str) -> &str {
    let mut end = message.len().min(MESSAGE_BYTES);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_private_stays_inside() {
        let private = "/var/lib/jeton/jeton.db: disk I/O error";
        for refusal in [
            Refusal::Internal(private.into()),
            Refusal::Store(StoreError::Broken(private.into())),
            Refusal::Upstream(Box::new(MintError::BrokerRefused(private.into()))),
        ] {
            let status = Status::from(refusal);
            assert!(!format!("{status:?}").contains(private), "{status:?}");
        }
    }

    #[test]
    fn a_denial_tells_layer_policies_and_what_to_ask_instead() {
        use jeton_domain::{
            decision::{Layer, PolicyId},
            grant::DecidedBy,
        };
        let status = Status::from(Refusal::Denied(Box::new(Denial {
            layer: Layer::Policy,
            reason: "the policy `no-main` refuses `contents:write`".into(),
            decided_by: DecidedBy {
                policies: vec![PolicyId::new("no-main")],
                policy_hash: "ab".into(),
                approvals: vec![],
            },
            requestable: vec!["git:acme/api contents:write ref=agent/*".into()],
        })));
        assert_eq!(status.code(), Code::PermissionDenied);
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!(info.reason, "DENIED");
        assert_eq!(info.domain, ERROR_DOMAIN);
        assert_eq!(info.metadata["layer"], "policy");
        assert_eq!(info.metadata["policy_ids"], "no-main");
        assert_eq!(info.metadata["requestable"], "git:acme/api contents:write ref=agent/*");
    }

    #[test]
    fn a_denial_of_any_size_fits_into_a_header_and_cuts_no_item() {
        use jeton_domain::{decision::PolicyId, grant::DecidedBy};
        let lines: Vec<_> =
            (0..64).map(|n| format!("git:{n}/{} a:read", "x".repeat(200))).collect();
        let ids: Vec<_> = (0..500).map(|n| format!("policy-{n}-{}", "y".repeat(40))).collect();
        let status = Status::from(Refusal::Denied(Box::new(Denial {
            layer: Layer::Envelope,
            reason: "ä".repeat(5000),
            decided_by: DecidedBy {
                policies: ids.iter().map(|id| PolicyId::new(id)).collect(),
                policy_hash: "c".repeat(64).into(),
                approvals: vec![],
            },
            requestable: lines.clone(),
        })));
        let header = status.message().len() + status.details().len() * 4 / 3;
        assert!(header < 8 * 1024, "{header}");
        let details = status.get_error_details();
        let metadata = &details.error_info().unwrap().metadata;
        for (key, by, all) in [("requestable", '\n', lines), ("policy_ids", ',', ids)] {
            let told: Vec<_> = metadata[key].split(by).collect();
            assert!(
                told.len() > 3 && all.iter().zip(&told).all(|(all, told)| all == told),
                "{key}"
            );
        }
        assert!(metadata["ask"].contains("SessionService.OpenSession"));
    }

    #[test]
    fn every_layer_says_how_to_go_on() {
        let layers = [
            Layer::Session,
            Layer::Stop,
            Layer::Envelope,
            Layer::Policy,
            Layer::Delivery,
            Layer::Budget,
        ];
        let ways: std::collections::BTreeSet<_> =
            layers.iter().flat_map(|layer| [true, false].map(|none| way(*layer, none))).collect();
        assert_eq!(ways.len(), 8);
        assert!(ways.iter().all(|way| way.contains("Service.") && way.len() < 200));
    }

    #[test]
    fn a_busy_broker_says_when_to_come_back() {
        let details = shed().get_error_details();
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(SHED_WAIT));
    }
}
