//! Conversions between float types.

use std::marker::PhantomData;

use crossloom_ir::op::{Affine, Op};
use crossloom_ir::{DType, TensorType};
use half::bf16;

use super::elementwise;
use crate::element::Element;
use crate::exec::io::{CpuKernel, Io, KernelError, Lowered};
use crate::kernels::convert;

struct Convert<X, Y>(PhantomData<fn(X) -> Y>);

/// The kernel of a `convert` from that type; `None` from or to a type that no kernel reads.
pub(super) fn lower(from: DType, outputs: &[&TensorType]) -> Option<Lowered> {
    match (from, outputs[0].dtype) {
        // Between words of one type nothing is left to convert.
        (DType::F32, DType::F32) => elementwise::lower(&Op::Affine(Affine { mul: 1.0, add: 0.0 }), outputs),
        (DType::F32, DType::Bf16) => Some(kernel::<f32, bf16>()),
        (DType::Bf16, DType::F32) => Some(kernel::<bf16, f32>()),
        (DType::Bf16, DType::Bf16) => Some(kernel::<bf16, bf16>()),
        _ => None,
    }
}

fn kernel<X, Y>() -> Lowered
where
    X: Element + crossloom_runtime::Element,
    Y: Element + crossloom_runtime::Element,
{
    Lowered::new("convert", Convert::<X, Y>(PhantomData)).chosen()
}

impl<X, Y> CpuKernel for Convert<X, Y>
where
    X: Element + crossloom_runtime::Element,
    Y: Element + crossloom_runtime::Element,
{
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [y], _) = io.take()?;
        Ok(convert(inputs.of::<X>(0)?, y.of::<Y>()?)?)
    }
}
