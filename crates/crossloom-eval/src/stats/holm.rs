//! Holm's correction for several comparisons.

/// Adjusted p-values, in input order, such that rejecting those at most `α` keeps the probability of any false rejection
/// at most `α`. With `m` values sorted ascending, the `i`-th (from 0) is multiplied by `m - i`, made monotone, capped at 1.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut largest = 0.0_f64;
    for (i, &index) in order.iter().enumerate() {
        largest = largest.max((p_values.len() - i) as f64 * p_values[index]).min(1.0);
        adjusted[index] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_by_hand() {
        let expect = |input: &[f64], expected: &[f64]| {
            for (got, expected) in holm(input).iter().zip(expected) {
                assert!((got - expected).abs() < 1e-12, "{input:?}");
            }
        };
        // 4 · 0.005, 3 · 0.01, then 2 · 0.03, and 0.04 is lifted to 0.06.
        expect(&[0.01, 0.04, 0.03, 0.005], &[0.03, 0.06, 0.06, 0.02]);
        expect(&[0.7, 0.6], &[1.0, 1.0]);
        expect(&[0.04], &[0.04]);
        assert!(holm(&[]).is_empty());
    }
}
