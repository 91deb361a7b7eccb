//! Cross-entropy and its gradient.

use crossloom_ir::{DType, Op};

use super::{THREADS, Teams, each, wide};
use crate::Geometry;
use crate::launch::{ABSENT, Argument, Launch, Lowered, Types, element};
use Argument::{Fault, Input, Output, Scratch};

/// Rows of logits, with their targets.
pub(super) struct Rows {
    /// How many, of all that have targets.
    pub(super) count: usize,
    /// The first of them.
    pub(super) first: usize,
    pub(super) classes: usize,
}

impl Rows {
    /// The loss of every row: with its log-sum-exp, or with the gradient of its logits, for a share of the loss's gradient, as numbers of
    /// a type.
    pub(super) fn losses(
        &self,
        types: Types<'_>,
        [logits, targets]: [Argument; 2],
        result: Result<Argument, (Argument, Argument, DType)>,
        losses: Argument,
    ) -> Option<Launch> {
        let teams = Teams::of(self.count, self.classes)?;
        let source =
            types.source().sets([("ROWS", self.count), ("COLS", self.classes), ("FIRST", self.first)]);
        let source = source.set("WIDE", wide(self.classes)).flag("GRADIENT", result.is_err());
        let source = source.set("TEAM", teams.team).set("THREADS", teams.threads);
        let (source, share, lse, gradient) = match result {
            Ok(lse) => (source, ABSENT, lse, ABSENT),
            Err((share, gradient, dtype)) => {
                (source.set("gradient_t", element(dtype)), share, ABSENT, gradient)
            }
        };
        let text = include_str!("../kernels/cross_entropy_rows.cu");
        let arguments = vec![logits, targets, share, lse, losses, gradient, Fault];
        source.launch("cross_entropy_rows", text, teams.geometry, arguments)
    }
}

fn one_block() -> Option<Geometry> {
    Some(Geometry::line(1, 256)?.with_shared(8 * 4))
}

/// The mean of the losses of rows that have a target.
pub(super) fn mean(types: Types<'_>, rows: usize, arguments: [Argument; 3]) -> Option<Launch> {
    let text = include_str!("../kernels/cross_entropy_mean.cu");
    types.source().set("ROWS", rows).launch("cross_entropy_mean", text, one_block()?, arguments.to_vec())
}

/// The gradient of the loss of every row that has a target.
pub(super) fn share(types: Types<'_>, rows: usize, arguments: [Argument; 3]) -> Option<Launch> {
    let text = include_str!("../kernels/cross_entropy_kept.cu");
    types.source().set("ROWS", rows).launch("cross_entropy_kept", text, one_block()?, arguments.to_vec())
}

pub(super) fn lower(op: &Op, types: Types<'_>) -> Option<Lowered> {
    match op {
        Op::CrossEntropy(_) => {
            let (rows, classes) = (types.inputs[0].rows(), types.inputs[0].last());
            let of_rows = Rows { count: rows, first: 0, classes };
            let of_rows = of_rows.losses(types, [Input(0), Input(1)], Ok(Output(1)), Output(2))?;
            let mean = mean(types, rows, [Output(2), Input(1), Output(0)])?;
            Some(Lowered::new("cross_entropy", vec![of_rows, mean]))
        }
        Op::CrossEntropyGrad(_) => {
            let (rows, cols) = (types.inputs[1].rows(), types.inputs[1].last());
            let kept = share(types, rows, [Input(0), Input(2), Scratch(0)])?;
            let source = types.source().sets([("ROWS", rows), ("COLS", cols)]).set("THREADS", THREADS);
            let of_rows = source.launch(
                "cross_entropy_grad",
                include_str!("../kernels/cross_entropy_grad.cu"),
                each(rows * cols)?,
                vec![Scratch(0), Input(1), Input(2), Input(3), Output(0), Fault],
            )?;
            let lowered = Lowered::new("cross_entropy_grad", vec![kept, of_rows]);
            Some(lowered.with_scratch(4).in_place(vec![(1, 0)]))
        }
        _ => None,
    }
}
