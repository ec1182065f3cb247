//! Tables that are kept in files: a change of behaviour shows as a change of the file.

use std::{fs, path::Path};

/// Compares a table with `tests/golden/NAME.txt`; with `JETON_GOLDEN=write` in the environment it
/// writes the file instead, for a person to read the difference.
///
/// # Panics
/// When they differ, at the first line that does.
#[allow(clippy::disallowed_methods, reason = "whoever runs the test says whether it writes")]
pub fn holds(name: &str, table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{name}.txt"));
    if std::env::var("JETON_GOLDEN").is_ok_and(|what| what == "write") {
        fs::write(&path, table).unwrap();
        return;
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let (mut kept, mut now) = (kept.lines(), table.lines());
    for line in 1.. {
        match (kept.next(), now.next()) {
            (None, None) => return,
            (kept, now) if kept == now => {}
            (kept, now) => panic!(
                "{}:{line}\n  kept: {}\n  now:  {}\nrun it with JETON_GOLDEN=write and read the difference",
                path.display(),
                kept.unwrap_or("(no line)"),
                now.unwrap_or("(no line)"),
            ),
        }
    }
}
