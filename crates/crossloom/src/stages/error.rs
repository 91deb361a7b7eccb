//! Why a stage cannot be shown.

use crate::experiment::ExperimentError;

/// Why a stage cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The recipe does not get that far.
    #[error(transparent)]
    Experiment(Box<ExperimentError>),
    /// What was asked for does not fit the recipe.
    #[error("{message}")]
    Request {
        /// What is wrong.
        message: String,
        /// What to do.
        help: String,
    },
    /// The serializer failed.
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl From<ExperimentError> for StageError {
    fn from(error: ExperimentError) -> Self {
        Self::Experiment(Box::new(error))
    }
}

impl StageError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Request { help, .. } => Some(help.clone()),
            Self::Experiment(_) | Self::Json(_) => None,
        }
    }
}
