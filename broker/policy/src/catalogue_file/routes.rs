//! The routes of the catalogue: which call of an API is what action on which resource.

use std::collections::BTreeSet;

use jeton_domain::{
    route::{Route, RouteParts},
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
}

impl Reading<'_> {
    pub(super) fn route(&mut self, raw: RawRoute) -> Result<(), Wrong> {
        let RawRoute { upstream, methods, path, resource, action, query } = raw;
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
        let parts =
            RouteParts { upstream, methods, path: &path, resource: &resource, action, query };
        let route = Route::new(parts).map_err(|error| (error.to_string(), ""))?;
        // Why: the first that takes a call decides what it is; the same again would never be asked.
        let twice = self
            .catalogue
            .routes
            .iter()
            .any(|other| other.upstream == route.upstream && other.text() == route.text());
        if twice {
            let message = format!("the route `{}` stands there twice", route.text());
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
