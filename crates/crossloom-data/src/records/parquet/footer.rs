//! What a file declares about itself, judged before it is believed.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use parquet::basic::Compression;
use parquet::file::metadata::{
    ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
};
use parquet::file::page_index::offset_index::PageLocation;

use super::columns::Columns;
use super::compact::walk;

/// The longest footer that is read, in bytes.
const MAX_FOOTER: u64 = 16 << 20;
/// The longest offset index of a column in a row group that is read, in bytes.
const MAX_INDEX: u64 = 4 << 20;
/// The most columns of a file.
const MAX_COLUMNS: i64 = 1 << 16;
/// The deepest nesting of columns.
const MAX_NESTING: usize = 16;
/// What a file begins and ends with.
const MAGIC: &[u8; 4] = b"PAR1";

/// The footer of a file, of which every range that is read lies in the file.
#[derive(Debug)]
pub(super) struct Footer {
    pub(super) metadata: ParquetMetaData,
    pub(super) columns: Columns,
}

impl Footer {
    /// Reads and judges it.
    ///
    /// # Errors
    /// The file is none of Parquet, declares what it cannot hold, has no columns that make a sample, or uses a codec that is not read.
    pub(super) fn read(file: &File) -> Result<Self, String> {
        let length = file.metadata().map_err(|error| error.to_string())?.len();
        let tail = length.checked_sub(8).filter(|&tail| tail >= 4).ok_or("it is too short for Parquet")?;
        let ends = bytes(file, tail, 8)?;
        let (declared, magic) = ends.split_first_chunk::<4>().ok_or("it is too short for Parquet")?;
        if magic != MAGIC {
            return Err("it does not end as Parquet does (`PAR1`)".to_owned());
        }
        let declared = u64::from(u32::from_le_bytes(*declared));
        let start = tail.checked_sub(declared).filter(|_| declared <= MAX_FOOTER);
        let start = start.ok_or_else(|| {
            format!(
                "its footer declares {declared} bytes; the file has {length}, and the limit is {MAX_FOOTER}"
            )
        })?;
        let footer = bytes(file, start, declared)?;
        schema(&footer)?;
        let metadata = ParquetMetaDataReader::decode_metadata(&footer);
        let metadata = metadata.map_err(|error| format!("its footer cannot be read: {error}"))?;
        let columns = Columns::of(metadata.file_metadata().schema())?;
        for (number, group) in metadata.row_groups().iter().enumerate() {
            of_group(group, &columns, start).map_err(|problem| format!("row group {number}: {problem}"))?;
        }
        Ok(Self { metadata, columns })
    }

    /// The row group of a row, its number, and the row's number in it; all numbers from 0.
    pub(super) fn locate(&self, row: u64) -> Option<(usize, &RowGroupMetaData, usize)> {
        let mut before = 0;
        for (number, group) in self.metadata.row_groups().iter().enumerate() {
            let rows = group.num_rows() as u64;
            if row - before < rows {
                return Some((number, group, (row - before) as usize));
            }
            before += rows;
        }
        None
    }
}

/// Judges how a footer nests columns, for which memory is reserved by what it declares.
fn schema(footer: &[u8]) -> Result<(), String> {
    // How many columns are still to come at every level.
    let (mut open, mut sound): (Vec<i64>, bool) = (Vec::new(), true);
    let walked = walk(footer, &mut |path, value| match path {
        // The name of a column.
        [2, 4] => {
            while open.last() == Some(&0) {
                open.pop();
            }
            if let Some(left) = open.last_mut() {
                *left -= 1;
            }
        }
        // How many it holds.
        [2, 5] if value != 0 => {
            sound &= (0..=MAX_COLUMNS).contains(&value) && open.len() < MAX_NESTING;
            open.push(value);
        }
        _ => {}
    });
    if walked.is_none() {
        return Err("its footer is damaged".to_owned());
    }
    let limits =
        || format!("its columns are nested more than {MAX_NESTING} deep, or more than {MAX_COLUMNS}");
    if sound { Ok(()) } else { Err(limits()) }
}

fn of_group(group: &RowGroupMetaData, columns: &Columns, end: u64) -> Result<(), String> {
    let mut held = 0;
    for number in columns.leaves() {
        let chunk = group.columns().get(number).ok_or_else(|| format!("it has no column {number}"))?;
        let refused = |problem: &str| Err(format!("column `{}` {problem}", chunk.column_path().string()));
        if !matches!(
            chunk.compression(),
            Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::ZSTD(_)
        ) {
            return refused("is neither uncompressed nor compressed by snappy or zstd: write it anew so");
        }
        let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
        let range = u64::try_from(start).ok().zip(u64::try_from(chunk.compressed_size()).ok());
        match range.and_then(|(start, size)| Some((start, start.checked_add(size)?, size))) {
            Some((start, behind, size)) if start >= 4 && behind <= end => held += size,
            _ => return refused("does not lie in the file"),
        }
    }
    // The index has a place for each.
    match u64::try_from(group.num_rows()) {
        Ok(rows) if rows <= held => Ok(()),
        _ => Err(format!("it declares {} rows in {held} bytes", group.num_rows())),
    }
}

/// Where the pages of a column lie in a row group, where the file has an index of them.
///
/// # Errors
/// An index that is damaged, or names places outside the column.
pub(super) fn locations(
    file: &File,
    chunk: &ColumnChunkMetaData,
    rows: usize,
) -> Result<Option<Vec<PageLocation>>, String> {
    let Some((start, length)) = chunk.offset_index_offset().zip(chunk.offset_index_length()) else {
        return Ok(None);
    };
    let range = u64::try_from(start).ok().zip(u64::try_from(length).ok());
    let (start, length) = range
        .filter(|&(_, length)| length <= MAX_INDEX)
        .ok_or("its offset index has no place in the file")?;
    let index = bytes(file, start, length)?;
    let mut places: Vec<[i64; 3]> = Vec::new();
    let walked = walk(&index, &mut |path, value| match (path, places.last_mut()) {
        ([1, 1], _) => places.push([value, -1, -1]),
        ([1, 2], Some(last)) => last[1] = value,
        ([1, 3], Some(last)) => last[2] = value,
        _ => {}
    });
    let (first, size) = chunk.byte_range();
    let (mut behind, mut row) = (first as i64, 0);
    let mut sound = walked.is_some() && places.first().is_some_and(|place| place[2] == 0);
    for &[offset, bytes, first_row] in &places {
        sound &= offset >= behind && (1..=i64::from(i32::MAX)).contains(&bytes);
        sound &= (row..rows as i64).contains(&first_row);
        (behind, row) = (offset.saturating_add(bytes), first_row);
    }
    if !sound || behind > (first + size) as i64 {
        return Err("its offset index is damaged".to_owned());
    }
    // Writers leave pages without a row, which the decoder takes for the end.
    let next = places.iter().skip(1).map(|place| Some(place[2])).chain([None]).collect::<Vec<_>>();
    let held = places.into_iter().zip(next).filter(|(place, next)| *next != Some(place[2]));
    let located = |[offset, bytes, first_row_index]: [i64; 3]| PageLocation {
        offset,
        compressed_page_size: bytes as i32,
        first_row_index,
    };
    Ok(Some(held.map(|(place, _)| located(place)).collect()))
}

fn bytes(mut file: &File, start: u64, length: u64) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| error.to_string();
    file.seek(SeekFrom::Start(start)).map_err(failed)?;
    let mut bytes = Vec::with_capacity(length as usize);
    file.take(length).read_to_end(&mut bytes).map_err(failed)?;
    if (bytes.len() as u64) < length { Err("it ends within what it declares".to_owned()) } else { Ok(bytes) }
}
