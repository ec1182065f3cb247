//! `jeton policy replay` and `suggest`: what a broker's log tells was asked.

use std::time::Duration;

use jeton_client::{EntryFilter, PageOf, now_millis};
use jeton_domain::audit::Entry;
use jeton_policy::{
    PolicySet,
    author::{
        replay::{Recorded, Replay, Requests},
        suggest::Suggestion,
    },
};
use serde_json::json;

use super::odd;
use crate::cli::{
    Global,
    exit::{self, Exit},
    failure::Failure,
    output::table,
    span,
};

/// Entries of one page of the log.
const PAGE: u32 = 1000;
/// Events that tell of requests.
const REQUESTS: [&str; 5] = ["intent", "issued", "pending", "denied", "denials_summarized"];

/// Reads from a broker's log what was asked, and hands each request on. Returns how many denials the
/// log only counts.
async fn requests(
    global: &Global,
    since: Duration,
    mut take: impl FnMut(Recorded) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let client = global.connect().await?;
    let since = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    let mut requests = Requests::default();
    for event in REQUESTS {
        let filter = EntryFilter {
            event: Some(event.to_owned()),
            since: Some(now_millis().saturating_sub(since)),
            ..EntryFilter::default()
        };
        let mut page = PageOf { size: PAGE, token: None };
        loop {
            let found = client.list_entries(filter.clone(), true, page).await?;
            for info in &found.items {
                let entry = Entry::parse(info.text.as_bytes())
                    .map_err(|error| Failure::Broken(format!("entry {}: {error}", info.index)))?;
                requests.of(&entry).map_or(Ok(()), &mut take)?;
            }
            match found.next {
                Some(token) => page = PageOf { size: PAGE, token: Some(token) },
                None => break,
            }
        }
    }
    Ok(requests.summarized())
}

/// Tells the least that would have been enough.
pub async fn suggest(global: &Global, set: &PolicySet, since: Duration) -> Result<Exit, Failure> {
    let mut suggestion = Suggestion::default();
    requests(global, since, |recorded| {
        suggestion.take(&recorded);
        Ok(())
    })
    .await?;
    let agents: Vec<_> = suggestion
        .agents()
        .map(|agent| {
            json!({
                "agent": agent.as_str(),
                "envelope": suggestion.envelope(agent),
                "policies": suggestion.policies(set, agent),
            })
        })
        .collect();
    let never = suggestion.never_decided(set);
    let ids: Vec<_> = never.iter().map(|id| id.as_str()).collect();
    global.output().result(&json!({ "agents": agents, "never_decided": ids }), || {
        let mut text = String::new();
        for agent in suggestion.agents() {
            text += &format!("// {agent}; the smallest envelope:\n");
            let lines = suggestion.envelope(agent);
            text +=
                &lines.iter().map(|line| format!("//   --allow '{line}'\n")).collect::<String>();
            text += &suggestion.policies(set, agent);
        }
        for id in &never {
            text += &format!("// `{id}` decided nothing that was asked.\n");
        }
        if text.is_empty() { "// nothing was asked\n".to_owned() } else { text }
    })?;
    Ok(exit::OK)
}

/// Decides again what was asked.
pub async fn replay(global: &Global, set: &PolicySet, since: Duration) -> Result<Exit, Failure> {
    let mut replay = Replay::default();
    let summarized =
        requests(global, since, |recorded| replay.again(set, &recorded).map_err(odd)).await?;
    let flips: Vec<_> = replay.flips().collect();
    let values: Vec<_> = flips
        .iter()
        .map(|flip| {
            json!({
                "agent": flip.agent.as_str(), "scope": flip.scope, "was": flip.was,
                "would_be": flip.now, "why": flip.why, "count": flip.count,
                "last": flip.last.millis(),
            })
        })
        .collect();
    let requests = replay.requests;
    let value = json!({ "requests": requests, "summarized_denials": summarized, "flips": values });
    global.output().result(&value, || {
        let cells = flips.iter().map(|flip| {
            let change = format!("{} → {}", flip.was, flip.now);
            let last = span::relative(now_millis(), flip.last.millis());
            let agent = flip.agent.to_string();
            [change, flip.count.to_string(), last, agent, flip.scope.clone(), flip.why.clone()]
        });
        let header = ["CHANGE", "TIMES", "LAST", "AGENT", "SCOPE", "WHY"];
        let shown = if flips.is_empty() { String::new() } else { table(header, cells) + "\n" };
        let others = flips.iter().map(|flip| flip.count).sum::<u64>();
        let excluded = match summarized {
            0 => String::new(),
            count => format!("excluded: {count} denials that the log only summarizes\n"),
        };
        format!(
            "{shown}{requests} requests, {others} of them would be answered otherwise\n{excluded}"
        )
    })?;
    Ok(exit::OK)
}
