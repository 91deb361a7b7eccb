//! `cross_entropy` and `cross_entropy_grad` to the kernels of the same names; the gradient may overwrite the logits.

use crossloom_ir::TensorType;
use crossloom_ir::op::Op;

use crate::exec::io::{CpuKernel, Io, Lowered};
use crate::kernels::{KernelError, cross_entropy, cross_entropy_grad};

struct Loss {
    rows: usize,
    classes: usize,
}

struct LossGrad {
    rows: usize,
    classes: usize,
}

/// The kernel of the loss or of its gradient.
pub(super) fn lower(op: &Op, inputs: &[&TensorType]) -> Option<Lowered> {
    match op {
        Op::CrossEntropy(_) => {
            let kernel = Loss { rows: inputs[0].rows(), classes: inputs[0].last() };
            Some(Lowered::new("cross_entropy", kernel).ints(&[1], &[]))
        }
        Op::CrossEntropyGrad(_) => {
            let kernel = LossGrad { rows: inputs[1].rows(), classes: inputs[1].last() };
            Some(Lowered::new("cross_entropy_grad", kernel).in_place(vec![(1, 0)]).ints(&[2], &[]))
        }
        _ => None,
    }
}

impl CpuKernel for Loss {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [loss, lse, losses], _) = io.split()?;
        let targets = inputs.i32(1)?;
        loss[0] = cross_entropy(self.rows, self.classes, inputs.f32(0)?, targets, lse, losses)?;
        Ok(())
    }
}

impl CpuKernel for LossGrad {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], _) = io.split()?;
        let (dloss, targets, lse) = (inputs.f32(0)?[0], inputs.i32(2)?, inputs.f32(3)?);
        let logits = inputs.unless_taken(1)?;
        cross_entropy_grad(self.rows, self.classes, dloss, logits, targets, lse, out)
    }
}
