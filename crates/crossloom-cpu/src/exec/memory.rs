//! Aligned memory.

/// Where words start: at a cache line, which is also the widest register.
const ALIGN: usize = 64;
/// Words allocated beyond those asked for, so that some word of the first ones is aligned.
const SLACK: usize = ALIGN / size_of::<f32>() - 1;

/// Words (`f32` or `i32`) aligned to 64 bytes, zero at first, never moved or resized. The memory comes zeroed from the
/// system, so that pages which nothing uses are never touched.
pub struct Buffer {
    words: Vec<f32>,
    start: usize,
    len: usize,
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} words)", self.len)
    }
}

impl Buffer {
    /// The most words a buffer may have.
    pub(super) const MAX_LEN: usize = isize::MAX as usize / size_of::<f32>() - SLACK;

    /// A buffer of so many words.
    pub fn new(len: usize) -> Self {
        let words = vec![0.0_f32; len + SLACK];
        // Both are multiples of four bytes apart, so at most `SLACK` words are skipped.
        let start = words.as_ptr().align_offset(ALIGN).min(SLACK);
        Self { words, start, len }
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
        &self.words[self.start..self.start + self.len]
    }

    /// The words as floats, to be written.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.words[self.start..self.start + self.len]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_zero() {
        for len in [0, 1, 15, 16, 17, 1000, 1 << 20] {
            let mut buffer = Buffer::new(len);
            assert_eq!((buffer.len(), buffer.as_slice().len()), (len, len));
            assert_eq!(buffer.as_mut_slice().as_ptr().align_offset(ALIGN), 0);
            assert!(buffer.as_slice().iter().all(|word| word.to_bits() == 0));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn pages_that_nothing_uses_are_not_touched() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
            status.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0)
        };
        let before = resident();
        let buffer = Buffer::new(1 << 28);
        // A gibibyte is 262144 pages of 4096 bytes; other tests of this process may use some meanwhile.
        assert!(resident() < before + 100_000, "{buffer:?} is resident");
    }
}
