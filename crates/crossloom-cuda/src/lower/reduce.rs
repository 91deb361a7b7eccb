//! Sums and maxima over axes that lie side by side.

use crossloom_ir::op::{Reduce, ReduceKind};

use super::{THREADS, Teams, each};
use crate::Geometry;
use crate::launch::{Argument, Launch, Lowered, Types};
use Argument::{Input, Output, Scratch};

/// Rows that one thread sums up.
const CHUNK: usize = 128;

pub(super) fn lower(op: &Reduce, types: Types<'_>) -> Option<Lowered> {
    let shape = &types.inputs[0].shape;
    let (first, last) = (*op.axes.first()?, *op.axes.last()?);
    if last - first + 1 != op.axes.len() {
        return None;
    }
    let extent = |axes: &[usize]| -> usize { axes.iter().product() };
    let (outer, middle, inner) =
        (extent(&shape[..first]), extent(&shape[first..=last]), extent(&shape[last + 1..]));
    let (start, combine, team) = match op.kind {
        ReduceKind::Sum => ("0.0f", "sum_of", "team_sum"),
        ReduceKind::Max => ("LOWEST", "larger", "team_max"),
    };
    if inner == 1 {
        let teams = Teams::of(outer, middle)?;
        let source = types.source().set("TEAM", teams.team).set("THREADS", teams.threads);
        let source = source.sets([("ROWS", outer), ("COLS", middle)]);
        let source = source.set("START", start).set("COMBINE", combine).set("TEAM_COMBINE", team);
        let text = include_str!("../kernels/reduce_columns.cu");
        let arguments = vec![Input(0), Output(0)];
        let launch = source.launch("reduce_columns", text, teams.geometry, arguments)?;
        return Some(Lowered::new("reduce_columns", vec![launch]));
    }
    if op.kind == ReduceKind::Sum && outer == 1 && middle > CHUNK {
        let chunks = middle.div_ceil(CHUNK);
        let launches = vec![
            sum_rows(types, middle, inner, CHUNK, [Input(0), Scratch(0)])?,
            sum_rows(types, chunks, inner, chunks, [Scratch(0), Output(0)])?,
        ];
        return Some(Lowered::new("sum_rows", launches).with_scratch(chunks * inner * 4));
    }
    let launch = reduce(types, [outer, middle, inner], (start, combine), [Input(0), Output(0)])?;
    Some(Lowered::new("reduce", vec![launch]))
}

/// The middle of three axes from a start on, one thread per result.
pub(super) fn reduce(
    types: Types<'_>,
    [outer, extent, inner]: [usize; 3],
    (start, combine): (&str, &str),
    from_to: [Argument; 2],
) -> Option<Launch> {
    let source = types.source().set("THREADS", THREADS).set("START", start).set("COMBINE", combine);
    let source = source.sets([("OUTER", outer), ("EXTENT", extent), ("INNER", inner)]);
    source.launch("reduce", include_str!("../kernels/reduce.cu"), each(outer * inner)?, from_to.to_vec())
}

/// Sums of columns over every `chunk` rows.
pub(super) fn sum_rows(
    types: Types<'_>,
    rows: usize,
    cols: usize,
    chunk: usize,
    from_to: [Argument; 2],
) -> Option<Launch> {
    let wide = u32::try_from(cols.div_ceil(THREADS as usize)).ok()?;
    let tall = u32::try_from(rows.div_ceil(chunk)).ok().filter(|&tall| tall <= 65535)?;
    let geometry = Geometry { grid: [wide, tall, 1], block: [THREADS, 1, 1], shared: 0 };
    let source = types.source().sets([("ROWS", rows), ("COLS", cols), ("CHUNK", chunk)]);
    let text = include_str!("../kernels/sum_rows.cu");
    source.set("THREADS", THREADS).launch("sum_rows", text, geometry, from_to.to_vec())
}
