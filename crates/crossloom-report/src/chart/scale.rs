//! Axes: from values to positions, with ticks at round numbers.

use crate::number::{decimal, scientific};

/// Beyond this size values are clamped, so that differences stay finite.
const LIMIT: f64 = 1e300;
/// A positive range that spans more than this factor gets a logarithmic axis where that is allowed.
const LOGARITHMIC_FROM: f64 = 6.0;

/// One tick of an axis.
#[derive(Debug, PartialEq)]
pub(crate) struct Tick {
    /// Place along the axis in 0..=1.
    pub(crate) place: f64,
    /// Text beside it.
    pub(crate) label: String,
}

/// A map from values to places along an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Scale {
    /// A linear scale from exactly `low` to exactly `high`.
    pub(crate) fn exact(low: f64, high: f64) -> Self {
        let finite = |value: f64| if value.is_nan() { 0.0 } else { value.clamp(-LIMIT, LIMIT) };
        let (low, high) = (finite(low), finite(high));
        let high = if high > low { high } else { low + low.abs().max(1.0) };
        Self { low, high, logarithmic: false }
    }

    /// A linear scale that covers the finite `values`, widened to round numbers.
    pub(crate) fn linear(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = range(values).unwrap_or((0.0, 1.0));
        let (low, high) = if high > low {
            (low, high)
        } else if low == 0.0 {
            (0.0, 1.0)
        } else {
            (low - low.abs() / 2.0, low + low.abs() / 2.0)
        };
        let step = round_step((high - low) / 5.0);
        Self::exact((low / step).floor() * step, (high / step).ceil() * step)
    }

    /// Logarithmic if the finite `values` are positive and span a wide range, linear otherwise.
    pub(crate) fn automatic(values: impl Iterator<Item = f64> + Clone) -> Self {
        match range(values.clone()) {
            Some((low, high)) if low > 0.0 && high / low > LOGARITHMIC_FROM && (high / low).is_finite() => {
                Self { low: low / 1.15, high: high * 1.15, logarithmic: true }
            }
            _ => Self::linear(values),
        }
    }

    /// Whether the axis is logarithmic.
    pub(crate) fn is_logarithmic(&self) -> bool {
        self.logarithmic
    }

    /// The ends of the axis.
    pub(crate) fn ends(&self) -> (f64, f64) {
        (self.low, self.high)
    }

    /// Place of `value` along the axis, clamped to 0..=1; `None` if it is not finite or has no logarithm.
    pub(crate) fn place(&self, value: f64) -> Option<f64> {
        if !value.is_finite() || (self.logarithmic && value <= 0.0) {
            return None;
        }
        let place = if self.logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value.clamp(-LIMIT, LIMIT) - self.low) / (self.high - self.low)
        };
        Some(place.clamp(0.0, 1.0))
    }

    /// About `wanted` ticks at round numbers.
    pub(crate) fn ticks(&self, wanted: usize) -> Vec<Tick> {
        let values =
            if self.logarithmic { self.logarithmic_ticks(wanted) } else { self.linear_ticks(wanted) };
        let step = values.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(f64::INFINITY, f64::min);
        values
            .into_iter()
            .filter_map(|value| Some(Tick { place: self.place(value)?, label: tick_label(value, step) }))
            .collect()
    }

    fn linear_ticks(&self, wanted: usize) -> Vec<f64> {
        let step = round_step((self.high - self.low) / wanted.max(1) as f64);
        let first = (self.low / step - 1e-9).ceil();
        let count = ((self.high / step + 1e-9).floor() - first).clamp(0.0, 50.0) as usize;
        (0..=count).map(|index| (first + index as f64) * step).collect()
    }

    fn logarithmic_ticks(&self, wanted: usize) -> Vec<f64> {
        let decades = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        let sets: [&[f64]; 5] = [
            &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0],
            &[1.0, 2.0, 3.0, 5.0],
            &[1.0, 2.0, 5.0],
            &[1.0, 3.0],
            &[1.0],
        ];
        let inside = |factors: &[f64]| -> Vec<f64> {
            decades
                .clone()
                .flat_map(|decade| factors.iter().map(move |factor| factor * 10f64.powi(decade)))
                .filter(|value| (self.low..=self.high).contains(value))
                .collect()
        };
        let mut values = Vec::new();
        for factors in sets {
            values = inside(factors);
            if values.len() <= wanted + 2 {
                return values;
            }
        }
        let every = values.len().div_ceil(wanted.max(1));
        values.into_iter().step_by(every).collect()
    }
}

/// Least and greatest finite value, clamped.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|value| value.is_finite()).map(|value| value.clamp(-LIMIT, LIMIT)).fold(
        None,
        |ends, value| {
            Some(ends.map_or((value, value), |(low, high): (f64, f64)| (low.min(value), high.max(value))))
        },
    )
}

/// The least of 1, 2, 2.5 and 5 times a power of ten that is at least `rough`.
fn round_step(rough: f64) -> f64 {
    if !(rough > 0.0 && rough.is_finite()) {
        return 1.0;
    }
    let power = 10f64.powf(rough.log10().floor());
    let fraction = rough / power;
    let factor = [1.0, 2.0, 2.5, 5.0].into_iter().find(|factor| *factor >= fraction - 1e-9).unwrap_or(10.0);
    if power > 0.0 { factor * power } else { f64::MIN_POSITIVE }
}

fn tick_label(value: f64, step: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        return "0".to_owned();
    }
    if !(1e-4..1e6).contains(&size) {
        return scientific(value);
    }
    let resolution = step.min(size);
    let decimals = (0..=6).find(|decimals| {
        let scaled = resolution * 10f64.powi(*decimals);
        (scaled - scaled.round()).abs() < 1e-6 * scaled.max(1.0) && scaled.round() >= 1.0
    });
    decimal(value, decimals.unwrap_or(6) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale) -> Vec<String> {
        scale.ticks(5).into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(Scale::exact(0.0, 2808.0)), ["0", "1000", "2000"]);
        assert_eq!(
            labels(Scale::linear([0.0, 0.002].into_iter())),
            ["0", "0.0005", "0.0010", "0.0015", "0.0020"]
        );
        assert_eq!(labels(Scale::linear([0.31, 0.88].into_iter())), ["0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(Scale::linear([-3.0, 4.0].into_iter())), ["−4", "−2", "0", "2", "4"]);
    }

    #[test]
    fn wide_positive_ranges_are_logarithmic() {
        let scale = Scale::automatic([0.09, 3.0].into_iter());
        assert!(scale.is_logarithmic());
        assert_eq!(labels(scale), ["0.1", "0.2", "0.3", "0.5", "1.0", "2.0", "3.0"]);
        assert_eq!(scale.place(0.0), None);
        assert!(!Scale::automatic([0.0, 3.0].into_iter()).is_logarithmic());
    }

    #[test]
    fn every_range_gives_finite_places_in_the_unit_interval() {
        let hard =
            [0.0, -0.0, 1.0, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, f64::NAN, f64::INFINITY, 1e15];
        for low in hard {
            for high in hard {
                for scale in [
                    Scale::exact(low, high),
                    Scale::linear([low, high].into_iter()),
                    Scale::automatic([low, high].into_iter()),
                ] {
                    for tick in scale.ticks(5) {
                        assert!((0.0..=1.0).contains(&tick.place), "{scale:?} {tick:?}");
                    }
                    for value in hard {
                        let place = scale.place(value);
                        assert!(place.is_none_or(|place| (0.0..=1.0).contains(&place)), "{scale:?} {value}");
                    }
                }
            }
        }
    }
}
