//! `weight_grad`: the gradients of a linear layer's weight and bias, from one reading of what comes back.

use super::reduce::{Reduce, ReduceKind};
use super::spec::{OpSpec, ensure, operands};
use super::{Matmul, check};
use crate::attrs::Attrs;
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// `dw = dy^T x` and `db`, the sums of the columns of `dy`. Operands: `dy [R, N]`, `x [R, K]`. Outputs: `dw [N, K]`, `db [N]`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WeightGrad;

const PRODUCT: Matmul = Matmul { transpose_a: true, transpose_b: false };

fn columns() -> Reduce {
    Reduce { kind: ReduceKind::Sum, axes: vec![0] }
}

impl OpSpec for WeightGrad {
    const MNEMONICS: &'static [&'static str] = &["weight_grad"];

    fn from_attrs(_: &str, _: &mut Attrs) -> Result<Self, String> {
        Ok(Self)
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let [dy, x] = operands(inputs)?;
        check::float_axes("dy", dy, 2)?;
        check::float_axes("x", x, 2)?;
        ensure(dy.shape[0] == x.shape[0], || format!("dy {dy} and x {x} are not of as many rows"))?;
        Ok(vec![TensorType::f32([dy.shape[1], x.shape[1]]), TensorType::f32([dy.shape[1]])])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let mut outputs = PRODUCT.eval(inputs)?;
        outputs.extend(columns().eval(&inputs[..1])?);
        Ok(outputs)
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        Ok(Some(vec![b.one(PRODUCT, inputs)?, b.one(columns(), &inputs[..1])?]))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        let flops =
            2 * outputs[0].elements() as u64 * inputs[0].shape[0] as u64 + inputs[0].elements() as u64;
        Cost::new(flops, inputs, outputs)
    }
}
