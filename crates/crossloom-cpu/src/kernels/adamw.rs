//! One step of Adam with decoupled weight decay.

use super::error::{KernelError, need};
use crate::parallel::{self, SharedMut, chunk_range};
use crate::simd::{Simd, Vf, dispatch};

/// The constants of a step, in double precision: `1 - beta2` is a small difference, of which rounding first would leave
/// few digits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Share of the parameter that is taken off per unit of learning rate.
    pub weight_decay: f64,
}

/// What changes from step to step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// Learning rate.
    pub rate: f32,
    /// `1 / (1 - beta1^t)`.
    pub correction1: f32,
    /// `1 / (1 - beta2^t)`.
    pub correction2: f32,
}

/// Values per task.
const CHUNK: usize = 8192;

/// Updates `p`, `m` and `v` in place from the gradient `g`, which is multiplied by `grad_scale` (clipping) first:
/// `m = beta1 m + (1 - beta1) g`, `v = beta2 v + (1 - beta2) g²`,
/// `p -= rate (m c1 / (sqrt(v c2) + eps) + weight_decay p)`.
///
/// # Errors
/// Where the buffers differ in length from `p`.
pub fn adamw(
    constants: &AdamW,
    step: &AdamWStep,
    grad_scale: &f32,
    p: &mut [f32],
    m: &mut [f32],
    v: &mut [f32],
    g: &[f32],
) -> Result<(), KernelError> {
    let n = p.len();
    need("adamw", "m", m.len(), n)?;
    need("adamw", "v", v.len(), n)?;
    need("adamw", "g", g.len(), n)?;
    let (p, m, v) = (SharedMut::new(p), SharedMut::new(m), SharedMut::new(v));
    let scale = *grad_scale;
    parallel::for_each(n.div_ceil(CHUNK), |task| {
        let r = chunk_range(n, CHUNK, task);
        // SAFETY: tasks own disjoint ranges.
        let state = unsafe { [p, m, v].map(|x| x.slice(r.start, r.len())) };
        chunk(constants, step, scale, state, &g[r]);
    });
    Ok(())
}

dispatch!(
    fn chunk(constants: &AdamW, step: &AdamWStep, scale: f32, state: [&mut [f32]; 3], g: &[f32]) = chunk_body
);

/// All constants of a step, spread over registers.
#[derive(Clone, Copy)]
struct Factors<S: Simd> {
    scale: Vf<S>,
    beta1: Vf<S>,
    beta2: Vf<S>,
    rest1: Vf<S>,
    rest2: Vf<S>,
    rate: Vf<S>,
    c2: Vf<S>,
    eps: Vf<S>,
    keep: Vf<S>,
}

impl<S: Simd> Factors<S> {
    #[inline(always)]
    fn new(s: S, constants: &AdamW, step: &AdamWStep, scale: f32) -> Self {
        Self {
            scale: Vf::splat(s, scale),
            beta1: Vf::splat(s, constants.beta1 as f32),
            beta2: Vf::splat(s, constants.beta2 as f32),
            rest1: Vf::splat(s, (1.0 - constants.beta1) as f32),
            rest2: Vf::splat(s, (1.0 - constants.beta2) as f32),
            rate: Vf::splat(s, step.rate * step.correction1),
            c2: Vf::splat(s, step.correction2),
            eps: Vf::splat(s, constants.eps as f32),
            keep: Vf::splat(s, (1.0 - f64::from(step.rate) * constants.weight_decay) as f32),
        }
    }

    /// New `p`, `m` and `v`.
    #[inline(always)]
    fn update(self, p: Vf<S>, m: Vf<S>, v: Vf<S>, g: Vf<S>) -> (Vf<S>, Vf<S>, Vf<S>) {
        let g = g * self.scale;
        let m = m.mul_add(self.beta1, g * self.rest1);
        let v = v.mul_add(self.beta2, g * g * self.rest2);
        let p = p * self.keep - self.rate * m / ((v * self.c2).sqrt() + self.eps);
        (p, m, v)
    }
}

#[inline(always)]
fn chunk_body<S: Simd>(
    s: S,
    constants: &AdamW,
    step: &AdamWStep,
    scale: f32,
    state: [&mut [f32]; 3],
    g: &[f32],
) {
    let factors = Factors::new(s, constants, step, scale);
    let [p, m, v] = state;
    let (pv, pt) = S::as_mut_simd_f32s(p);
    let (mv, mt) = S::as_mut_simd_f32s(m);
    let (vv, vt) = S::as_mut_simd_f32s(v);
    let (gv, gt) = S::as_simd_f32s(g);
    for (((p, m), v), g) in pv.iter_mut().zip(mv).zip(vv).zip(gv) {
        let (a, b, c) = factors.update(Vf::new(s, *p), Vf::new(s, *m), Vf::new(s, *v), Vf::new(s, *g));
        (*p, *m, *v) = (a.raw(), b.raw(), c.raw());
    }
    if !gt.is_empty() {
        let (a, b, c) = factors.update(Vf::load(s, pt), Vf::load(s, mt), Vf::load(s, vt), Vf::load(s, gt));
        a.store(pt);
        b.store(mt);
        c.store(vt);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kernels::testing::{assert_close, random};

    #[test]
    fn ten_steps_match_f64() {
        let n = 2 * CHUNK + 13;
        let constants = AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 };
        let (mut p, mut m, mut v) = (random(1, n), vec![0.0; n], vec![0.0; n]);
        let mut want: Vec<[f64; 3]> = p.iter().map(|p| [f64::from(*p), 0.0, 0.0]).collect();
        for t in 1..=10 {
            let g = random(100 + t, n);
            let c1 = 1.0 / (1.0 - 0.9_f64.powi(t as i32));
            let c2 = 1.0 / (1.0 - 0.95_f64.powi(t as i32));
            let step = AdamWStep { rate: 1e-2, correction1: c1 as f32, correction2: c2 as f32 };
            adamw(&constants, &step, &0.5, &mut p, &mut m, &mut v, &g).unwrap();
            for ([p, m, v], g) in want.iter_mut().zip(&g) {
                let g = f64::from(*g) * 0.5;
                *m = 0.9 * *m + 0.1 * g;
                *v = 0.95 * *v + 0.05 * g * g;
                *p -= 1e-2 * (*m * c1 / ((*v * c2).sqrt() + 1e-8) + 0.1 * *p);
            }
        }
        let part = |i: usize| want.iter().map(|w| w[i] as f32).collect::<Vec<_>>();
        assert_close(&p, &part(0), 1e-5);
        assert_close(&m, &part(1), 1e-6);
        assert_close(&v, &part(2), 1e-6);
        assert!(
            adamw(
                &constants,
                &AdamWStep { rate: 0.0, correction1: 1.0, correction2: 1.0 },
                &1.0,
                &mut p,
                &mut [],
                &mut v,
                &[]
            )
            .is_err()
        );
    }

    /// One part in a million of a second moment: as single-precision numbers, 1 - 0.999999 is 4 % off.
    #[test]
    fn what_a_moment_takes_in_is_not_rounded_to_a_few_digits() {
        let constants = AdamW { beta1: 0.999_999, beta2: 0.999_999, eps: 1e-8, weight_decay: 0.0 };
        let step = AdamWStep { rate: 0.0, correction1: 1.0, correction2: 1.0 };
        let (mut p, mut m, mut v) = ([0.0; 20], [0.0; 20], [0.0; 20]);
        adamw(&constants, &step, &1.0, &mut p, &mut m, &mut v, &[1.0; 20]).unwrap();
        for moment in m.iter().chain(&v) {
            assert!((moment * 1e6 - 1.0).abs() < 1e-6, "{moment}");
        }
    }
}
