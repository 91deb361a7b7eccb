//! Training for crossloom: *when* to do a step, with which learning rates, and how to survive a crash.
//!
//! This crate knows no method, no kernel and no graph; of recipes it knows the names of the parts of a model and of the
//! schedules. The model comes in through three traits:
//!
//! | trait | what it is | who implements it |
//! |---|---|---|
//! | [`TrainStep`] | forward, backward and update of one micro-batch | the compiled executable |
//! | [`ModelState`] | parameters and optimizer moments as named tensors | the compiled executable |
//! | [`BatchSource`] | an endless, seeded, resumable stream of batches | the data set |
//!
//! and everything it says goes out through two: [`Progress`] for a person, [`MetricSink`] for a file.
//!
//! # Invariants
//! - Between two optimizer steps the whole training state is: the tensors of [`ModelState`], the opaque values of
//!   [`TrainStep::rng_state`] and [`BatchSource::state`], and the [`TrainState`] counters. A checkpoint holds exactly that,
//!   so `2N` steps equal `N` steps, a kill, a resume and `N` steps, bit for bit.
//! - A checkpoint is a function of the recipe alone (no times, no host names): two equal runs write equal bytes.
//! - A directory `checkpoints/step-N` either is complete or does not exist; no failure at any write changes that.
//! - The first non-finite loss or gradient norm ends the run; a state that saw one is never written.
//!
//! # Reading order
//! [`step`] → [`trainer`] → [`schedule`] and [`groups`] → [`checkpoint`] → [`metrics`] → [`run_dir`].

pub mod checkpoint;
pub mod groups;
pub mod metrics;
pub mod progress;
pub mod run_dir;
pub mod schedule;
pub mod step;
pub mod trainer;

pub use checkpoint::{
    Checkpoint, CheckpointError, Checkpoints, RecipeChange, RestorePart, ResumePolicy, TrainState,
};
pub use groups::GroupRates;
pub use metrics::{JsonlSink, MetricPhase, MetricRecord, MetricSink, Scalars, TensorBoardSink};
pub use progress::{Phase, Progress, ProgressUpdate, Silent};
pub use run_dir::{RunDir, RunRecord, StageDir, VariantDir};
pub use schedule::RateCurve;
pub use step::{
    BatchSource, BoxError, GateMeans, MicroOutput, MicroStep, ModelState, NonFinite, StateTensor, StepOutput,
    TrainBatch, TrainStep, Update, Visit, share_of_targets,
};
pub use trainer::{Outcome, Summary, TrainError, TrainIo, TrainOptions, Trainer};
