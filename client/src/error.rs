//! What went wrong, and what the caller can do about it.

use std::{collections::HashMap, fmt, time::Duration};

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// What kind of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Decided, and refused.
    Denied,
    /// People must approve first.
    NeedsApproval,
    /// The request is not well-formed.
    Invalid,
    /// The broker does not know the caller, or its session is over.
    Unauthenticated,
    /// There is no such thing, or it is not the caller's.
    NotFound,
    /// Too much at once.
    Busy,
    /// The broker can't be reached.
    Unavailable,
    /// The upstream gave no credential.
    Upstream,
    /// The thing is in another state.
    State,
    /// This side is not set up.
    Config,
    /// The broker failed.
    Internal,
}

/// Why a call was not done. Its text is the broker's words.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    reason: String,
    metadata: HashMap<String, String>,
    retry_after: Option<Duration>,
}

impl Error {
    /// Something on this side is not set up.
    #[must_use]
    pub fn config(message: impl Into<String>) -> Self {
        Self::local(ErrorKind::Config, message)
    }

    pub(crate) fn local(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            reason: String::new(),
            metadata: HashMap::new(),
            retry_after: None,
        }
    }

    /// What ended a stream that had begun. What is not the broker's own word is the connection's end.
    pub(crate) fn of_stream(status: Status) -> Self {
        let error = Self::from(status);
        let broken = matches!(error.kind, ErrorKind::Internal | ErrorKind::Unavailable);
        if !broken || !error.reason.is_empty() {
            return error;
        }
        let message = format!("the connection to the broker broke ({})", error.message);
        Self { kind: ErrorKind::Unavailable, message, ..error }
    }

    /// What kind of thing.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The broker's code for it, such as `DENIED`; empty for errors of this side.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Which layer refused: `session`, `stop`, `envelope`, `policy`, `delivery`, `budget` or `upstream`.
    #[must_use]
    pub fn layer(&self) -> Option<&str> {
        self.metadata.get("layer").map(String::as_str)
    }

    /// Policies that refused.
    #[must_use]
    pub fn policy_ids(&self) -> Vec<String> {
        self.listed("policy_ids", ',')
    }

    /// Scopes that would be granted instead.
    #[must_use]
    pub fn requestable(&self) -> Vec<String> {
        self.listed("requestable", '\n')
    }

    /// When a retry makes sense, if the broker said.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What the caller can do: fix, wait for approval, retry, or give up.
    #[must_use]
    pub fn advice(&self) -> String {
        match self.kind {
            ErrorKind::Denied => match self.requestable().as_slice() {
                [] => self.metadata.get("ask").cloned().unwrap_or_else(|| {
                    "give up, or ask the platform team for a policy that allows it".to_owned()
                }),
                scopes => format!("ask for one of these instead: {}", scopes.join("; ")),
            },
            ErrorKind::NeedsApproval => {
                "wait until a person approves, then ask again with the same request".to_owned()
            }
            ErrorKind::Invalid => "fix the request; the same one is refused again".to_owned(),
            ErrorKind::Unauthenticated => {
                "open a new session, and call with the key that it is bound to".to_owned()
            }
            ErrorKind::NotFound => "check the id; ids of others look like missing ones".to_owned(),
            ErrorKind::Busy | ErrorKind::Unavailable => match self.retry_after {
                Some(wait) => format!("try again in {} ms", wait.as_millis()),
                None => "try again later".to_owned(),
            },
            ErrorKind::Upstream => "try again later, or tell the platform team".to_owned(),
            ErrorKind::State => {
                "look at the thing's state; ask for a new one if it is over".to_owned()
            }
            ErrorKind::Config => "set this side up as the text says".to_owned(),
            ErrorKind::Internal => "tell the operator; the broker's log says more".to_owned(),
        }
    }

    /// Whether the very same call may be sent again.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self.kind, ErrorKind::Busy | ErrorKind::Unavailable) && self.reason != "STORE_FULL"
    }

    /// Whether the grant or the session that was spoken of has ended.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.kind, ErrorKind::State | ErrorKind::NotFound | ErrorKind::Unauthenticated)
    }

    fn listed(&self, key: &str, by: char) -> Vec<String> {
        let text = self.metadata.get(key).map_or("", String::as_str);
        text.split(by).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let (reason, metadata) = match details.error_info() {
            Some(info) => (info.reason.clone(), info.metadata.clone()),
            None => (String::new(), HashMap::new()),
        };
        let retry_after = details.retry_info().and_then(|info| info.retry_delay);
        let broken = is_broken(&status, &reason);
        let kind = if broken { ErrorKind::Unavailable } else { kind(status.code(), &reason) };
        Self { kind, message: words(&status, broken), reason, metadata, retry_after }
    }
}

fn kind(code: Code, reason: &str) -> ErrorKind {
    if reason.starts_with("UPSTREAM") {
        return ErrorKind::Upstream;
    }
    match code {
        Code::PermissionDenied => ErrorKind::Denied,
        Code::InvalidArgument | Code::OutOfRange | Code::AlreadyExists => ErrorKind::Invalid,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        Code::NotFound => ErrorKind::NotFound,
        Code::FailedPrecondition | Code::Aborted => ErrorKind::State,
        Code::ResourceExhausted => ErrorKind::Busy,
        Code::Unavailable if reason == "OVERLOADED" || reason == "IN_PROGRESS" => ErrorKind::Busy,
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => ErrorKind::Unavailable,
        Code::Ok | Code::Unknown | Code::Unimplemented | Code::Internal | Code::DataLoss => {
            ErrorKind::Internal
        }
    }
}

/// Whether the connection broke before the broker could say anything.
fn is_broken(status: &Status, reason: &str) -> bool {
    reason.is_empty()
        && (status.code() == Code::Unknown || status.code() == Code::Unavailable)
        && status.message().contains("transport error")
}

/// The broker's words, or better ones where the transport only says that it broke.
fn words(status: &Status, broken: bool) -> String {
    if !broken {
        return status.message().to_owned();
    }
    // Why: with TLS 1.3 a refused client certificate shows as a connection that breaks.
    format!(
        "the connection to the broker broke ({}); if it is up, your certificate was refused: check JETON_CERT and JETON_CA",
        status.message()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    #[test]
    fn a_denial_says_what_to_ask_instead() {
        let metadata = HashMap::from([
            ("layer".to_owned(), "policy".to_owned()),
            ("policy_ids".to_owned(), "a,b".to_owned()),
            ("requestable".to_owned(), "git:x/y contents:read".to_owned()),
        ]);
        let details = ErrorDetails::with_error_info("DENIED", "jeton.dev", metadata);
        let error = Error::from(Status::with_error_details(Code::PermissionDenied, "no", details));
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert_eq!(error.layer(), Some("policy"));
        assert_eq!(error.policy_ids(), ["a", "b"]);
        assert_eq!(error.advice(), "ask for one of these instead: git:x/y contents:read");
    }

    #[test]
    fn a_full_store_is_not_asked_again_at_once() {
        let full = ErrorDetails::with_error_info("STORE_FULL", "jeton.dev", HashMap::new());
        assert!(!Error::from(Status::with_error_details(Code::Unavailable, "", full)).is_passing());
        let busy = ErrorDetails::with_error_info("OVERLOADED", "jeton.dev", HashMap::new());
        assert!(Error::from(Status::with_error_details(Code::Unavailable, "", busy)).is_passing());
    }
}
