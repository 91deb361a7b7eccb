//! The ops. One op, one file; adding one touches its file and its line in the registry below.

#[macro_use]
mod registry;
pub mod activation;
mod affine;
mod attention;
mod binary;
mod broadcast;
mod check;
mod concat;
mod constant;
mod convert;
mod emit;
mod fused;
mod inject;
mod iota;
mod linear;
mod loss;
mod matmul;
mod matmul_act_grad;
mod norm;
mod optim;
mod pad;
mod reduce;
mod reshape;
pub mod result_types;
mod rows;
mod slice;
mod spec;
mod transpose;
mod unary;
mod weight_grad;

pub use activation::Activation;
pub use spec::OpSpec;

registry! {
    // leaves
    constant::Constant,
    iota::Iota,
    // element by element
    unary::Unary,
    binary::Binary,
    affine::Affine,
    convert::Convert,
    convert::ToFloat,
    convert::ToInt,
    fused::FusedElementwise,
    // over axes
    reduce::Reduce,
    // movement
    reshape::Reshape,
    transpose::Transpose,
    broadcast::Broadcast,
    slice::Slice,
    pad::Pad,
    concat::Concat,
    // products
    matmul::Matmul,
    matmul_act_grad::MatmulActGrad,
    linear::Linear,
    weight_grad::WeightGrad,
    // norms
    norm::LayerNorm,
    norm::LayerNormGrad,
    norm::AddLayerNorm,
    norm::RmsNorm,
    norm::RmsNormGrad,
    norm::AddRmsNorm,
    // attention
    attention::Attention,
    attention::AttentionGrad,
    attention::Rope,
    attention::CacheWrite,
    attention::CachedAttention,
    attention::DeformableAttention,
    attention::DeformableAttentionGrad,
    // rows
    rows::Softmax,
    rows::Argmax,
    rows::Embedding,
    rows::EmbeddingGrad,
    rows::GatherRows,
    rows::ScatterRows,
    rows::MixRows,
    rows::MixRowsGrad,
    // loss
    loss::CrossEntropy,
    loss::CrossEntropyGrad,
    loss::LinearCrossEntropy,
    // injection
    inject::AttnPool,
    inject::AttnPoolGrad,
    inject::AmpProject,
    inject::AgfGate,
    inject::AgfInject,
    inject::AgfInjectGrad,
    inject::AgfInjectNorm,
    inject::AgfInjectNormGrad,
    inject::LowRankLinear,
    // optimizer
    optim::AdamW,
    optim::MultiAdamW,
    optim::GlobalNorm,
}

pub use binary::BinaryKind;
pub use fused::{Load, Step};
pub use inject::{Attach, NormKind, PoolAttention};
pub use reduce::ReduceKind;
pub use rows::ScatterMode;
pub use unary::UnaryKind;
