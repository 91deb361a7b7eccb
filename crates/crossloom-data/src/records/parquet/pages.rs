//! The bytes of a column, of which no page is decoded that declares too much.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Seek as _, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

use super::compact::walk;

/// The longest page that is decoded, in bytes.
const MAX_PAGE: u64 = 256 << 20;
/// The most that is decoded of a column on the way to one row, in bytes, page after page.
const MAX_DECODED: u64 = 1 << 30;
/// The most values of a page: of each, levels are kept.
const MAX_VALUES: i64 = 1 << 22;
/// The longest header of a page, in bytes: it may hold the least and the greatest value.
const MAX_HEADER: usize = 64 << 10;

/// A file, for one column of one row group.
pub(super) struct Pages {
    file: File,
    length: u64,
    /// Whether pages are read whole, each with its header, by an index.
    located: bool,
    /// Bytes of the newest page whose header was read, decoded.
    page: Arc<AtomicU64>,
    decoded: AtomicU64,
}

impl Pages {
    pub(super) fn new(file: &File, located: bool) -> std::io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self {
            file: file.try_clone()?,
            length,
            located,
            page: Arc::default(),
            decoded: AtomicU64::new(0),
        })
    }
}

impl Length for Pages {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Pages {
    type T = Header;

    fn get_read(&self, start: u64) -> Result<Header> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(start))?;
        let file = BufReader::with_capacity(MAX_HEADER, file);
        Ok(Header { file, page: Arc::clone(&self.page), judged: false })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let behind = start.checked_add(length as u64);
        if length as u64 > MAX_PAGE || behind.is_none_or(|behind| behind > self.length) {
            return Err(refused(format!("a page declares {length} bytes, which are not there or too many")));
        }
        let mut bytes = vec![0; length];
        (&self.file).seek(SeekFrom::Start(start))?;
        (&self.file).read_exact(&mut bytes)?;
        if self.located {
            let head = bytes.get(..MAX_HEADER).unwrap_or(&bytes);
            self.page.store(judge(head).map_err(refused)?, Ordering::Relaxed);
        }
        let page = self.page.load(Ordering::Relaxed);
        if self.decoded.fetch_add(page, Ordering::Relaxed).saturating_add(page) > MAX_DECODED {
            return Err(refused(format!(
                "more than {} MiB have to be decoded to reach the row: write the file anew with smaller row groups or an index of pages \
                 (pyarrow: `write_table(…, row_group_size=100, write_page_index=True)`)",
                MAX_DECODED >> 20
            )));
        }
        Ok(bytes.into())
    }
}

fn refused(problem: String) -> ParquetError {
    ParquetError::General(problem)
}

/// What follows a place in the file. It is read where that is the header of a page, which is judged before.
pub(super) struct Header {
    file: BufReader<File>,
    page: Arc<AtomicU64>,
    judged: bool,
}

impl Read for Header {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        if !self.judged {
            let page = judge(self.file.fill_buf()?).map_err(std::io::Error::other)?;
            self.page.store(page, Ordering::Relaxed);
            self.judged = true;
        }
        self.file.read(to)
    }
}

/// The bytes that a page has once it is decoded, by its header.
pub(super) fn judge(head: &[u8]) -> std::result::Result<u64, String> {
    let (mut bytes, mut values) = (0_i64, 0_i64);
    let walked = walk(head, &mut |path, value| match path {
        [2] => bytes = value,
        // Those of a page of data, of a dictionary, and of a page of data in the second form.
        [5 | 7 | 8, 1] => values = value,
        _ => {}
    });
    if walked.is_none() {
        return Err("the header of a page is damaged, or too long".to_owned());
    }
    match u64::try_from(bytes) {
        Ok(bytes) if bytes <= MAX_PAGE && (0..=MAX_VALUES).contains(&values) => Ok(bytes),
        _ => Err(format!(
            "a page declares {bytes} bytes and {values} values; the limits are {MAX_PAGE} and {MAX_VALUES}: write the file anew with \
             smaller pages (pyarrow: `write_table(…, row_group_size=100, write_batch_size=10)`)"
        )),
    }
}
