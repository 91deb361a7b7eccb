//! Caches of keys and values: `slots` sequences of room for `capacity` positions each.
//!
//! A call works on `rows` of the sequences with up to `tokens` new positions each; [`Places`] says which and where.

use super::error::{KernelError, need};
use crate::parallel::{self, SharedMut};

/// Extents of a cache and of a call on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheShape {
    /// Sequences of the cache.
    pub slots: usize,
    /// Positions of a sequence.
    pub capacity: usize,
    /// Sequences of the call.
    pub rows: usize,
    /// New positions of a sequence of the call.
    pub tokens: usize,
}

/// Where the sequences of a call stand: row `b` goes on in sequence `slot[b]`, which holds `start[b]` positions, with
/// `count[b]` new ones. One element per row each.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// Sequences of the cache.
    pub slot: &'a [i32],
    /// Positions they hold already.
    pub start: &'a [i32],
    /// New positions that are real.
    pub count: &'a [i32],
}

/// The place of one row, checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) slot: usize,
    pub(super) start: usize,
    pub(super) count: usize,
}

impl Places<'_> {
    /// Checks every row, and, where the call writes, that no two rows write to one sequence.
    pub(super) fn check(
        &self,
        kernel: &'static str,
        x: &CacheShape,
        writes: bool,
    ) -> Result<(), KernelError> {
        need(kernel, "slot", self.slot.len(), x.rows)?;
        need(kernel, "start", self.start.len(), x.rows)?;
        need(kernel, "count", self.count.len(), x.rows)?;
        for row in 0..x.rows {
            let inside = |operand: &'static str, index: i64, bound: usize| {
                let fits = usize::try_from(index).is_ok_and(|index| index < bound);
                let error = KernelError::Index { kernel, operand, position: row, index, bound };
                if fits { Ok(()) } else { Err(error) }
            };
            let (slot, start, count) =
                (self.slot[row], i64::from(self.start[row]), i64::from(self.count[row]));
            inside("slot", i64::from(slot), x.slots)?;
            inside("start", start, x.capacity + 1)?;
            inside("count", count, x.tokens + 1)?;
            inside("start + count", start + count, x.capacity + 1)?;
            let twice = (0..row).any(|other| self.slot[other] == slot && self.count[other] > 0);
            if writes && count > 0 && twice {
                return Err(KernelError::Twice {
                    kernel,
                    operand: "slot",
                    position: row,
                    index: i64::from(slot),
                });
            }
        }
        Ok(())
    }

    /// The place of a row that [`Places::check`] has seen.
    pub(super) fn of(&self, row: usize) -> Place {
        let whole = |value: i32| usize::try_from(value).unwrap_or(0);
        Place { slot: whole(self.slot[row]), start: whole(self.start[row]), count: whole(self.count[row]) }
    }
}

/// `cache[slot[b], start[b] + t] = rows[b, t]` for `t < count[b]`, in place; `cache [slots, capacity, width]`, `rows [rows,
/// tokens, width]`, of values of any type.
///
/// # Errors
/// Where a buffer is too short, a place is outside of the cache, or two rows write to one sequence.
pub fn cache_write<T: Copy + Send + Sync>(
    x: &CacheShape,
    width: usize,
    cache: &mut [T],
    rows: &[T],
    places: &Places<'_>,
) -> Result<(), KernelError> {
    let name = "cache_write";
    need(name, "cache", cache.len(), x.slots * x.capacity * width)?;
    need(name, "rows", rows.len(), x.rows * x.tokens * width)?;
    places.check(name, x, true)?;
    let cache = SharedMut::new(cache);
    parallel::for_each(x.rows, |row| {
        let place = places.of(row);
        let len = place.count * width;
        if len == 0 {
            return;
        }
        // SAFETY: `check` saw that the positions lie within their slot, and that rows which write have slots of their own.
        let to = unsafe { cache.slice((place.slot * x.capacity + place.start) * width, len) };
        to.copy_from_slice(&rows[row * x.tokens * width..][..len]);
    });
    Ok(())
}
