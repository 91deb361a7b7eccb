//! Percentile bootstrap of a mean.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Clusters, Estimate, Resampling, StatsError, degenerate};

/// The mean of `values` with a percentile bootstrap interval over `clusters`.
///
/// A resample draws as many clusters as there are, with replacement, and takes the mean over all values in them. Where no
/// resample differs from another, the interval of scores in [0, 1] is Wilson's over clusters: one picture, or ten that all
/// came out alike, do not make a number certain.
pub fn mean_interval(
    values: &[f64],
    clusters: &Clusters,
    resampling: &Resampling,
) -> Result<Estimate, StatsError> {
    let means = resampled_means(values, clusters, resampling)?;
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let (low, high) = interval(mean, means, [0.0, 1.0], clusters, resampling.confidence);
    Ok(Estimate { mean, low, high, samples: values.len(), clusters: clusters.len() })
}

/// The percentile interval of resampled means; that of a spread too small to see where they are all the same. `range` is
/// where single values lie.
pub(super) fn interval(
    mean: f64,
    mut means: Vec<f64>,
    range: [f64; 2],
    clusters: &Clusters,
    confidence: f64,
) -> (f64, f64) {
    means.sort_by(f64::total_cmp);
    let spread = means.last().zip(means.first()).map_or(0.0, |(last, first)| last - first);
    if spread <= 1e-12 * (range[1] - range[0]) {
        return degenerate::interval(mean, range, clusters.len(), confidence);
    }
    let tail = (1.0 - confidence) / 2.0;
    (quantile(&means, tail), quantile(&means, 1.0 - tail))
}

/// The mean of every resample, in drawing order.
pub(super) fn resampled_means(
    values: &[f64],
    clusters: &Clusters,
    resampling: &Resampling,
) -> Result<Vec<f64>, StatsError> {
    let Resampling { resamples, confidence, seed } = *resampling;
    if resamples < 100 || !(confidence > 0.0 && confidence < 1.0) {
        return Err(StatsError::Settings);
    }
    if values.is_empty() {
        return Err(StatsError::Empty);
    }
    if values.len() != clusters.samples() {
        let (left, right) = (values.len(), clusters.samples());
        return Err(StatsError::Lengths { what: "values and their clusters", left, right });
    }
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        return Err(StatsError::NotFinite(index));
    }
    // (sum, count) of every cluster.
    let mut totals = vec![(0.0, 0.0); clusters.len()];
    for (value, &cluster) in values.iter().zip(&clusters.cluster_of) {
        totals[cluster].0 += value;
        totals[cluster].1 += 1.0;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let means = (0..resamples).map(|_| {
        let (mut sum, mut count) = (0.0, 0.0);
        for _ in 0..totals.len() {
            // A u32 index keeps the draws the same on every platform.
            let (cluster_sum, cluster_count) = totals[rng.random_range(0..totals.len() as u32) as usize];
            sum += cluster_sum;
            count += cluster_count;
        }
        sum / count
    });
    Ok(means.collect())
}

/// The `q`-quantile of ascending, non-empty values, interpolated linearly between neighbours.
pub(super) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let position = q.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (position - below as f64) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn coin(samples: usize, right: usize) -> Vec<f64> {
        (0..samples).map(|i| f64::from(u8::from(i < right))).collect()
    }

    #[test]
    fn quantiles_by_hand() {
        let sorted = [1.0, 2.0, 4.0, 8.0, 16.0];
        assert_eq!([0.0, 0.25, 0.5, 0.625, 1.0].map(|q| quantile(&sorted, q)), [1.0, 2.0, 4.0, 6.0, 16.0]);
        assert_eq!(quantile(&[3.0], 0.9), 3.0);
    }

    #[test]
    fn the_interval_of_a_coin_is_that_of_the_normal_approximation() {
        let values = coin(1000, 800);
        let estimate = mean_interval(&values, &Clusters::singletons(1000), &Resampling::default()).unwrap();
        // 1.96 · sqrt(0.8 · 0.2 / 1000) = 0.0248
        assert!((estimate.mean - 0.8).abs() < 1e-12);
        assert!((estimate.mean - estimate.low - 0.0248).abs() < 0.003, "{estimate:?}");
        assert!((estimate.high - estimate.mean - 0.0248).abs() < 0.003, "{estimate:?}");
    }

    #[test]
    fn samples_that_stand_or_fall_together_widen_the_interval() {
        // 100 pictures with 10 questions each, all right or all wrong: as uncertain as 100 samples, not 1,000.
        let values: Vec<f64> = (0..1000).map(|i| f64::from(u8::from(i / 10 < 80))).collect();
        let keys: Vec<String> = (0..1000).map(|i| format!("picture {}", i / 10)).collect();
        let clusters = Clusters::by_key(keys.iter().map(String::as_str));
        let together = mean_interval(&values, &clusters, &Resampling::default()).unwrap();
        assert_eq!((together.samples, together.clusters), (1000, 100));
        // 1.96 · sqrt(0.16 / 100) = 0.0784
        assert!((together.high - together.low - 2.0 * 0.0784).abs() < 0.015, "{together:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_bits_and_another_seed_others() {
        let values = coin(300, 100);
        let at = |seed| {
            mean_interval(&values, &Clusters::singletons(300), &Resampling { seed, ..Resampling::default() })
                .unwrap()
        };
        assert_eq!(at(1), at(1));
        assert_ne!(at(1), at(2));
    }

    #[test]
    fn the_interval_covers_the_truth_about_as_often_as_it_says() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut covered = 0;
        for seed in 0..200 {
            let values: Vec<f64> = (0..200).map(|_| f64::from(u8::from(rng.random::<f64>() < 0.7))).collect();
            let resampling = Resampling { resamples: 400, seed, ..Resampling::default() };
            let estimate = mean_interval(&values, &Clusters::singletons(200), &resampling).unwrap();
            covered += i32::from(estimate.low <= 0.7 && 0.7 <= estimate.high);
        }
        assert!((180..=198).contains(&covered), "{covered} of 200");
    }

    #[test]
    fn clusters_that_all_agree_have_wilsons_interval() {
        let at = |values: &[f64], clusters: &Clusters| {
            mean_interval(values, clusters, &Resampling::default()).unwrap()
        };
        // z² = 3.8415: n / (n + z²) and z² / (n + z²).
        let right = at(&[1.0; 10], &Clusters::singletons(10));
        assert!((right.low - 10.0 / 13.8415).abs() < 1e-4 && right.high == 1.0, "{right:?}");
        let wrong = at(&[0.0; 10], &Clusters::singletons(10));
        assert!((wrong.high - 3.8415 / 13.8415).abs() < 1e-4 && wrong.low == 0.0, "{wrong:?}");
        // Ten questions about one picture are one draw.
        let one = at(&coin(10, 5), &Clusters::by_key(["a"; 10]));
        assert!(one.low < 0.15 && one.high > 0.85 && one.mean == 0.5, "{one:?}");
    }

    #[test]
    fn bad_input_is_an_error() {
        let go = |values: &[f64], clusters: usize, resampling: Resampling| {
            mean_interval(values, &Clusters::singletons(clusters), &resampling).unwrap_err()
        };
        assert_eq!(go(&[], 0, Resampling::default()), StatsError::Empty);
        assert!(matches!(go(&[1.0], 2, Resampling::default()), StatsError::Lengths { .. }));
        assert_eq!(go(&[1.0, f64::NAN], 2, Resampling::default()), StatsError::NotFinite(1));
        assert_eq!(
            go(&[1.0], 1, Resampling { confidence: 1.0, ..Resampling::default() }),
            StatsError::Settings
        );
        assert_eq!(go(&[1.0], 1, Resampling { resamples: 0, ..Resampling::default() }), StatsError::Settings);
    }
}
