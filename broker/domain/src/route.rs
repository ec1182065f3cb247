//! Which call of an API is what: a method, a path and, if a route looks into it, a body, mapped to a resource and
//! an action.
//!
//! Each is looked at as it is sent, and must be written in a way that nobody behind us reads otherwise. So what
//! is done is what was decided.

mod allowed;
mod graphql;
mod json;
mod path;
mod terms;

use std::collections::{BTreeMap, BTreeSet};

pub use self::{
    allowed::{AllowedHeaders, AllowedKeys, HeaderRule, QueryProblem, is_method_override},
    graphql::{Graphql, GraphqlError, Root},
    json::{BodyError, Constant, Dotted, Json},
    path::PlainPath,
    terms::{Content, Format, TermsParts},
};
use self::{path::decode, terms::Terms};
use crate::{
    id::quote,
    limits::{ROUTE_SEGMENTS, ROUTE_TEXT},
    scope::{Action, Resource, Upstream},
};

/// Why a text is no route, or a path none that is looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// A path's spelling.
    #[error(
        "the path `{0}` is not written plainly; write it without `//`, `.` and `..` segments, `;`, `\\` and needless or encoded `/`, `.` and `%`"
    )]
    Path(String),
    /// A template's spelling.
    #[error(
        "the path `{0}` is no template; write segments such as `/repos/{{owner}}/{{name}}/issues/**`, each a word, one `{{name}}`, or `**` at the end"
    )]
    Template(String),
    /// A resource that can't be made of the path.
    #[error(
        "the resource `{0}` names `{{{1}}}`, which is no segment of the path, no `body.…` and none of `arguments`"
    )]
    Unknown(String, String),
    /// What is wanted of the body.
    #[error("what the route wants of a body means nothing: {0}")]
    Terms(String),
    /// A header that a route may not let pass.
    #[error("the header `{0}` can't be listed in `headers`: {1}")]
    Header(String, String),
    /// A resource that no call could name.
    #[error(
        "the resource `{0}` is no name; write it such as `{{owner}}/{{name}}`, or as a fixed name"
    )]
    Resource(String),
    /// A method.
    #[error("the method `{0}` is not known; write GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS")]
    Method(String),
}

/// Methods that calls may have. Why no others: `CONNECT` and `TRACE` are no calls, and what nobody knows is
/// for nobody to allow.
pub const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// One segment of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Just this.
    Word(String),
    /// Anything in one segment, by this name.
    Any(String),
    /// One segment or more.
    Rest,
}

/// A call that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where.
    pub upstream: Upstream,
    /// How: one or more methods.
    methods: BTreeSet<String>,
    path: Vec<Part>,
    resource: String,
    /// What the call does.
    pub action: Action,
    /// Keys that its query may have.
    query: AllowedKeys,
    headers: AllowedHeaders,
    /// Whether it may become a WebSocket: a way for anything, in both directions, that nobody looks into.
    pub socket: bool,
    /// Whether its upstream takes names that differ in case alone for one.
    pub folds: bool,
    terms: Terms,
    text: String,
}

/// What a route is made of.
pub struct RouteParts<'a> {
    /// Where.
    pub upstream: Upstream,
    /// How.
    pub methods: BTreeSet<String>,
    /// The template of the path.
    pub path: &'a str,
    /// The resource, with the names of segments in braces.
    pub resource: &'a str,
    /// What the call does.
    pub action: Action,
    /// Keys that its query may have.
    pub query: AllowedKeys,
    /// Names of request headers that pass beside those that always do.
    pub headers: BTreeSet<String>,
    /// Whether it may become a WebSocket.
    pub socket: bool,
    /// What is wanted of its body.
    pub terms: TermsParts,
}

impl Route {
    /// Checks the parts.
    ///
    /// # Errors
    /// When one is none.
    pub fn new(parts: RouteParts<'_>) -> Result<Self, RouteError> {
        let RouteParts { upstream, methods, path, resource, action, socket, .. } = parts;
        let (query, headers, terms) =
            (parts.query, AllowedHeaders::new(&parts.headers)?, parts.terms);
        if let Some(odd) = methods.iter().find(|method| !METHODS.contains(&method.as_str())) {
            return Err(RouteError::Method(quote(odd)));
        }
        let template = || RouteError::Template(quote(path));
        let segments = path.strip_prefix('/').ok_or_else(template)?.split('/');
        let parts: Vec<Part> = segments.map(part).collect::<Option<_>>().ok_or_else(template)?;
        let rest_inside = parts.iter().rev().skip(1).any(|part| *part == Part::Rest);
        if parts.len() > ROUTE_SEGMENTS
            || path.len() > ROUTE_TEXT
            || rest_inside
            || methods.is_empty()
        {
            return Err(template());
        }
        let names = parts.iter().filter_map(|part| match part {
            Part::Any(name) => Some(name.as_str()),
            Part::Word(_) | Part::Rest => None,
        });
        let mut names: BTreeSet<&str> = names.collect();
        let terms = Terms::new(terms, &names_of(resource))?;
        query.check("query")?;
        fits_methods(&terms, &methods)?;
        fits_query(&terms, &query)?;
        let more = terms.names();
        if let Some(twice) = more.iter().find(|name| names.contains(name.as_str())) {
            let words = format!("`{twice}` is a segment of the path and of `arguments`");
            return Err(RouteError::Terms(words));
        }
        names.extend(more.iter().map(String::as_str));
        let filled = fill(resource, |name| names.contains(name).then(|| "x".to_owned()))?;
        Resource::parse(&filled).map_err(|_| RouteError::Resource(quote(resource)))?;
        let text = format!("{} {path}", methods.iter().cloned().collect::<Vec<_>>().join("|"));
        Ok(Self {
            upstream,
            methods,
            path: parts,
            resource: resource.to_owned(),
            action,
            query,
            headers,
            socket,
            folds: false,
            terms,
            text,
        })
    }

    /// The resource that a call is about; `None` if it is another call.
    #[must_use]
    pub fn takes(&self, method: &str, path: &PlainPath, content: &Content) -> Option<Resource> {
        // Why: a body of a call that reads is one that some servers take into account all the same.
        let odd = !carries_body(method) && *content != Content::Empty;
        if !self.methods.contains(method) || odd {
            return None;
        }
        let named = self.named(path)?;
        let of = |body: &BTreeMap<String, String>| {
            let value = |name: &str| {
                named.get(name).copied().or_else(|| body.get(name).map(String::as_str))
            };
            let filled = fill(&self.resource, |name| value(name).map(str::to_owned));
            let resource = Resource::parse(&filled.ok()?).ok()?;
            Some(if self.folds { resource.folded() } else { resource })
        };
        let bodies = self.terms.fit(content)?;
        let all: BTreeSet<_> = bodies.iter().map(of).collect::<Option<_>>()?;
        let mut all = all.into_iter();
        // Why none of several: a grant opens one thing, and the call would do something to each.
        all.next().filter(|_| all.next().is_none())
    }

    /// A path that it takes, with the parts that name the resource in lower case: where an upstream takes
    /// two spellings of a name for one, that is the one that is decided about.
    #[must_use]
    pub fn folded(&self, path: &str) -> String {
        let named = names_of(&self.resource);
        let mut parts = self.path.iter();
        let fold = |segment: &str| match parts.next() {
            Some(Part::Any(name)) if named.contains(&name.as_str()) => segment.to_ascii_lowercase(),
            Some(Part::Any(_) | Part::Word(_) | Part::Rest) | None => segment.to_owned(),
        };
        let below = path.strip_prefix('/').unwrap_or(path);
        format!("/{}", below.split('/').map(fold).collect::<Vec<_>>().join("/"))
    }

    /// Whether it has this method and a path like this.
    #[must_use]
    pub fn is_at(&self, method: &str, path: &PlainPath) -> bool {
        self.methods.contains(method) && self.named(path).is_some()
    }

    /// Whether what is sent to this path is GraphQL by this route. Why in any case: some servers do not tell
    /// them apart.
    #[must_use]
    pub fn speaks_graphql_at(&self, path: &PlainPath) -> bool {
        let at = || self.matched(path, str::eq_ignore_ascii_case).is_some();
        self.format() == Some(Format::Graphql) && at()
    }

    /// How it reads bodies, if it does.
    #[must_use]
    pub fn format(&self) -> Option<Format> {
        self.terms.format()
    }

    /// Whether it takes every body that is posted to a path which by its name is for GraphQL.
    #[must_use]
    pub fn swallows_graphql(&self) -> bool {
        let last = self.path.last();
        let named = matches!(last, Some(Part::Word(word)) if word.eq_ignore_ascii_case("graphql"));
        named && self.methods.contains("POST") && self.format() != Some(Format::Graphql)
    }

    /// Whether it is for GraphQL at the path of another route.
    #[must_use]
    pub fn speaks_graphql_beside(&self, other: &Self) -> bool {
        let same = self.upstream == other.upstream && self.path == other.path;
        same && self.format() == Some(Format::Graphql)
    }

    /// Whether another that comes later would never be asked because of this one.
    #[must_use]
    pub fn is_all_of(&self, later: &Self) -> bool {
        let same = self.upstream == later.upstream && self.text == later.text;
        same && (self.terms == Terms::Any || self.terms == later.terms)
    }

    /// The segments of a path that have names; `None` if it is another path.
    fn named<'p>(&'p self, path: &'p PlainPath) -> Option<BTreeMap<&'p str, &'p str>> {
        self.matched(path, |word, segment| word == segment)
    }

    fn matched<'p>(
        &'p self,
        path: &'p PlainPath,
        same: fn(&str, &str) -> bool,
    ) -> Option<BTreeMap<&'p str, &'p str>> {
        let mut segments = path.segments.iter();
        let mut named = BTreeMap::new();
        for part in &self.path {
            match part {
                Part::Rest => {
                    segments.next()?;
                    segments = [].iter();
                }
                Part::Word(word) => drop(segments.next().filter(|segment| same(word, segment))?),
                Part::Any(name) => {
                    let segment = segments.next()?;
                    named.entry(name.as_str()).or_insert(segment.as_str());
                }
            }
        }
        segments.next().is_none().then_some(named)
    }

    /// Checks the query of a call, with its keys decoded.
    ///
    /// # Errors
    /// When it has a key that this call may not have, or one that servers read in two ways.
    pub fn check_query<'a>(
        &self,
        query: &str,
        keys: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), QueryProblem> {
        let route = || self.text.clone();
        if self.query != AllowedKeys::Any && query.contains(';') {
            return Err(QueryProblem::Separator(route()));
        }
        let Some(key) = keys.into_iter().find(|key| !self.query.allows(key)) else { return Ok(()) };
        match is_method_override(key) {
            true => Err(QueryProblem::Method(quote(key), route())),
            false => Err(QueryProblem::Key(quote(key), route())),
        }
    }

    /// What becomes of a request header with this name, which is in lower case.
    #[must_use]
    pub fn header_rule(&self, name: &str) -> HeaderRule {
        self.headers.rule(name)
    }

    /// The headers that it lets pass beside those that always do.
    #[must_use]
    pub fn headers(&self) -> &AllowedHeaders {
        &self.headers
    }

    /// Whether any key of a query passes.
    #[must_use]
    pub fn allows_any_query(&self) -> bool {
        self.query == AllowedKeys::Any
    }

    /// Whether bodies pass of which nothing, or not every key, is decided.
    #[must_use]
    pub fn allows_any_body(&self) -> bool {
        self.terms.allows_any_key()
    }

    /// What it is taken for, in words.
    #[must_use]
    pub fn meaning(&self) -> String {
        let mut meaning = format!("{} on {}", self.action, self.resource);
        if !self.query.is_empty() {
            meaning = format!("{meaning}, query {}", self.query.shown());
        }
        let headers = self.headers.names().collect::<Vec<_>>().join(",");
        match headers.is_empty() {
            true => meaning,
            false => format!("{meaning}, headers {headers}"),
        }
    }

    /// The methods and the template, as they were written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// That, and what it wants of a body.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}{}", self.text, self.terms)
    }
}

/// Whether calls by this method carry a body.
fn carries_body(method: &str) -> bool {
    ["POST", "PUT", "PATCH", "DELETE"].contains(&method)
}

/// Checks that a route says of each of its methods what its body may be.
fn fits_methods(terms: &Terms, methods: &BTreeSet<String>) -> Result<(), RouteError> {
    let wrong = |words: &str| Err(RouteError::Terms(words.to_owned()));
    let other = |known: fn(&str) -> bool| methods.iter().any(|method| !known(method));
    let writes = |method: &String| ["POST", "PUT", "PATCH"].contains(&method.as_str());
    match terms {
        Terms::NoBody if methods.iter().any(writes) => wrong(
            "calls by POST, PUT and PATCH have a body; list its keys in `body` (`[]` if it has none), or write `graphql`, or `body = \"any\"`",
        ),
        Terms::Any if !methods.iter().any(|method| carries_body(method)) => {
            wrong("calls by GET, HEAD and OPTIONS have no body; leave `body` out")
        }
        Terms::Graphql { .. } if other(|method| method == "POST") => {
            wrong("GraphQL is taken by POST alone; write `methods = [\"POST\"]`")
        }
        Terms::Json { .. } if other(carries_body) => {
            wrong("calls by GET, HEAD and OPTIONS have no body; write POST, PUT, PATCH or DELETE")
        }
        Terms::NoBody | Terms::Any | Terms::Graphql { .. } | Terms::Json { .. } => Ok(()),
    }
}

/// Checks that the query of a call can't say otherwise than its body. Why: some servers put both together, and the
/// query may win.
fn fits_query(terms: &Terms, query: &AllowedKeys) -> Result<(), RouteError> {
    let wrong = |words: &str| Err(RouteError::Terms(words.to_owned()));
    match (terms, query) {
        // Why: some servers read the document from there, whatever the body says.
        (Terms::Graphql { .. }, query) if !query.is_empty() => {
            wrong("GraphQL is taken without a query behind `?`; leave `query` out")
        }
        (Terms::Json { .. }, AllowedKeys::Any) => wrong(
            "with `body` the keys of `query` are listed: some servers let a key behind `?` win over one in the body",
        ),
        (Terms::NoBody | Terms::Any | Terms::Graphql { .. } | Terms::Json { .. }, _) => Ok(()),
    }
}

/// The names in braces.
fn names_of(text: &str) -> Vec<&str> {
    text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)).collect()
}

fn part(segment: &str) -> Option<Part> {
    let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    match (segment, name) {
        ("**", _) => Some(Part::Rest),
        (_, Some(name)) => {
            let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            (!name.is_empty() && name.bytes().all(word)).then(|| Part::Any(name.to_owned()))
        }
        (segment, None) => {
            let decoded = decode(segment)?;
            (!segment.contains(['*', '{', '}'])).then_some(Part::Word(decoded))
        }
    }
}

/// Puts values in the place of names in braces.
fn fill(text: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, RouteError> {
    let (mut filled, mut rest) = (String::new(), text);
    while let Some((before, behind)) = rest.split_once('{') {
        let (name, after) =
            behind.split_once('}').ok_or_else(|| RouteError::Resource(quote(text)))?;
        let unknown = || RouteError::Unknown(quote(text), quote(name));
        filled = filled + before + &value(name).ok_or_else(unknown)?;
        rest = after;
    }
    Ok(filled + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(methods: &[&str], path: &str, resource: &str) -> Result<Route, RouteError> {
        Route::new(RouteParts {
            upstream: Upstream::parse("github").unwrap(),
            methods: methods.iter().map(|method| (*method).to_owned()).collect(),
            path,
            resource,
            action: Action::parse("issues:read").unwrap(),
            query: AllowedKeys::Listed(["page".to_owned()].into()),
            headers: BTreeSet::new(),
            socket: false,
            terms: TermsParts::default(),
        })
    }

    fn takes(route: &Route, method: &str, path: &str) -> Option<String> {
        let path = PlainPath::parse(path).ok()?;
        route.takes(method, &path, &Content::Empty).map(|resource| resource.to_string())
    }

    #[test]
    fn a_call_is_about_the_resource_that_its_path_names() {
        let issues = route(&["GET", "HEAD"], "/repos/{owner}/{name}/issues/**", "{owner}/{name}");
        let issues = issues.unwrap();
        assert_eq!(takes(&issues, "GET", "/repos/Acme/api/issues/7").as_deref(), Some("Acme/api"));
        assert_eq!(issues.folded("/repos/Acme/API/issues/A/B"), "/repos/acme/api/issues/A/B");
        for (method, path) in [
            ("POST", "/repos/acme/api/issues/7"),
            ("GET", "/repos/acme/api/issues"),
            ("GET", "/repos/acme/api/pulls/7"),
            ("GET", "/repos/acme/issues/7"),
            ("GET", "/Repos/acme/api/issues/7"),
            ("GET", "/x/repos/acme/api/issues/7"),
            ("GET", "/repos/acme/a%20b/issues/7"),
        ] {
            assert_eq!(takes(&issues, method, path), None, "{method} {path}");
        }
        assert_eq!(issues.check_query("page=1", ["page"]), Ok(()));
        let refused = |query: &str, keys: &[&str]| {
            issues.check_query(query, keys.iter().copied()).unwrap_err().to_string()
        };
        assert!(
            refused("page=1&q=1", &["page", "q"]).contains("key `q` is not allowed for GET|HEAD")
        );
        assert!(refused("page=1;q=1", &["page"]).contains("raw `;`"));
        assert!(refused("_method=PUT", &["_method"]).contains("asks for another method"));
        let path = PlainPath::parse("/repos/acme/api/issues/7").unwrap();
        for content in [Content::Unread, Content::Json(Json::object(b"{}").unwrap())] {
            assert_eq!(issues.takes("GET", &path, &content), None, "no body passes");
        }
        let user = route(&["GET"], "/user", "me").unwrap();
        assert_eq!(takes(&user, "GET", "/user").as_deref(), Some("me"));
        assert_eq!(takes(&user, "GET", "/user/x"), None);
    }

    #[test]
    fn a_call_is_about_one_resource_or_none() {
        let arguments = ["owner", "name"].map(|name| (name.to_owned(), name.to_owned())).into();
        let terms = TermsParts {
            graphql: Some(crate::deed::OperationKind::Query),
            fields: ["r".to_owned()].into(),
            arguments,
            ..TermsParts::default()
        };
        let route = Route::new(RouteParts {
            upstream: Upstream::parse("github").unwrap(),
            methods: ["POST".to_owned()].into(),
            path: "/graphql",
            resource: "{owner}/{name}",
            action: Action::parse("issues:read").unwrap(),
            query: AllowedKeys::default(),
            headers: BTreeSet::new(),
            socket: false,
            terms,
        });
        let route = route.unwrap();
        let takes = |document: &str| {
            let body = format!("{{\"query\":{}}}", serde_json::to_string(document).unwrap());
            let asked = Graphql::read(Json::object(body.as_bytes()).unwrap()).unwrap();
            let path = PlainPath::parse("/graphql").unwrap();
            let found = route.takes("POST", &path, &Content::Graphql(asked));
            found.map(|resource| resource.to_string())
        };
        let one = "r(owner: \"acme\", name: \"api\")";
        assert_eq!(takes(&format!("{{ {one} }}")).as_deref(), Some("acme/api"));
        let same = format!("{{ {one} b: r(owner: \"Acme\", name: \"API\") }}");
        assert_eq!(takes(&same), None, "two resources where an upstream tells cases apart");
        let body = format!("{{\"query\":{}}}", serde_json::to_string(&same).unwrap());
        let asked = Graphql::read(Json::object(body.as_bytes()).unwrap()).unwrap();
        let folding = Route { folds: true, ..route.clone() };
        let path = PlainPath::parse("/graphql").unwrap();
        let one_of_both = folding.takes("POST", &path, &Content::Graphql(asked));
        assert_eq!(one_of_both.unwrap().as_str(), "acme/api");
        let two = format!("{{ {one} b: r(owner: \"acme\", name: \"web\") }}");
        for none in [
            two.as_str(),
            "{ __typename }",
            "{ r(owner: \"acme\") }",
            "{ r(owner: \"*\", name: \"*\") }",
        ] {
            assert_eq!(takes(none), None, "{none}");
        }
        assert!(route.check_query("x=1", ["x"]).is_err(), "no query unless it is named");
    }

    #[test]
    fn a_template_that_means_nothing_is_refused_with_what_to_write() {
        for (methods, path, resource, words) in [
            (vec!["GET"], "repos", "x", "no template"),
            (vec!["GET"], "/a/**/b", "x", "no template"),
            (vec!["GET"], "/a*", "x", "no template"),
            (vec!["GET"], "/{}", "x", "no template"),
            (vec![], "/a", "x", "no template"),
            (vec!["get"], "/a", "x", "GET, HEAD"),
            (vec!["CONNECT"], "/a", "x", "GET, HEAD"),
            (vec!["GET"], "/a/{b}", "{c}", "no segment of the path"),
            (vec!["GET"], "/a/{b}", "{b", "no name"),
            (vec!["GET"], "/a/{b}", "*", "no name"),
        ] {
            let error = route(&methods, path, resource).unwrap_err().to_string();
            assert!(error.contains(words), "{path} {resource}: {error}");
        }
    }
}
