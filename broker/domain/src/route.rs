//! Which call of an API is what: a method and a path, mapped to a resource and an action.
//!
//! A path is looked at as it is sent: it must be written in the one way that needs no decoding but of what
//! can't be written otherwise. So nobody on the way reads another path than the one that was decided. What
//! some clients encode though they need not, such as `@` and `:`, may be written both ways, and is the same.

use std::collections::BTreeSet;

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
    #[error("the resource `{0}` names `{{{1}}}`, which is no segment of the path")]
    Unknown(String, String),
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
    /// Keys that its query may have; `None`: any.
    query: Option<BTreeSet<String>>,
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
    pub query: Option<BTreeSet<String>>,
}

impl Route {
    /// Checks the parts.
    ///
    /// # Errors
    /// When one is none.
    pub fn new(parts: RouteParts<'_>) -> Result<Self, RouteError> {
        let RouteParts { upstream, methods, path, resource, action, query } = parts;
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
        let names: BTreeSet<&str> = names.collect();
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
            text,
        })
    }

    /// The resource that a call is about; `None` if it is another call.
    #[must_use]
    pub fn takes(&self, method: &str, path: &PlainPath) -> Option<Resource> {
        if !self.methods.contains(method) {
            return None;
        }
        let mut segments = path.segments.iter();
        let mut named = Vec::new();
        for part in &self.path {
            match part {
                Part::Rest => {
                    segments.next()?;
                    segments = [].iter();
                }
                Part::Word(word) => drop(segments.next().filter(|segment| *segment == word)?),
                Part::Any(name) => named.push((name.as_str(), segments.next()?)),
            }
        }
        if segments.next().is_some() {
            return None;
        }
        let of = |name: &str| named.iter().find(|(known, _)| *known == name);
        let filled = fill(&self.resource, |name| of(name).map(|(_, value)| (*value).clone()));
        Resource::parse(&filled.ok()?).ok()
    }

    /// A key of a query that this call may not have.
    #[must_use]
    pub fn refuses<'a>(&self, keys: impl IntoIterator<Item = &'a str>) -> Option<String> {
        let allowed = self.query.as_ref()?;
        keys.into_iter().find(|key| !allowed.contains(*key)).map(str::to_owned)
    }

    /// What it is taken for, in words.
    #[must_use]
    pub fn meaning(&self) -> String {
        let keys = self
            .query
            .as_ref()
            .map(|keys| format!(", query {}", keys.iter().cloned().collect::<Vec<_>>().join(",")));
        format!("{} on {}{}", self.action, self.resource, keys.unwrap_or_default())
    }

    /// The methods and the template, as they were written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
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

/// A path that is written in one way only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainPath {
    segments: Vec<String>,
    decoded: String,
}

impl PlainPath {
    /// Checks a path, as it stands in a request, from its first slash on.
    ///
    /// # Errors
    /// When it could be read in two ways.
    pub fn parse(path: &str) -> Result<Self, RouteError> {
        let odd = || RouteError::Path(quote(path));
        let segments = path.strip_prefix('/').ok_or_else(odd)?.split('/');
        let segments: Vec<String> = segments.map(decode).collect::<Option<_>>().ok_or_else(odd)?;
        if segments.len() > ROUTE_SEGMENTS || path.len() > ROUTE_TEXT {
            return Err(odd());
        }
        let decoded = format!("/{}", segments.join("/"));
        Ok(Self { segments, decoded })
    }

    /// The path, decoded.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.decoded
    }
}

/// Decodes one segment, if it is written as plainly as it can be (RFC 3986 §6.2.2).
fn decode(segment: &str) -> Option<String> {
    let (mut decoded, mut bytes) = (Vec::with_capacity(segment.len()), segment.bytes());
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let byte =
                    digit(bytes.next()?)?.checked_mul(16)?.checked_add(digit(bytes.next()?)?)?;
                // Why: what need not be encoded, or means something else when decoded, is encoded only to
                // be read in two ways.
                let plain = byte.is_ascii_alphanumeric() || b"-._~/\\%;".contains(&byte);
                if plain || byte.is_ascii_control() {
                    return None;
                }
                byte
            }
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => byte,
            other if b"-._~!$&'()*+,=:@".contains(&other) => other,
            _ => return None,
        };
        decoded.push(byte);
    }
    let decoded = String::from_utf8(decoded).ok()?;
    // Why no trailing dot either: some servers cut it off.
    let known = !matches!(decoded.as_str(), "" | "." | "..") && !decoded.ends_with('.');
    known.then_some(decoded)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => byte.checked_sub(b'0'),
        b'A'..=b'F' => byte.checked_sub(b'A')?.checked_add(10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn route(methods: &[&str], path: &str, resource: &str) -> Result<Route, RouteError> {
        Route::new(RouteParts {
            upstream: Upstream::parse("github").unwrap(),
            methods: methods.iter().map(|method| (*method).to_owned()).collect(),
            path,
            resource,
            action: Action::parse("issues:read").unwrap(),
            query: Some(["page".to_owned()].into()),
        })
    }

    fn takes(route: &Route, method: &str, path: &str) -> Option<String> {
        let path = PlainPath::parse(path).ok()?;
        route.takes(method, &path).map(|resource| resource.to_string())
    }

    #[test]
    fn a_call_is_about_the_resource_that_its_path_names() {
        let issues = route(&["GET", "HEAD"], "/repos/{owner}/{name}/issues/**", "{owner}/{name}");
        let issues = issues.unwrap();
        assert_eq!(takes(&issues, "GET", "/repos/Acme/api/issues/7").as_deref(), Some("acme/api"));
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
        assert_eq!(issues.refuses(["page"]), None);
        assert_eq!(issues.refuses(["page", "q"]).as_deref(), Some("q"));
        let user = route(&["GET"], "/user", "me").unwrap();
        assert_eq!(takes(&user, "GET", "/user").as_deref(), Some("me"));
        assert_eq!(takes(&user, "GET", "/user/x"), None);
    }

    #[test]
    fn a_path_that_can_be_read_in_two_ways_is_none() {
        for bad in [
            "",
            "x",
            "//",
            "/",
            "/a//b",
            "/a/",
            "/a/./b",
            "/a/../b",
            "/a/%2e%2e/b",
            "/a%2fb",
            "/a%2Fb",
            "/a\\b",
            "/a%5Cb",
            "/a;b",
            "/a%3Bb",
            "/%61",
            "/a%00",
            "/a%0A",
            "/a%zz",
            "/a%2",
            "/a%c3%a9",
            "/a b",
            "/\u{e9}",
            "/a?b",
            "/a#b",
            "/a.",
            "/a/..;/b",
            "/%252e",
            "/a%ff",
        ] {
            assert!(PlainPath::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(PlainPath::parse("/a%20b/%C3%A9:x@y").unwrap().as_str(), "/a b/\u{e9}:x@y");
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

    proptest! {
        #[test]
        fn what_is_taken_has_one_spelling(path in "/[a-z%./;A-F0-9 ]{0,12}", other in "/[a-z%./;A-F0-9 ]{0,12}") {
            if let (Ok(one), Ok(two)) = (PlainPath::parse(&path), PlainPath::parse(&other)) {
                prop_assert_eq!(one == two, path == other);
            }
        }
    }
}
