//! Steps whose loss stands out.

use std::collections::VecDeque;

/// Losses that a step is compared with, and how many there must be.
const WINDOW: usize = 64;
const LEAST: usize = 32;
/// So many standard deviations above the mean are a spike.
const DEVIATIONS: f64 = 6.0;
/// Where losses hardly differ, a spike is so much of their mean above it.
const LEAST_RISE: f64 = 0.1;

/// The losses of the newest steps of a session.
#[derive(Debug, Default)]
pub(super) struct LossWatch {
    losses: VecDeque<f64>,
}

/// What a loss that stands out stands out of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spike {
    /// Mean of the losses before it.
    pub(super) mean: f64,
    /// Their standard deviation.
    pub(super) deviation: f64,
    /// How many they are.
    pub(super) steps: usize,
}

impl LossWatch {
    /// Looks at the loss of a step. A spike is a loss above the mean of the 64 steps before it (32 at least, of this session) by more than
    /// six of their standard deviations and more than a tenth of that mean. It does not count for the steps behind it.
    pub(super) fn see(&mut self, loss: f64) -> Option<Spike> {
        let steps = self.losses.len();
        let mean = self.losses.iter().sum::<f64>() / steps as f64;
        let variance = self.losses.iter().map(|loss| (loss - mean).powi(2)).sum::<f64>() / steps as f64;
        let deviation = variance.sqrt();
        let spike = steps >= LEAST && loss - mean > (DEVIATIONS * deviation).max(LEAST_RISE * mean);
        if spike {
            return Some(Spike { mean, deviation, steps });
        }
        if steps == WINDOW {
            self.losses.pop_front();
        }
        self.losses.push_back(loss);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spike_stands_out_of_the_steps_before_it_and_does_not_hide_the_next() {
        let mut watch = LossWatch::default();
        assert_eq!(watch.see(900.0), None, "the first has nothing to stand out of");
        let mut watch = LossWatch::default();
        let noise = |step: usize| 2.0 + 0.1 * ((step * 37 % 11) as f64 / 5.0 - 1.0);
        for step in 0..200 {
            assert_eq!(watch.see(noise(step)), None, "step {step}");
        }
        let spike = watch.see(3.0).map(|spike| (spike.steps, (spike.mean * 10.0).round()));
        assert_eq!(spike, Some((WINDOW, 20.0)));
        assert!(watch.see(3.0).is_some());
        assert_eq!(watch.see(2.15), None);
    }

    #[test]
    fn a_flat_loss_has_no_spikes_of_rounding_and_a_falling_one_none() {
        let mut watch = LossWatch::default();
        for step in 0..100 {
            assert_eq!(watch.see(1.0 + 1e-9 * f64::from(step % 2)), None);
        }
        let mut watch = LossWatch::default();
        for step in 0..300 {
            assert_eq!(watch.see(10.0 * (-f64::from(step) / 50.0).exp()), None);
        }
    }
}
