//! Dense tensors of the reference interpreter.

use std::fmt::Debug;

/// A real number type of the reference semantics. Ids and indices are held as whole numbers of it.
pub trait Real: Copy + Debug + PartialEq + PartialOrd + Send + Sync + 'static {
    /// The nearest number of this type.
    fn from_f64(x: f64) -> Self;
    /// The number, exactly.
    fn to_f64(self) -> f64;
}

impl Real for f32 {
    fn from_f64(x: f64) -> Self {
        x as Self
    }
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    fn from_f64(x: f64) -> Self {
        x
    }
    fn to_f64(self) -> f64 {
        self
    }
}

/// A contiguous row-major tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<T> {
    /// Extent of every axis.
    pub shape: Vec<usize>,
    /// Elements, last axis fastest.
    pub data: Vec<T>,
}

impl<T: Real> Tensor<T> {
    /// A tensor of that shape and those elements.
    ///
    /// # Errors
    /// When the number of elements is not the product of the shape.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<T>) -> Result<Self, String> {
        let shape = shape.into();
        let expected: usize = shape.iter().product();
        if expected == data.len() {
            Ok(Self { shape, data })
        } else {
            Err(format!("shape {shape:?} holds {expected} elements, {} were given", data.len()))
        }
    }

    /// The tensor whose element at flat index `i` is `f(i)`, rounded to this type.
    pub fn from_fn(shape: impl Into<Vec<usize>>, f: impl FnMut(usize) -> f64) -> Self {
        let shape = shape.into();
        let data = (0..shape.iter().product()).map(f).map(T::from_f64).collect();
        Self { shape, data }
    }

    /// All elements the same.
    pub fn splat(shape: impl Into<Vec<usize>>, value: f64) -> Self {
        Self::from_fn(shape, |_| value)
    }

    /// Element at a flat index, in double precision.
    pub fn at(&self, index: usize) -> f64 {
        self.data[index].to_f64()
    }

    /// Element at a flat index as a whole number (ids, indices).
    pub fn int(&self, index: usize) -> i64 {
        self.data[index].to_f64() as i64
    }

    /// Extent of the last axis; 1 for a scalar.
    pub fn last(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Number of rows: elements over the last axis.
    pub fn rows(&self) -> usize {
        self.shape.split_last().map_or(1, |(_, lead)| lead.iter().product())
    }

    /// One row in double precision.
    pub fn row(&self, row: usize) -> Vec<f64> {
        let width = self.last();
        self.data[row * width..(row + 1) * width].iter().map(|x| x.to_f64()).collect()
    }

    /// The same elements in another number type.
    pub fn cast<U: Real>(&self) -> Tensor<U> {
        Tensor {
            shape: self.shape.clone(),
            data: self.data.iter().map(|x| U::from_f64(x.to_f64())).collect(),
        }
    }
}

/// Distance between neighbours along every axis of a row-major tensor of that shape.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (0..shape.len().saturating_sub(1)).rev() {
        strides[axis] = strides[axis + 1] * shape[axis + 1];
    }
    strides
}

/// Coordinates of a flat index in a row-major tensor of that shape.
pub fn coordinates(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut at = vec![0; shape.len()];
    for axis in (0..shape.len()).rev() {
        at[axis] = flat % shape[axis];
        flat /= shape[axis];
    }
    at
}
