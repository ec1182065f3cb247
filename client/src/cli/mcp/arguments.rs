//! What a model writes, and what it means: every bound is held here, before the broker is asked.

use std::{ops::RangeInclusive, time::Duration};

use jeton_client::Scope;
use jeton_domain::{
    id::GrantId,
    limits::{GRANT_TTL_SECONDS, WORDS_CHARS},
};
use rmcp::{
    model::JsonObject,
    schemars::{self, JsonSchema},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

/// Characters of a scope's text. Why: the longest that can be written takes about 4,700.
pub const SCOPE_CHARS: usize = 5000;
/// Longest wait of one call, in seconds. Why: a call holds a stream of the broker; ask again.
pub const WAIT_SECONDS: u32 = 600;
/// The wait where none is named. Why: many clients give a call up after 60 s.
const WAIT_DEFAULT_SECONDS: u32 = 45;

/// What a model wants, with everything checked that can be without the broker.
pub enum Call {
    /// What the session is and may.
    Session,
    /// What would be answered.
    Explain {
        /// To what.
        scope: Scope,
        /// For how long.
        ttl: Option<Duration>,
    },
    /// A grant.
    Request {
        /// What it is to open.
        scope: Scope,
        /// Why.
        reason: String,
        /// How long.
        ttl: Option<Duration>,
        /// How long to wait for a person.
        wait: Duration,
    },
    /// A decision of people.
    Wait {
        /// About which grant.
        grant: GrantId,
        /// For how long.
        wait: Duration,
    },
    /// The end of a grant.
    Release {
        /// Which.
        grant: GrantId,
    },
    /// What was granted.
    Grants,
}

/// What the arguments of a tool are written as.
pub trait Written: DeserializeOwned {
    /// What they mean.
    ///
    /// # Errors
    /// When a bound does not hold, with words on which.
    fn meant(self) -> Result<Call, String>;
}

/// Reads arguments.
///
/// # Errors
/// When a field is missing, unknown or of another kind, or a bound does not hold.
pub fn read<T: Written>(arguments: JsonObject) -> Result<Call, String> {
    let written: T =
        serde_json::from_value(Value::Object(arguments)).map_err(|error| error.to_string())?;
    written.meant()
}

/// Arguments of `session`: none.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Session {}

/// Arguments of `grants`: none.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grants {}

/// Arguments of `explain`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// `UPSTREAM:RESOURCE ACTION[,ACTION…] [ref=PATTERN]`, such as `git:acme/api contents:write ref=agent/*`.
    #[schemars(length(min = 1, max = SCOPE_CHARS))]
    scope: String,
    /// How long; left out, the longest that is allowed.
    #[schemars(range(min = 1, max = GRANT_TTL_SECONDS))]
    ttl_seconds: Option<u32>,
}

/// Arguments of `request`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// `UPSTREAM:RESOURCE ACTION[,ACTION…] [ref=PATTERN]`, such as `git:acme/api contents:write ref=agent/*`.
    #[schemars(length(min = 1, max = SCOPE_CHARS))]
    scope: String,
    /// Why, in your own words; people who approve it read this.
    #[schemars(length(min = 1, max = WORDS_CHARS))]
    reason: String,
    /// How long; left out, the longest that is allowed.
    #[schemars(range(min = 1, max = GRANT_TTL_SECONDS))]
    ttl_seconds: Option<u32>,
    /// If a person has to approve it, wait so long; left out, not at all.
    #[schemars(range(min = 0, max = WAIT_SECONDS))]
    wait_seconds: Option<u32>,
}

/// Arguments of `wait`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// The grant's id, as `request` told it.
    grant: String,
    /// How long; left out, 45.
    #[schemars(range(min = 0, max = WAIT_SECONDS))]
    wait_seconds: Option<u32>,
}

/// Arguments of `release`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The grant's id, as `request` told it.
    grant: String,
}

impl Written for Session {
    fn meant(self) -> Result<Call, String> {
        Ok(Call::Session)
    }
}

impl Written for Grants {
    fn meant(self) -> Result<Call, String> {
        Ok(Call::Grants)
    }
}

impl Written for Explain {
    fn meant(self) -> Result<Call, String> {
        Ok(Call::Explain { scope: scope(&self.scope)?, ttl: ttl(self.ttl_seconds)? })
    }
}

impl Written for Request {
    fn meant(self) -> Result<Call, String> {
        Ok(Call::Request {
            scope: scope(&self.scope)?,
            reason: reason(&self.reason)?,
            ttl: ttl(self.ttl_seconds)?,
            wait: wait(self.wait_seconds.unwrap_or(0))?,
        })
    }
}

impl Written for Wait {
    fn meant(self) -> Result<Call, String> {
        let seconds = self.wait_seconds.unwrap_or(WAIT_DEFAULT_SECONDS);
        Ok(Call::Wait { grant: grant(&self.grant)?, wait: wait(seconds)? })
    }
}

impl Written for Release {
    fn meant(self) -> Result<Call, String> {
        Ok(Call::Release { grant: grant(&self.grant)? })
    }
}

fn scope(text: &str) -> Result<Scope, String> {
    if text.len() > SCOPE_CHARS {
        return Err(format!("`scope` has more than {SCOPE_CHARS} characters"));
    }
    Scope::parse(text).map_err(|error| format!("`scope`: {error}"))
}

fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.chars().count() {
        0 => Err("`reason` is empty; say what the access is for".to_owned()),
        1..=WORDS_CHARS => Ok(text.to_owned()),
        _ => Err(format!("`reason` has more than {WORDS_CHARS} characters; say it shorter")),
    }
}

fn ttl(seconds: Option<u32>) -> Result<Option<Duration>, String> {
    seconds.map(|seconds| within("ttl_seconds", seconds, 1..=GRANT_TTL_SECONDS)).transpose()
}

fn wait(seconds: u32) -> Result<Duration, String> {
    within("wait_seconds", seconds, 0..=WAIT_SECONDS)
}

fn within(name: &str, seconds: u32, bounds: RangeInclusive<u32>) -> Result<Duration, String> {
    if bounds.contains(&seconds) {
        return Ok(Duration::from_secs(seconds.into()));
    }
    Err(format!("`{name}` is {seconds}; it is {} to {}", bounds.start(), bounds.end()))
}

fn grant(text: &str) -> Result<GrantId, String> {
    GrantId::parse(text).map_err(|error| format!("`grant`: {error}"))
}
