//! `slice`: a contiguous range along one axis.

use super::spec::{OpSpec, ensure, operands};
use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::interp::{coordinates, strides};
use crate::{Cost, IrError, Real, Tensor, TensorType};

/// Elements `start .. start + len` along `axis`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slice {
    /// The axis that is cut.
    pub axis: usize,
    /// First coordinate kept.
    pub start: usize,
    /// How many are kept.
    pub len: usize,
}

impl OpSpec for Slice {
    const MNEMONICS: &'static [&'static str] = &["slice"];

    fn attrs(&self) -> Attrs {
        Attrs::new().int("axis", self.axis).int("start", self.start).int("len", self.len)
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self {
            axis: attrs.take_int("axis")?,
            start: attrs.take_int("start")?,
            len: attrs.take_int("len")?,
        })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let [x] = operands(inputs)?;
        let extent = x.shape.get(self.axis).copied().unwrap_or(0);
        let end = self.start.checked_add(self.len);
        ensure(self.axis < x.rank() && end.is_some_and(|end| end <= extent), || {
            format!("range {}+{} along axis {} is outside {x}", self.start, self.len, self.axis)
        })?;
        let mut shape = x.shape.clone();
        shape[self.axis] = self.len;
        Ok(vec![TensorType { dtype: x.dtype, shape }])
    }

    fn moves(&self) -> bool {
        true
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let x = inputs[0];
        let mut shape = x.shape.clone();
        shape[self.axis] = self.len;
        let in_strides = strides(&x.shape);
        let source = |i| -> usize {
            let at = coordinates(i, &shape);
            at.iter().zip(&in_strides).map(|(c, s)| c * s).sum::<usize>() + self.start * in_strides[self.axis]
        };
        Ok(vec![Tensor::from_fn(shape.clone(), |i| x.at(source(i)))])
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        let Some(dy) = cx.out_grad(0) else { return Ok(()) };
        let extent = cx.func().shape(cx.input(0))[self.axis];
        let after = extent - self.start - self.len;
        cx.add_with(0, |b| b.pad(dy, self.axis, self.start, after))
    }

    fn cost(&self, _: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        Cost::new(0, outputs, outputs)
    }
}
