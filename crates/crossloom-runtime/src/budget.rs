//! How much of a device may be used.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::RunError;

/// The bytes that may be allocated on a device at one time. Clones count together.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Count>);

#[derive(Debug)]
struct Count {
    limit: usize,
    used: AtomicUsize,
}

/// Bytes that are taken from a budget until this is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Count { limit, used: AtomicUsize::new(0) }))
    }

    /// No limit but that of the address space.
    pub fn unlimited() -> Self {
        Self::new(usize::MAX)
    }

    /// The most bytes that may be used at one time.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// The bytes that are used now.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Takes so many bytes.
    ///
    /// # Errors
    /// [`RunError::OverBudget`] with need and limit: fewer are left.
    pub fn reserve(&self, bytes: usize) -> Result<Reservation, RunError> {
        let add = |used: usize| used.checked_add(bytes).filter(|&sum| sum <= self.0.limit);
        match self.0.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(_) => Ok(Reservation { budget: self.clone(), bytes }),
            Err(used) => Err(RunError::OverBudget { need: bytes, used, limit: self.0.limit }),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_counts_until_it_is_dropped() {
        let budget = Budget::new(100);
        let first = budget.reserve(60);
        assert_eq!(budget.used(), 60);
        let error = budget.clone().reserve(41).err();
        assert_eq!(error, Some(RunError::OverBudget { need: 41, used: 60, limit: 100 }));
        assert!(budget.reserve(40).is_ok());
        drop(first);
        assert_eq!(budget.used(), 0);
        assert!(budget.reserve(100).is_ok());
        assert!(Budget::new(0).reserve(1).is_err());
        assert!(Budget::unlimited().reserve(usize::MAX).is_ok());
    }
}
