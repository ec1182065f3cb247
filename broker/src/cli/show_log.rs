//! `jetond log`: the log, a line an entry.

use std::{
    io::{self, Write},
    path::Path,
};

use jeton_domain::{
    audit::{Entry, Event},
    secret::hex,
    session::Words,
};

use crate::{app::AppError, store::sqlite::read_log};

/// Prints all entries and what they amount to.
pub(super) fn show_log(store: &Path, json: bool) -> Result<(), AppError> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut printed = Ok(());
    let summary = read_log(store, |entry| {
        if printed.is_ok() {
            printed = print(&mut out, entry, json);
        }
    })
    .map_err(|error| AppError::Broken(error.to_string()))?;
    let done = printed.and_then(|()| out.flush());
    match done {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(AppError::Broken(error.to_string()));
        }
        Ok(()) | Err(_) => {}
    }
    super::say(&format!(
        "{} entries; the chain of hashes is whole; head {}",
        summary.entries,
        hex(&summary.head)
    ));
    Ok(())
}

fn print(out: &mut impl Write, entry: &Entry, json: bool) -> io::Result<()> {
    if json {
        return writeln!(out, "{}", entry.text().map_err(io::Error::other)?);
    }
    let at = jiff::Timestamp::from_millisecond(entry.at.millis())
        .map_or_else(|_| entry.at.millis().to_string(), |at| format!("{at:.3}"));
    // Why cleaned: entries hold words of agents, and this is a terminal.
    let words = Words::new(&words(&entry.event));
    writeln!(out, "{:>5}  {at}  {:<17}  {}", entry.seq, entry.event.word(), words.as_str())
}

/// What happened, in one line.
fn words(event: &Event) -> String {
    match event {
        Event::Started { version, policy_hash } => {
            format!("jetond {version}, policies {}", short(policy_hash))
        }
        Event::PolicyLoaded { policy_hash, refused: None } => {
            format!("policies {}", short(policy_hash))
        }
        Event::PolicyLoaded { refused: Some(why), .. } => format!("refused: {}", why.as_str()),
        Event::KeyRotated { kid } => format!("signing key {kid}"),
        Event::SessionOpened { session, agent, opener, task, .. } => {
            format!("{session} for {agent}, by {opener}: {}", task.as_str())
        }
        Event::SessionRefused { reason, .. } => reason.as_str().to_owned(),
        Event::SessionClosed { session, by, reason } => {
            let by = by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
            format!("{session}{by}: {}", reason.as_str())
        }
        Event::Denied { scope, layer, reason, .. } => {
            format!("{scope}; {}: {}", layer.word(), reason.as_str())
        }
        Event::Pending { about, .. } => format!("{} {}", about.grant, about.scope),
        Event::Intent { about, ttl } => {
            format!("{} {} for {} s", about.grant, about.scope, ttl.seconds())
        }
        Event::Issued { about, fingerprint, .. } | Event::Renewed { about, fingerprint, .. } => {
            format!("{} {} credential {}", about.grant, about.scope, short(fingerprint))
        }
        Event::MintFailed { grant, reason, .. } => format!("{grant}: {}", reason.as_str()),
        Event::Released { grant, .. } | Event::Expired { grant, .. } | Event::Lapsed { grant } => {
            grant.to_string()
        }
        Event::Revoked { grant, by, reason, .. } => format!("{grant} by {by}: {}", reason.as_str()),
        Event::RevocationAsked { by, reason, .. } => format!("by {by}: {}", reason.as_str()),
        Event::UpstreamAnswered { grant, upstream } => format!("{grant}: {upstream:?}"),
    }
}

/// The start of a hash, for people.
fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}
