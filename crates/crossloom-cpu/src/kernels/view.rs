//! Row-major matrix views with a row stride, so that merged buffers (QKV, gate and up) are used without copies.

use std::marker::PhantomData;

use super::error::{KernelError, need};
use crate::element::Element;

/// A read-only `[rows, cols]` view; columns are adjacent, rows are `row_stride` values apart.
#[derive(Clone, Copy)]
pub struct Mat<'a, E = f32> {
    ptr: *const E,
    rows: usize,
    cols: usize,
    row_stride: usize,
    life: PhantomData<&'a [E]>,
}

// SAFETY: a `Mat` gives out shared references to floats only, which are `Send` and `Sync`.
unsafe impl<E: Element> Send for Mat<'_, E> {}
// SAFETY: as above.
unsafe impl<E: Element> Sync for Mat<'_, E> {}

/// A writable `[rows, cols]` view; columns are adjacent, rows are `row_stride` values apart.
pub struct MatMut<'a, E = f32> {
    ptr: *mut E,
    rows: usize,
    cols: usize,
    row_stride: usize,
    life: PhantomData<&'a mut [E]>,
}

// SAFETY: a `MatMut` owns its elements exclusively for its lifetime, like a mutable slice.
unsafe impl<E: Element> Send for MatMut<'_, E> {}
// SAFETY: a shared `MatMut` only allows shared reads; writing through `&self` is unsafe and has its own contract.
unsafe impl<E: Element> Sync for MatMut<'_, E> {}

impl<'a, E: Element> Mat<'a, E> {
    /// A contiguous `[rows, cols]` matrix.
    ///
    /// # Errors
    /// Where `data` is shorter than `rows * cols`.
    pub fn new(data: &'a [E], rows: usize, cols: usize) -> Result<Self, KernelError> {
        Self::columns(data, rows, cols, 0, cols)
    }

    /// Columns `first .. first + cols` of a contiguous `[rows, width]` matrix.
    ///
    /// # Errors
    /// Where the columns are outside of the matrix or `data` is too short.
    pub fn columns(
        data: &'a [E],
        rows: usize,
        width: usize,
        first: usize,
        cols: usize,
    ) -> Result<Self, KernelError> {
        need("Mat::columns", "width", width, first + cols)?;
        need("Mat::columns", "data", data.len(), rows * width)?;
        let ptr = if rows == 0 { data.as_ptr() } else { data[first..].as_ptr() };
        Ok(Self { ptr, rows, cols, row_stride: width, life: PhantomData })
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The distance between rows, in values.
    pub fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// Row `i`, where there is one; an empty slice otherwise.
    #[inline(always)]
    pub fn row(&self, i: usize) -> &'a [E] {
        if i < self.rows {
            // SAFETY: row `i` lies within the view by its construction.
            unsafe { std::slice::from_raw_parts(self.ptr.add(i * self.row_stride), self.cols) }
        } else {
            &[]
        }
    }

    pub(crate) fn ptr(&self) -> *const E {
        self.ptr
    }
}

impl<'a, E: Element> MatMut<'a, E> {
    /// A contiguous `[rows, cols]` matrix.
    ///
    /// # Errors
    /// Where `data` is shorter than `rows * cols`.
    pub fn new(data: &'a mut [E], rows: usize, cols: usize) -> Result<Self, KernelError> {
        Self::columns(data, rows, cols, 0, cols)
    }

    /// Columns `first .. first + cols` of a contiguous `[rows, width]` matrix.
    ///
    /// # Errors
    /// Where the columns are outside of the matrix or `data` is too short.
    pub fn columns(
        data: &'a mut [E],
        rows: usize,
        width: usize,
        first: usize,
        cols: usize,
    ) -> Result<Self, KernelError> {
        need("MatMut::columns", "width", width, first + cols)?;
        need("MatMut::columns", "data", data.len(), rows * width)?;
        let ptr = if rows == 0 { data.as_mut_ptr() } else { data[first..].as_mut_ptr() };
        Ok(Self { ptr, rows, cols, row_stride: width, life: PhantomData })
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The distance between rows, in values.
    pub fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// The same matrix for reading.
    pub fn as_ref(&self) -> Mat<'_, E> {
        Mat {
            ptr: self.ptr,
            rows: self.rows,
            cols: self.cols,
            row_stride: self.row_stride,
            life: PhantomData,
        }
    }

    /// Columns `first .. first + cols` of row `i` through a shared handle.
    ///
    /// # Safety
    /// They exist, and nobody else touches them while the result lives.
    #[inline(always)]
    #[allow(clippy::mut_from_ref, reason = "tasks write disjoint cells; the caller promises it")]
    pub(crate) unsafe fn cells(&self, i: usize, first: usize, cols: usize) -> &mut [E] {
        debug_assert!(i < self.rows && first + cols <= self.cols);
        // SAFETY: in bounds and exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(i * self.row_stride + first), cols) }
    }

    pub(crate) fn ptr(&self) -> *mut E {
        self.ptr
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn columns_of_a_merged_buffer() {
        let data: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let right = Mat::columns(&data, 3, 4, 2, 2).unwrap();
        assert_eq!(right.row(1), &[6.0, 7.0]);
        assert_eq!(right.row(2), &[10.0, 11.0]);
        assert!(right.row(3).is_empty());
        assert!(Mat::columns(&data, 3, 4, 3, 2).is_err());
        assert!(Mat::columns(&data, 4, 4, 0, 2).is_err());
    }
}
