//! Rows of a table by id, and the gradient of the table.

use crossloom_ir::quantized::{GROUP, Group};

use super::convert::{convert_body, convert_slice};
use super::error::{KernelError, indices, need};
use super::gemm::Blocks;
use crate::element::Element;
use crate::parallel::{self, SharedMut, chunk_range};
use crate::simd::{Simd, dispatch, update1};

/// Values per task.
const CHUNK: usize = 16_384;

/// `y[i] = table[ids[i]]` for `table [vocab, cols]`; an id of -1 gives zeros.
///
/// # Errors
/// Where a buffer is too short or an id is outside of the table.
pub fn embedding<T: Element, Y: Element>(
    vocab: usize,
    cols: usize,
    table: &[T],
    ids: &[i32],
    y: &mut [Y],
) -> Result<(), KernelError> {
    need("embedding", "table", table.len(), vocab * cols)?;
    rows(vocab, cols, ids, y, |id, y| take_row(&table[id * cols..(id + 1) * cols], y))
}

/// As [`embedding`], of a table in blocks, of which every row is a whole number.
///
/// # Errors
/// As [`embedding`].
pub fn embedding_blocks<Y: Element>(
    vocab: usize,
    cols: usize,
    table: Blocks<'_>,
    ids: &[i32],
    y: &mut [Y],
) -> Result<(), KernelError> {
    need("embedding", "table", table.len(), vocab * cols)?;
    let bytes = table.dtype.bytes_of(cols);
    rows(vocab, cols, ids, y, |id, y| {
        let mut numbers = [0.0; GROUP];
        for (group, y) in y.chunks_mut(GROUP).enumerate() {
            Group::of(table.dtype, &table.bytes[id * bytes..(id + 1) * bytes], group).numbers(&mut numbers);
            convert_slice(&numbers[..y.len()], y);
        }
    })
}

/// Writes the row of every id by `row`, of -1 zeros.
fn rows<Y: Element>(
    vocab: usize,
    cols: usize,
    ids: &[i32],
    y: &mut [Y],
    row: impl Fn(usize, &mut [Y]) + Sync,
) -> Result<(), KernelError> {
    need("embedding", "y", y.len(), ids.len() * cols)?;
    indices("embedding", "ids", ids, vocab, true)?;
    let per_task = (CHUNK / cols.max(1)).max(1);
    let y = SharedMut::new(y);
    parallel::for_each(ids.len().div_ceil(per_task), |task| {
        for i in chunk_range(ids.len(), per_task, task) {
            // SAFETY: tasks own disjoint rows.
            let y = unsafe { y.slice(i * cols, cols) };
            match usize::try_from(ids[i]) {
                Ok(id) => row(id, y),
                Err(_) => y.fill(Y::default()),
            }
        }
    });
    Ok(())
}

dispatch!(fn take_row<T, Y>(row: &[T], y: &mut [Y]) = convert_body);

/// `d_table[ids[i]] += dy[i]` in the order of `i`, for `d_table [vocab, cols]`, which is zeroed first; an id of -1 is
/// skipped. Tasks own ranges of the table.
///
/// # Errors
/// Where a buffer is too short or an id is outside of the table.
pub fn embedding_grad<E: Element>(
    vocab: usize,
    cols: usize,
    dy: &[E],
    ids: &[i32],
    d_table: &mut [f32],
) -> Result<(), KernelError> {
    need("embedding_grad", "dy", dy.len(), ids.len() * cols)?;
    need("embedding_grad", "d_table", d_table.len(), vocab * cols)?;
    indices("embedding_grad", "ids", ids, vocab, true)?;
    let per_task = vocab.div_ceil(8).max(1);
    let d_table = SharedMut::new(d_table);
    parallel::for_each(vocab.div_ceil(per_task), |task| {
        let owned = chunk_range(vocab, per_task, task);
        // SAFETY: tasks own disjoint ranges of the table.
        let part = unsafe { d_table.slice(owned.start * cols, owned.len() * cols) };
        part.fill(0.0);
        grad_part(owned.start, cols, dy, ids, part);
    });
    Ok(())
}

dispatch!(fn grad_part<E>(first: usize, cols: usize, dy: &[E], ids: &[i32], part: &mut [f32]) = grad_body);

#[inline(always)]
fn grad_body<S: Simd, E: Element>(s: S, first: usize, cols: usize, dy: &[E], ids: &[i32], part: &mut [f32]) {
    for (i, id) in ids.iter().enumerate() {
        let Some(row) = usize::try_from(*id).ok().and_then(|id| id.checked_sub(first)) else { continue };
        if let Some(row) = part.get_mut(row * cols..(row + 1) * cols) {
            update1!(s, &dy[i * cols..(i + 1) * cols], row, |d, t| t + d);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crossloom_ir::DType;
    use crossloom_ir::quantized::dequantize;
    use half::bf16;

    use super::*;
    use crate::kernels::testing::{assert_close, on_threads, random, random_blocks};

    #[test]
    fn rows_are_taken_and_given_back() {
        for (vocab, cols, count) in [(1, 1, 3), (7, 5, 20), (50, 33, 700)] {
            let table = random(1, vocab * cols);
            let ids: Vec<i32> =
                (0..count).map(|i| if i % 9 == 4 { -1 } else { (i * 7 % vocab) as i32 }).collect();
            let mut y = vec![f32::NAN; count * cols];
            embedding(vocab, cols, &table, &ids, &mut y).unwrap();
            let dy = random(2, count * cols);
            let run = |threads| {
                let mut d = vec![f32::NAN; vocab * cols];
                on_threads(threads, || embedding_grad(vocab, cols, &dy, &ids, &mut d).unwrap());
                d
            };
            let mut want = vec![0.0; vocab * cols];
            for (i, id) in ids.iter().enumerate() {
                for c in 0..cols {
                    let entry = if *id < 0 { 0.0 } else { table[*id as usize * cols + c] };
                    assert_eq!(y[i * cols + c], entry);
                    if *id >= 0 {
                        want[*id as usize * cols + c] += dy[i * cols + c];
                    }
                }
            }
            assert_close(&run(1), &want, 0.0);
            assert_eq!(run(1), run(3));
        }
        assert!(embedding(3, 1, &[0.0; 3], &[3], &mut [0.0]).is_err());
        assert!(embedding(3, 1, &[0.0; 3], &[-2], &mut [0.0]).is_err());
    }

    #[test]
    fn rows_of_blocks_are_the_numbers_that_they_stand_for() {
        const VOCAB: usize = 5;
        let ids = [3, -1, 0, 4, 3];
        for dtype in DType::ALL.into_iter().filter(|dtype| dtype.is_quantized()) {
            let cols = 3 * dtype.block().0;
            let bytes = random_blocks(dtype, VOCAB, cols, 3);
            let table = Blocks { dtype, bytes: &bytes };
            let numbers = dequantize(dtype, &bytes);
            let (mut y, mut want) = (vec![f32::NAN; ids.len() * cols], vec![f32::NAN; ids.len() * cols]);
            embedding_blocks(VOCAB, cols, table, &ids, &mut y).unwrap();
            embedding(VOCAB, cols, &numbers, &ids, &mut want).unwrap();
            assert_eq!(y, want, "{dtype}");
            let (mut low, mut rounded) = (vec![bf16::NAN; y.len()], vec![bf16::NAN; y.len()]);
            embedding_blocks(VOCAB, cols, table, &ids, &mut low).unwrap();
            embedding(VOCAB, cols, &numbers, &ids, &mut rounded).unwrap();
            assert_eq!(low, rounded, "{dtype}");
            assert!(embedding_blocks(VOCAB + 1, cols, table, &ids, &mut y).is_err(), "{dtype}");
            assert!(embedding_blocks(VOCAB, cols, table, &[VOCAB as i32], &mut y).is_err(), "{dtype}");
        }
    }
}
