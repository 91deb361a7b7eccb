//! `gather_rows`: rows of every sample by index.

use super::sample_rows;
use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::op::spec::OpSpec;
use crate::op::{ScatterMode, ScatterRows, check, emit};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// `y[b, m] = h[b, index[b, m]]`. Operands: `h [B, T, D]`, `index [B, M]` (i32; -1 gives a row of zeros). Output:
/// `[B, M, D]`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GatherRows;

impl OpSpec for GatherRows {
    const MNEMONICS: &'static [&'static str] = &["gather_rows"];

    fn from_attrs(_: &str, _: &mut Attrs) -> Result<Self, String> {
        Ok(Self)
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        check::count(inputs, &["h", "index"])?;
        let (h, index) = (inputs[0], inputs[1]);
        check::float_axes("h", h, 3)?;
        check::whole_axes("index", index, 2)?;
        check::is("index", index, &TensorType::i32([h.shape[0], index.shape[1]]))?;
        Ok(vec![TensorType::f32([h.shape[0], index.shape[1], h.shape[2]])])
    }

    fn moves(&self) -> bool {
        true
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let [h, index] = [inputs[0], inputs[1]];
        let (t, d, m) = (h.shape[1], h.shape[2], index.last());
        let rows = sample_rows(index, t, false)?;
        let value = |i: usize| rows[i / d].map_or(0.0, |row| h.at((i / d / m * t + row) * d + i % d));
        Ok(vec![Tensor::from_fn([h.shape[0], m, d], value)])
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        let (h, index) = (cx.input(0), cx.input(1));
        let Some(dy) = cx.out_grad(0) else { return Ok(()) };
        cx.add_with(0, |b| {
            let zeros = b.zeros_like(h)?;
            b.one(ScatterRows { mode: ScatterMode::Add }, &[zeros, index, dy])
        })
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let rows = b.func().shape(inputs[0])[1];
        let one_hot = emit::one_hot(b, inputs[1], rows)?;
        Ok(Some(vec![b.matmul(one_hot, inputs[0], false, false)?]))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        // Only the rows that are named are read.
        Cost::new(0, &[outputs[0], inputs[1]], outputs)
    }
}
