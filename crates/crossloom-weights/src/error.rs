//! What can be wrong with a pretrained model.

use std::fmt;
use std::path::{Path, PathBuf};

/// Everything that is wrong with one file or folder of a model.
#[derive(Debug, thiserror::Error)]
pub struct WeightsError {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong with it, at least one sentence.
    pub problems: Vec<String>,
}

impl WeightsError {
    pub(crate) fn new(path: &Path, problems: Vec<String>) -> Self {
        Self { path: path.to_owned(), problems }
    }

    pub(crate) fn one(path: &Path, problem: impl fmt::Display) -> Self {
        Self::new(path, vec![problem.to_string()])
    }
}

impl fmt::Display for WeightsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.path.display())?;
        match self.problems.as_slice() {
            [only] => write!(f, ": {only}"),
            all => all.iter().try_for_each(|problem| write!(f, "\n  - {problem}")),
        }
    }
}
