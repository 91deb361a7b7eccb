//! What a run records about its data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::VqaSplit;

/// Which data a run used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetManifest {
    /// The data set's short name.
    pub name: String,
    /// Package and version, or generator and seed.
    pub source: String,
    /// The training split.
    pub train: SplitManifest,
    /// The test split.
    pub test: SplitManifest,
}

/// The content of one split in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitManifest {
    /// How many pictures.
    pub images: usize,
    /// Pixels per row of every picture.
    pub image_width: u32,
    /// Rows of every picture.
    pub image_height: u32,
    /// How many questions.
    pub examples: usize,
    /// How many questions of each type.
    pub question_types: BTreeMap<String, usize>,
    /// BLAKE3, in hexadecimal, over every decoded picture and every example in order.
    pub blake3: String,
}

impl VqaSplit {
    /// Counts and a hash of the content: equal hashes mean equal pictures and questions in the same order.
    pub fn manifest(&self) -> SplitManifest {
        let images = self.images();
        let mut hasher = blake3::Hasher::new();
        let mut question_types = BTreeMap::new();
        for number in [images.len() as u64, u64::from(images.width()), u64::from(images.height())] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.update(images.rgb());
        for example in self.examples() {
            hasher.update(&(example.image as u64).to_le_bytes());
            hasher.update(&example.image_id.to_le_bytes());
            for text in [&example.question, &example.answer, example.question_type.as_str()] {
                hasher.update(&(text.len() as u64).to_le_bytes());
                hasher.update(text.as_bytes());
            }
            *question_types.entry(example.question_type.as_str().to_owned()).or_default() += 1;
        }
        SplitManifest {
            images: images.len(),
            image_width: images.width(),
            image_height: images.height(),
            examples: self.examples().len(),
            question_types,
            blake3: hasher.finalize().to_hex().to_string(),
        }
    }
}
