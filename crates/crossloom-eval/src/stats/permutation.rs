//! Sign-flip permutation test: what if the two runs were exchangeable, picture by picture?

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Up to so many clusters that differ, all sign patterns are counted.
const EXACT: usize = 16;
/// Keeps these draws apart from those of a bootstrap with the same seed.
const STREAM: u64 = 1;

/// Two-sided p-value of the hypothesis that the sign of every cluster's summed difference is a fair coin: the share of sign
/// patterns whose total is at least as far from zero as the observed one.
///
/// Clusters without a difference have no sign and change nothing. Up to 16 others are enumerated, so that the value is
/// exact and at least `2 / 2^clusters`; of more, `draws` patterns are drawn, and `r` of them as extreme give
/// `(r + 1) / (draws + 1)`. Either way it is valid for any number of clusters.
pub(super) fn sign_flip(cluster_sums: &[f64], draws: usize, seed: u64) -> f64 {
    let scale = cluster_sums.iter().map(|sum| sum.abs()).sum::<f64>();
    // Sums of the same numbers in another order may differ in their last bits.
    let tolerance = 1e-9 * scale;
    let sums: Vec<f64> = cluster_sums.iter().copied().filter(|sum| sum.abs() > tolerance).collect();
    if sums.is_empty() {
        return 1.0;
    }
    let observed = sums.iter().sum::<f64>().abs() - tolerance;
    let extreme = |total: f64| total.abs() >= observed;
    if sums.len() <= EXACT {
        let patterns = 1_u32 << sums.len();
        let signed = |pattern: u32| -> f64 {
            sums.iter().enumerate().map(|(i, sum)| if pattern >> i & 1 == 1 { -sum } else { *sum }).sum()
        };
        return (0..patterns).filter(|&pattern| extreme(signed(pattern))).count() as f64
            / f64::from(patterns);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(STREAM);
    let mut as_extreme = 0;
    for _ in 0..draws {
        let mut total = 0.0;
        for block in sums.chunks(64) {
            let mut signs = rng.next_u64();
            for sum in block {
                total += if signs & 1 == 1 { -sum } else { *sum };
                signs >>= 1;
            }
        }
        as_extreme += usize::from(extreme(total));
    }
    (as_extreme + 1) as f64 / (draws + 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_clusters_are_counted_exactly() {
        // All five on one side: 2 of 32 patterns. One picture can prove nothing.
        assert_eq!(sign_flip(&[1.0; 5], 100, 0), 2.0 / 32.0);
        assert_eq!(sign_flip(&[8.0], 100, 0), 1.0);
        // |1 + 1 + 1 - 1| = 2: all but the 6 patterns that cancel out.
        assert_eq!(sign_flip(&[1.0, 1.0, 1.0, -1.0], 100, 0), 10.0 / 16.0);
        assert_eq!(sign_flip(&[1.0, 0.0, 1.0, 0.0], 100, 0), 0.5, "no difference, no sign");
        assert_eq!(sign_flip(&[], 100, 0), 1.0);
        assert_eq!(sign_flip(&[0.0; 9], 100, 0), 1.0);
    }

    #[test]
    fn drawn_patterns_agree_with_the_binomial() {
        // 20 equal clusters, 15 to 5: 2 · P(at most 5 of 20) = 0.0414.
        let sums: Vec<f64> = (0..20).map(|i| if i < 15 { 1.0 } else { -1.0 }).collect();
        let p = sign_flip(&sums, 20_000, 3);
        assert!((p - 0.0414).abs() < 0.005, "{p}");
        assert_eq!(p, sign_flip(&sums, 20_000, 3));
        assert_ne!(p, sign_flip(&sums, 20_000, 4));
        assert_eq!(sign_flip(&[1.0; 200], 999, 0), 1.0 / 1000.0);
    }

    #[test]
    fn equals_are_told_apart_no_more_often_than_promised() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for clusters in [6, 12, 25] {
            let mut rejected = 0;
            for seed in 0..400 {
                let sums: Vec<f64> = (0..clusters).map(|_| f64::from(rng.next_u32() % 9) - 4.0).collect();
                rejected += i32::from(sign_flip(&sums, 400, seed) <= 0.05);
            }
            // 20 are expected at most; 34 or more happen once in a thousand such tests.
            assert!(rejected < 34, "{clusters} clusters: {rejected} of 400");
        }
    }
}
