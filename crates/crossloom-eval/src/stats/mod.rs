//! Statistics: how far a number can be trusted, and whether two numbers differ.
//!
//! The unit is the *cluster* (picture), because questions about one picture share its difficulty; treating questions as
//! independent gives intervals that are too narrow and p-values that are too small.
//!
//! - Intervals are Agresti and Coull's over clusters (`interval.rs`); simulation holds them to their confidence, near the
//!   edges too.
//! - p-values are sign-flip permutations over clusters, counted exactly where scores have a common unit.
//! - Several trainings that differ in seeds are resampled too, before the clusters (`seeds.rs`).
//! - Over few clusters such a test has hardly any power, and pictures that are not typical weigh much, so nothing is called
//!   significant below [`MIN_CLUSTERS`].

mod holm;
mod interval;
mod mcnemar;
mod paired;
mod permutation;
mod power;
mod seeds;
mod student;

pub use holm::holm;
pub use interval::mean_interval;
pub use mcnemar::mcnemar_exact;
pub use paired::{PairedDifference, paired_difference};
pub use power::{
    detectable_difference, normal_quantile, samples_for_interval, samples_for_paired_difference,
};
pub use seeds::{seeds_difference, seeds_interval};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::metrics::binary::NotBinary;
use crate::metrics::mme::NotPaired;

/// Fewer clusters than this are too few to call a difference significant: they hardly stand for all pictures, and a
/// permutation test has hardly any power.
pub const MIN_CLUSTERS: usize = 20;

/// How sure, and how p-values are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Resampling {
    /// Least number of sign patterns that are drawn where they cannot be counted.
    #[serde(alias = "resamples")]
    pub draws: usize,
    /// Probability that an interval is meant to cover, in (0, 1).
    pub confidence: f64,
    /// Seed of the ChaCha8 generator.
    pub seed: u64,
}

impl Resampling {
    /// For one of `comparisons` tests that are corrected together: so many draws that the smallest p-value they can give
    /// stays a twentieth of the level after the correction.
    pub fn among(self, comparisons: usize) -> Self {
        let needed = (20.0 * comparisons as f64 / (1.0 - self.confidence)).ceil();
        Self { draws: self.draws.max(needed as usize), ..self }
    }
}

impl Default for Resampling {
    fn default() -> Self {
        Self { draws: 2000, confidence: 0.95, seed: 0 }
    }
}

/// A mean with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Over all samples, in units of the score.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// How many samples the mean is of; failed ones are not counted.
    pub samples: usize,
    /// Clusters that there are.
    pub clusters: usize,
    /// Trainings with other seeds that the mean is of.
    #[serde(default = "one")]
    pub seeds: usize,
    /// Standard deviation between the means of the seeds.
    #[serde(default)]
    pub deviation: f64,
}

/// What older files have: one training.
fn one() -> usize {
    1
}

/// Why a statistic cannot be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatsError {
    /// No samples.
    #[error("there are no samples to take a mean of")]
    Empty,
    /// Inputs that belong together have different lengths.
    #[error("{what}: {left} values against {right}")]
    Lengths {
        /// What was being computed.
        what: &'static str,
        /// Length of one.
        left: usize,
        /// Length of the other.
        right: usize,
    },
    /// Settings that make no sense.
    #[error("statistics need at least 100 draws and a confidence inside (0, 1)")]
    Settings,
    /// A value that is NaN or infinite.
    #[error("value {0} is not finite")]
    NotFinite(usize),
    /// Answers to a question that is not of yes and no, where the metric counts these.
    #[error(transparent)]
    NotBinary(#[from] NotBinary),
    /// Answers that are not two to a picture, where the metric counts pairs.
    #[error(transparent)]
    NotPaired(#[from] NotPaired),
}

/// Which samples belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clusters {
    cluster_of: Vec<usize>,
    count: usize,
}

impl Clusters {
    /// Every one of `samples` samples for itself.
    pub fn singletons(samples: usize) -> Self {
        Self { cluster_of: (0..samples).collect(), count: samples }
    }

    /// Samples with equal keys belong together; clusters are numbered in order of appearance.
    pub fn by_key<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        let mut numbers: IndexMap<&str, usize> = IndexMap::new();
        let mut cluster_of = Vec::new();
        for key in keys {
            let next = numbers.len();
            cluster_of.push(*numbers.entry(key).or_insert(next));
        }
        Self { cluster_of, count: numbers.len() }
    }

    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.cluster_of.len()
    }

    /// Number of clusters.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.cluster_of.is_empty()
    }
}
