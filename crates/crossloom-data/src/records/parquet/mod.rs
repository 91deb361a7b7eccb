//! Parquet files, in the forms that data sets of conversations have: pictures lie in the rows.
//!
//! A row is found by the index of pages where the file has one, and otherwise by walking over the pages in front of it in its row group. In
//! memory are one page of a column at a time, the values of the row, and the footers of a few files. What a file declares is held against the file and against limits
//! before memory is reserved for it; where the decoder meets bytes that it was not made for, that is an error like any other.

mod columns;
mod compact;
mod footer;
mod pages;

use std::any::Any;
use std::collections::VecDeque;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::ByteArrayType;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::serialized_reader::SerializedPageReader;
use serde_json::Value as Json;

use self::columns::{Entries, Value};
use self::footer::Footer;
use self::pages::Pages;
use super::any::Row;
use super::conversation::json;
use super::lines::too_long;
use super::{Format, MAX_ROW_BYTES, Member, Place, Record, RecordError};

/// Footers that are kept.
const KEPT: usize = 8;

/// Rows with `conversations`, `messages`, or `question` and `answer`, and in `image` or `images` one picture, several, or none: bytes of a file, or
/// structs of `bytes` and `path`. A picture without bytes is one in the folder of pictures, as is a text.
#[derive(Debug, Default)]
pub struct Parquet {
    /// Those that were used last, the newest in front.
    footers: Mutex<VecDeque<(PathBuf, Arc<Footer>)>>,
}

impl Format for Parquet {
    fn name(&self) -> &'static str {
        "parquet"
    }

    fn unit(&self) -> &'static str {
        "row"
    }

    fn holds_pictures(&self) -> bool {
        true
    }

    fn index(&self, file: &File, told: &mut dyn FnMut(Place)) -> Result<(), (u64, String)> {
        let footer = guarded(|| Footer::read(file)).map_err(|problem| (1, problem))?;
        let mut line = 0;
        for group in footer.metadata.row_groups() {
            for _ in 0..group.num_rows() {
                line += 1;
                told(Place { line, start: 0, len: 0, members: Box::default() });
            }
        }
        Ok(())
    }

    fn parse(&self, row: &[u8], members: &[Member]) -> Result<Record, String> {
        json::<Row>(row)?.record(members)
    }

    fn read(&self, path: &Path, place: &Place) -> Result<Record, RecordError> {
        let file = File::open(path).map_err(RecordError::io(path))?;
        let read = guarded(|| self.record(path, &file, place.line));
        read.map_err(|problem| RecordError::row(path, self, place, problem))
    }
}

impl Parquet {
    fn footer(&self, path: &Path, file: &File) -> Result<Arc<Footer>, String> {
        let kept = || self.footers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, footer)) = kept().iter().find(|(of, _)| of == path) {
            return Ok(Arc::clone(footer));
        }
        let footer = Arc::new(Footer::read(file)?);
        let mut kept = kept();
        kept.truncate(KEPT - 1);
        kept.push_front((path.to_owned(), Arc::clone(&footer)));
        Ok(footer)
    }

    fn record(&self, path: &Path, file: &File, line: u64) -> Result<Record, String> {
        let footer = self.footer(path, file)?;
        let (number, group, row) =
            footer.locate(line.saturating_sub(1)).ok_or("the file has become shorter".to_owned())?;
        let mut read = Vec::new();
        for column in footer.columns.leaves() {
            let name = |chunk: &ColumnChunkMetaData| chunk.column_path().string();
            let chunk = group
                .columns()
                .get(column)
                .ok_or_else(|| format!("row group {number} has no column {column}"))?;
            // A decoder that gives up in the middle is dropped with all that it had.
            let entries = guarded(|| entries(file, group, chunk, row));
            let failed = |problem| format!("row group {number}, column `{}`: {problem}", name(chunk));
            read.push((column, entries.map_err(failed)?));
        }
        let mut take = |column: usize| {
            let at = read.iter().position(|(of, _)| *of == column)?;
            Some(read.swap_remove(at).1)
        };
        let row = footer.columns.row(&mut take);
        let columns::Row { said, shown } = row.ok_or_else(|| {
            format!("row group {number}: its columns do not agree on how many values it has")
        })?;
        record(said, shown, line)
    }
}

/// The values of a column in a row of a row group.
fn entries(
    file: &File,
    group: &RowGroupMetaData,
    chunk: &ColumnChunkMetaData,
    row: usize,
) -> Result<Entries, String> {
    let failed = |error: ParquetError| error.to_string();
    let rows = usize::try_from(group.num_rows()).map_err(|error| error.to_string())?;
    let located = footer::locations(file, chunk, rows)?;
    let pages = Pages::new(file, located.is_some()).map_err(|error| error.to_string())?;
    let pages = SerializedPageReader::new(Arc::new(pages), chunk, rows, located).map_err(failed)?;
    let mut reader = ColumnReaderImpl::<ByteArrayType>::new(chunk.column_descr_ptr(), Box::new(pages));
    let skipped = reader.skip_records(row).map_err(failed)?;
    let (mut definitions, mut repetitions, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let read = reader.read_records(1, Some(&mut definitions), Some(&mut repetitions), &mut values);
    let (records, _, levels) = read.map_err(failed)?;
    if (skipped, records) != (row, 1) {
        return Err("it ends in front of the row".to_owned());
    }
    // Columns that cannot be absent, or do not repeat, have no such levels.
    definitions.resize(levels, 0);
    repetitions.resize(levels, 0);
    let levels = repetitions.into_iter().zip(definitions).collect();
    Ok(Entries { levels, values, taken: (0, 0) })
}

/// What is said and shown, as a record.
fn record(said: Vec<(String, Value)>, shown: Vec<Value>, line: u64) -> Result<Record, String> {
    let (mut paths, mut embedded) = (Vec::new(), Vec::new());
    for value in shown {
        pictures(value, &mut paths, &mut embedded)?;
    }
    let names = match (paths.is_empty(), embedded.is_empty()) {
        (false, false) => return Err("some of its pictures lie in the row, and some in files".to_owned()),
        (_, true) => paths,
        (true, false) => (1..=embedded.len()).map(|number| format!("row {line}, picture {number}")).collect(),
    };
    let mut row = serde_json::Map::new();
    let mut room = MAX_ROW_BYTES;
    for (name, value) in said {
        let value = text(value, &mut room).map_err(|problem| format!("`{name}` {problem}"))?;
        row.insert(name, value);
    }
    row.insert("image".to_owned(), names.into());
    let row: Row =
        serde_json::from_value(Json::Object(row)).map_err(|error| format!("no such row: {error}"))?;
    Ok(Record { embedded, ..row.record(&[])? })
}

/// What is said, as rows of other formats have it.
fn text(value: Value, room: &mut usize) -> Result<Json, String> {
    Ok(match value {
        Value::Null => Json::Null,
        Value::Bytes(bytes, _) => {
            *room = room.checked_sub(bytes.len()).ok_or_else(too_long)?;
            let text = std::str::from_utf8(bytes.data()).map_err(|error| format!("is not UTF-8: {error}"))?;
            Json::String(text.to_owned())
        }
        Value::List(values) => values.into_iter().map(|value| text(value, room)).collect::<Result<_, _>>()?,
        Value::Group(fields) => {
            let fields = fields.into_iter().map(|(name, value)| Ok((name, text(value, room)?)));
            Json::Object(fields.collect::<Result<_, String>>()?)
        }
    })
}

/// Pictures by their paths, or by what is in their files.
fn pictures(value: Value, paths: &mut Vec<String>, embedded: &mut Vec<Vec<u8>>) -> Result<(), String> {
    match value {
        Value::Null => {}
        Value::List(values) => values.into_iter().try_for_each(|value| pictures(value, paths, embedded))?,
        Value::Bytes(path, true) => {
            paths.push(String::from_utf8(path.data().to_vec()).map_err(|error| error.to_string())?);
        }
        Value::Bytes(bytes, false) => embedded.push(bytes.data().to_vec()),
        Value::Group(fields) => {
            let mut fields = fields.into_iter().collect::<std::collections::BTreeMap<_, _>>();
            match (fields.remove("bytes"), fields.remove("path")) {
                (Some(Value::Bytes(bytes, _)), _) => embedded.push(bytes.data().to_vec()),
                (_, Some(Value::Bytes(path, _))) => {
                    return pictures(Value::Bytes(path, true), paths, embedded);
                }
                _ => return Err("a picture has neither `bytes` nor a `path`".to_owned()),
            }
        }
    }
    Ok(())
}

/// The decoder panics on some files that are damaged: that is an error.
fn guarded<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let caught = catch_unwind(AssertUnwindSafe(read));
    caught.unwrap_or_else(|panic| Err(format!("it is damaged: {}", message(&*panic))))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it cannot be decoded")
}

#[cfg(test)]
mod tests;
