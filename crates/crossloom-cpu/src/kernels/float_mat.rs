//! Matrix views of either float type, for kernels that widen what they read once, tile by tile, and compute in `f32`:
//! one copy of such a kernel serves all mixes of types.

use half::bf16;

use super::convert::convert_body;
use super::error::KernelError;
use super::view::{Mat, MatMut};
use crate::element::{Element, Floats, FloatsMut};
use crate::simd::{self, Simd};

/// A [`Mat`] of either type.
#[derive(Clone, Copy)]
pub enum FloatMat<'a> {
    /// 4 bytes each.
    F32(Mat<'a, f32>),
    /// 2 bytes each.
    Bf16(Mat<'a, bf16>),
}

/// A [`MatMut`] of either type.
pub enum FloatMatMut<'a> {
    /// 4 bytes each.
    F32(MatMut<'a, f32>),
    /// 2 bytes each.
    Bf16(MatMut<'a, bf16>),
}

impl<'a> FloatMat<'a> {
    /// A contiguous `[rows, cols]` matrix.
    ///
    /// # Errors
    /// Where `data` is shorter than `rows * cols`.
    pub fn new(data: impl Into<Floats<'a>>, rows: usize, cols: usize) -> Result<Self, KernelError> {
        Ok(match data.into() {
            Floats::F32(x) => Self::F32(Mat::new(x, rows, cols)?),
            Floats::Bf16(x) => Self::Bf16(Mat::new(x, rows, cols)?),
        })
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Self::F32(x) => (x.rows(), x.cols()),
            Self::Bf16(x) => (x.rows(), x.cols()),
        }
    }

    /// Widens the columns of row `i` from `first` on, as many as `out` takes.
    #[inline(always)]
    pub(crate) fn widen<S: Simd>(&self, s: S, i: usize, first: usize, out: &mut [f32]) {
        match self {
            Self::F32(x) => convert_body(s, &x.row(i)[first..first + out.len()], out),
            Self::Bf16(x) => convert_body(s, &x.row(i)[first..first + out.len()], out),
        }
    }

    /// The dot product of `y` and the columns of row `i` from `first` on.
    #[inline(always)]
    pub(crate) fn dot<S: Simd>(&self, s: S, i: usize, first: usize, y: &[f32]) -> f32 {
        match self {
            Self::F32(x) => simd::dot(s, &x.row(i)[first..first + y.len()], y),
            Self::Bf16(x) => simd::dot(s, &x.row(i)[first..first + y.len()], y),
        }
    }
}

impl<'a> FloatMatMut<'a> {
    /// A contiguous `[rows, cols]` matrix.
    ///
    /// # Errors
    /// Where `data` is shorter than `rows * cols`.
    pub fn new(data: impl Into<FloatsMut<'a>>, rows: usize, cols: usize) -> Result<Self, KernelError> {
        Ok(match data.into() {
            FloatsMut::F32(x) => Self::F32(MatMut::new(x, rows, cols)?),
            FloatsMut::Bf16(x) => Self::Bf16(MatMut::new(x, rows, cols)?),
        })
    }

    /// A contiguous `[rows, cols]` matrix, or none where the result is left out: an empty buffer for a matrix that is not.
    ///
    /// # Errors
    /// Where `data` is shorter than `rows * cols`.
    pub fn wanted(
        data: impl Into<FloatsMut<'a>>,
        rows: usize,
        cols: usize,
    ) -> Result<Option<Self>, KernelError> {
        let data = data.into();
        if data.is_empty() && rows * cols > 0 { Ok(None) } else { Self::new(data, rows, cols).map(Some) }
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Self::F32(x) => (x.rows(), x.cols()),
            Self::Bf16(x) => (x.rows(), x.cols()),
        }
    }

    /// The columns of row `i` from `first` on become the nearest to `factor` times those values.
    ///
    /// # Safety
    /// They exist, and nobody else touches them meanwhile.
    #[inline(always)]
    pub(crate) unsafe fn store<S: Simd>(&self, s: S, i: usize, first: usize, x: &[f32], factor: f32) {
        // SAFETY: by the contract of this function.
        unsafe {
            match self {
                Self::F32(y) => scaled(s, x, y.cells(i, first, x.len()), factor),
                Self::Bf16(y) => scaled(s, x, y.cells(i, first, x.len()), factor),
            }
        }
    }

    /// `cols` columns of row `i` from `first` on become zero.
    ///
    /// # Safety
    /// They exist, and nobody else touches them meanwhile.
    #[inline(always)]
    pub(crate) unsafe fn clear(&self, i: usize, first: usize, cols: usize) {
        // SAFETY: by the contract of this function.
        unsafe {
            match self {
                Self::F32(y) => y.cells(i, first, cols).fill(0.0),
                Self::Bf16(y) => y.cells(i, first, cols).fill(bf16::ZERO),
            }
        }
    }
}

#[inline(always)]
fn scaled<S: Simd, E: Element>(s: S, x: &[f32], y: &mut [E], factor: f32) {
    let factor = simd::Vf::splat(s, factor);
    simd::map1!(s, x, y, |x| x * factor);
}

impl<'a> From<Mat<'a, f32>> for FloatMat<'a> {
    fn from(x: Mat<'a, f32>) -> Self {
        Self::F32(x)
    }
}

impl<'a> From<Mat<'a, bf16>> for FloatMat<'a> {
    fn from(x: Mat<'a, bf16>) -> Self {
        Self::Bf16(x)
    }
}

impl<'a> From<MatMut<'a, f32>> for FloatMatMut<'a> {
    fn from(x: MatMut<'a, f32>) -> Self {
        Self::F32(x)
    }
}

impl<'a> From<MatMut<'a, bf16>> for FloatMatMut<'a> {
    fn from(x: MatMut<'a, bf16>) -> Self {
        Self::Bf16(x)
    }
}
