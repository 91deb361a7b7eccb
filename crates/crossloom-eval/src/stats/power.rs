//! How many samples a question needs, and what a test set can show at all.
//!
//! Differences are in accuracy, so one point is 0.01. The formulas are normal approximations for independent samples;
//! questions that share pictures need more.

/// Power that sample sizes are computed for: the probability to find a difference that is there.
const POWER: f64 = 0.8;

/// Samples for an interval of half-width `half_width` around an accuracy of `accuracy`: `z² p (1 - p) / h²`, rounded up.
/// 0 where an argument is out of range.
pub fn samples_for_interval(accuracy: f64, half_width: f64, confidence: f64) -> u64 {
    if !(0.0..=1.0).contains(&accuracy) || half_width <= 0.0 || !(0.0..1.0).contains(&confidence) {
        return 0;
    }
    let z = normal_quantile(0.5 + confidence / 2.0);
    whole(z * z * accuracy * (1.0 - accuracy) / (half_width * half_width))
}

/// Samples at which two paired runs that differ by `difference`, and of which exactly one is right on a share `discordant`
/// of samples, are told apart at level `alpha` with a power of 80 %:
/// `(z_{1-α/2} √ψ + z_{power} √(ψ - δ²))² / δ²`, rounded up. 0 where there is no difference to find.
pub fn samples_for_paired_difference(difference: f64, discordant: f64, alpha: f64) -> u64 {
    let delta = difference.abs();
    if !(delta > 0.0 && alpha > 0.0 && alpha < 1.0) {
        return 0;
    }
    // A difference of δ needs a discordant share of at least δ.
    let psi = discordant.clamp(delta, 1.0);
    let z = normal_quantile(1.0 - alpha / 2.0) * psi.sqrt()
        + normal_quantile(POWER) * (psi - delta * delta).max(0.0).sqrt();
    whole((z / delta) * (z / delta))
}

/// The smallest difference that `samples` paired samples show with a power of 80 %, to first order:
/// `(z_{1-α/2} + z_{power}) √(ψ / n)`.
pub fn detectable_difference(samples: usize, discordant: f64, alpha: f64) -> f64 {
    let z = normal_quantile(1.0 - alpha / 2.0) + normal_quantile(POWER);
    z * (discordant.max(0.0) / samples.max(1) as f64).sqrt()
}

/// The `p`-quantile of the standard normal distribution; infinite at and beyond 0 and 1.
pub fn normal_quantile(p: f64) -> f64 {
    if p.is_nan() {
        return p;
    }
    if p <= 0.0 || p >= 1.0 {
        return if p <= 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    // Bisection of the distribution function; the bounds hold every p that an f64 can tell from 0 and 1.
    let (mut low, mut high) = (-40.0, 40.0);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if 0.5 * libm::erfc(-middle / std::f64::consts::SQRT_2) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// Rounded up, without being fooled by the last bit of a whole number.
fn whole(samples: f64) -> u64 {
    (samples - 1e-9).ceil().max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_match_the_tables() {
        for (p, z) in [(0.975, 1.959_963_985), (0.8, 0.841_621_234), (0.5, 0.0), (0.001, -3.090_232_306)] {
            assert!((normal_quantile(p) - z).abs() < 1e-8, "{p}");
        }
        assert_eq!((normal_quantile(0.0), normal_quantile(1.0)), (f64::NEG_INFINITY, f64::INFINITY));
    }

    #[test]
    fn sample_sizes_by_hand() {
        // 1.96² · 0.25 / 0.01² = 9603.6; 1.96² · 0.16 / 0.01² = 6146.3
        assert_eq!(samples_for_interval(0.5, 0.01, 0.95), 9604);
        assert_eq!(samples_for_interval(0.8, 0.01, 0.95), 6147);
        // ψ = 0.1, δ = 0.01: (1.95996 · 0.316228 + 0.841621 · 0.316070)² / 0.0001
        let n = samples_for_paired_difference(0.01, 0.1, 0.05);
        assert!((7840..=7850).contains(&n), "{n}");
        assert_eq!(samples_for_paired_difference(-0.01, 0.1, 0.05), n);
        // The two helpers are each other's inverse.
        assert!((detectable_difference(n as usize, 0.1, 0.05) - 0.01).abs() < 1e-4);
    }

    #[test]
    fn senseless_questions_have_the_answer_zero() {
        assert_eq!(samples_for_paired_difference(0.0, 0.1, 0.05), 0);
        assert_eq!(samples_for_interval(1.5, 0.01, 0.95), 0);
        assert_eq!(samples_for_interval(0.5, 0.0, 0.95), 0);
    }
}
