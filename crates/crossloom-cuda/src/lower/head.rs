//! The output projection with its loss and gradients: logits of some rows at a time.

use crossloom_ir::DType;
use crossloom_ir::op::LinearCrossEntropy;

use super::Rules;
use super::library::of_kernel;
use super::loss::{Rows, mean, share};
use super::product::{KernelProduct, Matrix};
use crate::launch::{Argument, Lowered, Types, Work};
use crate::product::Products;
use Argument::{Input, InputFrom, Output, OutputFrom, Scratch};

/// Where the parts of the working memory begin.
struct Room {
    logits: usize,
    slopes: usize,
    end: usize,
    /// The most that a product of the library wants behind all that.
    workspace: usize,
}

impl Room {
    /// A product by the library where that computes them, by a kernel otherwise.
    fn product(&mut self, product: &KernelProduct, rules: Rules, types: Types<'_>) -> Option<Work> {
        if let Products::Library { tf32 } = rules.products
            && let Some(multiply) = of_kernel(product, types, tf32, Scratch(self.end))
        {
            self.workspace = self.workspace.max(multiply.product.workspace());
            return Some(Work::Product(multiply));
        }
        product.launch(types).map(Work::Launch)
    }
}

pub(super) fn lower(op: LinearCrossEntropy, rules: Rules, types: Types<'_>) -> Option<Lowered> {
    let [h, w] = [types.inputs[1], types.inputs[2]];
    let (all, classes) = (h.shape[0], w.shape[0]);
    let at_once = (rules.logits / (classes * 4)).clamp(1, all);
    let aligned = |bytes: usize| bytes.next_multiple_of(256);
    // In front is the share of the loss's gradient.
    let logits = aligned(4);
    let slopes = logits + aligned(at_once * classes * 4);
    // Gradients of logits lie over them unless they are narrower.
    let narrow = op.rounded != DType::F32;
    let end = if narrow { slopes + aligned(op.rounded.bytes_of(at_once * classes)) } else { slopes };
    let mut room = Room { logits, slopes: if narrow { slopes } else { logits }, end, workspace: 0 };
    let mut work = vec![Work::Launch(share(types, all, [Input(0), Input(3), Scratch(0)])?)];
    for first in (0..all).step_by(at_once) {
        let rows = Rows { count: at_once.min(all - first), first, classes };
        work.extend(chunk(op, rules, types, &rows, &mut room)?);
    }
    work.push(Work::Launch(mean(types, all, [Output(1), Input(3), Output(0)])?));
    Some(Lowered::of("linear_cross_entropy", work).with_scratch(room.end + room.workspace))
}

/// Logits of some rows, their losses and gradients, and what these give for the rows and the weight.
fn chunk(
    op: LinearCrossEntropy,
    rules: Rules,
    types: Types<'_>,
    rows: &Rows,
    room: &mut Room,
) -> Option<Vec<Work>> {
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
        slope: None,
        sums: None,
        c,
    };
    let of_rows = OutputFrom(2, types.outputs[2].dtype.bytes_of(row));
    let project =
        product([rows.count, rows.classes, width], states, weight(true), (logits, Some(DType::F32)));
    let backwards = Err((Scratch(0), slopes, op.rounded));
    let losses = rows.losses(types, [logits, Input(3)], backwards, Output(1))?;
    let back = product([rows.count, width, rows.classes], errors(false), weight(false), (of_rows, None));
    let mut work =
        vec![room.product(&project, rules, types)?, Work::Launch(losses), room.product(&back, rules, types)?];
    if op.trained {
        // The first rows' part is written, those of others are added to it.
        let into = Output(3);
        let residual = (rows.first > 0).then_some(into);
        let of_weight = product([rows.classes, width, rows.count], errors(true), states, (into, None));
        work.push(room.product(&KernelProduct { residual, ..of_weight }, rules, types)?);
    }
    Some(work)
}
