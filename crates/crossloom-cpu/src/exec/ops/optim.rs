//! `adamw` to the kernel of that name, in place, and `global_norm` to sums of squares.

use crossloom_ir::op::{AdamW as AdamWOp, Op};

use crate::exec::io::{CpuKernel, Io, Lowered};
use crate::kernels::{AdamW, AdamWStep, KernelError, adamw, sum_squares};

struct GlobalNorm;
struct Update(AdamW);

/// The kernel of an op of the optimizer step.
pub(super) fn lower(op: &Op) -> Option<Lowered> {
    match op {
        Op::GlobalNorm(_) => Some(Lowered::new("global_norm", GlobalNorm)),
        Op::AdamW(op) => {
            let AdamWOp { beta1, beta2, eps, weight_decay } = *op;
            let constants = AdamW { beta1, beta2, eps, weight_decay };
            Some(Lowered::new("adamw", Update(constants)).in_place(vec![(0, 0), (2, 1), (3, 2)]))
        }
        _ => None,
    }
}

impl CpuKernel for GlobalNorm {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [norm], _) = io.split()?;
        let squares: f64 = (0..inputs.len()).map(|i| inputs.f32(i).map(sum_squares)).sum::<Result<_, _>>()?;
        norm[0] = squares.sqrt() as f32;
        Ok(())
    }
}

impl CpuKernel for Update {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [p, m, v], _) = io.split()?;
        for (i, out) in [(0, &mut *p), (2, &mut *m), (3, &mut *v)] {
            inputs.take(i, out)?;
        }
        let (g, hyper, scale) = (inputs.f32(1)?, inputs.f32(4)?, inputs.f32(5)?[0]);
        // A gradient that is not finite must not reach the weights: the step is reported and repeated for diagnosis.
        if !scale.is_finite() {
            return Ok(());
        }
        let step = AdamWStep { rate: hyper[0], correction1: hyper[1], correction2: hyper[2] };
        adamw(&self.0, &step, &scale, p, m, v, g)
    }
}
