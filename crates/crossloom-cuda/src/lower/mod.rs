//! From an op to its kernels: one file per family of ops. Shapes become constants of the source.
//!
//! An op without a kernel for its types is expanded by the compiler until it has one.

mod attention;
mod elementwise;
mod inject;
mod library;
mod loss;
mod movement;
mod norm;
mod optim;
mod pool;
mod product;
mod reduce;
mod rope;
mod rows;

use crossloom_ir::{DType, Op, TensorType};

use crate::Geometry;
use crate::launch::Lowered;
use crate::product::Products;

/// What an op on those types becomes: a product of the library where that computes them and the rule gives it one, otherwise kernels, if
/// there are any.
pub fn lower_with(
    products: Products,
    op: &Op,
    inputs: &[&TensorType],
    outputs: &[&TensorType],
) -> Option<Lowered> {
    let of_library = match products {
        Products::Own => None,
        Products::Library { tf32 } => library::lower(op, inputs, outputs, tf32),
    };
    of_library.or_else(|| lower(op, inputs, outputs))
}

/// The kernels of an op on those types, if there are any.
pub fn lower(op: &Op, inputs: &[&TensorType], outputs: &[&TensorType]) -> Option<Lowered> {
    let types = || inputs.iter().chain(outputs);
    // A launch has at least one block.
    let narrow = types().any(|ty| ty.dtype == DType::Bf16);
    let known = types().all(|ty| matches!(ty.dtype, DType::F32 | DType::I32 | DType::Bf16));
    let filled = types().all(|ty| ty.elements() > 0 && u32::try_from(ty.elements()).is_ok());
    if !known || !filled || (narrow && !takes_bf16(op)) {
        return None;
    }
    match op {
        Op::Unary(_)
        | Op::Binary(_)
        | Op::Affine(_)
        | Op::FusedElementwise(_)
        | Op::Constant(_)
        | Op::Convert(_) => elementwise::lower(op, inputs, outputs),
        Op::ToFloat(_) | Op::ToInt(_) | Op::Iota(_) => movement::lower_numbers(op, outputs),
        op if is_movement(op) => movement::lower(op, inputs, outputs),
        Op::Reduce(op) => reduce::lower(op, inputs),
        Op::Matmul(op) => product::lower_matmul(*op, inputs, outputs),
        Op::Linear(op) => product::lower_linear(*op, inputs, outputs),
        Op::LayerNorm(_)
        | Op::LayerNormGrad(_)
        | Op::AddLayerNorm(_)
        | Op::RmsNorm(_)
        | Op::RmsNormGrad(_)
        | Op::AddRmsNorm(_) => norm::lower(op, inputs),
        Op::Attention(op) => attention::lower(op, inputs),
        Op::AttentionGrad(op) => attention::lower_grad(&op.0, inputs),
        Op::Rope(op) => rope::lower(op, inputs),
        Op::Softmax(_)
        | Op::Argmax(_)
        | Op::Embedding(_)
        | Op::EmbeddingGrad(_)
        | Op::GatherRows(_)
        | Op::ScatterRows(_) => rows::lower(op, inputs),
        Op::CrossEntropy(_) | Op::CrossEntropyGrad(_) => loss::lower(op, inputs),
        Op::AttnPool(op) => pool::lower(*op, inputs),
        Op::AttnPoolGrad(op) => pool::lower_grad(*op, inputs),
        Op::AgfInject(_) | Op::AgfInjectGrad(_) => inject::lower(op, inputs),
        Op::AdamW(op) => optim::lower_one(op, inputs),
        Op::MultiAdamW(op) => optim::lower_all(op, inputs),
        Op::GlobalNorm(_) => optim::lower_norm(inputs),
        // Amp projections, gates, caches and deformable attention have none yet.
        _ => None,
    }
}

/// Whether an op's kernels have 16-bit forms. Others are computed between conversions.
fn takes_bf16(op: &Op) -> bool {
    let product = matches!(op, Op::Linear(_) | Op::Matmul(_));
    let element_wise =
        matches!(op, Op::Unary(_) | Op::Binary(_) | Op::Affine(_) | Op::FusedElementwise(_) | Op::Convert(_));
    product || element_wise || is_movement(op)
}

fn is_movement(op: &Op) -> bool {
    matches!(
        op,
        Op::Broadcast(_) | Op::Slice(_) | Op::Pad(_) | Op::Concat(_) | Op::Transpose(_) | Op::Reshape(_)
    )
}

/// Threads of a block whose threads work one by one.
const THREADS: u32 = 256;

/// Blocks for so many threads that work one by one.
fn each(elements: usize) -> Option<Geometry> {
    Geometry::line(elements.div_ceil(THREADS as usize), THREADS)
}

/// How rows are given to teams of threads.
#[derive(Clone, Copy)]
struct Teams {
    /// Threads of a team.
    team: u32,
    /// Threads of a block.
    threads: u32,
    geometry: Geometry,
}

impl Teams {
    /// A warp for every row; a block of its own for a row that would keep a warp busy for long.
    fn of(rows: usize, cols: usize) -> Option<Self> {
        if cols > 2048 { Self::blocks(rows) } else { Self::warps(rows) }
    }

    /// A warp for every row.
    fn warps(rows: usize) -> Option<Self> {
        let geometry = Geometry::line(rows.div_ceil(4), 128)?;
        Some(Self { team: 32, threads: 128, geometry })
    }

    fn blocks(rows: usize) -> Option<Self> {
        let geometry = Geometry::line(rows, THREADS)?.with_shared(THREADS as usize / 32 * 4);
        Some(Self { team: THREADS, threads: THREADS, geometry })
    }
}
