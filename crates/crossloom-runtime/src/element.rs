//! Rust types of tensor elements.

use crossloom_ir::DType;

/// A Rust type that is the element of a tensor on the host. Any bits are a value of it.
pub trait Element: bytemuck::Pod {
    /// The element type it stands for.
    const DTYPE: DType;
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
}

impl Element for i32 {
    const DTYPE: DType = DType::I32;
}

impl Element for half::bf16 {
    const DTYPE: DType = DType::Bf16;
}

impl Element for half::f16 {
    const DTYPE: DType = DType::F16;
}

impl Element for u8 {
    const DTYPE: DType = DType::U8;
}
