//! Limits of numbers, and what to say about a number beyond them.

use std::fmt::Display;
use std::ops::{Bound, RangeBounds};

use super::scalars::Decode;

/// A number that has limits.
pub(super) trait Number: Decode + PartialOrd + Display + Copy {}
impl Number for usize {}
impl Number for u64 {}
impl Number for f64 {}

/// What to write in place of a number beyond its limits.
pub(super) fn nearest<T: Number>(limits: &impl RangeBounds<T>, number: T) -> String {
    let (low, high) = (limits.start_bound(), limits.end_bound());
    let too_low = match low {
        Bound::Included(low) => number < *low,
        Bound::Excluded(low) => number <= *low,
        Bound::Unbounded => false,
    };
    match if too_low { low } else { high } {
        Bound::Included(low) if too_low => format!("the smallest that is accepted is {low}"),
        Bound::Included(high) => format!("the largest that is accepted is {high}"),
        Bound::Excluded(low) if too_low => format!("write a number above {low}, however little"),
        Bound::Excluded(high) => format!("write a number below {high}, however little"),
        Bound::Unbounded => "write another number".to_owned(),
    }
}

/// Limits in words.
pub(super) fn describe<T: Display>(limits: &impl RangeBounds<T>) -> String {
    let low = match limits.start_bound() {
        Bound::Included(low) => Some(format!("at least {low}")),
        Bound::Excluded(low) => Some(format!("above {low}")),
        Bound::Unbounded => None,
    };
    let high = match limits.end_bound() {
        Bound::Included(high) => Some(format!("at most {high}")),
        Bound::Excluded(high) => Some(format!("below {high}")),
        Bound::Unbounded => None,
    };
    [low, high].into_iter().flatten().collect::<Vec<_>>().join(" and ")
}
