//! Offsets in the arena: best fit in program order over a list of free ranges.

use std::collections::{BTreeMap, BTreeSet};

/// Free ranges of an arena that grows at its end.
#[derive(Debug, Default)]
pub(super) struct Arena {
    /// Free ranges: offset to length.
    free: BTreeMap<usize, usize>,
    /// The same by (length, offset), to find the tightest one.
    by_len: BTreeSet<(usize, usize)>,
    /// Bytes so far.
    len: usize,
}

/// The length that is really reserved for so many bytes: a multiple of the alignment, so that offsets are too.
pub(super) fn padded(len: usize, alignment: usize) -> usize {
    len.next_multiple_of(alignment).max(alignment)
}

impl Arena {
    /// Bytes the arena needs.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Reserves `len` bytes (padded by the caller) and returns their offset.
    pub(super) fn take(&mut self, len: usize) -> usize {
        if let Some(&(found, offset)) = self.by_len.range((len, 0)..).next() {
            self.remove(offset, found);
            if found > len {
                self.insert(offset + len, found - len);
            }
            return offset;
        }
        // Grow, using a free range at the end if there is one.
        let tail = self.free.last_key_value().map(|(&o, &l)| (o, l)).filter(|(o, l)| o + l == self.len);
        let offset = match tail {
            Some((offset, tail_len)) => {
                self.remove(offset, tail_len);
                offset
            }
            None => self.len,
        };
        self.len = offset + len;
        offset
    }

    /// Gives a range back and joins it with its free neighbours.
    pub(super) fn give(&mut self, offset: usize, len: usize) {
        let (mut offset, mut len) = (offset, len);
        let before = self.free.range(..offset).next_back().map(|(&o, &l)| (o, l));
        if let Some((o, l)) = before.filter(|(o, l)| o + l == offset) {
            self.remove(o, l);
            offset = o;
            len += l;
        }
        if let Some(&l) = self.free.get(&(offset + len)) {
            self.remove(offset + len, l);
            len += l;
        }
        self.insert(offset, len);
    }

    fn insert(&mut self, offset: usize, len: usize) {
        self.free.insert(offset, len);
        self.by_len.insert((len, offset));
    }

    fn remove(&mut self, offset: usize, len: usize) {
        self.free.remove(&offset);
        self.by_len.remove(&(len, offset));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_range_is_used_again_and_neighbours_join() {
        let mut arena = Arena::default();
        let (a, b, c) = (arena.take(32), arena.take(16), arena.take(16));
        assert_eq!((a, b, c, arena.len()), (0, 32, 48, 64));
        arena.give(a, 32);
        arena.give(b, 16);
        assert_eq!(arena.take(48), 0);
        assert_eq!(arena.len(), 64);
    }

    #[test]
    fn the_tightest_range_is_taken() {
        let mut arena = Arena::default();
        let large = arena.take(64);
        arena.take(16);
        let small = arena.take(16);
        arena.take(16);
        arena.give(large, 64);
        arena.give(small, 16);
        assert_eq!(arena.take(16), small);
    }

    #[test]
    fn growing_extends_a_free_tail() {
        let mut arena = Arena::default();
        arena.take(16);
        let tail = arena.take(16);
        arena.give(tail, 16);
        assert_eq!(arena.take(64), 16);
        assert_eq!(arena.len(), 80);
    }
}
