//! `affine`: multiply and add constants.

use super::spec::{OpSpec, ensure, operands};
use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::{Builder, DType, IrError, Real, Tensor, TensorType, Value};

/// `y = mul * x + add`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// The factor.
    pub mul: f64,
    /// The summand.
    pub add: f64,
}

impl OpSpec for Affine {
    const MNEMONICS: &'static [&'static str] = &["affine"];

    fn attrs(&self) -> Attrs {
        Attrs::new().float("mul", self.mul).float("add", self.add)
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self { mul: attrs.take_float("mul")?, add: attrs.take_float("add")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let [x] = operands(inputs)?;
        ensure(x.dtype == DType::F32, || format!("needs a float operand, not {x}"))?;
        Ok(vec![x.clone()])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        Ok(vec![Tensor::from_fn(inputs[0].shape.clone(), |i| self.mul * inputs[0].at(i) + self.add)])
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        let Some(dy) = cx.out_grad(0) else { return Ok(()) };
        if self.mul == 1.0 {
            return cx.add(0, dy);
        }
        cx.add_with(0, |b| b.affine(dy, self.mul, 0.0))
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let mut y = inputs[0];
        let shape = b.func().shape(y).to_vec();
        if self.mul != 1.0 {
            let factor = b.constant(self.mul, &shape)?;
            y = b.mul(y, factor)?;
        }
        if self.add != 0.0 {
            let summand = b.constant(self.add, &shape)?;
            y = b.add(y, summand)?;
        }
        Ok(Some(vec![y]))
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }
}
