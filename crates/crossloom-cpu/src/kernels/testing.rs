//! What the tests of the kernels share.

use half::bf16;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::isa::{FORCED, Isa};

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

/// Runs `f` on every instruction set that this machine has, and on one and on three threads each.
pub(crate) fn on_each_isa(f: impl Fn() + Send + Sync) {
    for isa in Isa::available() {
        for threads in [1, 3] {
            #[allow(clippy::unwrap_used)]
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .start_handler(move |_| FORCED.set(Some(isa)))
                .build()
                .unwrap();
            pool.install(&f);
        }
    }
}

/// The nearest `bf16` values.
pub(crate) fn narrow(x: &[f32]) -> Vec<bf16> {
    x.iter().map(|x| bf16::from_f32(*x)).collect()
}
