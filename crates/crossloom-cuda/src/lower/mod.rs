//! From an op to its kernels: one file per family of ops. Shapes become constants of the source.
//!
//! An op without a kernel for its types is expanded by the compiler until it has one.

mod attention;
mod cache;
mod deformable;
mod elementwise;
mod head;
mod inject;
mod inject_norm;
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

use crossloom_ir::{Op, TensorType};

use crate::Geometry;
use crate::launch::{Lowered, Types};
use crate::product::Products;

/// How ops are lowered.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// What computes matrix products.
    pub products: Products,
    /// Bytes of logits that exist at once, unless one row has more.
    pub logits: usize,
}

impl Default for Rules {
    /// With kernels of this crate alone, and as many logits as keep products large.
    fn default() -> Self {
        Self { products: Products::Own, logits: 1 << 28 }
    }
}

/// The kernels of an op on those types, if there are any.
pub fn lower(op: &Op, inputs: &[&TensorType], outputs: &[&TensorType]) -> Option<Lowered> {
    lower_by(Rules::default(), op, inputs, outputs)
}

/// What an op on those types becomes: a product of the library where that computes them and the rule gives it one, otherwise kernels, if
/// there are any.
pub fn lower_by(rules: Rules, op: &Op, inputs: &[&TensorType], outputs: &[&TensorType]) -> Option<Lowered> {
    if let Products::Library { tf32 } = rules.products
        && let Some(product) = library::lower(op, inputs, outputs, tf32)
    {
        return Some(product);
    }
    // A launch has at least one block.
    let countable = |ty: &&TensorType| ty.elements() > 0 && u32::try_from(ty.elements()).is_ok();
    if !inputs.iter().chain(outputs).all(countable) {
        return None;
    }
    let types = Types { inputs, outputs };
    match op {
        Op::Unary(_)
        | Op::Binary(_)
        | Op::Affine(_)
        | Op::FusedElementwise(_)
        | Op::Constant(_)
        | Op::Convert(_) => elementwise::lower(op, types),
        Op::ToFloat(_) | Op::ToInt(_) | Op::Iota(_) => movement::lower_numbers(op, types),
        Op::Broadcast(_) | Op::Slice(_) | Op::Pad(_) | Op::Concat(_) | Op::Transpose(_) | Op::Reshape(_) => {
            movement::lower(op, types)
        }
        Op::Reduce(op) => reduce::lower(op, types),
        Op::Matmul(op) => product::lower_matmul(*op, types),
        Op::Linear(op) => product::lower_linear(*op, types),
        Op::MatmulActGrad(op) => product::lower_act_grad(*op, types),
        Op::WeightGrad(_) => product::lower_weight_grad(types),
        Op::LayerNorm(_)
        | Op::LayerNormGrad(_)
        | Op::AddLayerNorm(_)
        | Op::RmsNorm(_)
        | Op::RmsNormGrad(_)
        | Op::AddRmsNorm(_) => norm::lower(op, types),
        Op::Attention(op) => attention::lower(op, types),
        Op::AttentionGrad(op) => attention::lower_grad(&op.0, types),
        Op::CachedAttention(op) => attention::lower_cached(op, types),
        Op::CacheWrite(_) => cache::lower(types),
        Op::DeformableAttention(op) => deformable::lower(op, types),
        Op::DeformableAttentionGrad(op) => deformable::lower_grad(&op.0, types),
        Op::Rope(op) => rope::lower(op, types),
        Op::Softmax(_)
        | Op::Argmax(_)
        | Op::Embedding(_)
        | Op::EmbeddingGrad(_)
        | Op::GatherRows(_)
        | Op::ScatterRows(_)
        | Op::MixRows(_)
        | Op::MixRowsGrad(_) => rows::lower(op, types),
        Op::CrossEntropy(_) | Op::CrossEntropyGrad(_) => loss::lower(op, types),
        Op::LinearCrossEntropy(op) => head::lower(*op, rules, types),
        Op::AttnPool(op) => pool::lower(*op, types),
        Op::AttnPoolGrad(op) => pool::lower_grad(*op, types),
        Op::AgfInject(_) | Op::AgfInjectGrad(_) => inject::lower(op, types),
        Op::AgfInjectNorm(op) => inject_norm::lower(op, types),
        Op::AgfInjectNormGrad(op) => inject_norm::lower_grad(op, types),
        Op::LowRankLinear(op) => product::lower_low_rank(*op, types),
        Op::AdamW(op) => optim::lower_one(op, types),
        Op::MultiAdamW(op) => optim::lower_all(op, types),
        Op::GlobalNorm(_) => optim::lower_norm(types),
        // Projections of all taps and gates are taken apart before anything is lowered.
        Op::AmpProject(_) | Op::AgfGate(_) => None,
    }
}

/// Threads of a block whose threads work one by one.
const THREADS: u32 = 256;

/// Blocks for so many threads that work one by one.
fn each(elements: usize) -> Option<Geometry> {
    Geometry::line(elements.div_ceil(THREADS as usize), THREADS)
}

/// How many numbers side by side a lane takes of a row of so many: as many as keep a warp busy.
fn wide(cols: usize) -> usize {
    [8, 4].into_iter().find(|&wide| cols.is_multiple_of(wide) && cols >= 32 * wide).unwrap_or(1)
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
