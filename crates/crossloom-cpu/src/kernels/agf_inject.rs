//! The gated update of the visual rows of a hidden state, and its gradient: one sweep for all taps.

use super::error::{KernelError, indices, need};
use crate::parallel::{self, SharedMut};
use crate::simd::{Simd, Vf, dispatch};

/// The shape and form of the update: `h [batch, len, cols]`, `v [taps, batch, tokens, cols]`, `index [batch, tokens]`
/// (the row of every visual token, distinct in a sample; -1 is skipped), `gate [batch, taps]` or
/// `[batch, taps, cols]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgfInject {
    /// Samples.
    pub batch: usize,
    /// Rows of a sample of `h`.
    pub len: usize,
    /// Visual tokens of a sample.
    pub tokens: usize,
    /// Values of a row.
    pub cols: usize,
    /// Taps.
    pub taps: usize,
    /// Blend towards `v` (`h + sum gate (v - h)`) instead of adding it (`h + sum gate v`).
    pub convex: bool,
    /// The gate has a channel axis.
    pub channel: bool,
}

impl AgfInject {
    /// Values of the gate of one tap.
    fn gate_width(&self) -> usize {
        if self.channel { self.cols } else { 1 }
    }

    /// Where `v[k, b, n]` starts.
    fn v_at(&self, k: usize, b: usize, n: usize) -> usize {
        ((k * self.batch + b) * self.tokens + n) * self.cols
    }

    fn check(
        &self,
        name: &'static str,
        h: usize,
        gate: usize,
        v: usize,
        index: &[i32],
    ) -> Result<(), KernelError> {
        need(name, "h", h, self.batch * self.len * self.cols)?;
        need(name, "gate", gate, self.batch * self.taps * self.gate_width())?;
        need(name, "v", v, self.taps * self.batch * self.tokens * self.cols)?;
        need(name, "index", index.len(), self.batch * self.tokens)?;
        indices(name, "index", &index[..self.batch * self.tokens], self.len, true)
    }
}

/// The gate of one tap for one register of columns.
#[inline(always)]
fn gate_of<S: Simd>(s: S, p: &AgfInject, gate: &[f32], k: usize, j: usize, e: usize) -> Vf<S> {
    if p.channel { Vf::load(s, &gate[k * p.cols + j..k * p.cols + e]) } else { Vf::splat(s, gate[k]) }
}

/// Updates the visual rows of `h` in place: `h + sum_k gate_k v_k`, or `h + sum_k gate_k (v_k - h)`.
///
/// # Errors
/// Where a buffer is too short or an index is outside of its sample.
pub fn agf_inject(
    p: &AgfInject,
    h: &mut [f32],
    gate: &[f32],
    v: &[f32],
    index: &[i32],
) -> Result<(), KernelError> {
    p.check("agf_inject", h.len(), gate.len(), v.len(), index)?;
    let h = SharedMut::new(h);
    let gates = p.taps * p.gate_width();
    parallel::for_each(p.batch, |b| {
        // SAFETY: tasks own disjoint samples.
        let h = unsafe { h.slice(b * p.len * p.cols, p.len * p.cols) };
        let index = &index[b * p.tokens..(b + 1) * p.tokens];
        forward_sample(p, b, h, &gate[b * gates..(b + 1) * gates], v, index);
    });
    Ok(())
}

dispatch!(
    fn forward_sample(p: &AgfInject, b: usize, h: &mut [f32], gate: &[f32], v: &[f32], index: &[i32]) =
        forward_body
);

#[inline(always)]
fn forward_body<S: Simd>(
    s: S,
    p: &AgfInject,
    b: usize,
    h: &mut [f32],
    gate: &[f32],
    v: &[f32],
    index: &[i32],
) {
    for (n, at) in index.iter().enumerate() {
        let Ok(at) = usize::try_from(*at) else { continue };
        let h = &mut h[at * p.cols..(at + 1) * p.cols];
        for j in (0..p.cols).step_by(S::F32_LANES) {
            let e = (j + S::F32_LANES).min(p.cols);
            let old = Vf::load(s, &h[j..e]);
            let mut new = old;
            for k in 0..p.taps {
                let from = p.v_at(k, b, n);
                let tap = Vf::load(s, &v[from + j..from + e]);
                let towards = if p.convex { tap - old } else { tap };
                new = gate_of(s, p, gate, k, j, e).mul_add(towards, new);
            }
            new.store(&mut h[j..e]);
        }
    }
}

/// The gradient of [`agf_inject`] for `dh`, the gradient of the updated state: `dv` (all of it, zeros where the index is
/// -1) and `d_gate`. The convex form also needs `h`, the old state; its gradient is [`agf_inject_state_grad`].
///
/// # Errors
/// Where a buffer is too short, an index is outside of its sample, or the convex form gets no `h`.
pub fn agf_inject_grad(
    p: &AgfInject,
    dh: &[f32],
    h: Option<&[f32]>,
    gate: &[f32],
    v: &[f32],
    index: &[i32],
    dv: &mut [f32],
    d_gate: &mut [f32],
) -> Result<(), KernelError> {
    let name = "agf_inject_grad";
    p.check(name, dh.len(), gate.len(), v.len(), index)?;
    need(name, "dv", dv.len(), p.taps * p.batch * p.tokens * p.cols)?;
    let gates = p.taps * p.gate_width();
    need(name, "d_gate", d_gate.len(), p.batch * gates)?;
    if p.convex {
        need(name, "h", h.map_or(0, <[f32]>::len), p.batch * p.len * p.cols)?;
    }
    let h = if p.convex { h } else { None };
    let (dv, d_gate) = (SharedMut::new(dv), SharedMut::new(d_gate));
    parallel::for_each(p.batch, |b| {
        let sample = b * p.len * p.cols..(b + 1) * p.len * p.cols;
        // SAFETY: tasks own disjoint samples of `d_gate`.
        let d_gate = unsafe { d_gate.slice(b * gates, gates) };
        let part = Sample {
            b,
            dh: &dh[sample.clone()],
            h: h.map(|h| &h[sample]),
            gate: &gate[b * gates..(b + 1) * gates],
            v,
            index: &index[b * p.tokens..(b + 1) * p.tokens],
            dv,
            d_gate,
        };
        grad_sample(p, part);
    });
    Ok(())
}

/// One sample of the gradient.
struct Sample<'a> {
    b: usize,
    dh: &'a [f32],
    h: Option<&'a [f32]>,
    gate: &'a [f32],
    v: &'a [f32],
    index: &'a [i32],
    dv: SharedMut<'a>,
    d_gate: &'a mut [f32],
}

dispatch!(fn grad_sample(p: &AgfInject, sample: Sample<'_>) = grad_body);

#[inline(always)]
fn grad_body<S: Simd>(s: S, p: &AgfInject, sample: Sample<'_>) {
    let Sample { b, dh, h, gate, v, index, dv, d_gate } = sample;
    d_gate.fill(0.0);
    for k in 0..p.taps {
        for (n, at) in index.iter().enumerate() {
            let from = p.v_at(k, b, n);
            // SAFETY: tasks own disjoint samples of `dv`, which was checked to hold all of them.
            let dv = unsafe { dv.slice(from, p.cols) };
            let Ok(at) = usize::try_from(*at) else {
                dv.fill(0.0);
                continue;
            };
            let row = at * p.cols..(at + 1) * p.cols;
            let d = &dh[row.clone()];
            let tap = &v[from..from + p.cols];
            let old = h.map(|h| &h[row]);
            let mut dot = Vf::zero(s);
            for j in (0..p.cols).step_by(S::F32_LANES) {
                let e = (j + S::F32_LANES).min(p.cols);
                let d = Vf::load(s, &d[j..e]);
                (gate_of(s, p, gate, k, j, e) * d).store(&mut dv[j..e]);
                let mut towards = Vf::load(s, &tap[j..e]);
                if let Some(old) = old {
                    towards = towards - Vf::load(s, &old[j..e]);
                }
                if p.channel {
                    let g = &mut d_gate[k * p.cols + j..k * p.cols + e];
                    d.mul_add(towards, Vf::load(s, g)).store(g);
                } else {
                    dot = d.mul_add(towards, dot);
                }
            }
            if !p.channel {
                d_gate[k] += dot.sum();
            }
        }
    }
}

/// The gradient of the convex form of [`agf_inject`] for the old state: `dh`, the gradient of the updated state, becomes
/// the gradient of the old one in place. The residual form passes `dh` on as it is: then nothing happens.
///
/// # Errors
/// Where a buffer is too short or an index is outside of its sample.
pub fn agf_inject_state_grad(
    p: &AgfInject,
    dh: &mut [f32],
    gate: &[f32],
    index: &[i32],
) -> Result<(), KernelError> {
    let features = p.taps * p.batch * p.tokens * p.cols;
    p.check("agf_inject_state_grad", dh.len(), gate.len(), features, index)?;
    if !p.convex {
        return Ok(());
    }
    let dh = SharedMut::new(dh);
    let gates = p.taps * p.gate_width();
    parallel::for_each(p.batch, |b| {
        // SAFETY: tasks own disjoint samples.
        let dh = unsafe { dh.slice(b * p.len * p.cols, p.len * p.cols) };
        let index = &index[b * p.tokens..(b + 1) * p.tokens];
        state_grad_sample(p, dh, &gate[b * gates..(b + 1) * gates], index);
    });
    Ok(())
}

dispatch!(fn state_grad_sample(p: &AgfInject, dh: &mut [f32], gate: &[f32], index: &[i32]) = state_grad_body);

#[inline(always)]
fn state_grad_body<S: Simd>(s: S, p: &AgfInject, dh: &mut [f32], gate: &[f32], index: &[i32]) {
    for at in index.iter().filter_map(|at| usize::try_from(*at).ok()) {
        let row = &mut dh[at * p.cols..(at + 1) * p.cols];
        for j in (0..p.cols).step_by(S::F32_LANES) {
            let e = (j + S::F32_LANES).min(p.cols);
            let d = Vf::load(s, &row[j..e]);
            let mut left = Vf::splat(s, 1.0);
            for k in 0..p.taps {
                left = left - gate_of(s, p, gate, k, j, e);
            }
            (d * left).store(&mut row[j..e]);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kernels::testing::{assert_close, on_threads, random};

    #[test]
    fn all_forms_match_the_definition() {
        for (convex, channel) in [(false, false), (false, true), (true, false), (true, true)] {
            let p = AgfInject { batch: 3, len: 11, tokens: 5, cols: 35, taps: 4, convex, channel };
            let index = [0, 1, 2, 3, 4, 10, -1, 8, 7, 0, 5, 3, 1, -1, -1];
            let h = random(1, 3 * 11 * 35);
            let gate = random(2, 3 * 4 * p.gate_width());
            let v = random(3, 4 * 3 * 5 * 35);
            let d_new = random(4, h.len());
            let mut new = h.clone();
            agf_inject(&p, &mut new, &gate, &v, &index).unwrap();
            let run = |threads| {
                let (mut dh, mut dv) = (d_new.clone(), vec![f32::NAN; v.len()]);
                let mut d_gate = vec![f32::NAN; gate.len()];
                on_threads(threads, || {
                    agf_inject_grad(&p, &dh, Some(&h), &gate, &v, &index, &mut dv, &mut d_gate).unwrap();
                    agf_inject_state_grad(&p, &mut dh, &gate, &index).unwrap();
                });
                (dh, dv, d_gate)
            };
            let (mut want, mut want_dh) = (h.clone(), d_new.clone());
            let (mut want_dv, mut want_dg) = (vec![0.0; v.len()], vec![0.0; gate.len()]);
            for slot in 0..15 {
                let (b, n) = (slot / 5, slot % 5);
                if index[slot] < 0 {
                    continue;
                }
                for c in 0..35 {
                    let at = (b * 11 + index[slot] as usize) * 35 + c;
                    for k in 0..4 {
                        let vi = ((k * 3 + b) * 5 + n) * 35 + c;
                        let gi = (b * 4 + k) * p.gate_width() + if channel { c } else { 0 };
                        let towards = if convex { v[vi] - h[at] } else { v[vi] };
                        want[at] += gate[gi] * towards;
                        want_dv[vi] = gate[gi] * d_new[at];
                        want_dg[gi] += d_new[at] * towards;
                        if convex {
                            want_dh[at] -= gate[gi] * d_new[at];
                        }
                    }
                }
            }
            assert_close(&new, &want, 1e-5);
            let (dh, dv, d_gate) = run(1);
            assert_close(&dh, &want_dh, 1e-5);
            assert_close(&dv, &want_dv, 1e-5);
            assert_close(&d_gate, &want_dg, 1e-5);
            assert_eq!(run(1), run(3));
        }
    }

    #[test]
    fn the_convex_gradient_needs_the_old_state() {
        let p = AgfInject { batch: 1, len: 1, tokens: 1, cols: 1, taps: 1, convex: true, channel: false };
        let (mut a, mut b, mut c) = ([0.0], [0.0], [0.0]);
        assert!(agf_inject_grad(&p, &a, None, &[0.5], &[1.0], &[0], &mut b, &mut c).is_err());
        assert!(agf_inject(&p, &mut a, &[0.5], &[1.0], &[1]).is_err());
    }
}
