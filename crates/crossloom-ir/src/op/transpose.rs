//! `transpose`: axes in another order.

use super::spec::{OpSpec, ensure, operands};
use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::interp::{coordinates, strides};
use crate::{Cost, IrError, Real, Tensor, TensorType};

/// Output axis `i` is input axis `perm[i]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Transpose {
    /// A permutation of the input axes.
    pub perm: Vec<usize>,
}

impl OpSpec for Transpose {
    const MNEMONICS: &'static [&'static str] = &["transpose"];

    fn attrs(&self) -> Attrs {
        Attrs::new().ints("perm", &self.perm)
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self { perm: attrs.take_ints("perm")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let [x] = operands(inputs)?;
        let mut sorted = self.perm.clone();
        sorted.sort_unstable();
        ensure(sorted == (0..x.rank()).collect::<Vec<_>>(), || {
            format!("{:?} is no permutation of the axes of {x}", self.perm)
        })?;
        Ok(vec![TensorType { dtype: x.dtype, shape: self.perm.iter().map(|&a| x.shape[a]).collect() }])
    }

    fn moves(&self) -> bool {
        true
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let x = inputs[0];
        let shape: Vec<usize> = self.perm.iter().map(|&a| x.shape[a]).collect();
        let in_strides = strides(&x.shape);
        let source = |i| -> usize {
            coordinates(i, &shape).iter().zip(&self.perm).map(|(at, &axis)| at * in_strides[axis]).sum()
        };
        Ok(vec![Tensor::from_fn(shape.clone(), |i| x.at(source(i)))])
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        let Some(dy) = cx.out_grad(0) else { return Ok(()) };
        let mut inverse = vec![0; self.perm.len()];
        for (to, &from) in self.perm.iter().enumerate() {
            inverse[from] = to;
        }
        cx.add_with(0, |b| b.transpose(dy, &inverse))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        Cost::new(0, inputs, outputs)
    }
}
