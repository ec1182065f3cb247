//! Issuers, accounts of the Unix socket, and roles.

use std::{collections::BTreeMap, path::Path};

use jeton_domain::{
    pattern::NamePattern,
    principal::{PrincipalId, PrincipalKind, Role},
    ttl::Ttl,
};

use super::reader::Section;
use crate::identity::{
    jose::Algorithm,
    oidc::{ClaimRule, IssuerConfig, KeyPlace, Mapping, Shape, Template, WantedValue},
    roles::RoleRule,
    spiffe::TrustDomain,
    tls::ClientCa,
    unix::{UnixAccount, UnixRule},
};
use crate::limits::CONFIG_TABLES;

/// How callers prove who they are, and what they may do beside their own.
pub struct IdentityConfig {
    /// Issuers of identity tokens.
    pub issuers: Vec<IssuerConfig>,
    /// Accounts of the Unix socket.
    pub unix: Vec<UnixRule>,
    /// Roles.
    pub roles: Vec<RoleRule>,
}

pub(super) fn read(root: &Section<'_>, folder: &Path) -> IdentityConfig {
    IdentityConfig {
        issuers: root
            .sections("issuer", CONFIG_TABLES)
            .iter()
            .filter_map(|section| issuer(section, folder))
            .collect(),
        unix: root
            .sections("unix_account", CONFIG_TABLES)
            .iter()
            .filter_map(unix_account)
            .collect(),
        roles: root.sections("role", CONFIG_TABLES).iter().filter_map(role).collect(),
    }
}

/// The CAs of client certificates.
pub(super) fn client_cas(root: &Section<'_>, folder: &Path) -> Vec<ClientCa> {
    let sections = root.sections("client_ca", CONFIG_TABLES);
    if sections.is_empty() {
        root.wrong(
            "client_ca",
            "there is none; add `[[client_ca]]` with `trust_domain` and `file`, one for each file of CAs",
        );
    }
    sections.iter().filter_map(|section| client_ca(section, folder)).collect()
}

fn client_ca(section: &Section<'_>, folder: &Path) -> Option<ClientCa> {
    let trust_domain = section.parse("trust_domain", TrustDomain::parse);
    let trust_domain = section.require(
        "trust_domain",
        trust_domain,
        "write the one SPIFFE trust domain that these CAs sign for, such as \"acme.dev\"",
    );
    let file = section.file("file", folder);
    let file = section.require("file", file, "write the file of the CAs, in PEM");
    section.finish();
    Some(ClientCa { trust_domain: trust_domain?, file: file? })
}

fn issuer(section: &Section<'_>, folder: &Path) -> Option<IssuerConfig> {
    let issuer = section.string("issuer");
    let issuer = section.require(
        "issuer",
        issuer,
        "write the exact `iss`, such as \"https://token.actions.githubusercontent.com\"",
    );
    let audience = section.string("audience");
    let audience = section.require(
        "audience",
        audience,
        "write the exact `aud` that tokens for this broker carry",
    );
    let algorithms = algorithms(section);
    let keys = keys(section, folder)?;
    let max_age = section
        .number("max_age_seconds")
        .and_then(|s| u32::try_from(s).ok())
        .and_then(Ttl::from_seconds);
    let mappings = mappings(
        section,
        "there is none; add `[[issuer.map]]` with `principal` and `[issuer.map.claims]`",
    );
    let groups = section.string("groups_claim");
    section.finish();
    let (issuer, audience) = (issuer?, audience?);
    Some(IssuerConfig { issuer, audience, algorithms, keys, groups, max_age, mappings })
}

pub(super) fn algorithms(section: &Section<'_>) -> Vec<Algorithm> {
    let algorithms = section.parse_all("algorithms", |word| {
        Algorithm::parse(word)
            .ok_or_else(|| format!("`{word}` is not RS256, PS256, ES256, EdDSA or Ed25519"))
    });
    if algorithms.is_empty() {
        section.wrong(
            "algorithms",
            "there is none; list those that the issuer signs with, such as [\"RS256\"]",
        );
    }
    algorithms
}

/// Where an issuer's public keys are; `None` if that is told twice.
pub(super) fn keys(section: &Section<'_>, folder: &Path) -> Option<KeyPlace> {
    match (section.string("jwks_url"), section.file("jwks_file", folder)) {
        (Some(_), Some(_)) => {
            section.wrong("jwks_file", "there is a `jwks_url` too; keep one of them");
            None
        }
        (Some(url), None) => Some(KeyPlace::JwksUrl(url)),
        (None, Some(file)) => Some(KeyPlace::File(file)),
        (None, None) => Some(KeyPlace::Discovery),
    }
}

pub(super) fn mappings(section: &Section<'_>, none: &str) -> Vec<Mapping> {
    let sections = section.sections("map", CONFIG_TABLES);
    if sections.is_empty() {
        section.wrong("map", none);
    }
    sections.iter().filter_map(mapping).collect()
}

fn mapping(section: &Section<'_>) -> Option<Mapping> {
    let principal = section.parse("principal", Template::parse);
    let principal = section.require(
        "principal",
        principal,
        "write a name with places for claims, such as \"workload:github/{repository}\"",
    );
    let kind = kind(section);
    let mut claims = BTreeMap::new();
    for (shape, key) in [(Shape::One, "claims"), (Shape::AnyOf, "any")] {
        let wanted = section.section(key);
        for (claim, text, _) in wanted.texts() {
            let value = if text.contains('*') {
                match NamePattern::parse(&text) {
                    Ok(pattern) => WantedValue::Matches(pattern),
                    Err(error) => {
                        section.wrong(key, &error.to_string());
                        continue;
                    }
                }
            } else {
                WantedValue::Exact(text)
            };
            claims.insert(claim, ClaimRule { shape, value });
        }
    }
    if claims.is_empty() {
        section.wrong(
            "claims",
            "there is none; a mapping without claims would let every token of the issuer in",
        );
    }
    section.finish();
    Some(Mapping { claims, kind: kind?, principal: principal? })
}

fn unix_account(section: &Section<'_>) -> Option<UnixRule> {
    let number = |key| section.number(key).and_then(|number| u32::try_from(number).ok());
    let account = match (number("uid"), number("gid")) {
        (Some(uid), None) => Some(UnixAccount::Uid(uid)),
        (None, Some(gid)) => Some(UnixAccount::Gid(gid)),
        (Some(_), Some(_)) => {
            section.wrong("gid", "there is a `uid` too; keep one of them");
            None
        }
        (None, None) => section.require("uid", None, "write the number of the user, or `gid`"),
    };
    let principal = section.parse("principal", PrincipalId::parse);
    let principal = section.require("principal", principal, "write whom the account stands for");
    let kind = kind(section);
    section.finish();
    Some(UnixRule { account: account?, principal: principal?, kind: kind? })
}

fn role(section: &Section<'_>) -> Option<RoleRule> {
    let role = section.parse("role", |word| match word {
        "operator" => Ok(Role::Operator),
        "auditor" => Ok(Role::Auditor),
        "verifier" => Ok(Role::Verifier),
        other => Err(format!("`{other}` is not operator, auditor or verifier")),
    });
    let role = section.require("role", role, "write \"operator\", \"auditor\" or \"verifier\"");
    let principals = section.parse_all("principals", NamePattern::parse);
    if principals.is_empty() {
        section
            .wrong("principals", "there is none; list names or patterns of whoever has the role");
    }
    section.finish();
    Some(RoleRule { role: role?, principals })
}

fn kind(section: &Section<'_>) -> Option<PrincipalKind> {
    let kind = section.parse("kind", |word| match word {
        "workload" => Ok(PrincipalKind::Workload),
        "person" => Ok(PrincipalKind::Person),
        other => Err(format!("`{other}` is not workload or person")),
    });
    section.require("kind", kind, "write \"workload\" or \"person\"")
}
