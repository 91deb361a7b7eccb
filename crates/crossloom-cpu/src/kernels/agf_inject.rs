//! The gated update of the visual rows of a hidden state, and its gradient: one sweep for all taps. Tasks own runs of the
//! visual tokens of a sample, which name every row at most once; each has its own sums of the gradient of a gate.

use std::ops::Range;

use super::error::{KernelError, distinct, indices, need, wanted};
use super::reduce::sum_partials_to;
use crate::element::{Element, Floats, FloatsMut};
use crate::parallel::{self, SharedFloats, SharedMut, chunk_range};
use crate::simd::{Simd, Vf, dispatch};

/// Values of features of one task, about.
const TASK_VALUES: usize = 16_384;

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

    /// Visual tokens of one task, by their work.
    fn per_task(&self) -> usize {
        (TASK_VALUES / (self.taps * self.cols).max(1)).max(8)
    }

    /// Tasks of a sample.
    fn tasks(&self) -> usize {
        self.tokens.div_ceil(self.per_task())
    }

    /// Scratch values of [`agf_inject_grad`]: the gradient of the gate of every task.
    pub fn grad_scratch_len(&self) -> usize {
        self.batch * self.tasks() * self.gates()
    }

    /// Values of the gates of a sample.
    fn gates(&self) -> usize {
        self.taps * self.gate_width()
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
        need(name, "gate", gate, self.batch * self.gates())?;
        need(name, "v", v, self.taps * self.batch * self.tokens * self.cols)?;
        need(name, "index", index.len(), self.batch * self.tokens)?;
        let index = &index[..self.batch * self.tokens];
        indices(name, "index", index, self.len, true)?;
        distinct(name, "index", index, self.tokens)
    }

    /// Runs `task(number, sample, tokens)` for all tasks: runs of the visual tokens of a sample.
    fn for_each(&self, task: impl Fn(usize, usize, Range<usize>) + Sync) {
        let tasks = self.tasks();
        parallel::for_each(self.batch * tasks, |i| {
            task(i, i / tasks, chunk_range(self.tokens, self.per_task(), i % tasks));
        });
    }
}

/// What the tasks of a call share.
#[derive(Clone, Copy)]
struct Shared<'a> {
    p: &'a AgfInject,
    gate: Floats<'a>,
    index: &'a [i32],
}

impl Shared<'_> {
    /// Where the row of a visual token is among all rows of the state; none where it is skipped.
    #[inline(always)]
    fn row(&self, b: usize, n: usize) -> Option<usize> {
        let row = usize::try_from(self.index[b * self.p.tokens + n]).ok()?;
        Some((b * self.p.len + row) * self.p.cols)
    }

    /// The gate of one tap of a sample for columns `j..e`, one register at most.
    #[inline(always)]
    fn gate<S: Simd>(&self, s: S, b: usize, k: usize, j: usize, e: usize) -> Vf<S> {
        let at = b * self.p.gates() + k * self.p.gate_width();
        match (self.gate, self.p.channel) {
            (Floats::F32(gate), true) => Vf::load(s, &gate[at + j..at + e]),
            (Floats::Bf16(gate), true) => Vf::load(s, &gate[at + j..at + e]),
            (Floats::F32(gate), false) => Vf::splat(s, gate[at]),
            (Floats::Bf16(gate), false) => Vf::splat(s, gate[at].widen()),
        }
    }
}

/// Updates the visual rows of `h` in place: `h + sum_k gate_k v_k`, or `h + sum_k gate_k (v_k - h)`.
///
/// # Errors
/// Where a buffer is too short, or an index is outside of its sample or in it twice.
pub fn agf_inject<'a, H: Element, V: Element>(
    p: &AgfInject,
    h: &mut [H],
    gate: impl Into<Floats<'a>>,
    v: &[V],
    index: &[i32],
) -> Result<(), KernelError> {
    let gate = gate.into();
    p.check("agf_inject", h.len(), gate.len(), v.len(), index)?;
    let (shared, h) = (Shared { p, gate, index }, SharedMut::new(h));
    p.for_each(|_, b, tokens| forward_task(shared, h, v, b, tokens));
    Ok(())
}

dispatch!(
    fn forward_task<H, V>(shared: Shared<'_>, h: SharedMut<'_, H>, v: &[V], b: usize, tokens: Range<usize>) =
        forward_body
);

#[inline(always)]
fn forward_body<S: Simd, H: Element, V: Element>(
    s: S,
    shared: Shared<'_>,
    h: SharedMut<'_, H>,
    v: &[V],
    b: usize,
    tokens: Range<usize>,
) {
    let p = shared.p;
    for n in tokens {
        let Some(row) = shared.row(b, n) else { continue };
        // SAFETY: rows of a sample are named once, and every visual token is one task's.
        let h = unsafe { h.slice(row, p.cols) };
        for j in (0..p.cols).step_by(S::F32_LANES) {
            let e = (j + S::F32_LANES).min(p.cols);
            let old = Vf::load(s, &h[j..e]);
            let mut new = old;
            for k in 0..p.taps {
                let from = p.v_at(k, b, n);
                let tap = Vf::load(s, &v[from + j..from + e]);
                let towards = if p.convex { tap - old } else { tap };
                new = shared.gate(s, b, k, j, e).mul_add(towards, new);
            }
            new.store(&mut h[j..e]);
        }
    }
}

/// The gradient of [`agf_inject`] for `dh`, the gradient of the updated state: `dv` (all of it, zeros where the index is
/// -1) and `d_gate`; either is left out where it is empty. The convex form also needs `h`, the old state; its gradient is
/// [`agf_inject_state_grad`]. `scratch` holds [`AgfInject::grad_scratch_len`] values.
///
/// # Errors
/// Where a buffer is too short, an index is outside of its sample or in it twice, or the convex form gets no `h`.
pub fn agf_inject_grad<'a, H: Element, V: Element, D: Element>(
    p: &AgfInject,
    dh: &[H],
    h: Option<&[H]>,
    gate: impl Into<Floats<'a>>,
    v: &[V],
    index: &[i32],
    dv: &mut [D],
    d_gate: impl Into<FloatsMut<'a>>,
    scratch: &mut [f32],
) -> Result<(), KernelError> {
    let name = "agf_inject_grad";
    let (gate, d_gate) = (gate.into(), d_gate.into());
    p.check(name, dh.len(), gate.len(), v.len(), index)?;
    let wants_features = wanted(name, "dv", dv.len(), p.taps * p.batch * p.tokens * p.cols)?;
    let wants_gate = wanted(name, "d_gate", d_gate.len(), p.batch * p.gates())?;
    need(name, "scratch", scratch.len(), p.grad_scratch_len())?;
    if p.convex {
        need(name, "h", h.map_or(0, <[H]>::len), p.batch * p.len * p.cols)?;
    }
    let call = Grad {
        shared: Shared { p, gate, index },
        dh,
        h: if p.convex { h } else { None },
        v,
        dv: wants_features.then(|| SharedMut::new(dv)),
        d_gate: wants_gate.then(|| SharedMut::new(&mut *scratch)),
    };
    if wants_features || wants_gate {
        p.for_each(|task, b, tokens| grad_task(&call, task, b, tokens));
    }
    if wants_gate {
        let (partials, d_gate) = (SharedMut::new(scratch), SharedFloats::new(d_gate));
        let own = p.tasks() * p.gates();
        parallel::for_each(p.batch, |b| {
            // SAFETY: samples have their own partial sums and gates.
            let (partials, d_gate) =
                unsafe { (partials.slice(b * own, own), d_gate.slice(b * p.gates(), p.gates())) };
            sum_partials_to(partials, p.gates(), d_gate);
        });
    }
    Ok(())
}

/// The operands of the gradient, and what is wanted of it: `d_gate` is that of every task.
struct Grad<'a, H, V, D> {
    shared: Shared<'a>,
    dh: &'a [H],
    h: Option<&'a [H]>,
    v: &'a [V],
    dv: Option<SharedMut<'a, D>>,
    d_gate: Option<SharedMut<'a>>,
}

dispatch!(
    fn grad_task<H, V, D>(call: &Grad<'_, H, V, D>, task: usize, b: usize, tokens: Range<usize>) = grad_body
);

#[inline(always)]
fn grad_body<S: Simd, H: Element, V: Element, D: Element>(
    s: S,
    call: &Grad<'_, H, V, D>,
    task: usize,
    b: usize,
    tokens: Range<usize>,
) {
    let (shared, p) = (&call.shared, call.shared.p);
    // SAFETY: every task has its own partial sums.
    let mut d_gate = call.d_gate.map(|d_gate| unsafe { d_gate.slice(task * p.gates(), p.gates()) });
    if let Some(d_gate) = &mut d_gate {
        d_gate.fill(0.0);
    }
    for k in 0..p.taps {
        for n in tokens.clone() {
            let from = p.v_at(k, b, n);
            // SAFETY: every visual token is one task's, and `dv` was checked to hold all of them.
            let mut dv = call.dv.map(|dv| unsafe { dv.slice(from, p.cols) });
            let Some(row) = shared.row(b, n) else {
                if let Some(dv) = dv {
                    dv.fill(D::default());
                }
                continue;
            };
            let d = &call.dh[row..row + p.cols];
            let tap = &call.v[from..from + p.cols];
            let old = call.h.map(|h| &h[row..row + p.cols]);
            let mut dot = Vf::zero(s);
            for j in (0..p.cols).step_by(S::F32_LANES) {
                let e = (j + S::F32_LANES).min(p.cols);
                let d = Vf::load(s, &d[j..e]);
                if let Some(dv) = &mut dv {
                    (shared.gate(s, b, k, j, e) * d).store(&mut dv[j..e]);
                }
                let Some(d_gate) = &mut d_gate else { continue };
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
            if let Some(d_gate) = &mut d_gate
                && !p.channel
            {
                d_gate[k] += dot.sum();
            }
        }
    }
}

/// The gradient of the convex form of [`agf_inject`] for the old state: `dh`, the gradient of the updated state, becomes
/// the gradient of the old one in place. The residual form passes `dh` on as it is: then nothing happens.
///
/// # Errors
/// Where a buffer is too short, or an index is outside of its sample or in it twice.
pub fn agf_inject_state_grad<'a, H: Element>(
    p: &AgfInject,
    dh: &mut [H],
    gate: impl Into<Floats<'a>>,
    index: &[i32],
) -> Result<(), KernelError> {
    let (gate, features) = (gate.into(), p.taps * p.batch * p.tokens * p.cols);
    p.check("agf_inject_state_grad", dh.len(), gate.len(), features, index)?;
    if p.convex {
        let (shared, dh) = (Shared { p, gate, index }, SharedMut::new(dh));
        p.for_each(|_, b, tokens| state_grad_task(shared, dh, b, tokens));
    }
    Ok(())
}

dispatch!(
    fn state_grad_task<H>(shared: Shared<'_>, dh: SharedMut<'_, H>, b: usize, tokens: Range<usize>) =
        state_grad_body
);

#[inline(always)]
fn state_grad_body<S: Simd, H: Element>(
    s: S,
    shared: Shared<'_>,
    dh: SharedMut<'_, H>,
    b: usize,
    tokens: Range<usize>,
) {
    let p = shared.p;
    for row in tokens.filter_map(|n| shared.row(b, n)) {
        // SAFETY: rows of a sample are named once, and every visual token is one task's.
        let row = unsafe { dh.slice(row, p.cols) };
        for j in (0..p.cols).step_by(S::F32_LANES) {
            let e = (j + S::F32_LANES).min(p.cols);
            let d = Vf::load(s, &row[j..e]);
            let mut left = Vf::splat(s, 1.0);
            for k in 0..p.taps {
                left = left - shared.gate(s, b, k, j, e);
            }
            (d * left).store(&mut row[j..e]);
        }
    }
}

#[cfg(test)]
mod tests;
