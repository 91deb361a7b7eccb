//! What a report shows, as plain data. Every type has a `Default`, so that a caller fills in what it has.

mod accuracy;
mod reproduction;
mod sample;
mod variant;

pub use accuracy::{AccuracyColumn, AccuracyRow, AccuracyTable, Estimate, RowKind};
pub use reproduction::{Asset, KernelChoice, Reproduction, Timing};
pub use sample::{Answer, Sample, SampleSet};
pub use variant::{Curves, Edge, Gate, Series, Stage, Topology, Variant};

use serde::Serialize;

/// Everything one report shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ReportData {
    /// Name of the run, the page's main heading.
    pub name: String,
    /// The finding in one sentence, names between backticks; `None` lets [`verdict`](crate::verdict()) derive it from `accuracy`.
    pub verdict: Option<String>,
    /// Tiles below the verdict; empty derives them from the accuracies and the total time.
    pub key_figures: Vec<KeyFigure>,
    /// When, what and where.
    pub provenance: Provenance,
    /// Measured accuracies of all variants and priors.
    pub accuracy: AccuracyTable,
    /// The trained models, in the order in which they are shown and coloured.
    pub variants: Vec<Variant>,
    /// Questions with the answers of the variants.
    pub samples: SampleSet,
    /// What it takes to do the run again.
    pub reproduction: Reproduction,
}

/// One tile of the header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KeyFigure {
    /// What is measured, a few words.
    pub label: String,
    /// The figure with its unit, ready to print.
    pub value: String,
    /// A short remark below the figure; may be empty.
    pub note: String,
}

/// When, what and where a run was.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Provenance {
    /// Date and time at which the run ended, ready to print (ISO 8601 preferred).
    pub date: String,
    /// Hash of the resolved recipe.
    pub recipe_hash: String,
    /// Device in words, such as the processor's name and the number of threads.
    pub device: String,
    /// Wall time of the whole run in seconds, if it was measured.
    pub total_seconds: Option<f64>,
    /// Version of crossloom that made the run.
    pub version: String,
}
