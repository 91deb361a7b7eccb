//! Training curves with the shape of real ones.

use crossloom_report::{Curves, Series};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

const STEPS: u64 = 2808;

/// Curves of one variant whose loss ends near `floor`.
pub(crate) fn curves(seed: u64, floor: f64) -> Curves {
    let mut noise = ChaCha8Rng::seed_from_u64(seed);
    let trend =
        |step: u64| floor + 0.35 * (-(step as f64) / 900.0).exp() + 2.0 * (-(step as f64) / 60.0).exp();
    let loss: Series =
        (1..=STEPS).map(|step| (step, trend(step) * (1.0 + 0.22 * noise.random_range(-1.0..1.0)))).collect();
    let gradient_norm = (1..=STEPS)
        .map(|step| {
            (step, (0.5 + 3.0 * (-(step as f64) / 120.0).exp()) * (1.0 + noise.random_range(-0.4..0.6)))
        })
        .collect();
    let learning_rate = (1..=STEPS)
        .map(|step| {
            let warm = (step as f64 / 100.0).min(1.0);
            let part = step as f64 / STEPS as f64;
            (step, 2e-3 * warm * 0.5 * (1.0 + (part * std::f64::consts::PI).cos()))
        })
        .collect();
    let held_out_loss = (1..=5).map(|index| (index * 560, trend(index * 560) * 1.03)).collect();
    Curves { loss, held_out_loss, sampled_score: Series::default(), learning_rate, gradient_norm }
}

/// The course of a gate that starts near closed and ends near `end`.
pub(crate) fn gate(seed: u64, end: f64) -> Series {
    let mut noise = ChaCha8Rng::seed_from_u64(seed);
    (0..=40)
        .map(|index| {
            let part = 1.0 - (-f64::from(index) / 11.0).exp();
            (u64::from(index as u32) * 70, 0.05 + (end - 0.05) * part + 0.006 * noise.random_range(-1.0..1.0))
        })
        .collect()
}
