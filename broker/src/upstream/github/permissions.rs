//! The permissions of GitHub Apps, their levels, and what a scope means in them.

use std::collections::BTreeMap;

use jeton_domain::scope::{Action, Scope};
use serde::Serialize;

/// How much of a permission. Ordered: a higher one holds the lower ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Look.
    Read,
    /// Look and change.
    Write,
    /// Everything.
    Admin,
}

/// Each permission once, at one level.
pub type Permissions = BTreeMap<String, Level>;

/// What a token is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// `owner/name`, in lower case.
    pub full_name: String,
    /// The name alone, as `repositories` takes it.
    pub repository: String,
    /// Never empty: an absent list would mean everything that the app may do.
    pub permissions: Permissions,
}

impl Level {
    /// Reads the word for it.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Read, Self::Write, Self::Admin].into_iter().find(|level| level.word() == word)
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

impl Wanted {
    /// Reads a scope as GitHub understands it.
    ///
    /// # Errors
    /// In words for whoever asked, when the resource is no repository or an action is unknown.
    pub fn of(scope: &Scope) -> Result<Self, String> {
        let full_name = scope.resource.as_str();
        let repository = repository(full_name)
            .ok_or_else(|| format!("`{full_name}` is no repository; write `owner/repo`"))?;
        let mut permissions = Permissions::new();
        for action in scope.actions.iter() {
            let level = level(action)?;
            let highest = permissions.entry(action.permission().to_owned()).or_insert(level);
            *highest = level.max(*highest);
        }
        Ok(Self { full_name: full_name.to_owned(), repository: repository.to_owned(), permissions })
    }
}

/// Every action that GitHub Apps know.
pub fn actions() -> Vec<Action> {
    PERMISSIONS
        .iter()
        .flat_map(|(name, levels)| {
            levels.iter().map(move |level| format!("{name}:{}", level.word()))
        })
        .filter_map(|text| Action::parse(&text).ok())
        .collect()
}

/// Why so strict: the name becomes a part of a path.
fn repository(full_name: &str) -> Option<&str> {
    let good = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    let (owner, name) = full_name.split_once('/')?;
    (good(owner) && good(name)).then_some(name)
}

fn level(action: &Action) -> Result<Level, String> {
    let (permission, word) = (action.permission(), action.level());
    let (_, levels) =
        PERMISSIONS.iter().find(|(name, _)| *name == permission).ok_or_else(|| {
            format!(
                "GitHub Apps know no permission `{permission}`; write one such as `contents:read`"
            )
        })?;
    Level::parse(word).filter(|level| levels.contains(level)).ok_or_else(|| {
        let words: Vec<_> = levels.iter().map(|level| level.word()).collect();
        format!("`{permission}` has no level `{word}`; it has {}", words.join(", "))
    })
}

const READ: &[Level] = &[Level::Read];
const WRITE: &[Level] = &[Level::Write];
const READ_WRITE: &[Level] = &[Level::Read, Level::Write];
const READ_WRITE_ADMIN: &[Level] = &[Level::Read, Level::Write, Level::Admin];

/// Permissions by their names in the API, with the levels that each has (GitHub's OpenAPI
/// description, schema `app-permissions`).
const PERMISSIONS: [(&str, &[Level]); 55] = [
    ("actions", READ_WRITE),
    ("administration", READ_WRITE),
    ("artifact_metadata", READ_WRITE),
    ("attestations", READ_WRITE),
    ("checks", READ_WRITE),
    ("code_quality", READ_WRITE),
    ("codespaces", READ_WRITE),
    ("contents", READ_WRITE),
    ("dependabot_secrets", READ_WRITE),
    ("deployments", READ_WRITE),
    ("discussions", READ_WRITE),
    ("environments", READ_WRITE),
    ("issues", READ_WRITE),
    ("merge_queues", READ_WRITE),
    ("metadata", READ_WRITE),
    ("packages", READ_WRITE),
    ("pages", READ_WRITE),
    ("pull_requests", READ_WRITE),
    ("repository_custom_properties", READ_WRITE),
    ("repository_hooks", READ_WRITE),
    ("repository_projects", READ_WRITE_ADMIN),
    ("secret_scanning_alerts", READ_WRITE),
    ("secrets", READ_WRITE),
    ("security_events", READ_WRITE),
    ("single_file", READ_WRITE),
    ("statuses", READ_WRITE),
    ("vulnerability_alerts", READ_WRITE),
    ("workflows", WRITE),
    ("custom_properties_for_organizations", READ_WRITE),
    ("members", READ_WRITE),
    ("organization_administration", READ_WRITE),
    ("organization_custom_roles", READ_WRITE),
    ("organization_custom_org_roles", READ_WRITE),
    ("organization_custom_properties", READ_WRITE_ADMIN),
    ("organization_copilot_seat_management", READ_WRITE),
    ("organization_copilot_agent_settings", READ_WRITE),
    ("organization_announcement_banners", READ_WRITE),
    ("organization_events", READ),
    ("organization_hooks", READ_WRITE),
    ("organization_personal_access_tokens", READ_WRITE),
    ("organization_personal_access_token_requests", READ_WRITE),
    ("organization_plan", READ),
    ("organization_projects", READ_WRITE_ADMIN),
    ("organization_packages", READ_WRITE),
    ("organization_secrets", READ_WRITE),
    ("organization_self_hosted_runners", READ_WRITE),
    ("organization_user_blocking", READ_WRITE),
    ("email_addresses", READ_WRITE),
    ("followers", READ_WRITE),
    ("git_ssh_keys", READ_WRITE),
    ("gpg_keys", READ_WRITE),
    ("interaction_limits", READ_WRITE),
    ("profile", WRITE),
    ("starring", READ_WRITE),
    ("enterprise_custom_properties_for_organizations", READ_WRITE_ADMIN),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(scope: &str) -> Result<Wanted, String> {
        Wanted::of(&Scope::parse(scope).unwrap())
    }

    #[test]
    fn several_levels_of_one_permission_become_the_highest() {
        let wanted = wanted("github:acme/api contents:read,contents:write,issues:read").unwrap();
        assert_eq!(wanted.full_name, "acme/api");
        assert_eq!(wanted.repository, "api");
        let expected = [("contents", Level::Write), ("issues", Level::Read)];
        assert_eq!(
            wanted.permissions,
            expected.map(|(name, level)| (name.to_owned(), level)).into()
        );
    }

    #[test]
    fn what_github_does_not_know_is_refused_in_words_that_help() {
        for (scope, words) in [
            ("github:acme contents:read", "`acme` is no repository; write `owner/repo`"),
            ("github:acme/api/x contents:read", "is no repository"),
            ("github:acme/a:b contents:read", "is no repository"),
            ("github:acme/api contnets:read", "no permission `contnets`"),
            (
                "github:acme/api contents:admin",
                "`contents` has no level `admin`; it has read, write",
            ),
            ("github:acme/api workflows:read", "`workflows` has no level `read`; it has write"),
        ] {
            let error = wanted(scope).unwrap_err();
            assert!(error.contains(words), "{scope}: {error}");
        }
    }

    #[test]
    fn every_permission_of_the_table_is_an_action_and_is_understood() {
        let all = actions();
        assert_eq!(all.len(), PERMISSIONS.iter().map(|(_, levels)| levels.len()).sum::<usize>());
        for action in all {
            assert!(wanted(&format!("github:acme/api {action}")).is_ok(), "{action}");
        }
    }
}
