//! How long samples are.

use std::collections::BTreeMap;

use serde::Serialize;

/// The fewest, the median and the most of some numbers; of an even count of them the median is the lower one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// The fewest.
    pub least: usize,
    /// As many are at most this as are at least this.
    pub median: usize,
    /// The most.
    pub most: usize,
}

impl Spread {
    /// That of numbers, each with how often it occurs; none where there is none.
    pub fn of(counted: &BTreeMap<usize, u64>) -> Option<Self> {
        let (least, most) = (*counted.keys().next()?, *counted.keys().next_back()?);
        let all: u64 = counted.values().sum();
        let mut upto = 0;
        let median = counted.iter().find(|(_, count)| {
            upto += **count;
            2 * upto >= all
        });
        Some(Self { least, median: *median?.0, most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let of = |numbers: &[usize]| {
            let mut counted = BTreeMap::new();
            for &number in numbers {
                *counted.entry(number).or_default() += 1;
            }
            Spread::of(&counted)
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[7]), Some(Spread { least: 7, median: 7, most: 7 }));
        assert_eq!(of(&[3, 1, 2, 9]), Some(Spread { least: 1, median: 2, most: 9 }));
        assert_eq!(of(&[3, 1, 9, 9, 9]), Some(Spread { least: 1, median: 9, most: 9 }));
    }
}
