//! Softmax, argmax, and rows that are read or written by index.

use crossloom_ir::op::ScatterMode;
use crossloom_ir::{DType, Op};

use super::{Teams, wide};
use crate::launch::{Argument, Lowered, Source, Types};
use Argument::{Fault, Input, Output};

pub(super) fn lower(op: &Op, types: Types<'_>) -> Option<Lowered> {
    let x = types.inputs[0];
    let (rows, cols) = (x.rows(), x.last());
    let by_row =
        |file: &'static str, text: &str, teams: Teams, source: Source<'_>, arguments: Vec<Argument>| {
            let source = source.set("COLS", cols).set("THREADS", teams.threads);
            Some(Lowered::new(file, vec![source.launch(file, text, teams.geometry, arguments)?]))
        };
    let new = || types.source();
    match op {
        Op::Softmax(_) => {
            let teams = Teams::of(rows, cols)?;
            let text = include_str!("../kernels/softmax.cu");
            let source = new().set("ROWS", rows).set("TEAM", teams.team).set("WIDE", wide(cols));
            let lowered = by_row("softmax", text, teams, source, vec![Input(0), Output(0)])?;
            Some(lowered.in_place(vec![(0, 0)]))
        }
        Op::Argmax(_) => {
            let text = include_str!("../kernels/argmax.cu");
            by_row("argmax", text, Teams::warps(rows)?, new().set("ROWS", rows), vec![Input(0), Output(0)])
        }
        Op::Embedding(_) => {
            let ids = types.inputs[1].elements();
            let text = include_str!("../kernels/embedding.cu");
            let source = new().set("ROWS", ids).set("VOCABULARY", rows);
            by_row("embedding", text, Teams::warps(ids)?, source, vec![Input(0), Input(1), Output(0), Fault])
        }
        Op::EmbeddingGrad(op) => {
            let text = include_str!("../kernels/embedding_grad.cu");
            let source = new().set("COUNT", rows).set("VOCABULARY", op.vocab);
            let arguments = vec![Input(0), Input(1), Output(0), Fault];
            by_row("embedding_grad", text, Teams::warps(op.vocab)?, source, arguments)
        }
        Op::GatherRows(_) => {
            let slots = types.inputs[1].last();
            let text = include_str!("../kernels/gather_rows.cu");
            let source = new().sets([("SAMPLES", x.shape[0]), ("ROWS", x.shape[1]), ("SLOTS", slots)]);
            let teams = Teams::warps(x.shape[0] * slots)?;
            by_row("gather_rows", text, teams, source, vec![Input(0), Input(1), Output(0), Fault])
        }
        Op::ScatterRows(op) => {
            // Several rows that are added to one are rounded once.
            if op.mode == ScatterMode::Add && types.outputs[0].dtype != DType::F32 {
                return None;
            }
            let text = include_str!("../kernels/scatter_rows.cu");
            let slots = types.inputs[1].last();
            let source = new().sets([("SAMPLES", x.shape[0]), ("ROWS", x.shape[1]), ("SLOTS", slots)]);
            let source = source.flag("DISTINCT", op.mode == ScatterMode::Set);
            let arguments = vec![Input(0), Input(1), Input(2), Output(0), Fault];
            let lowered = by_row("scatter_rows", text, Teams::warps(rows)?, source, arguments)?;
            Some(lowered.in_place(vec![(0, 0)]))
        }
        // A kernel has room for parts, so there are some.
        Op::MixRows(_) if types.inputs[2].last() > 0 => {
            let text = include_str!("../kernels/mix_rows.cu");
            let parts = types.inputs[2];
            let source = new().sets([
                ("TAPS", x.shape[0]),
                ("ROWS", x.shape[1]),
                ("TOKENS", parts.rows()),
                ("PARTS", parts.last()),
            ]);
            let arguments = vec![Input(0), Input(1), Input(2), Input(3), Output(0), Fault];
            by_row("mix_rows", text, Teams::warps(x.shape[0] * parts.rows())?, source, arguments)
        }
        Op::MixRowsGrad(op) if types.inputs[1].last() > 0 => {
            let text = include_str!("../kernels/mix_rows_grad.cu");
            let parts = types.inputs[1];
            let source = new().sets([
                ("TAPS", x.shape[0]),
                ("ROWS", op.rows),
                ("TOKENS", parts.rows()),
                ("PARTS", parts.last()),
            ]);
            let arguments = vec![Input(0), Input(1), Input(2), Output(0), Output(1), Fault];
            by_row("mix_rows_grad", text, Teams::warps(x.shape[0] * op.rows + 1)?, source, arguments)
        }
        _ => None,
    }
}
