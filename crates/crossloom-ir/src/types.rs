//! Tensor types.

use std::fmt;

use crate::DType;

/// Element type and static shape, row-major and contiguous. A scalar has no dimensions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Extent of every axis, slowest first.
    pub shape: Vec<usize>,
}

impl TensorType {
    /// A tensor of that element type and shape.
    pub fn new(dtype: DType, shape: impl Into<Vec<usize>>) -> Self {
        Self { dtype, shape: shape.into() }
    }

    /// An `f32` tensor of that shape.
    pub fn f32(shape: impl Into<Vec<usize>>) -> Self {
        Self { dtype: DType::F32, shape: shape.into() }
    }

    /// An integer tensor of that shape.
    pub fn i32(shape: impl Into<Vec<usize>>) -> Self {
        Self { dtype: DType::I32, shape: shape.into() }
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Size in bytes, row by row: a block never reaches into the next row.
    pub fn bytes(&self) -> usize {
        self.rows() * self.dtype.bytes_of(self.last())
    }

    /// The same shape of another element type.
    #[must_use]
    pub fn with_dtype(&self, dtype: DType) -> Self {
        Self { dtype, shape: self.shape.clone() }
    }

    /// Whether the last axis is a whole number of blocks, as it must be in memory.
    pub fn has_whole_blocks(&self) -> bool {
        self.last().is_multiple_of(self.dtype.block().0)
    }

    /// Extent of the last axis; 1 for a scalar.
    pub fn last(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Product of all axes but the last: the number of rows.
    pub fn rows(&self) -> usize {
        self.shape.split_last().map_or(1, |(_, lead)| lead.iter().product())
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (axis, extent) in self.shape.iter().enumerate() {
            write!(f, "{}{extent}", if axis == 0 { "" } else { ", " })?;
        }
        f.write_str("]")
    }
}
