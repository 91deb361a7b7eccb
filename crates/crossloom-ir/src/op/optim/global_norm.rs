//! `global_norm`: the length of all gradients taken as one vector.

use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::op::spec::{OpSpec, ensure};
use crate::op::{UnaryKind, check, emit};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// `sqrt` of the sum of squares over all elements of any number of operands of any shapes. Output: a scalar.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GlobalNorm;

impl OpSpec for GlobalNorm {
    const MNEMONICS: &'static [&'static str] = &["global_norm"];

    fn from_attrs(_: &str, _: &mut Attrs) -> Result<Self, String> {
        Ok(Self)
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        ensure(!inputs.is_empty(), || "takes at least one operand".to_owned())?;
        for (i, ty) in inputs.iter().enumerate() {
            check::float(&format!("operand {i}"), ty)?;
        }
        Ok(vec![TensorType::f32([])])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let squares = inputs.iter().flat_map(|x| &x.data).map(|x| x.to_f64() * x.to_f64());
        Ok(vec![Tensor::splat([], squares.sum::<f64>().sqrt())])
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        let norm = cx.output(0);
        let Some(dnorm) = cx.out_grad(0) else { return Ok(()) };
        let factor = cx.builder().div(dnorm, norm)?;
        for i in 0..cx.input_count() {
            let x = cx.input(i);
            let shape = cx.func().shape(x).to_vec();
            cx.add_with(i, |b| {
                let factor = emit::spread_scalar(b, factor, &shape)?;
                b.mul(x, factor)
            })?;
        }
        Ok(())
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let mut total = b.constant(0.0, &[])?;
        for &x in inputs {
            let squares = b.mul(x, x)?;
            let sum = emit::sum_all(b, squares)?;
            total = b.add(total, sum)?;
        }
        Ok(Some(vec![b.unary(UnaryKind::Sqrt, total)?]))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        let elements: usize = inputs.iter().map(|ty| ty.elements()).sum();
        Cost::new(2 * elements as u64, inputs, outputs)
    }
}
