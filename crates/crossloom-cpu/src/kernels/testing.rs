//! What the tests of the kernels share.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// `n` seeded values in `[-1, 1)`.
pub(crate) fn random(seed: u64, n: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// Asserts `|got - want| <= tolerance * max(1, |want|)` everywhere.
#[track_caller]
pub(crate) fn assert_close(got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let error = (g - w).abs();
        assert!(error <= tolerance * w.abs().max(1.0), "[{i}]: {g} instead of {w}, off by {error:e}");
    }
}

/// Runs `f` on a pool of `threads` threads.
pub(crate) fn on_threads<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
    #[allow(clippy::unwrap_used)]
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
}
