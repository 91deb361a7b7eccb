//! Attention pooling and its gradient.

use crossloom_ir::op::{AttnPool, AttnPoolGrad};

use super::reduce::sum_rows;
use super::{THREADS, Teams, each, wide};
use crate::Geometry;
use crate::launch::{ABSENT, Argument, Launch, Lowered, Source, Types};
use Argument::{Input, Output, Scratch};

struct Shape<'t> {
    types: Types<'t>,
    groups: usize,
    rows: usize,
    width: usize,
    heads: usize,
}

impl<'t> Shape<'t> {
    /// Of operands of which the rows are the `first`, then the queries.
    fn of(types: Types<'t>, first: usize) -> Self {
        let (x, w) = (&types.inputs[first].shape, &types.inputs[first + 1].shape);
        Self { types, groups: x[0], rows: x[1], width: x[2], heads: w[0] }
    }

    fn source(&self) -> Source<'t> {
        let extents =
            [("GROUPS", self.groups), ("ROWS", self.rows), ("WIDTH", self.width), ("HEADS", self.heads)];
        self.types.source().sets(extents)
    }

    /// Products of every row of `x` with every head of `w`.
    fn scores(&self, x: Argument, w: Argument, grouped: bool, factor: f64, into: Argument) -> Option<Launch> {
        let teams = Teams::warps(self.groups * self.rows)?;
        let source = self.source().flag("GROUPED", grouped).float("FACTOR", factor);
        let source = source.set("WIDE", wide(self.width)).set("THREADS", teams.threads);
        let text = include_str!("../kernels/pool_scores.cu");
        source.launch("pool_scores", text, teams.geometry, vec![x, w, into])
    }

    /// One team per group and head.
    fn by_head(
        &self,
        file: &str,
        text: &str,
        source: Source<'_>,
        arguments: Vec<Argument>,
    ) -> Option<Launch> {
        let teams = Teams::of(self.groups * self.heads, self.rows)?;
        let source = source.set("TEAM", teams.team).set("THREADS", teams.threads);
        source.launch(file, text, teams.geometry, arguments)
    }

    /// Sums of rows of `x`, weighted per head.
    fn sums(&self, x: Argument, weights: Argument, into: Argument) -> Option<Launch> {
        let blocks = self.groups * self.heads.div_ceil(8) * self.width.div_ceil(128);
        let text = include_str!("../kernels/pool_sum.cu");
        self.source().launch("pool_sum", text, Geometry::line(blocks, 128)?, vec![x, weights, into])
    }
}

pub(super) fn lower(op: AttnPool, types: Types<'_>) -> Option<Lowered> {
    let shape = Shape::of(types, 0);
    let mask = if op.masked { Input(2) } else { ABSENT };
    let source = shape.source().flag("MASKED", op.masked);
    let softmax = include_str!("../kernels/pool_softmax.cu");
    let launches = vec![
        shape.scores(Input(0), Input(1), false, op.scale, Output(1))?,
        shape.by_head("pool_softmax", softmax, source, vec![mask, Output(1)])?,
        shape.sums(Input(0), Output(1), Output(0))?,
    ];
    Some(Lowered::new("attn_pool", launches))
}

pub(super) fn lower_grad(op: AttnPoolGrad, types: Types<'_>) -> Option<Lowered> {
    let shape = Shape::of(types, 1);
    let slopes = shape.groups * shape.heads * shape.rows * 4;
    let cols = shape.heads * shape.width;
    let partial = if shape.groups > 1 { Scratch(slopes) } else { Output(1) };
    let source = shape.source().float("FACTOR", op.scale);
    let of_rows = shape.source().set("THREADS", THREADS).launch(
        "pool_rows_grad",
        include_str!("../kernels/pool_rows_grad.cu"),
        each(shape.groups * shape.rows * shape.width)?,
        vec![Input(0), Input(2), Input(3), Scratch(0), Output(0)],
    )?;
    let pool_slopes = include_str!("../kernels/pool_slopes.cu");
    let mut launches = vec![
        shape.scores(Input(1), Input(0), true, 1.0, Scratch(0))?,
        shape.by_head("pool_slopes", pool_slopes, source, vec![Input(3), Scratch(0)])?,
        of_rows,
        shape.sums(Input(1), Scratch(0), partial)?,
    ];
    if shape.groups > 1 {
        launches.push(sum_rows(types, shape.groups, cols, shape.groups, [partial, Output(1)])?);
    }
    let scratch = slopes + if shape.groups > 1 { shape.groups * cols * 4 } else { 0 };
    Some(Lowered::new("attn_pool_grad", launches).with_scratch(scratch))
}
