//! What stands behind the front: the emulator, or nothing but a seed and the front's own ledger.

use std::collections::BTreeSet;

use axum::body::Bytes;
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING,
};
use http::{HeaderMap, Method};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::ledger::Minted;
use super::random_token;
use crate::emulate::{Installation, Seed, Selection};

/// Where the front gets its answers from.
pub enum Behind {
    /// The base URL of a running emulator.
    Emulator(String),
    /// No server: the front mints by itself for the installations of this seed. App JWTs are not
    /// verified beyond their claims, and of the API only what tokens need is there.
    Nothing(Seed),
}

/// One call, with the credential already looked at.
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) target: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: Bytes,
    pub(super) credential: Credential<'a>,
    pub(super) now: Timestamp,
}

/// Who calls, as the upstream is to see it.
#[derive(Clone, Copy)]
pub(super) enum Credential<'a> {
    App {
        jwt: &'a str,
        issuer: &'a str,
    },
    Token {
        inner: &'a str,
        minted: &'a Minted,
    },
    /// None, or one that the front has no part in: passed on as it is.
    Other,
}

/// What it answered.
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Said {
    /// The body as a JSON object, empty if it is none.
    pub(super) fn object(&self) -> Map<String, Value> {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    fn json(status: u16, body: &Value) -> Self {
        let body = Bytes::from(body.to_string());
        let headers = [("content-type", "application/json")]
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        Self { status, headers: HeaderMap::from_iter(headers), body }
    }

    fn error(status: u16, message: &str) -> Self {
        Self::json(status, &json!({ "message": message }))
    }
}

/// Passes a call on to an emulator at `base`.
pub(super) async fn forward(client: &reqwest::Client, base: &str, asked: Asked<'_>) -> Said {
    let mut headers = asked.headers.clone();
    // `Accept-Encoding` goes too: the front reads bodies and does not unpack them.
    for name in [HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, ACCEPT_ENCODING] {
        headers.remove(name);
    }
    let replaced = match asked.credential {
        Credential::App { jwt, .. } => Some(jwt),
        Credential::Token { inner, .. } => Some(inner),
        Credential::Other => None,
    };
    if let Some(secret) = replaced {
        headers.insert(AUTHORIZATION, format!("Bearer {secret}").parse().unwrap());
    }
    let sent = client
        .request(asked.method.clone(), format!("{base}{}", asked.target))
        .headers(headers)
        .body(asked.body)
        .send()
        .await;
    let Ok(response) = sent else {
        return Said::error(502, "nothing answers behind the front");
    };
    let status = response.status().as_u16();
    let mut headers = response.headers().clone();
    for name in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    match response.bytes().await {
        Ok(body) => Said { status, headers, body },
        Err(_) => Said::error(502, "the answer behind the front broke off"),
    }
}

/// Answers a call from a seed.
pub(super) fn pretend(seed: &Seed, asked: &Asked<'_>) -> Said {
    let path = asked.target.split('?').next().unwrap_or_default();
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match (asked.method.as_str(), parts.as_slice(), asked.credential) {
        ("POST", ["app", "installations", id, "access_tokens"], Credential::App { issuer, .. }) => {
            match installation(seed, issuer, |one| one.installation_id.to_string() == *id) {
                Some(found) => mint(seed, found, asked),
                None => Said::error(404, "Not Found"),
            }
        }
        ("GET", ["app", "installations", id], Credential::App { issuer, .. }) => {
            described(installation(seed, issuer, |one| one.installation_id.to_string() == *id))
        }
        ("GET", ["repos", owner, name, "installation"], Credential::App { issuer, .. }) => {
            let full_name = format!("{owner}/{name}");
            described(installation(seed, issuer, |one| reach(seed, one).contains(&full_name)))
        }
        ("GET", ["repos", owner, name], Credential::Token { minted, .. }) => {
            opened(seed, minted, &format!("{owner}/{name}"))
        }
        ("GET", ["repositories", id], Credential::Token { minted, .. }) => {
            let named = by_number(seed, &json!(id.parse::<u64>().unwrap_or_default()));
            opened(seed, minted, &named.unwrap_or_default())
        }
        ("POST", ["app", ..], _) | ("GET", ["app", ..] | ["repos", _, _, "installation"], _) => {
            Said::error(401, "A JSON web token could not be decoded")
        }
        _ => Said::error(404, "Not Found"),
    }
}

fn mint(seed: &Seed, installation: &Installation, asked: &Asked<'_>) -> Said {
    let wanted: Map<String, Value> = serde_json::from_slice(&asked.body).unwrap_or_default();

    let permissions = match wanted.get("permissions").and_then(Value::as_object) {
        Some(map) => map.clone(),
        None => installation.permissions.iter().map(|(k, v)| (k.clone(), json!(v))).collect(),
    };
    let level = |of: Option<&str>| ["read", "write", "admin"].iter().position(|l| Some(*l) == of);
    let too_much = permissions.iter().any(|(name, wanted)| {
        let (wanted, granted) =
            (level(wanted.as_str()), level(installation.permissions.get(name).map(String::as_str)));
        wanted.is_none() || wanted > granted
    });
    if too_much {
        return Said::error(422, "The permissions requested are not granted to this installation.");
    }

    let reach = reach(seed, installation);
    let (selection, names) = match (wanted.get("repositories"), wanted.get("repository_ids")) {
        (Some(Value::Array(list)), None) => {
            let owner = &installation.account;
            let full = list.iter().map(|n| format!("{owner}/{}", n.as_str().unwrap_or_default()));
            (Selection::Selected, full.collect::<BTreeSet<_>>())
        }
        (None, Some(Value::Array(list))) => {
            let named = list.iter().map(|id| by_number(seed, id).unwrap_or_default());
            (Selection::Selected, named.collect())
        }
        (None, None) => (installation.repository_selection, reach.clone()),
        _ => return Said::error(422, "Invalid request."),
    };
    if !names.is_subset(&reach) {
        let message = "There is at least one repository that does not exist or is not accessible \
                       to the parent installation.";
        return Said::error(422, message);
    }

    let lasting = asked.now + SignedDuration::from_hours(1);
    let expires = Timestamp::from_second(lasting.as_second()).unwrap();
    let mut token = json!({
        "token": random_token(40), "expires_at": expires.to_string(), "permissions": permissions,
        "repository_selection": selection,
    });
    if selection == Selection::Selected {
        token["repositories"] = names.iter().filter_map(|name| known(seed, name)).collect();
    }
    Said::json(201, &token)
}

fn installation<'a>(
    seed: &'a Seed,
    issuer: &str,
    wanted: impl Fn(&Installation) -> bool,
) -> Option<&'a Installation> {
    let app = seed.apps.iter().find(|app| app.app_id.to_string() == issuer)?;
    app.installations.iter().find(|one| wanted(one))
}

fn described(installation: Option<&Installation>) -> Said {
    match installation {
        Some(found) => Said::json(
            200,
            &json!({
                "id": found.installation_id, "account": { "login": found.account },
                "repository_selection": found.repository_selection,
                "permissions": found.permissions,
            }),
        ),
        None => Said::error(404, "Not Found"),
    }
}

fn reach(seed: &Seed, installation: &Installation) -> BTreeSet<String> {
    match installation.repository_selection {
        Selection::All => account_repositories(seed, &installation.account),
        Selection::Selected => installation.repositories.iter().cloned().collect(),
    }
}

/// A repository as the bearer of a token sees it: 404 if it does not open it.
fn opened(seed: &Seed, minted: &Minted, full_name: &str) -> Said {
    let installations = seed.apps.iter().flat_map(|app| &app.installations);
    let open = match minted.selection {
        Selection::Selected => minted.repositories.iter().any(|name| name == full_name),
        Selection::All => installations
            .filter(|one| one.installation_id == minted.installation)
            .any(|one| reach(seed, one).contains(full_name)),
    };
    match known(seed, full_name) {
        Some(found) if open => Said::json(200, &found),
        _ => Said::error(404, "Not Found"),
    }
}

fn account_repositories(seed: &Seed, login: &str) -> BTreeSet<String> {
    seed.repos.iter().filter(|repo| repo.owner == login).map(|repo| repo.full_name()).collect()
}

/// Repositories are numbered in the order of the seed, from 1, as the emulator does it.
fn number(seed: &Seed, full_name: &str) -> Option<usize> {
    seed.repos.iter().position(|repo| repo.full_name() == full_name).map(|index| index + 1)
}

fn by_number(seed: &Seed, id: &Value) -> Option<String> {
    let index = usize::try_from(id.as_u64()?).ok()?.checked_sub(1)?;
    seed.repos.get(index).map(|repo| repo.full_name())
}

fn known(seed: &Seed, full_name: &str) -> Option<Value> {
    number(seed, full_name).map(|id| json!({ "id": id, "full_name": full_name, "private": true }))
}
