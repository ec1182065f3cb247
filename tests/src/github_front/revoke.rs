//! `DELETE /installation/token`, which the emulator lacks: done, failed or lied about by script.

use axum::body::Body;
use http::Response;
use http::request::Parts;

use super::ledger::{Revocation, sha256};
use super::script::Script;
use super::{State, answer, locked, secret};
use crate::loopback::Cut;

impl State {
    /// Ends the presented token, as far as the script lets it.
    pub(super) async fn revoke(&self, parts: &Parts) -> Result<Response<Body>, Cut> {
        let script = locked(&self.revokes).take();
        let presented = secret(&parts.headers).unwrap_or_default();
        let (took_effect, answer) =
            match answer::of_script(&script, &self.elsewhere(), &self.huge_sent) {
                Some(answer) => (false, Ok(answer)),
                None if self.live(presented).is_none() => (false, Ok(answer::bad_credentials())),
                None => match &script {
                    Script::RevokeLies => (false, Ok(answer::empty(204))),
                    Script::RevokeFails(status) => {
                        (false, Ok(answer::error(*status, "The revocation failed")))
                    }
                    Script::CutAfterAccepting => (true, Err(Cut)),
                    Script::ServerErrorAfterAccepting => {
                        (true, Ok(answer::error(502, "Server Error")))
                    }
                    _ => (true, Ok(answer::empty(204))),
                },
            };

        locked(&self.ledger).note(Revocation {
            sha256: sha256(presented),
            at: (self.clock)(),
            status: answer.as_ref().ok().map(|answer| answer.status().as_u16()),
            took_effect,
        });
        if let Script::Slow(late) = script {
            tokio::time::sleep(late).await;
        }
        answer
    }
}
