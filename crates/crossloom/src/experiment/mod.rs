//! From a recipe to a run: data, compiled models, training, evaluation, comparison.
//!
//! Each file is one station of the road; [`run()`] walks it for every variant of a recipe.

mod batch;
mod changes;
mod comparison;
mod data;
mod error;
mod evaluate;
mod folder;
mod gates;
mod generate;
mod held_out;
mod model;
mod outcome;
mod record;
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
pub(crate) use model::training_spec;
pub use model::{Model, forward_func};
pub use outcome::VariantOutcome;
pub use run::{Finished, Job, Reporter, RunOutcome, RunRequest, Stage, run};
pub use step::ModelStep;
pub use train::train;
