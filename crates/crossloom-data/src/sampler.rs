//! Seeded shuffling of an endless stream of epochs, resumable from two numbers.
//!
//! The order of epoch `e` is a permutation keyed by `(seed, e)` alone. Every variant of a run that uses the same seed
//! therefore sees the same items in the same order, whatever model it trains.

use serde::{Deserialize, Serialize};

use crate::seeded::{Purpose, SeededRng};

/// Where a sampler stands; what a checkpoint keeps of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplerState {
    /// The seed of the order.
    pub seed: u64,
    /// How many items an epoch has.
    pub items: u64,
    /// The epoch being read, from 0.
    pub epoch: u64,
    /// How many items of that epoch were already given.
    pub cursor: u64,
}

/// One item of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// The epoch it belongs to, from 0.
    pub epoch: u64,
    /// The item, in `0..items`.
    pub item: usize,
}

/// Why a sampler cannot be made or resumed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SamplerError {
    /// There is nothing to sample.
    #[error("the sampler has no items: the training split is empty")]
    Empty,
    /// More items than the order can index.
    #[error("the sampler was given {items} items; it can order at most {}", u32::MAX)]
    TooMany {
        /// How many were given.
        items: usize,
    },
    /// The saved position belongs to another data order.
    #[error(
        "the saved sampler was made for {saved} and this run has {current}: the data order would change, so the run \
         cannot be resumed"
    )]
    Mismatch {
        /// Seed and items of the saved state.
        saved: String,
        /// Seed and items of this run.
        current: String,
    },
    /// The saved cursor lies behind the end of the epoch.
    #[error("the saved sampler stands at item {cursor} of an epoch of {items}")]
    Cursor {
        /// The saved cursor.
        cursor: u64,
        /// Items per epoch.
        items: u64,
    },
}

/// An endless stream of items: one seeded permutation per epoch.
#[derive(Debug)]
pub struct EpochSampler {
    state: SamplerState,
    order: Vec<u32>,
}

impl EpochSampler {
    /// A sampler at the start of epoch 0 of `items` items.
    ///
    /// # Errors
    /// When `items` is 0 or above `u32::MAX`.
    pub fn new(items: usize, seed: u64) -> Result<Self, SamplerError> {
        Self::at(SamplerState { seed, items: items as u64, epoch: 0, cursor: 0 })
    }

    /// A sampler that continues where `state` was taken, for a run with these `items` and this `seed`.
    ///
    /// # Errors
    /// When the state was taken with another seed or number of items, or is out of range.
    pub fn resume(state: SamplerState, items: usize, seed: u64) -> Result<Self, SamplerError> {
        if state.items != items as u64 || state.seed != seed {
            return Err(SamplerError::Mismatch {
                saved: format!("seed {} and {} items", state.seed, state.items),
                current: format!("seed {seed} and {items} items"),
            });
        }
        Self::at(state)
    }

    fn at(state: SamplerState) -> Result<Self, SamplerError> {
        let items = usize::try_from(state.items).unwrap_or(usize::MAX);
        if items == 0 {
            return Err(SamplerError::Empty);
        }
        if u32::try_from(items).is_err() {
            return Err(SamplerError::TooMany { items });
        }
        if state.cursor > state.items {
            return Err(SamplerError::Cursor { cursor: state.cursor, items: state.items });
        }
        let mut sampler = Self { state, order: vec![0; items] };
        sampler.reorder();
        Ok(sampler)
    }

    /// The next item; begins the next epoch after the last one. Never allocates.
    pub fn draw(&mut self) -> Draw {
        if self.state.cursor == self.state.items {
            self.state.epoch += 1;
            self.state.cursor = 0;
            self.reorder();
        }
        let item = self.order.get(self.state.cursor as usize).copied().unwrap_or(0) as usize;
        self.state.cursor += 1;
        Draw { epoch: self.state.epoch, item }
    }

    /// The position after the last draw; [`EpochSampler::resume`] continues from it exactly.
    pub fn state(&self) -> SamplerState {
        self.state
    }

    fn reorder(&mut self) {
        for (index, slot) in self.order.iter_mut().enumerate() {
            *slot = index as u32;
        }
        SeededRng::new(self.state.seed, Purpose::EpochOrder, self.state.epoch, 0).shuffle(&mut self.order);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use proptest::prelude::*;

    fn take(sampler: &mut EpochSampler, count: usize) -> Vec<Draw> {
        (0..count).map(|_| sampler.draw()).collect()
    }

    proptest! {
        #[test]
        fn every_epoch_is_a_permutation(items in 1_usize..60, seed in any::<u64>()) {
            let mut sampler = EpochSampler::new(items, seed).unwrap();
            for epoch in 0..3 {
                let draws = take(&mut sampler, items);
                prop_assert!(draws.iter().all(|draw| draw.epoch == epoch));
                let mut seen: Vec<usize> = draws.iter().map(|draw| draw.item).collect();
                seen.sort_unstable();
                prop_assert_eq!(seen, (0..items).collect::<Vec<_>>());
            }
        }

        #[test]
        fn resuming_anywhere_continues_exactly(items in 1_usize..40, seed in any::<u64>(), cut in 0_usize..120) {
            let mut whole = EpochSampler::new(items, seed).unwrap();
            take(&mut whole, cut);
            let json = serde_json::to_string(&whole.state()).unwrap();
            let state: SamplerState = serde_json::from_str(&json).unwrap();
            let mut resumed = EpochSampler::resume(state, items, seed).unwrap();
            prop_assert_eq!(take(&mut whole, 100), take(&mut resumed, 100));
        }
    }

    #[test]
    fn epochs_and_seeds_have_different_orders() {
        let mut one = EpochSampler::new(50, 1).unwrap();
        let first = take(&mut one, 50);
        let second = take(&mut one, 50);
        let other = take(&mut EpochSampler::new(50, 2).unwrap(), 50);
        let items = |draws: &[Draw]| draws.iter().map(|draw| draw.item).collect::<Vec<_>>();
        assert_ne!(items(&first), items(&second));
        assert_ne!(items(&first), items(&other));
    }

    #[test]
    fn a_foreign_or_impossible_state_is_refused() {
        let state = EpochSampler::new(5, 1).unwrap().state();
        assert!(matches!(EpochSampler::resume(state, 6, 1), Err(SamplerError::Mismatch { .. })));
        assert!(matches!(EpochSampler::resume(state, 5, 2), Err(SamplerError::Mismatch { .. })));
        let late = SamplerState { cursor: 6, ..state };
        assert!(matches!(EpochSampler::resume(late, 5, 1), Err(SamplerError::Cursor { .. })));
        assert!(matches!(EpochSampler::new(0, 1), Err(SamplerError::Empty)));
        assert!(matches!(EpochSampler::new(1 << 33, 1), Err(SamplerError::TooMany { .. })));
    }
}
