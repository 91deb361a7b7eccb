//! Matrix products, with what is applied to their results.

use crossloom_ir::DType;
use crossloom_ir::op::{Activation, Linear, LowRankLinear, Matmul, UnaryKind};

use super::elementwise::function;
use crate::Geometry;
use crate::launch::{ABSENT, Argument, Launch, Lowered, Source, Types, element};
use Argument::{Input, Output};

/// The most rows for which weights are streamed instead of tiled.
const FEW_ROWS: usize = 8;
/// Tiles from which on a device is busy with large ones.
const MANY_TILES: usize = 64;

/// A matrix, or several of one shape one behind the other.
#[derive(Clone, Copy)]
pub(super) struct Matrix {
    pub(super) at: Argument,
    pub(super) dtype: DType,
    pub(super) transposed: bool,
}

/// A low-rank pair for every part of the rows: `factor low up^T` is added to the sums. The launch's table holds low and up of each.
pub(super) struct LowRank {
    pub(super) rank: usize,
    pub(super) factor: f64,
    pub(super) low: DType,
    pub(super) up: DType,
    /// The type to which its product is rounded before it is added.
    pub(super) held: DType,
    pub(super) table: Vec<Argument>,
}

/// `c = act(a b + bias) + residual` for `batch` pairs.
pub(super) struct KernelProduct {
    pub(super) batch: usize,
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) a: Matrix,
    pub(super) b: Matrix,
    /// All pairs have the same `b`.
    pub(super) shared_b: bool,
    pub(super) low_rank: Option<LowRank>,
    pub(super) bias: Option<Argument>,
    pub(super) residual: Option<Argument>,
    /// With where the sums before it are written.
    pub(super) activation: Option<(Activation, Argument)>,
    /// The result, and its type where it is no result of the op.
    pub(super) c: (Argument, Option<DType>),
}

/// Threads of a block and the part of the result that it and a warp of it make.
struct Tile {
    block: [usize; 2],
    warp: [usize; 2],
    stages: usize,
}

impl Tile {
    fn of(product: &KernelProduct) -> Self {
        let large = product.batch * product.m.div_ceil(128) * product.n.div_ceil(128);
        if product.m >= 128 && product.n >= 128 && large >= MANY_TILES {
            Self { block: [128, 128], warp: [64, 32], stages: 3 }
        } else {
            Self { block: [64, 64], warp: [32, 32], stages: 3 }
        }
    }

    fn threads(&self) -> usize {
        self.block[0] / self.warp[0] * (self.block[1] / self.warp[1]) * 32
    }

    /// Bytes of all stages, or of a low-rank pair's tiles.
    fn shared(&self, product: &KernelProduct) -> usize {
        let lines = |extent: usize, along_k: bool| if along_k { 32 * (extent + 8) } else { extent * 40 };
        let stage = lines(self.block[0], product.a.transposed) + lines(self.block[1], !product.b.transposed);
        let pair = (self.block[0] + self.block[1]) * 40;
        2 * (self.stages * stage).max(pair)
    }
}

impl KernelProduct {
    /// Whether tensor cores multiply it.
    pub(super) fn is_narrow(&self) -> bool {
        let pairs = self.low_rank.iter().flat_map(|pair| [pair.low, pair.up]);
        [self.a.dtype, self.b.dtype].into_iter().chain(pairs).all(|dtype| dtype == DType::Bf16)
    }

    /// Whether weights are streamed for a few rows.
    fn is_few(&self) -> bool {
        let plain = self.batch == 1 && self.low_rank.is_none() && !self.a.transposed && self.b.transposed;
        plain && self.m <= FEW_ROWS && self.k.is_multiple_of(8)
    }

    fn source<'t>(&self, types: Types<'t>) -> Source<'t> {
        let source = types.source().sets([("M", self.m), ("N", self.n), ("K", self.k)]);
        let source = source.flag("TRANSPOSE_A", self.a.transposed).flag("TRANSPOSE_B", self.b.transposed);
        let source = source.flag("BATCHED_B", !self.shared_b).flag("BIAS", self.bias.is_some());
        let source = source.flag("RESIDUAL", self.residual.is_some());
        let source = source.flag("ACTIVATED", self.activation.is_some());
        let function = self.activation.map_or("", |(act, _)| function(UnaryKind::Act(act)));
        let source = source.set("ACTIVATION", function);
        let source = source.set("RANK", self.low_rank.as_ref().map_or(0, |pair| pair.rank));
        let source = source.float("FACTOR", self.low_rank.as_ref().map_or(1.0, |pair| pair.factor));
        let wide = [DType::F32; 3];
        let [low, up, held] = self.low_rank.as_ref().map_or(wide, |pair| [pair.low, pair.up, pair.held]);
        let source = source.set("low_t", element(low)).set("up_t", element(up)).set("held_t", element(held));
        let source = source.set("a_t", element(self.a.dtype)).set("b_t", element(self.b.dtype));
        let source = match self.c.1 {
            Some(dtype) => source.set("c_t", element(dtype)),
            None => source,
        };
        source.table(self.low_rank.as_ref().map(|pair| pair.table.clone()).unwrap_or_default())
    }

    pub(super) fn launch(&self, types: Types<'_>) -> Option<Launch> {
        let source = self.source(types);
        let bias = self.bias.unwrap_or(ABSENT);
        let residual = self.residual.unwrap_or(ABSENT);
        let before = self.activation.map_or(ABSENT, |(_, before)| before);
        let pairs = if self.low_rank.is_some() { Argument::Table } else { ABSENT };
        if self.is_few() {
            // Numbers of blocks take registers while they are made.
            let (columns, steps) = match self.b.dtype {
                dtype if dtype.is_quantized() => (1, 1),
                _ if self.n < 8192 => (2, 2),
                _ => (4, 2),
            };
            let geometry = Geometry::line(self.n.div_ceil(4 * columns), 128)?;
            let arguments = vec![self.a.at, self.b.at, bias, residual, self.c.0, before];
            let text = include_str!("../kernels/gemv.cu");
            return source
                .sets([("COLUMNS", columns), ("STEPS", steps)])
                .launch("gemv", text, geometry, arguments);
        }
        let arguments = vec![self.a.at, self.b.at, bias, residual, pairs, self.c.0, before];
        let blocks = |tile: [usize; 2]| self.batch * self.m.div_ceil(tile[0]) * self.n.div_ceil(tile[1]);
        if !self.is_narrow() {
            let geometry = Geometry::line(blocks([64, 64]), 256)?.with_shared(2 * 16 * 68 * 4);
            return source.launch("gemm", include_str!("../kernels/gemm.cu"), geometry, arguments);
        }
        let tile = Tile::of(self);
        let source = source.flag("PAIRED", self.n.is_multiple_of(2)).sets([
            ("THREADS", tile.threads()),
            ("TILE_M", tile.block[0]),
            ("TILE_N", tile.block[1]),
            ("WARP_M", tile.warp[0]),
            ("WARP_N", tile.warp[1]),
            ("STAGES", tile.stages),
        ]);
        let threads = u32::try_from(tile.threads()).ok()?;
        let geometry = Geometry::line(blocks(tile.block), threads)?.with_shared(tile.shared(self));
        source.launch("gemm_mma", include_str!("../kernels/gemm_mma.cu"), geometry, arguments)
    }

    /// The kernel's name in plans: streamed, on tensor cores, or neither, and with what is done to the sums.
    fn name(&self, names: [&'static str; 3]) -> &'static str {
        names[if self.is_few() { 0 } else { usize::from(self.is_narrow()) + 1 }]
    }
}

pub(super) fn lower_matmul(op: Matmul, types: Types<'_>) -> Option<Lowered> {
    let [a, b] = [types.inputs[0], types.inputs[1]];
    let p = op.extents(&a.shape, &b.shape);
    let product = KernelProduct {
        batch: p.batch,
        m: p.m,
        n: p.n,
        k: p.k,
        a: Matrix { at: Input(0), dtype: a.dtype, transposed: op.transpose_a },
        b: Matrix { at: Input(1), dtype: b.dtype, transposed: op.transpose_b },
        shared_b: false,
        low_rank: None,
        bias: None,
        residual: None,
        activation: None,
        c: (Output(0), None),
    };
    // Blocks lie along the rows of a quantized matrix.
    let quantized = [a, b].iter().any(|ty| ty.dtype.is_quantized() && ty.last() % ty.dtype.block().0 != 0);
    let name = product.name(["gemv", "gemm", "gemm_mma"]);
    (!quantized).then_some(())?;
    Some(Lowered::new(name, vec![product.launch(types)?]))
}

pub(super) fn lower_linear(op: Linear, types: Types<'_>) -> Option<Lowered> {
    let (x, w) = (types.inputs[0], types.inputs[1]);
    let product = KernelProduct {
        batch: 1,
        m: x.rows(),
        n: w.shape[0],
        k: w.shape[1],
        a: Matrix { at: Input(0), dtype: x.dtype, transposed: false },
        b: Matrix { at: Input(1), dtype: w.dtype, transposed: true },
        shared_b: false,
        low_rank: None,
        bias: op.bias.then_some(Input(2)),
        residual: op.residual_index().map(Input),
        activation: op.act.map(|act| (act, Output(1))),
        c: (Output(0), None),
    };
    let name = product.name(match (op.act, op.residual) {
        (Some(_), _) => ["gemv_activation", "gemm_activation", "gemm_mma_activation"],
        (None, true) => ["gemv_residual", "gemm_residual", "gemm_mma_residual"],
        (None, false) => ["gemv_bias", "gemm_bias", "gemm_mma_bias"],
    });
    let in_place = op.residual_index().map(|at| (at, 0)).into_iter().collect();
    Some(Lowered::new(name, vec![product.launch(types)?]).in_place(in_place))
}

pub(super) fn lower_low_rank(op: LowRankLinear, types: Types<'_>) -> Option<Lowered> {
    let (x, w) = (types.inputs[0], types.inputs[1]);
    let pairs = types.inputs.get(op.first_pair()..)?;
    let (low, up) = (pairs[0], pairs[1]);
    // The kernel knows one rank and one type of each matrix, and rounds a branch as a product of its own would.
    let alike = |pair: &[&crossloom_ir::TensorType]| {
        pair[0].shape == low.shape && [pair[0].dtype, pair[1].dtype] == [low.dtype, up.dtype]
    };
    if !pairs.chunks_exact(2).all(alike) || low.dtype.is_quantized() || up.dtype.is_quantized() {
        return None;
    }
    let product = KernelProduct {
        batch: op.taps,
        m: x.shape[0] / op.taps,
        n: w.shape[0],
        k: w.shape[1],
        a: Matrix { at: Input(0), dtype: x.dtype, transposed: false },
        b: Matrix { at: Input(1), dtype: w.dtype, transposed: true },
        shared_b: true,
        low_rank: Some(LowRank {
            rank: low.shape[1],
            factor: op.scale,
            low: low.dtype,
            up: up.dtype,
            held: op.rounded,
            table: (op.first_pair()..types.inputs.len()).map(Input).collect(),
        }),
        bias: op.bias.then_some(Input(2)),
        residual: None,
        activation: op.act.map(|act| (act, Output(1))),
        c: (Output(0), None),
    };
    let name = product.name(["gemm_low_rank", "gemm_low_rank", "gemm_mma_low_rank"]);
    Some(Lowered::new(name, vec![product.launch(types)?]))
}
