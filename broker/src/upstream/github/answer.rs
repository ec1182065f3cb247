//! What GitHub says that it made, held against what was asked.

use std::{collections::BTreeMap, fmt};

use jeton_domain::{id::quote, scope::Resource, secret::Secret, ttl::Timestamp};
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, Visitor},
};

use super::{
    api::Answer,
    failure::{Failure, life_from},
    permissions::{Level, Wanted},
};
use crate::upstream::{CredentialKind, Minted, Standing};

/// Characters of a token. Why: 40 for years, about 520 today; other lengths are no tokens.
const TOKEN_CHARS: std::ops::RangeInclusive<usize> = 20..=2048;
/// How far beyond its hour a token's end may lie. Why: the two clocks differ.
const CLOCKS_DIFFER_MILLIS: i64 = 5 * 60 * 1000;

/// An answer that must not be used.
pub enum Rejected {
    /// Without a token that could be taken back.
    NoToken(String),
    /// With one.
    Unusable {
        /// What is wrong.
        reason: String,
        /// The token.
        minted: Minted,
    },
}

/// The parts of the answer that matter. All but the token may be anything: whatever is wrong with
/// them, the token must be had to be revoked.
#[derive(Deserialize)]
struct Made {
    token: String,
    expires_at: Option<Loose<String>>,
    permissions: Option<Loose<Once>>,
    repository_selection: Option<Loose<String>>,
    repositories: Option<Loose<Vec<Repository>>>,
}

#[derive(Deserialize)]
struct Repository {
    full_name: String,
}

/// A value of the documented shape, or of another one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Loose<T> {
    Known(T),
    Odd(IgnoredAny),
}

/// A map of texts that has each key once. Why: of two levels, another reader might take the other.
struct Once(BTreeMap<String, String>);

/// Takes the token out of an answer if it opens no more than was asked, for no longer than an hour.
pub fn check(answer: &Answer, wanted: &Wanted, now: Timestamp) -> Result<Minted, Rejected> {
    let made: Made = answer.json().map_err(|failure| Rejected::NoToken(words(failure)))?;
    let Made { token, expires_at, permissions, repository_selection, repositories } = made;
    let token = Secret::new(token);
    if token.expose().is_empty() || !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Rejected::NoToken("the token is not visible ASCII".into()));
    }
    let expires = known(expires_at).and_then(|text| expiry(&text, now));
    let flaw = flaw_of_token(&token)
        .or_else(|| {
            (answer.status.as_u16() != 201)
                .then(|| format!("it answered {} and not 201", answer.status.as_u16()))
        })
        .or_else(|| expires.is_none().then(|| "its end is not a time within the next hour".into()))
        .or_else(|| too_broad(known(permissions), wanted))
        .or_else(|| elsewhere(known(repository_selection).as_deref(), known(repositories), wanted));
    let minted = Minted::new(
        token,
        CredentialKind::GithubInstallationToken,
        expires.unwrap_or_else(|| life_from(now)),
    );
    match flaw {
        None => Ok(minted),
        Some(reason) => Err(Rejected::Unusable { reason, minted }),
    }
}

fn flaw_of_token(token: &Secret) -> Option<String> {
    let chars = token.expose().len();
    (!TOKEN_CHARS.contains(&chars)).then(|| format!("a token of {chars} characters is none"))
}

fn expiry(text: &str, now: Timestamp) -> Option<Timestamp> {
    let expires = text.parse::<jiff::Timestamp>().ok()?.as_millisecond();
    let latest = life_from(now).millis().saturating_add(CLOCKS_DIFFER_MILLIS);
    (now.millis() < expires && expires <= latest).then(|| Timestamp::from_millis(expires))
}

/// GitHub adds `metadata: read` to every token; nothing else may come unasked.
fn too_broad(given: Option<Once>, wanted: &Wanted) -> Option<String> {
    let Some(Once(given)) = given else {
        return Some("it does not say which permissions the token has".into());
    };
    given.iter().find_map(|(name, word)| {
        let level = Level::parse(word);
        let asked = wanted.permissions.get(name).copied();
        let within = level.is_some_and(|level| asked.is_some_and(|asked| level <= asked));
        let added = name == "metadata" && level == Some(Level::Read);
        (!within && !added).then(|| {
            format!("the token has `{}:{}`, which was not asked for", quote(name), quote(word))
        })
    })
}

/// What an answer about the repositories of a token says of it.
pub fn opened(answer: &Answer, granted: &Resource) -> Option<Standing> {
    #[derive(Deserialize)]
    struct Opened {
        total_count: u64,
        repositories: Vec<Repository>,
    }
    let Opened { total_count, repositories } = answer.json().ok()?;
    Some(match repositories.as_slice() {
        [one] if total_count == 1 && one.full_name.eq_ignore_ascii_case(granted.as_str()) => {
            Standing::AsGranted
        }
        [one] if total_count == 1 => {
            Standing::Other(format!("it opens `{}` and not `{granted}`", quote(&one.full_name)))
        }
        _ => Standing::Other(format!("it opens {total_count} repositories")),
    })
}

fn elsewhere(
    selection: Option<&str>,
    repositories: Option<Vec<Repository>>,
    wanted: &Wanted,
) -> Option<String> {
    if selection != Some("selected") {
        return Some("the token is not limited to selected repositories".into());
    }
    match repositories.as_deref() {
        None | Some([]) => Some("it does not say which repository the token opens".into()),
        Some([one]) if one.full_name.eq_ignore_ascii_case(&wanted.full_name) => None,
        Some([one]) => Some(format!(
            "the token opens `{}` and not `{}`",
            quote(&one.full_name),
            wanted.full_name
        )),
        Some(more) => Some(format!("the token opens {} repositories", more.len())),
    }
}

fn known<T>(loose: Option<Loose<T>>) -> Option<T> {
    match loose {
        Some(Loose::Known(value)) => Some(value),
        Some(Loose::Odd(IgnoredAny)) | None => None,
    }
}

fn words(failure: Failure) -> String {
    match failure {
        Failure::Refused(words)
        | Failure::NotInstalled(words)
        | Failure::KeyRefused(words)
        | Failure::Unreachable(words)
        | Failure::Unclear(words) => words,
        Failure::RateLimited(_) => "it limits the rate of calls".into(),
    }
}

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Once;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of texts with each key once")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Once, A::Error> {
                let mut map = BTreeMap::new();
                while let Some((key, value)) = pairs.next_entry()? {
                    if map.insert(key, value).is_some() {
                        return Err(A::Error::custom("a key stands twice"));
                    }
                }
                Ok(Once(map))
            }
        }
        from.deserialize_map(Pairs)
    }
}
