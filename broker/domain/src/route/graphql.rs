//! A GraphQL request: what its document asks for, by kind and root field.
//!
//! Whatever could be run of it counts: each operation, each fragment that one spreads, and what a directive would
//! leave out. What its upstream could read in another way than we do is refused.

mod surface;
#[cfg(test)]
mod tests;
mod value;

use std::collections::{BTreeMap, BTreeSet};

use apollo_parser::{
    Parser,
    cst::{self, Definition, Selection},
};

use self::{
    surface::surface,
    value::{Value, entries, inside, name, read},
};
use super::json::{Dotted, Json};
use crate::{
    deed::OperationKind,
    id::quote,
    limits::{GRAPHQL_DEPTH, GRAPHQL_NAME, GRAPHQL_OPERATIONS, GRAPHQL_ROOTS, GRAPHQL_TOKENS},
};

/// Why a request is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphqlError {
    /// A part of the request that nobody here knows.
    #[error(
        "the key `{0}` of the request is not taken; write `query`, `variables` and `operationName`"
    )]
    Key(String),
    /// No document.
    #[error(
        "the request has no text in `query`; send the document: what a persisted query does can't be seen"
    )]
    NoQuery,
    /// Variables or name of another type.
    #[error("`{0}` of the request is not {1}")]
    Type(&'static str, &'static str),
    /// A name that no operation has.
    #[error("the document has no operation `{0}`, which `operationName` names")]
    NoOperation(String),
    /// Not as the language says.
    #[error("the document can't be parsed: {0}")]
    Syntax(String),
    /// A character that parsers see differently.
    #[error(
        "the document holds the character {0}; write it as an escape in a string, or leave it out"
    )]
    Character(String),
    /// Too much of something.
    #[error("the document has more than {0} {1}; send less at a time")]
    Bound(usize, &'static str),
    /// A schema, or a description.
    #[error("the document holds other than operations and fragments")]
    Definition,
    /// Something of a name that something else has.
    #[error("the document has two {0} named `{1}`")]
    Twice(&'static str, String),
    /// A fragment that is not there.
    #[error("the document spreads the fragment `{0}`, which it does not have")]
    NoFragment(String),
    /// A subscription.
    #[error("subscriptions are not taken; ask with queries")]
    Subscription,
    /// Queries and mutations at once.
    #[error("the document has queries and mutations; send them in requests of their own")]
    Mixed,
}

/// A request that was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Graphql {
    /// What every operation of it is.
    pub kind: OperationKind,
    /// The root fields of all of them, by their own names; `__typename` is not among them.
    pub fields: BTreeSet<String>,
    roots: Vec<Root>,
    variables: Json,
    /// The variables of each operation, with their defaults.
    declared: Vec<BTreeMap<String, Option<Value>>>,
}

/// A root field as it stands there once.
#[derive(Debug, Clone, PartialEq)]
pub struct Root {
    /// Its own name.
    pub field: String,
    operation: usize,
    arguments: BTreeMap<String, Value>,
}

impl Graphql {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// When it is none, or none that has one meaning.
    pub fn read(body: Json) -> Result<Self, GraphqlError> {
        let Request { document, variables, operation } = Request::of(body)?;
        surface(&document)?;
        let tree = Parser::new(&document)
            .recursion_limit(GRAPHQL_DEPTH)
            .token_limit(GRAPHQL_TOKENS)
            .parse();
        if let Some(error) = tree.errors().next() {
            return Err(GraphqlError::Syntax(quote(error.message())));
        }
        let parts = Parts::of(&tree.document())?;
        if let Some(name) = operation.filter(|name| !parts.names.contains(name)) {
            return Err(GraphqlError::NoOperation(quote(&name)));
        }
        let kind = parts.kind()?;
        let (mut roots, mut declared) = (Vec::new(), Vec::new());
        for (place, operation) in parts.operations.iter().enumerate() {
            declared.push(variables_of(operation)?);
            parts.roots(place, operation, &mut roots)?;
        }
        let fields = roots.iter().map(|root| root.field.clone()).collect();
        Ok(Self { kind, fields, roots, variables, declared })
    }

    /// The root fields, as often as they stand there.
    pub fn roots(&self) -> impl Iterator<Item = &Root> {
        self.roots.iter()
    }

    /// What an argument of a root field is, or a place in it, if that is a string or a whole number.
    #[must_use]
    pub fn argument(&self, root: &Root, place: &Dotted) -> Option<String> {
        let (argument, rest) = place.keys().split_first()?;
        let declared = self.declared.get(root.operation)?;
        let value = root.arguments.get(argument)?;
        let (value, rest) = inside(value, rest)?;
        let Value::Variable(name) = value else { return name(value, rest) };
        // Why first: what the operation does not declare, its upstream does not read.
        let default = declared.get(name)?;
        match self.variables.get(name) {
            Some(given) => given.at(rest)?.name(),
            None => {
                let (value, rest) = inside(default.as_ref()?, rest)?;
                self::name(value, rest)
            }
        }
    }
}

/// The parts of a request.
struct Request {
    document: String,
    variables: Json,
    operation: Option<String>,
}

impl Request {
    fn of(body: Json) -> Result<Self, GraphqlError> {
        let Json::Object(fields) = body else {
            return Err(GraphqlError::Type("the body", "an object"));
        };
        let (mut document, mut operation, mut variables) = (None, None, Json::Null);
        for (key, value) in fields {
            match (key.as_str(), value) {
                ("query", Json::Text(text)) => document = Some(text),
                ("query", _) => return Err(GraphqlError::NoQuery),
                ("operationName", Json::Text(name)) => operation = Some(name),
                ("operationName" | "variables" | "extensions", Json::Null) => {}
                ("operationName", _) => {
                    return Err(GraphqlError::Type("operationName", "a string"));
                }
                ("variables", value @ Json::Object(_)) => variables = value,
                ("variables", _) => return Err(GraphqlError::Type("variables", "an object")),
                ("extensions", Json::Object(known)) => extensions(&known)?,
                ("extensions", _) => return Err(GraphqlError::Type("extensions", "an object")),
                _ => return Err(GraphqlError::Key(quote(&key))),
            }
        }
        let document = document.ok_or(GraphqlError::NoQuery)?;
        Ok(Self { document, variables, operation })
    }
}

/// Extensions may say which library asks. Why nothing else: by one of them an upstream runs another document.
fn extensions(fields: &[(String, Json)]) -> Result<(), GraphqlError> {
    match fields.iter().find(|(key, _)| key != "clientLibrary") {
        Some((key, _)) => Err(GraphqlError::Key(format!("extensions.{}", quote(key)))),
        None => Ok(()),
    }
}

/// The definitions of a document.
struct Parts {
    operations: Vec<cst::OperationDefinition>,
    names: BTreeSet<String>,
    fragments: BTreeMap<String, cst::SelectionSet>,
}

impl Parts {
    fn of(document: &cst::Document) -> Result<Self, GraphqlError> {
        let mut parts =
            Self { operations: vec![], names: BTreeSet::new(), fragments: BTreeMap::new() };
        for definition in document.definitions() {
            match definition {
                Definition::OperationDefinition(operation) => parts.operation(operation)?,
                Definition::FragmentDefinition(fragment) => parts.fragment(&fragment)?,
                Definition::DirectiveDefinition(_)
                | Definition::SchemaDefinition(_)
                | Definition::ScalarTypeDefinition(_)
                | Definition::ObjectTypeDefinition(_)
                | Definition::InterfaceTypeDefinition(_)
                | Definition::UnionTypeDefinition(_)
                | Definition::EnumTypeDefinition(_)
                | Definition::InputObjectTypeDefinition(_)
                | Definition::SchemaExtension(_)
                | Definition::ScalarTypeExtension(_)
                | Definition::ObjectTypeExtension(_)
                | Definition::InterfaceTypeExtension(_)
                | Definition::UnionTypeExtension(_)
                | Definition::EnumTypeExtension(_)
                | Definition::InputObjectTypeExtension(_) => return Err(GraphqlError::Definition),
            }
        }
        Ok(parts)
    }

    fn operation(&mut self, operation: cst::OperationDefinition) -> Result<(), GraphqlError> {
        if self.operations.len() >= GRAPHQL_OPERATIONS {
            return Err(GraphqlError::Bound(GRAPHQL_OPERATIONS, "operations"));
        }
        if let Some(name) = operation.name() {
            let name = name.text().to_string();
            if !self.names.insert(name.clone()) {
                return Err(GraphqlError::Twice("operations", quote(&name)));
            }
        }
        self.operations.push(operation);
        Ok(())
    }

    fn fragment(&mut self, fragment: &cst::FragmentDefinition) -> Result<(), GraphqlError> {
        let name = fragment.fragment_name().and_then(|name| name.name());
        let (name, set) = (named(name)?, whole(fragment.selection_set())?);
        match self.fragments.insert(name.clone(), set) {
            None => Ok(()),
            Some(_) => Err(GraphqlError::Twice("fragments", quote(&name))),
        }
    }

    /// What all operations are.
    fn kind(&self) -> Result<OperationKind, GraphqlError> {
        let mut kinds = BTreeSet::new();
        for operation in &self.operations {
            let kind = operation.operation_type();
            kinds.insert(match kind {
                None => OperationKind::Query,
                Some(kind) if kind.query_token().is_some() => OperationKind::Query,
                Some(kind) if kind.mutation_token().is_some() => OperationKind::Mutation,
                Some(_) => return Err(GraphqlError::Subscription),
            });
        }
        match (kinds.pop_first(), kinds.pop_first()) {
            (Some(kind), None) => Ok(kind),
            (Some(_), Some(_)) => Err(GraphqlError::Mixed),
            (None, _) => Err(GraphqlError::Syntax("it has no operation".to_owned())),
        }
    }

    /// Adds the root fields of an operation, wherever they stand.
    fn roots(
        &self,
        place: usize,
        operation: &cst::OperationDefinition,
        roots: &mut Vec<Root>,
    ) -> Result<(), GraphqlError> {
        let (mut todo, mut spread) = (vec![whole(operation.selection_set())?], BTreeSet::new());
        while let Some(set) = todo.pop() {
            for selection in set.selections() {
                match selection {
                    Selection::Field(field) => roots.extend(root(place, &field)?),
                    Selection::InlineFragment(inline) => todo.push(whole(inline.selection_set())?),
                    Selection::FragmentSpread(one) => {
                        let name = named(one.fragment_name().and_then(|name| name.name()))?;
                        let fragment = self.fragments.get(&name);
                        let fragment =
                            fragment.ok_or_else(|| GraphqlError::NoFragment(quote(&name)))?;
                        // Why once: fragments that spread each other would go on without end.
                        if spread.insert(name) {
                            todo.push(fragment.clone());
                        }
                    }
                }
                if roots.len() > GRAPHQL_ROOTS {
                    return Err(GraphqlError::Bound(GRAPHQL_ROOTS, "root fields"));
                }
            }
        }
        Ok(())
    }
}

/// A root field. `None` for `__typename`, which tells nothing and does nothing.
fn root(operation: usize, field: &cst::Field) -> Result<Option<Root>, GraphqlError> {
    let name = named(field.name())?;
    if name.chars().count() > GRAPHQL_NAME {
        return Err(GraphqlError::Bound(GRAPHQL_NAME, "characters in a root field's name"));
    }
    let given = field.arguments().into_iter().flat_map(|all| all.arguments());
    let arguments = entries(given.map(|one| (one.name(), one.value())), true)?;
    let root = Root { field: name, operation, arguments };
    Ok((root.field != "__typename").then_some(root))
}

/// What an operation declares. A default holds no variables.
fn variables_of(
    operation: &cst::OperationDefinition,
) -> Result<BTreeMap<String, Option<Value>>, GraphqlError> {
    let mut declared = BTreeMap::new();
    let all = operation.variable_definitions();
    for one in all.into_iter().flat_map(|all| all.variable_definitions()) {
        let name = named(one.variable().and_then(|variable| variable.name()))?;
        let default = one.default_value().and_then(|default| default.value());
        let default = default.map(|value| read(value, false)).transpose()?;
        if declared.insert(name.clone(), default).is_some() {
            return Err(GraphqlError::Twice("variables", quote(&name)));
        }
    }
    Ok(declared)
}

fn named(name: Option<cst::Name>) -> Result<String, GraphqlError> {
    let name = name.map(|name| name.text().to_string());
    name.ok_or_else(|| GraphqlError::Syntax("a name is missing".to_owned()))
}

fn whole(set: Option<cst::SelectionSet>) -> Result<cst::SelectionSet, GraphqlError> {
    set.ok_or_else(|| GraphqlError::Syntax("fields are missing".to_owned()))
}
