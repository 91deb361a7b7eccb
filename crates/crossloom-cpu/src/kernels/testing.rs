//! What the tests of the kernels share.

use crossloom_ir::DType;
use half::bf16;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::element::{Floats, FloatsMut};
use crate::isa::{FORCED, Isa};

/// `n` seeded values in `[-1, 1)`.
pub(crate) fn random(seed: u64, n: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// Seeded rows of blocks, with factors that are small numbers.
pub(crate) fn random_blocks(dtype: DType, rows: usize, columns: usize, seed: u64) -> Vec<u8> {
    let (elements, size) = dtype.block();
    let numbers = random(seed, rows * columns / elements * size);
    let mut bytes: Vec<u8> = numbers.iter().map(|x| (x * 4096.0) as i32 as u8).collect();
    let factors: &[usize] = match dtype {
        DType::Q4_1 | DType::Q4K => &[0, 2],
        DType::Q6K => &[208],
        _ => &[0],
    };
    for (i, block) in bytes.chunks_exact_mut(size).enumerate() {
        for &at in factors {
            let factor = half::f16::from_f32(numbers[i] * 0.01).to_le_bytes();
            block[at..at + 2].copy_from_slice(&factor);
        }
    }
    bytes
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

/// Values in memory of either type.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Buffer {
    /// As they are.
    F32(Vec<f32>),
    /// Rounded.
    Bf16(Vec<bf16>),
}

impl Buffer {
    /// Those values, in `bf16` if they are to be narrow.
    pub(crate) fn new(x: &[f32], is_narrow: bool) -> Self {
        if is_narrow { Self::Bf16(narrow(x)) } else { Self::F32(x.to_vec()) }
    }

    /// Room for `n` values, full of what must not be left there.
    pub(crate) fn room(n: usize, is_narrow: bool) -> Self {
        Self::new(&vec![f32::NAN; n], is_narrow)
    }

    pub(crate) fn floats(&self) -> Floats<'_> {
        match self {
            Self::F32(x) => Floats::F32(x),
            Self::Bf16(x) => Floats::Bf16(x),
        }
    }

    pub(crate) fn floats_mut(&mut self) -> FloatsMut<'_> {
        match self {
            Self::F32(x) => FloatsMut::F32(x),
            Self::Bf16(x) => FloatsMut::Bf16(x),
        }
    }

    /// The values, exactly.
    pub(crate) fn wide(&self) -> Vec<f32> {
        match self {
            Self::F32(x) => x.clone(),
            Self::Bf16(x) => x.iter().map(|x| x.to_f32()).collect(),
        }
    }

    /// The bits of the values, widened.
    pub(crate) fn bits(&self) -> Vec<u32> {
        self.wide().into_iter().map(f32::to_bits).collect()
    }
}

/// Every mix of narrow and not for `N` operands and results.
pub(crate) fn mixes<const N: usize>() -> impl Iterator<Item = [bool; N]> {
    (0..1_usize << N).map(|mix| std::array::from_fn(|i| mix >> i & 1 == 1))
}
