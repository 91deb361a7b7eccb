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
    /// Places around a cell, as deformable attention begins with: elements are `[heads, levels, points, 2]`, the heads' directions
    /// (x, y) go around in even steps, and point `i` is `i + 1` cells away along the axis of which it is farther.
    Around {
        /// Directions.
        heads: usize,
        /// Grids that are read.
        levels: usize,
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
        Init::Around { heads, levels } => around(elements, heads, levels),
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

/// See [`Init::Around`].
fn around(elements: usize, heads: usize, levels: usize) -> Vec<f32> {
    let points = elements / (2 * heads * levels).max(1);
    let place = |at: usize| {
        let (axis, point, head) = (at % 2, at / 2 % points.max(1), at / 2 / (points * levels).max(1));
        let (y, x) = (std::f64::consts::TAU * head as f64 / heads as f64).sin_cos();
        let along = if axis == 0 { x } else { y };
        (along / x.abs().max(y.abs()) * (point + 1) as f64) as f32
    };
    (0..elements).map(place).collect()
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

    #[test]
    fn places_around_a_cell_go_out_in_the_directions_of_heads() {
        let given = initial_value(Init::Around { heads: 8, levels: 2 }, 8 * 2 * 3 * 2, 1, "a");
        let directions = [[1, 0], [1, 1], [0, 1], [-1, 1], [-1, 0], [-1, -1], [0, -1], [1, -1]]
            .map(|at| at.map(|x| x as f32));
        let places = directions.iter().flat_map(|[x, y]| {
            (0..2).flat_map(move |_| (1..=3).flat_map(move |i| [x * i as f32, y * i as f32]))
        });
        for (given, expected) in given.into_iter().zip(places) {
            assert!((given - expected).abs() < 1e-6, "{given} {expected}");
        }
    }
}
