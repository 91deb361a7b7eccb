//! `agf_inject` and `agf_inject_grad` to the kernels of the same names, in all forms: residual or convex, one gate per
//! edge or one per channel.

use crossloom_ir::TensorType;
use crossloom_ir::op::Op;

use crate::element::{Floats, FloatsMut};
use crate::exec::io::{CpuKernel, Inputs, Io, Lowered, Out, typed};
use crate::kernels::{AgfInject, KernelError, agf_inject, agf_inject_grad, agf_inject_state_grad};

struct Inject(AgfInject);
struct InjectGrad(AgfInject);

/// The kernel of the update or of its gradient. The forward pass may work in the memory of the hidden state.
pub(super) fn lower(op: &Op, inputs: &[&TensorType], outputs: &[&TensorType]) -> Option<Lowered> {
    let shape = |convex, channel| {
        let (h, v) = (&inputs[0].shape, &inputs[2].shape);
        AgfInject { batch: v[1], len: h[1], tokens: v[2], cols: h[2], taps: v[0], convex, channel }
    };
    // A state is updated where it is, so it keeps its type, and so does its gradient.
    let state = inputs[0].dtype;
    match op {
        Op::AgfInject(op) => {
            let lowered = Lowered::new("agf_inject", Inject(shape(op.convex, op.channel)));
            let lowered = lowered.in_place(vec![(0, 0)]).floats(&[0, 1, 2], &[0]).ints(&[3], &[]);
            (outputs[0].dtype == state).then_some(lowered)
        }
        Op::AgfInjectGrad(op) => {
            let shape = shape(op.convex, op.channel);
            let kernel = InjectGrad(shape);
            let lowered = Lowered::with_scratch("agf_inject_grad", shape.grad_scratch_len(), kernel);
            let lowered = lowered.floats(&[0, 1, 2, 4], &[0, 1, 2]).ints(&[3], &[]).optional(vec![0, 1, 2]);
            let states = inputs.iter().skip(4).chain(outputs.iter().skip(2));
            states.into_iter().all(|ty| ty.dtype == state).then_some(lowered)
        }
        _ => None,
    }
}

impl CpuKernel for Inject {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [h], _) = io.take()?;
        let (gate, index) = (inputs.floats(1)?, inputs.i32(3)?);
        typed!(h: FloatsMut = h.floats()?, v: Floats = inputs.floats(2)?; {
            inputs.take(0, h)?;
            agf_inject(&self.0, h, gate, v, index)
        })
    }
}

impl CpuKernel for InjectGrad {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let p = &self.0;
        if !p.convex {
            let (inputs, [dv, d_gate], scratch) = io.take()?;
            return grad(p, &inputs, None, dv, d_gate, scratch);
        }
        let (inputs, [dv, d_gate, dh], scratch) = io.take()?;
        grad(p, &inputs, Some(4), dv, d_gate, scratch)?;
        if dh.is_empty() {
            return Ok(());
        }
        typed!(dh: FloatsMut = dh.floats()?; {
            inputs.take(0, dh)?;
            agf_inject_state_grad(p, dh, inputs.floats(1)?, inputs.i32(3)?)
        })
    }
}

/// Gradients of features and gate; `old` is the operand that holds the state.
fn grad(
    p: &AgfInject,
    inputs: &Inputs<'_>,
    old: Option<usize>,
    dv: Out<'_>,
    d_gate: Out<'_>,
    scratch: &mut [f32],
) -> Result<(), KernelError> {
    let (gate, index, d_gate) = (inputs.floats(1)?, inputs.i32(3)?, d_gate.floats()?);
    typed!(dh: Floats = inputs.floats(0)?, v: Floats = inputs.floats(2)?, dv: FloatsMut = dv.floats()?; {
        let h = old.map(|old| inputs.of(old)).transpose()?;
        agf_inject_grad(p, dh, h, gate, v, index, dv, d_gate, scratch)
    })
}
