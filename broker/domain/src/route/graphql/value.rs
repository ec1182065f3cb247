//! Values of a document, as far as names can be made of them.

use std::collections::BTreeMap;

use apollo_parser::cst::{self, CstNode};

use super::{super::json::EXACT, GraphqlError, named};
use crate::id::quote;

/// A value as far as a name can be made of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Name(String),
    Variable(String),
    Object(BTreeMap<String, Value>),
    Other,
}

/// Goes into objects as far as a place leads.
pub(super) fn inside<'v>(
    mut value: &'v Value,
    mut place: &'v [String],
) -> Option<(&'v Value, &'v [String])> {
    while let (Value::Object(fields), Some((key, rest))) = (value, place.split_first()) {
        (value, place) = (fields.get(key)?, rest);
    }
    Some((value, place))
}

/// The name that it is, if nothing is left of the place.
pub(super) fn name(value: &Value, rest: &[String]) -> Option<String> {
    match value {
        Value::Name(name) => rest.is_empty().then(|| name.clone()),
        Value::Variable(_) | Value::Object(_) | Value::Other => None,
    }
}

/// Names with values, each name once. Recurses as deep as brackets are open, see [`super::surface`].
pub(super) fn entries(
    all: impl Iterator<Item = (Option<cst::Name>, Option<cst::Value>)>,
    variables: bool,
) -> Result<BTreeMap<String, Value>, GraphqlError> {
    let mut entries = BTreeMap::new();
    for (name, value) in all {
        let name = named(name)?;
        let value = value.ok_or_else(|| GraphqlError::Syntax("a value is missing".to_owned()))?;
        if entries.insert(name.clone(), read(value, variables)?).is_some() {
            return Err(GraphqlError::Twice("arguments", quote(&name)));
        }
    }
    Ok(entries)
}

/// A value. One that may not hold variables, and does, is none that a name is made of.
pub(super) fn read(value: cst::Value, variables: bool) -> Result<Value, GraphqlError> {
    Ok(match value {
        cst::Value::Variable(variable) if variables => Value::Variable(named(variable.name())?),
        cst::Value::StringValue(text) => plain(text.syntax().text().to_string().trim()),
        cst::Value::IntValue(number) => whole_number(number.syntax().text().to_string().trim()),
        cst::Value::ObjectValue(object) => {
            let fields = object.object_fields().map(|one| (one.name(), one.value()));
            Value::Object(entries(fields, variables)?)
        }
        cst::Value::Variable(_)
        | cst::Value::FloatValue(_)
        | cst::Value::BooleanValue(_)
        | cst::Value::NullValue(_)
        | cst::Value::EnumValue(_)
        | cst::Value::ListValue(_) => Value::Other,
    })
}

/// A string in one line without escapes. Why no others: no name needs them.
fn plain(literal: &str) -> Value {
    let inner = literal.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match inner {
        Some(text) if !text.contains(['"', '\\', '\n']) => Value::Name(text.to_owned()),
        Some(_) | None => Value::Other,
    }
}

fn whole_number(literal: &str) -> Value {
    let exact = literal.parse().ok().filter(|number: &u64| *number <= EXACT);
    exact.map_or(Value::Other, |number| Value::Name(number.to_string()))
}
