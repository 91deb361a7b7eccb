//! What a recipe *does*, as a library: no arguments, no printing. A caller hears of a run through [`RunProgress`], and
//! through `tracing` events.
//!
//! [`Experiment`] walks the stations, each a file of its name; a station knows those to its left and never the one that
//! drives it:
//!
//! ```text
//! Experiment ─▶ Claim, RunFolder ─▶ Data ─▶ Model ─▶ train ─▶ evaluate ─▶ compare ─▶ report
//!               a folder, held      read   compiled   one VariantRun each   all variants
//! ```
//!
//! - [`experiment`]: a recipe that is run, and how that ended.
//! - [`folder`]: what may be done in a run's folder is settled, under its lock, before anything is written.
//! - [`data`]: pictures, questions, tokenizer, split by split; [`DataSets`]: those of all stages.
//! - [`start`]: the pretrained weights that a recipe names, found, compared with its model, and laid into its store.
//! - [`graph`]: a recipe's functions; [`programs`]: compiled; [`memory`]: what they will hold; [`model`]: with their weights;
//!   [`backends`]: what they are compiled for and run on.
//! - [`engine`]: a model answers, many requests at a time.
//! - [`Trained`]: a finished run is asked; its folder is enough, because every variant's [`Interface`] lies in it.
//! - [`mod@export`]: a finished run's model is given away, whole, in part, or as low-rank pairs.
//! - [`mod@verify`]: for every edge a proof that what runs is what the recipe says, and what it does in trained weights.
//! - [`ModelProcessor`]: pictures and conversations as a pretrained model reads them.
//! - [`SentenceEncoder`]: texts to vectors, by a pretrained encoder that stands still.
//! - [`stages`]: a recipe as topology, luminal graph, IR, fused IR and plan, and what it costs. Nothing runs.

mod batch;
mod bundle;
mod changes;
mod compare;
mod conversations;
mod datasets;
mod encoder;
mod error;
mod evaluate;
mod fitting;
mod gates;
mod git;
mod held_out;
mod interface;
mod job;
mod measured;
mod model_processor;
mod outcome;
mod phases;
mod prefill;
mod preview;
mod processor;
mod progress;
mod published;
mod question_vectors;
mod record;
mod sampled;
mod sentences;
mod states;
mod step;
mod stream;
mod train;
mod trained;
mod training;
mod training_stage;
mod twin;
mod variant;

pub mod backends;
pub mod cells;
pub mod data;
pub mod date;
pub mod engine;
pub mod experiment;
pub mod export;
pub mod folder;
pub mod graph;
pub mod machine;
pub mod memory;
pub mod model;
pub mod programs;
pub mod report;
pub mod resolved;
mod sources;
pub mod stages;
pub mod start;
pub mod verify;

pub use batch::{Pools, load_batch};
pub use conversations::survey;
pub use data::Data;
pub use datasets::DataSets;
pub use error::ExperimentError;
pub use evaluate::evaluate;
pub use experiment::{Experiment, Finished, RunOutcome};
pub use interface::Interface;
pub use job::{Entry, Job};
pub use model::Model;
pub use model_processor::{ModelProcessor, Prepared, PreparedPicture};
pub use outcome::VariantOutcome;
pub use phases::Phases;
pub use preview::{PreviewedRow, preview};
pub use processor::Processor;
pub use progress::{Activity, RunProgress, Unheard};
pub use question_vectors::QuestionVectors;
pub use sentences::SentenceEncoder;
pub use start::{Start, found, located, settled};
pub use states::PictureBudget;
pub use step::ModelStep;
pub use stream::TrainingBatch;
pub use train::{conversation_stream, train};
pub use trained::{Answered, Asked, Trained, generate, sees_pictures};
pub use training::Training;
pub use training_stage::unfinished_stage;
