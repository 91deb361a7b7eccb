//! Learning rates: every group of tensors has its own.

use std::sync::Arc;

/// A learning rate for every group of trained tensors: the peaks of a training, or those of one update. What is frozen is in no
/// group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupRates {
    names: Arc<[String]>,
    rates: Vec<f64>,
}

impl GroupRates {
    /// The rates of groups by their names.
    pub fn new<N: Into<String>>(groups: impl IntoIterator<Item = (N, f64)>) -> Self {
        let (names, rates): (Vec<String>, Vec<f64>) =
            groups.into_iter().map(|(name, rate)| (name.into(), rate)).unzip();
        Self { names: names.into(), rates }
    }

    /// The rate of one group; `None` where there is none of that name.
    pub fn get(&self, group: &str) -> Option<f64> {
        self.iter().find(|(name, _)| *name == group).map(|(_, rate)| rate)
    }

    /// The rates of one update: the peaks times the schedule's factor.
    #[must_use]
    pub fn times(&self, factor: f64) -> Self {
        let rates = self.rates.iter().map(|rate| rate * factor).collect();
        Self { names: Arc::clone(&self.names), rates }
    }

    /// All groups with their rates, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> + '_ {
        self.names.iter().map(String::as_str).zip(self.rates.iter().copied())
    }

    /// Every problem of the peaks, as sentences; empty when they are sound.
    pub fn problems(&self) -> Vec<String> {
        let unsound = self.iter().filter(|(_, rate)| !(rate.is_finite() && *rate >= 0.0));
        let mut problems: Vec<String> = unsound
            .map(|(name, rate)| format!("{name}: the learning rate must be a number ≥ 0, it is {rate}"))
            .collect();
        if self.rates.is_empty() {
            problems.push("everything is frozen: there is nothing to train".to_owned());
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_keeps_its_own_rate_and_what_is_frozen_has_none() {
        let peaks = GroupRates::new([("language", 2e-3), ("gate", 8e-3)]);
        let rates = peaks.times(0.5);
        assert_eq!(rates.get("vision"), None);
        assert_eq!(rates.get("gate"), Some(4e-3));
        assert_eq!(rates.get("language"), Some(1e-3));
        assert!(rates.iter().map(|(name, _)| name).eq(["language", "gate"]));
    }

    #[test]
    fn unsound_rates_are_all_named() {
        let problems = GroupRates::new([("vision", -1.0), ("language", 1e-3), ("gate", f64::NAN)]).problems();
        assert_eq!(problems.len(), 2);
        assert!(problems[0].starts_with("vision") && problems[1].starts_with("gate"));
        let none: [(&str, f64); 0] = [];
        assert_eq!(GroupRates::new(none).problems(), ["everything is frozen: there is nothing to train"]);
    }
}
