//! `state.json`: everything of a training that is not a tensor.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The counters and opaque states of a training between two steps.
///
/// It holds no times, so that equal trainings write equal files, and no floats, because a float may lose its last bit
/// on the way through JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainState {
    /// Layout version, [`SCHEMA_VERSION`](super::SCHEMA_VERSION) when written by this build.
    pub schema_version: u32,
    /// Completed optimizer steps.
    pub step: u64,
    /// Hash of what the resolved recipe trains.
    pub recipe_hash: String,
    /// The batch source's position, opaque.
    pub sampler: Value,
    /// The model's random generator, opaque; `null` where it has none.
    pub rng: Value,
    /// Sum of the losses since the last metric record, as the bits of an f64.
    pub window_loss_bits: u64,
    /// Steps since the last metric record.
    pub window_steps: u64,
    /// Target tokens since the last metric record.
    pub window_tokens: u64,
    /// Target tokens since the training began.
    pub total_tokens: u64,
}
