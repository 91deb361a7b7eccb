//! What can go wrong in a run.

use std::path::PathBuf;

use crossloom_ir::IrErrors;
use crossloom_runtime::limits::DoesNotFit;
use crossloom_train::BoxError;

/// Why a run ended without a result. Every message says where; the source says what.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    /// Data could not be fetched, read or packed.
    #[error(transparent)]
    Data(Box<crossloom_data::DataError>),
    /// The data set of a run that was found by its folder is not on this machine.
    #[error("{} is evaluated on its data set, which is not here: {error}", run.display())]
    NoData {
        /// The run's folder.
        run: PathBuf,
        /// What keeps the data from being had.
        error: Box<crossloom_data::DataError>,
    },
    /// The recipe could not become a graph.
    #[error(transparent)]
    Model(#[from] crossloom_model::ModelError),
    /// The recipe's wiring does not fit its taps and points.
    #[error(transparent)]
    Topology(#[from] crossloom_recipe::TopologyError),
    /// The graph could not be compiled.
    #[error("the graph does not compile:\n{0}")]
    Compile(#[from] IrErrors),
    /// A compiled graph could not be run.
    #[error(transparent)]
    Run(#[from] crossloom_runtime::RunError),
    /// Training stopped.
    #[error(transparent)]
    Train(#[from] crossloom_train::TrainError),
    /// A checkpoint could not be read or written.
    #[error(transparent)]
    Checkpoint(#[from] crossloom_train::CheckpointError),
    /// The run directory could not be read or written.
    #[error(transparent)]
    RunDir(#[from] crossloom_train::run_dir::RunDirError),
    /// A metrics file could not be opened.
    #[error(transparent)]
    Sink(#[from] crossloom_train::metrics::SinkError),
    /// Results could not be compared.
    #[error(transparent)]
    Compare(#[from] crossloom_eval::compare::CompareError),
    /// Results could not be summarised.
    #[error("the answers of variant `{variant}` could not be scored: {message}")]
    Score {
        /// The variant.
        variant: String,
        /// What is wrong.
        message: String,
    },
    /// A file of the run could not be used.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// Pretrained weights could not be read.
    #[error(transparent)]
    Pretrained(#[from] crossloom_weights::WeightsError),
    /// Pretrained weights are not those of the model.
    #[error("the weights at {} are not those of the model:\n  {}\n({help})", path.display(), misfits.join("\n  "))]
    Weights {
        /// Where they lie.
        path: PathBuf,
        /// What does not fit, one line for each tensor.
        misfits: Vec<String>,
        /// What to do.
        help: String,
    },
    /// A variant needs more memory than there is.
    #[error("variant `{variant}` {error}")]
    DoesNotFit {
        /// The variant.
        variant: String,
        /// Need, limit and its source.
        error: Box<DoesNotFit>,
        /// What would make it fit.
        help: String,
    },
    /// The request does not fit the recipe.
    #[error("{message} ({help})")]
    Request {
        /// What is wrong.
        message: String,
        /// What to do.
        help: String,
    },
    /// A document could not be serialized.
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Stopped on request before anything was written.
    #[error("interrupted while the data was fetched; nothing was written")]
    Stopped,
    /// Anything an implementer of a trait reported.
    #[error(transparent)]
    Other(#[from] BoxError),
}

impl ExperimentError {
    /// The same, of a run that was found by its folder, where what is missing is its data.
    #[must_use]
    pub fn of_run(self, run: &std::path::Path) -> Self {
        match self {
            Self::Data(error) if matches!(*error, crossloom_data::DataError::Asset(_)) => {
                Self::NoData { run: run.to_owned(), error }
            }
            other => other,
        }
    }

    pub(crate) fn request(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Request { message: message.into(), help: help.into() }
    }

    /// Whether a recipe is wrong, rather than this machine too small or a thing not built: it names tensors that its model does
    /// not have, or weights that do not fit.
    pub fn is_mistake(&self) -> bool {
        let adaptation = matches!(self, Self::Model(crossloom_model::ModelError::Adaptation(_)));
        adaptation || matches!(self, Self::Weights { .. } | Self::Pretrained(_))
    }

    /// What to do about it, where that is known.
    pub fn help(&self) -> Option<&str> {
        match self {
            Self::Request { help, .. } | Self::DoesNotFit { help, .. } => Some(help),
            Self::NoData { .. } => Some(
                "`crossloom generate RUN_FOLDER` answers without it; where the data lies elsewhere, \
                 --set data.cache=\"FOLDER\" names the folder",
            ),
            _ => None,
        }
    }
}

impl From<crossloom_data::DataError> for ExperimentError {
    fn from(error: crossloom_data::DataError) -> Self {
        Self::Data(Box::new(error))
    }
}

/// Turns an error of a part of the data crate into one of a run.
macro_rules! from_data {
    ($($ty:ty),*) => {
        $(impl From<$ty> for ExperimentError {
            fn from(error: $ty) -> Self {
                crossloom_data::DataError::from(error).into()
            }
        })*
    };
}
from_data!(
    crossloom_data::assets::AssetError,
    crossloom_data::chat::ChatError,
    crossloom_data::conversations::ConversationError,
    crossloom_data::datasets::DatasetError,
    crossloom_data::image::ImageError,
    crossloom_data::packing::PackingError,
    crossloom_data::tokenizer::TokenizerError
);
