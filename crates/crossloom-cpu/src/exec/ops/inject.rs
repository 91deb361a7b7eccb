//! `agf_inject` and `agf_inject_grad` to the kernels of the same names, in all forms: residual or convex, one gate per
//! edge or one per channel.

use crossloom_ir::TensorType;
use crossloom_ir::op::Op;

use super::ids;
use crate::exec::io::{CpuKernel, Io, KernelError, Lowered};
use crate::kernels::{AgfInject, agf_inject, agf_inject_grad, agf_inject_state_grad};

struct Inject(AgfInject);
struct InjectGrad(AgfInject);

/// The kernel of the update or of its gradient. The forward pass may work in the memory of the hidden state.
pub(super) fn lower(op: &Op, inputs: &[&TensorType]) -> Option<Lowered> {
    let shape = |convex, channel| {
        let (h, v) = (&inputs[0].shape, &inputs[2].shape);
        AgfInject { batch: v[1], len: h[1], tokens: v[2], cols: h[2], taps: v[0], convex, channel }
    };
    match op {
        Op::AgfInject(op) => {
            let kernel = Inject(shape(op.convex, op.channel));
            Some(Lowered::new("agf_inject", kernel).in_place(vec![(0, 0)]).ints(&[3], &[]))
        }
        Op::AgfInjectGrad(op) => {
            Some(Lowered::new("agf_inject_grad", InjectGrad(shape(op.convex, op.channel))).ints(&[3], &[]))
        }
        _ => None,
    }
}

impl CpuKernel for Inject {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [h], _) = io.split()?;
        let index = inputs.i32(3)?;
        ids::check_distinct(index, self.0.tokens, self.0.len)?;
        inputs.take(0, h)?;
        Ok(agf_inject(&self.0, h, inputs.f32(1)?, inputs.f32(2)?, index)?)
    }
}

impl CpuKernel for InjectGrad {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let p = &self.0;
        if !p.convex {
            let (inputs, [dv, dgate], _) = io.split()?;
            let (dh, gate, v, index) = (inputs.f32(0)?, inputs.f32(1)?, inputs.f32(2)?, inputs.i32(3)?);
            ids::check_distinct(index, p.tokens, p.len)?;
            return Ok(agf_inject_grad(p, dh, None, gate, v, index, dv, dgate)?);
        }
        let (inputs, [dv, dgate, dh], _) = io.split()?;
        let (gate, v, index) = (inputs.f32(1)?, inputs.f32(2)?, inputs.i32(3)?);
        ids::check_distinct(index, p.tokens, p.len)?;
        inputs.take(0, dh)?;
        agf_inject_grad(p, dh, Some(inputs.f32(4)?), gate, v, index, dv, dgate)?;
        Ok(agf_inject_state_grad(p, dh, gate, index)?)
    }
}
