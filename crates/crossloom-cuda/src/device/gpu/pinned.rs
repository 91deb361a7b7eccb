//! Memory of the host that a device copies from and to while the host does something else.

use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::result;

use super::context::{Context, told};

/// Pages of the host that stay where they are.
pub(super) struct Pinned {
    start: NonNull<u8>,
    len: usize,
    context: Arc<Context>,
}

// SAFETY: it is memory that nobody else has, which any thread may use.
unsafe impl Send for Pinned {}
// SAFETY: shared references only read it; who lets a device write it has it exclusively and waits before it is read.
unsafe impl Sync for Pinned {}

impl Pinned {
    /// Memory of so many bytes, at least one, all zero.
    pub(super) fn new(context: &Arc<Context>, len: usize) -> Result<Self, String> {
        let len = len.max(1);
        context.enter()?;
        // SAFETY: the context is current. The memory is written below before anybody reads it.
        let start = told("cuMemHostAlloc", unsafe { result::malloc_host(len, 0) })?;
        let start = NonNull::new(start.cast::<u8>()).ok_or("cuMemHostAlloc gave no memory")?;
        // SAFETY: the driver just gave `len` bytes there.
        unsafe { std::ptr::write_bytes(start.as_ptr(), 0, len) };
        Ok(Self { start, len, context: Arc::clone(context) })
    }

    /// The first bytes. Nothing writes them meanwhile: the device has been waited for.
    pub(super) fn bytes(&self, len: usize) -> &[u8] {
        // SAFETY: not more than there are, written in `new`, and as the comment says nobody writes them.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), len.min(self.len)) }
    }

    /// The first bytes, to be written. The device has been waited for.
    pub(super) fn bytes_mut(&mut self, len: usize) -> &mut [u8] {
        // SAFETY: as in `bytes`, exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), len.min(self.len)) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            // SAFETY: the driver gave it in `new`, and it is given back once.
            unsafe { result::free_host(self.start.as_ptr().cast()) }.ok();
        }
    }
}

/// Pinned memory that is free: asking the driver for it takes longer than a small step.
pub(super) struct Pool {
    pub(super) context: Arc<Context>,
    free: Mutex<Vec<Pinned>>,
}

impl Pool {
    pub(super) fn new(context: &Arc<Context>) -> Self {
        Self { context: Arc::clone(context), free: Mutex::default() }
    }

    /// The smallest free piece that is large enough, or a new one.
    pub(super) fn take(&self, len: usize) -> Result<Pinned, String> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = free.iter().enumerate().filter(|(_, piece)| piece.len >= len);
        match fits.min_by_key(|(_, piece)| piece.len).map(|(at, _)| at) {
            Some(at) => Ok(free.swap_remove(at)),
            None => Pinned::new(&self.context, len),
        }
    }

    /// Takes back what no device writes any more.
    pub(super) fn give_back(&self, piece: Pinned) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(piece);
    }
}
