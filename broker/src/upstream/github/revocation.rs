//! Taking a token back, and trying it: GitHub's word alone is no proof.

use jeton_domain::{scope::Scope, secret::Secret};
use reqwest::Method;

use super::{
    GithubMinter, answer,
    api::{Answer, Budget, Call},
    failure,
};
use crate::upstream::{RevokeError, Standing};

/// What the server said when it was told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// 204.
    Done,
    /// The token is none any more.
    Gone,
    /// It knows no such call.
    Unknown,
}

impl GithubMinter {
    /// Revokes a token and tries it. `Ok` means that it was seen to be refused.
    pub(super) async fn take_back(
        &self,
        token: &Secret,
        budget: Budget,
    ) -> Result<(), RevokeError> {
        const DELETE: &str = "DELETE /installation/token";
        const TRY: &str = "trying the token";
        let call = self.asked(Method::DELETE, "/installation/token", token, budget);
        let answer = call.await.map_err(|failure| failure.of_revocation(DELETE))?;
        let told = match answer.status.as_u16() {
            204 => Told::Done,
            404 => Told::Unknown,
            _ if is_bad_credential(&answer) => Told::Gone,
            _ => return Err(refused(&answer, DELETE)),
        };
        let path = "/installation/repositories?per_page=1";
        let call = self.asked(Method::GET, path, token, budget);
        let answer = call.await.map_err(|failure| failure.of_revocation(TRY))?;
        match (answer.status.as_u16(), told) {
            _ if is_bad_credential(&answer) => Ok(()),
            // Why: such a server can't be asked again, but it did refuse the token just now.
            (404, Told::Gone) => Ok(()),
            (404, Told::Done | Told::Unknown) => {
                Err(unconfirmed("the server has no call to try the token with"))
            }
            (200..=299, Told::Done) => Err(unconfirmed("it says 204 but the token still works")),
            (200..=299, Told::Gone | Told::Unknown) => Err(unconfirmed("the token still works")),
            _ => Err(refused(&answer, TRY)),
        }
    }

    /// Looks which repositories a token opens.
    pub(super) async fn standing(
        &self,
        token: &Secret,
        scope: &Scope,
        budget: Budget,
    ) -> Result<Standing, RevokeError> {
        const LOOK: &str = "GET /installation/repositories";
        let path = "/installation/repositories?per_page=2";
        let call = self.asked(Method::GET, path, token, budget);
        let answer = call.await.map_err(|failure| failure.of_revocation(LOOK))?;
        match answer.status.as_u16() {
            200 => answer::opened(&answer, &scope.resource)
                .ok_or_else(|| unconfirmed("it does not say which repositories the token opens")),
            _ if is_bad_credential(&answer) => Ok(Standing::Gone),
            _ => Err(refused(&answer, LOOK)),
        }
    }

    async fn asked(
        &self,
        method: Method,
        path: &str,
        token: &Secret,
        budget: Budget,
    ) -> Result<Answer, failure::Failure> {
        let call = Call { method, path: path.to_owned(), bearer: token, body: None, budget };
        self.api.call(call).await
    }
}

/// 401, or the 403 that some servers say instead.
fn is_bad_credential(answer: &Answer) -> bool {
    match answer.status.as_u16() {
        401 => true,
        403 => failure::message(answer).is_some_and(|said| said.contains("Bad credentials")),
        _ => false,
    }
}

fn refused(answer: &Answer, call: &str) -> RevokeError {
    failure::of_status(answer, None).of_revocation(call)
}

fn unconfirmed(words: &str) -> RevokeError {
    RevokeError { reason: words.to_owned(), retry_after: None }
}
