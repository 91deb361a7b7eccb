//! Evaluation for crossloom: answers in, honest numbers out.
//!
//! This crate knows no model: someone else decodes, and everything after that works on [`SampleRecord`]s.
//!
//! ```text
//! answers ──metrics──▶ SampleRecord (samples.jsonl) ──results──▶ Results (results.json)
//!                             └──────────────compare──▶ Comparison (table, verdict)
//! ```
//!
//! # Invariants
//! - A sample that failed is excluded from every mean, counted, and makes its results *incomplete*; it is never scored as
//!   a wrong answer and never left out in silence.
//! - Two runs are compared on the same samples only; different sample ids are an error.
//! - Questions about one picture are not independent, so intervals resample pictures and tests swap pictures, not questions.
//! - Trainings that differ in seeds only are one method: intervals and tests are over seeds and pictures.
//! - Everything random is seeded; the same records give the same numbers.
//!
//! # Reading order
//! [`samples`] → [`metrics`] → [`results`] → [`stats`] → [`mod@compare`]; [`prior`] stands alone.

pub mod compare;
mod error_text;
pub mod metrics;
pub mod prior;
pub mod results;
pub mod samples;
pub mod stats;

pub use compare::{
    CompareError, CompareOptions, Comparison, Contender, Cost, Costs, Seed, Standing, TableFormat, compare,
};
pub use error_text::is_error_text;
pub use metrics::Metric;
pub use prior::{Prior, question_only_prior};
pub use results::Results;
pub use samples::{Answer, Question, SampleRecord, read_samples, write_samples};
pub use stats::{Clusters, Estimate, PairedDifference, Resampling, StatsError};

/// Any error of an implementer.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;
