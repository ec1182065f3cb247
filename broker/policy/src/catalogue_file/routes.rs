//! The routes of the catalogue: which call of an API is what action on which resource.

use std::collections::{BTreeMap, BTreeSet};

use jeton_domain::{
    deed::OperationKind,
    route::{Constant, Route, RouteParts, TermsParts},
    scope::{Action, Upstream},
};
use serde::Deserialize;

use super::{Reading, Wrong};
use crate::limits::ROUTES;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRoute {
    upstream: Upstream,
    methods: BTreeSet<String>,
    path: String,
    resource: String,
    action: Action,
    query: Option<BTreeSet<String>>,
    graphql: Option<OperationKind>,
    #[serde(default)]
    fields: BTreeSet<String>,
    #[serde(default)]
    arguments: BTreeMap<String, String>,
    body: Option<BTreeSet<String>>,
    #[serde(default)]
    r#where: BTreeMap<String, OneOrMore>,
}

/// What may stand at a place of a body.
#[derive(Deserialize)]
#[serde(untagged, expecting = "write a string, a whole number, true or false, or a list of them")]
enum OneOrMore {
    One(RawConstant),
    More(Vec<RawConstant>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawConstant {
    Text(String),
    Whole(i64),
    Bool(bool),
}

impl From<RawConstant> for Constant {
    fn from(raw: RawConstant) -> Self {
        match raw {
            RawConstant::Text(text) => Self::Text(text),
            RawConstant::Whole(number) => Self::Whole(number),
            RawConstant::Bool(value) => Self::Bool(value),
        }
    }
}

impl From<OneOrMore> for Vec<Constant> {
    fn from(raw: OneOrMore) -> Self {
        match raw {
            OneOrMore::One(one) => vec![one.into()],
            OneOrMore::More(all) => all.into_iter().map(Into::into).collect(),
        }
    }
}

impl Reading<'_> {
    pub(super) fn route(&mut self, raw: RawRoute) -> Result<(), Wrong> {
        let RawRoute { upstream, methods, path, resource, action, query, .. } = raw;
        let terms = TermsParts {
            graphql: raw.graphql,
            fields: raw.fields,
            arguments: raw.arguments,
            keys: raw.body,
            equal: raw.r#where.into_iter().map(|(place, all)| (place, all.into())).collect(),
        };
        if self.catalogue.routes.len() >= ROUTES {
            return Err((
                format!("there are more than {ROUTES} routes"),
                "use `**` and fewer of them",
            ));
        }
        let writes = methods.iter().any(|method| !matches!(method.as_str(), "GET" | "HEAD"));
        if writes && action.permission() == "contents" && action.level() != "read" {
            let message = format!("the route `{path}` would write contents by calls");
            return Err((
                message,
                "no rule of refs and files would hold it; let agents push by git",
            ));
        }
        let parts = RouteParts {
            upstream,
            methods,
            path: &path,
            resource: &resource,
            action,
            query,
            terms,
        };
        let route = Route::new(parts).map_err(|error| (error.to_string(), ""))?;
        // Why: the first that takes a call decides what it is; the same again would never be asked.
        if self.catalogue.routes.iter().any(|other| other.is_all_of(&route)) {
            let message = format!("the route `{}` stands there twice", route.title());
            return Err((message, "keep the one that is meant"));
        }
        self.catalogue.routes.push(route);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CATALOGUE, read};
    use crate::problem::Source;

    fn told(text: &str) -> String {
        let source = Source { name: CATALOGUE.into(), text: text.into() };
        let mut problems = vec![];
        read(&source, &mut problems);
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    const GOOD: &str = "[[route]]\nupstream = \"github\"\nmethods = [\"GET\"]\npath = \"/repos/{owner}/{name}\"\nresource = \"{owner}/{name}\"\naction = \"metadata:read\"\n";

    #[test]
    fn a_route_is_read_and_a_bad_one_tells_what_to_write() {
        assert_eq!(told(GOOD), "");
        for (from, to, words) in [
            ("GET", "get", "write GET, HEAD"),
            ("/repos", "repos", "is no template"),
            ("{owner}/{name}\"\naction", "{org}/{name}\"\naction", "no segment of the path"),
            ("metadata:read", "metadata", "permission:level"),
        ] {
            let text = told(&GOOD.replacen(from, to, 1));
            assert!(text.contains(words), "{from}: {text}");
        }
        assert!(told(&format!("{GOOD}{GOOD}")).contains("twice"));
    }
}
