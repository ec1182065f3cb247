//! Names of the catalogue as their upstreams tell them apart.

use std::{collections::HashMap, sync::Arc};

use jeton_domain::{budget::Budget, pattern::Pattern, spelling::Spelling};

use super::Catalogue;
use crate::{catalogue_file::CATALOGUE, problem::PolicyProblem};

impl Catalogue {
    /// Folds every name at an upstream that does not tell cases apart. What the configuration says of an
    /// upstream counts; the catalogue may say the same, for those who have no broker.
    pub(crate) fn spell(&mut self, configured: &Spelling, problems: &mut Vec<PolicyProblem>) {
        let mut problem = |message: String, hint: &str| {
            problems.push(PolicyProblem::of_file(CATALOGUE, message, hint));
        };
        let mut spelling = configured.clone();
        for upstream in self.upstreams.keys() {
            let said = self.spelling.case_sensitive(upstream);
            match (said, configured.case_sensitive(upstream)) {
                (Some(said), Some(other)) if said != other => problem(
                    format!(
                        "the upstream `{upstream}` has case_sensitive = {said} here, and {other} in the configuration"
                    ),
                    "write the same, or leave it out here",
                ),
                (Some(said), None) => spelling.insert(upstream.clone(), said),
                (_, _) => {}
            }
        }
        let mut resources = HashMap::with_capacity(self.resources.len());
        for ((upstream, name), listed) in std::mem::take(&mut self.resources) {
            let name = spelling.resource(&upstream, name);
            let title = format!("`{upstream}:{name}`");
            if resources.insert((upstream, name), listed).is_some() {
                problem(
                    format!("the resource {title} stands there in two spellings"),
                    "this upstream takes them for one; keep one of them",
                );
            }
        }
        self.resources = resources;
        for route in &mut self.routes {
            route.folds = spelling.folds(&route.upstream);
        }
        let bounds = self.reviewers.values_mut().map(|reviewer| &mut reviewer.within);
        let bounds = bounds.chain(self.glasses.iter_mut().map(|glass| &mut glass.within));
        for bound in bounds.flatten() {
            *bound = spelling.bound(bound.clone());
        }
        for budget in &mut self.budgets {
            match folded(budget, &spelling) {
                Ok(Some(folded)) => *budget = Arc::new(folded),
                Ok(None) => {}
                Err(message) => problem(message, "name the `upstream` that it is for"),
            }
        }
        self.spelling = spelling;
    }
}

/// A budget whose resource is spelled otherwise.
fn folded(budget: &Budget, spelling: &Spelling) -> Result<Option<Budget>, String> {
    let capital = |pattern: &&Pattern| pattern.as_str().bytes().any(|b| b.is_ascii_uppercase());
    let Some(pattern) = budget.resource.as_ref().filter(capital) else { return Ok(None) };
    match &budget.upstream {
        Some(upstream) => {
            let resource = Some(spelling.pattern(upstream, pattern.clone()));
            Ok(Some(Budget { resource, ..budget.clone() }))
        }
        // Why: it would count nothing there, in silence.
        None => match spelling.folding().next() {
            Some(upstream) => Err(format!(
                "the budget `{}` has capital letters in `resource`, and `{upstream}` takes names in lower case",
                budget.name
            )),
            None => Ok(None),
        },
    }
}

#[cfg(test)]
mod tests {
    use jeton_domain::scope::{Resource, Upstream};

    use super::*;
    use crate::{PolicySet, Vocabulary};

    const TEXT: &str = r#"
[[upstream]]
name = "github"
actions = ["contents:read"]
case_sensitive = false
[[upstream]]
name = "git"
actions = ["contents:read"]
[[resource]]
upstream = "github"
name = "Acme/API"
tier = "prod"
[[resource]]
upstream = "git"
name = "Acme/API"
tier = "prod"
[[budget]]
name = "few"
per = "agent"
upstream = "github"
resource = "Acme/*"
at_once = 1
"#;

    fn loaded(text: &str, configured: bool) -> Result<PolicySet, String> {
        let spelling = Spelling::new([(Upstream::parse("github").unwrap(), false)]);
        let vocabulary = match configured {
            true => Vocabulary::default().spelled(spelling),
            false => Vocabulary::default(),
        };
        PolicySet::from_sources(&[(CATALOGUE, text)], &vocabulary)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn names_are_spelled_as_their_upstream_tells_them_apart() {
        for (text, configured) in
            [(TEXT.to_owned(), false), (TEXT.replace("case_sensitive = false\n", ""), true)]
        {
            let set = loaded(&text, configured).unwrap();
            let tier = |upstream: &str, name: &str| {
                let place = (Upstream::parse(upstream).unwrap(), Resource::parse(name).unwrap());
                set.catalogue().resource(&place.0, &place.1).is_some()
            };
            assert!(tier("github", "acme/api") && !tier("github", "Acme/API"));
            assert!(tier("git", "Acme/API") && !tier("git", "acme/api"));
            let resource = set.catalogue().budgets()[0].resource.as_ref().unwrap();
            assert_eq!(resource.as_str(), "acme/*");
        }
    }

    #[test]
    fn what_would_match_nothing_or_two_things_is_told() {
        let github = "upstream = \"github\"\nname = \"acme/api\"";
        for (from, to, words) in [
            ("case_sensitive = false", "case_sensitive = true", "and false in the configuration"),
            ("upstream = \"git\"\nname = \"Acme/API\"", github, "stands there in two spellings"),
            ("upstream = \"github\"\nresource", "resource", "takes names in lower case"),
        ] {
            assert!(TEXT.contains(from), "{from}");
            let told = loaded(&TEXT.replace(from, to), true).err().unwrap();
            assert!(told.contains(words), "{to}: {told}");
        }
    }
}
