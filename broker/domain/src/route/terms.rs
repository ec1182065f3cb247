//! What a route wants of a call's body, and what it takes from there for the resource's name.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{
    RouteError,
    allowed::{AllowedKeys, letters},
    graphql::{Graphql, Root},
    json::{Constant, Dotted, Json},
};
use crate::{
    deed::{Operation, OperationKind},
    id::quote,
    limits::ROUTE_TERMS,
};

/// How a body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As JSON.
    Json,
    /// As a GraphQL request.
    Graphql,
}

/// A body, as far as a route looked for it.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// There is none.
    Empty,
    /// No route looks into it.
    Unread,
    /// JSON.
    Json(Json),
    /// A GraphQL request.
    Graphql(Graphql),
}

impl Content {
    /// What it asks for, if it says so.
    #[must_use]
    pub fn operation(&self) -> Option<Operation> {
        match self {
            Self::Graphql(asked) => {
                Some(Operation { kind: asked.kind, fields: asked.fields.clone().into() })
            }
            Self::Empty | Self::Unread | Self::Json(_) => None,
        }
    }
}

/// What is written of a route about bodies.
#[derive(Debug, Clone, Default)]
pub struct TermsParts {
    /// The kind of all operations, if it is for GraphQL.
    pub graphql: Option<OperationKind>,
    /// The root fields that they may ask for.
    pub fields: BTreeSet<String>,
    /// Names for the resource, and which arguments of the root fields they are.
    pub arguments: BTreeMap<String, String>,
    /// The keys that a JSON body may have. Without them no body passes.
    pub body: Option<AllowedKeys>,
    /// What has to stand at places of it: one of these.
    pub equal: BTreeMap<String, Vec<Constant>>,
}

/// What a route wants of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Terms {
    /// That there is none.
    NoBody,
    /// Nothing: it goes by unseen.
    Any,
    Json {
        keys: AllowedKeys,
        equal: BTreeMap<Dotted, Vec<Constant>>,
        /// Places that the resource's name is made of.
        named: Vec<Dotted>,
    },
    Graphql {
        kind: OperationKind,
        fields: BTreeSet<String>,
        arguments: BTreeMap<String, Dotted>,
    },
}

/// A value for the resource's name, by what the name calls it.
pub(super) type Named = BTreeMap<String, String>;

/// What a place in a body is called in the name of a resource.
const BODY: &str = "body.";

impl Terms {
    /// Checks what is written, with the names in braces of the resource.
    pub fn new(parts: TermsParts, names: &[&str]) -> Result<Self, RouteError> {
        let TermsParts { graphql, fields, arguments, body, equal } = parts;
        let wrong = |words: &str| Err(RouteError::Terms(words.to_owned()));
        let places = names.iter().filter_map(|name| name.strip_prefix(BODY));
        let named = places.map(dotted).collect::<Result<Vec<_>, _>>()?;
        let reads = !equal.is_empty() || !named.is_empty();
        let keys = match &body {
            Some(AllowedKeys::Listed(keys)) => keys.len(),
            Some(AllowedKeys::Any) | None => 0,
        };
        body.iter().try_for_each(|keys| keys.check("body"))?;
        let most = [fields.len(), arguments.len(), equal.len(), keys];
        if most.into_iter().chain(equal.values().map(Vec::len)).any(|count| count > ROUTE_TERMS) {
            return Err(RouteError::Terms(format!(
                "it names more than {ROUTE_TERMS} of a kind; divide it"
            )));
        }
        match graphql {
            Some(_) if reads || body.is_some() => wrong(
                "`body`, `where` and `{body.…}` are for JSON; with `graphql` write `fields` and `arguments`",
            ),
            Some(_) if fields.is_empty() => {
                wrong("`graphql` needs `fields`: the root fields that may be asked for")
            }
            Some(kind) => {
                if let Some(odd) = fields.iter().chain(arguments.keys()).find(|name| !is_word(name))
                {
                    return Err(RouteError::Terms(format!("`{}` is no name", quote(odd))));
                }
                let arguments = arguments.into_iter();
                let arguments = arguments.map(|(name, place)| Ok((name, dotted(&place)?)));
                Ok(Self::Graphql { kind, fields, arguments: arguments.collect::<Result<_, _>>()? })
            }
            None if !fields.is_empty() || !arguments.is_empty() => {
                wrong("`fields` and `arguments` need `graphql`: \"query\" or \"mutation\"")
            }
            None if equal.values().any(Vec::is_empty) => {
                wrong("an empty list in `where` is never met; name what may stand there")
            }
            None => match body {
                None if reads => wrong(
                    "`where` and `{body.…}` need `body`: list every key, because an upstream may read another key as the one that you compare",
                ),
                None => Ok(Self::NoBody),
                Some(AllowedKeys::Any) if !reads => Ok(Self::Any),
                Some(keys) => {
                    let equal = equal.into_iter().map(|(place, all)| Ok((dotted(&place)?, all)));
                    Ok(Self::Json { keys, equal: equal.collect::<Result<_, _>>()?, named })
                }
            },
        }
    }

    /// How it reads bodies, if it does.
    pub fn format(&self) -> Option<Format> {
        match self {
            Self::NoBody | Self::Any => None,
            Self::Json { .. } => Some(Format::Json),
            Self::Graphql { .. } => Some(Format::Graphql),
        }
    }

    /// Whether a body passes with keys that nobody listed.
    pub fn allows_any_key(&self) -> bool {
        match self {
            Self::Any => true,
            Self::Json { keys, .. } => *keys == AllowedKeys::Any,
            Self::NoBody | Self::Graphql { .. } => false,
        }
    }

    /// The names that the resource may use beside those of the path.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::NoBody | Self::Any => vec![],
            Self::Json { named, .. } => {
                named.iter().map(|place| format!("{BODY}{place}")).collect()
            }
            Self::Graphql { arguments, .. } => arguments.keys().cloned().collect(),
        }
    }

    /// What of a body the resource's name is made of: each that is given must make the same name.
    /// `None` if the body is another.
    pub fn fit(&self, content: &Content) -> Option<Vec<Named>> {
        match (self, content) {
            (Self::NoBody, Content::Empty) | (Self::Any, _) => Some(vec![Named::new()]),
            (Self::Json { equal, named, .. }, Content::Empty) => {
                (equal.is_empty() && named.is_empty()).then(|| vec![Named::new()])
            }
            (Self::Json { keys, equal, named }, Content::Json(body)) => {
                let good = |(place, all): (&Dotted, &Vec<Constant>)| {
                    let found = body.at(place.keys());
                    found.is_some_and(|found| all.iter().any(|one| one.is(found)))
                };
                let plain = |place: &Dotted| has_one_spelling(body, place.keys());
                if !body.fields()?.iter().all(|(key, _)| keys.allows(key))
                    || !equal.iter().all(good)
                    || !equal.keys().chain(named).all(plain)
                {
                    return None;
                }
                let value = |place: &Dotted| {
                    Some((format!("{BODY}{place}"), segment(body.at(place.keys())?.name()?)?))
                };
                Some(vec![named.iter().map(value).collect::<Option<_>>()?])
            }
            (Self::Graphql { kind, fields, arguments }, Content::Graphql(asked)) => {
                if asked.kind != *kind || !asked.fields.is_subset(fields) {
                    return None;
                }
                if arguments.is_empty() {
                    return Some(vec![Named::new()]);
                }
                let of = |root: &Root| {
                    let value = |(name, place): (&String, &Dotted)| {
                        Some((name.clone(), segment(asked.argument(root, place)?)?))
                    };
                    arguments.iter().map(value).collect::<Option<Named>>()
                };
                asked.roots().map(of).collect()
            }
            (Self::NoBody | Self::Json { .. } | Self::Graphql { .. }, _) => None,
        }
    }
}

/// In words, as they stand behind the method and the path. No two that differ read the same.
impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |all: &BTreeSet<String>| all.iter().cloned().collect::<Vec<_>>().join(",");
        match self {
            Self::NoBody => Ok(()),
            Self::Any => f.write_str(" body *"),
            Self::Json { keys, equal, .. } => {
                match keys.is_empty() {
                    true => f.write_str(" body []")?,
                    false => write!(f, " body {}", keys.shown())?,
                }
                for (place, all) in equal {
                    let all: Vec<_> = all.iter().map(ToString::to_string).collect();
                    write!(f, " where {place}={}", all.join("|"))?;
                }
                Ok(())
            }
            Self::Graphql { kind, fields, arguments } => {
                write!(f, " {} {}", kind.word(), list(fields))?;
                arguments.iter().try_for_each(|(name, place)| write!(f, " {name}={place}"))
            }
        }
    }
}

/// Whether no other key of a body could be read as a part of a place. Why: to some readers `ba_se`, `base[]` and
/// `parent.type` are `base` and `parent` with `type` in it.
fn has_one_spelling(body: &Json, place: &[String]) -> bool {
    let Some((own, below)) = place.split_first() else { return true };
    let Some(fields) = body.fields() else { return true };
    let could_be = |key: &str| {
        let folded: String = letters(key).collect();
        let mut whole = String::new();
        place.iter().any(|part| {
            whole.extend(letters(part));
            whole == folded
        })
    };
    let other = |(key, _): &(String, Json)| key != own && could_be(key);
    !fields.iter().any(other) && body.get(own).is_none_or(|inner| has_one_spelling(inner, below))
}

/// A value that is one segment of a name. Why no other: what is one value there must not be two segments here.
fn segment(value: String) -> Option<String> {
    (!value.is_empty() && !value.contains('/')).then_some(value)
}

fn dotted(text: &str) -> Result<Dotted, RouteError> {
    let wrong = || {
        let words =
            format!("`{}` is no place in a body; write keys with dots between them", quote(text));
        RouteError::Terms(words)
    };
    Dotted::parse(text).ok_or_else(wrong)
}

/// A name of GraphQL.
fn is_word(name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graphql(fields: &[&str], arguments: &[(&str, &str)], resource: &[&str]) -> Terms {
        let owned = |(name, place): &(&str, &str)| ((*name).to_owned(), (*place).to_owned());
        let parts = TermsParts {
            graphql: Some(OperationKind::Query),
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
            arguments: arguments.iter().map(owned).collect(),
            ..TermsParts::default()
        };
        Terms::new(parts, resource).unwrap()
    }

    fn asked(document: &str) -> Content {
        let body = format!("{{\"query\":{}}}", serde_json::to_string(document).unwrap());
        Content::Graphql(Graphql::read(Json::object(body.as_bytes()).unwrap()).unwrap())
    }

    #[test]
    fn a_document_fits_if_all_of_it_does() {
        let terms = graphql(&["r", "s"], &[("owner", "o")], &["owner"]);
        let fit = |document: &str| {
            let names = terms.fit(&asked(document))?;
            Some(names.into_iter().map(|mut one| one.remove("owner").unwrap()).collect::<Vec<_>>())
        };
        let all = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(fit("{ r(o: \"a\") }"), all(&["a"]));
        assert_eq!(fit("{ r(o: \"a\") s(o: \"b\") __typename }"), all(&["a", "b"]));
        assert_eq!(fit("{ __typename }"), all(&[]));
        for other in [
            "{ r }",
            "{ r(o: \"a\") s }",
            "{ t(o: \"a\") }",
            "{ r(o: \"a\") t(o: \"a\") }",
            "mutation { r(o: \"a\") }",
            "{ r(o: \"a/b\") }",
            "{ r(o: \"\") }",
        ] {
            assert_eq!(fit(other), None, "{other}");
        }
        let empty = Content::Json(Json::object(b"{}").unwrap());
        for content in [Content::Empty, Content::Unread, empty] {
            assert_eq!(terms.fit(&content), None);
        }
        assert_eq!(Terms::Any.fit(&asked("{ r }")), Some(vec![Named::new()]));
        assert_eq!(Terms::NoBody.fit(&asked("{ r }")), None);
    }

    #[test]
    fn two_terms_that_differ_read_differently() {
        let keys = |keys: &[&str], place: &str, value: Constant| {
            let keys = keys.iter().map(|key| (*key).to_owned()).collect();
            let equal = [(place.to_owned(), vec![value])].into();
            let body = Some(AllowedKeys::Listed(keys));
            let parts = TermsParts { body, equal, ..TermsParts::default() };
            Terms::new(parts, &[]).unwrap()
        };
        let any = |equal: BTreeMap<String, Vec<Constant>>| {
            let parts = TermsParts { body: Some(AllowedKeys::Any), equal, ..TermsParts::default() };
            Terms::new(parts, &[]).unwrap()
        };
        let text = |text: &str| Constant::Text(text.to_owned());
        let all = [
            Terms::NoBody,
            any(BTreeMap::new()),
            any([("b".to_owned(), vec![text("7")])].into()),
            keys(&[], "b", text("7")),
            graphql(&["r"], &[], &[]),
            graphql(&["r", "s"], &[], &[]),
            graphql(&["r"], &[("o", "o")], &[]),
            graphql(&["r"], &[("o", "p.o")], &[]),
            keys(&["a"], "b", text("7")),
            keys(&["a"], "b", Constant::Whole(7)),
            keys(&["a"], "b", text("true")),
            keys(&["a"], "b", Constant::Bool(true)),
            keys(&["a", "b"], "b", text("7")),
            keys(&["a"], "c", text("7")),
        ];
        let told: BTreeSet<_> = all.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), all.len(), "{told:#?}");
    }

    #[test]
    fn a_key_that_could_be_read_as_a_compared_one_does_not_pass_beside_it() {
        let terms = |body: AllowedKeys, place: &str| {
            let equal = [(place.to_owned(), vec![Constant::Text("main".into())])].into();
            let parts = TermsParts { body: Some(body), equal, ..TermsParts::default() };
            Terms::new(parts, &[]).unwrap()
        };
        let fits = |terms: &Terms, text: &str| {
            terms.fit(&Content::Json(Json::object(text.as_bytes()).unwrap())).is_some()
        };
        let base = terms(AllowedKeys::Any, "base");
        assert!(fits(&base, r#"{"base":"main","database":"x","title":"ba_se"}"#));
        for other in ["ba_se", "base[]", "ba-se", "_base", "BASE ", "b.a.s.e", "ba\u{17f}e_"] {
            assert!(!fits(&base, &format!(r#"{{"base":"main","{other}":"prod"}}"#)), "{other}");
        }
        assert!(!fits(&base, r#"{"base":"main","_method":"DELETE"}"#));
        let keys = AllowedKeys::Listed(["head".to_owned()].into());
        let head = terms(keys, "head.ref");
        assert!(fits(&head, r#"{"head":{"ref":"main","sha":"x"}}"#));
        for other in [r#""re_f":"x""#, r#""Ref_":"x""#, r#""ref[]":"x""#] {
            assert!(!fits(&head, &format!(r#"{{"head":{{"ref":"main",{other}}}}}"#)), "{other}");
        }
        let head = terms(AllowedKeys::Any, "head.ref");
        for other in ["head.ref", "head[ref]", "headRef", "head_ref"] {
            let body = format!(r#"{{"head":{{"ref":"main"}},"{other}":"x"}}"#);
            assert!(!fits(&head, &body), "{other}");
        }
        let equal = [("a".to_owned(), vec![Constant::Whole(1)])].into();
        let none = TermsParts { equal, ..TermsParts::default() };
        assert!(Terms::new(none, &[]).unwrap_err().to_string().contains("need `body`"));
    }
}
