//! The gated, masked update of the hidden state, and its gradient.

use crossloom_ir::TensorType;
use crossloom_ir::op::Op;

use crate::exec::io::{CpuKernel, Io, KernelError, Lowered};
use crate::parallel::{self, SharedMut};
use crate::simd::{self, Simd, Vf, dispatch, update1};

#[derive(Clone, Copy)]
struct Shape {
    taps: usize,
    batch: usize,
    visual: usize,
    tokens: usize,
    width: usize,
}

struct Inject(Shape);
struct InjectGrad(Shape);

pub(super) fn lower(op: &Op, inputs: &[&TensorType]) -> Option<Lowered> {
    let (convex, channel) = match op {
        Op::AgfInject(op) => (op.convex, op.channel),
        Op::AgfInjectGrad(op) => (op.convex, op.channel),
        _ => return None,
    };
    // The plain residual update with one number per edge has a kernel; the other readings are expanded.
    if convex || channel {
        return None;
    }
    let (h, v) = (&inputs[0].shape, &inputs[2].shape);
    let shape = Shape { taps: v[0], batch: v[1], visual: v[2], tokens: h[1], width: h[2] };
    Some(if matches!(op, Op::AgfInject(_)) {
        Lowered::new("agf_inject", Inject(shape)).in_place(vec![(0, 0)])
    } else {
        Lowered::new("agf_inject_grad", InjectGrad(shape))
    })
}

impl Shape {
    /// Checks that every index is -1 or a position, and no position comes twice in a sample.
    fn check(&self, index: &[i32]) -> Result<(), KernelError> {
        for (slot, &id) in index.iter().enumerate() {
            if id != -1 && usize::try_from(id).is_ok_and(|id| id < self.tokens) {
                let sample = slot / self.visual.max(1) * self.visual;
                // Visual tokens stand in order in all but hand-made batches, so the scan is rarely longer than one step.
                let ordered = slot == sample || index[slot - 1] < id;
                if !ordered && index[sample..slot].contains(&id) {
                    return Err(KernelError(format!("position {id} is listed twice for one sample")));
                }
            } else if id != -1 {
                return Err(KernelError(format!("position {id} is outside 0..{}", self.tokens)));
            }
        }
        Ok(())
    }
}

impl CpuKernel for Inject {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [out], _) = io.split()?;
        let shape = self.0;
        inputs.take(0, out);
        let (gate, v, index) = (inputs.f32(1), inputs.f32(2), inputs.i32(3));
        shape.check(index)?;
        let out = SharedMut::new(out);
        parallel::for_each(shape.batch, |b| {
            // SAFETY: every sample has its own part of the hidden state.
            let h = unsafe { out.slice(b * shape.tokens * shape.width, shape.tokens * shape.width) };
            inject_sample(shape, b, gate, v, index, h);
        });
        Ok(())
    }
}

dispatch!(fn inject_sample(shape: Shape, b: usize, gate: &[f32], v: &[f32], index: &[i32], h: &mut [f32]) = inject_body);

#[inline(always)]
fn inject_body<S: Simd>(s: S, shape: Shape, b: usize, gate: &[f32], v: &[f32], index: &[i32], h: &mut [f32]) {
    let Shape { taps, batch, visual, width, .. } = shape;
    for n in 0..visual {
        let Ok(position) = usize::try_from(index[b * visual + n]) else { continue };
        let row = &mut h[position * width..(position + 1) * width];
        for k in 0..taps {
            let at = ((k * batch + b) * visual + n) * width;
            let weight = Vf::splat(s, gate[b * taps + k]);
            update1!(s, &v[at..at + width], row, |v, h| v.mul_add(weight, h));
        }
    }
}

impl CpuKernel for InjectGrad {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [dv, dgate], _) = io.split()?;
        let shape = self.0;
        let (dh, gate, v, index) = (inputs.f32(0), inputs.f32(1), inputs.f32(2), inputs.i32(3));
        shape.check(index)?;
        let (dv, dgate) = (SharedMut::new(dv), SharedMut::new(dgate));
        parallel::for_each(shape.batch, |b| {
            // SAFETY: every sample has its own part of the gate's gradient.
            let dgate = unsafe { dgate.slice(b * shape.taps, shape.taps) };
            for (k, dgate) in dgate.iter_mut().enumerate() {
                let (at, len) =
                    ((k * shape.batch + b) * shape.visual * shape.width, shape.visual * shape.width);
                // SAFETY: every tap of every sample has its own part of the features' gradient.
                let dv = unsafe { dv.slice(at, len) };
                let index = &index[b * shape.visual..(b + 1) * shape.visual];
                let dh = &dh[b * shape.tokens * shape.width..(b + 1) * shape.tokens * shape.width];
                *dgate = grad_edge(shape.width, gate[b * shape.taps + k], dh, &v[at..at + len], index, dv);
            }
        });
        Ok(())
    }
}

dispatch!(fn grad_edge(width: usize, gate: f32, dh: &[f32], v: &[f32], index: &[i32], dv: &mut [f32]) -> f32 = grad_body);

#[inline(always)]
fn grad_body<S: Simd>(
    s: S,
    width: usize,
    gate: f32,
    dh: &[f32],
    v: &[f32],
    index: &[i32],
    dv: &mut [f32],
) -> f32 {
    let weight = Vf::splat(s, gate);
    let mut sum = 0.0;
    for ((&id, v), dv) in index.iter().zip(v.chunks_exact(width)).zip(dv.chunks_exact_mut(width)) {
        let Ok(position) = usize::try_from(id) else {
            dv.fill(0.0);
            continue;
        };
        let row = &dh[position * width..(position + 1) * width];
        simd::map1!(s, row, dv, |d| d * weight);
        sum += simd::dot(s, row, v);
    }
    sum
}
