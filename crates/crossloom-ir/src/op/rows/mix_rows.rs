//! `mix_rows`: tokens that are weighted sums of a few rows each, out of the rows of all samples.

use crate::attrs::Attrs;
use crate::grad::GradCx;
use crate::op::spec::{OpSpec, ensure};
use crate::op::{MixRowsGrad, check, emit};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// `y[k, b, n] = sum_p weights[b, n, p] row_k(rows[b, n, p])`, where row `r` below `R` is `features[k, r]` and row `R` is `end`.
/// Operands: `features [K, R, D]`, `end [D]`, `rows [B, N, P]` (i32, from 0 to R), `weights [B, N, P]`. Output: `[K, B, N, D]`. A
/// part of weight 0 is not read.
///
/// Images of a batch are encoded as one list, and samples have several of them or none, so a sample's tokens are rows of the
/// whole list: `gather_rows` and `deformable_attention` read rows of their own sample. `embedding`, a product and a sum would say
/// the same through `P` times as much memory as the result has.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MixRows;

/// Extents of the operands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extents {
    pub(super) taps: usize,
    /// Rows of a tap's features.
    pub(super) rows: usize,
    pub(super) width: usize,
    /// Tokens of all samples.
    pub(super) tokens: usize,
    pub(super) parts: usize,
}

/// Checks the types of `rows` and `weights`: `[B, N]`.
pub(super) fn check_parts(rows: &TensorType, weights: &TensorType) -> Result<[usize; 2], String> {
    check::whole_axes("rows", rows, 3)?;
    check::is_f32("weights", weights, &rows.shape)?;
    Ok([rows.shape[0], rows.shape[1]])
}

/// Every part with a weight: its token, the row that it names, and the weight.
pub(super) fn parts<T: Real>(
    e: Extents,
    rows: &Tensor<T>,
    weights: &Tensor<T>,
) -> Result<Vec<(usize, usize, f64)>, String> {
    let mut parts = Vec::new();
    for at in 0..e.tokens * e.parts {
        let named = rows.int(at);
        let row = usize::try_from(named).ok().filter(|&row| row <= e.rows);
        let row = row.ok_or_else(|| format!("row {named} at position {at} is outside of 0 to {}", e.rows))?;
        if weights.at(at) != 0.0 {
            parts.push((at / e.parts, row, weights.at(at)));
        }
    }
    Ok(parts)
}

/// What every token reads of every row, the end included, the same for all taps: `[K, tokens, R + 1]`.
pub(super) fn reading(
    b: &mut Builder<'_>,
    e: Extents,
    rows: Value,
    weights: Value,
) -> Result<Value, IrError> {
    let all = [e.tokens, e.parts, e.rows + 1];
    let rows = b.reshape(rows, &all[..2])?;
    let weights = b.reshape(weights, &all[..2])?;
    let named = emit::one_hot(b, rows, e.rows + 1)?;
    let weights = emit::spread_rows(b, weights, &all)?;
    let weighted = b.mul(named, weights)?;
    let reading = b.reduce_sum(weighted, &[1])?;
    b.broadcast(reading, &[e.taps, e.tokens, e.rows + 1], &[1, 2])
}

impl OpSpec for MixRows {
    const MNEMONICS: &'static [&'static str] = &["mix_rows"];

    fn from_attrs(_: &str, _: &mut Attrs) -> Result<Self, String> {
        Ok(Self)
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        check::count(inputs, &["features", "end", "rows", "weights"])?;
        let features = inputs[0];
        check::float_axes("features", features, 3)?;
        let (taps, width) = (features.shape[0], features.shape[2]);
        ensure(width > 0, || format!("features is {features}, its rows are empty"))?;
        check::is_f32("end", inputs[1], &[width])?;
        let [samples, tokens] = check_parts(inputs[2], inputs[3])?;
        Ok(vec![TensorType::f32([taps, samples, tokens, width])])
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let [features, end] = [inputs[0], inputs[1]];
        let e = extents(&features.shape, &inputs[2].shape);
        let mut y = vec![0.0; e.taps * e.tokens * e.width];
        for (token, row, weight) in parts(e, inputs[2], inputs[3])? {
            for tap in 0..e.taps {
                for c in 0..e.width {
                    let value = if row == e.rows {
                        end.at(c)
                    } else {
                        features.at((tap * e.rows + row) * e.width + c)
                    };
                    y[(tap * e.tokens + token) * e.width + c] += weight * value;
                }
            }
        }
        let shape = [e.taps, inputs[2].shape[0], inputs[2].shape[1], e.width];
        Ok(vec![Tensor::from_fn(shape, |i| y[i])])
    }

    fn gradient(&self, cx: &mut GradCx<'_>) -> Result<(), IrError> {
        if cx.wants(3) {
            cx.expand_first();
            return Ok(());
        }
        let Some(dy) = cx.out_grad(0) else { return Ok(()) };
        let op = MixRowsGrad { rows: cx.func().shape(cx.input(0))[1] };
        let operands = [dy, cx.input(2), cx.input(3)];
        let grads = cx.builder().push(op, &operands)?;
        cx.add(0, grads[0])?;
        cx.add(1, grads[1])
    }

    /// Where a row is not finite, products with 0 are not, and parts without a weight read row 0 here.
    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let [features, end, rows, weights] = [inputs[0], inputs[1], inputs[2], inputs[3]];
        let shape = b.func().shape(rows).to_vec();
        let e = extents(b.func().shape(features), &shape);
        let reading = reading(b, e, rows, weights)?;
        let end = b.broadcast(end, &[e.taps, 1, e.width], &[2])?;
        let table = b.concat(&[features, end], 1)?;
        let read = b.matmul(reading, table, false, false)?;
        Ok(Some(vec![b.reshape(read, &[e.taps, shape[0], shape[1], e.width])?]))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        // Counted as if every part had a weight; most tokens are one row, so as many rows are read as written.
        let flops = 2 * outputs[0].elements() as u64 * inputs[2].last() as u64;
        Cost::new(flops, &[outputs[0], inputs[1], inputs[2], inputs[3]], outputs)
    }
}

/// From the shapes of features `[K, R, D]` and rows `[B, N, P]`.
pub(super) fn extents(features: &[usize], rows: &[usize]) -> Extents {
    Extents {
        taps: features[0],
        rows: features[1],
        width: features[2],
        tokens: rows[0] * rows[1],
        parts: rows[2],
    }
}
