//! Session handles: made, checked, and held against the key that they are bound to.
//!
//! A handle is `jeton_s_<session id>_<secret>`; the secret is an HMAC of the id, so that a retry of
//! opening a session gives the same handle and the store keeps only its hash.

use std::sync::Arc;

use jeton_domain::{
    accountable::AccountableSubject,
    id::SessionId,
    principal::Principal,
    secret::{Secret, same_bytes, sha256},
    session::SessionState,
};
use ring::hmac;

use super::{Broker, Refusal, denial_log::record_failure};
use crate::store::{SessionRecord, StoreError};

/// What every handle begins with, so that scanners find a lost one.
const PREFIX: &str = "jeton_s_";
/// Longest handle, in bytes. Why: prefix, 26 characters, 64 of hex; anything longer is no handle.
const MOST: usize = 128;

/// Makes and checks handles with one key.
pub struct Handles(hmac::Key);

impl Handles {
    /// Takes a key of 32 bytes.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The handle of a session.
    #[must_use]
    pub fn handle(&self, id: SessionId) -> Secret {
        let tag = hmac::sign(&self.0, id.to_string().as_bytes());
        let secret = jeton_domain::secret::hex(tag.as_ref());
        Secret::new(format!("{PREFIX}{}_{secret}", id.to_string().trim_start_matches("se_")))
    }

    /// The session that a handle names. Says nothing yet about whether it is a real one.
    #[must_use]
    fn named(handle: &Secret) -> Option<SessionId> {
        let text = handle.expose();
        let (id, _) = text.strip_prefix(PREFIX).filter(|_| text.len() <= MOST)?.split_once('_')?;
        SessionId::parse(&format!("se_{id}")).ok()
    }
}

/// The session that a handle opens for this caller.
///
/// # Errors
/// `BadHandle` whether the handle is mistyped, unknown, of a closed session or bound to another key.
async fn find(
    broker: &Broker,
    handle: &Secret,
    principal: &Principal,
) -> Result<Arc<SessionRecord>, Refusal> {
    let id = Handles::named(handle).ok_or(Refusal::BadHandle)?;
    let record = match broker.store.session(id).await {
        Ok(record) => record,
        Err(StoreError::NoSession) => return Err(Refusal::BadHandle),
        Err(error) => return Err(error.into()),
    };
    let right = same_bytes(&sha256(handle.expose().as_bytes()), &record.session.handle_hash);
    let open = record.state == SessionState::Open && broker.clock.now() < record.session.deadline;
    // Why the proof of the key here and nowhere else: no operation gets a session without it.
    if right && open && record.session.binding.is_proved_by(&principal.keys) {
        Ok(record)
    } else {
        Err(Refusal::BadHandle)
    }
}

/// The same, with a rejected token recorded.
///
/// # Errors
/// As [`find`].
pub async fn session_of(
    broker: &Broker,
    handle: &Secret,
    principal: &Principal,
) -> Result<Arc<SessionRecord>, Refusal> {
    find(broker, handle, principal).await.inspect_err(|refusal| {
        if let Refusal::BadHandle = refusal {
            let subject = AccountableSubject::Principal(principal.id.clone());
            record_failure(broker, &subject, "BAD_SESSION_HANDLE", "session");
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jeton_domain::id::{Row, Tag};

    #[test]
    fn a_handle_names_its_session_and_nothing_else_does() {
        let id = SessionId::new(Row::new(5).unwrap(), Tag([3; 10]));
        let handle = Handles::new(&[1; 32]).handle(id);
        assert_eq!(Handles::named(&handle), Some(id));
        assert!(handle.is(&Handles::new(&[1; 32]).handle(id)), "the same again");
        assert!(!handle.is(&Handles::new(&[2; 32]).handle(id)));
        for text in ["", "jeton_s_", "jeton_s_x_y", &"jeton_s_".repeat(40)] {
            assert_eq!(Handles::named(&Secret::new(text.to_owned())), None, "{text}");
        }
    }
}
