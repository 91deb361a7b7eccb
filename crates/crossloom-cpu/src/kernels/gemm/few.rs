//! Products of few rows, as in decoding: `B` is streamed once, and packed where it is used.

use std::mem::MaybeUninit;

use super::left::Strip;
use super::{Call, DEPTH, PANEL, STRIP, Sums, WIDTH, pack_panel};
use crate::element::Element;
use crate::parallel::{self, chunk_range};
use crate::simd::{Simd, dispatch};

/// Values of `B` of one task at least.
const TASK_VALUES: usize = 1 << 16;

impl<A: Element, B: Element, C: Element> Call<'_, A, B, C> {
    /// At most [`STRIP`] rows: tasks own columns.
    pub(super) fn few(&self) {
        let p = self.p;
        let cols = (TASK_VALUES / p.k.max(1)).next_multiple_of(PANEL).clamp(PANEL, WIDTH);
        parallel::for_each(p.n.div_ceil(cols), |task| {
            let r = chunk_range(p.n, cols, task);
            few_task(self, r.start, r.len());
        });
    }
}

dispatch!(fn few_task<A, B, C>(call: &Call<'_, A, B, C>, first: usize, cols: usize) = few_body);

/// Columns `first .. first + cols` of `C`, panel by panel.
#[inline(always)]
fn few_body<S: Simd, A: Element, B: Element, C: Element>(
    s: S,
    call: &Call<'_, A, B, C>,
    first: usize,
    cols: usize,
) {
    let p = call.p;
    let mut strip = Strip::new(call.form);
    let mut packed = MaybeUninit::<[f32; DEPTH * PANEL]>::uninit();
    let mut sums = MaybeUninit::<[f32; STRIP * WIDTH]>::uninit();
    let at = call.c_offset + first;
    // SAFETY: tasks own disjoint columns of `C`, which `check` saw to exist; `m <= STRIP`, `cols <= WIDTH`.
    let sums = unsafe { Sums::of(s, call, at, p.m, cols, sums.as_mut_ptr().cast()) };
    for j in (0..cols).step_by(PANEL) {
        let n = PANEL.min(cols - j);
        let mut k = 0;
        loop {
            let depth = DEPTH.min(p.k - k);
            let len = call.form.steps(depth) * PANEL;
            // SAFETY: the buffer is that long; packing writes all of it and reads nothing of it.
            let panel = unsafe { std::slice::from_raw_parts_mut(packed.as_mut_ptr().cast::<f32>(), len) };
            pack_panel(s, call, k, depth, first + j, n, panel);
            // SAFETY: the strip of `A` and the tile of the sums exist; the panel was packed to this depth.
            unsafe {
                strip.fill(s, call, 0, p.m, k, depth);
                let c = sums.ptr.add(j);
                strip.times(s, call, p.m, n, depth, panel.as_ptr(), c, sums.stride, call.update_at(k));
            }
            k += depth;
            if k >= p.k {
                break;
            }
        }
    }
    for i in 0..p.m {
        // SAFETY: the sums are complete, and these columns belong to this task.
        unsafe { sums.finish(s, call, i, at + i * p.ldc, first, cols) };
    }
}
