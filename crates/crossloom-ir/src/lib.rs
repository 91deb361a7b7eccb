//! The intermediate representation of crossloom: typed SSA over static tensors.
//!
//! A [`Func`] is straight-line code: parameters, instructions in program order, results. Every value has a
//! [`TensorType`]; every instruction has an [`Op`] and a [`Scope`] such as `vision.block.7.attn`, which is the grouping
//! of every picture and every profile.
//!
//! - [`op`]: one op, one file: type rule, reference semantics, gradient rule, expansion, cost, printed form.
//! - [`text`]: the text form, parseable both ways.
//! - [`verify`]: every property a well-formed function has.
//! - [`interp`]: the reference interpreter, in `f32` and `f64`.
//! - [`quantized`]: the numbers that blocks of quantized weights stand for.
//! - [`picture`]: functions as nodes to be drawn.
//! - [`expand`]: rewriting a function into the primitive ops.
//!
//! This crate knows neither luminal, nor a backend, nor a model.

pub mod attrs;
pub mod builder;
pub mod cost;
pub mod dtype;
pub mod entity;
pub mod error;
pub mod expand;
pub mod func;
pub mod grad;
pub mod interp;
pub mod op;
pub mod picture;
pub mod quantized;
pub mod rewrite;
pub mod text;
pub mod types;
pub mod verify;

pub use builder::Builder;
pub use cost::Cost;
pub use dtype::DType;
pub use entity::{Inst, Value};
pub use error::{IrError, IrErrors};
pub use func::{Func, InstData, Param, Role, Scope};
pub use interp::{Real, Tensor};
pub use op::{Op, OpSpec};
pub use types::TensorType;
