//! `jeton audit summary`.

use std::{collections::BTreeMap, time::Duration};

use clap::Args;
use jeton_client::{EntryFilter, Summary};

use super::{filter::Filter, note_part, row};
use crate::cli::{
    Global,
    failure::Failure,
    output::{clean, table},
    span,
};

/// Width of the longest bar, in characters.
const BAR: u64 = 30;

/// What to count.
#[derive(Args)]
pub struct Summarise {
    #[command(flatten)]
    filter: Filter,
    /// By agent, person, by, upstream, resource, action, event, outcome or policy.
    #[arg(long, value_name = "FIELD", default_value = "event")]
    count_by: String,
    /// In parts of this length, such as 1h.
    #[arg(long, value_parser = span::parse, value_name = "SPAN")]
    every: Option<Duration>,
}

/// Counts.
///
/// # Errors
/// When the broker refuses or can't be reached.
pub async fn summary(global: &Global, asked: Summarise) -> Result<(), Failure> {
    let client = global.connect().await?;
    let filter = EntryFilter::from(asked.filter);
    let found = client.summarise(filter, &asked.count_by, asked.every).await?;
    note_part(found.part.as_deref());
    let by = asked.count_by.to_uppercase();
    global.output().result(&found, || match asked.every {
        None => counts(&found, &by),
        Some(_) => parts(&found, &by),
    })
}

/// One table of all counts.
fn counts(found: &Summary, by: &str) -> String {
    let counts: Vec<&(String, u64)> = found.parts.iter().flat_map(|part| &part.counts).collect();
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let rows =
        counts.iter().map(|(value, count)| [value.clone(), count.to_string(), bar(*count, most)]);
    let text = table([by, "ENTRIES", ""], rows);
    format!("{text}{} entries looked at\n", found.looked_at)
}

/// A row for each part of the time.
fn parts(found: &Summary, by: &str) -> String {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for (value, count) in found.parts.iter().flat_map(|part| &part.counts) {
        let sum = sums.entry(value).or_default();
        *sum = sum.saturating_add(*count);
    }
    let total = |counts: &[(String, u64)]| counts.iter().map(|(_, count)| count).sum::<u64>();
    let most = found.parts.iter().map(|part| total(&part.counts)).max().unwrap_or(0);
    let rows = found.parts.iter().map(|part| {
        let all = total(&part.counts);
        let told: Vec<String> =
            part.counts.iter().map(|(value, count)| format!("{value} {count}")).collect();
        [row::time(part.start), all.to_string(), bar(all, most), clean(&told.join(", "))]
    });
    let text = table(["FROM", "ENTRIES", "", by], rows);
    let sums: Vec<String> = sums.iter().map(|(value, sum)| format!("{value} {sum}")).collect();
    format!("{text}in all: {}\n", clean(&sums.join(", ")))
}

fn bar(count: u64, most: u64) -> String {
    let length = count.saturating_mul(BAR).div_ceil(most.max(1));
    "█".repeat(usize::try_from(length).unwrap_or(0))
}
