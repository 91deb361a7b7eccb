//! Learning rates: every part of the model has its own, and a frozen part has none.

use crossloom_recipe::Part;

/// A learning rate for every part: the peaks of a training, or those of one update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PartRates {
    rates: [Option<f64>; Part::ALL.len()],
}

impl PartRates {
    /// The same rate for all parts.
    pub const fn uniform(rate: f64) -> Self {
        Self { rates: [Some(rate); Part::ALL.len()] }
    }

    /// The same but for one part; `None` freezes it.
    #[must_use]
    pub const fn with(mut self, part: Part, rate: Option<f64>) -> Self {
        self.rates[part as usize] = rate;
        self
    }

    /// The rate of one part; `None` where it is frozen: it has no gradient and no optimizer state.
    pub const fn get(&self, part: Part) -> Option<f64> {
        self.rates[part as usize]
    }

    /// The rates of one update: the peaks times the schedule's factor.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self { rates: self.rates.map(|rate| rate.map(|rate| rate * factor)) }
    }

    /// All trained parts with their rates, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Part, f64)> + '_ {
        Part::ALL.into_iter().filter_map(|part| Some((part, self.get(part)?)))
    }

    /// Every problem of the peaks, as sentences; empty when they are sound.
    pub fn problems(&self) -> Vec<String> {
        let unsound = self.iter().filter(|(_, rate)| !(rate.is_finite() && *rate >= 0.0));
        let mut problems: Vec<String> = unsound
            .map(|(part, rate)| {
                format!("{}: the learning rate must be a number ≥ 0, it is {rate}", part.name())
            })
            .collect();
        if self.iter().next().is_none() {
            problems.push("every part is frozen: there is nothing to train".to_owned());
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_keeps_its_own_rate_and_a_frozen_part_has_none() {
        let peaks = PartRates::uniform(2e-3).with(Part::Vision, None).with(Part::Gate, Some(8e-3));
        let rates = peaks.times(0.5);
        assert_eq!(rates.get(Part::Vision), None);
        assert_eq!(rates.get(Part::Gate), Some(4e-3));
        assert_eq!(rates.get(Part::Language), Some(1e-3));
        assert!(rates.iter().map(|(part, _)| part).eq(Part::ALL.into_iter().skip(1)));
    }

    #[test]
    fn unsound_rates_are_all_named() {
        let problems =
            PartRates::uniform(1e-3).with(Part::Gate, Some(f64::NAN)).with(Part::Vision, Some(-1.0));
        assert_eq!(problems.problems().len(), 2);
        assert!(problems.problems()[0].starts_with("vision") && problems.problems()[1].starts_with("gate"));
        let frozen =
            Part::ALL.into_iter().fold(PartRates::uniform(0.0), |rates, part| rates.with(part, None));
        assert_eq!(frozen.problems(), ["every part is frozen: there is nothing to train"]);
    }
}
