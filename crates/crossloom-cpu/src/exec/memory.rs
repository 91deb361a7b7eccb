//! Memory of a queue.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::any::Any;
use std::ptr::NonNull;

use crossloom_runtime::{DeviceMemory, HostBytes};

/// Where memory starts: at a cache line, which is also the widest register.
pub(super) const ALIGN: usize = 64;
/// What the system's zeroed memory is aligned to without being written.
const SYSTEM_ALIGN: usize = 16;

/// Bytes that only their queue touches.
///
/// Owned ones are zero at first, aligned to 64 bytes, never moved or resized. They come zeroed from the system, so that
/// pages which nothing uses are never touched.
#[derive(Debug)]
pub(super) struct CpuMemory {
    /// The queue that it belongs to.
    queue: u64,
    start: NonNull<u8>,
    len: usize,
    origin: Origin,
}

enum Origin {
    /// Allocated here, at that address.
    Owned(NonNull<u8>, Layout),
    /// Read-only, of somebody else.
    Adopted(#[allow(dead_code, reason = "keeps the memory alive")] HostBytes),
    /// No bytes.
    Empty,
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Owned(..) => "owned",
            Self::Adopted(_) => "adopted",
            Self::Empty => "empty",
        })
    }
}

// SAFETY: it is memory with a length. Nothing in this crate reads or writes it but `CpuQueue`, which does so with
// exclusive access to itself and after having checked that the memory is its own; adopted memory is never written.
unsafe impl Send for CpuMemory {}
// SAFETY: as above; a shared reference gives nothing but length and address.
unsafe impl Sync for CpuMemory {}

impl CpuMemory {
    /// Zeros. `None` if there is not as much memory.
    pub(super) fn zeroed(queue: u64, len: usize) -> Option<Self> {
        if len == 0 {
            // An address that is aligned and never dereferenced.
            let start = NonNull::new(std::ptr::without_provenance_mut(ALIGN))?;
            return Some(Self { queue, start, len, origin: Origin::Empty });
        }
        // Some address among the first ones is a multiple of `ALIGN`.
        let layout = Layout::from_size_align(len.checked_add(ALIGN - SYSTEM_ALIGN)?, SYSTEM_ALIGN).ok()?;
        // SAFETY: the layout has at least one byte.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        let skip = base.as_ptr().addr().next_multiple_of(ALIGN) - base.as_ptr().addr();
        // SAFETY: the base is a multiple of `SYSTEM_ALIGN`, so at most `ALIGN - SYSTEM_ALIGN` bytes are skipped, which
        // were allocated beyond `len`.
        let start = unsafe { base.add(skip) };
        Some(Self { queue, start, len, origin: Origin::Owned(base, layout) })
    }

    /// Memory of somebody else, who keeps it and does not write it as long as `bytes` is held.
    pub(super) fn adopted(queue: u64, bytes: &HostBytes) -> Self {
        let slice = (**bytes).as_ref();
        let start = NonNull::from(slice).cast();
        Self { queue, start, len: slice.len(), origin: Origin::Adopted(HostBytes::clone(bytes)) }
    }

    /// Whether nothing may write it.
    pub(super) fn is_read_only(&self) -> bool {
        matches!(self.origin, Origin::Adopted(_))
    }

    /// The queue it belongs to.
    pub(super) fn queue(&self) -> u64 {
        self.queue
    }

    /// Where it starts.
    pub(super) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl Drop for CpuMemory {
    fn drop(&mut self) {
        if let Origin::Owned(base, layout) = self.origin {
            // SAFETY: allocated by `zeroed` with that layout, and given back once.
            unsafe { dealloc(base.as_ptr(), layout) };
        }
    }
}

impl DeviceMemory for CpuMemory {
    fn len(&self) -> usize {
        self.len
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn memory_is_aligned_and_zero() {
        for len in [0, 1, 63, 64, 65, 1000, 1 << 20] {
            let memory = CpuMemory::zeroed(0, len).unwrap();
            assert_eq!(memory.len(), len);
            assert_eq!(memory.start().addr() % ALIGN, 0);
            // SAFETY: just made, and nobody else has it.
            let bytes = unsafe { std::slice::from_raw_parts(memory.start(), len) };
            assert!(bytes.iter().all(|&byte| byte == 0));
        }
        assert!(CpuMemory::zeroed(0, usize::MAX).is_none());
        assert!(CpuMemory::zeroed(0, isize::MAX as usize - 64).is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn pages_that_nothing_uses_are_not_touched() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
            status.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0)
        };
        let before = resident();
        let memory = CpuMemory::zeroed(0, 1 << 30).unwrap();
        // A gibibyte is 262144 pages of 4096 bytes; other tests of this process may use some meanwhile.
        assert!(resident() < before + 100_000, "{memory:?} is resident");
    }
}
