//! The one table from refusals to gRPC statuses.
//!
//! Each status carries `google.rpc.ErrorInfo` (a reason that programs compare, the domain, and the
//! words as metadata), and `BadRequest` or `RetryInfo` where that helps the caller.

use std::{collections::HashMap, time::Duration};

use jeton_domain::decision::Denial;
use jeton_proto::ERROR_DOMAIN;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{identity::IdentityError, operation::Refusal, store::StoreError, upstream::MintError};

/// How long a caller waits that was shed, in milliseconds.
const SHED_WAIT: Duration = Duration::from_millis(250);
/// Longest text of a status. Why: it travels in a header, whose size clients limit.
const MESSAGE_BYTES: usize = 1024;

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::NoHandle => status(Code::Unauthenticated, "NO_SESSION_HANDLE", &message, []),
            Refusal::BadHandle => status(Code::Unauthenticated, "BAD_SESSION_HANDLE", &message, []),
            Refusal::Forbidden(_) => status(Code::PermissionDenied, "ROLE_MISSING", &message, []),
            Refusal::Denied(denial) => denied(&denial),
            Refusal::OverBudget(_) => status(Code::ResourceExhausted, "BUDGET_SPENT", &message, []),
            Refusal::Invalid { field, message } => invalid(field, &message),
            Refusal::NotFound(_) => status(Code::NotFound, "NOT_FOUND", &message, []),
            Refusal::State(_) => status(Code::FailedPrecondition, "STATE", &message, []),
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

/// The same refusal for callers of plain HTTP: code and text.
#[must_use]
pub fn plain(status: &Status) -> (http::StatusCode, String) {
    let code = match status.code() {
        Code::Unauthenticated => http::StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => http::StatusCode::FORBIDDEN,
        Code::NotFound | Code::Unimplemented => http::StatusCode::NOT_FOUND,
        Code::InvalidArgument | Code::OutOfRange => http::StatusCode::BAD_REQUEST,
        Code::Unavailable | Code::ResourceExhausted => http::StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => http::StatusCode::GATEWAY_TIMEOUT,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Internal
        | Code::DataLoss => http::StatusCode::INTERNAL_SERVER_ERROR,
    };
    (code, format!("{}\n", status.message()))
}

/// What an answer of plain HTTP counts as.
#[must_use]
pub fn code_of(status: http::StatusCode) -> Code {
    match status {
        http::StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        http::StatusCode::FORBIDDEN => Code::PermissionDenied,
        http::StatusCode::NOT_FOUND | http::StatusCode::METHOD_NOT_ALLOWED => Code::NotFound,
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

/// A part of the request that is not what it must be.
pub fn invalid(field: &'static str, message: &str) -> Status {
    let mut details = details("INVALID", [("field", field.to_owned())]);
    details.add_bad_request_violation(field, message);
    with(Code::InvalidArgument, &format!("{field}: {message}"), details)
}

fn denied(denial: &Denial) -> Status {
    let ids: Vec<&str> = denial.decided_by.policies.iter().map(|id| id.as_str()).collect();
    let metadata = [
        ("layer", denial.layer.word().to_owned()),
        ("policy_ids", ids.join(",")),
        ("policy_hash", denial.decided_by.policy_hash.to_string()),
        ("requestable", denial.requestable.join("\n")),
    ];
    status(Code::PermissionDenied, "DENIED", &denial.reason, metadata)
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
        | StoreError::Stopped(_)
        | StoreError::TooManyPending(_)
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
    let mut end = message.len().min(MESSAGE_BYTES);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    Status::with_error_details(code, message.get(..end).unwrap_or_default(), details)
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
    fn a_busy_broker_says_when_to_come_back() {
        let details = shed().get_error_details();
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(SHED_WAIT));
    }
}
