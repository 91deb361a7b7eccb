//! How fast the work is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Exponential mean of the step time: a step weighs `1/e` of its first weight after [`Speed::MEMORY`] more steps.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Speed {
    weighted_seconds: f64,
    weight: f64,
}

impl Speed {
    const MEMORY: f64 = 50.0;

    pub(super) fn add(&mut self, step: Duration) {
        let keep = 1.0 - 1.0 / Self::MEMORY;
        self.weighted_seconds = keep * self.weighted_seconds + step.as_secs_f64();
        self.weight = keep * self.weight + 1.0;
    }

    pub(super) fn steps_per_second(&self) -> Option<f64> {
        (self.weight > 0.0 && self.weighted_seconds > 0.0).then(|| self.weight / self.weighted_seconds)
    }

    pub(super) fn time_for(&self, steps: u64) -> Option<Duration> {
        Duration::try_from_secs_f64(steps as f64 / self.steps_per_second()?).ok()
    }
}

/// The times of the newest steps of a session.
#[derive(Debug, Default)]
pub(super) struct StepTimes {
    seconds: Vec<f32>,
    next: usize,
}

impl StepTimes {
    /// So many steps are remembered: a quarter of a mebibyte.
    const KEPT: usize = 1 << 16;

    pub(super) fn add(&mut self, step: Duration) {
        let seconds = step.as_secs_f32();
        match self.seconds.get_mut(self.next) {
            Some(oldest) => *oldest = seconds,
            None => self.seconds.push(seconds),
        }
        self.next = (self.next + 1) % Self::KEPT;
    }

    /// The median; of an even number of steps the mean of the middle two.
    pub(super) fn median(&self) -> Option<f64> {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f32::total_cmp);
        let upper = sorted.get(sorted.len() / 2)?;
        let lower = sorted.get((sorted.len() - 1) / 2)?;
        Some(f64::midpoint(f64::from(*lower), f64::from(*upper)))
    }
}

/// How much of the time of steps went into waiting for their batches.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Waiting {
    waited: Duration,
    all: Duration,
}

impl Waiting {
    pub(super) fn add(&mut self, waited: Duration, step: Duration) {
        self.waited += waited;
        self.all += step;
    }

    /// From 0 to 1; none where there was no step.
    pub(super) fn share(&self) -> Option<f64> {
        (!self.all.is_zero()).then(|| self.waited.as_secs_f64() / self.all.as_secs_f64())
    }
}

/// Now.
pub fn seconds_since_1970() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_not_moved_by_one_slow_step() {
        let mut times = StepTimes::default();
        assert_eq!(times.median(), None);
        for milliseconds in [20, 10, 9000] {
            times.add(Duration::from_millis(milliseconds));
        }
        assert!(times.median().is_some_and(|median| (median - 0.02).abs() < 1e-6));
        times.add(Duration::from_millis(10));
        assert!(times.median().is_some_and(|median| (median - 0.015).abs() < 1e-6));
        for _ in 0..StepTimes::KEPT {
            times.add(Duration::from_millis(30));
        }
        assert!(times.median().is_some_and(|median| (median - 0.03).abs() < 1e-6), "the oldest go");
    }

    #[test]
    fn the_speed_follows_a_change_and_the_first_step_counts_fully() {
        let mut speed = Speed::default();
        assert_eq!(speed.steps_per_second(), None);
        assert_eq!(speed.time_for(10), None);
        speed.add(Duration::from_millis(500));
        assert_eq!(speed.steps_per_second(), Some(2.0));
        assert_eq!(speed.time_for(10), Some(Duration::from_secs(5)));
        for _ in 0..500 {
            speed.add(Duration::from_millis(100));
        }
        assert!(speed.steps_per_second().is_some_and(|now| (now - 10.0).abs() < 0.01));
    }
}
