//! `GET /installation/repositories`, which the emulator lacks, and repositories as GitHub
//! describes them: with every field that its contract requires.

use axum::body::Body;
use http::Response;
use http::request::Parts;
use serde_json::{Map, Value, json};

use super::ledger::Held;
use super::{Caller, State, answer, full_name};
use crate::emulate::Selection;

/// More than any seed names.
const MOST_REPOSITORIES: usize = 1000;

/// The links of a repository that are its own URL and one more word.
const LINKS: &[&str] = &[
    "archive",
    "assignees",
    "blobs",
    "branches",
    "collaborators",
    "comments",
    "commits",
    "compare",
    "contents",
    "contributors",
    "deployments",
    "downloads",
    "events",
    "forks",
    "git_commits",
    "git_refs",
    "git_tags",
    "hooks",
    "issue_comment",
    "issue_events",
    "issues",
    "keys",
    "labels",
    "languages",
    "merges",
    "milestones",
    "notifications",
    "pulls",
    "releases",
    "stargazers",
    "statuses",
    "subscribers",
    "subscription",
    "tags",
    "teams",
    "trees",
];

/// The links of an account that are its own URL and one more word.
const ACCOUNT_LINKS: &[&str] = &[
    "events",
    "followers",
    "following",
    "gists",
    "organizations",
    "received_events",
    "repos",
    "starred",
    "subscriptions",
];

impl State {
    /// `GET /installation/repositories`: what the presented token opens, a page at a time.
    pub(super) async fn repositories(&self, parts: &Parts) -> Response<Body> {
        let caller = match self.caller(&parts.headers) {
            Ok(caller) => caller,
            Err(message) => return answer::error(401, message),
        };
        let Caller::Token { minted, held } = &caller else {
            return answer::bad_credentials();
        };
        let names = match minted.selection {
            Selection::Selected => minted.repositories.clone(),
            Selection::All => self.account_repositories(&caller, held).await,
        };
        let (per_page, page) =
            (query(parts, "per_page", 30).clamp(1, 100), query(parts, "page", 1).max(1));
        let mut list = Vec::new();
        for name in names.iter().skip((page - 1) * per_page).take(per_page) {
            let mut known = self.get(&caller, &format!("/repos/{name}")).await.object();
            known.insert("full_name".to_owned(), json!(name));
            list.push(complete(self.api(), &known));
        }
        answer::json_answer(
            200,
            &json!({
                "total_count": names.len(), "repository_selection": minted.selection,
                "repositories": list,
            }),
        )
    }

    /// Walks the numbers of the repositories, because the emulator lists none of an organisation.
    async fn account_repositories(&self, caller: &Caller, held: &Held) -> Vec<String> {
        let owned = format!("{}/", held.account.as_deref().unwrap_or_default());
        let mut names = Vec::new();
        for id in 1..=MOST_REPOSITORIES {
            let said = self.get(caller, &format!("/repositories/{id}")).await;
            if said.status == 404 {
                break;
            }
            names.extend(full_name(&said.object()).filter(|name| name.starts_with(&owned)));
        }
        names
    }
}

/// Lays what is known of a repository over a complete description of one.
///
/// `known` has at least `full_name`; `api` is the URL of the API.
pub(super) fn complete(api: &str, known: &Map<String, Value>) -> Value {
    let full_name = known.get("full_name").and_then(Value::as_str).unwrap_or_default();
    let mut whole = blank(api, full_name);
    for (key, value) in known {
        match (key.as_str(), value) {
            ("owner", Value::Object(owner)) => {
                let mut both = account(api, full_name.split('/').next().unwrap_or_default());
                both.extend(owner.clone());
                whole.insert(key.clone(), Value::Object(both));
            }
            _ => {
                whole.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(whole)
}

fn query(parts: &Parts, key: &str, otherwise: usize) -> usize {
    parts
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| *name == key)
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(otherwise)
}

fn blank(api: &str, full_name: &str) -> Map<String, Value> {
    let (owner, name) = full_name.split_once('/').unwrap_or_default();
    let url = format!("{api}/repos/{full_name}");
    let mut whole = object(json!({
        "id": 1, "node_id": "R_1", "name": name, "full_name": full_name, "private": true,
        "owner": account(api, owner), "description": null, "fork": false, "url": url,
        "html_url": format!("{api}/{full_name}"), "clone_url": format!("{api}/{full_name}.git"),
        "git_url": format!("git://github.invalid/{full_name}.git"),
        "ssh_url": format!("git@github.invalid:{full_name}.git"),
        "svn_url": format!("{api}/{full_name}"), "mirror_url": null, "homepage": null,
        "language": null, "license": null, "default_branch": "main", "size": 1,
        "forks": 0, "forks_count": 0, "open_issues": 0, "open_issues_count": 0,
        "stargazers_count": 0, "watchers": 0, "watchers_count": 0,
        "has_downloads": true, "has_issues": true, "has_pages": false, "has_projects": true,
        "has_wiki": true, "archived": false, "disabled": false,
        "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
        "pushed_at": "2026-01-01T00:00:00Z",
    }));
    for link in LINKS {
        whole.insert(format!("{link}_url"), json!(format!("{url}/{link}")));
    }
    whole
}

fn account(api: &str, login: &str) -> Map<String, Value> {
    let url = format!("{api}/users/{login}");
    let mut whole = object(json!({
        "id": 1, "node_id": "O_1", "login": login, "type": "Organization", "site_admin": false,
        "gravatar_id": "", "url": url, "html_url": format!("{api}/{login}"),
        "avatar_url": format!("{api}/avatars/{login}"),
    }));
    for link in ACCOUNT_LINKS {
        whole.insert(format!("{link}_url"), json!(format!("{url}/{link}")));
    }
    whole
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
