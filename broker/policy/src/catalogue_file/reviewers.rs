//! The reviewers of the catalogue: which programs may answer in place of people, and within what.

use std::collections::BTreeSet;

use jeton_domain::{
    limits::{GRANT_TTL_SECONDS, SESSION_GRANTS},
    review::{Bounds, ReviewerName},
    scope::ScopeBound,
    ttl::Ttl,
};
use serde::Deserialize;

use super::{Reading, Wrong, once};
use crate::limits::REVIEWER_SCOPES;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawReviewer {
    name: String,
    within: BTreeSet<String>,
    seconds: u32,
    grants: Option<u32>,
}

impl Reading<'_> {
    pub(super) fn reviewer(&mut self, raw: RawReviewer) -> Result<(), Wrong> {
        let name = ReviewerName::parse(&raw.name).map_err(|error| (error.to_string(), ""))?;
        if !(1..=REVIEWER_SCOPES).contains(&raw.within.len()) {
            let message = format!("`within` of the reviewer `{name}` has no scope, or over 64");
            return Err((message, "write what it may approve at most, a scope each"));
        }
        let lines = raw.within.iter().map(|line| ScopeBound::parse(line));
        let within = lines.collect::<Result<Vec<_>, _>>();
        let within = within.map_err(|error| (error.to_string(), ""))?;
        let ttl = Ttl::from_seconds(raw.seconds).filter(|ttl| ttl.seconds() <= GRANT_TTL_SECONDS);
        let ttl = ttl.ok_or_else(|| {
            let message = format!("the reviewer `{name}` would approve for no time, or too long");
            (message, "`seconds` is 1 to 43,200")
        })?;
        if raw.grants.is_some_and(|grants| !(1..=SESSION_GRANTS).contains(&grants)) {
            let message = format!("the reviewer `{name}` would approve nothing, or too much");
            return Err((message, "`grants` is 1 to 1,000,000"));
        }
        let bounds = Bounds { within, ttl, grants: raw.grants };
        let old = self.catalogue.reviewers.insert(name.clone(), bounds);
        once(old.is_none(), || format!("the reviewer `{name}`"))
    }

    /// The reviewer that a group names: one that is declared.
    pub(super) fn reviewer_of(
        &self,
        group: &str,
        name: Option<&str>,
    ) -> Result<Option<ReviewerName>, Wrong> {
        let Some(name) = name else { return Ok(None) };
        let known = ReviewerName::parse(name).ok();
        match known.filter(|name| self.catalogue.reviewers.contains_key(name)) {
            Some(name) => Ok(Some(name)),
            None => Err((
                format!("the reviewer `{}` of `{group}` is not declared", name.escape_debug()),
                "add a [[reviewer]] of that name with its bounds, or correct it",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use jeton_domain::{approval::GroupName, ttl::Ttl};

    use super::super::{CATALOGUE, read};
    use crate::{PolicySet, Vocabulary, author::compare::compare, problem::Source};

    const GOOD: &str = r#"
[[group]]
name = "sec"
members = ["ana"]
reviewer = "bot"
[[group]]
name = "ops"
members = ["ana"]
[[reviewer]]
name = "bot"
within = ["git:acme/* contents:write ref=agent/*"]
seconds = 300
grants = 3
"#;

    fn told(text: &str) -> String {
        let source = Source { name: CATALOGUE.into(), text: text.into() };
        let mut problems = vec![];
        read(&source, &mut problems);
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_group_names_a_reviewer_and_the_catalogue_bounds_it() {
        let source = Source { name: CATALOGUE.into(), text: GOOD.into() };
        let catalogue = read(&source, &mut vec![]).unwrap();
        let (name, bounds) = catalogue.reviewer_of(&GroupName::new("sec")).unwrap();
        assert_eq!(name.as_str(), "bot");
        assert_eq!((bounds.ttl, bounds.grants), (Ttl::from_seconds(300).unwrap(), Some(3)));
        assert_eq!(bounds.within[0].to_string(), "git:acme/* contents:write ref=agent/*");
        for group in ["ops", "none"] {
            assert!(catalogue.reviewer_of(&GroupName::new(group)).is_none(), "{group}");
        }
    }

    #[test]
    fn a_change_of_a_reviewer_is_told_in_words() {
        let set = |text: &str| {
            PolicySet::from_sources(&[(CATALOGUE, text)], &Vocabulary::new(&[])).unwrap()
        };
        let others = GOOD.replace("seconds = 300\ngrants = 3", "seconds = 600");
        let told = compare(&set(GOOD), &set(&others)).lines.join("\n");
        let line = "changed: reviewer `bot`: within git:acme/* contents:write ref=agent/*, 300 s, 3 grants in a session → within git:acme/* contents:write ref=agent/*, 600 s";
        assert_eq!(told, line);
        let none = GOOD.replace("reviewer = \"bot\"", "");
        let told = compare(&set(&none), &set(GOOD)).lines.join("\n");
        assert_eq!(told, "changed: group `sec`: ana, quorum 1 → ana, quorum 1, reviewer bot");
    }

    #[test]
    fn a_reviewer_without_bounds_or_one_that_is_not_declared_is_refused() {
        assert_eq!(told(GOOD), "");
        for (from, to, words) in [
            (
                "reviewer = \"bot\"",
                "reviewer = \"bto\"",
                "the reviewer `bto` of `sec` is not declared",
            ),
            ("[\"git:acme/* contents:write ref=agent/*\"]", "[]", "`bot` has no scope"),
            ("contents:write ref", "contents:write rfe", "the limit `rfe=agent/*` is unknown"),
            ("seconds = 300", "seconds = 0", "for no time, or too long"),
            ("seconds = 300", "seconds = 43201", "`seconds` is 1 to 43,200"),
            ("seconds = 300", "", "missing field `seconds`"),
            ("grants = 3", "grants = 0", "`grants` is 1 to 1,000,000"),
            ("grants = 3", "grnats = 3", "unknown field `grnats`"),
            ("name = \"bot\"", "name = \"b/t\"", "`b/t` names no reviewer"),
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from}");
            assert!(told(&text).contains(words), "{words}: {}", told(&text));
        }
        let twice = format!(
            "{GOOD}[[reviewer]]\nname = \"bot\"\nwithin = [\"git:a/b a:b\"]\nseconds = 1\n"
        );
        assert!(told(&twice).contains("the reviewer `bot` stands here a second time"));
    }
}
