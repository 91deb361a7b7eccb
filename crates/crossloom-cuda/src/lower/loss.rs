//! Cross-entropy and its gradient.

use crossloom_ir::{Op, TensorType};

use super::{THREADS, Teams, each};
use crate::Geometry;
use crate::launch::{Argument, Lowered, Source};
use Argument::{Fault, Input, Output, Scratch};

pub(super) fn lower(op: &Op, inputs: &[&TensorType]) -> Option<Lowered> {
    let one_block = || Some(Geometry::line(1, 256)?.with_shared(8 * 4));
    match op {
        Op::CrossEntropy(_) => {
            let (rows, cols) = (inputs[0].rows(), inputs[0].last());
            let teams = Teams::of(rows, cols)?;
            let source = Source::new().set("ROWS", rows).set("COLS", cols);
            let source = source.set("TEAM", teams.team).set("THREADS", teams.threads);
            let of_rows = source.launch(
                "cross_entropy_rows",
                include_str!("../kernels/cross_entropy_rows.cu"),
                teams.geometry,
                vec![Input(0), Input(1), Output(1), Scratch(0), Fault],
            );
            let mean = Source::new().set("ROWS", rows).launch(
                "cross_entropy_mean",
                include_str!("../kernels/cross_entropy_mean.cu"),
                one_block()?,
                vec![Scratch(0), Input(1), Output(0)],
            );
            Some(Lowered::new("cross_entropy", vec![of_rows, mean]).with_scratch(rows * 4))
        }
        Op::CrossEntropyGrad(_) => {
            let (rows, cols) = (inputs[1].rows(), inputs[1].last());
            let kept = Source::new().set("ROWS", rows).launch(
                "cross_entropy_kept",
                include_str!("../kernels/cross_entropy_kept.cu"),
                one_block()?,
                vec![Input(0), Input(2), Scratch(0)],
            );
            let source = Source::new().set("ROWS", rows).set("COLS", cols).set("THREADS", THREADS);
            let of_rows = source.launch(
                "cross_entropy_grad",
                include_str!("../kernels/cross_entropy_grad.cu"),
                each(rows * cols)?,
                vec![Scratch(0), Input(1), Input(2), Input(3), Output(0), Fault],
            );
            let lowered = Lowered::new("cross_entropy_grad", vec![kept, of_rows]);
            Some(lowered.with_scratch(4).in_place(vec![(1, 0)]))
        }
        _ => None,
    }
}
