//! `jeton audit`.

mod export;
mod filter;
mod read;
mod row;
mod story;
mod summary;
mod vouch;

use clap::Subcommand;

use super::{
    Global,
    exit::{self, Exit},
    failure::Failure,
    output::{clean, note},
};

/// What to do with the log.
#[derive(Subcommand)]
pub enum Command {
    /// List entries, newest first.
    List(read::List),
    /// Tell one grant's whole story.
    Show {
        /// The grant.
        grant: String,
    },
    /// Follow the log as it is written.
    Tail(read::Tail),
    /// Count entries by what they say, over time.
    Summary(summary::Summarise),
    /// Write the log to a file or folder for other programs.
    Export(export::Export),
    /// Verify a log from a store's file, a folder of tiles, or the broker itself.
    Verify(vouch::Verify),
    /// Print the newest signed checkpoint; keep it elsewhere to hold the log against later.
    Checkpoint(vouch::Checkpoint),
    /// Prove that one entry is in the log.
    Receipt(vouch::Receipt),
    /// Answer for a store that was restored from a backup, so that granting goes on.
    AcknowledgeRestore {
        /// Why it was restored, for the record.
        #[arg(long)]
        reason: String,
    },
}

/// Does it.
///
/// # Errors
/// When the broker refuses or can't be reached, or the log is not what was signed.
pub async fn run(global: &Global, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::List(list) => read::list(global, list).await?,
        Command::Show { grant } => story::show(global, &grant).await?,
        Command::Tail(tail) => read::tail(global, tail).await?,
        Command::Summary(asked) => summary::summary(global, asked).await?,
        Command::Export(export) => export::export(global, export).await?,
        Command::Verify(verify) => vouch::verify(global, verify).await?,
        Command::Checkpoint(checkpoint) => vouch::checkpoint(global, checkpoint).await?,
        Command::Receipt(receipt) => vouch::receipt(global, receipt).await?,
        Command::AcknowledgeRestore { reason } => {
            global.connect().await?.acknowledge_restore(&reason).await?;
            let told = serde_json::json!({ "acknowledged": true });
            global.output().result(&told, || "on record; granting goes on\n".to_owned())?;
        }
    }
    Ok(exit::OK)
}

/// Says, beside the result, that there is more in the log than its reader sees.
fn note_part(part: Option<&str>) {
    if let Some(part) = part {
        note(&format!("jeton: this is a part of the log: {}\n", clean(part)));
    }
}
