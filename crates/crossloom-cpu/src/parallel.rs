//! Fixed work: tasks are numbered, their number depends on shapes alone, and each task owns what it writes.

use half::bf16;

use crate::element::FloatsMut;

/// Runs `task(0..n)` on the current pool, each index exactly once, in no particular order.
///
/// Allocates nothing when called on a thread of the pool.
///
/// One copy of this serves all kernels: a task is long enough to be called through a pointer.
pub(crate) fn for_each(n: usize, task: impl Fn(usize) + Sync) {
    each(n, &task);
}

fn each(n: usize, task: &(dyn Fn(usize) + Sync)) {
    if n <= 1 || rayon::current_num_threads() == 1 {
        (0..n).for_each(task);
    } else {
        halves(0..n, task);
    }
}

fn halves(range: std::ops::Range<usize>, task: &(dyn Fn(usize) + Sync)) {
    if range.len() <= 1 {
        range.for_each(task);
    } else {
        let middle = range.start + range.len() / 2;
        rayon::join(|| halves(range.start..middle, task), || halves(middle..range.end, task));
    }
}

/// Sums `task(i)` over `0..n` along a fixed binary tree, whatever the number of threads.
pub(crate) fn sum_f64(n: usize, task: &(dyn Fn(usize) -> f64 + Sync)) -> f64 {
    fn node(range: std::ops::Range<usize>, task: &(dyn Fn(usize) -> f64 + Sync)) -> f64 {
        match range.len() {
            0 => 0.0,
            1 => task(range.start),
            len => {
                let middle = range.start + len / 2;
                let (a, b) =
                    rayon::join(|| node(range.start..middle, task), || node(middle..range.end, task));
                a + b
            }
        }
    }
    node(0..n, task)
}

/// The `i`-th of the pieces of `chunk` items that make up `0..n`.
pub(crate) fn chunk_range(n: usize, chunk: usize, i: usize) -> std::ops::Range<usize> {
    let start = (i * chunk).min(n);
    start..(start + chunk).min(n)
}

/// A mutable base pointer that tasks share; each task makes only slices that no other task touches.
pub(crate) struct SharedMut<'a, T = f32> {
    ptr: *mut T,
    len: usize,
    life: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: it is only a pointer and a length; whoever makes a slice of it promises that slices do not overlap.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}

impl<T> Clone for SharedMut<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { ptr: slice.as_mut_ptr(), len: slice.len(), life: std::marker::PhantomData }
    }

    /// A part of the shared slice.
    ///
    /// # Safety
    /// `start + len` is within the slice, and while the result lives nobody else reads or writes that part.
    #[inline(always)]
    pub(crate) unsafe fn slice(&self, start: usize, len: usize) -> &'a mut [T] {
        debug_assert!(start + len <= self.len);
        // SAFETY: in bounds and exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(start), len) }
    }

    /// Values of the shared slice.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The base pointer.
    pub(crate) fn ptr(&self) -> *mut T {
        self.ptr
    }
}

/// As [`SharedMut`], of either float type.
#[derive(Clone, Copy)]
pub(crate) enum SharedFloats<'a> {
    F32(SharedMut<'a, f32>),
    Bf16(SharedMut<'a, bf16>),
}

impl<'a> SharedFloats<'a> {
    pub(crate) fn new(floats: FloatsMut<'a>) -> Self {
        match floats {
            FloatsMut::F32(x) => Self::F32(SharedMut::new(x)),
            FloatsMut::Bf16(x) => Self::Bf16(SharedMut::new(x)),
        }
    }

    /// A part of the shared floats.
    ///
    /// # Safety
    /// As [`SharedMut::slice`].
    #[inline(always)]
    pub(crate) unsafe fn slice(&self, start: usize, len: usize) -> FloatsMut<'a> {
        // SAFETY: by the contract of this function.
        unsafe {
            match self {
                Self::F32(x) => FloatsMut::F32(x.slice(start, len)),
                Self::Bf16(x) => FloatsMut::Bf16(x.slice(start, len)),
            }
        }
    }
}
