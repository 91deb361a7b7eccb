//! `cross_entropy`: mean negative log-likelihood of target classes.

use super::{classes, kept_rows};
use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::op::spec::OpSpec;
use crate::op::{CrossEntropyGrad, UnaryKind, check, emit};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// Operands: `logits [R, V]`, `targets [R]` (i32; -1 = ignored). Outputs: `loss []`, the mean of `losses` over the rows that are
/// kept (0 if there is none); `lse [R]`, the log-sum-exp of every row; `losses [R]`, `lse - logit of the target` in nats, 0 in rows
/// that are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CrossEntropy;

impl OpSpec for CrossEntropy {
    const MNEMONICS: &'static [&'static str] = &["cross_entropy"];

    fn from_attrs(_: &str, _: &mut Attrs) -> Result<Self, String> {
        Ok(Self)
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        check::count(inputs, &["logits", "targets"])?;
        let logits = inputs[0];
        check::float_axes("logits", logits, 2)?;
        check::float_rows("logits", logits)?;
        check::is("targets", inputs[1], &TensorType::i32([logits.shape[0]]))?;
        let of_rows = TensorType::f32([logits.shape[0]]);
        Ok(vec![TensorType::f32([]), of_rows.clone(), of_rows])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let [logits, targets] = [inputs[0], inputs[1]];
        let (rows, v) = (logits.shape[0], logits.shape[1]);
        let log_sum_exp = |r: usize| {
            let row = logits.row(r);
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            largest + row.iter().map(|x| (x - largest).exp()).sum::<f64>().ln()
        };
        let lse: Vec<f64> = (0..rows).map(log_sum_exp).collect();
        let classes = classes(targets, v)?;
        let loss = |r: usize| classes[r].map_or(0.0, |class| lse[r] - logits.at(r * v + class));
        let losses: Vec<f64> = (0..rows).map(loss).collect();
        let kept = classes.iter().flatten().count().max(1);
        let mean = losses.iter().sum::<f64>() / kept as f64;
        let of_rows = |values: &[f64]| Tensor::from_fn([rows], |r| values[r]);
        Ok(vec![Tensor::splat([], mean), of_rows(&lse), of_rows(&losses)])
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        if cx.out_grad(1).is_some() || cx.out_grad(2).is_some() {
            cx.expand_first();
            return Ok(());
        }
        let Some(dloss) = cx.out_grad(0) else { return Ok(()) };
        let operands = [dloss, cx.input(0), cx.input(1), cx.output(1)];
        cx.add_with(0, |b| b.one(CrossEntropyGrad, &operands))
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let logits = inputs[0];
        let (_, sum, largest) = emit::exp_rows(b, logits)?;
        let log = b.unary(UnaryKind::Log, sum)?;
        let lse = b.add(log, largest)?;
        let classes = b.func().shape(logits)[1];
        let one_hot = emit::one_hot(b, inputs[1], classes)?;
        let (kept, divisor) = kept_rows(b, one_hot)?;
        let picked = b.mul(one_hot, logits)?;
        let picked = emit::sum_rows(b, picked)?;
        let counted = b.mul(lse, kept)?;
        let losses = b.sub(counted, picked)?;
        let total = b.reduce_sum(losses, &[0])?;
        Ok(Some(vec![b.div(total, divisor)?, lse, losses]))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        // Maximum, subtraction, exponential, sum per logit.
        Cost::new(4 * inputs[0].elements() as u64, inputs, outputs)
    }
}
