//! Reads `[[break_glass]]`.

use std::collections::BTreeSet;

use jeton_domain::{
    approval::{Glass, GlassName, GroupName},
    limits::{EMERGENCY_GRANTS, EMERGENCY_SECONDS, ENVELOPE_SCOPES},
    principal::PrincipalId,
    scope::ScopeBound,
    ttl::Ttl,
};
use serde::Deserialize;

use super::{Wrong, word};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGlass {
    name: String,
    members: BTreeSet<PrincipalId>,
    lifts: BTreeSet<String>,
    within: Vec<String>,
    seconds: u32,
    grants: u32,
    reviewed_by: String,
}

/// Tells what named people may do in an emergency. `known` tells whether there is a group.
pub(super) fn glass(raw: RawGlass, known: impl Fn(&GroupName) -> bool) -> Result<Glass, Wrong> {
    word("break_glass", &raw.name)?;
    let odd = |words: &str, hint| Err((format!("break_glass `{}` {words}", raw.name), hint));
    if raw.members.is_empty() || raw.lifts.is_empty() {
        return odd("is for nobody, or lifts nothing", "name at least one person and one group");
    }
    if !(1..=ENVELOPE_SCOPES).contains(&raw.within.len()) {
        return odd(
            "opens nothing, or too much",
            "`within` has 1 to 64 scopes; an empty list never means all",
        );
    }
    let ttl = Ttl::from_seconds(raw.seconds).filter(|ttl| ttl.seconds() <= EMERGENCY_SECONDS);
    let Some(ttl) = ttl.filter(|_| (1..=EMERGENCY_GRANTS).contains(&raw.grants)) else {
        return odd(
            "lasts too long, or for no grant, or too many",
            "`seconds` is 1 to 3,600, `grants` 1 to 100",
        );
    };
    let lifts: BTreeSet<_> = raw.lifts.iter().map(|name| GroupName::new(name)).collect();
    let reviewed_by = GroupName::new(&raw.reviewed_by);
    if let Some(group) = lifts.iter().chain([&reviewed_by]).find(|group| !known(group)) {
        let hint = "add a [[group]] of that name, or correct it";
        return Err((
            format!("the group `{group}` of break_glass `{}` is not declared", raw.name),
            hint,
        ));
    }
    let within = raw.within.iter().map(|text| ScopeBound::parse(text)).collect::<Result<_, _>>();
    Ok(Glass {
        name: GlassName::new(&raw.name),
        members: raw.members,
        lifts,
        within: within.map_err(|error| (error.to_string(), ""))?,
        ttl,
        grants: raw.grants,
        reviewed_by,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emergency_is_for_somebody_bounded_and_reviewed_by_a_group_that_is_there() {
        let good = "name = \"night\"\nmembers = [\"ana\"]\nlifts = [\"security\"]\nwithin = [\"git:acme/pay contents:write\"]\nseconds = 3600\ngrants = 5\nreviewed_by = \"security\"";
        let told = |text: &str| match toml::from_str::<RawGlass>(text) {
            Ok(raw) => glass(raw, |group| group.as_str() == "security")
                .map_or_else(|(words, hint)| format!("{words}; {hint}"), |_| String::new()),
            Err(error) => error.message().to_owned(),
        };
        assert_eq!(told(good), "");
        for (from, to, words) in [
            (
                "[\"ana\"]",
                "[]",
                "break_glass `night` is for nobody, or lifts nothing; name at least one",
            ),
            ("lifts = [\"security\"]", "lifts = []", "is for nobody, or lifts nothing"),
            (
                "[\"git:acme/pay contents:write\"]",
                "[]",
                "opens nothing, or too much; `within` has 1 to 64",
            ),
            ("contents:write\"", "\"", "no action was given"),
            (
                "3600",
                "3601",
                "lasts too long, or for no grant, or too many; `seconds` is 1 to 3,600",
            ),
            ("grants = 5", "grants = 0", "lasts too long, or for no grant"),
            (
                "reviewed_by = \"security\"",
                "reviewed_by = \"secruity\"",
                "the group `secruity` of break_glass `night` is not declared",
            ),
            ("reviewed_by = \"security\"", "", "missing field `reviewed_by`"),
            ("name = \"night\"", "name = \"n t\"", "the break_glass `n t` is not a word"),
        ] {
            assert!(good.contains(from));
            let told = told(&good.replace(from, to));
            assert!(told.contains(words), "{to}: {told}");
        }
    }
}
