//! Data that goes in and out of a region.

use crossloom_ir::DType;

/// Elements of a tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Floats.
    F32(Vec<f32>),
    /// Ids and indices.
    I32(Vec<i32>),
}

/// Borrowed elements of a tensor, row-major.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DataRef<'a> {
    /// Floats.
    F32(&'a [f32]),
    /// Ids and indices.
    I32(&'a [i32]),
}

impl Data {
    /// From the floats that luminal holds.
    pub(crate) fn from_luminal(values: Vec<f32>, dtype: DType) -> Self {
        match dtype {
            DType::I32 => Self::I32(values.into_iter().map(|id| id as i32).collect()),
            _ => Self::F32(values),
        }
    }

    /// Into the floats that luminal holds.
    pub(crate) fn into_luminal(self) -> Vec<f32> {
        match self {
            Self::F32(values) => values,
            Self::I32(ids) => ids.into_iter().map(|id| id as f32).collect(),
        }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.as_ref().dtype()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.as_ref().len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements, borrowed.
    pub fn as_ref(&self) -> DataRef<'_> {
        match self {
            Self::F32(values) => DataRef::F32(values),
            Self::I32(ids) => DataRef::I32(ids),
        }
    }
}

impl DataRef<'_> {
    /// The element type.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::I32(_) => DType::I32,
        }
    }

    /// Number of elements.
    pub fn len(self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I32(ids) => ids.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The elements, copied.
    pub fn to_owned(self) -> Data {
        match self {
            Self::F32(values) => Data::F32(values.to_vec()),
            Self::I32(ids) => Data::I32(ids.to_vec()),
        }
    }
}
