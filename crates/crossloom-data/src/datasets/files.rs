//! Samples in files of one's own as questions about pictures.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::{DatasetError, Example, ImageStore, QuestionType, VqaDataset, VqaSplit};
use crate::chat::{Message, Part};
use crate::image::{Image, ImageProcessor};
use crate::records::{Format, Record, RecordError, Records, format};

const NAME: &str = "files";
/// Samples, or pictures, that are read at once: what is in memory beside the split does not depend on the files.
const AT_ONCE: usize = 256;
/// Problems of a split that are told; all are counted.
const TOLD: usize = 5;

/// Which files are read, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct FilesOptions {
    /// The name of the files' [`Format`](crate::records::Format).
    pub format: String,
    /// Files of training samples.
    pub train: Vec<PathBuf>,
    /// Files of test samples.
    pub test: Vec<PathBuf>,
    /// The folder at which paths of pictures start, and which they do not leave.
    pub pictures: PathBuf,
    /// What becomes of every picture, once, when it is read.
    pub processor: ImageProcessor,
    /// Only the first pictures of the training samples, and what is asked about them.
    pub train_images: Option<usize>,
    /// Only the first pictures of the test samples, and what is asked about them.
    pub test_images: Option<usize>,
    /// So many samples of a split that cannot be learned from are left out and counted; one more is an error.
    pub skip: usize,
}

/// Questions about pictures out of one's own files, in memory. A sample is one question about one picture, and its answer; the picture
/// stands in front of the question, wherever the row has it. Samples that name the same picture share it.
#[derive(Debug, Clone)]
pub struct Files {
    source: String,
    train: VqaSplit,
    test: VqaSplit,
    notes: Vec<String>,
    /// Of every training example.
    places: Vec<(Arc<str>, u64)>,
    /// What numbers of samples count in their file.
    unit: &'static str,
}

impl Files {
    /// Reads all samples, and decodes every picture once.
    ///
    /// # Errors
    /// A format that is not known; a file that cannot be walked over, with the line; more samples that cannot be learned from than may be
    /// left out, the first of them with file, line and reason; a split of which nothing remains.
    pub fn load(options: &FilesOptions) -> Result<Self, DatasetError> {
        let (train, records, of_train) = split(options, "train", &options.train, options.train_images)?;
        let (test, _, of_test) = split(options, "test", &options.test, options.test_images)?;
        let places = places(&train, &records);
        let (first, second) = (names(&options.train), names(&options.test));
        Ok(Self {
            source: format!("own files ({}): {first}; test: {second}", options.format),
            train,
            test,
            notes: of_train.into_iter().chain(of_test).collect(),
            places,
            unit: records.unit(),
        })
    }
}

impl Files {
    /// BLAKE3 over files of training samples and of test samples, in their order, as 64 hexadecimal digits: of what they hold, wherever they
    /// lie. Pictures beside them are no part of it.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn content_hash(
        train: &[impl AsRef<Path>],
        test: &[impl AsRef<Path>],
    ) -> Result<String, DatasetError> {
        let mut all = blake3::Hasher::new();
        for files in
            [train.iter().map(AsRef::as_ref).collect::<Vec<_>>(), test.iter().map(AsRef::as_ref).collect()]
        {
            all.update(&(files.len() as u64).to_le_bytes());
            for path in files {
                let failed =
                    |source| DatasetError::Io { name: NAME.to_owned(), path: path.to_owned(), source };
                let mut of_file = blake3::Hasher::new();
                of_file.update_reader(File::open(path).map_err(failed)?).map_err(failed)?;
                all.update(of_file.finalize().as_bytes());
            }
        }
        Ok(all.finalize().to_hex().to_string())
    }
}

impl VqaDataset for Files {
    fn name(&self) -> &str {
        NAME
    }

    fn source(&self) -> String {
        self.source.clone()
    }

    fn train(&self) -> &VqaSplit {
        &self.train
    }

    fn test(&self) -> &VqaSplit {
        &self.test
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn place(&self, example: usize) -> Option<String> {
        let (file, line) = self.places.get(example)?;
        Some(format!("{file}, {} {line}", self.unit))
    }
}

/// What a sample asks about which picture.
struct Asked {
    sample: usize,
    /// By the order in which samples name pictures first.
    picture: usize,
    question: String,
    answer: String,
}

/// Samples that cannot be learned from.
#[derive(Default)]
struct Problems {
    count: usize,
    told: Vec<String>,
}

impl Problems {
    fn add(&mut self, samples: usize, told: impl FnOnce() -> String) {
        self.count += samples;
        if self.told.len() < TOLD {
            self.told.push(told());
        }
    }
}

/// A split, the samples that it is of, and what is to be said of those that were left out. An example's `image_id` is its sample's number.
pub(super) fn split(
    options: &FilesOptions,
    name: &'static str,
    files: &[PathBuf],
    limit: Option<usize>,
) -> Result<(VqaSplit, Records, Option<String>), DatasetError> {
    let format = known_format(&options.format)?;
    let records = Records::open(format, files, &options.pictures)?;
    let mut problems = Problems::default();
    let (mut asked, firsts) = questions(&records, limit, &mut problems);
    let (images, bad) = pictures(&records, &firsts, options)?;
    for (picture, problem) in &bad {
        let lost = asked.iter().filter(|asked| asked.picture == *picture).count();
        problems.add(lost, || problem.clone());
    }
    if problems.count > options.skip {
        let Problems { count, told } = problems;
        return Err(DatasetError::Samples {
            split: name,
            samples: records.len(),
            count,
            allowed: options.skip,
            told,
        });
    }
    asked.retain(|asked| !bad.contains_key(&asked.picture));
    // Pictures that are left move up.
    let place = |picture: usize| picture - bad.range(..picture).count();
    let examples = asked.into_iter().map(|asked| Example {
        image: place(asked.picture),
        image_id: asked.sample as u64,
        question_type: QuestionType::of_answer(&asked.answer),
        question: asked.question,
        answer: asked.answer,
    });
    let split = VqaSplit::new(NAME, name, images, examples.collect())?;
    let note = problems.told.first().map(|first| {
        format!(
            "{} of {} {name} samples cannot be learned from and were left out; the first: {first}",
            problems.count,
            records.len()
        )
    });
    Ok((split, records, note))
}

/// The format of that name.
pub(super) fn known_format(name: &str) -> Result<Box<dyn Format>, DatasetError> {
    format(name).map_err(|rule| DatasetError::Option {
        key: "the format of samples",
        value: name.to_owned(),
        rule,
    })
}

/// Files by their names, without folders.
pub(super) fn names(files: &[PathBuf]) -> String {
    let names = files.iter().filter_map(|path| path.file_name());
    names.map(|name| name.to_string_lossy().into_owned()).collect::<Vec<_>>().join(", ")
}

/// The file and the number in it of every example.
fn places(split: &VqaSplit, records: &Records) -> Vec<(Arc<str>, u64)> {
    let mut names: BTreeMap<&Path, Arc<str>> = BTreeMap::new();
    let mut place = |example: &Example| {
        let (file, number) = records.place(example.image_id as usize).unwrap_or((Path::new(""), 0));
        let name = names
            .entry(file)
            .or_insert_with(|| Arc::from(file.file_name().unwrap_or_default().to_string_lossy().as_ref()));
        (Arc::clone(name), number)
    };
    split.examples().iter().map(&mut place).collect()
}

/// What all samples ask, and of every picture the first sample that names it.
fn questions(records: &Records, limit: Option<usize>, problems: &mut Problems) -> (Vec<Asked>, Vec<usize>) {
    let (mut known, mut firsts, mut asked) = (BTreeMap::new(), Vec::new(), Vec::new());
    for start in (0..records.len()).step_by(AT_ONCE) {
        let numbers = start..records.len().min(start + AT_ONCE);
        let read: Vec<Result<(String, String, String), RecordError>> = numbers
            .clone()
            .into_par_iter()
            .map(|number| {
                let record = records.read(number)?;
                single(record).map_err(|problem| records.refused(number, problem))
            })
            .collect();
        for (sample, read) in numbers.zip(read) {
            let (name, question, answer) = match read {
                Ok(read) => read,
                Err(error) => {
                    problems.add(1, || error.to_string());
                    continue;
                }
            };
            let key = (records.folder_of(sample), name);
            let picture = match known.get(&key) {
                Some(&picture) => picture,
                None if limit.is_some_and(|limit| firsts.len() >= limit) => continue,
                None => {
                    firsts.push(sample);
                    known.insert(key, firsts.len() - 1);
                    firsts.len() - 1
                }
            };
            asked.push(Asked { sample, picture, question, answer });
        }
    }
    (asked, firsts)
}

/// Picture, question and answer of a sample that has one of each.
fn single(record: Record) -> Result<(String, String, String), String> {
    let Record { mut pictures, messages, .. } = record;
    let words = |message: &Message| {
        let texts = message.content.iter().filter_map(|part| match part {
            Part::Text { text } => Some(text.trim()),
            Part::Image {} => None,
        });
        texts.collect::<Vec<_>>().join("\n")
    };
    let [asked, answered] = &messages[..] else {
        return Err(format!(
            "its conversation has {} messages: one question and its answer can be trained on",
            messages.len()
        ));
    };
    let (question, answer) = (words(asked), words(answered));
    if question.is_empty() {
        return Err("it shows a picture and asks nothing".to_owned());
    }
    match (pictures.pop(), pictures.len()) {
        (Some(picture), 0) => Ok((picture, question, answer)),
        (Some(_), more) => Err(format!("it shows {} pictures: one can be trained on", more + 1)),
        (None, _) => Err("it shows no picture: one can be trained on".to_owned()),
    }
}

/// All pictures as the encoder reads them but for those that cannot be read, and these with the reason, by their number.
fn pictures(
    records: &Records,
    firsts: &[usize],
    options: &FilesOptions,
) -> Result<(ImageStore, BTreeMap<usize, String>), DatasetError> {
    let read = |sample: usize| -> Result<Image, RecordError> {
        let record = records.read(sample)?;
        let mut all = records.pictures(sample, &record)?;
        let one = all.pop().ok_or_else(|| records.refused(sample, "it shows no picture".to_owned()))?;
        options.processor.whole(one).map_err(|error| records.refused(sample, error.to_string()))
    };
    let (mut store, mut bad): (Option<ImageStore>, _) = (None, BTreeMap::new());
    for (chunk, samples) in firsts.chunks(AT_ONCE).enumerate() {
        let decoded: Vec<Result<Image, RecordError>> =
            samples.par_iter().map(|&sample| read(sample)).collect();
        for (at, decoded) in decoded.into_iter().enumerate() {
            let image = match decoded {
                Ok(image) => image,
                Err(error) => {
                    bad.insert(chunk * AT_ONCE + at, error.to_string());
                    continue;
                }
            };
            let store = match &mut store {
                Some(store) => store,
                empty => {
                    empty.insert(ImageStore::with_capacity(image.width(), image.height(), firsts.len())?)
                }
            };
            store.push(&image)?;
        }
    }
    let store = match store {
        Some(store) => store,
        None => ImageStore::with_capacity(1, 1, 0)?,
    };
    Ok((store, bad))
}

#[cfg(test)]
mod tests;
