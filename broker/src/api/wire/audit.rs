//! The wire's side of the audit log.

use std::collections::BTreeMap;

use jeton_domain::{
    audit::{EntryFilter, Event, Outcome},
    decision::PolicyId,
    pattern::Pattern,
    scope::{Action, Upstream},
    spelling::Spelling,
    ttl::{Timestamp, Ttl},
};
use jeton_proto::v1;

use super::{Parsed, grant_id, invalid, optional, principal, session_id, time};
use crate::{
    operation::{
        read_audit::Found,
        receipt::{Of, Receipt},
        summarise::{Summary, Wanted},
        tail::{Batch, Purpose},
    },
    store::index::Kind,
};

/// Reads which entries are wanted. Absent fits everything, so each field that is there must parse.
pub(crate) fn filter(filter: Option<v1::EntryFilter>, spelling: &Spelling) -> Parsed<EntryFilter> {
    let filter = filter.unwrap_or_default();
    let upstream = |field, text: &str| Upstream::parse(text).map_err(|error| invalid(field, error));
    let pattern = |field, text: &str| Pattern::parse(text).map_err(|error| invalid(field, error));
    let action = |field, text: &str| Action::parse(text).map_err(|error| invalid(field, error));
    let policy = |_, text: &str| Ok(PolicyId::new(text));
    let event = |field, text: &str| match Event::WORDS.contains(&text) {
        true => Ok(text.to_owned()),
        false => {
            let known = Event::WORDS.join(", ");
            Err(invalid(field, format!("`{}` is no event; there are {known}", quoted(text))))
        }
    };
    let outcome = |field, text: &str| {
        Outcome::parse(text).ok_or_else(|| {
            let known = Outcome::ALL.map(Outcome::word).join(", ");
            invalid(field, format!("`{}` is no outcome; there are {known}", quoted(text)))
        })
    };
    let upstream = optional("filter.upstream", &filter.upstream, upstream)?;
    let resource = optional("filter.resource", &filter.resource, pattern)?;
    Ok(EntryFilter {
        agent: optional("filter.agent", &filter.agent, principal)?,
        person: optional("filter.person", &filter.person, principal)?,
        by: optional("filter.by", &filter.by, principal)?,
        session: optional("filter.session", &filter.session, session_id)?,
        grant: optional("filter.grant", &filter.grant, grant_id)?,
        resource: match (&upstream, resource) {
            (Some(upstream), Some(resource)) => Some(spelling.pattern(upstream, resource)),
            // Why as it is: names of several upstreams may fit, each as it is recorded.
            (_, resource) => resource,
        },
        upstream,
        action: optional("filter.action", &filter.action, action)?,
        event: optional("filter.event", &filter.event, event)?,
        outcome: optional("filter.outcome", &filter.outcome, outcome)?,
        policy: optional("filter.policy_id", &filter.policy_id, policy)?,
        from: filter.from_time.map(|time| moment("filter.from_time", time)).transpose()?,
        until: filter.until_time.map(|time| moment("filter.until_time", time)).transpose()?,
        within: None,
    })
}

/// Reads what is to be counted.
pub(crate) fn wanted(request: v1::SummariseRequest, spelling: &Spelling) -> Parsed<Wanted> {
    let by = Kind::COUNTED.into_iter().find(|kind| kind.word() == request.by).ok_or_else(|| {
        let known = Kind::COUNTED.map(Kind::word).join(", ");
        let asked = quoted(&request.by);
        invalid("by", format!("`{asked}` can't be counted by; there are {known}"))
    })?;
    let every = Ttl::from_seconds(request.every_seconds);
    Ok(Wanted { filter: filter(request.filter, spelling)?, by, every })
}

/// Counts, the highest first.
pub(crate) fn summary(summary: Summary) -> v1::SummariseResponse {
    use v1::summarise_response::{Count, Part};
    let part = |(start, counts): (Timestamp, BTreeMap<String, u64>)| {
        let mut counts: Vec<Count> =
            counts.into_iter().map(|(value, count)| Count { value, count }).collect();
        counts.sort_by_key(|count| std::cmp::Reverse(count.count));
        Part { start_time: Some(time(start)), counts }
    };
    v1::SummariseResponse {
        parts: summary.parts.into_iter().map(part).collect(),
        looked_at: summary.looked_at,
        part: String::new(),
    }
}

/// The start of a word of the caller's, for an error.
fn quoted(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

fn moment(field: &'static str, time: prost_types::Timestamp) -> Parsed<Timestamp> {
    let millis = i64::from(time.nanos) / 1_000_000;
    time.seconds
        .checked_mul(1000)
        .and_then(|seconds| seconds.checked_add(millis))
        .filter(|_| (0..1_000_000_000).contains(&time.nanos))
        .map(Timestamp::from_millis)
        .ok_or_else(|| invalid(field, "it is no time"))
}

pub(crate) fn entry(found: Found) -> v1::Entry {
    v1::Entry {
        index: found.entry.index,
        time: Some(time(found.entry.at)),
        event: found.entry.event.word().to_owned(),
        outcome: found.entry.event.facts().outcome.word().to_owned(),
        line: found.entry.event.line(),
        text: found.text,
    }
}

pub(crate) fn batch(batch: Batch) -> v1::TailEntriesResponse {
    v1::TailEntriesResponse {
        entries: batch.entries.into_iter().map(entry).collect(),
        next_index: batch.next,
        at_end: batch.at_end,
        part: String::new(),
    }
}

/// What a tail is read for.
pub(crate) fn purpose(wire: i32) -> Parsed<Purpose> {
    use v1::tail_entries_request::Purpose as Wire;
    match Wire::try_from(wire) {
        Ok(Wire::Unspecified) => Ok(Purpose::Look),
        Ok(Wire::Export) => Ok(Purpose::Export),
        Ok(Wire::Verify) => Ok(Purpose::Verify),
        Err(_) => Err(invalid("purpose", "this broker does not know it; leave it out")),
    }
}

pub(crate) fn of(of: Option<v1::get_receipt_request::Of>) -> Parsed<Of> {
    use v1::get_receipt_request::Of as Wire;
    match of {
        Some(Wire::Index(index)) => Ok(Of::Index(index)),
        Some(Wire::Grant(id)) => grant_id("grant", &id).map(Of::Grant),
        None => Err(invalid("of", "it is missing; name an index or a grant")),
    }
}

pub(crate) fn receipt(receipt: Receipt, verifier_key: String) -> v1::GetReceiptResponse {
    v1::GetReceiptResponse {
        inclusion_proof: receipt.proof.path.iter().map(|hash| hash.0.to_vec()).collect(),
        checkpoint: receipt.checkpoint.to_string(),
        entry: Some(entry(Found { text: receipt.text, entry: receipt.entry })),
        verifier_key,
    }
}
