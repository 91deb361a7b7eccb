//! What has piled up since the last metric record.

use crate::checkpoint::TrainState;
use crate::step::StepOutput;

/// Sums since the last metric record. They go into checkpoints, so that a resumed run writes the same records.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Window {
    pub(super) loss: f64,
    pub(super) steps: u64,
    pub(super) tokens: u64,
}

impl Window {
    pub(super) fn add(&mut self, output: &StepOutput) {
        self.loss += output.loss;
        self.steps += 1;
        self.tokens += output.tokens;
    }

    pub(super) fn mean_loss(&self) -> f64 {
        self.loss / self.steps as f64
    }

    pub(super) fn from_state(state: &TrainState) -> Self {
        Self {
            loss: f64::from_bits(state.window_loss_bits),
            steps: state.window_steps,
            tokens: state.window_tokens,
        }
    }
}
