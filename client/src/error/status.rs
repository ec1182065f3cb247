//! From gRPC statuses to errors: the one table.

use std::{collections::HashMap, error::Error as _, time::Duration};

use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{Error, ErrorKind, FieldError, chain};

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let (reason, metadata) = match details.error_info() {
            Some(info) => (info.reason.clone(), info.metadata.clone()),
            None => (String::new(), HashMap::new()),
        };
        let retry_after = details.retry_info().and_then(|info| info.retry_delay);
        let mut error = if reason.is_empty() && status.source().is_some() {
            broken_connection(&status)
        } else {
            let kind = kind(status.code(), &reason, retry_after);
            Self::new(kind, status.message())
        };
        error.0.reason = reason;
        error.0.layer = metadata.get("layer").cloned();
        error.0.policy_ids = listed(&metadata, "policy_ids", ',');
        error.0.requestable = listed(&metadata, "requestable", '\n');
        error.0.retry_after = retry_after;
        error.0.fields = details.bad_request().map_or_else(Vec::new, |bad| {
            bad.field_violations
                .iter()
                .map(|violation| FieldError {
                    field: violation.field.clone(),
                    words: violation.description.clone(),
                })
                .collect()
        });
        error
    }
}

fn kind(code: Code, reason: &str, retry_after: Option<Duration>) -> ErrorKind {
    if reason.starts_with("UPSTREAM_") {
        return ErrorKind::Upstream;
    }
    match code {
        Code::PermissionDenied => ErrorKind::Denied,
        Code::InvalidArgument | Code::OutOfRange | Code::AlreadyExists => ErrorKind::Invalid,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        Code::NotFound => ErrorKind::NotFound,
        Code::FailedPrecondition | Code::Aborted => ErrorKind::State,
        Code::ResourceExhausted => ErrorKind::Busy { retry_after },
        Code::Unavailable if retry_after.is_some() => ErrorKind::Busy { retry_after },
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => ErrorKind::Unavailable,
        Code::Ok | Code::Unknown | Code::Unimplemented | Code::Internal | Code::DataLoss => {
            ErrorKind::Internal
        }
    }
}

/// The transport made this status, not the broker: it has a source and no reason.
fn broken_connection(status: &Status) -> Error {
    let behind = status.source().map_or_else(String::new, chain);
    // Why by text: with TLS 1.3 the refusal of a client certificate comes after the handshake, as
    // an alert that reaches us as an i/o error without a type.
    if behind.contains("received fatal alert") {
        let mut error = Error::new(
            ErrorKind::Unauthenticated,
            format!("your certificate was refused ({behind}); check JETON_CERT and JETON_KEY"),
        );
        error.0.reason = "CERTIFICATE_REFUSED".to_owned();
        return error;
    }
    if status.code() == Code::Unknown {
        return Error::new(
            ErrorKind::Unavailable,
            format!(
                "the connection to the broker broke ({behind}); if it does so each time, your certificate was refused: check JETON_CERT and JETON_KEY"
            ),
        );
    }
    let words = match status.code() {
        Code::Cancelled | Code::DeadlineExceeded => "the broker did not answer in time",
        _ => "the broker can't be reached",
    };
    Error::new(ErrorKind::Unavailable, format!("{words} ({behind})"))
}

fn listed(metadata: &HashMap<String, String>, key: &str, by: char) -> Vec<String> {
    let text = metadata.get(key).map_or("", String::as_str);
    text.split(by)
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::error::Advice;
    use tonic_types::ErrorDetails;

    fn refused(code: Code, reason: &str, metadata: &[(&str, &str)]) -> Error {
        let metadata: HashMap<String, String> = metadata
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let details = ErrorDetails::with_error_info(reason, "jeton.dev", metadata);
        Error::from(Status::with_error_details(code, "no", details))
    }

    #[test]
    fn a_denial_says_who_refused_and_what_to_ask_instead() {
        let error = refused(
            Code::PermissionDenied,
            "DENIED",
            &[
                ("layer", "policy"),
                ("policy_ids", "a,b"),
                ("requestable", "git:x/y contents:read\ngit:x/z contents:read"),
            ],
        );
        assert_eq!(*error.kind(), ErrorKind::Denied);
        assert_eq!(error.layer(), Some("policy"));
        assert_eq!(error.policy_ids(), ["a", "b"]);
        assert_eq!(
            error.advice().to_string(),
            "ask instead: git:x/y contents:read; git:x/z contents:read"
        );
    }

    #[test]
    fn a_denial_without_alternative_is_to_be_given_up() {
        let error = refused(Code::PermissionDenied, "ROLE_MISSING", &[]);
        assert_eq!(error.advice(), Advice::GiveUp);
    }

    #[test]
    fn a_refusal_of_the_upstream_is_none_of_the_broker() {
        let error = refused(Code::PermissionDenied, "UPSTREAM_REFUSED", &[("layer", "upstream")]);
        assert_eq!(*error.kind(), ErrorKind::Upstream);
        assert!(!error.is_passing());
    }

    #[test]
    fn a_busy_broker_says_when_to_come_back() {
        let mut details = ErrorDetails::with_error_info("OVERLOADED", "jeton.dev", HashMap::new());
        let after = Some(Duration::from_millis(250));
        details.set_retry_info(after);
        let error = Error::from(Status::with_error_details(Code::Unavailable, "", details));
        assert_eq!(*error.kind(), ErrorKind::Busy { retry_after: after });
        assert_eq!(error.advice().to_string(), "try again in 0.2 s");
        assert!(error.is_passing());
    }

    #[test]
    fn a_full_store_is_not_asked_again_at_once() {
        assert!(!refused(Code::Unavailable, "STORE_FULL", &[]).is_passing());
        assert!(refused(Code::Unavailable, "", &[]).is_passing());
    }

    #[test]
    fn a_wrong_field_is_named() {
        let details = ErrorDetails::with_bad_request_violation("ttl_seconds", "at least 1");
        let status = Status::with_error_details(Code::InvalidArgument, "no", details);
        let error = Error::from(status);
        assert_eq!(error.fields()[0].field, "ttl_seconds");
        assert_eq!(error.advice(), Advice::FixRequest);
    }

    #[test]
    fn an_alert_after_the_handshake_is_a_refused_certificate() {
        let alert = io::Error::new(
            io::ErrorKind::InvalidData,
            "received fatal alert: CertificateUnknown",
        );
        let error = Error::from(Status::from_error(Box::new(alert)));
        assert_eq!(*error.kind(), ErrorKind::Unauthenticated);
        assert!(error.to_string().starts_with("your certificate was refused"));
    }

    #[test]
    fn a_connection_that_breaks_without_a_word_may_be_a_refused_certificate() {
        let broken = io::Error::other("connection closed");
        let error = Error::from(Status::from_error(Box::new(broken)));
        assert_eq!(*error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("your certificate was refused"));
    }
}
