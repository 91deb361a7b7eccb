//! The kernels: plain functions over slices and small parameter structs, each with its gradient.
//!
//! Buffers are contiguous and row-major unless they are a [`Mat`] or [`MatMut`] with a row stride. They hold `f32`, or, where
//! a kernel is generic over [`Element`](crate::element::Element) or takes [`Floats`](crate::element::Floats), `f32` or
//! `bf16`; kernels compute in `f32` and round what they give once. Scratch
//! comes from the caller, and every kernel that wants some says how much. Where an input is an `Option`, leaving it
//! out means that the output buffer holds it already: the kernel works in place.
#![allow(
    clippy::needless_pass_by_value,
    reason = "views and parameter blocks are handed over like the borrows that they hold"
)]

pub(crate) mod activation;
mod adamw;
mod agf_inject;
mod attention;
mod attn_pool;
#[cfg(test)]
mod batch_invariance;
mod cache;
mod convert;
mod cross_entropy;
mod deformable;
mod elementwise;
mod embedding;
mod error;
mod float_mat;
mod gemm;
mod mix_rows;
mod norm;
mod permute;
mod reduce;
mod rope;
mod rows;
mod softmax;
#[cfg(test)]
pub(crate) mod testing;
mod view;

pub use crossloom_ir::op::Activation;

pub use adamw::{AdamW, AdamWStep, adamw};
pub use agf_inject::{AgfInject, agf_inject, agf_inject_grad, agf_inject_state_grad};
pub use attention::{Attention, CachedAttention, attention, attention_grad, cached_attention};
pub use attn_pool::{AttnPool, attn_pool, attn_pool_grad};
pub use cache::{CacheShape, Places, cache_write};
pub use convert::convert;
pub use cross_entropy::{cross_entropy, cross_entropy_grad};
pub use deformable::{DeformableAttention, deformable_attention, deformable_attention_grad};
pub use elementwise::{BinaryOp, Broadcast, Float, Program, Step, UnaryOp};
pub use embedding::{embedding, embedding_blocks, embedding_grad};
pub use error::KernelError;
pub(crate) use error::{distinct, indices};
pub use float_mat::{FloatMat, FloatMatMut};
pub use gemm::{Blocks, Epilogue, Gemm, gemm, gemm_blocks};
pub use mix_rows::{MixRows, mix_rows, mix_rows_grad};
pub use norm::{
    Incoming, add_layer_norm, add_rms_norm, layer_norm, layer_norm_grad, norm_grad_scratch_len, rms_norm,
    rms_norm_grad,
};
pub use permute::permute;
pub use reduce::{sum_cols, sum_rows, sum_rows_scratch_len, sum_squares};
pub use rope::{RopeTable, rope, rope_in_place, rope_table};
pub use rows::{Rows, Scatter, gather_rows, scatter_rows};
pub use softmax::softmax;
pub use view::{Mat, MatMut};
