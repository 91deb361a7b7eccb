//! Conversions between float types: `f32` and `bf16` to the kernel, `f16` to a short loop.

use crossloom_ir::op::{Affine, Op};
use crossloom_ir::{DType, TensorType};
use half::f16;

use super::elementwise;
use super::movement::fill_all;
use crate::element::{Element, Floats, FloatsMut};
use crate::exec::io::{CpuKernel, Io, KernelError, Lowered, typed};
use crate::kernels::convert;

struct Convert;

/// The kernel of a `convert`.
pub(super) fn lower(inputs: &[&TensorType], outputs: &[&TensorType]) -> Option<Lowered> {
    match (inputs[0].dtype, outputs[0].dtype) {
        // Nothing is left to convert, so it can stay where it is.
        (DType::F32, DType::F32) => elementwise::lower(&Op::Affine(Affine { mul: 1.0, add: 0.0 }), outputs),
        _ => Some(Lowered::new("convert", Convert).any_floats(&[0], &[0])),
    }
}

impl CpuKernel for Convert {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], _) = io.take()?;
        match (inputs.dtype(0)?, out.dtype()) {
            (DType::F16, DType::F16) => out.of::<f16>()?.copy_from_slice(inputs.of(0)?),
            (DType::F16, _) => {
                let x = inputs.of::<f16>(0)?;
                typed!(y: FloatsMut = out.floats()?; fill_all(y, |at, piece| {
                    piece.iter_mut().zip(&x[at..]).for_each(|(y, x)| *y = Element::round(x.to_f32()));
                }));
            }
            (_, DType::F16) => {
                let y = out.of::<f16>()?;
                typed!(x: Floats = inputs.floats(0)?; fill_all(y, |at, piece| {
                    piece.iter_mut().zip(&x[at..]).for_each(|(y, x)| *y = f16::from_f32(x.widen()));
                }));
            }
            _ => typed!(x: Floats = inputs.floats(0)?, y: FloatsMut = out.floats()?; convert(x, y))?,
        }
        Ok(())
    }
}
