//! Sums and maxima over axes that lie side by side.

use crossloom_ir::TensorType;
use crossloom_ir::op::{Reduce, ReduceKind};

use super::{THREADS, Teams, each};
use crate::Geometry;
use crate::launch::{Argument, Lowered, Source};

/// Rows that one thread sums up.
const CHUNK: usize = 128;

pub(super) fn lower(op: &Reduce, inputs: &[&TensorType]) -> Option<Lowered> {
    let shape = &inputs[0].shape;
    let (first, last) = (*op.axes.first()?, *op.axes.last()?);
    if last - first + 1 != op.axes.len() {
        return None;
    }
    let extent = |axes: &[usize]| -> usize { axes.iter().product() };
    let (outer, middle, inner) =
        (extent(&shape[..first]), extent(&shape[first..=last]), extent(&shape[last + 1..]));
    let (start, combine, team) = match op.kind {
        ReduceKind::Sum => ("0.0f", "sum_of", "team_sum"),
        ReduceKind::Max => ("bits_float(0xff800000u)", "larger", "team_max"),
    };
    let arguments = vec![Argument::Input(0), Argument::Output(0)];
    if inner == 1 {
        let teams = Teams::of(outer, middle)?;
        let source = Source::new().set("ROWS", outer).set("COLS", middle).set("TEAM", teams.team);
        let source = source.set("THREADS", teams.threads);
        let source = source.set("START", start).set("COMBINE", combine).set("TEAM_COMBINE", team);
        let text = include_str!("../kernels/reduce_columns.cu");
        return Some(Lowered::new(
            "reduce_columns",
            vec![source.launch("reduce_columns", text, teams.geometry, arguments)],
        ));
    }
    if op.kind == ReduceKind::Sum && outer == 1 && middle > CHUNK {
        return sum_rows(middle, inner);
    }
    let source = Source::new().set("THREADS", THREADS).set("OUTER", outer).set("EXTENT", middle);
    let source = source.set("INNER", inner);
    let source = source.set("START", start).set("COMBINE", combine);
    let text = include_str!("../kernels/reduce.cu");
    Some(Lowered::new("reduce", vec![source.launch("reduce", text, each(outer * inner)?, arguments)]))
}

/// The sum of many rows: of chunks of them, then of the chunks' sums.
fn sum_rows(rows: usize, cols: usize) -> Option<Lowered> {
    let chunks = rows.div_ceil(CHUNK);
    let wide = u32::try_from(cols.div_ceil(THREADS as usize)).ok()?;
    let launch = |rows: usize, chunk: usize, arguments: Vec<Argument>| {
        let tall = u32::try_from(rows.div_ceil(chunk)).ok().filter(|&tall| tall <= 65535)?;
        let geometry = Geometry { grid: [wide, tall, 1], block: [THREADS, 1, 1], shared: 0 };
        let source = Source::new().set("ROWS", rows).set("COLS", cols).set("CHUNK", chunk);
        let text = include_str!("../kernels/sum_rows.cu");
        Some(source.set("THREADS", THREADS).launch("sum_rows", text, geometry, arguments))
    };
    let launches = vec![
        launch(rows, CHUNK, vec![Argument::Input(0), Argument::Scratch(0)])?,
        launch(chunks, chunks, vec![Argument::Scratch(0), Argument::Output(0)])?,
    ];
    Some(Lowered::new("sum_rows", launches).with_scratch(chunks * cols * 4))
}
