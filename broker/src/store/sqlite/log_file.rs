//! Reads the log of a store file, also one that a broker is writing, and checks its chain.

use std::path::Path;

use jeton_domain::audit::{CHAIN_START, Entry};

use super::schema::{broken, open_reader};
use crate::store::StoreError;

/// What a whole log amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSummary {
    /// Entries in it.
    pub entries: u64,
    /// Hash of the last one: it stands for all of them.
    pub head: [u8; 32],
}

/// Reads all entries in order and hands each on, once its place and its hash are checked.
///
/// # Errors
/// At the first entry that is missing, out of place, edited or unreadable.
pub fn read_log(path: &Path, mut each: impl FnMut(&Entry)) -> Result<LogSummary, StoreError> {
    let db = open_reader(path)?;
    let mut statement =
        db.prepare("SELECT seq, text, hash FROM entry ORDER BY seq").map_err(broken)?;
    let mut rows = statement.query([]).map_err(broken)?;
    let mut summary = LogSummary { entries: 0, head: CHAIN_START };
    while let Some(row) = rows.next().map_err(broken)? {
        let seq: i64 = row.get(0).map_err(broken)?;
        let text: String = row.get(1).map_err(broken)?;
        let hash: [u8; 32] = row.get(2).map_err(broken)?;
        summary.entries = summary.entries.saturating_add(1);
        let wrong = |what: &str| {
            StoreError::Broken(format!("entry {seq} {what}: somebody changed the log"))
        };
        if u64::try_from(seq) != Ok(summary.entries) {
            return Err(wrong("stands where another should"));
        }
        summary.head = Entry::chain(&summary.head, &text);
        if summary.head != hash {
            return Err(wrong("does not fit its hash"));
        }
        let entry: Entry = serde_json::from_str(&text).map_err(|_| wrong("can't be read"))?;
        if entry.seq != summary.entries {
            return Err(wrong("names another place"));
        }
        each(&entry);
    }
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, sqlite::SqliteStore};
    use jeton_domain::{audit::Event, ttl::Timestamp};
    use rusqlite::Connection;

    #[tokio::test]
    async fn an_edit_a_deletion_and_a_swap_are_found() {
        for (harm, found) in [
            (
                "UPDATE entry SET text = replace(text, 'k2', 'k9') WHERE seq = 2",
                "entry 2 does not fit",
            ),
            ("DELETE FROM entry WHERE seq = 2", "entry 3 stands where another should"),
            ("UPDATE entry SET seq = 9 WHERE seq = 3", "entry 9 stands where another should"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("jeton.db");
            let store = SqliteStore::open(&path).unwrap();
            for kid in ["k1", "k2", "k3"] {
                let event = Event::KeyRotated { kid: kid.into() };
                store.append(event, Timestamp::from_millis(5)).await.unwrap();
            }
            assert_eq!(read_log(&path, |_| {}).unwrap().entries, 3);
            store.close();
            Connection::open(&path).unwrap().execute(harm, []).unwrap();
            let error = read_log(&path, |_| {}).unwrap_err().to_string();
            assert!(error.contains(found), "{harm}: {error}");
        }
    }
}
