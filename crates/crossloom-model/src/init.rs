//! Start values of parameters.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All elements the same.
    Constant(f64),
    /// Uniform with that standard deviation, around zero.
    Uniform {
        /// Standard deviation.
        std: f64,
    },
}

impl Init {
    /// Zeros: biases, the B matrices of low-rank branches.
    pub const ZEROS: Self = Self::Constant(0.0);
    /// Ones: norm gains.
    pub const ONES: Self = Self::Constant(1.0);

    /// For a linear weight of `fan_in` columns: uniform in `±1/sqrt(fan_in)`, PyTorch's default.
    pub fn linear(fan_in: usize) -> Self {
        Self::Uniform { std: (3.0 * fan_in as f64).sqrt().recip() }
    }
}

/// The start value of the parameter of that name. It depends on the seed and the name only, so that two models that
/// share a parameter start it alike whatever else they have.
pub fn initial_value(init: Init, elements: usize, seed: u64, name: &str) -> Vec<f32> {
    match init {
        Init::Constant(value) => vec![value as f32; elements],
        Init::Uniform { std } => {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&seed.to_le_bytes());
            hasher.update(name.as_bytes());
            let mut rng = ChaCha8Rng::from_seed(*hasher.finalize().as_bytes());
            let bound = (std * 3f64.sqrt()) as f32;
            (0..elements).map(|_| (2.0 * rng.random::<f32>() - 1.0) * bound).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_depend_on_name_and_seed_alone_and_have_the_standard_deviation_asked_for() {
        let init = Init::Uniform { std: 0.5 };
        let a = initial_value(init, 20_000, 1, "a");
        assert_eq!(a, initial_value(init, 20_000, 1, "a"));
        assert_eq!(a[..100], initial_value(init, 100, 1, "a")[..]);
        assert_ne!(a, initial_value(init, 20_000, 2, "a"));
        assert_ne!(a, initial_value(init, 20_000, 1, "b"));
        let variance = a.iter().map(|x| f64::from(x * x)).sum::<f64>() / a.len() as f64;
        assert!((variance.sqrt() - 0.5).abs() < 0.01, "{variance}");
    }
}
