//! The vector of every question, where something depends on its text: a sentence encoder's, or one that was computed elsewhere. They
//! are made once, before anything else is computed.

use std::collections::BTreeMap;
use std::path::Path;

use crossloom_data::datasets::VqaSplit;
use crossloom_data::packing::{PackedBatch, PackingError};
use crossloom_recipe::{Conditioning, Recipe, Split};
use crossloom_runtime::MappedFile;
use crossloom_weights::values;

use crate::{ExperimentError, SentenceEncoder};

/// What turns the text of a question into its vector.
pub(crate) struct Vectors {
    width: usize,
    from: From,
}

enum From {
    Encoder(Box<SentenceEncoder>),
    File(VectorFile),
}

impl Vectors {
    /// What a recipe names; none where nothing depends on a question's text.
    ///
    /// # Errors
    /// Files that cannot be read, or hold vectors of another width.
    pub(crate) fn open(recipe: &Recipe) -> Result<Option<Self>, ExperimentError> {
        let (from, width, path) = match &recipe.topology.conditioning {
            Conditioning::None {} | Conditioning::Embeddings {} => return Ok(None),
            Conditioning::Sentence { weights, width } => {
                let encoder = SentenceEncoder::open(Path::new(&weights.path))?;
                (From::Encoder(Box::new(encoder)), *width, &weights.path)
            }
            Conditioning::Precomputed { vectors, width } => {
                (From::File(VectorFile::open(Path::new(&vectors.path))?), *width, &vectors.path)
            }
        };
        let there = match &from {
            From::Encoder(encoder) => encoder.width(),
            From::File(file) => file.width,
        };
        if there != width {
            return Err(ExperimentError::request(
                format!("the vectors of {path} are {there} wide, and the recipe says {width}"),
                "leave topology.conditioning.width out: the files say it themselves",
            ));
        }
        Ok(Some(Self { width, from }))
    }

    /// The vectors of texts, one after the other.
    ///
    /// # Errors
    /// A text that is too long, or whose vector is not there, all of them.
    pub(crate) fn of(&mut self, texts: &[&str]) -> Result<Vec<f32>, ExperimentError> {
        match &mut self.from {
            From::Encoder(encoder) => Ok(encoder.encode(texts)?.values),
            From::File(file) => file.of(texts),
        }
    }
}

/// A file with a vector for every question, under its text.
struct VectorFile {
    path: String,
    width: usize,
    vectors: BTreeMap<String, Vec<f32>>,
}

impl VectorFile {
    fn open(path: &Path) -> Result<Self, ExperimentError> {
        let misfit = |message: String| ExperimentError::File { path: path.to_owned(), message };
        let width = width_of_file(path)?;
        let file = MappedFile::open(path)?;
        let mut vectors = BTreeMap::new();
        for name in file.header().keys() {
            let (ty, bytes) = file.tensor(name)?;
            if let Some(place) = values::first_non_finite(ty.dtype, bytes.as_ref()) {
                return Err(misfit(format!("the vector of \"{name}\" has no finite value at {place}")));
            }
            let vector = values::to_f32(ty.dtype, bytes.as_ref());
            let vector = vector.map_err(|problem| misfit(format!("the vector of \"{name}\" {problem}")))?;
            vectors.insert(name.clone(), vector);
        }
        Ok(Self { path: path.display().to_string(), width, vectors })
    }

    fn of(&self, texts: &[&str]) -> Result<Vec<f32>, ExperimentError> {
        let missing: Vec<&str> =
            texts.iter().copied().filter(|text| !self.vectors.contains_key(*text)).collect();
        if let Some(first) = missing.first() {
            let others = missing.len() - 1;
            let others =
                if others > 0 { format!(", nor of {others} other questions") } else { String::new() };
            return Err(ExperimentError::request(
                format!("{} holds no vector of \"{first}\"{others}", self.path),
                "write one for every question under its text, or name a sentence encoder: topology.conditioning = \
                 { kind = \"sentence\", weights = … }",
            ));
        }
        Ok(texts.iter().filter_map(|text| self.vectors.get(*text)).flatten().copied().collect())
    }
}

/// The width of the vectors of a file that holds one for every question.
///
/// # Errors
/// It cannot be read, holds none, or tensors that are no vectors of one width.
pub(crate) fn width_of_file(path: &Path) -> Result<usize, ExperimentError> {
    let misfit = |message: String| ExperimentError::File { path: path.to_owned(), message };
    let file = MappedFile::open(path)?;
    let mut widths = file.header().iter().map(|(name, tensor)| match tensor.shape[..] {
        [width] if width > 0 => Ok((name, width)),
        _ => Err(misfit(format!("\"{name}\" has the shape {:?}, and a vector has one axis", tensor.shape))),
    });
    let (first, width) = widths.next().ok_or_else(|| misfit("holds no vectors".to_owned()))??;
    for other in widths {
        let (name, other) = other?;
        if other != width {
            return Err(misfit(format!("\"{first}\" is {width} wide and \"{name}\" {other}")));
        }
    }
    Ok(width)
}

/// What identifies such a file, as 64 hexadecimal digits.
///
/// # Errors
/// It cannot be read.
pub(crate) fn hash_of_file(path: &Path) -> Result<String, ExperimentError> {
    let failed =
        |error: std::io::Error| ExperimentError::File { path: path.to_owned(), message: error.to_string() };
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut std::fs::File::open(path).map_err(failed)?, &mut hasher).map_err(failed)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// The vectors of all questions of data; equal texts share theirs.
#[derive(Debug)]
pub struct QuestionVectors {
    width: usize,
    /// `[texts, width]`.
    rows: Vec<f32>,
    /// The row of every example of the training and the test split, by its number.
    of_split: [Vec<u32>; 2],
}

impl QuestionVectors {
    /// Those of the questions of two splits.
    ///
    /// # Errors
    /// As [`Vectors::of`].
    pub(crate) fn new(
        vectors: &mut Vectors,
        train: &VqaSplit,
        test: &VqaSplit,
    ) -> Result<Self, ExperimentError> {
        let mut places: BTreeMap<&str, u32> = BTreeMap::new();
        let mut texts = Vec::new();
        let mut place = |text| {
            *places.entry(text).or_insert_with(|| {
                texts.push(text);
                texts.len() as u32 - 1
            })
        };
        let of_split = [train, test].map(|split| {
            split.examples().iter().map(|example| place(example.question.as_str())).collect::<Vec<u32>>()
        });
        let rows = vectors.of(&texts)?;
        Ok(Self { width: vectors.width, rows, of_split })
    }

    /// The vector of a question of a split; none of one that does not exist.
    pub fn of(&self, split: Split, example: usize) -> Option<&[f32]> {
        let [train, test] = &self.of_split;
        let rows = match split {
            // They share pictures and numbers.
            Split::Train | Split::Validation => train,
            Split::Test => test,
        };
        let at = *rows.get(example)? as usize * self.width;
        self.rows.get(at..at + self.width)
    }

    /// Gives every row of a batch of that split the vector of its question.
    ///
    /// # Errors
    /// A batch that is laid out for vectors of another width.
    pub(crate) fn lay(&self, split: Split, batch: &mut PackedBatch) -> Result<(), PackingError> {
        batch.lay_vectors(|question| self.of(split, question.example?))
    }

    /// Bytes that it holds.
    pub(crate) fn bytes(&self) -> u64 {
        let [train, test] = &self.of_split;
        (4 * (self.rows.len() + train.len() + test.len())) as u64
    }
}
