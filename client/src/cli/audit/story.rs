//! `jeton audit show`: one grant from the opening of its session to its end.

use jeton_client::{Client, EntryFilter, EntryInfo, PageOf};
use serde_json::{Value, json};

use super::{
    note_part,
    row::{self, Paint},
};
use crate::cli::{
    Global,
    failure::Failure,
    output::{clean, list},
    span,
};

/// Entries of one page.
const PAGE: u32 = 500;

/// Tells it.
///
/// # Errors
/// When there is no such grant for the caller, or the broker can't be reached.
pub async fn show(global: &Global, grant: &str) -> Result<(), Failure> {
    let client = global.connect().await?;
    let of_grant = EntryFilter { grant: Some(grant.to_owned()), ..EntryFilter::default() };
    let (mut entries, part) = all(&client, of_grant).await?;
    note_part(part.as_deref());
    let first = entries.first().map(stored).ok_or_else(|| {
        Failure::Missing(format!("the log has no entry of `{}` for you", clean(grant)))
    })?;
    let session = first.get("session").and_then(Value::as_str).map(str::to_owned);
    let opening = EntryFilter {
        session: session.clone(),
        event: Some("session_opened".to_owned()),
        ..EntryFilter::default()
    };
    if session.is_some() {
        entries.splice(..0, all(&client, opening).await?.0);
    }
    let objects: Vec<Value> = entries.iter().map(row::object).collect();
    global.output().result(&json!({ "grant": grant, "entries": objects }), || {
        format!("{}\n{}", head(grant, &first), story(&entries, Paint::for_stdout()))
    })
}

/// All that fit, and which part of the log the caller sees.
async fn all(
    client: &Client,
    filter: EntryFilter,
) -> Result<(Vec<EntryInfo>, Option<String>), Failure> {
    let (mut entries, mut token) = (Vec::new(), None);
    loop {
        let page = PageOf { size: PAGE, token };
        let found = client.list_entries(filter.clone(), true, page).await?;
        entries.extend(found.items);
        token = found.next;
        if token.is_none() {
            return Ok((entries, found.part));
        }
    }
}

/// The event as it is stored.
fn stored(entry: &EntryInfo) -> Value {
    let value: Value = serde_json::from_str(&entry.text).unwrap_or(Value::Null);
    value.get("event").cloned().unwrap_or_default()
}

fn head(grant: &str, first: &Value) -> String {
    let text = |name| first.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    list([
        ("grant", clean(grant)),
        ("agent", text("agent")),
        ("person", text("person")),
        ("session", text("session")),
    ])
}

fn story(entries: &[EntryInfo], paint: Paint) -> String {
    let mut before = None;
    let mut text = String::new();
    for entry in entries {
        let since = match before {
            None => row::time(entry.at),
            Some(before) => format!("+ {}", passed(entry.at.saturating_sub(before))),
        };
        before = Some(entry.at);
        let event = format!("{:<18}", clean(&entry.event));
        text.push_str(&format!(
            "{}  {since:<24}  {}  {}\n",
            paint.dim(&format!("{:>7}", entry.index)),
            paint.outcome(&entry.outcome, &event),
            clean(&entry.line)
        ));
        if let Some(policy) = policies(&stored(entry)) {
            text.push_str(&format!("{:<53}  {}\n", "", paint.dim(&policy)));
        }
    }
    text
}

/// What decided, for entries of a decision.
fn policies(event: &Value) -> Option<String> {
    let ids = event.pointer("/decided_by/policies")?.as_array()?;
    let ids: Vec<&str> = ids.iter().filter_map(Value::as_str).collect();
    let hash = event.pointer("/decided_by/policy_hash")?.as_str()?.get(..12)?;
    Some(clean(&match ids.as_slice() {
        [] => format!("no policy of set {hash} allowed it"),
        ids => format!("decided by {} of set {hash}", ids.join(", ")),
    }))
}

fn passed(millis: i64) -> String {
    match u64::try_from(millis).unwrap_or(0) {
        short if short < 10_000 => format!("{short} ms"),
        long => span::short(long / 1000),
    }
}
