//! Copies of tensors with their axes permuted, cut or repeated.

use super::error::{KernelError, need, same};
use crate::parallel::{self, SharedMut, chunk_range};

/// Values per task.
const CHUNK: usize = 32_768;
/// The most axes a permuted copy has.
const MAX_RANK: usize = 6;

/// `y[i0, i1, ..] = x[i0 strides[0] + i1 strides[1] + ..]`: `y` is contiguous of the given `shape` (at most 6 axes, the
/// last one fastest), `x` is read with any strides (0 repeats). A transposition, a patch cut or its inverse, a slice
/// with a step, a broadcast. Bits only move, so elements are of any type of their size.
///
/// # Errors
/// Where there are too many axes, or a buffer is too short.
pub fn permute<T: Copy + Send + Sync>(
    shape: &[usize],
    strides: &[usize],
    x: &[T],
    y: &mut [T],
) -> Result<(), KernelError> {
    need("permute", "largest rank", MAX_RANK, shape.len())?;
    same("permute", "strides", strides.len(), shape.len())?;
    let total: usize = shape.iter().product();
    need("permute", "y", y.len(), total)?;
    if total == 0 {
        return Ok(());
    }
    let span: usize = 1 + shape.iter().zip(strides).map(|(n, s)| (n - 1) * s).sum::<usize>();
    need("permute", "x", x.len(), span)?;
    let walk = Walk::new(shape, strides);
    let inner = walk.shape[MAX_RANK - 1];
    let outer = total / inner;
    let per_task = (CHUNK / inner).max(1);
    let y = SharedMut::new(y);
    parallel::for_each(outer.div_ceil(per_task), |task| {
        let r = chunk_range(outer, per_task, task);
        // SAFETY: tasks own disjoint ranges of the output.
        let y = unsafe { y.slice(r.start * inner, r.len() * inner) };
        walk.copy(x, y, r.start);
    });
    Ok(())
}

/// Axes in front padded with 1, neighbours merged where the input allows it.
struct Walk {
    shape: [usize; MAX_RANK],
    strides: [usize; MAX_RANK],
}

impl Walk {
    fn new(shape: &[usize], strides: &[usize]) -> Self {
        let mut walk = Self { shape: [1; MAX_RANK], strides: [0; MAX_RANK] };
        let mut at = MAX_RANK;
        for (&n, &stride) in shape.iter().zip(strides).rev() {
            if n == 1 {
                continue;
            }
            if at < MAX_RANK && stride == walk.shape[at] * walk.strides[at] {
                walk.shape[at] *= n;
            } else {
                at -= 1;
                (walk.shape[at], walk.strides[at]) = (n, stride);
            }
        }
        if at == MAX_RANK {
            walk.strides[MAX_RANK - 1] = 1;
        }
        walk
    }

    /// Fills `y` from the given outer position on.
    fn copy<T: Copy>(&self, x: &[T], y: &mut [T], first: usize) {
        const LAST: usize = MAX_RANK - 1;
        let (inner, stride) = (self.shape[LAST], self.strides[LAST]);
        let mut index = [0; LAST];
        let mut rest = first;
        for axis in (0..LAST).rev() {
            index[axis] = rest % self.shape[axis];
            rest /= self.shape[axis];
        }
        for row in y.chunks_exact_mut(inner) {
            let base: usize = index.iter().zip(&self.strides).map(|(i, s)| i * s).sum();
            if stride == 1 {
                row.copy_from_slice(&x[base..base + inner]);
            } else {
                for (i, y) in row.iter_mut().enumerate() {
                    *y = x[base + i * stride];
                }
            }
            for axis in (0..LAST).rev() {
                index[axis] += 1;
                if index[axis] < self.shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::kernels::testing::random;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_permutation_matches_the_definition(
            dims in prop::collection::vec(1_usize..6, 1..=6), order in Just([0, 1, 2, 3, 4, 5]).prop_shuffle(),
        ) {
            let rank = dims.len();
            let order: Vec<usize> = order.into_iter().filter(|a| *a < rank).collect();
            let mut strides = vec![1; rank];
            for a in (0..rank - 1).rev() {
                strides[a] = strides[a + 1] * dims[a + 1];
            }
            let shape: Vec<usize> = order.iter().map(|a| dims[*a]).collect();
            let from: Vec<usize> = order.iter().map(|a| strides[*a]).collect();
            let total = dims.iter().product();
            let x = random(1, total);
            let mut y = vec![f32::NAN; total];
            permute(&shape, &from, &x, &mut y).unwrap();
            for (flat, y) in y.iter().enumerate() {
                let (mut rest, mut at) = (flat, 0);
                for a in (0..rank).rev() {
                    at += rest % shape[a] * from[a];
                    rest /= shape[a];
                }
                prop_assert_eq!(*y, x[at]);
            }
        }
    }

    #[test]
    fn patches_are_cut_and_put_back() {
        // [B, C, H, W] -> [B, H/p, W/p, C, p, p].
        let (b, c, h, w, p) = (2, 3, 8, 12, 4);
        let x = random(1, b * c * h * w);
        let mut patches = vec![0.0; x.len()];
        let shape = [b, h / p, w / p, c, p, p];
        permute(&shape, &[c * h * w, p * w, p, h * w, w, 1], &x, &mut patches).unwrap();
        assert_eq!(patches[p], x[w]);
        let mut back = vec![0.0; x.len()];
        let inner = c * p * p;
        let strides = [(h / p) * (w / p) * inner, p * p, (w / p) * inner, p, inner, 1];
        permute(&[b, c, h / p, p, w / p, p], &strides, &patches, &mut back).unwrap();
        assert_eq!(back, x);
    }

    #[test]
    fn broadcasts_repeat_and_bad_shapes_are_reported() {
        let mut y = [0.0; 6];
        permute(&[3, 2], &[0, 1], &[1.0, 2.0], &mut y).unwrap();
        assert_eq!(y, [1.0, 2.0, 1.0, 2.0, 1.0, 2.0]);
        permute(&[], &[], &[5.0], &mut y).unwrap();
        assert_eq!(y[0], 5.0);
        assert!(permute(&[3, 2], &[2, 1], &[0.0; 5], &mut y).is_err());
        assert!(permute(&[3, 3], &[0, 0], &[0.0], &mut y).is_err());
        assert!(permute(&[1; 7], &[1; 7], &[0.0], &mut y).is_err());
    }
}
