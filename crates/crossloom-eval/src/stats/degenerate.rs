//! Intervals where a bootstrap sees no spread.

use super::normal_quantile;

/// The interval of a mean whose clusters all came out alike.
///
/// Wilson's upper bound for a share of which nothing was seen in `n` draws is `w = z² / (n + z²)`: so large may the share of
/// clusters be that come out differently, each anywhere in `range`. For a mean at an end of the range that is Wilson's
/// interval of a proportion of 0 or 1. A mean outside the range has no such bound and is left as a point.
pub(super) fn interval(mean: f64, range: [f64; 2], clusters: usize, confidence: f64) -> (f64, f64) {
    if !(range[0]..=range[1]).contains(&mean) {
        return (mean, mean);
    }
    let z = normal_quantile(0.5 + confidence / 2.0);
    let unseen = z * z / (clusters as f64 + z * z);
    (mean - unseen * (mean - range[0]), mean + unseen * (range[1] - mean))
}
