//! `linear`: `y = act(x W^T + b) + r` over the last axis.

use super::spec::{OpSpec, ensure};
use super::{Activation, UnaryKind};
use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::{Builder, Cost, DType, IrError, Real, Tensor, TensorType, Value};

/// A linear layer with an optional epilogue. Operands: `x [.., in]`, `w [out, in]`, then, where the flags say so,
/// `bias [out]` and `residual [.., out]`. Outputs: `y [.., out]`, and with an activation also the pre-activation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Linear {
    /// A bias is given.
    pub bias: bool,
    /// Applied to `x W^T + b`.
    pub act: Option<Activation>,
    /// Added last.
    pub residual: bool,
}

impl Linear {
    /// The operand that is added last, if there is one.
    pub fn residual_index(&self) -> Option<usize> {
        self.residual.then(|| 2 + usize::from(self.bias))
    }
}

impl OpSpec for Linear {
    const MNEMONICS: &'static [&'static str] = &["linear"];

    fn attrs(&self) -> Attrs {
        let attrs = Attrs::new().flag("bias", self.bias);
        let attrs = match self.act {
            Some(act) => attrs.word("act", act.name()),
            None => attrs,
        };
        attrs.flag("residual", self.residual)
    }

    fn from_attrs(_: &str, attrs: &mut Attrs) -> Result<Self, String> {
        let bias = attrs.take_flag("bias")?;
        let has_act = attrs.entries().iter().any(|(name, _)| name == "act");
        let act = if has_act { Some(attrs.take_word("act", Activation::from_name)?) } else { None };
        Ok(Self { bias, act, residual: attrs.take_flag("residual")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let count = 2 + usize::from(self.bias) + usize::from(self.residual);
        ensure(inputs.len() == count, || format!("takes {count} operands, {} were given", inputs.len()))?;
        ensure(inputs.iter().all(|ty| ty.dtype == DType::F32), || "needs float operands".to_owned())?;
        let (x, w) = (inputs[0], inputs[1]);
        ensure(w.rank() == 2 && x.rank() >= 1 && w.shape[1] == x.last(), || {
            format!("weight {w} does not apply to rows of {x}; weights are [out, in]")
        })?;
        let mut shape = x.shape.clone();
        let axis = shape.len() - 1;
        shape[axis] = w.shape[0];
        let y = TensorType::f32(shape);
        if self.bias {
            ensure(inputs[2].shape == [w.shape[0]], || {
                format!("bias {} must be [{}]", inputs[2], w.shape[0])
            })?;
        }
        if let Some(at) = self.residual_index() {
            ensure(*inputs[at] == y, || format!("residual {} must be {y}", inputs[at]))?;
        }
        Ok(if self.act.is_some() { vec![y.clone(), y] } else { vec![y] })
    }

    fn dequantizes(&self, operand: usize) -> bool {
        operand == 1
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let (x, w) = (inputs[0], inputs[1]);
        let (n, k) = (w.shape[0], w.shape[1]);
        let mut shape = x.shape.clone();
        let axis = shape.len() - 1;
        shape[axis] = n;
        let product = |i: usize| -> f64 {
            let (row, col) = (i / n, i % n);
            let sum: f64 = (0..k).map(|c| x.at(row * k + c) * w.at(col * k + c)).sum();
            sum + if self.bias { inputs[2].at(col) } else { 0.0 }
        };
        let pre: Vec<f64> = (0..shape.iter().product()).map(product).collect();
        let residual = self.residual_index().map(|at| inputs[at]);
        let finish =
            |i: usize| self.act.map_or(pre[i], |act| act.value(pre[i])) + residual.map_or(0.0, |r| r.at(i));
        let y = Tensor::from_fn(shape.clone(), finish);
        Ok(if self.act.is_some() { vec![y, Tensor::from_fn(shape, |i| pre[i])] } else { vec![y] })
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        let (x, w) = (cx.input(0), cx.input(1));
        let dy = cx.out_grad(0);
        if let (Some(at), Some(dy)) = (self.residual_index(), dy) {
            cx.add(at, dy)?;
        }
        let dz = match self.act {
            None => dy,
            Some(act) => {
                let pre = cx.output(1);
                let through = match dy {
                    None => None,
                    Some(dy) => {
                        let b = cx.builder();
                        let slope = b.unary(UnaryKind::ActGrad(act), pre)?;
                        Some(b.mul(dy, slope)?)
                    }
                };
                cx.sum(through, cx.out_grad(1))?
            }
        };
        let Some(dz) = dz else { return Ok(()) };
        let (n, k) = (cx.func().shape(w)[0], cx.func().shape(w)[1]);
        let rows = cx.func().ty(x).rows();
        let x_shape = cx.func().shape(x).to_vec();
        let dz_rows = cx.builder().reshape(dz, &[rows, n])?;
        cx.add_with(0, |b| {
            let dx = b.matmul(dz_rows, w, false, false)?;
            b.reshape(dx, &x_shape)
        })?;
        cx.add_with(1, |b| {
            let x_rows = b.reshape(x, &[rows, k])?;
            b.matmul(dz_rows, x_rows, true, false)
        })?;
        if self.bias {
            cx.add_with(2, |b| b.reduce_sum(dz_rows, &[0]))?;
        }
        Ok(())
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let (x, w) = (inputs[0], inputs[1]);
        let (n, k) = (b.func().shape(w)[0], b.func().shape(w)[1]);
        let rows = b.func().ty(x).rows();
        let mut shape = b.func().shape(x).to_vec();
        let axis = shape.len() - 1;
        shape[axis] = n;
        let x_rows = b.reshape(x, &[rows, k])?;
        let product = b.matmul(x_rows, w, false, true)?;
        let mut pre = b.reshape(product, &shape)?;
        if self.bias {
            let spread = b.broadcast(inputs[2], &shape, &[axis])?;
            pre = b.add(pre, spread)?;
        }
        let mut y = match self.act {
            Some(act) => b.unary(UnaryKind::Act(act), pre)?,
            None => pre,
        };
        if let Some(at) = self.residual_index() {
            y = b.add(y, inputs[at])?;
        }
        Ok(Some(if self.act.is_some() { vec![y, pre] } else { vec![y] }))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        let (rows, w) = (inputs[0].rows() as u64, inputs[1].elements() as u64);
        let extras = u64::from(self.bias) + u64::from(self.act.is_some()) + u64::from(self.residual);
        Cost::new(2 * rows * w + extras * outputs[0].elements() as u64, inputs, outputs)
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        self.residual_index().map(|at| (at, 0)).into_iter().collect()
    }
}
