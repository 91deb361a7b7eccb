//! `reshape`: the same elements under another shape.

use super::spec::{OpSpec, ensure, operands};
use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::{Cost, IrError, Real, Tensor, TensorType};

/// Row-major reinterpretation; moves nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Reshape {
    /// The new shape.
    pub shape: Vec<usize>,
}

impl OpSpec for Reshape {
    const MNEMONICS: &'static [&'static str] = &["reshape"];

    fn attrs(&self) -> Attrs {
        Attrs::new().ints("shape", &self.shape)
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self { shape: attrs.take_ints("shape")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let [x] = operands(inputs)?;
        ensure(self.shape.iter().product::<usize>() == x.elements(), || {
            format!("{:?} does not hold the {} elements of {x}", self.shape, x.elements())
        })?;
        Ok(vec![TensorType { dtype: x.dtype, shape: self.shape.clone() }])
    }

    fn moves(&self) -> bool {
        true
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        Ok(vec![Tensor { shape: self.shape.clone(), data: inputs[0].data.clone() }])
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        let shape = cx.func().shape(cx.input(0)).to_vec();
        let Some(dy) = cx.out_grad(0) else { return Ok(()) };
        cx.add_with(0, |b| b.reshape(dy, &shape))
    }

    fn cost(&self, _: &[&TensorType], _: &[&TensorType]) -> Cost {
        Cost::default()
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }
}
