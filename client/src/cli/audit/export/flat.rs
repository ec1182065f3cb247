//! An entry as one row of plain columns.

use jeton_client::EntryInfo;
use jeton_domain::audit::Entry;

use crate::cli::{audit::row, failure::Failure};

/// Names of the columns, in order.
pub const COLUMNS: [&str; 16] = [
    "index", "time", "event", "outcome", "agent", "person", "by", "session", "grant", "upstream",
    "resource", "actions", "ref", "policies", "line", "entry",
];

/// The columns of an entry, all but index and time as text; empty where it says nothing.
pub fn texts(entry: &EntryInfo) -> Result<[String; 14], Failure> {
    let read = read(entry)?;
    let facts = read.event.facts();
    let text = |value: Option<String>| value.unwrap_or_default();
    let scope = facts.scope;
    let joined = |parts: Vec<String>| parts.join(" ");
    Ok([
        entry.event.clone(),
        entry.outcome.clone(),
        text(facts.agent.map(ToString::to_string)),
        text(facts.person.map(ToString::to_string)),
        text(facts.by.map(ToString::to_string)),
        text(facts.session.map(|id| id.to_string())),
        text(facts.grant.map(|id| id.to_string())),
        text(scope.map(|scope| scope.upstream.to_string())),
        text(scope.map(|scope| scope.resource.to_string())),
        scope
            .map(|scope| joined(scope.actions.iter().map(ToString::to_string).collect()))
            .unwrap_or_default(),
        text(scope.and_then(|scope| scope.git_ref.as_ref()).map(ToString::to_string)),
        joined(facts.policies.iter().map(ToString::to_string).collect()),
        entry.line.clone(),
        entry.text.clone(),
    ])
}

/// The entry as it is stored.
pub fn read(entry: &EntryInfo) -> Result<Entry, Failure> {
    Entry::parse(entry.text.as_bytes()).map_err(|error| {
        Failure::Broken(format!(
            "entry {}: {error}; is this `jeton` older than the broker?",
            entry.index
        ))
    })
}

/// The time column.
pub fn time(entry: &EntryInfo) -> String {
    row::time(entry.at)
}
