//! Visual question answering data: pictures, questions, answers, in a training and a test split.
//!
//! A data set implements [`VqaDataset`]; each of its splits is a [`VqaSplit`], checked when it is made, with its pictures
//! decoded once into an [`ImageStore`]. [`EasyVqa`] reads the real one, [`Synthetic`] draws its own, [`Files`] are samples of the
//! user's; [`Conversations`] has a test split of such, and what is trained on is read as a stream.

mod conversations;
mod easy_vqa;
mod error;
mod files;
mod manifest;
mod question_type;
mod split;
mod store;
mod synthetic;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::conversations::Source;

pub use conversations::{ConversationOptions, Conversations, SampleFiles};
pub use easy_vqa::{EasyVqa, EasyVqaOptions};
pub use error::DatasetError;
pub use files::{Files, FilesOptions};
pub use manifest::{DatasetManifest, SplitManifest};
pub use question_type::QuestionType;
pub use split::{Example, VqaSplit};
pub use store::ImageStore;
pub use synthetic::{Synthetic, SyntheticOptions};

/// A data set with a training and a test split.
pub trait VqaDataset: Send + Sync {
    /// A short name for messages and reports, such as `easy-vqa`.
    fn name(&self) -> &str;

    /// Where the data comes from, in one line: package and version, or generator and seed.
    fn source(&self) -> String;

    /// What a model learns from.
    fn train(&self) -> &VqaSplit;

    /// What a model is measured on.
    fn test(&self) -> &VqaSplit;

    /// What is to be said of how it was read, such as what was left out.
    fn notes(&self) -> &[String] {
        &[]
    }

    /// Where a training example was written, such as file and line; none where its numbers say all.
    fn place(&self, example: usize) -> Option<String> {
        let _ = example;
        None
    }

    /// What is trained on where that is conversations, read while they are; the training split is empty then.
    fn conversations(&self) -> Option<&Arc<Vec<Source>>> {
        None
    }

    /// The different answers of the training split, in alphabetical order.
    fn answers(&self) -> Vec<String> {
        let examples = self.train().examples();
        let distinct: BTreeSet<&str> = examples.iter().map(|example| example.answer.as_str()).collect();
        distinct.into_iter().map(str::to_owned).collect()
    }

    /// What a run records of the data: counts and a hash of the content.
    fn manifest(&self) -> DatasetManifest {
        DatasetManifest {
            name: self.name().to_owned(),
            source: self.source(),
            train: self.train().manifest(),
            test: self.test().manifest(),
        }
    }
}
