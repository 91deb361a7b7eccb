//! `broadcast`: repeat along new axes.

use super::spec::{OpSpec, ensure, operands};
use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::interp::{coordinates, strides};
use crate::{Cost, IrError, Real, Tensor, TensorType};

/// Input axis `i` becomes output axis `axes[i]`; along every other output axis the input is repeated.
#[derive(Clone, Debug, PartialEq)]
pub struct Broadcast {
    /// The output shape.
    pub shape: Vec<usize>,
    /// Where the input axes go, ascending.
    pub axes: Vec<usize>,
}

impl OpSpec for Broadcast {
    const MNEMONICS: &'static [&'static str] = &["broadcast"];

    fn attrs(&self) -> Attrs {
        Attrs::new().ints("shape", &self.shape).ints("axes", &self.axes)
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self { shape: attrs.take_ints("shape")?, axes: attrs.take_ints("axes")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let [x] = operands(inputs)?;
        let ascending = self.axes.windows(2).all(|w| w[0] < w[1]);
        let fits = self.axes.len() == x.rank()
            && self.axes.iter().zip(&x.shape).all(|(&axis, extent)| self.shape.get(axis) == Some(extent));
        ensure(ascending && fits, || format!("axes {:?} do not place {x} in {:?}", self.axes, self.shape))?;
        Ok(vec![TensorType { dtype: x.dtype, shape: self.shape.clone() }])
    }

    fn moves(&self) -> bool {
        true
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let x = inputs[0];
        let in_strides = strides(&x.shape);
        let source = |i| -> usize {
            let at = coordinates(i, &self.shape);
            self.axes.iter().zip(&in_strides).map(|(&axis, s)| at[axis] * s).sum()
        };
        Ok(vec![Tensor::from_fn(self.shape.clone(), |i| x.at(source(i)))])
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        let Some(dy) = cx.out_grad(0) else { return Ok(()) };
        let repeated: Vec<usize> = (0..self.shape.len()).filter(|axis| !self.axes.contains(axis)).collect();
        cx.add_with(0, |b| b.reduce_sum(dy, &repeated))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        Cost::new(0, inputs, outputs)
    }
}
