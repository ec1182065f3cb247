//! `jeton audit verify`, `checkpoint` and `receipt`: what can be held against the broker.

use std::{
    fs,
    io::{IsTerminal, Read, stderr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use jeton_client::{
    EntryFilter, Error, Purpose, Until,
    log::{Folder, LogError, LogSource, Report, StoreFile, Web, verify as verify_log},
};
use jeton_domain::merkle::{Anchor, LogVerifier, SignedCheckpoint, VerifierKey, WitnessKey};
use jeton_files::Access;
use serde_json::json;

use crate::cli::{
    Global,
    failure::Failure,
    output::{self, clean, list},
};

/// Largest file of a key or a checkpoint, in bytes.
const NOTE_BYTES: u64 = 64 * 1024;
/// Time between two words of progress.
const WORD: Duration = Duration::from_millis(200);

/// What to verify, and by what.
#[derive(Args)]
pub struct Verify {
    /// A store's file; the broker may run or be gone.
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// A folder of tiles; with --store, where its old entries were moved to.
    #[arg(long, value_name = "FOLDER")]
    tiles: Option<PathBuf>,
    /// An address that serves the log's tiles, such as https://jeton.acme.dev:7443/log.
    #[arg(long, value_name = "URL", conflicts_with_all = ["store", "tiles"])]
    url: Option<String>,
    /// The log's public key, NAME+ID+BASE64, or a file that holds it [env: JETON_LOG_KEY]
    #[arg(long, value_name = "KEY")]
    log_key: Option<String>,
    /// A checkpoint that you kept; may stand more than once.
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// The public key of a witness that must have cosigned one of these checkpoints; may stand more
    /// than once.
    #[arg(long, value_name = "KEY", requires = "checkpoint")]
    witness: Vec<String>,
}

/// Where the checkpoint goes.
#[derive(Args)]
pub struct Checkpoint {
    /// Write it to a file, replacing an older one only if the log has grown from that one.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The newest one that the broker's witnesses cosigned.
    #[arg(long)]
    cosigned: bool,
    /// Print the log's public key instead.
    #[arg(long, conflicts_with = "out")]
    show_key: bool,
}

/// Which entry to prove.
#[derive(Args)]
pub struct Receipt {
    /// The entry's index, or the grant whose credential was released with it.
    of: String,
    /// The log's public key, NAME+ID+BASE64, or a file that holds it [env: JETON_LOG_KEY]
    #[arg(long, value_name = "KEY")]
    log_key: Option<String>,
}

/// Verifies.
///
/// # Errors
/// When it is not what was signed, or can't be read.
pub async fn verify(global: &Global, asked: Verify) -> Result<(), Failure> {
    let key = key(asked.log_key)?.ok_or_else(|| {
        Failure::config(
            "the log's key is not named; set JETON_LOG_KEY or --log-key to what the operator published, as `jeton audit checkpoint --show-key` prints it",
        )
    })?;
    let kept =
        asked.checkpoint.iter().map(|file| kept(file, &key)).collect::<Result<Vec<_>, _>>()?;
    for witness in &asked.witness {
        let witness = WitnessKey::parse(witness)
            .map_err(|error| Failure::Invalid(format!("--witness: {error}")))?;
        if !kept.iter().any(|kept| kept.time_by(&witness).is_ok()) {
            let name = witness.name().as_str();
            return Err(Failure::Invalid(format!(
                "none of the checkpoints was cosigned by the witness `{}`",
                clean(name)
            )));
        }
    }
    let began = Instant::now();
    let folder = asked.tiles.as_deref().map(Folder::new);
    let report = match (&asked.store, folder, &asked.url) {
        (Some(store), moved, _) => offline(StoreFile::open(store, moved)?, &key, kept).await?,
        (None, Some(folder), _) => offline(folder, &key, kept).await.map_err(of_folder)?,
        (None, None, Some(url)) => offline(Web::new(url, &global.settings())?, &key, kept).await?,
        (None, None, None) => online(global, &key, &kept).await?,
    };

    let told = json!({
        "entries": report.size,
        "root": report.root.to_string(),
        "signed": report.signed,
        "by_hash_only": report.by_hash_only,
        "checkpoints": report.checkpoints,
        "seconds": began.elapsed().as_secs_f64(),
    });
    global.output().result(&told, || words(&report, &key, began.elapsed()))
}

/// Adds what may be the matter with a folder alone.
fn of_folder(failure: Failure) -> Failure {
    let Failure::Tampered(words) = failure else { return failure };
    Failure::Tampered(format!(
        "{words}; if it is the folder that a broker moved old entries to, it is a part of a log: name the broker's store too, with --store"
    ))
}

async fn offline(
    source: impl LogSource + Send + 'static,
    key: &VerifierKey,
    kept: Vec<SignedCheckpoint>,
) -> Result<Report, Failure> {
    let key = key.clone();
    let verified = tokio::task::spawn_blocking(move || {
        let mut bar = Bar::new();
        let report = verify_log(&source, &key, &kept, |done, of| bar.show(done, of));
        bar.clear();
        report
    });
    let verified = verified.await.map_err(|error| Failure::Broken(error.to_string()))?;
    Ok(verified?)
}

/// Reads the entries from the broker itself. It can't lie about what a kept checkpoint vouches for.
async fn online(
    global: &Global,
    key: &VerifierKey,
    kept: &[SignedCheckpoint],
) -> Result<Report, Failure> {
    let client = global.connect().await?;
    let own = client.checkpoint().await?.checkpoint;
    let own = SignedCheckpoint::open(&own.to_string(), key).map_err(LogError::from)?;
    let anchors: Vec<Anchor> = kept
        .iter()
        .chain([&own])
        .map(|signed| Anchor { size: signed.checkpoint().size, root: signed.checkpoint().root })
        .collect();
    let checkpoints = anchors.len();
    let signed = anchors.iter().map(|anchor| anchor.size).max().unwrap_or(0);
    let mut verifier = LogVerifier::new(anchors);
    let mut bar = Bar::new();
    let until = Until::End(Purpose::Verify);
    while verifier.size() < signed {
        let from = verifier.size();
        let mut stream = client.tail_entries(EntryFilter::default(), from, until).await?;
        while let Some(batch) = stream.next().await? {
            for entry in batch.entries {
                verifier.feed(entry.text.as_bytes(), None).map_err(LogError::from)?;
            }
            bar.show(verifier.size(), signed);
        }
        if verifier.size() == from {
            break;
        }
    }
    bar.clear();
    let edge = verifier.finish().map_err(LogError::from)?;
    let root = edge.frontier().root();
    Ok(Report { size: edge.size(), root, by_hash_only: 0, signed, checkpoints })
}

fn words(report: &Report, key: &VerifierKey, took: Duration) -> String {
    let waiting = report.size.saturating_sub(report.signed);
    let waiting = if waiting == 0 { String::new() } else { format!("{waiting}, not signed yet") };
    let hashes = match report.by_hash_only {
        0 => String::new(),
        some => format!("{some}, moved out; --tiles names where they are"),
    };
    let rows = [
        ("entries", report.size.to_string()),
        ("by hash only", hashes),
        ("behind the last checkpoint", waiting),
        ("root", report.root.to_string()),
        ("held against", format!("{} checkpoints by {}", report.checkpoints, key.name().as_str())),
        ("took", format!("{:.1} s", took.as_secs_f64())),
    ];
    let holds = match report.by_hash_only {
        0 => "the log holds: nothing was edited, inserted, removed or reordered".to_owned(),
        some => format!(
            "the log holds from entry {some} on; of those before only the hashes are here, as the log itself says"
        ),
    };
    format!("{holds}\n{}", list(rows))
}

/// Tells the newest checkpoint.
///
/// # Errors
/// When the broker can't be reached, or its log is not the one that the file vouches for.
pub async fn checkpoint(global: &Global, asked: Checkpoint) -> Result<(), Failure> {
    let client = global.connect().await?;
    let found = client.checkpoint().await?;
    if asked.show_key {
        let key = found.key.to_string();
        return global.output().result(&json!({ "log_key": key }), || format!("{key}\n"));
    }
    let shown = if asked.cosigned {
        found.cosigned.ok_or_else(|| {
            Failure::Invalid("no witness has cosigned a checkpoint of this log yet".to_owned())
        })?
    } else {
        found.checkpoint
    };
    let note = shown.to_string();
    if let Some(file) = &asked.out {
        if file.exists() {
            let old = kept(file, &found.key)?;
            grown_from(&client, &old, &shown).await?;
        }
        write(file, &note)?;
    }
    let signed = shown.checkpoint();
    let told = json!({
        "checkpoint": note,
        "size": signed.size,
        "root": signed.root.to_string(),
        "log_key": found.key.to_string(),
    });
    global.output().result(&told, || match &asked.out {
        None => clean_lines(&note),
        Some(file) => {
            format!("{} entries; kept in {}\n", signed.size, clean(&file.display().to_string()))
        }
    })
}

/// Proves that the log of a checkpoint begins with that of an older one.
async fn grown_from(
    client: &jeton_client::Client,
    old: &SignedCheckpoint,
    new: &SignedCheckpoint,
) -> Result<(), Failure> {
    let (old, new) = (old.checkpoint(), new.checkpoint());
    if old.size > new.size {
        return Err(Failure::Tampered(format!(
            "the log has {} entries, but the checkpoint that you kept was signed for {}",
            new.size, old.size
        )));
    }
    let proof = client.consistency(old.size, new.size).await?;
    proof.verify(&old.root, &new.root).map_err(|error| {
        Failure::Tampered(format!(
            "the log did not grow from the checkpoint that you kept: {error}"
        ))
    })
}

/// Proves an entry.
///
/// # Errors
/// When there is none such, or the proof does not hold.
pub async fn receipt(global: &Global, asked: Receipt) -> Result<(), Failure> {
    let client = global.connect().await?;
    let receipt = match asked.of.parse::<u64>() {
        Ok(index) => client.receipt(index).await?,
        Err(_) => client.receipt_of_grant(&asked.of).await?,
    };
    let trusted = key(asked.log_key)?;
    if trusted.as_ref().is_some_and(|trusted| *trusted != receipt.key) {
        return Err(Failure::Tampered(format!(
            "the receipt is signed by {}, which is not the key that you named",
            clean(&receipt.key.to_string())
        )));
    }
    let signed = receipt.checkpoint.checkpoint();
    let path: Vec<String> = receipt.proof.path.iter().map(ToString::to_string).collect();
    let told = json!({
        "index": receipt.entry.index,
        "entry": receipt.entry.text,
        "inclusion_proof": path,
        "checkpoint": receipt.checkpoint.to_string(),
        "log_key": receipt.key.to_string(),
    });
    global.output().result(&told, || {
        let by = match trusted {
            Some(_) => "the key that you named".to_owned(),
            None => format!("{}; --log-key compares it", receipt.key),
        };
        let rows = [
            ("entry", receipt.entry.index.to_string()),
            ("event", format!("{}: {}", receipt.entry.event, receipt.entry.line)),
            ("in the log of", format!("{} entries, root {}", signed.size, signed.root)),
            ("proved by", format!("{} hashes, checked here", path.len())),
            ("signed by", by),
        ];
        list(rows)
    })
}

fn key(named: Option<String>) -> Result<Option<VerifierKey>, Failure> {
    let Some(text) = named.or_else(jeton_client::log_key) else { return Ok(None) };
    let file = Path::new(&text);
    let text = if text.contains('+') && !file.exists() { text } else { read(file)? };
    VerifierKey::parse(&text)
        .map(Some)
        .map_err(|error| Failure::Invalid(format!("the log's key: {error}")))
}

fn kept(file: &Path, key: &VerifierKey) -> Result<SignedCheckpoint, Failure> {
    SignedCheckpoint::open(&read(file)?, key)
        .map_err(|error| Failure::Invalid(format!("`{}`: {error}", file.display())))
}

fn read(file: &Path) -> Result<String, Failure> {
    let bad = |error: std::io::Error| Failure::Missing(format!("`{}`: {error}", file.display()));
    let mut text = String::new();
    fs::File::open(file).map_err(bad)?.take(NOTE_BYTES).read_to_string(&mut text).map_err(bad)?;
    Ok(text)
}

/// Writes a file whole or not at all.
fn write(file: &Path, text: &str) -> Result<(), Failure> {
    jeton_files::replace(file, text.as_bytes(), Access::Shared).map_err(|error| {
        Failure::Told(Error::config(format!("`{}` can't be written: {error}", file.display())))
    })
}

fn clean_lines(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", clean(line))).collect()
}

/// A line of progress, on a terminal only.
struct Bar {
    shown: Option<Instant>,
    on: bool,
}

impl Bar {
    fn new() -> Self {
        Self { shown: None, on: stderr().is_terminal() }
    }

    fn show(&mut self, done: u64, of: u64) {
        if !self.on || self.shown.is_some_and(|at| at.elapsed() < WORD) {
            return;
        }
        self.shown = Some(Instant::now());
        let percent = done.saturating_mul(100).checked_div(of).unwrap_or(100);
        let filled = usize::try_from(percent / 4).unwrap_or(25).min(25);
        let (full, empty) = ("█".repeat(filled), "░".repeat(25_usize.saturating_sub(filled)));
        output::note(&format!("\r{full}{empty} {percent:>3} %  {done} of {of} entries "));
    }

    fn clear(&mut self) {
        if self.shown.is_some() {
            output::note("\r\x1b[K");
        }
    }
}
