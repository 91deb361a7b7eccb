//! `reduce_sum` and `reduce_max`: over a set of axes, which disappear.

use super::BinaryKind;
use super::spec::{OpSpec, ensure, operands};
use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::interp::{coordinates, strides};
use crate::{Builder, Cost, DType, IrError, Real, Tensor, TensorType, Value};

/// How the elements along the axes are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReduceKind {
    /// Sum.
    Sum,
    /// Largest, NaN where one is NaN; its gradient goes to every element that attains it, divided evenly.
    Max,
}

/// Combines all elements along `axes`; the result has the other axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Reduce {
    /// How elements are combined.
    pub kind: ReduceKind,
    /// The axes that disappear, ascending.
    pub axes: Vec<usize>,
}

impl Reduce {
    /// The axes that stay.
    pub fn kept_axes(&self, rank: usize) -> Vec<usize> {
        (0..rank).filter(|axis| !self.axes.contains(axis)).collect()
    }
}

impl OpSpec for Reduce {
    const MNEMONICS: &'static [&'static str] = &["reduce_sum", "reduce_max"];

    fn mnemonic(&self) -> &'static str {
        match self.kind {
            ReduceKind::Sum => "reduce_sum",
            ReduceKind::Max => "reduce_max",
        }
    }

    fn attrs(&self) -> Attrs {
        Attrs::new().ints("axes", &self.axes)
    }

    fn from_attrs(mnemonic: &str, attrs: &mut Attrs) -> Result<Self, String> {
        let kind = if mnemonic == "reduce_sum" { ReduceKind::Sum } else { ReduceKind::Max };
        Ok(Self { kind, axes: attrs.take_ints("axes")? })
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let [x] = operands(inputs)?;
        ensure(x.dtype == DType::F32, || format!("needs a float operand, not {x}"))?;
        let ascending = self.axes.windows(2).all(|w| w[0] < w[1]);
        ensure(ascending && self.axes.iter().all(|&a| a < x.rank()), || {
            format!("axes {:?} must be ascending axes of {x}", self.axes)
        })?;
        ensure(self.kind == ReduceKind::Sum || self.axes.iter().all(|&a| x.shape[a] > 0), || {
            "has no largest element along an empty axis".to_owned()
        })?;
        Ok(vec![TensorType::f32(self.kept_axes(x.rank()).iter().map(|&a| x.shape[a]).collect::<Vec<_>>())])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let x = inputs[0];
        let kept = self.kept_axes(x.shape.len());
        let shape: Vec<usize> = kept.iter().map(|&a| x.shape[a]).collect();
        let out_strides = strides(&shape);
        let start = if self.kind == ReduceKind::Sum { 0.0 } else { f64::NEG_INFINITY };
        let mut acc = vec![start; shape.iter().product()];
        for i in 0..x.data.len() {
            let at = coordinates(i, &x.shape);
            let slot: usize = kept.iter().zip(&out_strides).map(|(&a, s)| at[a] * s).sum();
            acc[slot] = match self.kind {
                ReduceKind::Sum => acc[slot] + x.at(i),
                ReduceKind::Max => BinaryKind::Max.value(acc[slot], x.at(i)),
            };
        }
        Ok(vec![Tensor::from_fn(shape, |i| acc[i])])
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        let (x, y) = (cx.input(0), cx.output(0));
        let Some(dy) = cx.out_grad(0) else { return Ok(()) };
        let kind = self.kind;
        let (shape, axes) = (cx.func().shape(x).to_vec(), self.axes.clone());
        let kept = self.kept_axes(shape.len());
        cx.add_with(0, |b| {
            let spread = b.broadcast(dy, &shape, &kept)?;
            if kind == ReduceKind::Sum {
                return Ok(spread);
            }
            let largest = b.broadcast(y, &shape, &kept)?;
            let below = b.binary(BinaryKind::LessThan, x, largest)?;
            let attained = b.affine(below, -1.0, 1.0)?;
            let ties = b.reduce_sum(attained, &axes)?;
            let ties = b.broadcast(ties, &shape, &kept)?;
            let share = b.div(attained, ties)?;
            b.mul(spread, share)
        })
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        if self.axes.len() == 1 {
            return Ok(None);
        }
        let mut y = inputs[0];
        for &axis in self.axes.iter().rev() {
            y = b.one(Self { kind: self.kind, axes: vec![axis] }, &[y])?;
        }
        Ok(Some(vec![y]))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        Cost::new(inputs[0].elements() as u64, inputs, outputs)
    }
}
