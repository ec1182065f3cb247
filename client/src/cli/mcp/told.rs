//! What tools tell: the one thing that results are made of.
//!
//! Invariant: each constructor takes what has no place for a secret, a `GrantInfo` and never a `Granted`.
//! The texts are for models: short, and without control characters and marks of text direction.
//!
//! Why text alone and no structured content: clients show a model either the one or the other, and the
//! words are what teaches.

use jeton_client::{GrantInfo, Page, PolicyAnswer, PolicyRow, Scope, SessionInfo};
use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock};

use crate::cli::{
    by::By,
    failure::Failure,
    output::{clean, code, table},
    show, span,
};

/// Rows that are told of a session. Why: a model reads all of them each time.
const ROWS: usize = 100;

/// What the broker calls a resource that stands for those that nobody listed.
const UNLISTED: &str = "any-other";

/// A text for a model, and whether it did what was asked.
pub struct Told {
    text: String,
    failed: bool,
}

impl Told {
    /// A grant.
    pub fn grant(grant: &GrantInfo) -> Self {
        let mut text = show::grant(grant);
        if grant.state == "active" {
            let id = code(&grant.id);
            text +=
                &format!("\nUse it now. When you are done call `release` with the grant `{id}`.\n");
        }
        Self::done(text)
    }

    /// The newest grants of the session.
    pub fn grants(page: &Page<GrantInfo>) -> Self {
        if page.items.is_empty() {
            return Self::done("no grants yet; call `request`\n".to_owned());
        }
        // Why not its token: there is no tool that takes one.
        let whole = Page { items: page.items.clone(), next: None };
        let more = page.next.as_ref().map(|_| "older ones are left out\n").unwrap_or_default();
        Self::done(show::grants(&whole) + more)
    }

    /// The session, and what it would be given.
    pub fn session(session: &SessionInfo, rows: &[PolicyRow]) -> Self {
        let cells = rows.iter().take(ROWS).map(|row| {
            let longest = row.answer.ttl_seconds.map(|seconds| span::short(seconds.into()));
            let answer = row.answer.answer.clone();
            [row.scope.clone(), answer, longest.unwrap_or_default(), by(&row.answer)]
        });
        let mut text = show::session(session);
        text += &format!("\n{}", table(["SCOPE", "ANSWER", "LONGEST", "BY"], cells));
        if rows.iter().any(|row| row.scope.contains(UNLISTED)) {
            text += &format!("`{UNLISTED}` stands for whatever the catalogue does not list\n");
        }
        if rows.len() > ROWS {
            text += &format!("{} more; `explain` tells of any scope\n", rows.len() - ROWS);
        }
        Self::done(text)
    }

    /// What would be answered to a request.
    pub fn answer(scope: &Scope, answer: &PolicyAnswer) -> Self {
        let scope = scope.to_string();
        let mut text = format!("{}: {}\n", clean(&answer.answer), clean(&scope));
        let mut line = |name: &str, value: &str| {
            text.push_str(&format!("  {:<13} {}\n", format!("{name}:"), clean(value)));
        };
        if let Some(layer) = &answer.layer {
            line("layer", layer);
        }
        if !answer.reason.is_empty() {
            line("why", &answer.reason);
        }
        if let Some(seconds) = answer.ttl_seconds {
            line("longest", &format!("{seconds} s"));
        }
        for guard in &answer.guards {
            let groups = guard.groups.join(", ");
            let (policy, reason) = (&guard.policy_id, &guard.reason);
            line("waits for", &format!("{policy}: {reason} (approved by: {groups})"));
        }
        if !answer.policy_ids.is_empty() {
            line("policies", &answer.policy_ids.join(", "));
        }
        for scope in &answer.requestable {
            let (name, how) = By::Tools.instead(scope);
            line(name, &how);
        }
        if answer.answer != "deny" {
            line("ask for it", &By::Tools.request(&scope));
        }
        Self::done(text)
    }

    /// Why it was not done, and what to do.
    pub fn failure(failure: &Failure) -> Self {
        let mut text = failure.text_by(By::Tools);
        if let Failure::Ended(_) = failure {
            text += "  what to do:   do without it, or call `request` for less\n";
        }
        Self { text, failed: true }
    }

    fn done(text: String) -> Self {
        Self { text, failed: false }
    }
}

impl From<Told> for CallToolResponse {
    fn from(told: Told) -> Self {
        let content = vec![ContentBlock::text(told.text)];
        let result = match told.failed {
            true => CallToolResult::error(content),
            false => CallToolResult::success(content),
        };
        result.into()
    }
}

fn by(answer: &PolicyAnswer) -> String {
    let groups: Vec<_> = answer.guards.iter().flat_map(|guard| guard.groups.clone()).collect();
    if groups.is_empty() { answer.policy_ids.join(", ") } else { groups.join(" or ") }
}

#[cfg(test)]
mod tests {
    use jeton_client::{Granted, IssuedSecret, Secret};
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::{ask, mcp::calls::kept};

    const CANARY: &str = "eyJjYW5hcnkiOjF9.c0ffee.d15ea5e";
    const ID: &str = "gr_00000000000000000000000001";

    fn granted(state: &str) -> Granted {
        let grant = json!({
            "id": ID, "session": "s", "agent": "spiffe://a/b", "scope": "git:acme/api contents:read",
            "state": state, "requested_at": 1, "expires_at": 2, "policy_ids": ["p"], "policy_hash": "h",
            "guards": [{ "policy_id": "p", "groups": ["security"], "reason": "it is\u{202e} production" }],
            "end_reason": "no", "upstream_revocation": "", "renewals": 0, "reason": "r", "entry": 7,
            "delegators": [], "upstream_until": null, "gateway": true,
        });
        let secret = IssuedSecret {
            secret: Secret::new(CANARY.to_owned()),
            kind: "signed_jwt".to_owned(),
            username: CANARY.to_owned(),
            expires_at: None,
        };
        Granted { grant: serde_json::from_value(grant).unwrap(), secret: Some(secret) }
    }

    fn sent(told: Told) -> Value {
        let CallToolResponse::Complete(result) = told.into() else { panic!("it is not complete") };
        serde_json::to_value(result).unwrap()
    }

    #[test]
    fn a_credential_that_came_all_the_same_is_in_no_result() {
        assert!(granted("active").secret.unwrap().secret.expose().contains(CANARY));
        for state in ["active", "pending", "minting", "rejected", "lapsed", "released"] {
            let grant = kept(granted(state));
            let page = Page { items: vec![grant.clone()], next: Some("token".to_owned()) };
            let outcome = match ask::active(kept(granted(state))) {
                Ok(grant) => Told::grant(&grant),
                Err(failure) => Told::failure(&failure),
            };
            for told in [Told::grant(&grant), Told::grants(&page), outcome] {
                let text = sent(told).to_string();
                assert!(text.contains(ID), "{state}: the search would find what is there: {text}");
                assert!(!text.contains(CANARY), "{state}: {text}");
                assert!(!text.contains("c0ffee") && !text.contains('\u{202e}'), "{state}: {text}");
            }
        }
    }

    #[test]
    fn a_grant_that_waits_is_an_error_that_says_who_is_asked_and_how_to_follow_it() {
        let failure = ask::active(kept(granted("pending"))).err().unwrap();
        let sent = sent(Told::failure(&failure));
        assert_eq!(sent["isError"], true);
        assert_eq!(
            sent["content"][0]["text"],
            format!(
                "jeton: grant {ID} for `git:acme/api contents:read` waits for a person\n  \
                 p: it is  production (approved by: security)\n  \
                 wait for it:  call `wait` with the grant `{ID}`\n"
            )
        );
    }

    #[test]
    fn a_grant_that_is_active_is_no_error_and_says_how_to_give_it_back() {
        let sent = sent(Told::grant(&kept(granted("active"))));
        assert_eq!(sent["isError"], false);
        let text = sent["content"][0]["text"].as_str().unwrap();
        assert!(text.contains("for the gateway"), "{text}");
        assert!(text.ends_with(&format!("call `release` with the grant `{ID}`.\n")), "{text}");
    }
}
