//! The output projection with its loss and gradients: logits of some rows at a time.

use crossloom_ir::DType;
use crossloom_ir::op::LinearCrossEntropy;

use super::loss::{Rows, mean, share};
use super::product::{KernelProduct, Matrix};
use crate::launch::{Argument, Launch, Lowered, Types};
use Argument::{Input, InputFrom, Output, OutputFrom, Scratch};

/// Where the parts of the working memory begin.
struct Room {
    losses: usize,
    logits: usize,
    slopes: usize,
    end: usize,
}

pub(super) fn lower(op: LinearCrossEntropy, logits: usize, types: Types<'_>) -> Option<Lowered> {
    let [h, w] = [types.inputs[1], types.inputs[2]];
    let (all, classes) = (h.shape[0], w.shape[0]);
    let at_once = (logits / (classes * 4)).clamp(1, all);
    let aligned = |bytes: usize| bytes.next_multiple_of(256);
    let losses = 256;
    let logits = losses + aligned(all * 4);
    let slopes = logits + aligned(at_once * classes * 4);
    // Gradients of logits lie over them unless they are narrower.
    let narrow = op.rounded != DType::F32;
    let end = if narrow { slopes + aligned(op.rounded.bytes_of(at_once * classes)) } else { slopes };
    let room = Room { losses, logits, slopes: if narrow { slopes } else { logits }, end };
    let mut launches = vec![share(types, all, [Input(0), Input(3), Scratch(0)])?];
    for first in (0..all).step_by(at_once) {
        let rows = Rows { rows: at_once.min(all - first), first, classes };
        launches.extend(chunk(op, types, &rows, &room)?);
    }
    launches.push(mean(types, all, [Scratch(room.losses), Input(3), Output(0)])?);
    Some(Lowered::new("linear_cross_entropy", launches).with_scratch(room.end))
}

/// Logits of some rows, their losses and gradients, and what these give for the rows and the weight.
fn chunk(op: LinearCrossEntropy, types: Types<'_>, rows: &Rows, room: &Room) -> Option<Vec<Launch>> {
    let [h, w] = [types.inputs[1], types.inputs[2]];
    let width = h.last();
    let (logits, slopes) = (Scratch(room.logits), Scratch(room.slopes));
    let row = rows.first * width;
    let states = Matrix { at: InputFrom(1, h.dtype.bytes_of(row)), dtype: h.dtype, transposed: false };
    let weight = |transposed| Matrix { at: Input(2), dtype: w.dtype, transposed };
    let errors = |transposed| Matrix { at: slopes, dtype: op.rounded, transposed };
    let product = |[m, n, k]: [usize; 3], a, b, c| KernelProduct {
        batch: 1,
        m,
        n,
        k,
        a,
        b,
        shared_b: true,
        low_rank: None,
        bias: None,
        residual: None,
        activation: None,
        c,
    };
    let of_rows = OutputFrom(1, types.outputs[1].dtype.bytes_of(row));
    let mut launches = vec![
        product([rows.rows, rows.classes, width], states, weight(true), (logits, Some(DType::F32)))
            .launch(types)?,
        rows.losses(types, [logits, Input(3)], Err((Scratch(0), slopes, op.rounded)), Scratch(room.losses))?,
        product([rows.rows, width, rows.classes], errors(false), weight(false), (of_rows, None))
            .launch(types)?,
    ];
    if op.trained {
        // The first rows' part is written, those of others are added to it.
        let into = Output(2);
        let residual = (rows.first > 0).then_some(into);
        let of_weight = product([rows.classes, width, rows.rows], errors(true), states, (into, None));
        launches.push(KernelProduct { residual, ..of_weight }.launch(types)?);
    }
    Some(launches)
}
