//! Learning-rate schedules.
//!
//! A schedule is a factor in `[0, 1]` on every part's peak learning rate. With `s` the index of the update counted from
//! 0, `w` the warm-up updates, `k = max(w, 1) - 1` the update at the peak, `e = T - 1` the last update, `r` the minimum ratio
//! and `p = min(1, (s - k) / (e - k))`:
//!
//! | range | factor |
//! |---|---|
//! | warm-up, `s < w` | `(s + 1) / w` |
//! | `constant` | `1` |
//! | `linear` | `r + (1 - r) · (1 - p)` |
//! | `cosine` | `r + (1 - r) · (1 + cos(π p)) / 2` |
//!
//! The first update of the warm-up is not wasted on a rate of zero, exactly one update has the peak, and the last one has the
//! factor `r` (`constant`: 1), as has what lies past the end. Where the peak is the last update it stays the peak.

use crossloom_recipe::Schedule;

/// A warm-up followed by a decay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateCurve {
    /// How the factor falls after the warm-up.
    pub shape: Schedule,
    /// Updates of the linear warm-up; 0 starts at the peak.
    pub warmup_steps: u64,
    /// All updates of the training, warm-up included.
    pub total_steps: u64,
    /// The factor at the end, in `[0, 1]`.
    pub min_ratio: f64,
}

impl RateCurve {
    /// The factor of the update with index `s`, counted from 0. The same on every platform.
    pub fn factor(&self, s: u64) -> f64 {
        if s < self.warmup_steps {
            return (s + 1) as f64 / self.warmup_steps as f64;
        }
        let peak = self.warmup_steps.max(1) - 1;
        if s == peak {
            return 1.0;
        }
        let last = self.total_steps.saturating_sub(1);
        let p = if s >= last { 1.0 } else { (s - peak) as f64 / (last - peak) as f64 };
        let fall = match self.shape {
            Schedule::Constant => return 1.0,
            Schedule::Linear => 1.0 - p,
            Schedule::Cosine => 0.5 * (1.0 + libm::cos(std::f64::consts::PI * p)),
        };
        self.min_ratio + (1.0 - self.min_ratio) * fall
    }

    /// Every problem of the settings, as sentences; empty when they are sound.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !(0.0..=1.0).contains(&self.min_ratio) {
            problems
                .push(format!("the schedule's minimum ratio must lie in [0, 1], it is {}", self.min_ratio));
        }
        if self.warmup_steps > self.total_steps {
            problems.push(format!(
                "the warm-up ({} steps) is longer than the training ({} steps)",
                self.warmup_steps, self.total_steps
            ));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(shape: Schedule) -> RateCurve {
        RateCurve { shape, warmup_steps: 4, total_steps: 12, min_ratio: 0.1 }
    }

    fn check(shape: Schedule, expected: &[(u64, f64)]) {
        for &(s, factor) in expected {
            let got = schedule(shape).factor(s);
            assert!((got - factor).abs() < 1e-12, "{shape:?} at {s}: {got}, expected {factor}");
        }
    }

    #[test]
    fn warm_up_is_linear_and_wastes_no_step() {
        for shape in [Schedule::Cosine, Schedule::Linear, Schedule::Constant] {
            check(shape, &[(0, 0.25), (1, 0.5), (2, 0.75), (3, 1.0)]);
        }
    }

    #[test]
    fn cosine_by_hand() {
        // 8 updates after the peak: p = 1/4 → cos 45° = 0.7071…, p = 1/2 → 0, p = 3/4 → -0.7071…
        let root_half = std::f64::consts::FRAC_1_SQRT_2;
        check(
            Schedule::Cosine,
            &[
                (5, 0.1 + 0.45 * (1.0 + root_half)),
                (7, 0.55),
                (9, 0.1 + 0.45 * (1.0 - root_half)),
                (11, 0.1),
                (99, 0.1),
            ],
        );
    }

    #[test]
    fn linear_by_hand() {
        check(Schedule::Linear, &[(4, 0.8875), (5, 0.775), (7, 0.55), (10, 0.2125), (11, 0.1), (1000, 0.1)]);
    }

    #[test]
    fn constant_stays() {
        check(Schedule::Constant, &[(4, 1.0), (11, 1.0), (500, 1.0)]);
    }

    #[test]
    fn the_first_step_has_its_share_and_the_last_has_the_least_whatever_the_lengths() {
        for shape in [Schedule::Cosine, Schedule::Linear] {
            for total_steps in 2..40 {
                for warmup_steps in 0..total_steps {
                    let curve = RateCurve { shape, warmup_steps, total_steps, min_ratio: 0.1 };
                    let factors: Vec<f64> = (0..total_steps).map(|s| curve.factor(s)).collect();
                    let what = format!("{shape:?}, {warmup_steps} of {total_steps}: {factors:?}");
                    assert_eq!(factors[0], 1.0 / warmup_steps.max(1) as f64, "{what}");
                    assert!((factors[total_steps as usize - 1] - 0.1).abs() < 1e-12, "{what}");
                    assert_eq!(factors.iter().filter(|factor| **factor == 1.0).count(), 1, "{what}");
                    let peak = warmup_steps.max(1) as usize - 1;
                    assert!(factors[..=peak].is_sorted_by(|a, b| a < b), "{what}");
                    assert!(factors[peak..].is_sorted_by(|a, b| a > b), "{what}");
                }
            }
        }
    }

    #[test]
    fn no_warm_up_starts_at_the_peak_and_degenerate_lengths_are_defined() {
        let schedule =
            RateCurve { shape: Schedule::Cosine, warmup_steps: 0, total_steps: 10, min_ratio: 0.0 };
        assert_eq!(schedule.factor(0), 1.0);
        assert!(schedule.factor(8) > 0.0 && schedule.factor(9) == 0.0);
        let only_warmup = RateCurve { warmup_steps: 3, total_steps: 3, ..schedule };
        assert_eq!((only_warmup.factor(2), only_warmup.factor(3)), (1.0, 0.0));
        assert_eq!(RateCurve { total_steps: 0, ..schedule }.factor(1), 0.0);
        assert_eq!(RateCurve { total_steps: 1, ..schedule }.factor(0), 1.0);
    }

    #[test]
    fn unsound_schedules_are_named() {
        let bad = RateCurve { shape: Schedule::Linear, warmup_steps: 5, total_steps: 4, min_ratio: f64::NAN };
        assert_eq!(bad.problems().len(), 2);
        assert!(schedule(Schedule::Linear).problems().is_empty());
    }
}
