//! Attention pooling and its gradient.

use crossloom_ir::TensorType;
use crossloom_ir::op::{AttnPool, AttnPoolGrad};

use super::{THREADS, Teams, each};
use crate::Geometry;
use crate::launch::{Argument, Launch, Lowered, Source};
use Argument::{Input, Output, Scratch};

struct Shape {
    groups: usize,
    rows: usize,
    width: usize,
    heads: usize,
}

impl Shape {
    fn of(x: &TensorType, w: &TensorType) -> Self {
        Self { groups: x.shape[0], rows: x.shape[1], width: x.shape[2], heads: w.shape[0] }
    }

    fn source(&self) -> Source {
        let source = Source::new().set("GROUPS", self.groups).set("ROWS", self.rows);
        source.set("WIDTH", self.width).set("HEADS", self.heads)
    }

    /// Products of every row of `x` with every head of `w`.
    fn scores(&self, x: Argument, w: Argument, grouped: bool, factor: f64, into: Argument) -> Option<Launch> {
        let teams = Teams::warps(self.groups * self.rows)?;
        let source = self.source().set("GROUPED", u8::from(grouped)).float("FACTOR", factor);
        let text = include_str!("../kernels/pool_scores.cu");
        Some(source.set("THREADS", teams.threads).launch(
            "pool_scores",
            text,
            teams.geometry,
            vec![x, w, into],
        ))
    }

    /// One team per group and head.
    fn by_head(&self, file: &str, text: &str, source: Source, arguments: Vec<Argument>) -> Option<Launch> {
        let teams = Teams::of(self.groups * self.heads, self.rows)?;
        let source = source.set("TEAM", teams.team).set("THREADS", teams.threads);
        Some(source.launch(file, text, teams.geometry, arguments))
    }

    /// Sums of rows of `x`, weighted per head.
    fn sums(&self, x: Argument, weights: Argument, into: Argument) -> Option<Launch> {
        let blocks = self.groups * self.heads.div_ceil(8) * self.width.div_ceil(128);
        let text = include_str!("../kernels/pool_sum.cu");
        Some(self.source().launch("pool_sum", text, Geometry::line(blocks, 128)?, vec![x, weights, into]))
    }
}

pub(super) fn lower(op: AttnPool, inputs: &[&TensorType]) -> Option<Lowered> {
    let shape = Shape::of(inputs[0], inputs[1]);
    let mask = Input(if op.masked { 2 } else { 0 });
    let source = shape.source().set("MASKED", u8::from(op.masked));
    let launches = vec![
        shape.scores(Input(0), Input(1), false, op.scale, Output(1))?,
        shape.by_head(
            "pool_softmax",
            include_str!("../kernels/pool_softmax.cu"),
            source,
            vec![mask, Output(1)],
        )?,
        shape.sums(Input(0), Output(1), Output(0))?,
    ];
    Some(Lowered::new("attn_pool", launches))
}

pub(super) fn lower_grad(op: AttnPoolGrad, inputs: &[&TensorType]) -> Option<Lowered> {
    let shape = Shape::of(inputs[1], inputs[2]);
    let slopes = shape.groups * shape.heads * shape.rows * 4;
    let by_group = shape.groups * shape.heads * shape.width * 4;
    let partial = if shape.groups > 1 { Scratch(slopes) } else { Output(1) };
    let source = shape.source().float("FACTOR", op.scale);
    let of_rows = shape.source().set("THREADS", THREADS).launch(
        "pool_rows_grad",
        include_str!("../kernels/pool_rows_grad.cu"),
        each(shape.groups * shape.rows * shape.width)?,
        vec![Input(0), Input(2), Input(3), Scratch(0), Output(0)],
    );
    let mut launches = vec![
        shape.scores(Input(1), Input(0), true, 1.0, Scratch(0))?,
        shape.by_head(
            "pool_slopes",
            include_str!("../kernels/pool_slopes.cu"),
            source,
            vec![Input(3), Scratch(0)],
        )?,
        of_rows,
        shape.sums(Input(1), Scratch(0), partial)?,
    ];
    if shape.groups > 1 {
        let cols = shape.heads * shape.width;
        let source = Source::new().set("ROWS", shape.groups).set("COLS", cols).set("CHUNK", shape.groups);
        let wide = u32::try_from(cols.div_ceil(THREADS as usize)).ok()?;
        let geometry = Geometry { grid: [wide, 1, 1], block: [THREADS, 1, 1], shared: 0 };
        let text = include_str!("../kernels/sum_rows.cu");
        let source = source.set("THREADS", THREADS);
        launches.push(source.launch("sum_rows", text, geometry, vec![partial, Output(1)]));
    }
    let scratch = slopes + if shape.groups > 1 { by_group } else { 0 };
    Some(Lowered::new("attn_pool_grad", launches).with_scratch(scratch))
}
