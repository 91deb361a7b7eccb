//! From an op to the kernel that computes it: one file per family of ops.
//!
//! Each file turns the op's attributes and types into a kernel bound to those shapes. An op without a kernel is expanded
//! by the compiler until it has one.

mod attention;
mod cache;
mod deformable;
mod elementwise;
mod inject;
mod linear;
mod loss;
mod movement;
mod norm;
mod optim;
mod pool;
mod reduce;
mod rope;
mod rows;

use crossloom_ir::op::Affine;
use crossloom_ir::{DType, Op, TensorType};

use super::io::Lowered;
pub(super) use rope::Tables;

/// The kernel for an op on those types. One that takes or gives other element types is none for them.
pub(super) fn lower(op: &Op, inputs: &[&TensorType], outputs: &[&TensorType]) -> Option<Lowered> {
    choose(op, inputs, outputs).filter(|lowered| lowered.takes(inputs, outputs))
}

fn choose(op: &Op, inputs: &[&TensorType], outputs: &[&TensorType]) -> Option<Lowered> {
    match op {
        // Nothing is left to convert, so it can stay where it is.
        Op::Convert(_) if inputs[0].dtype == DType::F32 && outputs[0].dtype == DType::F32 => {
            elementwise::lower(&Op::Affine(Affine { mul: 1.0, add: 0.0 }), inputs, outputs)
        }
        Op::Unary(_) | Op::Binary(_) | Op::Affine(_) | Op::FusedElementwise(_) | Op::Constant(_) => {
            elementwise::lower(op, inputs, outputs)
        }
        Op::Convert(_)
        | Op::ToFloat(_)
        | Op::ToInt(_)
        | Op::Iota(_)
        | Op::Broadcast(_)
        | Op::Slice(_)
        | Op::Pad(_)
        | Op::Concat(_)
        | Op::Transpose(_)
        | Op::Reshape(_) => movement::lower(op, inputs, outputs),
        Op::Reduce(op) => reduce::lower(op, inputs),
        Op::Matmul(op) => Some(linear::lower_matmul(*op, inputs)),
        Op::Linear(op) => linear::lower_linear(*op, inputs),
        Op::LayerNorm(_)
        | Op::LayerNormGrad(_)
        | Op::AddLayerNorm(_)
        | Op::RmsNorm(_)
        | Op::RmsNormGrad(_)
        | Op::AddRmsNorm(_) => norm::lower(op, inputs),
        Op::Attention(op) => attention::lower(op, inputs),
        Op::AttentionGrad(op) => attention::lower_grad(&op.0, inputs, outputs),
        Op::CacheWrite(_) => Some(cache::lower_write(inputs)),
        Op::CachedAttention(op) => cache::lower_attention(op, inputs),
        Op::DeformableAttention(op) => Some(deformable::lower(op, inputs, outputs)),
        Op::DeformableAttentionGrad(op) => Some(deformable::lower_grad(&op.0, inputs, outputs)),
        Op::Rope(op) => Some(rope::lower(op, inputs)),
        Op::Softmax(_)
        | Op::Argmax(_)
        | Op::Embedding(_)
        | Op::EmbeddingGrad(_)
        | Op::GatherRows(_)
        | Op::ScatterRows(_)
        | Op::MixRows(_)
        | Op::MixRowsGrad(_) => rows::lower(op, inputs),
        Op::CrossEntropy(_) | Op::CrossEntropyGrad(_) => loss::lower(op, inputs),
        Op::AttnPool(op) => Some(pool::lower(*op, inputs, outputs)),
        Op::AttnPoolGrad(op) => Some(pool::lower_grad(*op, inputs, outputs)),
        Op::AgfInject(_) | Op::AgfInjectGrad(_) => inject::lower(op, inputs, outputs),
        Op::AdamW(_) | Op::GlobalNorm(_) => optim::lower(op),
        // The last are made for targets whose kernels start one by one and read their operands from afar.
        Op::MultiAdamW(_)
        | Op::AmpProject(_)
        | Op::AgfGate(_)
        | Op::LinearCrossEntropy(_)
        | Op::AgfInjectNorm(_)
        | Op::AgfInjectNormGrad(_)
        | Op::LowRankLinear(_)
        | Op::MatmulActGrad(_)
        | Op::WeightGrad(_) => None,
    }
}
