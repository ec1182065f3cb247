//! The routes of the catalogue: which call of an API is what action on which resource.

use std::collections::{BTreeMap, BTreeSet};

use jeton_domain::{
    deed::OperationKind,
    route::{AllowedKeys, Constant, Route, RouteParts, TermsParts},
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
    #[serde(default)]
    query: Option<Keys>,
    #[serde(default)]
    headers: BTreeSet<String>,
    #[serde(default)]
    socket: bool,
    graphql: Option<OperationKind>,
    #[serde(default)]
    fields: BTreeSet<String>,
    #[serde(default)]
    arguments: BTreeMap<String, String>,
    body: Option<Keys>,
    #[serde(default)]
    r#where: BTreeMap<String, OneOrMore>,
}

/// The keys that a query or a body may have.
#[derive(Deserialize)]
#[serde(untagged, expecting = "write a list of keys, or \"any\"")]
enum Keys {
    Any(Any),
    Listed(BTreeSet<String>),
}

#[derive(Deserialize)]
enum Any {
    #[serde(rename = "any", alias = "*")]
    Any,
}

impl From<Keys> for AllowedKeys {
    fn from(raw: Keys) -> Self {
        match raw {
            Keys::Any(Any::Any) => Self::Any,
            Keys::Listed(keys) => Self::Listed(keys),
        }
    }
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
        let RawRoute { upstream, methods, path, resource, action, socket, .. } = raw;
        let terms = TermsParts {
            graphql: raw.graphql,
            fields: raw.fields,
            arguments: raw.arguments,
            body: raw.body.map(Into::into),
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
            query: raw.query.map(Into::into).unwrap_or_default(),
            headers: raw.headers,
            socket,
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
            ("action", "query = \"all\"\naction", "write a list of keys, or \"any\""),
            ("action", "query = [\"*\"]\naction", "write `query = \"any\"`"),
            ("action", "query = [\"_method\"]\naction", "makes another method of the call"),
            ("action", "headers = [\"Authorization\"]\naction", "never passes"),
            ("action", "headers = \"any\"\naction", "invalid type"),
            ("action", "headers = [\"*\"]\naction", "listed one by one"),
            ("action", "body = \"any\"\naction", "have no body"),
            ("[\"GET\"]", "[\"POST\"]", "have a body; list its keys in `body`"),
            ("[\"GET\"]", "[\"PATCH\"]", "have a body; list its keys in `body`"),
            ("[\"GET\"]", "[\"DELETE\", \"PUT\"]", "have a body; list its keys in `body`"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let text = told(&GOOD.replacen(from, to, 1));
            assert!(text.contains(words), "{from}: {text}");
        }
        assert!(told(&format!("{GOOD}{GOOD}")).contains("twice"));
        for (from, to) in [
            ("action", "query = \"any\"\naction"),
            ("action", "query = \"*\"\naction"),
            ("action", "query = [\"page\"]\nheaders = [\"X-Scope-OrgID\"]\naction"),
            ("[\"GET\"]", "[\"DELETE\"]"),
            ("methods = [\"GET\"]", "methods = [\"POST\"]\nbody = []"),
            ("methods = [\"GET\"]", "methods = [\"GET\", \"PUT\"]\nbody = \"any\""),
        ] {
            assert_eq!(told(&GOOD.replacen(from, to, 1)), "", "{to}");
        }
    }

    const GRAPHQL: &str = "[[route]]\nupstream = \"github\"\nmethods = [\"POST\"]\npath = \"/graphql\"\ngraphql = \"query\"\nfields = [\"repository\"]\narguments = { owner = \"owner\", name = \"input.name\" }\nresource = \"{owner}/{name}\"\naction = \"metadata:read\"\n";
    const JSON: &str = "[[route]]\nupstream = \"github\"\nmethods = [\"POST\"]\npath = \"/pulls\"\nbody = [\"base\", \"repo\"]\nwhere = { base = [\"main\", 7, true], \"head.ref\" = \"x\" }\nresource = \"acme/{body.repo}\"\naction = \"pull_requests:write\"\n";

    #[test]
    fn a_route_that_looks_into_bodies_is_read_and_a_bad_one_tells_what_to_write() {
        assert_eq!(told(&format!("{GRAPHQL}{JSON}")), "");
        let mutation = GRAPHQL.replace("\"query\"", "\"mutation\"");
        assert_eq!(told(&format!("{GRAPHQL}{mutation}")), "", "the same path for another kind");
        for (good, from, to, words) in [
            (GRAPHQL, "\"query\"", "\"subscription\"", "expected `query` or `mutation`"),
            (GRAPHQL, "\"POST\"", "\"GET\"", "GraphQL is taken by POST alone"),
            (GRAPHQL, "\"POST\"", "\"POST\", \"GET\"", "GraphQL is taken by POST alone"),
            (GRAPHQL, "[\"repository\"]", "[]", "`graphql` needs `fields`"),
            (GRAPHQL, "[\"repository\"]", "[\"repository { id }\"]", "is no name"),
            (GRAPHQL, "graphql = \"query\"\n", "", "`fields` and `arguments` need `graphql`"),
            (GRAPHQL, "\"input.name\"", "\"input..name\"", "no place in a body"),
            (GRAPHQL, "{ owner = \"owner\",", "{", "no segment of the path"),
            (GRAPHQL, "/graphql", "/{owner}/graphql", "a segment of the path and of `arguments`"),
            (GRAPHQL, "fields", "body = [\"x\"]\nfields", "are for JSON"),
            (GRAPHQL, "fields", "where = { x = 1 }\nfields", "are for JSON"),
            (GRAPHQL, "\"{owner}/{name}\"", "\"{owner}/{body.name}\"", "are for JSON"),
            (GRAPHQL, "fields", "query = [\"x\"]\nfields", "leave `query` out"),
            (JSON, "\"POST\"", "\"GET\"", "have no body"),
            (JSON, "body = [\"base\", \"repo\"]\n", "", "need `body`"),
            (JSON, "body", "query = \"any\"\nbody", "keys of `query` are listed"),
            (JSON, "\"repo\"]", "\"_method\"]", "makes another method of the call"),
            (JSON, "[\"main\", 7, true]", "[]", "never met"),
            (JSON, "7", "7.5", "write a string, a whole number"),
            (JSON, "7", "[7]", "write a string, a whole number"),
            (JSON, "\"head.ref\"", "\"head.\"", "no place in a body"),
            (JSON, "{body.repo}", "{body.}", "no place in a body"),
            (JSON, "{body.repo}", "{repo}", "none of `arguments`"),
        ] {
            assert!(good.contains(from), "{from}");
            let text = told(&good.replacen(from, to, 1));
            assert!(text.contains(words), "{from} {to}: {text}");
        }
        let keys: Vec<_> = (0..101).map(|key| format!("\"k{key}\"")).collect();
        let many = JSON.replace("\"base\", \"repo\"", &keys.join(","));
        assert!(told(&many).contains("more than 100"));
    }

    #[test]
    fn the_same_again_is_told_where_it_would_never_be_asked() {
        let plain = |text: &str| {
            let skip = |line: &&str| !line.starts_with("body") && !line.starts_with("where");
            let lines: Vec<_> = text.lines().filter(skip).collect();
            lines.join("\n").replace("{body.repo}", "repo") + "\nbody = \"any\"\n"
        };
        let other = JSON.replace("\"x\"", "\"y\"");
        assert_eq!(told(&format!("{JSON}{other}{}", plain(JSON))), "");
        for twice in [format!("{JSON}{JSON}"), format!("{GRAPHQL}{GRAPHQL}"), plain(JSON) + JSON] {
            assert!(told(&twice).contains("stands there twice"), "{twice}");
        }
    }

    #[test]
    fn the_routes_of_the_example_are_good() {
        let file = include_str!("../../../../deploy/policies/catalogue.toml");
        assert_eq!(told(file), "");
        assert_eq!(file.matches("\n[[route]]").count(), 7);
        let shown = file.lines().filter_map(|line| line.strip_prefix("# "));
        let is_toml = |line: &&str| {
            line.starts_with("[[")
                || line.contains(" = ") && line.starts_with(|c: char| c.is_ascii_lowercase())
        };
        let lines: Vec<_> = shown.skip_while(|line| *line != "[[route]]").filter(is_toml).collect();
        let text = lines.join("\n");
        assert_eq!(text.matches("[[route]]").count(), 2, "{text}");
        assert_eq!(told(&text), "", "{text}");
    }
}
