//! `Debug` for the messages that carry a secret: prost would print it.

use std::fmt;

use crate::v1::{Credential, IntrospectRequest, OpenSessionResponse};

/// What stands where a secret would.
const HIDDEN: &str = "[hidden]";

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("secret", &HIDDEN)
            .field("kind", &self.kind)
            .field("expire_time", &self.expire_time)
            .field("username", &self.username)
            .finish()
    }
}

impl fmt::Debug for OpenSessionResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenSessionResponse")
            .field("session", &self.session)
            .field("handle", &HIDDEN)
            .finish()
    }
}

impl fmt::Debug for IntrospectRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntrospectRequest")
            .field("credential", &HIDDEN)
            .field("audience", &self.audience)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{RenewGrantResponse, RequestGrantResponse};

    const CANARY: &str = "canary-7f3a";

    #[test]
    fn a_secret_never_shows_in_debug() {
        let credential =
            Credential { secret: CANARY.into(), username: "seen".into(), ..Default::default() };
        let texts = [
            format!("{credential:?}"),
            format!(
                "{:?}",
                RequestGrantResponse { credential: Some(credential.clone()), grant: None }
            ),
            format!("{:?}", RenewGrantResponse { credential: Some(credential), grant: None }),
            format!("{:?}", OpenSessionResponse { handle: CANARY.into(), session: None }),
            format!(
                "{:?}",
                IntrospectRequest { credential: CANARY.into(), audience: "seen".into() }
            ),
        ];
        assert!(texts[0].contains("seen"), "the positive control is printed");
        for text in texts {
            assert!(!text.contains(CANARY), "{text}");
        }
    }
}
