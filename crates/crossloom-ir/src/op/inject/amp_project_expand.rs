//! The expansion of `amp_project`: all taps under one another, so that the shared projector is applied once.

use super::{AmpProject, Attach};
use crate::op::{Linear, UnaryKind};
use crate::{Builder, DType, IrError, Value};

pub(super) fn expand(op: &AmpProject, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Value, IrError> {
    let shape = b.func().shape(inputs[0]).to_vec();
    let rows = shape[0] * shape[1];
    let taps =
        inputs[..op.taps].iter().map(|&x| b.reshape(x, &[rows, shape[2]])).collect::<Result<Vec<_>, _>>()?;
    let all = join(b, &taps)?;
    let (at1, at2) = op.weight_indices();
    let biases = |at: usize| op.bias.then(|| inputs[at + 1]);
    let branch = |tap: usize, pair: usize| &inputs[op.branch_index(tap) + 2 * pair..][..2];
    let hidden = if op.attach == Attach::PerLinear {
        let shared = b.linear(all, inputs[at1], biases(at1))?;
        let pairs: Vec<&[Value]> = (0..op.taps).map(|tap| branch(tap, 0)).collect();
        let pre = add_branches(b, shared, &taps, &pairs, op.scale)?;
        b.unary(UnaryKind::Act(op.act), pre)?
    } else {
        let first = Linear { bias: op.bias, act: Some(op.act), residual: false };
        let operands: Vec<Value> = [all, inputs[at1]].into_iter().chain(biases(at1)).collect();
        b.one(first, &operands)?
    };
    let mut v = b.linear(hidden, inputs[at2], biases(at2))?;
    match op.attach {
        Attach::None => {}
        Attach::Parallel => {
            let pairs: Vec<&[Value]> = (0..op.taps).map(|tap| branch(tap, 0)).collect();
            v = add_branches(b, v, &taps, &pairs, op.scale)?;
        }
        Attach::PerLinear => {
            let pairs: Vec<&[Value]> = (0..op.taps).map(|tap| branch(tap, 1)).collect();
            let parts = (0..op.taps).map(|tap| b.slice(hidden, 0, tap * rows, rows));
            let parts = parts.collect::<Result<Vec<_>, _>>()?;
            v = add_branches(b, v, &parts, &pairs, op.scale)?;
        }
    }
    let outer = b.func().shape(inputs[at2])[0];
    b.reshape(v, &[op.taps, shape[0], shape[1], outer])
}

/// Adds `scale B_k A_k x_k` to the rows of tap `k`.
fn add_branches(
    b: &mut Builder<'_>,
    shared: Value,
    taps: &[Value],
    pairs: &[&[Value]],
    scale: f64,
) -> Result<Value, IrError> {
    let mut branches = Vec::with_capacity(taps.len());
    for (&x, pair) in taps.iter().zip(pairs) {
        let low = b.linear(x, pair[0], None)?;
        branches.push(b.linear(low, pair[1], None)?);
    }
    let branches = join(b, &branches)?;
    // The usual scale: a sum of products can then take the shared part as its residual.
    let branches = if scale == 1.0 { branches } else { b.affine(branches, scale, 0.0)? };
    b.add(shared, branches)
}

/// Rows under one another; taps of several float types as the one that holds them all.
fn join(b: &mut Builder<'_>, parts: &[Value]) -> Result<Value, IrError> {
    let [first, rest @ ..] = parts else { return Err(IrError::new("has no rows to join")) };
    if rest.is_empty() {
        return Ok(*first);
    }
    let dtype = b.func().dtype(*first);
    if rest.iter().all(|&part| b.func().dtype(part) == dtype) {
        return b.concat(parts, 0);
    }
    let wide = parts.iter().map(|&part| b.convert(part, DType::F32)).collect::<Result<Vec<_>, _>>()?;
    b.concat(&wide, 0)
}
