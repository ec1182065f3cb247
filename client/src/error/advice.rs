//! What a caller can do about an error: fix, wait, retry or give up.

use std::{fmt, time::Duration};

use super::{Error, ErrorKind};

/// What to do next. Its text is for people and models.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Advice {
    /// Change the request; the same one is refused again.
    FixRequest,
    /// Ask for one of these scopes instead.
    AskInstead(Vec<String>),
    /// Wait until a person approves, then ask again.
    WaitForApproval,
    /// Send the same request again.
    Retry {
        /// After this time, if it is known.
        after: Option<Duration>,
    },
    /// Call as somebody whom the broker knows, in a session that is open.
    Authenticate,
    /// Set this side up as the error says.
    SetUp,
    /// Nothing that the caller can do: tell the platform team.
    GiveUp,
}

impl Error {
    /// What the caller can do.
    #[must_use]
    pub fn advice(&self) -> Advice {
        let after = self.retry_after();
        match self.kind() {
            ErrorKind::Denied if self.requestable().is_empty() => Advice::GiveUp,
            ErrorKind::Denied => Advice::AskInstead(self.requestable().to_vec()),
            ErrorKind::NeedsApproval { .. } => Advice::WaitForApproval,
            ErrorKind::Invalid | ErrorKind::State | ErrorKind::NotFound => Advice::FixRequest,
            ErrorKind::Unauthenticated => Advice::Authenticate,
            ErrorKind::Busy { .. } | ErrorKind::Unavailable => Advice::Retry { after },
            ErrorKind::Upstream if after.is_some() => Advice::Retry { after },
            ErrorKind::Config => Advice::SetUp,
            ErrorKind::Upstream | ErrorKind::Internal => Advice::GiveUp,
        }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FixRequest => f.write_str("fix the request; the same one is refused again"),
            Self::AskInstead(scopes) => write!(f, "ask instead: {}", scopes.join("; ")),
            Self::WaitForApproval => {
                f.write_str("wait until a person approves, then ask again with the same request")
            }
            Self::Retry { after: Some(time) } => {
                write!(f, "try again in {:.1} s", time.as_secs_f64())
            }
            Self::Retry { after: None } => f.write_str("try again later"),
            Self::Authenticate => f.write_str(
                "call with an identity that the broker knows, and the key of an open session",
            ),
            Self::SetUp => f.write_str("set this side up as the text says"),
            Self::GiveUp => f.write_str("give up, or tell the platform team"),
        }
    }
}
