//! Reads `[[budget]]`.

use std::collections::BTreeSet;

use jeton_domain::{
    budget::{Budget, Per, Rate},
    limits::{BUDGET_SECONDS, SESSION_GRANTS},
    pattern::{NamePattern, Pattern},
    scope::{Action, Upstream},
};
use serde::Deserialize;

use super::{Wrong, word};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBudget {
    name: String,
    per: RawPer,
    upstream: Option<Upstream>,
    resource: Option<Pattern>,
    agent: Option<String>,
    #[serde(default)]
    actions: BTreeSet<Action>,
    at_once: Option<u32>,
    grants: Option<u32>,
    calls: Option<u32>,
    seconds: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawPer {
    Session,
    Agent,
    Resource,
}

/// Tells what a budget means.
pub(super) fn budget(raw: RawBudget) -> Result<Budget, Wrong> {
    word("budget", &raw.name)?;
    let odd = |words: &str, hint| Err((format!("the budget `{}` {words}", raw.name), hint));
    let counts = |count: &Option<u32>| count.is_none_or(|one| (1..=SESSION_GRANTS).contains(&one));
    if [&raw.at_once, &raw.grants, &raw.calls].into_iter().any(|count| !counts(count)) {
        let hint = "1 to 1,000,000 are allowed; a policy that forbids is the way to grant nothing";
        return odd("allows no grant, or too many", hint);
    }
    let counted = raw.grants.or(raw.calls).is_some();
    let seconds = match raw.seconds {
        Some(seconds) if !(1..=BUDGET_SECONDS).contains(&seconds) => {
            return odd("counts for too short or too long", "`seconds` is 1 to 86,400");
        }
        seconds if seconds.is_some() != counted => {
            return odd(
                "has half a rate",
                "write both `seconds` and `grants` or `calls`, or neither",
            );
        }
        seconds => seconds.unwrap_or_default(),
    };
    let rate = raw.grants.map(|grants| Rate { grants, seconds });
    let calls = raw.calls.map(|grants| Rate { grants, seconds });
    if !counted && raw.at_once.is_none() {
        return odd("bounds nothing", "write `at_once`, or `grants` or `calls` with `seconds`");
    }
    let agent = raw.agent.as_deref().map(NamePattern::parse).transpose();
    Ok(Budget {
        per: match raw.per {
            RawPer::Session => Per::Session,
            RawPer::Agent => Per::Agent,
            RawPer::Resource => Per::Resource,
        },
        upstream: raw.upstream,
        resource: raw.resource,
        agent: agent.map_err(|error| (error.to_string(), ""))?,
        actions: raw.actions,
        at_once: raw.at_once,
        rate,
        calls,
        name: raw.name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        match toml::from_str::<RawBudget>(text) {
            Ok(raw) => budget(raw)
                .map_or_else(|(words, hint)| format!("{words}; {hint}"), |one| format!("{one:?}")),
            Err(error) => error.message().to_owned(),
        }
    }

    #[test]
    fn a_budget_bounds_something_and_says_what() {
        let good = told("name = \"fast\"\nper = \"agent\"\ngrants = 5\nseconds = 60\nat_once = 2");
        assert!(
            good.contains("Rate { grants: 5, seconds: 60 }") && good.contains("at_once: Some(2)"),
            "{good}"
        );
        for (text, words) in [
            (
                "name = \"b\"\nper = \"agent\"",
                "the budget `b` bounds nothing; write `at_once`, or `grants` or `calls` with `seconds`",
            ),
            (
                "name = \"b\"\nper = \"agent\"\ngrants = 5",
                "the budget `b` has half a rate; write both",
            ),
            (
                "name = \"b\"\nper = \"agent\"\nseconds = 5",
                "the budget `b` has half a rate; write both",
            ),
            (
                "name = \"b\"\nper = \"agent\"\nat_once = 0",
                "the budget `b` allows no grant, or too many; 1 to 1,000,000",
            ),
            (
                "name = \"b\"\nper = \"agent\"\ngrants = 1\nseconds = 86401",
                "the budget `b` counts for too short or too long",
            ),
            (
                "name = \"b\"\nper = \"team\"\nat_once = 1",
                "unknown variant `team`, expected one of `session`, `agent`, `resource`",
            ),
            ("name = \"a b\"\nper = \"agent\"\nat_once = 1", "the budget `a b` is not a word"),
            ("name = \"b\"\nper = \"agent\"\nat_once = 1\nagent = \"a//b\"", "has an empty"),
            ("name = \"b\"\nper = \"agent\"\nat_once = 1\nmost = 1", "unknown field `most`"),
        ] {
            let told = told(text);
            assert!(told.contains(words), "{text}: {told}");
        }
    }
}
