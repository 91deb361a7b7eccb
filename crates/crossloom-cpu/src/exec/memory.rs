//! Aligned memory.

/// One cache line, the unit of allocation.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Words (`f32` or `i32`) aligned to 64 bytes, zero at first, never moved or resized.
pub struct Buffer {
    lines: Vec<Line>,
    len: usize,
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} words)", self.len)
    }
}

impl Buffer {
    /// A buffer of so many words.
    pub fn new(len: usize) -> Self {
        Self { lines: vec![Line([0.0; 16]); len.div_ceil(16)], len }
    }

    /// Number of words.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no words.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The words as floats.
    pub fn as_slice(&self) -> &[f32] {
        // SAFETY: `Line` is `repr(C)` over `[f32; 16]`, so the vector's memory is `16 * lines` initialised floats, of
        // which the first `len` exist because `len <= 16 * lines`. The borrow of `self` keeps them alive and unwritten.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }

    /// The words as floats, to be written.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: as in `as_slice`; the exclusive borrow of `self` makes this the only access.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.lines.as_mut_ptr().cast()
    }
}

/// The same words read as integers.
pub(super) fn as_ints(words: &[f32]) -> &[i32] {
    // SAFETY: `i32` has the size and alignment of `f32` and every bit pattern is a valid `i32`.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), words.len()) }
}

/// The same words written as integers.
pub(super) fn as_ints_mut(words: &mut [f32]) -> &mut [i32] {
    // SAFETY: as in `as_ints`, and every `i32` is a valid bit pattern of an `f32`; the borrow is exclusive.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), words.len()) }
}
