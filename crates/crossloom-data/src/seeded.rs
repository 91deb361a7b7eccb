//! Keyed random streams: every draw is a pure function of `(seed, purpose, a, b)`.
//!
//! Nothing here carries state between draws of different keys, so a run that resumes in the middle needs no saved
//! generator, and a new use of randomness cannot shift an old one.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What a stream is for; part of its key, so that two uses of one seed never share numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Purpose {
    /// The order of the items of an epoch; `a` is the epoch.
    EpochOrder = 1,
    /// Which questions of a picture are packed; `a` is the epoch, `b` the picture.
    QuestionDraw = 2,
    /// A generated training picture and its questions; `a` is the picture.
    SyntheticTrain = 3,
    /// A generated test picture and its questions; `a` is the picture.
    SyntheticTest = 4,
    /// Which training pictures are held out.
    HoldOut = 5,
    /// The source of a draw from a mixture; `a` is the number of the draw.
    MixtureDraw = 6,
}

/// A `ChaCha8` stream with the few draws that the crate needs, written out so that they never change.
#[derive(Debug)]
pub(crate) struct SeededRng(ChaCha8Rng);

impl SeededRng {
    /// The stream of a key.
    pub(crate) fn new(seed: u64, purpose: Purpose, a: u64, b: u64) -> Self {
        let mut key = [0_u8; 32];
        for (field, value) in key.chunks_exact_mut(8).zip([seed, purpose as u64, a, b]) {
            field.copy_from_slice(&value.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// A uniform integer in `0..bound`; 0 when `bound` is 0.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        // Multiply-shift with rejection of the short first interval: exactly uniform.
        let threshold = bound.wrapping_neg().checked_rem(bound).unwrap_or(0);
        loop {
            let product = u64::from(self.0.next_u32()) * u64::from(bound);
            if product as u32 >= threshold {
                return (product >> 32) as u32;
            }
        }
    }

    /// A uniform number in `[0, 1)` with 24 random bits, exact in f32.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / 16_777_216.0
    }

    /// A uniform number in `[low, high)`.
    pub(crate) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// True with probability one half.
    pub(crate) fn coin(&mut self) -> bool {
        self.0.next_u32() & 1 == 1
    }

    /// A uniform permutation of `items`, in place.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let chosen = self.below(last as u32 + 1) as usize;
            items.swap(last, chosen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_covers_its_range_evenly() {
        let mut rng = SeededRng::new(1, Purpose::EpochOrder, 0, 0);
        let mut counts = [0_u32; 5];
        for _ in 0..5000 {
            counts[rng.below(5) as usize] += 1;
        }
        assert!(counts.iter().all(|&count| (900..1100).contains(&count)), "{counts:?}");
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.below(1), 0);
    }

    #[test]
    fn every_part_of_the_key_matters() {
        let draw = |seed, purpose, a, b| SeededRng::new(seed, purpose, a, b).below(u32::MAX);
        let base = draw(1, Purpose::EpochOrder, 2, 3);
        assert_eq!(base, draw(1, Purpose::EpochOrder, 2, 3));
        assert_ne!(base, draw(9, Purpose::EpochOrder, 2, 3));
        assert_ne!(base, draw(1, Purpose::QuestionDraw, 2, 3));
        assert_ne!(base, draw(1, Purpose::EpochOrder, 9, 3));
        assert_ne!(base, draw(1, Purpose::EpochOrder, 2, 9));
    }

    #[test]
    fn shuffle_is_frozen() {
        let mut items: Vec<u32> = (0..8).collect();
        SeededRng::new(42, Purpose::EpochOrder, 0, 0).shuffle(&mut items);
        assert_eq!(items, [5, 2, 1, 6, 0, 7, 3, 4], "the order of every recorded run would change");
    }
}
