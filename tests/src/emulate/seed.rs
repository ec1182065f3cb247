//! What an emulated GitHub knows when it starts: accounts, repositories, Apps and installations.

use std::collections::BTreeMap;

use serde::Serialize;

/// The whole of it. Repositories belong to an account that is named here too.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Seed {
    pub users: Vec<Account>,
    pub orgs: Vec<Account>,
    pub repos: Vec<Repo>,
    pub apps: Vec<App>,
}

/// A user or an organisation.
#[derive(Clone, Debug, Serialize)]
pub struct Account {
    pub login: String,
}

/// A repository with a first commit on its default branch.
#[derive(Clone, Debug, Serialize)]
pub struct Repo {
    pub owner: String,
    pub name: String,
    pub private: bool,
    auto_init: bool,
}

/// A GitHub App and where it is installed.
#[derive(Clone, Debug, Serialize)]
pub struct App {
    pub app_id: u64,
    pub slug: String,
    pub name: String,
    /// PEM of the RSA key whose public half the emulator checks App JWTs with.
    pub private_key: String,
    pub permissions: Permissions,
    pub installations: Vec<Installation>,
}

/// One installation of an App on an account.
#[derive(Clone, Debug, Serialize)]
pub struct Installation {
    pub installation_id: u64,
    pub account: String,
    pub repository_selection: Selection,
    /// Full names, `owner/name`; not looked at when the selection is `All`.
    pub repositories: Vec<String>,
    pub permissions: Permissions,
}

/// Permission name to level, such as `contents` to `write`.
pub type Permissions = BTreeMap<String, String>;

/// Which repositories of its account an installation reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Selection {
    All,
    Selected,
}

impl Seed {
    /// One organisation with private repositories, one App installed on some of them.
    ///
    /// `repos` are names inside `org`; the installation reaches those in `installed_on`.
    pub fn one_app(app: OneApp<'_>) -> Self {
        let granted = permissions(app.permissions);
        Self {
            users: Vec::new(),
            orgs: vec![Account::named(app.org)],
            repos: app.repos.iter().map(|name| Repo::private(app.org, name)).collect(),
            apps: vec![App {
                app_id: app.app_id,
                slug: format!("app-{}", app.app_id),
                name: format!("App {}", app.app_id),
                private_key: app.private_key.to_owned(),
                permissions: granted.clone(),
                installations: vec![Installation {
                    installation_id: app.installation_id,
                    account: app.org.to_owned(),
                    repository_selection: Selection::Selected,
                    repositories: app
                        .installed_on
                        .iter()
                        .map(|name| format!("{}/{name}", app.org))
                        .collect(),
                    permissions: granted,
                }],
            }],
        }
    }
}

/// The words of [`Seed::one_app`].
pub struct OneApp<'a> {
    pub app_id: u64,
    pub private_key: &'a str,
    pub installation_id: u64,
    pub org: &'a str,
    pub repos: &'a [&'a str],
    pub installed_on: &'a [&'a str],
    pub permissions: &'a [(&'a str, &'a str)],
}

impl Account {
    /// An account of this login.
    pub fn named(login: &str) -> Self {
        Self { login: login.to_owned() }
    }
}

impl Repo {
    /// A private repository.
    pub fn private(owner: &str, name: &str) -> Self {
        Self { owner: owner.to_owned(), name: name.to_owned(), private: true, auto_init: true }
    }

    /// `owner/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }
}

/// Owns the pairs of a permission list.
pub fn permissions(pairs: &[(&str, &str)]) -> Permissions {
    pairs.iter().map(|(name, level)| ((*name).to_owned(), (*level).to_owned())).collect()
}
