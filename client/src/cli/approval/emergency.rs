//! `jeton approval break-glass | unreviewed | review`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use jeton_client::{Client, Emergency, EmergencyInfo, now_millis};
use serde_json::json;

use crate::cli::{
    failure::Failure,
    output::{Output, table},
    span,
};

/// An emergency.
#[derive(Args)]
pub struct BreakGlass {
    /// The grant that waits.
    grant: String,
    /// What the emergency is. Others read it, and review it.
    #[arg(long)]
    reason: String,
    /// The hash that `show` told.
    #[arg(long, value_name = "HASH")]
    hash: String,
    /// What you are named for, where that is more than one thing.
    #[arg(long, value_name = "NAME")]
    glass: Option<String>,
    /// For how long; without it, as long as the catalogue allows.
    #[arg(long = "for", value_parser = span::parse, value_name = "SPAN")]
    ttl: Option<Duration>,
}

/// A look at an emergency afterwards.
#[derive(Args)]
pub struct Review {
    /// The log's entry that tells of it.
    entry: u64,
    /// What you found.
    #[arg(long, value_enum)]
    verdict: Verdict,
    /// What there is to say.
    #[arg(long)]
    words: String,
}

/// What somebody found.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Verdict {
    /// It was an emergency.
    Justified,
    /// It was none.
    NotJustified,
}

/// Lifts guards alone.
///
/// # Errors
/// When the broker refuses.
pub async fn break_glass(
    client: &Client,
    output: Output,
    breaking: BreakGlass,
) -> Result<(), Failure> {
    let BreakGlass { grant, reason, hash, glass, ttl } = breaking;
    let mut shown = client.get_approval(&grant).await?;
    // Why not the one of this moment: what was read in a window of its own may be another request by now.
    shown.request_hash = hash;
    let found = client.break_glass(&shown, Emergency { glass, ttl, reason }).await?;
    let entry = found.given.iter().map(|given| given.entry).max().unwrap_or_default();
    output.result(&found, || {
        format!(
            "the guards are lifted; everybody who listens hears of it\nto be reviewed by somebody else: jeton approval review {entry} --verdict … --words …\n"
        )
    })
}

/// Lists what waits to be reviewed.
///
/// # Errors
/// When the broker refuses.
pub async fn unreviewed(client: &Client, output: Output) -> Result<(), Failure> {
    let found = client.list_unreviewed().await?;
    output.result(&found, || list(&found))
}

fn list(found: &[EmergencyInfo]) -> String {
    if found.is_empty() {
        return "nothing waits to be reviewed\n".to_owned();
    }
    let now = now_millis();
    let rows = found.iter().map(|one| {
        let EmergencyInfo { entry, glass, by, grant, reason, at, .. } = one.clone();
        [entry.to_string(), glass, by, grant, span::relative(now, at), reason]
    });
    table(["ENTRY", "FOR", "BY", "GRANT", "WHEN", "WHY"], rows)
}

/// Records what was found.
///
/// # Errors
/// When the broker refuses.
pub async fn review(client: &Client, output: Output, review: Review) -> Result<(), Failure> {
    let justified = review.verdict == Verdict::Justified;
    client.review_emergency(review.entry, justified, &review.words).await?;
    output.result(&json!({ "reviewed": true }), || "reviewed; the next one may come\n".to_owned())
}
