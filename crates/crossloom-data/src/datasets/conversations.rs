//! Conversations in files of one's own, which are trained on as a stream; with test samples in memory.

use std::path::PathBuf;
use std::sync::Arc;

use super::files::{FilesOptions, known_format, names, split};
use super::{DatasetError, DatasetManifest, SplitManifest, VqaDataset, VqaSplit};
use crate::conversations::Source;
use crate::image::ImageProcessor;
use crate::records::Records;

const NAME: &str = "conversations";

/// Files of samples of one form.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleFiles {
    /// The name of the files' [`Format`](crate::records::Format).
    pub format: String,
    /// The files.
    pub files: Vec<PathBuf>,
    /// The folder at which paths of pictures start, and which they do not leave.
    pub pictures: PathBuf,
    /// How often they are drawn, relative to others; none for the number of their samples.
    pub weight: Option<f64>,
    /// What is known of what they hold, as 64 hexadecimal digits.
    pub hash: Option<String>,
}

/// Which files are read, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct ConversationOptions {
    /// Those that are trained on.
    pub train: Vec<SampleFiles>,
    /// Those of test samples, one question about one picture each.
    pub test: Option<SampleFiles>,
    /// What becomes of the picture of a test sample.
    pub processor: ImageProcessor,
    /// Only the first pictures of the test samples, and what is asked about them.
    pub test_images: Option<usize>,
    /// So many test samples that cannot be learned from are left out and counted.
    pub skip: usize,
}

/// Conversations: an index of those that are trained on, and test samples.
#[derive(Debug)]
pub struct Conversations {
    source: String,
    sources: Arc<Vec<Source>>,
    train: VqaSplit,
    test: VqaSplit,
    notes: Vec<String>,
    /// Of the training samples.
    manifest: SplitManifest,
}

impl Conversations {
    /// Finds all training samples, and reads the test samples with their pictures.
    ///
    /// # Errors
    /// A format that is not known; a file that cannot be walked over, with the line; test samples that cannot be used, more than may be left
    /// out.
    pub fn open(options: &ConversationOptions) -> Result<Self, DatasetError> {
        let ConversationOptions { train, test, processor, test_images, skip } = options;
        let mut sources = Vec::with_capacity(train.len());
        let mut hasher = blake3::Hasher::new();
        for SampleFiles { format: name, files, pictures, weight, hash } in train {
            let records = Records::open(known_format(name)?, files, pictures)?;
            sources.push(Source { records, weight: *weight });
            hasher.update(hash.as_deref().unwrap_or_default().as_bytes());
        }
        let (width, height) = processor.size().map_or((1, 1), |size| (size.width, size.height));
        let (mut of_test, mut notes) = (VqaSplit::none(width, height)?, Vec::new());
        if let Some(SampleFiles { format, files, pictures, .. }) = test {
            let options = FilesOptions {
                format: format.clone(),
                train: Vec::new(),
                test: Vec::new(),
                pictures: pictures.clone(),
                processor: processor.clone(),
                train_images: None,
                test_images: None,
                skip: *skip,
            };
            let (read, _, note) = split(&options, "test", files, *test_images)?;
            (of_test, notes) = (read, note.into_iter().collect());
        }
        let samples: usize = sources.iter().map(|source| source.records.len()).sum();
        let mut named: Vec<String> = train.iter().map(|of| names(&of.files)).collect();
        named.extend(test.iter().map(|of| format!("test: {}", names(&of.files))));
        let train = VqaSplit::none(width, height)?;
        let manifest = SplitManifest {
            examples: samples,
            blake3: hasher.finalize().to_hex().to_string(),
            ..train.manifest()
        };
        let source = format!("own conversations: {}", named.join("; "));
        Ok(Self { source, sources: Arc::new(sources), train, test: of_test, notes, manifest })
    }
}

impl VqaDataset for Conversations {
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

    fn conversations(&self) -> Option<&Arc<Vec<Source>>> {
        Some(&self.sources)
    }

    fn manifest(&self) -> DatasetManifest {
        DatasetManifest {
            name: NAME.to_owned(),
            source: self.source(),
            train: self.manifest.clone(),
            test: self.test.manifest(),
        }
    }
}
