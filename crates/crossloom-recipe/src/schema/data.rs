//! `[data]`: what the model is trained and tested on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Samples;

/// A data set and how its questions become sequences.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Where pictures and questions come from.
    pub source: Source,
    /// Questions about one picture in one training sequence. They share the image positions and cannot see each other.
    #[schemars(range(min = 1, max = 4096), extend("default" = 1))]
    pub questions_per_sequence: usize,
    /// What questions and answers are cut into.
    #[serde(default, skip_serializing_if = "DataTokenizer::is_default")]
    #[schemars(extend("default" = "words"))]
    pub tokenizer: DataTokenizer,
    /// BLAKE3 of the language model's tokenizer and chat template, 64 hexadecimal digits, with `tokenizer = "model"`. A recipe may insist on
    /// it; a run's folder always has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub tokenizer_hash: Option<String>,
    /// Positions of a sequence for text, what a chat template puts in front of the picture included; with those of the picture rounded up to
    /// a multiple of 8. Absent: what the longest questions of the data need. Required with `tokenizer = "model"`, so that sizes are known
    /// without the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16_777_216))]
    pub text_positions: Option<usize>,
    /// Share of a sequence's questions that ask for a word rather than yes or no, where the picture has them; yes/no questions
    /// above the rest are left out of that sequence. Absent: the data's own share, a quarter in easy-VQA. Training only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub open_share: Option<f64>,
    /// Whether the model sees the picture. `withheld` replaces every picture by a blank one: what is then learned is the
    /// question-only prior.
    #[schemars(extend("default" = "given"))]
    pub image: ImageUse,
    /// Share of the training pictures that is never trained on. Their loss is measured about twenty times in a training,
    /// and `eval.split = "validation"` scores the answers to their questions.
    #[schemars(extend("default" = 0.0, "minimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub validation: f64,
    /// Use only the first so many training pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub train_limit: Option<usize>,
    /// Use only the first so many test pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub test_limit: Option<usize>,
    /// Seed of the data order, of the validation split and of generated data. Two variants with the same seed see the
    /// same samples in the same order.
    #[schemars(range(max = 9_007_199_254_740_991_u64), extend("default" = 0))]
    pub seed: u64,
    /// Folder for downloaded data. A relative path starts at the recipe's folder and stays inside it. Absent: the user's
    /// cache folder. It does not take part in the recipe's hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
}

/// Where pictures and questions come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// The easy-VQA set: 5,000 pictures of one shape each, about 48,000 questions, 13 answers.
    #[serde(rename = "easy-vqa")]
    EasyVqa {},
    /// Shapes drawn by crossloom itself from `data.seed`. Needs no download.
    Synthetic {
        /// Training pictures.
        #[schemars(range(min = 1, max = 1_000_000), extend("default" = 256))]
        train_images: usize,
        /// Test pictures.
        #[schemars(range(min = 1, max = 1_000_000), extend("default" = 64))]
        test_images: usize,
        /// Questions about each picture.
        #[schemars(range(min = 1, max = 32), extend("default" = 8))]
        questions_per_image: usize,
        /// Height and width of the drawn pictures, in pixels: the vision encoder's `image_size`, which is the default.
        #[schemars(range(min = 8, max = 1024))]
        image_size: usize,
    },
    /// Samples in files of one's own: each asks one question about one picture. They are read in the model's own tokens
    /// (`tokenizer = "model"`), and all are in memory while they are trained on.
    Files {
        /// What a row of the files looks like.
        format: RowFormat,
        /// Files of training samples. Relative paths start at the recipe's folder and stay inside it.
        #[schemars(length(min = 1))]
        train: Vec<String>,
        /// Files of test samples.
        #[schemars(length(min = 1))]
        test: Vec<String>,
        /// The folder at which the paths of pictures in rows start, and which they do not leave.
        #[schemars(extend("default" = "."))]
        pictures: String,
        /// So many samples of each split that cannot be learned from are left out and counted; with one more, nothing is trained.
        #[schemars(extend("default" = 0))]
        skip: usize,
        /// BLAKE3 of the files of samples, 64 hexadecimal digits. A recipe may insist on it; a run's folder always has it. Where files and
        /// pictures lie is no part of an experiment's identity once it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
        hash: Option<String>,
    },
    /// Conversations in files of one's own, read while they are trained on: of any number of turns and pictures, in the model's own tokens
    /// (`tokenizer = "model"`). `data.text_positions` are those of the longest row; a sample that is longer loses whole turns from its end.
    Conversations {
        /// Samples that are trained on, mixed.
        #[schemars(length(min = 1))]
        of: Vec<Samples>,
        /// Samples that are tested on, each one question about one picture. Absent: the model is trained, and not evaluated.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        test: Option<Samples>,
        /// Positions for text of shorter rows. A sample goes into the shortest that holds it; every length is compiled once.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        lengths: Vec<usize>,
        /// Views that a row has room for: pictures, and where one is cut into tiles, these and its base. Samples of like numbers share a batch;
        /// every number is compiled once.
        #[schemars(length(min = 1), extend("default" = [1]))]
        views: Vec<usize>,
        /// At most so many samples share a row. They do not see each other.
        #[schemars(range(min = 1, max = 4096), extend("default" = 1))]
        samples_per_row: usize,
        /// So many samples that cannot be learned from are left out and counted; with one more, the training stops.
        #[schemars(extend("default" = 0))]
        skip: usize,
        /// So many samples may lose turns because no row is long enough; with one more, the training stops.
        #[schemars(extend("default" = 0))]
        truncate: usize,
    },
}

/// What a row of samples looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RowFormat {
    /// LLaVA's and ShareGPT's: a JSON array, or lines, with `image` and `conversations`.
    Llava,
    /// Lines with `messages`, as of chat interfaces, and `images`.
    Messages,
    /// Parquet: columns of any other format, with the bytes of pictures.
    Parquet,
    /// Lines with `image`, `question` and `answer`.
    Questions,
    /// Tar shards: members that share a name are a sample.
    Webdataset,
}

impl RowFormat {
    /// The name it has in a recipe, and where files are read.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llava => "llava",
            Self::Messages => "messages",
            Self::Parquet => "parquet",
            Self::Questions => "questions",
            Self::Webdataset => "webdataset",
        }
    }
}

impl Source {
    /// The name it has in a recipe.
    pub fn name(&self) -> &'static str {
        match self {
            Self::EasyVqa {} => "easy-vqa",
            Self::Synthetic { .. } => "synthetic",
            Self::Files { .. } => "files",
            Self::Conversations { .. } => "conversations",
        }
    }

    /// All files of samples that it names, with the folder of their pictures, by the key that names them.
    pub fn samples(&self) -> impl Iterator<Item = (&'static str, &Samples)> {
        let (of, test) = match self {
            Self::Conversations { of, test, .. } => (of.as_slice(), test.as_ref()),
            _ => (&[][..], None),
        };
        of.iter().map(|samples| ("of", samples)).chain(test.map(|samples| ("test", samples)))
    }

    /// The paths that it names, in their order, of which relative ones start at the recipe's folder.
    pub fn paths_mut(&mut self) -> impl Iterator<Item = &mut String> {
        let named = match self {
            Self::Files { train, test, pictures, .. } => {
                train.iter_mut().chain(test).chain([pictures]).collect()
            }
            Self::Conversations { of, test, .. } => {
                of.iter_mut().chain(test).flat_map(Samples::paths_mut).collect()
            }
            Self::EasyVqa {} | Self::Synthetic { .. } => Vec::new(),
        };
        named.into_iter()
    }
}

/// What questions and answers are cut into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DataTokenizer {
    /// The words of the data, numbered as it has them: for a language model that is trained from scratch.
    #[default]
    Words,
    /// The tokens of the language model's weights, laid out by its chat template.
    Model,
}

impl DataTokenizer {
    /// Whether it is what a recipe has that says nothing.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
    fn is_default(&self) -> bool {
        *self == Self::Words
    }
}

/// Whether the model sees the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageUse {
    /// The picture itself.
    Given,
    /// A blank picture.
    Withheld,
}
