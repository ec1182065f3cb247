//! The systems that credentials open.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use jeton_domain::{
    jose,
    pattern::NamePattern,
    scope::{Action, Upstream},
};
use reqwest::Url;

use super::{
    gateway::{self, Reach},
    reader::Section,
};
use crate::{
    limits::{CONFIG_TABLES, RECONCILE_SECONDS},
    signer::Ed25519Name,
    upstream::kept::KeyHeader,
};

/// A system that credentials open.
pub struct UpstreamConfig {
    /// Its name.
    pub name: Upstream,
    /// Its kind.
    pub kind: UpstreamKind,
    /// Whether two names that differ in case alone are two resources there.
    pub case_sensitive: bool,
    /// Where it is for the gateway.
    pub reach: Reach,
}

impl UpstreamConfig {
    /// What it calls itself, if it takes the broker's own tokens.
    fn audience(&self) -> Option<&str> {
        match &self.kind {
            UpstreamKind::Signed { audience, .. } => Some(audience),
            UpstreamKind::GithubApp { .. } | UpstreamKind::StaticKey { .. } => None,
        }
    }
}

/// Kinds of upstreams.
pub enum UpstreamKind {
    /// It trusts the broker's signature.
    Signed {
        /// What it calls itself.
        audience: String,
        /// What can be done there.
        actions: Vec<Action>,
        /// Who may ask whether one of its tokens is good; empty: every verifier.
        verifiers: Vec<NamePattern>,
        /// How its tokens name the algorithm Ed25519.
        ed25519: Ed25519Name,
    },
    /// It knows a key that never changes, which only the gateway puts into calls.
    StaticKey {
        /// The file of the key, sealed.
        key: PathBuf,
        /// What can be done there.
        actions: Vec<Action>,
    },
    /// GitHub, by a GitHub App.
    GithubApp {
        /// Where its API is.
        api: String,
        /// The App's number.
        app_id: u64,
        /// The App's private key, in PEM.
        private_key: PathBuf,
        /// Time between two looks at what its tokens open; `None`: nobody looks.
        reconcile_every: Option<Duration>,
    },
}

pub(super) fn read(root: &Section<'_>, folder: &Path) -> Vec<UpstreamConfig> {
    let sections = root.sections("upstream", CONFIG_TABLES);
    if sections.is_empty() && !root.has("upstream") {
        root.wrong("upstream", "there is none; add `[[upstream]]` with `name` and `kind`");
    }
    let mut found: Vec<UpstreamConfig> = Vec::new();
    for section in &sections {
        let Some(upstream) = read_upstream(section, folder) else {
            continue;
        };
        if found.iter().any(|other| other.name == upstream.name) {
            section.wrong("name", "another upstream has this name; names tell them apart");
        }
        let audience = upstream.audience();
        if audience.is_some() && found.iter().any(|other| other.audience() == audience) {
            section.wrong(
                "audience",
                "another upstream has this audience; a token for one would open the other",
            );
        }
        found.push(upstream);
    }
    found
}

fn actions(section: &Section<'_>) -> Vec<Action> {
    let actions = section.parse_all("actions", Action::parse);
    if actions.is_empty() {
        section.wrong(
            "actions",
            "there is none; list what can be done there, such as [\"contents:read\"]",
        );
    }
    actions
}

fn ed25519_name(text: &str) -> Result<Ed25519Name, String> {
    match text {
        "EdDSA" => Ok(Ed25519Name::EdDsa),
        jose::ED25519 => Ok(Ed25519Name::Ed25519),
        other => Err(format!(
            "`{other}` is not EdDSA or Ed25519; it is how tokens name the algorithm of Ed25519 keys"
        )),
    }
}

fn read_upstream(section: &Section<'_>, folder: &Path) -> Option<UpstreamConfig> {
    let name = section.parse("name", Upstream::parse);
    let name = section.require("name", name, "write a short name, such as \"github\"");
    let kind = section.string("kind");
    let kind = section.require("kind", kind, "write \"signed\", \"static-key\" or \"github-app\"");
    let api_url;
    let mut header = None;
    let kind = match kind.as_deref() {
        Some("signed") => {
            api_url = section.parse("api", gateway::base_url);
            let audience = section.string("audience");
            let audience = section.require(
                "audience",
                audience,
                "write what the resource server calls itself, such as \"https://git.acme.dev\"",
            );
            let actions = actions(section);
            let verifiers = section.parse_all("verifiers", NamePattern::parse);
            let ed25519 = section.parse("algorithm", ed25519_name).unwrap_or_default();
            audience.map(|audience| UpstreamKind::Signed { audience, actions, verifiers, ed25519 })
        }
        Some("static-key") => {
            api_url = section.parse("api", gateway::base_url);
            let key = section.file("key", folder);
            let key = section.require(
                "key",
                key,
                "write the file of the key as `jetond seal-key` makes it",
            );
            header = section.parse("header", KeyHeader::parse);
            let actions = actions(section);
            key.map(|key| UpstreamKind::StaticKey { key, actions })
        }
        Some("github-app") => {
            let api = section.string("api").unwrap_or_else(|| "https://api.github.com".to_owned());
            api_url = Url::parse(&api).ok();
            let app_id = section.number("app_id");
            let app_id = section.require("app_id", app_id, "write the number of the GitHub App");
            let private_key = section.file("private_key", folder);
            let private_key = section.require(
                "private_key",
                private_key,
                "write the file of the App's private key",
            );
            let seconds = section.number("reconcile_seconds");
            let reconcile_every = match seconds.unwrap_or(RECONCILE_SECONDS) {
                0 => None,
                seconds => Some(Duration::from_secs(seconds)),
            };
            app_id.zip(private_key).map(|(app_id, private_key)| UpstreamKind::GithubApp {
                api,
                app_id,
                private_key,
                reconcile_every,
            })
        }
        Some(other) => {
            section.wrong(
                "kind",
                &format!(
                    "`{other}` is not known; write \"signed\", \"static-key\" or \"github-app\""
                ),
            );
            return None;
        }
        None => return None,
    };
    let case_sensitive = case_sensitive(section, kind.as_ref());
    let mut reach = gateway::reach(section, folder, api_url);
    reach.key = header.unwrap_or_default();
    section.finish();
    Some(UpstreamConfig { name: name?, kind: kind?, case_sensitive, reach })
}

/// Whether an upstream distinguishes case: GitHub never does, others do unless it says otherwise.
fn case_sensitive(section: &Section<'_>, kind: Option<&UpstreamKind>) -> bool {
    let said = section.switch("case_sensitive");
    match kind {
        Some(UpstreamKind::GithubApp { .. }) => {
            if said == Some(true) {
                section.wrong(
                    "case_sensitive",
                    "GitHub takes two spellings of a name for one; leave it out",
                );
            }
            false
        }
        Some(UpstreamKind::Signed { .. } | UpstreamKind::StaticKey { .. }) | None => {
            said.unwrap_or(true)
        }
    }
}
