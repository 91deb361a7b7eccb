//! Encoded pictures on disk: one file per picture, named by its key, in the data cache, so that variants and runs share them.
//!
//! A file is `MAGIC`, the states one after the other in little-endian order, and the BLAKE3 of all before. Its length follows
//! from the states that are asked for. What is short, long or damaged is made anew, never read.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crossloom_ir::DType;
use half::bf16;

use super::{Key, Picture, State};

const MAGIC: &[u8; 8] = b"CLSTATE1";
const HASH: usize = 32;

/// A folder of encoded pictures.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: PathBuf,
    /// The most bytes that may lie there, of all runs together.
    limit: u64,
    held: u64,
    /// Whether writing goes on: it ends with the first failure and at the limit, and is not tried again.
    writes: bool,
}

impl Disk {
    /// The folder, made if need be; at most `limit` bytes lie in it, those that are there already included.
    ///
    /// # Errors
    /// It cannot be made or read.
    pub(crate) fn open(folder: &Path, limit: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut held = 0;
        for group in fs::read_dir(folder)? {
            let group = group?.path();
            if group.is_dir() {
                for file in fs::read_dir(group)? {
                    // Another process may have removed it.
                    held += file?.metadata().map_or(0, |file| file.len());
                }
            }
        }
        Ok(Self { folder: folder.to_owned(), limit, held, writes: true })
    }

    /// Bytes of all files, as far as this process knows.
    pub(crate) fn held(&self) -> u64 {
        self.held
    }

    fn path(&self, key: Key) -> PathBuf {
        let name = blake3::Hash::from(key.0).to_hex();
        self.folder.join(&name[..2]).join(&name[2..])
    }

    /// A picture, if a sound file of it is there.
    pub(crate) fn read(&self, key: Key, layout: &[(DType, usize)]) -> Option<Picture> {
        let path = self.path(key);
        let mut file = fs::File::open(&path).ok()?;
        let payload: usize = layout.iter().map(|&(dtype, elements)| dtype.bytes_of(elements)).sum();
        let length = MAGIC.len() + payload + HASH;
        let sound = |file: &fs::File| file.metadata().is_ok_and(|file| file.len() == length as u64);
        let mut bytes = vec![0; length];
        if !sound(&file) || file.read_exact(&mut bytes).is_err() {
            tracing::warn!(file = %path.display(), "an encoded picture is damaged and is made anew");
            return None;
        }
        let (content, hash) = bytes.split_at(length - HASH);
        if !content.starts_with(MAGIC) || blake3::hash(content).as_bytes() != hash {
            tracing::warn!(file = %path.display(), "an encoded picture is damaged and is made anew");
            return None;
        }
        let mut rest = &content[MAGIC.len()..];
        let states = layout.iter().map(|&(dtype, elements)| {
            let (own, behind) = rest.split_at(dtype.bytes_of(elements));
            rest = behind;
            match dtype {
                DType::Bf16 => {
                    State::Bf16(own.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]])).collect())
                }
                _ => {
                    let value = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                    State::F32(own.chunks_exact(4).map(value).collect())
                }
            }
        });
        Some(Picture(states.collect()))
    }

    /// Writes a picture, unless there is no more room. A cache that cannot be written is said once, and is no error.
    pub(crate) fn write(&mut self, key: Key, picture: &Picture) {
        if !self.writes {
            return;
        }
        let bytes = file_bytes(picture);
        let path = self.path(key);
        let replaced = fs::metadata(&path).map_or(0, |file| file.len());
        if (self.held - replaced.min(self.held)).saturating_add(bytes.len() as u64) > self.limit {
            self.writes = false;
            tracing::warn!(folder = %self.folder.display(), limit = self.limit, "no more encoded pictures are written: the limit is reached");
            return;
        }
        let group = path.parent().unwrap_or(&self.folder);
        match fs::create_dir_all(group).and_then(|()| crossloom_files::write_atomic(&path, &bytes)) {
            Ok(()) => self.held = self.held - replaced.min(self.held) + bytes.len() as u64,
            Err(error) => {
                self.writes = false;
                tracing::warn!(file = %path.display(), %error, "no more encoded pictures are written");
            }
        }
    }
}

fn file_bytes(picture: &Picture) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for state in &picture.0 {
        match state {
            State::F32(values) => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            State::Bf16(values) => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        }
    }
    let hash = blake3::hash(&bytes);
    bytes.extend(hash.as_bytes());
    bytes
}
