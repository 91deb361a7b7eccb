//! McNemar's exact test.

/// Two-sided exact p-value for `only_first` samples that only the first run got right and `only_second` that only the
/// second did: the probability that a fair coin splits them at least as unevenly. Assumes independent samples.
pub fn mcnemar_exact(only_first: u64, only_second: u64) -> f64 {
    let n = only_first + only_second;
    let fewer = only_first.min(only_second);
    if only_first == only_second {
        return 1.0;
    }
    // 2 · Σ_{k ≤ fewer} C(n, k) / 2ⁿ, summed from the largest term down.
    let n_float = n as f64;
    let log_largest = libm::lgamma(n_float + 1.0)
        - libm::lgamma(fewer as f64 + 1.0)
        - libm::lgamma((n - fewer) as f64 + 1.0)
        - n_float * std::f64::consts::LN_2;
    let (mut term, mut sum) = (1.0, 1.0);
    for k in (1..=fewer).rev() {
        // C(n, k - 1) = C(n, k) · k / (n - k + 1)
        term *= k as f64 / (n - k + 1) as f64;
        sum += term;
        if term < sum * f64::EPSILON {
            break;
        }
    }
    (2.0 * libm::exp(log_largest) * sum).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_binomial_by_hand() {
        // n = 10: 2 · (1 + 10 + 45) / 1024 for a split of 2 and 8.
        let cases = [
            (2, 8, 112.0 / 1024.0),
            (8, 2, 112.0 / 1024.0),
            (0, 5, 2.0 / 32.0),
            (1, 6, 2.0 * 8.0 / 128.0),
            (4, 5, 1.0),
            (0, 0, 1.0),
            (7, 7, 1.0),
            (0, 1, 1.0),
        ];
        for (only_first, only_second, expected) in cases {
            let p = mcnemar_exact(only_first, only_second);
            assert!((p - expected).abs() < 1e-12, "{only_first}, {only_second}: {p}, expected {expected}");
        }
    }

    #[test]
    fn large_counts_neither_overflow_nor_vanish_too_early() {
        // Normal approximation with continuity correction: z = 199 / sqrt(10000) = 1.99 → 0.0466
        assert!((mcnemar_exact(4900, 5100) - 0.0466).abs() < 5e-4);
        let tiny = mcnemar_exact(100, 900);
        assert!(tiny > 0.0 && tiny < 1e-100, "{tiny}");
    }
}
