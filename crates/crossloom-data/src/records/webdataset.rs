//! Tar shards in WebDataset's form: members that share a name up to its first dot, one after the other, are a sample.

use std::fs::File;

use tar::{Archive, EntryType};

use super::any::Row;
use super::conversation::json;
use super::{Format, MAX_ROW_BYTES, Member, Place, Record, path};

/// Members `NAME.json`, with a row of any other format, and `NAME.png` or `NAME.jpg`, of several also `NAME.0.png` and so on, whose order is
/// that of the pictures. Other members are passed over.
#[derive(Debug, Clone, Copy)]
pub struct WebDataset;

/// A sample of which members may follow.
struct Open {
    key: String,
    place: Place,
    members: Vec<Member>,
}

impl Open {
    fn close(mut self, told: &mut dyn FnMut(Place)) {
        self.place.members = self.members.into();
        told(self.place);
    }
}

impl Format for WebDataset {
    fn name(&self) -> &'static str {
        "webdataset"
    }

    fn unit(&self) -> &'static str {
        "member"
    }

    fn index(&self, file: &File, told: &mut dyn FnMut(Place)) -> Result<(), (u64, String)> {
        let failed = |number: u64| move |error: std::io::Error| (number, error.to_string());
        let end = file.metadata().map_err(failed(0))?.len();
        let mut archive = Archive::new(file);
        let (mut open, mut number): (Option<Open>, u64) = (None, 0);
        for entry in archive.entries_with_seek().map_err(failed(0))? {
            number += 1;
            let entry = entry.map_err(failed(number))?;
            let refused =
                |problem: &str, name: &str| (number, format!("`{}` {problem}", name.escape_debug()));
            let bytes = entry.path_bytes();
            let name = std::str::from_utf8(&bytes).map_err(|error| (number, format!("its name: {error}")))?;
            match entry.header().entry_type() {
                EntryType::Regular | EntryType::Continuous => {}
                EntryType::Directory | EntryType::XGlobalHeader => continue,
                EntryType::Symlink | EntryType::Link => return Err(refused("is a link", name)),
                _ => return Err(refused("is neither a file nor a folder", name)),
            }
            path::plain(name).map_err(|problem| refused(problem, name))?;
            let (start, len) = (entry.raw_file_position(), entry.size());
            if start.checked_add(len).is_none_or(|behind| behind > end) {
                return Err(refused("is longer than the file that it lies in", name));
            }
            let Ok(len) = u32::try_from(len) else { return Err(refused("has more than 4 GiB", name)) };
            let base = name.rfind('/').map_or(0, |slash| slash + 1);
            let Some(dot) = name[base..].find('.').map(|dot| base + dot) else { continue };
            let (key, extension) = (&name[..dot], name[dot + 1..].to_ascii_lowercase());
            if open.as_ref().is_some_and(|open| open.key != key)
                && let Some(done) = open.take()
            {
                done.close(told);
            }
            let sample = open.get_or_insert_with(|| Open {
                key: key.to_owned(),
                place: Place { line: number, start: 0, len: 0, members: Box::default() },
                members: Vec::new(),
            });
            // A sample has one row, and a picture for each extension that ends so: `0.png`, or `0.left.png` and `0.right.png`.
            let last = extension.rsplit('.').next().unwrap_or_default();
            match last {
                "json" if extension != last => {}
                "json" if len as usize > MAX_ROW_BYTES => return Err(refused("is too long for a row", name)),
                "json" => (sample.place.line, sample.place.start, sample.place.len) = (number, start, len),
                "png" | "jpg" | "jpeg" => sample.members.push(Member { name: name.into(), start, len }),
                _ => {}
            }
        }
        if let Some(last) = open {
            last.close(told);
        }
        Ok(())
    }

    fn parse(&self, row: &[u8], members: &[Member]) -> Result<Record, String> {
        if row.is_empty() {
            return Err("it has no `.json`".to_owned());
        }
        json::<Row>(row)?.record(members)
    }
}
