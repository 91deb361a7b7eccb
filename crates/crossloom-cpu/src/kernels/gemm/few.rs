//! Products of few rows, as in decoding, and of not many rows where there are many products or `B` is large, as of logits: `B` is streamed
//! once, and packed where it is used.

use std::mem::MaybeUninit;

use super::form::Form;
use super::left::Strip;
use super::shape::Gemm;
use super::tile::{Update, gemm_serial};
use super::{Call, DEPTH, PANEL, ROWS, STRIP, Sums, WIDTH, pack_panel};
use crate::element::Element;
use crate::parallel::{self, chunk_range};
use crate::simd::{Simd, dispatch};

/// Values of `B` of one task at least.
pub(super) const TASK_VALUES: usize = 1 << 16;

/// Depth of what is packed at once for a strip: it stays in the first-level cache, and while the sums of one piece wait for each other the
/// next one is packed.
const PIECE: usize = 64;

/// Whether a product is computed so. Of a batch, one after the other would be packed, waited for, multiplied and waited for; of a large `B`,
/// every block would go to memory and come back for one task.
pub(super) fn suits(p: &Gemm) -> bool {
    p.m <= if p.batch == 1 && !p.is_blocked() { STRIP } else { ROWS }
}

/// Columns of a task that takes `values` values of `B` or a little less, a multiple of `step`. Tasks are as many as a power of two where that can
/// be, so that two threads and four have the same to do.
pub(super) fn columns_of_task(p: &Gemm, values: usize, step: usize) -> usize {
    let tasks = (p.n * p.k).div_ceil(values).next_power_of_two();
    p.n.div_ceil(tasks).next_multiple_of(step).clamp(step, WIDTH)
}

/// All products of the batch at once; `call` gives each. Tasks own columns of one.
pub(super) fn all<'a, A: Element, B: Element, C: Element>(
    p: &Gemm,
    call: impl Fn(usize) -> Call<'a, A, B, C> + Sync,
) {
    let values = TASK_VALUES * STRIP / p.m.max(STRIP);
    // A panel alone would take a cache line of every row of `B`, each from another page.
    let least = if p.trans_b { PANEL } else { 3 * PANEL };
    let cols = columns_of_task(p, values, PANEL).max(least);
    let tasks = p.n.div_ceil(cols);
    parallel::for_each(p.batch * tasks, |task| {
        let r = chunk_range(p.n, cols, task % tasks);
        few_task(&call(task / tasks), r.start, r.len());
    });
}

dispatch!(fn few_task<A, B, C>(call: &Call<'_, A, B, C>, first: usize, cols: usize) = few_body);

/// Columns `first .. first + cols` of `C`, depth by depth.
#[inline(always)]
fn few_body<S: Simd, A: Element, B: Element, C: Element>(
    s: S,
    call: &Call<'_, A, B, C>,
    first: usize,
    cols: usize,
) {
    let p = call.p;
    let mut strip = Strip::new(call.form);
    let mut sums = MaybeUninit::<[f32; ROWS * WIDTH]>::uninit();
    let at = call.c_offset + first;
    // SAFETY: tasks own disjoint columns of `C`, which `check` saw to exist; `m <= ROWS`, `cols <= WIDTH`.
    let sums = unsafe { Sums::of(s, call, at, p.m, cols, sums.as_mut_ptr().cast()) };
    let mut k = 0;
    loop {
        let depth = DEPTH.min(p.k - k);
        // SAFETY: the sums are those of all rows of `A` and of the task's columns.
        unsafe {
            if call.form == Form::Numbers && p.m <= STRIP {
                pieces(s, call, &mut strip, [first, cols], [k, depth], sums);
            } else {
                panels(s, call, &mut strip, [first, cols], [k, depth], sums);
            }
        }
        k += depth;
        if k >= p.k {
            break;
        }
    }
    for i in 0..p.m {
        // SAFETY: the sums are complete, and these columns belong to this task.
        unsafe { sums.finish(s, call, i, at + i * p.ldc, first, cols) };
    }
}

/// Sums over one depth, panel by panel, strip by strip.
///
/// # Safety
/// The sums are those of all rows of `A` and of these columns, which nobody else touches.
#[inline(always)]
unsafe fn panels<S: Simd, A: Element, B: Element, C: Element>(
    s: S,
    call: &Call<'_, A, B, C>,
    strip: &mut Strip,
    [first, cols]: [usize; 2],
    [k, depth]: [usize; 2],
    sums: Sums,
) {
    let m = call.p.m;
    let len = call.form.steps(depth) * PANEL;
    let mut packed = MaybeUninit::<[f32; DEPTH * PANEL]>::uninit();
    for j in (0..cols).step_by(PANEL) {
        let n = PANEL.min(cols - j);
        // SAFETY: the buffer is that long; packing writes all of it and reads nothing of it.
        let panel = unsafe { std::slice::from_raw_parts_mut(packed.as_mut_ptr().cast::<f32>(), len) };
        pack_panel(s, call, k, depth, first + j, n, panel);
        for i in (0..m).step_by(call.form.strip()) {
            let rows = call.form.strip().min(m - i);
            // SAFETY: the strip of `A` and the tile of the sums exist; the panel was packed to this depth.
            unsafe {
                strip.fill(s, call, i, rows, k, depth);
                let c = sums.ptr.add(i * sums.stride + j);
                strip.times(s, call, rows, n, depth, panel.as_ptr(), c, sums.stride, call.update_at(k));
            }
        }
    }
}

/// Sums of one strip of numbers over one depth, panel by panel, each in pieces.
///
/// # Safety
/// As [`panels`]; `A` has at most a strip's rows, and the form is that of numbers.
#[inline(always)]
unsafe fn pieces<S: Simd, A: Element, B: Element, C: Element>(
    s: S,
    call: &Call<'_, A, B, C>,
    strip: &mut Strip,
    [first, cols]: [usize; 2],
    [k, depth]: [usize; 2],
    sums: Sums,
) {
    let (m, update) = (call.p.m, call.update_at(k));
    let mut packed = [0.0; PIECE * PANEL];
    let mut own = [0.0; STRIP * PANEL];
    // SAFETY: `A` has these rows and columns.
    unsafe { strip.fill(s, call, 0, m, k, depth) };
    for j in (0..cols).step_by(PANEL) {
        let n = PANEL.min(cols - j);
        for q in (0..depth).step_by(PIECE) {
            let piece = PIECE.min(depth - q);
            let of_piece = if q == 0 { Update::Set } else { Update::Continue };
            pack_panel(s, call, k + q, piece, first + j, n, &mut packed[..piece * PANEL]);
            // SAFETY: the strip has these columns, the panel as many rows, and `own` room for a strip of one panel.
            unsafe {
                let (a, b, c) = (strip.behind(q), packed.as_ptr(), own.as_mut_ptr());
                gemm_serial::<S, true>(s, m, n, piece, a, b, PANEL, c, PANEL, 1.0, of_piece);
            }
        }
        for (i, own) in own.as_chunks::<PANEL>().0.iter().enumerate().take(m) {
            for (j, sum) in (j..).zip(&own[..n]) {
                // SAFETY: row and column are of the sums.
                unsafe { update.put(call.p.alpha * sum, sums.ptr.add(i * sums.stride + j)) };
            }
        }
    }
}
