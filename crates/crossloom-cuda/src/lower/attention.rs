//! Attention, alone, backwards and over a cache: on tensor cores where queries, keys and values are `bf16`.

use crossloom_ir::DType;
use crossloom_ir::op::{Attention, CachedAttention};

use crate::Geometry;
use crate::launch::{ABSENT, Argument, Launch, Lowered, Source, Types};
use Argument::{Fault, Input, Output, Scratch};

/// The widest head whose tiles fit into the shared memory of every device.
const WIDEST: usize = 128;
/// Positions of a cache that one block reads for a new token.
const CHUNK: usize = 256;
/// The most query heads that a block reads keys and values for.
const LARGEST_GROUP: usize = 8;

/// Extents, and what all kernels of attention are told.
#[derive(Clone)]
struct Shape<'t> {
    samples: usize,
    queries: usize,
    keys: usize,
    width: usize,
    heads: usize,
    kv_heads: usize,
    /// Whether queries, keys and values are `bf16`.
    narrow: bool,
    source: Source<'t>,
}

impl<'t> Shape<'t> {
    /// Of operands of which queries are the `first`, then keys, then values.
    fn of(op: &Attention, types: Types<'t>, first: usize) -> Option<Self> {
        let [q, k, v] = [0, 1, 2].map(|i| types.inputs[first + i]);
        let (samples, queries, keys, width) = (q.shape[0], q.shape[1], k.shape[1], q.shape[2] / op.heads);
        if width > WIDEST {
            return None;
        }
        let source = types.source().sets([
            ("SAMPLES", samples),
            ("SLOTS", k.shape[0]),
            ("QUERIES", queries),
            ("KEYS", keys),
            ("WIDTH", width),
            ("HEADS", op.heads),
            ("KV_HEADS", op.kv_heads),
            ("DEPTH", width.next_multiple_of(16)),
        ]);
        let source = source.float("SCALE", op.scale).flag("CAUSAL", op.causal).flag("SEGMENTS", op.segments);
        let narrow = [q, k, v].iter().all(|ty| ty.dtype == DType::Bf16);
        Some(Self { samples, queries, keys, width, heads: op.heads, kv_heads: op.kv_heads, narrow, source })
    }

    /// Blocks for the tiles of so many rows of so many heads, with so many tiles of 32 rows in shared memory.
    fn tiles(&self, rows: usize, heads: usize, tiles: usize) -> Option<Geometry> {
        let blocks = self.samples * heads * rows.div_ceil(32);
        Some(Geometry::line(blocks, 128)?.with_shared(tiles * 32 * (self.width + 1) * 4))
    }

    /// The same for tiles of 64 rows of 16-bit numbers, with so many rows in shared memory.
    fn narrow_tiles(&self, rows: usize, heads: usize, shared_rows: usize) -> Option<Geometry> {
        let blocks = self.samples * heads * rows.div_ceil(64);
        let line = self.width.next_multiple_of(16) + 8;
        Some(Geometry::line(blocks, 128)?.with_shared(shared_rows * line * 2))
    }

    /// Forwards, over keys that are given or over those of a cache.
    fn forward(&self, cached: bool, arguments: Vec<Argument>) -> Option<Launch> {
        let source = self.source.clone().flag("CACHED", cached);
        if self.narrow {
            let text = include_str!("../kernels/attention_mma.cu");
            let geometry = self.narrow_tiles(self.queries, self.heads, 3 * 64)?;
            source.launch("attention_mma", text, geometry, arguments)
        } else {
            let text = include_str!("../kernels/attention.cu");
            source.launch("attention", text, self.tiles(self.queries, self.heads, 3)?, arguments)
        }
    }
}

pub(super) fn lower(op: &Attention, types: Types<'_>) -> Option<Lowered> {
    let shape = Shape::of(op, types, 0)?;
    let segments = if op.segments { Input(3) } else { ABSENT };
    let qkv = [Input(0), Input(1), Input(2)];
    let arguments = [&qkv[..], &[segments, ABSENT, ABSENT, ABSENT, Output(0), Output(1), ABSENT]].concat();
    let name = if shape.narrow { "attention_mma" } else { "attention" };
    Some(Lowered::new(name, vec![shape.forward(false, arguments)?]))
}

pub(super) fn lower_grad(op: &Attention, types: Types<'_>) -> Option<Lowered> {
    let shape = Shape::of(op, types, 1)?;
    let segments = if op.segments { Input(6) } else { ABSENT };
    let deltas = shape.samples * op.heads * shape.queries * 4;
    let queries =
        vec![Input(0), Input(1), Input(2), Input(3), Input(4), Input(5), segments, Output(0), Scratch(0)];
    let keys =
        vec![Input(0), Input(1), Input(2), Input(3), Input(5), segments, Scratch(0), Output(1), Output(2)];
    let source = || shape.source.clone();
    let (name, launches) = if shape.narrow && types.inputs[0].dtype == DType::Bf16 {
        let keys_at_once = if shape.width > 96 { 32 } else { 64 };
        let of_queries = source().set("TILE", keys_at_once).launch(
            "attention_mma_grad_queries",
            include_str!("../kernels/attention_mma_grad_queries.cu"),
            shape.narrow_tiles(shape.queries, op.heads, 2 * 64 + 2 * keys_at_once)?,
            queries,
        )?;
        let queries_at_once = if shape.width > 96 { 16 } else { 32 };
        let of_keys = source().set("TILE", queries_at_once).launch(
            "attention_mma_grad_keys",
            include_str!("../kernels/attention_mma_grad_keys.cu"),
            shape.narrow_tiles(shape.keys, op.kv_heads, 2 * 64 + 2 * queries_at_once)?,
            keys,
        )?;
        ("attention_mma_grad", vec![of_queries, of_keys])
    } else {
        let of_queries = source().launch(
            "attention_grad_queries",
            include_str!("../kernels/attention_grad_queries.cu"),
            shape.tiles(shape.queries, op.heads, 4)?,
            queries,
        )?;
        let of_keys = source().launch(
            "attention_grad_keys",
            include_str!("../kernels/attention_grad_keys.cu"),
            shape.tiles(shape.keys, op.kv_heads, 4)?,
            keys,
        )?;
        ("attention_grad", vec![of_queries, of_keys])
    };
    Some(Lowered::new(name, launches).with_scratch(deltas))
}

pub(super) fn lower_cached(op: &CachedAttention, types: Types<'_>) -> Option<Lowered> {
    let CachedAttention { heads, kv_heads, segments, scale } = *op;
    let as_causal = Attention { heads, kv_heads, causal: true, segments, scale };
    let shape = Shape::of(&as_causal, types, 0)?;
    let place = if segments { [4, 5, 6] } else { [3, 4, 5] }.map(Input);
    let segments = if segments { Input(3) } else { ABSENT };
    let operands = [&[Input(0), Input(1), Input(2), segments], &place[..]].concat();
    if shape.queries == 1 && shape.width.is_multiple_of(8) && heads / kv_heads <= LARGEST_GROUP {
        return decode(&shape, &operands, place);
    }
    let arguments = [&operands[..], &[Output(0), ABSENT, Fault]].concat();
    let name = if shape.narrow { "cached_attention_mma" } else { "cached_attention" };
    Some(Lowered::new(name, vec![shape.forward(true, arguments)?]))
}

/// One new token per sequence: chunks of the cache, then their parts together.
fn decode(shape: &Shape<'_>, operands: &[Argument], place: [Argument; 3]) -> Option<Lowered> {
    let chunks = shape.keys.div_ceil(CHUNK);
    let group = shape.heads / shape.kv_heads;
    let source = shape.source.clone().sets([("CHUNK", CHUNK), ("GROUP", group)]);
    let parts = 128 / (shape.width / 8);
    let shared = (group * (shape.width + CHUNK) + parts * shape.width) * 4;
    let geometry = Geometry::line(shape.samples * shape.kv_heads * chunks, 128)?.with_shared(shared);
    let read = source.clone().launch(
        "attention_decode",
        include_str!("../kernels/attention_decode.cu"),
        geometry,
        [operands, &[Scratch(0), Fault]].concat(),
    )?;
    let join = source.launch(
        "attention_decode_join",
        include_str!("../kernels/attention_decode_join.cu"),
        Geometry::line((shape.samples * shape.heads).div_ceil(4), 128)?,
        vec![Scratch(0), place[1], place[2], Output(0)],
    )?;
    let scratch = shape.samples * shape.heads * chunks * (shape.width + 2) * 4;
    Some(Lowered::new("attention_decode", vec![read, join]).with_scratch(scratch))
}
