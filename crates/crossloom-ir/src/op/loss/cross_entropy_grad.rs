//! `cross_entropy_grad`: the loss backwards.

use super::{classes, kept_rows};
use crate::attrs::Attrs;
use crate::op::spec::OpSpec;
use crate::op::{check, emit};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// `dlogits = dloss (softmax - one-hot) / kept rows`, zero on ignored rows. Operands: `dloss []`, `logits [R, V]`,
/// `targets [R]` (i32), `lse [R]`. Output: `dlogits [R, V]`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CrossEntropyGrad;

impl OpSpec for CrossEntropyGrad {
    const MNEMONICS: &'static [&'static str] = &["cross_entropy_grad"];

    fn from_attrs(_: &str, _: &mut Attrs) -> Result<Self, String> {
        Ok(Self)
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        check::count(inputs, &["dloss", "logits", "targets", "lse"])?;
        let logits = inputs[1];
        check::is_f32("dloss", inputs[0], &[])?;
        check::float_axes("logits", logits, 2)?;
        check::float_rows("logits", logits)?;
        check::is("targets", inputs[2], &TensorType::i32([logits.shape[0]]))?;
        check::is_f32("lse", inputs[3], &[logits.shape[0]])?;
        Ok(vec![logits.clone()])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let [dloss, logits, targets, lse] = [inputs[0], inputs[1], inputs[2], inputs[3]];
        let v = logits.shape[1];
        let classes = classes(targets, v)?;
        let kept = classes.iter().flatten().count().max(1) as f64;
        let value = |i: usize| {
            let Some(class) = classes[i / v] else { return 0.0 };
            let probability = (logits.at(i) - lse.at(i / v)).exp();
            dloss.at(0) / kept * (probability - f64::from(u8::from(class == i % v)))
        };
        Ok(vec![Tensor::from_fn(logits.shape.clone(), value)])
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let (dloss, logits) = (inputs[0], inputs[1]);
        let shape = b.func().shape(logits).to_vec();
        let lse = emit::spread_rows(b, inputs[3], &shape)?;
        let log_probability = b.sub(logits, lse)?;
        let probability = b.exp(log_probability)?;
        let one_hot = emit::one_hot(b, inputs[2], shape[1])?;
        let (kept, divisor) = kept_rows(b, one_hot)?;
        let error = b.sub(probability, one_hot)?;
        let kept = emit::spread_rows(b, kept, &shape)?;
        let error = b.mul(error, kept)?;
        let factor = b.div(dloss, divisor)?;
        let factor = emit::spread_scalar(b, factor, &shape)?;
        Ok(Some(vec![b.mul(error, factor)?]))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        // Subtraction, exponential, factor per logit.
        Cost::new(3 * inputs[1].elements() as u64, inputs, outputs)
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(1, 0)]
    }
}
