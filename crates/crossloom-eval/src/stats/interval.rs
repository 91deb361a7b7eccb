//! Agresti and Coull's interval, over clusters.
//!
//! A. Agresti and B. A. Coull, *Approximate is better than "exact" for interval estimation of binomial proportions*, The
//! American Statistician 52 (1998): add `z²` draws of which half come out at either end, and take the normal interval of what
//! there is then. For answers that share a picture the draws are those of an effective sample size, as in C. Franco,
//! R. J. A. Little, T. A. Louis and E. V. Slud, *Comparative study of confidence intervals for proportions in complex sample
//! surveys*, Journal of Survey Statistics and Methodology 7 (2019). A difference of two scores is treated alike, from -1 to 1.
//!
//! Here a draw is a part of a cluster: the added weight is `z² φ` clusters of average size, where `φ` says how much of a cluster
//! comes out otherwise where anything does, from 1 (questions stand and fall together) down to one question. Near an edge
//! hardly any cluster tells, so `φ` starts at 1 with the weight of [`WHOLE`] clusters. The variance is that between clusters.
//!
//! The added clusters are what keeps an interval honest where all or nearly all answers are right or wrong: there the spread
//! that is seen says next to nothing, and an interval made of it alone collapses. Towards either edge both ends go with the
//! mean. Where every cluster has one question with a score of 0 or 1 the interval is exactly Agresti and Coull's.

use super::{Clusters, Estimate, Resampling, StatsError, normal_quantile};

/// The mean of `values` in [0, 1] with its interval over `clusters`.
pub fn mean_interval(
    values: &[f64],
    clusters: &Clusters,
    resampling: &Resampling,
) -> Result<Estimate, StatsError> {
    let totals = totals(values, clusters, resampling)?;
    let (low, high) = interval(&totals, [0.0, 1.0], resampling.confidence);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    Ok(Estimate {
        mean,
        low,
        high,
        samples: values.len(),
        clusters: clusters.len(),
        seeds: 1,
        deviation: 0.0,
    })
}

/// Sum and number of the values of one cluster.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Total {
    pub(super) sum: f64,
    pub(super) count: f64,
}

/// The totals of all clusters, in their order.
pub(super) fn totals(
    values: &[f64],
    clusters: &Clusters,
    resampling: &Resampling,
) -> Result<Vec<Total>, StatsError> {
    let Resampling { draws, confidence, .. } = *resampling;
    if draws < 100 || !(confidence > 0.0 && confidence < 1.0) {
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
    let mut totals = vec![Total::default(); clusters.len()];
    for (value, &cluster) in values.iter().zip(&clusters.cluster_of) {
        totals[cluster].sum += value;
        totals[cluster].count += 1.0;
    }
    Ok(totals)
}

/// So many clusters that come out otherwise as a whole are assumed besides those that are seen.
const WHOLE: f64 = 32.0;

/// The interval of a mean over clusters whose single values lie in `range`.
pub(super) fn interval(totals: &[Total], range: [f64; 2], confidence: f64) -> (f64, f64) {
    let z = normal_quantile(0.5 + confidence / 2.0);
    let count: f64 = totals.iter().map(|total| total.count).sum();
    let average = count / totals.len() as f64;
    let sum = totals.iter().map(|total| total.sum).sum::<f64>();
    // Half of the added clusters at either end of the range.
    let weight = z * z * part(totals, range, sum / count);
    let added = range.map(|end| (weight / 2.0, average * end));
    let all = count + weight * average;
    let mean = (sum + added.iter().map(|(weight, sum)| weight * sum).sum::<f64>()) / all;
    let squared = |sum: f64, count: f64| (sum - mean * count) * (sum - mean * count);
    let spread = totals.iter().map(|total| squared(total.sum, total.count)).sum::<f64>()
        + added.iter().map(|&(weight, sum)| weight * squared(sum, average)).sum::<f64>();
    let half = z * spread.sqrt() / all;
    ((mean - half).max(range[0]), (mean + half).min(range[1]))
}

/// How much of a cluster comes out otherwise, squared, over the clusters of which any does: `φ`. Otherwise is what is rarer: a
/// difference where runs agree, a wrong answer where most are right.
fn part(totals: &[Total], range: [f64; 2], mean: f64) -> f64 {
    let usual = match range {
        [low, _] if low < 0.0 => 0.0,
        [low, high] => {
            if mean < f64::midpoint(low, high) {
                low
            } else {
                high
            }
        }
    };
    let (mut seen, mut squares) = (WHOLE, WHOLE);
    for total in totals {
        let otherwise = total.sum / total.count - usual;
        if otherwise.abs() > 1e-12 {
            seen += 1.0;
            squares += otherwise * otherwise;
        }
    }
    squares / seen
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn coin(samples: usize, right: usize) -> Vec<f64> {
        (0..samples).map(|i| f64::from(u8::from(i < right))).collect()
    }

    fn at(values: &[f64], clusters: &Clusters) -> Estimate {
        mean_interval(values, clusters, &Resampling::default()).unwrap()
    }

    #[test]
    fn one_question_per_cluster_has_the_published_interval() {
        // z = 1.95996: n~ = n + 3.84146, p~ = (x + 1.92073) / n~, p~ ± z √(p~ (1 - p~) / n~).
        for (right, n) in [(0.0_f64, 10.0_f64), (1.0, 10.0), (7.0, 10.0), (80.0, 100.0), (100.0, 100.0)] {
            let found = at(&coin(n as usize, right as usize), &Clusters::singletons(n as usize));
            let (p, n) = ((right + 1.920_73) / (n + 3.841_46), n + 3.841_46);
            let half = 1.959_964 * (p * (1.0 - p) / n).sqrt();
            assert!((found.low - (p - half).max(0.0)).abs() < 1e-5, "{right} of {n}: {found:?}");
            assert!((found.high - (p + half).min(1.0)).abs() < 1e-5, "{right} of {n}: {found:?}");
        }
    }

    #[test]
    fn samples_that_stand_or_fall_together_widen_the_interval() {
        // 100 pictures with 10 questions each, all right or all wrong: as uncertain as 100 samples, not 1,000.
        let values: Vec<f64> = (0..1000).map(|i| f64::from(u8::from(i / 10 < 80))).collect();
        let keys: Vec<String> = (0..1000).map(|i| format!("picture {}", i / 10)).collect();
        let clusters = Clusters::by_key(keys.iter().map(String::as_str));
        let together = at(&values, &clusters);
        assert_eq!((together.samples, together.clusters), (1000, 100));
        let one_each = at(&coin(100, 80), &Clusters::singletons(100));
        assert!((together.low - one_each.low).abs() < 1e-12 && (together.high - one_each.high).abs() < 1e-12);
        // Ten questions about one picture are one draw.
        let one = at(&coin(10, 5), &Clusters::by_key(["a"; 10]));
        assert!(one.low < 0.15 && one.high > 0.85 && one.mean == 0.5, "{one:?}");
    }

    /// `pictures` pictures with `per` questions each, of which the first `right` are right.
    fn grouped(pictures: usize, per: usize, right: usize) -> Estimate {
        let keys: Vec<String> = (0..pictures * per).map(|i| (i % pictures).to_string()).collect();
        at(&coin(pictures * per, right), &Clusters::by_key(keys.iter().map(String::as_str)))
    }

    #[test]
    fn both_ends_grow_with_the_count_and_no_step_off_an_edge_makes_an_interval_sure() {
        for (pictures, per) in [(20, 1), (20, 8), (100, 10), (7, 3)] {
            let n = pictures * per;
            let all: Vec<Estimate> = (0..=n).map(|right| grouped(pictures, per, right)).collect();
            for (right, pair) in all.windows(2).enumerate() {
                let what = format!("{right} and one more of {n} about {pictures} pictures: {pair:?}");
                // Far from the edges a count that falls evenly on all pictures may tell a little more.
                let slack = if right < n / 4 || right >= n - n / 4 { 1e-12 } else { 0.01 };
                assert!(pair[0].low <= pair[1].low + slack && pair[0].high <= pair[1].high + slack, "{what}");
                let width = |estimate: &Estimate| estimate.high - estimate.low;
                let (outer, inner) = if right < n / 2 { (&pair[0], &pair[1]) } else { (&pair[1], &pair[0]) };
                assert!(width(inner) > 0.9 * width(outer), "a step inwards: {what}");
            }
            for estimate in &all {
                assert!(estimate.low <= estimate.mean && estimate.mean <= estimate.high, "{estimate:?}");
            }
            let (none, every) = (&all[0], &all[n]);
            assert!((none.high - (1.0 - every.low)).abs() < 1e-12, "the edges mirror each other");
            // What was never seen in so many pictures may be as frequent as three of them, and more.
            assert!(none.low == 0.0 && none.high > 3.0 / (pictures + 4) as f64, "{none:?}");
        }
    }

    /// A share drawn for a picture: all its questions the same, each for itself, or in between.
    fn drawn(rng: &mut ChaCha8Rng, p: f64, per: usize, shared: f64) -> f64 {
        let common = rng.random::<f64>() < p;
        let one = |rng: &mut ChaCha8Rng| {
            if rng.random::<f64>() < shared { common } else { rng.random::<f64>() < p }
        };
        (0..per).map(|_| f64::from(u8::from(one(rng)))).sum()
    }

    #[test]
    fn the_interval_covers_the_truth_as_often_as_it_says() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for pictures in [20, 100] {
            for (per, shared) in [(1, 0.0), (8, 0.0), (8, 0.5), (8, 1.0)] {
                for p in [0.005, 0.02, 0.1, 0.5, 0.97, 0.99] {
                    let rounds = 1000;
                    let covered = (0..rounds).filter(|_| {
                        let total = |rng: &mut ChaCha8Rng| Total {
                            sum: drawn(rng, p, per, shared),
                            count: per as f64,
                        };
                        let totals: Vec<Total> = (0..pictures).map(|_| total(&mut rng)).collect();
                        let (low, high) = interval(&totals, [0.0, 1.0], 0.95);
                        low <= p && p <= high
                    });
                    let covered = covered.count();
                    // Of 950 expected, 925 and fewer happen once in 4,000 such tests.
                    assert!(covered > 925, "{covered} of {rounds}: {pictures} x {per}, {shared} shared, {p}");
                }
            }
        }
    }

    #[test]
    fn the_interval_of_a_difference_covers_the_truth_as_often_as_it_says() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        for pictures in [20, 100] {
            for (per, shared) in [(1, 0.0), (8, 0.0), (8, 0.5), (8, 1.0)] {
                // Shares of questions that only the first, only the second run gets right.
                for (first, second) in
                    [(0.02, 0.0), (0.035, 0.0), (0.03, 0.02), (0.1, 0.1), (0.4, 0.1), (0.0, 0.95)]
                {
                    let rounds = 1000;
                    let outcome = |u: f64| f64::from(i8::from(u < first) - i8::from(u > 1.0 - second));
                    let covered = (0..rounds).filter(|_| {
                        let total = |rng: &mut ChaCha8Rng| {
                            let common = rng.random::<f64>();
                            let one = |rng: &mut ChaCha8Rng| {
                                if rng.random::<f64>() < shared { common } else { rng.random::<f64>() }
                            };
                            Total { sum: (0..per).map(|_| outcome(one(rng))).sum(), count: per as f64 }
                        };
                        let totals: Vec<Total> = (0..pictures).map(|_| total(&mut rng)).collect();
                        let (low, high) = interval(&totals, [-1.0, 1.0], 0.95);
                        let truth = first - second;
                        low <= truth && truth <= high
                    });
                    let covered = covered.count();
                    assert!(
                        covered > 925,
                        "{covered} of {rounds}: {pictures} x {per}, {shared}, {first}, {second}"
                    );
                }
            }
        }
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
        assert_eq!(go(&[1.0], 1, Resampling { draws: 0, ..Resampling::default() }), StatsError::Settings);
    }
}
