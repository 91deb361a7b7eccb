//! `add_rms_norm`: a residual addition and the RMS norm of its sum in one sweep.

use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::op::spec::OpSpec;
use crate::op::{RmsNorm, RmsNormGrad, check};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// `s = x + r; y = rms_norm(s)`. Operands: `x [.., D]`, `r [.., D]`, `gamma [D]`. Outputs: `s`, `y`, `rstd [..]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AddRmsNorm {
    /// Added to the mean square.
    pub eps: f64,
}

impl OpSpec for AddRmsNorm {
    const MNEMONICS: &'static [&'static str] = &["add_rms_norm"];

    fn attrs(&self) -> Attrs {
        Attrs::new().float("eps", self.eps)
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        Ok(Self { eps: attrs.take_float("eps")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        check::count(inputs, &["x", "r", "gamma"])?;
        check::is("r", inputs[1], inputs[0])?;
        let mut outputs = RmsNorm { eps: self.eps }.infer(&[inputs[0], inputs[2]])?;
        outputs.insert(0, inputs[0].clone());
        Ok(outputs)
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let [x, r, gamma] = [inputs[0], inputs[1], inputs[2]];
        let s = Tensor::<T>::from_fn(x.shape.clone(), |i| x.at(i) + r.at(i));
        let mut outputs = RmsNorm { eps: self.eps }.eval(&[&s, gamma])?;
        outputs.insert(0, s);
        Ok(outputs)
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        if cx.out_grad(2).is_some() {
            cx.expand_first();
            return Ok(());
        }
        let ds = cx.out_grad(0);
        let Some(dy) = cx.out_grad(1) else {
            let Some(ds) = ds else { return Ok(()) };
            cx.add(0, ds)?;
            return cx.add(1, ds);
        };
        let mut operands = vec![dy, cx.output(0), cx.input(2), cx.output(2)];
        operands.extend(ds);
        let grads = cx.builder().push(RmsNormGrad { residual: ds.is_some() }, &operands)?;
        cx.add(0, grads[0])?;
        cx.add(1, grads[0])?;
        cx.add(2, grads[1])
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let s = b.add(inputs[0], inputs[1])?;
        let mut outputs = b.push(RmsNorm { eps: self.eps }, &[s, inputs[2]])?;
        outputs.insert(0, s);
        Ok(Some(outputs))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        Cost::new(5 * inputs[0].elements() as u64, inputs, outputs)
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(0, 0), (1, 0)]
    }
}
