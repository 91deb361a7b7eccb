//! Two runs on the same samples: an interval of their difference, and a permutation test.

use serde::{Deserialize, Serialize};

use super::interval::{interval, totals};
use super::permutation::sign_flip;
use super::{Clusters, Resampling, StatsError};

/// Mean difference of two runs on the same samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PairedDifference {
    /// Mean of (first - second).
    pub difference: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Two-sided p-value of a sign-flip permutation over clusters; over several seeds the larger of that and of Student's test. It is not derived from the interval, so at the edge the
    /// two may disagree; the test decides.
    pub p_value: f64,
    /// The smallest p-value that any outcome could have had: clusters that do not differ tell nothing.
    #[serde(default)]
    pub p_least: f64,
    /// Whether the p-value is from drawn sign patterns; where it is `p_least`, the true one may then be smaller.
    #[serde(default)]
    pub p_drawn: bool,
    /// Pairs of samples that both runs answered.
    pub samples: usize,
    /// Clusters that there are.
    pub clusters: usize,
    /// Seeds that both were trained with and that the mean is over; 1 where seeds are not told apart.
    #[serde(default = "super::one")]
    pub seeds: usize,
    /// Standard deviation between the differences of the seeds.
    #[serde(default)]
    pub deviation: f64,
}

/// The difference of the scores `first - second`, where position `i` of both is the same sample.
///
/// Samples are compared one by one, so what the runs share (hard pictures, easy questions) cancels: this sees differences
/// that two separate intervals do not.
pub fn paired_difference(
    first: &[f64],
    second: &[f64],
    clusters: &Clusters,
    resampling: &Resampling,
) -> Result<PairedDifference, StatsError> {
    if first.len() != second.len() {
        let (left, right) = (first.len(), second.len());
        return Err(StatsError::Lengths { what: "scores of two runs", left, right });
    }
    let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
    let totals = totals(&differences, clusters, resampling)?;
    let (low, high) = interval(&totals, [-1.0, 1.0], resampling.confidence);
    let sums: Vec<f64> = totals.iter().map(|total| total.sum).collect();
    let flipped = sign_flip(&sums, resampling.draws, resampling.seed);
    Ok(PairedDifference {
        difference: differences.iter().sum::<f64>() / differences.len() as f64,
        low,
        high,
        p_value: flipped.p,
        p_least: flipped.least,
        p_drawn: flipped.drawn,
        samples: first.len(),
        clusters: clusters.len(),
        seeds: 1,
        deviation: 0.0,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn scores(pattern: impl Fn(usize) -> bool) -> Vec<f64> {
        (0..1000).map(|i| f64::from(u8::from(pattern(i)))).collect()
    }

    fn difference(first: &[f64], second: &[f64]) -> PairedDifference {
        paired_difference(first, second, &Clusters::singletons(1000), &Resampling::default()).unwrap()
    }

    #[test]
    fn pairing_sees_a_small_difference_between_runs_that_mostly_agree() {
        // 80 % against 78 %, and every sample the second gets right the first gets right too.
        let found = difference(&scores(|i| i < 800), &scores(|i| i < 780));
        assert!((found.difference - 0.02).abs() < 1e-12);
        assert!(found.low > 0.01 && found.high < 0.03 && found.p_value < 0.002, "{found:?}");
        // The same accuracies with errors on unrelated samples are no proof.
        let unrelated = difference(&scores(|i| i < 800), &scores(|i| (i * 7919) % 1000 < 780));
        assert!((unrelated.difference - 0.02).abs() < 1e-12);
        assert!(unrelated.low < 0.0 && unrelated.high > 0.0 && unrelated.p_value > 0.1, "{unrelated:?}");
    }

    #[test]
    fn the_sign_follows_the_order_and_equal_runs_do_not_differ() {
        let (a, b) = (scores(|i| i < 600), scores(|i| i < 700));
        let (there, back) = (difference(&a, &b), difference(&b, &a));
        assert_eq!((there.difference, there.p_value), (-back.difference, back.p_value));
        assert!((there.low + back.high).abs() < 1e-12 && (there.high + back.low).abs() < 1e-12);
        let same = difference(&a, &a);
        assert_eq!((same.difference, same.p_value), (0.0, 1.0));
        // Of 1,000 samples none differed, so about 4 in 1,000 might.
        assert!((same.high - 0.0038).abs() < 1e-4 && (same.low + same.high).abs() < 1e-12, "{same:?}");
    }

    #[test]
    fn many_questions_about_one_picture_prove_nothing() {
        let pictures = Clusters::by_key(["one"; 1000]);
        let found =
            paired_difference(&scores(|_| true), &scores(|i| i % 3 == 0), &pictures, &Resampling::default())
                .unwrap();
        assert_eq!((found.clusters, found.p_value), (1, 1.0));
        assert!(found.low < 0.0 && found.high > 0.9, "{found:?}");
    }

    #[test]
    fn runs_of_different_length_are_an_error() {
        let result = paired_difference(&[1.0], &[1.0, 0.0], &Clusters::singletons(1), &Resampling::default());
        assert!(matches!(result, Err(StatsError::Lengths { left: 1, right: 2, .. })));
    }
}
