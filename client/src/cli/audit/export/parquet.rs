//! Exports as Parquet: a folder of files, because such a file can't be gone on with. Each is written
//! whole or not at all, and its name tells which entries it was made from.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use jeton_client::EntryInfo;
use jeton_files::{Access, Draft};
use parquet::{
    basic::{ConvertedType, Repetition, Type as Physical},
    data_type::{ByteArray, ByteArrayType, Int64Type},
    errors::ParquetError,
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::types::Type,
};

use super::{Sink, flat, unwritable};
use crate::cli::failure::Failure;

/// Entries of one file. Why: they are held in memory until it is written.
const ROWS: usize = 50_000;

/// A folder of files.
pub struct Parts {
    folder: PathBuf,
    next: u64,
    rows: Vec<Row>,
}

struct Row {
    index: i64,
    at: i64,
    texts: [String; 14],
}

impl Parts {
    /// Makes the folder, or goes on behind its last file.
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        let bad = |error: std::io::Error| unwritable(folder, &error);
        fs::create_dir_all(folder).map_err(bad)?;
        let mut next = 0;
        for file in fs::read_dir(folder).map_err(bad)? {
            let name = file.map_err(bad)?.file_name();
            next = next.max(name.to_str().and_then(behind).unwrap_or(0));
        }
        Ok(Self { folder: folder.to_owned(), next, rows: Vec::new() })
    }

    fn write_part(&mut self) -> Result<(), Failure> {
        let (Some(first), Some(last)) = (self.rows.first(), self.rows.last()) else {
            return Ok(());
        };
        let path =
            self.folder.join(format!("entries-{:012}-{:012}.parquet", first.index, last.index));
        let bad = |error: std::io::Error| unwritable(&path, &error);
        let mut draft = Draft::new(&path, Access::Shared).map_err(bad)?;
        part(draft.file(), &self.rows).map_err(|error| unwritable(&path, &error))?;
        draft.commit().map_err(bad)?;
        self.rows.clear();
        Ok(())
    }
}

/// The index behind the last entry of a file, from its name.
fn behind(name: &str) -> Option<u64> {
    let span = name.strip_prefix("entries-")?.strip_suffix(".parquet")?;
    span.split_once('-')?.1.parse::<u64>().ok()?.checked_add(1)
}

impl Sink for Parts {
    fn next(&self) -> u64 {
        self.next
    }

    fn write(&mut self, entry: &EntryInfo) -> Result<(), Failure> {
        let index = i64::try_from(entry.index).unwrap_or(i64::MAX);
        self.rows.push(Row { index, at: entry.at, texts: flat::texts(entry)? });
        if self.rows.len() >= ROWS { self.write_part() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> Result<(), Failure> {
        self.write_part()
    }
}

fn schema() -> Result<Arc<Type>, ParquetError> {
    let column = |(place, name): (usize, &&str)| {
        let (physical, converted) = match place {
            0 => (Physical::INT64, ConvertedType::NONE),
            1 => (Physical::INT64, ConvertedType::TIMESTAMP_MILLIS),
            _ => (Physical::BYTE_ARRAY, ConvertedType::UTF8),
        };
        Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::REQUIRED)
            .with_converted_type(converted)
            .build()
            .map(Arc::new)
    };
    let columns = flat::COLUMNS.iter().enumerate().map(column).collect::<Result<_, _>>()?;
    Type::group_type_builder("entry").with_fields(columns).build().map(Arc::new)
}

fn part(file: &File, rows: &[Row]) -> Result<(), ParquetError> {
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(file.try_clone()?, schema()?, properties)?;
    let mut group = writer.next_row_group()?;
    let mut place = 0_usize;
    while let Some(mut column) = group.next_column()? {
        if let Some(text) = place.checked_sub(2) {
            let values: Vec<ByteArray> = rows
                .iter()
                .map(|row| row.texts.get(text).map_or("", String::as_str).into())
                .collect();
            column.typed::<ByteArrayType>().write_batch(&values, None, None)?;
        } else {
            let number = |row: &Row| if place == 0 { row.index } else { row.at };
            let values: Vec<i64> = rows.iter().map(number).collect();
            column.typed::<Int64Type>().write_batch(&values, None, None)?;
        }
        column.close()?;
        place = place.saturating_add(1);
    }
    group.close()?;
    writer.close()?;
    Ok(())
}
