//! Preparing recorded series for drawing: smoothing, thinning, and setting non-finite values apart.

use crate::data::Series;

/// At most this many points of one series are drawn.
const MOST_POINTS: usize = 480;

/// A series ready to draw.
pub(crate) struct Trace {
    /// The finite points as recorded, thinned so that every spike survives.
    pub(crate) raw: Vec<(f64, f64)>,
    /// The centred running mean, thinned.
    pub(crate) smooth: Vec<(f64, f64)>,
    /// Steps whose value is not finite, with the word for it.
    pub(crate) broken: Vec<(u64, &'static str)>,
    /// Number of recorded values in one running mean.
    pub(crate) window: usize,
}

impl Trace {
    /// Prepares `series`.
    pub(crate) fn new(series: &Series) -> Self {
        let mut broken = Vec::new();
        let mut finite = Vec::with_capacity(series.points.len());
        for &(step, value) in &series.points {
            match crate::number::non_finite(value) {
                Some(word) => broken.push((step, word)),
                None => finite.push((step as f64, value.clamp(-1e150, 1e150))),
            }
        }
        let half = finite.len() / 80;
        let smooth = running_mean(&finite, half);
        Self { raw: thin_to_extremes(&finite), smooth: thin(&smooth), broken, window: 2 * half + 1 }
    }

    /// The values between the 0.5 % and the 99.5 % quantile of what was recorded, and all running means: what an
    /// axis should cover.
    pub(crate) fn typical_values(&self) -> Vec<f64> {
        let mut values: Vec<f64> = self.raw.iter().map(|point| point.1).collect();
        values.sort_by(f64::total_cmp);
        let cut = values.len() / 200;
        let middle = values.get(cut..values.len() - cut).unwrap_or_default();
        middle.iter().copied().chain(self.smooth.iter().map(|point| point.1)).collect()
    }
}

/// Mean over up to `half` neighbours on each side. Near the ends, where a centred mean would be of few values, there
/// is none.
fn running_mean(points: &[(f64, f64)], half: usize) -> Vec<(f64, f64)> {
    let reach_of = |index: usize| half.min(index).min(points.len() - 1 - index);
    (0..points.len())
        .filter(|index| reach_of(*index) >= half.div_ceil(3))
        .filter_map(|index| {
            let reach = reach_of(index);
            let near = points.get(index - reach..=index + reach)?;
            let sum: f64 = near.iter().map(|point| point.1).sum();
            points.get(index).map(|point| (point.0, sum / near.len() as f64))
        })
        .collect()
}

/// Every n-th point and the last.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let every = points.len().div_ceil(MOST_POINTS).max(1);
    let mut kept: Vec<(f64, f64)> = points.iter().copied().step_by(every).collect();
    if let Some(last) = points.last()
        && kept.last() != Some(last)
    {
        kept.push(*last);
    }
    kept
}

/// The least and the greatest point of every stretch, in order.
fn thin_to_extremes(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= MOST_POINTS {
        return points.to_vec();
    }
    let length = points.len().div_ceil(MOST_POINTS / 2);
    let mut kept = Vec::with_capacity(MOST_POINTS);
    for stretch in points.chunks(length) {
        let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let (Some(least), Some(greatest)) =
            (stretch.iter().min_by(by_value), stretch.iter().max_by(by_value))
        else {
            continue;
        };
        let (first, second) = if least.0 <= greatest.0 { (least, greatest) } else { (greatest, least) };
        kept.push(*first);
        if first != second {
            kept.push(*second);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_spikes_order_and_the_last_point() {
        let mut series: Series = (0..10_000).map(|step| (step, 1.0)).collect();
        series.points[4321].1 = 99.0;
        let trace = Trace::new(&series);
        assert!(trace.raw.len() <= MOST_POINTS);
        assert!(trace.raw.contains(&(4321.0, 99.0)));
        assert!(trace.raw.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(trace.smooth.last().map(|point| point.0), Some(9957.0));
    }

    #[test]
    fn the_running_mean_is_centred_and_keeps_straight_lines() {
        let series: Series = (0..400).map(|step| (step, step as f64)).collect();
        let trace = Trace::new(&series);
        assert_eq!(trace.window, 11);
        assert!(trace.smooth.iter().all(|point| (point.0 - point.1).abs() < 1e-9));
    }

    #[test]
    fn non_finite_values_are_set_apart() {
        let series: Series = [(1, 0.5), (2, f64::NAN), (3, f64::INFINITY)].into_iter().collect();
        let trace = Trace::new(&series);
        assert_eq!(trace.raw, [(1.0, 0.5)]);
        assert_eq!(trace.broken, [(2, "NaN"), (3, "∞")]);
        assert!(Trace::new(&Series::default()).smooth.is_empty());
    }
}
