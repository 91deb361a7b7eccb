//! Attention and its gradient.

use crossloom_ir::TensorType;
use crossloom_ir::op::Attention;

use crate::Geometry;
use crate::launch::{Argument, Lowered, Source};
use Argument::{Input, Output, Scratch};

/// Queries, and keys, of a tile.
const TILE: usize = 32;
/// The widest head whose tiles fit into the shared memory of every device.
const WIDEST: usize = 128;

struct Shape {
    samples: usize,
    queries: usize,
    keys: usize,
    width: usize,
    source: Source,
}

impl Shape {
    fn of(op: &Attention, q: &TensorType, k: &TensorType) -> Option<Self> {
        let (samples, queries, keys, width) = (q.shape[0], q.shape[1], k.shape[1], q.shape[2] / op.heads);
        if width > WIDEST {
            return None;
        }
        let source = Source::new().set("QUERIES", queries).set("KEYS", keys).set("WIDTH", width);
        let source = source.set("HEADS", op.heads).set("KV_HEADS", op.kv_heads).float("SCALE", op.scale);
        let source = source.set("CAUSAL", u8::from(op.causal)).set("SEGMENTS", u8::from(op.segments));
        Some(Self { samples, queries, keys, width, source })
    }

    /// Blocks for the tiles of so many rows of so many heads, with so many tiles of theirs in shared memory.
    fn geometry(&self, rows: usize, heads: usize, tiles: usize) -> Option<Geometry> {
        let blocks = self.samples * heads * rows.div_ceil(TILE);
        Some(Geometry::line(blocks, 128)?.with_shared(tiles * TILE * (self.width + 1) * 4))
    }
}

pub(super) fn lower(op: &Attention, inputs: &[&TensorType]) -> Option<Lowered> {
    let shape = Shape::of(op, inputs[0], inputs[1])?;
    let segments = Input(if op.segments { 3 } else { 0 });
    let arguments = vec![Input(0), Input(1), Input(2), segments, Output(0), Output(1)];
    let geometry = shape.geometry(shape.queries, op.heads, 3)?;
    let launch =
        shape.source.launch("attention", include_str!("../kernels/attention.cu"), geometry, arguments);
    Some(Lowered::new("attention", vec![launch]))
}

pub(super) fn lower_grad(op: &Attention, inputs: &[&TensorType]) -> Option<Lowered> {
    let shape = Shape::of(op, inputs[1], inputs[2])?;
    let segments = Input(if op.segments { 6 } else { 0 });
    let deltas = shape.samples * op.heads * shape.queries * 4;
    let of_queries = shape.source.clone().launch(
        "attention_grad_queries",
        include_str!("../kernels/attention_grad_queries.cu"),
        shape.geometry(shape.queries, op.heads, 4)?,
        vec![Input(0), Input(1), Input(2), Input(3), Input(4), Input(5), segments, Output(0), Scratch(0)],
    );
    let of_keys = shape.source.clone().launch(
        "attention_grad_keys",
        include_str!("../kernels/attention_grad_keys.cu"),
        shape.geometry(shape.keys, op.kv_heads, 4)?,
        vec![Input(0), Input(1), Input(2), Input(3), Input(5), segments, Scratch(0), Output(1), Output(2)],
    );
    Some(Lowered::new("attention_grad", vec![of_queries, of_keys]).with_scratch(deltas))
}
