//! `matmul_act_grad`: a matrix product times the slope of an activation: how a gradient comes through a layer and the activation before it.

use super::Matmul;
use super::spec::{OpSpec, ensure};
use super::{Activation, UnaryKind};
use crate::attrs::Attrs;
use crate::{Builder, Cost, DType, IrError, Real, Tensor, TensorType, Value};

/// `c = (op(A) op(B)) act'(pre)`, element by element. Operands: those of [`Matmul`], and `pre` of the result's shape, to which the
/// activation was applied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MatmulActGrad {
    /// The product.
    pub product: Matmul,
    /// The activation.
    pub act: Activation,
    /// The float type to which products and slopes are rounded before they meet.
    pub rounded: DType,
}

impl OpSpec for MatmulActGrad {
    const MNEMONICS: &'static [&'static str] = &["matmul_act_grad"];

    fn attrs(&self) -> Attrs {
        self.product.attrs().word("act", self.act.name()).word("rounded", self.rounded.name())
    }

    fn from_attrs(mnemonic: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self {
            product: Matmul::from_attrs(mnemonic, attrs)?,
            act: attrs.take_word("act", Activation::from_name)?,
            rounded: attrs.take_word("rounded", DType::from_name)?,
        })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        ensure(inputs.len() == 3, || format!("takes 3 operands, {} were given", inputs.len()))?;
        ensure(self.rounded.is_float(), || {
            format!("attribute `rounded` is {}, must be a float type", self.rounded)
        })?;
        let outputs = self.product.infer(&inputs[..2])?;
        ensure(*inputs[2] == outputs[0], || format!("pre {} must be {}", inputs[2], outputs[0]))?;
        Ok(outputs)
    }

    fn dequantizes(&self, operand: usize) -> bool {
        operand == 1
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let product = self.product.eval(&inputs[..2])?.remove(0);
        let rounded = |x: f64| self.rounded.round(x);
        let value = |i: usize| rounded(product.at(i)) * rounded(self.act.derivative(inputs[2].at(i)));
        Ok(vec![Tensor::from_fn(product.shape.clone(), value)])
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let product = b.one_as(self.product, &inputs[..2], self.rounded)?;
        let slope = b.one_as(super::Unary(UnaryKind::ActGrad(self.act)), &inputs[2..], self.rounded)?;
        Ok(Some(vec![b.mul(product, slope)?]))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        let p = self.product.extents(&inputs[0].shape, &inputs[1].shape);
        let flops = 2 * (p.batch * p.m * p.n * p.k + outputs[0].elements()) as u64;
        Cost::new(flops, inputs, outputs)
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(2, 0)]
    }
}
