//! Softmax, argmax, and rows that are read or written by index.

use crossloom_ir::op::ScatterMode;
use crossloom_ir::{Op, TensorType};

use super::Teams;
use crate::launch::{Argument, Lowered, Source};
use Argument::{Fault, Input, Output};

pub(super) fn lower(op: &Op, inputs: &[&TensorType]) -> Option<Lowered> {
    let x = inputs[0];
    let (rows, cols) = (x.rows(), x.last());
    let by_row = |file: &'static str, text: &str, teams: Teams, source: Source, arguments: Vec<Argument>| {
        let source = source.set("COLS", cols).set("THREADS", teams.threads);
        Lowered::new(file, vec![source.launch(file, text, teams.geometry, arguments)])
    };
    let new = Source::new;
    Some(match op {
        Op::Softmax(_) => {
            let teams = Teams::of(rows, cols)?;
            let text = include_str!("../kernels/softmax.cu");
            let source = new().set("ROWS", rows).set("TEAM", teams.team);
            by_row("softmax", text, teams, source, vec![Input(0), Output(0)]).in_place(vec![(0, 0)])
        }
        Op::Argmax(_) => {
            let text = include_str!("../kernels/argmax.cu");
            by_row("argmax", text, Teams::warps(rows)?, new().set("ROWS", rows), vec![Input(0), Output(0)])
        }
        Op::Embedding(_) => {
            let ids = inputs[1].elements();
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
            let slots = inputs[1].last();
            let text = include_str!("../kernels/gather_rows.cu");
            let source = new().set("SAMPLES", x.shape[0]).set("ROWS", x.shape[1]).set("SLOTS", slots);
            let teams = Teams::warps(x.shape[0] * slots)?;
            by_row("gather_rows", text, teams, source, vec![Input(0), Input(1), Output(0), Fault])
        }
        Op::ScatterRows(op) => {
            let text = include_str!("../kernels/scatter_rows.cu");
            let source =
                new().set("SAMPLES", x.shape[0]).set("ROWS", x.shape[1]).set("SLOTS", inputs[1].last());
            let source = source.set("DISTINCT", u8::from(op.mode == ScatterMode::Set));
            let arguments = vec![Input(0), Input(1), Input(2), Output(0), Fault];
            by_row("scatter_rows", text, Teams::warps(rows)?, source, arguments).in_place(vec![(0, 0)])
        }
        _ => return None,
    })
}
