//! The CPU as a target of the compiler.

use crossloom_compiler::{Backend, Kernel};
use crossloom_ir::{Op, TensorType};

use super::ops::lower;

/// The CPU backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuBackend;

impl Backend for CpuBackend {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn kernel(&self, op: &Op, inputs: &[&TensorType], outputs: &[&TensorType]) -> Option<Kernel> {
        lower(op, inputs, outputs).map(|lowered| Kernel {
            name: lowered.name.to_owned(),
            scratch: lowered.scratch,
            in_place: lowered.in_place,
        })
    }
}
