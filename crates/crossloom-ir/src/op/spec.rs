//! What an op has to say about itself.

use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::{Builder, Cost, IrError, Op, Real, Tensor, TensorType, Value};

/// The rules of one op. Implemented by one struct per file, whose fields are the op's attributes.
pub trait OpSpec: Clone + PartialEq + std::fmt::Debug + Into<Op> {
    /// The names under which this type is printed (one, or one per kind for a family of element-wise ops).
    const MNEMONICS: &'static [&'static str];

    /// The name of this very op.
    fn mnemonic(&self) -> &'static str {
        Self::MNEMONICS[0]
    }

    /// The attributes in printing order.
    fn attrs(&self) -> Attrs {
        Attrs::new()
    }

    /// Reads the op back from what [`OpSpec::mnemonic`] and [`OpSpec::attrs`] gave.
    ///
    /// # Errors
    /// Missing or mistyped attributes.
    fn from_attrs(mnemonic: &str, attrs: &mut Attrs) -> Result<Self, String>;

    /// The op's type rule: output types from operand types. Floats of every width are `f32` to it; element types beyond
    /// that are the matter of [`result_types`](super::result_types).
    ///
    /// # Errors
    /// What is wrong with the operand types.
    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String>;

    /// Whether it only moves data: every number of a float result is one of the operands' or zero, so that the result
    /// has their type.
    fn moves(&self) -> bool {
        false
    }

    /// Whether that operand may be block-quantized: the weight of a product, the table of a gather.
    fn dequantizes(&self, _operand: usize) -> bool {
        false
    }

    /// The reference semantics; operand types have passed [`OpSpec::infer`].
    ///
    /// # Errors
    /// Operand contents the op does not accept, such as an id outside a table.
    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String>;

    /// Emits the vector-Jacobian product into `cx`. An op that is defined by its expansion differentiates that: the
    /// differentiator expands an op whose rule returns [`GradCx::expand_first`].
    ///
    /// # Errors
    /// The op has no gradient, or a type rule failed.
    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        cx.expand_first();
        Ok(())
    }

    /// The op's definition in simpler ops; `None` for a primitive.
    ///
    /// # Errors
    /// A type rule failed.
    fn expand(&self, _b: &mut Builder<'_>, _inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        Ok(None)
    }

    /// Operations and traffic; by default one operation per output element.
    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        Cost::new(outputs.iter().map(|ty| ty.elements() as u64).sum(), inputs, outputs)
    }

    /// Pairs (input, output) of equal size of which the output may be written over the input's memory.
    fn in_place(&self) -> Vec<(usize, usize)> {
        Vec::new()
    }
}

/// Checks the number of operands and returns them as an array.
///
/// # Errors
/// A message with both numbers.
pub(super) fn operands<'a, const N: usize>(inputs: &[&'a TensorType]) -> Result<[&'a TensorType; N], String> {
    inputs.try_into().map_err(|_| format!("takes {N} operands, {} were given", inputs.len()))
}

/// Checks that a condition on operand types holds.
///
/// # Errors
/// The message, when it does not.
pub(super) fn ensure(condition: bool, message: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(message()) }
}
