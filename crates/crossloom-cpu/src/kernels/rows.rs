//! Moving rows between a sequence and a list, by index, sample by sample.

use super::error::{KernelError, indices, need};
use crate::element::Element;
use crate::parallel::{self, SharedMut, chunk_range};
use crate::simd::{Simd, dispatch, update1};

/// The shape of a row move: `h [batch, len, cols]`, `index [batch, count]` into `len`, `rows [batch, count, cols]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// Samples.
    pub batch: usize,
    /// Rows of a sample of `h`.
    pub len: usize,
    /// Rows of a sample of the list.
    pub count: usize,
    /// Values of a row.
    pub cols: usize,
}

impl Rows {
    fn check(&self, name: &'static str, h: usize, index: &[i32], rows: usize) -> Result<(), KernelError> {
        need(name, "h", h, self.batch * self.len * self.cols)?;
        need(name, "rows", rows, self.batch * self.count * self.cols)?;
        need(name, "index", index.len(), self.batch * self.count)?;
        indices(name, "index", &index[..self.batch * self.count], self.len, true)
    }
}

/// `rows[b, n] = h[b, index[b, n]]`; an index of -1 gives zeros. It is also the gradient of [`scatter_rows`] with
/// respect to `rows`.
///
/// # Errors
/// Where a buffer is too short or an index is outside of its sample.
pub fn gather_rows<E: Element>(p: &Rows, h: &[E], index: &[i32], rows: &mut [E]) -> Result<(), KernelError> {
    p.check("gather_rows", h.len(), index, rows.len())?;
    let all = p.batch * p.count;
    let per_task = (16_384 / p.cols.max(1)).max(1);
    let rows = SharedMut::new(rows);
    parallel::for_each(all.div_ceil(per_task), |task| {
        for i in chunk_range(all, per_task, task) {
            // SAFETY: tasks own disjoint rows.
            let row = unsafe { rows.slice(i * p.cols, p.cols) };
            match usize::try_from(index[i]) {
                Ok(at) => {
                    let from = (i / p.count * p.len + at) * p.cols;
                    row.copy_from_slice(&h[from..from + p.cols]);
                }
                Err(_) => row.fill(E::default()),
            }
        }
    });
    Ok(())
}

/// What a scatter does to the row it writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scatter {
    /// Replace it; of several writes to one row the last counts.
    Set,
    /// Add to it, in the order of the list.
    Add,
}

/// `h[b, index[b, n]] = rows[b, n]`, or `+=`, in place; an index of -1 is skipped. With [`Scatter::Add`] on zeros it is
/// the gradient of [`gather_rows`].
///
/// # Errors
/// Where a buffer is too short or an index is outside of its sample.
pub fn scatter_rows<E: Element>(
    p: &Rows,
    mode: Scatter,
    h: &mut [E],
    index: &[i32],
    rows: &[E],
) -> Result<(), KernelError> {
    p.check("scatter_rows", h.len(), index, rows.len())?;
    let h = SharedMut::new(h);
    parallel::for_each(p.batch, |b| {
        for n in b * p.count..(b + 1) * p.count {
            let Ok(at) = usize::try_from(index[n]) else { continue };
            // SAFETY: tasks own disjoint samples.
            let to = unsafe { h.slice((b * p.len + at) * p.cols, p.cols) };
            let row = &rows[n * p.cols..(n + 1) * p.cols];
            match mode {
                Scatter::Set => to.copy_from_slice(row),
                Scatter::Add => add_row(row, to),
            }
        }
    });
    Ok(())
}

dispatch!(fn add_row<E>(row: &[E], to: &mut [E]) = add_body);

#[inline(always)]
fn add_body<S: Simd, E: Element>(s: S, row: &[E], to: &mut [E]) {
    update1!(s, row, to, |r, t| t + r);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kernels::testing::random;

    #[test]
    fn rows_move_both_ways() {
        let p = Rows { batch: 3, len: 9, count: 4, cols: 19 };
        let index = [0, 8, -1, 3, 5, 5, 1, -1, 2, 1, 0, 7];
        let h = random(1, 3 * 9 * 19);
        let rows = random(2, 3 * 4 * 19);
        let mut got = vec![f32::NAN; rows.len()];
        gather_rows(&p, &h, &index, &mut got).unwrap();
        let (mut set, mut add) = (h.clone(), h.clone());
        scatter_rows(&p, Scatter::Set, &mut set, &index, &rows).unwrap();
        scatter_rows(&p, Scatter::Add, &mut add, &index, &rows).unwrap();
        let (mut want_set, mut want_add) = (h.clone(), h.clone());
        for n in 0..12 {
            for c in 0..19 {
                let from = n * 19 + c;
                if index[n] < 0 {
                    assert_eq!(got[from], 0.0);
                    continue;
                }
                let at = (n / 4 * 9 + index[n] as usize) * 19 + c;
                assert_eq!(got[from], h[at]);
                want_set[at] = rows[from];
                want_add[at] += rows[from];
            }
        }
        assert_eq!((set, add), (want_set, want_add));
        assert!(gather_rows(&p, &h, &[9; 12], &mut got).is_err());
    }
}
