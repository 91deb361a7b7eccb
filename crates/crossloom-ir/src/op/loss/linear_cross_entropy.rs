//! `linear_cross_entropy`: the output projection, the loss over it and their gradients as one op, so that logits of all rows need not
//! exist at once.

use super::CrossEntropyGrad;
use crate::attrs::Attrs;
use crate::op::spec::{OpSpec, ensure};
use crate::op::{CrossEntropy, check};
use crate::{Builder, Cost, DType, IrError, Real, Tensor, TensorType, Value};

/// Operands: `dloss []`, `h [R, D]`, `w [V, D]`, `targets [R]` (i32; -1 = ignored). Outputs: `loss []` and `losses [R]`, mean and
/// rows of the [`CrossEntropy`] of the logits `h w^T`, then the mean's gradients `dh [R, D]` and, if `trained`, `dw [V, D]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearCrossEntropy {
    /// The float type to which gradients of logits are rounded before products read them.
    pub rounded: DType,
    /// There is a gradient of the weight.
    pub trained: bool,
}

impl OpSpec for LinearCrossEntropy {
    const MNEMONICS: &'static [&'static str] = &["linear_cross_entropy"];

    fn attrs(&self) -> Attrs {
        Attrs::new().word("rounded", self.rounded.name()).flag("trained", self.trained)
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self {
            rounded: attrs.take_word("rounded", DType::from_name)?,
            trained: attrs.take_flag("trained")?,
        })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        check::count(inputs, &["dloss", "h", "w", "targets"])?;
        ensure(self.rounded.is_float(), || {
            format!("attribute `rounded` is {}, must be a float type", self.rounded)
        })?;
        let (h, w) = (inputs[1], inputs[2]);
        check::is_f32("dloss", inputs[0], &[])?;
        check::float_axes("h", h, 2)?;
        check::float_axes("w", w, 2)?;
        check::float_rows("logits", &TensorType::f32([h.shape[0], w.shape[0]]))?;
        ensure(w.last() == h.last(), || format!("w {w} does not apply to rows of {h}"))?;
        check::is("targets", inputs[3], &TensorType::i32([h.shape[0]]))?;
        let mut outputs = vec![TensorType::f32([]), TensorType::f32([h.shape[0]]), h.clone()];
        outputs.extend(self.trained.then(|| w.clone()));
        Ok(outputs)
    }

    fn dequantizes(&self, operand: usize) -> bool {
        operand == 2 && !self.trained
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let [dloss, h, w, targets] = [inputs[0], inputs[1], inputs[2], inputs[3]];
        let (rows, classes, d) = (h.shape[0], w.shape[0], h.last());
        let logits = Tensor::<T>::from_fn([rows, classes], |i| {
            let (r, v) = (i / classes, i % classes);
            (0..d).map(|c| h.at(r * d + c) * w.at(v * d + c)).sum()
        });
        let [loss, lse, losses] = <[_; 3]>::try_from(CrossEntropy.eval(&[&logits, targets])?)
            .map_err(|_| "the loss has three results".to_owned())?;
        let slopes = CrossEntropyGrad.eval(&[dloss, &logits, targets, &lse])?;
        let slope = |r: usize, v: usize| self.rounded.round(slopes[0].at(r * classes + v));
        let mut outputs = vec![
            loss,
            losses,
            Tensor::from_fn([rows, d], |i| (0..classes).map(|v| slope(i / d, v) * w.at(v * d + i % d)).sum()),
        ];
        if self.trained {
            let of_weight = |i: usize| (0..rows).map(|r| slope(r, i / d) * h.at(r * d + i % d)).sum();
            outputs.push(Tensor::from_fn([classes, d], of_weight));
        }
        Ok(outputs)
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let [dloss, h, w, targets] = [inputs[0], inputs[1], inputs[2], inputs[3]];
        let logits = b.linear(h, w, None)?;
        let loss = b.push(CrossEntropy, &[logits, targets])?;
        let slopes = b.one(CrossEntropyGrad, &[dloss, logits, targets, loss[1]])?;
        let slopes = b.convert(slopes, self.rounded)?;
        let mut outputs = vec![loss[0], loss[2], b.matmul(slopes, w, false, false)?];
        if self.trained {
            outputs.push(b.matmul(slopes, h, true, false)?);
        }
        Ok(Some(outputs))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        // Per logit: two or three products of the width, the loss and its gradient.
        let (logits, d) = ((inputs[1].shape[0] * inputs[2].shape[0]) as u64, inputs[1].last() as u64);
        let products = if self.trained { 3 } else { 2 };
        Cost::new(logits * (2 * products * d + 7), inputs, outputs)
    }
}
