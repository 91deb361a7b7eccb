//! Sign-flip permutation test: what if the two runs were exchangeable, picture by picture?

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Up to so many clusters that differ, all sign patterns are looked at, whatever their sums.
const ENUMERATED: usize = 16;
/// The finest common unit of sums that is looked for: scores of all metrics but ANLS are whole numbers of sixtieths.
const UNITS: u32 = 60;
/// Most additions for counting all patterns; about a tenth of a second.
const COUNTED: usize = 100_000_000;
/// Keeps these draws apart from those of another use of the same seed.
const STREAM: u64 = 1;

/// A p-value, and what limits it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SignFlip {
    /// The two-sided p-value.
    pub(super) p: f64,
    /// The smallest one that any outcome could have had, on as many clusters that differ and as many draws.
    pub(super) least: f64,
    /// Whether patterns were drawn, so that a `p` of `least` is only known to be no larger.
    pub(super) drawn: bool,
}

/// Two-sided p-value of the hypothesis that the sign of every cluster's summed difference is a fair coin: the share of sign
/// patterns whose total is at least as far from zero as the observed one.
///
/// Clusters without a difference have no sign and change nothing. Where the others' sums are whole multiples of one unit, all
/// their patterns are counted by what they sum to, so that the value is exact; so it is for up to 16 clusters with any
/// sums. Of more, `draws` patterns are drawn, and `r` of them as extreme give `(r + 1) / (draws + 1)`. In every case it is
/// valid for any number of clusters.
pub(super) fn sign_flip(cluster_sums: &[f64], draws: usize, seed: u64) -> SignFlip {
    let scale = cluster_sums.iter().map(|sum| sum.abs()).sum::<f64>();
    // Sums of the same numbers in another order may differ in their last bits.
    let tolerance = 1e-9 * scale;
    let sums: Vec<f64> = cluster_sums.iter().copied().filter(|sum| sum.abs() > tolerance).collect();
    if sums.is_empty() {
        return SignFlip { p: 1.0, least: 1.0, drawn: false };
    }
    // All signs alike, and their opposite; no p-value is written as 0.
    let least = 2.0_f64.powi(1 - sums.len() as i32).max(f64::MIN_POSITIVE);
    if let Some(p) = counted(&sums) {
        return SignFlip { p: p.max(least), least, drawn: false };
    }
    let observed = sums.iter().sum::<f64>().abs() - tolerance;
    let extreme = |total: f64| total.abs() >= observed;
    if sums.len() <= ENUMERATED {
        let patterns = 1_u32 << sums.len();
        let signed = |pattern: u32| -> f64 {
            sums.iter().enumerate().map(|(i, sum)| if pattern >> i & 1 == 1 { -sum } else { *sum }).sum()
        };
        let as_extreme = (0..patterns).filter(|&pattern| extreme(signed(pattern))).count();
        return SignFlip { p: as_extreme as f64 / f64::from(patterns), least, drawn: false };
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
    let one = 1.0 / (draws + 1) as f64;
    SignFlip { p: (as_extreme + 1) as f64 * one, least: one.max(least), drawn: true }
}

/// The exact p-value of sums that are whole multiples of one unit; `None` where they are not, or where counting takes too long.
///
/// A pattern whose flipped weights add up to `k` has the total `all - 2k`. The total is at least as far out on one side as the
/// observed one where `k` is at most the lighter side of the observed signs; the other side mirrors it.
fn counted(sums: &[f64]) -> Option<f64> {
    let whole = |unit: f64| {
        let weights = sums.iter().map(|sum| {
            let weight = sum * unit;
            let near = weight.round();
            ((weight - near).abs() < 1e-6 && near != 0.0 && near.abs() < 1e9).then_some(near as i64)
        });
        weights.collect::<Option<Vec<i64>>>()
    };
    let weights = (1..=UNITS).find_map(|unit| whole(f64::from(unit)))?;
    let side = |sign: i64| -> i64 { weights.iter().map(|weight| (weight * sign).max(0)).sum() };
    let lighter = usize::try_from(side(1).min(side(-1))).ok()?;
    if (lighter + 1).saturating_mul(weights.len()) > COUNTED {
        return None;
    }
    // The probability of every sum of flipped weights up to the lighter side.
    let mut probability = vec![0.0; lighter + 1];
    probability[0] = 1.0;
    for weight in weights {
        let weight = weight.unsigned_abs() as usize;
        for k in (0..=lighter).rev() {
            let flipped = if k >= weight { probability[k - weight] } else { 0.0 };
            probability[k] = 0.5 * (probability[k] + flipped);
        }
    }
    Some((2.0 * probability.iter().sum::<f64>()).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(sums: &[f64], draws: usize, seed: u64) -> f64 {
        sign_flip(sums, draws, seed).p
    }

    /// Sums without a common unit, so that nothing can be counted.
    fn odd(i: usize) -> f64 {
        1.0 + (i as f64).sqrt() * 1e-3
    }

    #[test]
    fn few_clusters_are_counted_exactly() {
        // All five on one side: 2 of 32 patterns. One picture can prove nothing.
        assert_eq!(p(&[1.0; 5], 100, 0), 2.0 / 32.0);
        assert_eq!(p(&[8.0], 100, 0), 1.0);
        // |1 + 1 + 1 - 1| = 2: all but the 6 patterns that cancel out.
        assert_eq!(p(&[1.0, 1.0, 1.0, -1.0], 100, 0), 10.0 / 16.0);
        assert_eq!(p(&[1.0, 0.0, 1.0, 0.0], 100, 0), 0.5, "no difference, no sign");
        assert_eq!(p(&[], 100, 0), 1.0);
        assert_eq!(p(&[0.0; 9], 100, 0), 1.0);
    }

    #[test]
    fn many_clusters_with_a_common_unit_are_counted_exactly() {
        // 20 equal clusters, 15 to 5: 2 · P(at most 5 of 20) = 2 · 21700 / 2^20.
        for unit in [1.0, 0.5, 1.0 / 3.0, 0.1] {
            let sums: Vec<f64> = (0..20).map(|i| if i < 15 { unit } else { -unit }).collect();
            assert!((p(&sums, 100, 0) - 43400.0 / 1_048_576.0).abs() < 1e-12, "{unit}");
        }
        // As all patterns are looked at one by one.
        let sums = [3.0, -1.0, 2.0, 2.0, -1.0, 5.0, 1.0];
        let total = |pattern: u32| -> f64 {
            sums.iter().enumerate().map(|(i, s)| if pattern >> i & 1 == 1 { -s } else { *s }).sum()
        };
        let far = (0..128).filter(|&pattern| total(pattern).abs() >= 11.0).count();
        assert_eq!(p(&sums, 100, 0), far as f64 / 128.0);
        // Far below what any number of draws could tell.
        assert_eq!(p(&[1.0; 200], 100, 0), 2.0_f64.powi(-199));
        assert!(p(&vec![1.0; 3000], 100, 0) > 0.0);
    }

    #[test]
    fn drawn_patterns_agree_with_the_binomial_and_know_their_floor() {
        let sums: Vec<f64> = (0..20).map(|i| if i < 15 { odd(i) } else { -odd(i) }).collect();
        let found = sign_flip(&sums, 20_000, 3);
        // Nearly equal sums: the ties of equal ones fall to either side.
        assert!(found.drawn && found.p > 0.01 && found.p < 0.05, "{found:?}");
        assert_eq!(found, sign_flip(&sums, 20_000, 3));
        assert_ne!(found, sign_flip(&sums, 20_000, 4));
        let alike: Vec<f64> = (0..200).map(odd).collect();
        let floor = sign_flip(&alike, 999, 0);
        assert_eq!((floor.p, floor.least, floor.drawn), (1.0 / 1000.0, 1.0 / 1000.0, true));
    }

    #[test]
    fn equals_are_told_apart_no_more_often_than_promised() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for clusters in [6, 12, 25] {
            let mut rejected = 0;
            for seed in 0..400 {
                let sums: Vec<f64> = (0..clusters).map(|_| f64::from(rng.next_u32() % 9) - 4.0).collect();
                rejected += i32::from(p(&sums, 400, seed) <= 0.05);
            }
            // 20 are expected at most; 34 or more happen once in a thousand such tests.
            assert!(rejected < 34, "{clusters} clusters: {rejected} of 400");
        }
    }
}
