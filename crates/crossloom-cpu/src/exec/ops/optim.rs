//! The optimizer: global norm and AdamW.

use crossloom_ir::op::Op;

use crate::exec::io::{CpuKernel, Io, KernelError, Lowered};
use crate::kernels::sum_squares;
use crate::parallel::{self, SharedMut, chunk_range};
use crate::simd::{Simd, Vf, dispatch};

struct GlobalNorm;

#[derive(Clone, Copy)]
struct AdamW {
    beta1: f32,
    beta2: f32,
    eps: f32,
    decay: f32,
}

/// The factors of one update.
#[derive(Clone, Copy)]
struct Rates {
    lr: f32,
    correct1: f32,
    correct2: f32,
    scale: f32,
}

pub(super) fn lower(op: &Op) -> Option<Lowered> {
    match op {
        Op::GlobalNorm(_) => Some(Lowered::new("global_norm", GlobalNorm)),
        Op::AdamW(op) => {
            let (beta1, beta2) = (op.beta1 as f32, op.beta2 as f32);
            let (eps, decay) = (op.eps as f32, op.weight_decay as f32);
            let kernel = AdamW { beta1, beta2, eps, decay };
            Some(Lowered::new("adamw", kernel).in_place(vec![(0, 0), (2, 1), (3, 2)]))
        }
        _ => None,
    }
}

impl CpuKernel for GlobalNorm {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [norm], _) = io.split()?;
        let squares: f64 = (0..inputs.len()).map(|i| sum_squares(inputs.f32(i))).sum();
        norm[0] = squares.sqrt() as f32;
        Ok(())
    }
}

/// Elements of a task.
const CHUNK: usize = 16_384;

impl CpuKernel for AdamW {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (inputs, [p, m, v], _) = io.split()?;
        for (i, out) in [(0, &mut *p), (2, &mut *m), (3, &mut *v)] {
            inputs.take(i, out);
        }
        let (g, hyper, scale) = (inputs.f32(1), inputs.f32(4), inputs.f32(5)[0]);
        // A gradient that is not finite must not reach the weights: the step is reported and repeated for diagnosis.
        if !scale.is_finite() {
            return Ok(());
        }
        let rates = Rates { lr: hyper[0], correct1: hyper[1], correct2: hyper[2], scale };
        let n = p.len();
        let (p, m, v) = (SharedMut::new(p), SharedMut::new(m), SharedMut::new(v));
        parallel::for_each(n.div_ceil(CHUNK), |task| {
            let range = chunk_range(n, CHUNK, task);
            let (at, len) = (range.start, range.len());
            // SAFETY: tasks own disjoint ranges of the three results, which are disjoint from each other.
            let (p, m, v) = unsafe { (p.slice(at, len), m.slice(at, len), v.slice(at, len)) };
            update(*self, rates, &g[range], p, m, v);
        });
        Ok(())
    }
}

dispatch!(fn update(op: AdamW, rates: Rates, g: &[f32], p: &mut [f32], m: &mut [f32], v: &mut [f32]) = update_body);

#[inline(always)]
fn update_body<S: Simd>(
    s: S,
    op: AdamW,
    rates: Rates,
    g: &[f32],
    p: &mut [f32],
    m: &mut [f32],
    v: &mut [f32],
) {
    let splat = |x: f32| Vf::splat(s, x);
    let (b1, b2, r1, r2) = (splat(op.beta1), splat(op.beta2), splat(1.0 - op.beta1), splat(1.0 - op.beta2));
    let (eps, keep) = (splat(op.eps), splat(1.0 - rates.lr * op.decay));
    let (step, correct2, scale) =
        (splat(rates.lr * rates.correct1), splat(rates.correct2), splat(rates.scale));
    let lanes = S::F32_LANES;
    let mut at = 0;
    while at < p.len() {
        let end = (at + lanes).min(p.len());
        let grad = Vf::load(s, &g[at..end]) * scale;
        let m_new = Vf::load(s, &m[at..end]).mul_add(b1, r1 * grad);
        let v_new = Vf::load(s, &v[at..end]).mul_add(b2, r2 * grad * grad);
        let below = (v_new * correct2).sqrt() + eps;
        let p_new = Vf::load(s, &p[at..end]).mul_add(keep, -(step * m_new / below));
        p_new.store(&mut p[at..end]);
        m_new.store(&mut m[at..end]);
        v_new.store(&mut v[at..end]);
        at = end;
    }
}
