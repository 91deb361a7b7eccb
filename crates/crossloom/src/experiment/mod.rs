//! From a recipe to a run: data, compiled models, training, evaluation, comparison.
//!
//! Each file is one station of the road; [`run()`] walks it for every variant of a recipe.

mod batch;
mod data;
mod error;
mod evaluate;
mod generate;
mod model;
mod report;
mod run;
mod step;
mod train;
mod variant;

pub use batch::load_batch;
pub use data::ExperimentData;
pub(crate) use data::vocabulary;
pub use error::ExperimentError;
pub use evaluate::evaluate;
pub use generate::{GenerateRequest, Generated, generate};
pub use model::{Compilation, Model, forward_func};
pub use run::{Finished, Job, Reporter, RunOutcome, RunRequest, Stage, run};
pub use step::ModelStep;
pub use train::train;
pub use variant::VariantOutcome;
