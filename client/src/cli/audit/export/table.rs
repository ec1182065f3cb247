//! Exports as CSV (RFC 4180). Spreadsheets run cells that begin like a formula, and names and reasons
//! in a log are other people's text: such a cell gets a quote in front. Where the list separator of the
//! locale is `;`, a spreadsheet splits at each `;`, tab and line end, also inside quotes, so the same
//! holds behind each of those.

use std::{
    fs::{File, OpenOptions},
    io::{Seek, SeekFrom},
    path::{Path, PathBuf},
};

use csv::{Position, ReaderBuilder, StringRecord, Writer};
use jeton_client::EntryInfo;

use super::{Sink, flat, unwritable};
use crate::cli::failure::Failure;

/// A file with a header.
pub struct Table {
    path: PathBuf,
    out: Writer<File>,
    next: u64,
}

impl Table {
    /// Makes the file, or goes on behind its last whole row.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let bad = |error: &dyn std::fmt::Display| unwritable(path, error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|error| bad(&error))?;
        let (whole, next) = whole_rows(path, &file)?;
        file.set_len(whole)
            .and_then(|()| file.seek(SeekFrom::End(0)))
            .map_err(|error| bad(&error))?;
        let mut out = Writer::from_writer(file);
        if whole == 0 {
            out.write_record(flat::COLUMNS).map_err(|error| bad(&error))?;
        }
        Ok(Self { path: path.to_owned(), out, next })
    }
}

/// Bytes of the rows that are whole, and the index behind the last.
fn whole_rows(path: &Path, file: &File) -> Result<(u64, u64), Failure> {
    let bad = |error: &dyn std::fmt::Display| unwritable(path, error);
    let length = file.metadata().map_err(|error| bad(&error))?.len();
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(file);
    let own =
        reader.headers().is_ok_and(|header| header == &StringRecord::from(&flat::COLUMNS[..]));
    if length > 0 && !own {
        return Err(Failure::Invalid(format!(
            "`{}` has another header than an export; name another file",
            path.display()
        )));
    }
    let (mut whole, mut next) = (if own { reader.position().byte() } else { 0 }, 0);
    let mut row = StringRecord::new();
    while reader.read_record(&mut row).unwrap_or(false) {
        let end: &Position = reader.position();
        let index = row.get(0).and_then(|index| index.parse::<u64>().ok());
        // Why the last byte: a row whose end is missing may lack the end of its last cell.
        let (Some(index), true) =
            (index, row.len() == flat::COLUMNS.len() && ends_line(file, end.byte()))
        else {
            break;
        };
        (whole, next) = (end.byte(), index.saturating_add(1));
    }
    Ok((whole, next))
}

fn ends_line(file: &File, at: u64) -> bool {
    use std::os::unix::fs::FileExt;
    let mut last = [0_u8; 1];
    at.checked_sub(1).is_some_and(|at| file.read_exact_at(&mut last, at).is_ok()) && last == *b"\n"
}

impl Sink for Table {
    fn next(&self) -> u64 {
        self.next
    }

    fn write(&mut self, entry: &EntryInfo) -> Result<(), Failure> {
        let [index, time] = [entry.index.to_string(), flat::time(entry)];
        let mut texts = flat::texts(entry)?;
        if let Some(json) = texts.last_mut() {
            // Why: it stays JSON that says the same. Nothing but its strings holds a `;`.
            *json = json.replace(';', "\\u003b");
        }
        let cells = [index, time].into_iter().chain(texts).map(harmless);
        self.out.write_record(cells).map_err(|error| unwritable(&self.path, &error))
    }

    fn finish(mut self: Box<Self>) -> Result<(), Failure> {
        self.out
            .flush()
            .and_then(|()| self.out.get_ref().sync_all())
            .map_err(|error| unwritable(&self.path, &error))
    }
}

/// What a formula begins with, in the spellings that spreadsheets know.
const FORMULA: [char; 9] = ['=', '+', '-', '@', '＝', '＋', '－', '＠', '|'];
/// Where a spreadsheet may begin another cell.
const SEPARATORS: [char; 4] = [';', '\t', '\r', '\n'];

/// A cell of which no spreadsheet takes anything for a formula.
fn harmless(cell: String) -> String {
    let mut begins = !cell.starts_with(['\t', '\r', '\n']);
    let mut safe = String::with_capacity(cell.len());
    if !begins {
        safe.push('\'');
    }
    for letter in cell.chars() {
        // Why also behind blanks and quotes: an import may trim the ones and read the others.
        let skipped = letter.is_whitespace() || letter == '"';
        if begins && FORMULA.contains(&letter) {
            safe.push('\'');
        }
        begins = SEPARATORS.contains(&letter) || begins && skipped;
        safe.push(letter);
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_begins_like_a_formula() {
        for cell in ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "＝1", "|x"] {
            assert!(harmless(cell.to_owned()).starts_with('\''), "{cell:?}");
        }
        assert_eq!(harmless("gr_1".to_owned()), "gr_1");
        assert_eq!(harmless("a-b; c=d | e".to_owned()), "a-b; c=d | e");
    }

    #[test]
    fn no_cell_of_a_semicolon_locale_begins_like_a_formula() {
        for cell in [
            "x;=cmd()",
            "x; =cmd()",
            "x;\"=cmd()\"",
            "x\n=cmd()",
            "x\r\n@cmd",
            "x\t+1",
            "x;;-1",
            ";=1",
            "x;＝1",
            " =1",
            "\"=1",
        ] {
            let safe = harmless(cell.to_owned());
            let mut writer = Writer::from_writer(Vec::new());
            writer.write_record(["1", &safe]).unwrap();
            let line = String::from_utf8(writer.into_inner().unwrap()).unwrap();
            // As a spreadsheet splits it that knows no commas: its cells then begin with no quote.
            for part in line.split([';', '\t', '\r', '\n']).chain([safe.as_str()]) {
                let begins = part.trim_start_matches([' ', '"']);
                assert!(!begins.starts_with(FORMULA), "{cell:?}: {part:?}");
            }
            assert_eq!(safe.replace('\'', ""), cell, "nothing is lost");
        }
    }

    #[test]
    fn an_export_goes_on_behind_its_last_whole_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.csv");
        let table = Table::open(&path).unwrap_or_else(|_| panic!("made"));
        assert_eq!(table.next(), 0);
        Box::new(table).finish().unwrap_or_else(|_| panic!("written"));
        let header = std::fs::read_to_string(&path).unwrap();
        let row = |index: u32| format!("{index},{}\n", [r#""a ""b"", c""#; 15].join(","));
        let whole = format!("{header}{}{}", row(7), row(8));
        for cut in [0, 1, 20, 60] {
            let text = format!("{whole}{}", &row(9)[..cut]);
            std::fs::write(&path, text).unwrap();
            let table = Table::open(&path).unwrap_or_else(|_| panic!("opened"));
            assert_eq!(table.next(), 9, "{cut}");
            drop(table);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), whole, "{cut}");
        }
        std::fs::write(&path, "a,b\n1,2\n").unwrap();
        assert!(Table::open(&path).is_err(), "another table is not overwritten");
    }
}
