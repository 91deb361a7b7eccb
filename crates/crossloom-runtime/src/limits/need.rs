//! What a run holds at once, and whether there is room for it.

use std::fmt;

use indexmap::IndexMap;
use serde::Serialize;

use super::{Limit, Source};

/// The purpose of the copies of trained weights from which products are computed in 16 bits.
pub const COPIES: &str = "16-bit copies of weights";

/// Bytes by purpose, in the order in which they were named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Need(IndexMap<String, u64>);

/// A need is above a limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct DoesNotFit {
    /// What is needed.
    pub need: Need,
    /// The limit it exceeds.
    pub limit: Limit,
}

impl Need {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with so many bytes more for a purpose, such as `weights`.
    #[must_use]
    pub fn with(mut self, purpose: &str, bytes: u64) -> Self {
        self.add(purpose, bytes);
        self
    }

    /// Adds bytes to a purpose. Sums stop at the largest number.
    pub fn add(&mut self, purpose: &str, bytes: u64) {
        let sum = self.0.entry(purpose.to_owned()).or_insert(0);
        *sum = sum.saturating_add(bytes);
    }

    /// Bytes of a purpose; 0 for one that was not named.
    pub fn of(&self, purpose: &str) -> u64 {
        self.0.get(purpose).copied().unwrap_or(0)
    }

    /// All purposes with their bytes.
    pub fn parts(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(purpose, &bytes)| (purpose.as_str(), bytes))
    }

    /// All bytes.
    pub fn total(&self) -> u64 {
        self.0.values().fold(0, |sum, &bytes| sum.saturating_add(bytes))
    }

    /// Compares the need with limits.
    ///
    /// # Errors
    /// It is above at least one of them; the tightest is told.
    pub fn check(&self, limits: &[Limit]) -> Result<(), DoesNotFit> {
        match limits.iter().min_by_key(|limit| limit.left) {
            Some(limit) if self.total() > limit.left => {
                Err(DoesNotFit { need: self.clone(), limit: limit.clone() })
            }
            _ => Ok(()),
        }
    }
}

impl DoesNotFit {
    /// What a person can do about it.
    pub fn help(&self) -> String {
        let raise = match &self.limit.source {
            Source::Available => "end other programs or take a machine with more memory".to_owned(),
            Source::ControlGroup(file) => format!("raise the limit in {file}"),
            Source::ResourceLimit(name) => format!("raise it with `{name}`"),
            Source::Device(_) => "take a device with more memory".to_owned(),
            Source::Budget => "allow more".to_owned(),
        };
        let largest = self.need.parts().max_by_key(|&(_, bytes)| bytes).map_or("", |(purpose, _)| purpose);
        let shrink = match largest {
            "activations and gradients" if self.need.of(COPIES) == 0 => {
                "compute in 16 bits with `train.precision = \"bf16\"`, train with a smaller `train.batch_size` and more \
                 `train.accumulate`"
            }
            "activations and gradients" | "inputs" => {
                "train with a smaller `train.batch_size` and more `train.accumulate`"
            }
            "optimizer" => "train fewer parts",
            "features" => "hold fewer encoded pictures with `--picture-memory`",
            "data" => "take fewer pictures",
            _ => "take a smaller model",
        };
        format!("{shrink}, {raise}, or try anyway with --force-memory")
    }
}

impl fmt::Display for DoesNotFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limit { left, total, source } = &self.limit;
        write!(
            f,
            "needs {} of memory, {} of {} are left by {source}",
            Bytes(self.need.total()),
            Bytes(*left),
            Bytes(*total)
        )?;
        let mut parts: Vec<(&str, u64)> = self.need.parts().filter(|&(_, bytes)| bytes > 0).collect();
        parts.sort_by_key(|&(_, bytes)| std::cmp::Reverse(bytes));
        for (number, (purpose, bytes)) in parts.iter().enumerate() {
            write!(f, "{} {purpose} {}", if number == 0 { ":" } else { "," }, Bytes(*bytes))?;
        }
        Ok(())
    }
}

/// A number of bytes as people read it: `1.53 GiB`.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} bytes", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        write!(f, "{value:.2} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need() -> Need {
        Need::new().with("weights", 3 << 30).with("optimizer", 6 << 30).with("scratch", 1 << 20)
    }

    #[test]
    fn the_tightest_limit_refuses_with_need_limit_source_and_way_out() {
        let group = Source::ControlGroup("/sys/fs/cgroup/job/memory.max".to_owned());
        let limits = [
            Limit { left: 8 << 30, total: 16 << 30, source: Source::Available },
            Limit { left: 5 << 30, total: 6 << 30, source: group },
        ];
        let Err(error) = need().check(&limits) else { panic!("it does not fit") };
        let text = error.to_string();
        assert!(text.starts_with("needs 9.00 GiB of memory, 5.00 GiB of 6.00 GiB are left by"), "{text}");
        assert!(text.contains("/sys/fs/cgroup/job/memory.max"), "{text}");
        assert!(text.ends_with(": optimizer 6.00 GiB, weights 3.00 GiB, scratch 1.00 MiB"), "{text}");
        assert!(error.help().contains("train fewer parts") && error.help().contains("--force-memory"));
    }

    #[test]
    fn what_fits_exactly_fits_and_no_limit_refuses_nothing() {
        let exactly = need().total();
        assert_eq!(need().check(&[Limit::budget(exactly)]), Ok(()));
        assert!(need().check(&[Limit::budget(exactly - 1)]).is_err());
        assert!(Need::new().with("weights", 1).check(&[Limit::budget(0)]).is_err());
        assert_eq!(need().check(&[]), Ok(()));
    }

    #[test]
    fn sums_do_not_wrap() {
        let huge = Need::new().with("weights", u64::MAX).with("optimizer", u64::MAX);
        assert_eq!(huge.total(), u64::MAX);
        assert!(huge.check(&[Limit::budget(u64::MAX - 1)]).is_err());
    }
}
