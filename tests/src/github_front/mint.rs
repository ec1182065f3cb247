//! `POST /app/installations/{id}/access_tokens`: passed on, put on record, and twisted by script.

use axum::body::{Body, Bytes};
use http::Response;
use http::request::Parts;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::behind::Said;
use super::ledger::{Held, Minted, sha256};
use super::script::{Expiry, Script};
use super::{Caller, State, answer, full_name, locked, random_token, relay, repository};
use crate::emulate::Selection;
use crate::loopback::Cut;

impl State {
    /// Mints as the script says; whatever upstream accepted is in the ledger before the answer.
    pub(super) async fn mint(
        &self,
        installation: u64,
        parts: &Parts,
        body: Bytes,
    ) -> Result<Response<Body>, Cut> {
        let script = locked(&self.mints).take();
        if let Some(answer) = answer::of_script(&script, &self.elsewhere(), &self.huge_sent) {
            return Ok(answer);
        }
        let caller = match self.caller(&parts.headers) {
            Ok(caller) => caller,
            Err(message) => return Ok(answer::error(401, message)),
        };
        let said = self.behind(parts, &caller, widened(&script, &body)).await;
        if said.status != 201 {
            return Ok(relay(said));
        }

        let mut told = said.object();
        self.complete_repositories(&mut told);
        let mut truth = self.truth(installation, &told);
        let inner = text(&told, "token");
        twist(&script, &asked_for(&body), &mut told);
        let works = matches!(&script, Script::TokenLength(_)) || text(&told, "token") == inner;
        if works && script.tells() {
            truth.sha256 = sha256(&text(&told, "token"));
            truth.delivered = true;
        } else {
            truth.sha256 = sha256(&inner);
        }
        let account = match truth.selection {
            Selection::All => self.account(installation, &caller).await,
            Selection::Selected => None,
        };
        locked(&self.ledger).record(truth, Held { inner, account });

        match script {
            Script::CutAfterAccepting => Err(Cut),
            Script::ServerErrorAfterAccepting => Ok(answer::error(502, "Server Error")),
            Script::Slow(late) => {
                tokio::time::sleep(late).await;
                Ok(spoken(&said, Value::Object(told).to_string()))
            }
            Script::TruncatedJson => {
                let whole = Value::Object(told).to_string();
                Ok(spoken(&said, whole[..whole.len() / 2].to_owned()))
            }
            _ => Ok(spoken(&said, Value::Object(told).to_string())),
        }
    }

    /// The emulator names five fields of a repository; GitHub's contract asks for all of them.
    fn complete_repositories(&self, told: &mut Map<String, Value>) {
        if let Some(Value::Array(list)) = told.get_mut("repositories") {
            for entry in list {
                if let Value::Object(known) = entry {
                    *entry = repository::complete(self.api(), known);
                }
            }
        }
    }

    /// What the token opens in fact, read from the answer before it is twisted.
    fn truth(&self, installation: u64, told: &Map<String, Value>) -> Minted {
        let all = told.get("repository_selection").is_some_and(|selection| selection == "all");
        let listed = told.get("repositories").and_then(Value::as_array);
        Minted {
            sha256: String::new(),
            at: (self.clock)(),
            expires: text(told, "expires_at").parse().unwrap_or(Timestamp::MAX),
            installation,
            permissions: told
                .get("permissions")
                .and_then(|map| serde_json::from_value(map.clone()).ok())
                .unwrap_or_default(),
            selection: if all { Selection::All } else { Selection::Selected },
            repositories: listed
                .into_iter()
                .flatten()
                .filter_map(Value::as_object)
                .filter_map(full_name)
                .collect(),
            delivered: false,
            revoked: None,
        }
    }

    async fn account(&self, installation: u64, caller: &Caller) -> Option<String> {
        let said = self.get(caller, &format!("/app/installations/{installation}")).await;
        Some(said.object().get("account")?.get("login")?.as_str()?.to_owned())
    }
}

impl Script {
    /// Whether a client can read the token from the answer.
    fn tells(&self) -> bool {
        !matches!(
            self,
            Self::ServerErrorAfterAccepting | Self::CutAfterAccepting | Self::TruncatedJson
        )
    }
}

/// The request that upstream gets: without the limits that the script is to overstep.
fn widened(script: &Script, body: &Bytes) -> Bytes {
    let dropped: &[&str] = match script {
        Script::BroaderPermissions => &["permissions"],
        Script::BroaderRepositories | Script::AllRepositories => {
            &["repositories", "repository_ids"]
        }
        _ => return body.clone(),
    };
    let mut asked = asked_for(body);
    for field in dropped {
        asked.remove(*field);
    }
    Bytes::from(Value::Object(asked).to_string())
}

fn asked_for(body: &Bytes) -> Map<String, Value> {
    serde_json::from_slice(body).unwrap_or_default()
}

/// Changes the answer. Where the installation has nothing more to give, something is made up.
fn twist(script: &Script, asked: &Map<String, Value>, told: &mut Map<String, Value>) {
    match script {
        Script::BroaderPermissions if asked.get("permissions") == told.get("permissions") => {
            let permissions = told.entry("permissions").or_insert_with(|| json!({}));
            permissions["administration"] = json!("write");
        }
        Script::BroaderRepositories => {
            let wanted = ["repositories", "repository_ids"]
                .iter()
                .find_map(|field| asked.get(*field)?.as_array())
                .map_or(0, Vec::len);
            told.insert("repository_selection".to_owned(), json!("selected"));
            let listed = told.entry("repositories").or_insert_with(|| json!([]));
            if let Value::Array(list) = listed
                && list.len() <= wanted
            {
                let more = json!({ "id": 999_999, "full_name": "acme/not-asked-for" });
                list.push(repository::complete("", more.as_object().unwrap()));
            }
        }
        Script::AllRepositories => {
            told.insert("repository_selection".to_owned(), json!("all"));
            told.remove("repositories");
        }
        Script::WrongExpiry(wrong) => {
            told.remove("expires_at");
            if let Some(value) = expiry(*wrong) {
                told.insert("expires_at".to_owned(), value);
            }
        }
        Script::TokenLength(length) => {
            told.insert("token".to_owned(), json!(random_token(*length)));
        }
        Script::EmptyToken => {
            told.insert("token".to_owned(), json!(""));
        }
        Script::TokenWithCrlf => {
            let token = format!("{}\r\nx-injected: yes", text(told, "token"));
            told.insert("token".to_owned(), json!(token));
        }
        _ => {}
    }
}

fn expiry(wrong: Expiry) -> Option<Value> {
    let now = crate::now();
    match wrong {
        Expiry::Past => Some(json!((now - SignedDuration::from_hours(1)).to_string())),
        Expiry::TenYears => Some(json!((now + SignedDuration::from_hours(87_600)).to_string())),
        Expiry::Absent => None,
        Expiry::Garbage => Some(json!("the day after tomorrow")),
    }
}

fn text(map: &Map<String, Value>, key: &str) -> String {
    map.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn spoken(said: &Said, body: String) -> Response<Body> {
    relay(Said { status: said.status, headers: said.headers.clone(), body: body.into() })
}
