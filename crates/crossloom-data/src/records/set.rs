//! All samples of some files.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::place::bytes;
use super::{Format, Place, Record, RecordError, path};
use crate::image::{Image, ImageError, ImageLimits};

/// The samples of some files of one format: their places in memory, about 40 bytes each, everything else on disk.
///
/// Reading takes `&self`, so that several threads may read ahead.
#[derive(Debug)]
pub struct Records {
    format: Box<dyn Format>,
    files: Vec<PathBuf>,
    /// The file of every sample, and its place there.
    places: Vec<(u32, Place)>,
    pictures: PathBuf,
    limits: ImageLimits,
}

impl Records {
    /// Finds all samples of `files`; paths of pictures in rows start at the folder `pictures`. Rows are not looked into yet.
    ///
    /// # Errors
    /// A file that cannot be read or walked over, with the line; no sample at all.
    pub fn open(format: Box<dyn Format>, files: &[PathBuf], pictures: &Path) -> Result<Self, RecordError> {
        let mut places = Vec::new();
        for (number, path) in files.iter().enumerate() {
            let file = File::open(path).map_err(RecordError::io(path))?;
            let walked = format.index(&file, &mut |place| places.push((number as u32, place)));
            walked.map_err(|(line, problem)| RecordError::Row {
                path: path.clone(),
                what: format.unit(),
                line,
                problem,
            })?;
        }
        if places.is_empty() {
            let named: Vec<String> = files.iter().map(|path| format!("`{}`", path.display())).collect();
            return Err(RecordError::Empty { files: named.join(", ") });
        }
        let (files, pictures) = (files.to_vec(), pictures.to_owned());
        Ok(Self { format, files, places, pictures, limits: ImageLimits::default() })
    }

    /// How many samples there are, read or not.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none, which [`Records::open`] refuses.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The format of the files.
    pub fn format(&self) -> &dyn Format {
        &*self.format
    }

    /// What samples are counted in.
    pub(crate) fn unit(&self) -> &'static str {
        self.format.unit()
    }

    /// The file of a sample, and its number there in the format's unit, from 1.
    pub fn place(&self, number: usize) -> Option<(&Path, u64)> {
        let (file, place) = self.places.get(number)?;
        Some((self.files.get(*file as usize)?, place.line))
    }

    /// Reads one sample; its pictures are not decoded.
    ///
    /// # Errors
    /// A file that cannot be read any more; a row that says nothing that can be learned from. Both name the place.
    pub fn read(&self, number: usize) -> Result<Record, RecordError> {
        let (path, place) = self.at(number)?;
        self.format.read(path, place)
    }

    /// Reads and decodes the pictures of a sample.
    ///
    /// # Errors
    /// A path that leads out of the folder of pictures; a picture that cannot be decoded or is too large. All name the row.
    pub fn pictures(&self, number: usize, record: &Record) -> Result<Vec<Image>, RecordError> {
        let (path, place) = self.at(number)?;
        let decoded = |source: ImageError| RecordError::Picture {
            path: path.to_owned(),
            what: self.format.unit(),
            line: place.line,
            source,
        };
        if !record.embedded.is_empty() {
            let embedded = record.pictures.iter().zip(&record.embedded);
            let opened = embedded.map(|(name, file)| {
                Image::decode(file, &format!("{}: {name}", path.display()), &self.limits).map_err(decoded)
            });
            return opened.collect();
        }
        if place.members.is_empty() {
            let opened = record.pictures.iter().map(|name| {
                let file =
                    path::inside(&self.pictures, name).map_err(|problem| self.row(path, place, problem))?;
                Image::open(&file, &self.limits).map_err(decoded)
            });
            return opened.collect();
        }
        let members = place.members.iter().map(|member| {
            let name = format!("{}:{}", path.display(), member.name);
            if u64::from(member.len) > self.limits.max_file_bytes {
                let (bytes, limit) = (u64::from(member.len), self.limits.max_file_bytes);
                return Err(decoded(ImageError::FileTooLarge { name, bytes, limit }));
            }
            let file = bytes(path, member.start, member.len).map_err(RecordError::io(path))?;
            Image::decode(&file, &name, &self.limits).map_err(decoded)
        });
        members.collect()
    }

    /// Where the pictures of a sample have their names: a file that holds them, or none where all lie in the folder of pictures.
    pub(crate) fn folder_of(&self, number: usize) -> Option<u32> {
        let held = |place: &Place| self.format.holds_pictures() || !place.members.is_empty();
        self.places.get(number).filter(|(_, place)| held(place)).map(|(file, _)| *file)
    }

    /// An error about a sample, which names its place.
    pub(crate) fn refused(&self, number: usize, problem: String) -> RecordError {
        match self.at(number) {
            Ok((path, place)) => self.row(path, place, problem),
            Err(error) => error,
        }
    }

    fn at(&self, number: usize) -> Result<(&Path, &Place), RecordError> {
        let missing = RecordError::NoSuchSample { number, samples: self.len() };
        let found =
            self.places.get(number).and_then(|(file, place)| Some((self.files.get(*file as usize)?, place)));
        found.map(|(path, place)| (path.as_path(), place)).ok_or(missing)
    }

    fn row(&self, path: &Path, place: &Place, problem: String) -> RecordError {
        RecordError::row(path, &*self.format, place, problem)
    }
}
