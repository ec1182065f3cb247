//! Bodies of calls: JSON, held against a reader that refuses nothing twice, and GraphQL, held against one that
//! others wrote.
#![no_main]

use std::collections::BTreeSet;

use graphql_parser::query::{
    Definition, Document, OperationDefinition, Selection, SelectionSet, parse_query,
};
use jeton_domain::route::{Graphql, Json};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

type Text<'a> = &'a str;

/// The names of root fields, through fragments, each once.
fn roots<'a>(
    document: &Document<'a, Text<'a>>,
    set: &SelectionSet<'a, Text<'a>>,
    seen: &mut BTreeSet<&'a str>,
    found: &mut BTreeSet<String>,
) {
    for selection in &set.items {
        match selection {
            Selection::Field(field) => {
                found.insert(field.name.to_owned());
            }
            Selection::InlineFragment(inline) => {
                roots(document, &inline.selection_set, seen, found)
            }
            Selection::FragmentSpread(spread) => {
                if !seen.insert(spread.fragment_name) {
                    continue;
                }
                for definition in &document.definitions {
                    if let Definition::Fragment(fragment) = definition
                        && fragment.name == spread.fragment_name
                    {
                        roots(document, &fragment.selection_set, seen, found);
                    }
                }
            }
        }
    }
}

fn as_others_read(text: &str) -> Option<BTreeSet<String>> {
    let document = parse_query::<&str>(text).ok()?;
    let mut found = BTreeSet::new();
    for definition in &document.definitions {
        if let Definition::Operation(operation) = definition {
            let set = match operation {
                OperationDefinition::SelectionSet(set) => set,
                OperationDefinition::Query(query) => &query.selection_set,
                OperationDefinition::Mutation(mutation) => &mutation.selection_set,
                OperationDefinition::Subscription(_) => return None,
            };
            roots(&document, set, &mut BTreeSet::new(), &mut found);
        }
    }
    found.remove("__typename");
    Some(found)
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(read) = Json::object(bytes) else { return };
    let others: Value = serde_json::from_slice(bytes).expect("others read it too");
    let others = others.as_object().expect("an object");
    let own = read.fields().expect("an object");
    assert_eq!(own.len(), others.len());
    for (key, value) in own {
        let other = others.get(key).expect("the same key");
        if let (Value::String(text), Json::Text(own)) = (other, value) {
            assert_eq!(own, text);
        } else {
            assert!(!other.is_string() && !matches!(value, Json::Text(_)), "{key}");
        }
    }
    if let Ok(asked) = Graphql::read(read) {
        let text = others.get("query").and_then(Value::as_str).expect("a document");
        // What the other reader can't read is not compared.
        if let Some(found) = as_others_read(text) {
            assert_eq!(asked.fields, found, "{text}");
        }
    }
});
