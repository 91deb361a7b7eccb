//! SwiGLU: `silu(gate) up`, on separate or merged buffers.

use super::activation::{Function, Silu};
use super::error::{KernelError, same};
use super::view::{Mat, MatMut};
use crate::math::sigmoid_v;
use crate::parallel::{self, chunk_range};
use crate::simd::{Simd, Vf, dispatch, map2};

/// Values per task.
const CHUNK: usize = 16_384;

fn check(name: &'static str, shapes: &[(&'static str, Mat<'_>)]) -> Result<(), KernelError> {
    let (_, first) = shapes[0];
    for (operand, m) in shapes {
        same(name, operand, m.rows(), first.rows())?;
        same(name, operand, m.cols(), first.cols())?;
    }
    Ok(())
}

/// `y = silu(gate) up`, all `[rows, cols]`.
///
/// # Errors
/// Where shapes differ.
pub fn swiglu(gate: Mat<'_>, up: Mat<'_>, y: MatMut<'_>) -> Result<(), KernelError> {
    check("swiglu", &[("gate", gate), ("up", up), ("y", y.as_ref())])?;
    let per_task = (CHUNK / y.cols().max(1)).max(1);
    parallel::for_each(y.rows().div_ceil(per_task), |task| {
        for i in chunk_range(y.rows(), per_task, task) {
            // SAFETY: tasks own disjoint rows.
            forward_row(gate.row(i), up.row(i), unsafe { y.cells(i, 0, y.cols()) });
        }
    });
    Ok(())
}

dispatch!(fn forward_row(gate: &[f32], up: &[f32], y: &mut [f32]) = forward_body);

#[inline(always)]
fn forward_body<S: Simd>(s: S, gate: &[f32], up: &[f32], y: &mut [f32]) {
    map2!(s, gate, up, y, |g, u| Silu::value(g) * u);
}

/// The gradient of [`swiglu`]: `d_gate = dy up silu'(gate)`, `d_up = dy silu(gate)`, all `[rows, cols]`.
///
/// # Errors
/// Where shapes differ.
pub fn swiglu_grad(
    gate: Mat<'_>,
    up: Mat<'_>,
    dy: Mat<'_>,
    d_gate: MatMut<'_>,
    d_up: MatMut<'_>,
) -> Result<(), KernelError> {
    check(
        "swiglu_grad",
        &[("gate", gate), ("up", up), ("dy", dy), ("d_gate", d_gate.as_ref()), ("d_up", d_up.as_ref())],
    )?;
    let (rows, cols) = (dy.rows(), dy.cols());
    let per_task = (CHUNK / cols.max(1)).max(1);
    parallel::for_each(rows.div_ceil(per_task), |task| {
        for i in chunk_range(rows, per_task, task) {
            // SAFETY: tasks own disjoint rows.
            let (d_gate, d_up) = unsafe { (d_gate.cells(i, 0, cols), d_up.cells(i, 0, cols)) };
            backward_row(gate.row(i), up.row(i), dy.row(i), d_gate, d_up);
        }
    });
    Ok(())
}

dispatch!(
    fn backward_row(gate: &[f32], up: &[f32], dy: &[f32], d_gate: &mut [f32], d_up: &mut [f32]) =
        backward_body
);

#[inline(always)]
fn backward_body<S: Simd>(s: S, gate: &[f32], up: &[f32], dy: &[f32], d_gate: &mut [f32], d_up: &mut [f32]) {
    let one = Vf::splat(s, 1.0);
    for j in (0..gate.len()).step_by(S::F32_LANES) {
        let e = (j + S::F32_LANES).min(gate.len());
        let (g, u, d) = (Vf::load(s, &gate[j..e]), Vf::load(s, &up[j..e]), Vf::load(s, &dy[j..e]));
        let sigmoid = sigmoid_v(g);
        (d * g * sigmoid).store(&mut d_up[j..e]);
        let slope = sigmoid * g.mul_add(one - sigmoid, one);
        (d * u * slope).store(&mut d_gate[j..e]);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kernels::testing::{assert_close, random};

    #[test]
    fn merged_buffers_match_the_definition() {
        for (rows, cols) in [(1, 1), (3, 7), (200, 129)] {
            let merged = random(1, rows * 2 * cols);
            let dy = random(2, rows * cols);
            let gate = Mat::columns(&merged, rows, 2 * cols, 0, cols).unwrap();
            let up = Mat::columns(&merged, rows, 2 * cols, cols, cols).unwrap();
            let mut y = vec![0.0; rows * cols];
            swiglu(gate, up, MatMut::new(&mut y, rows, cols).unwrap()).unwrap();
            let mut d = vec![0.0; rows * 2 * cols];
            let [d_gate, d_up] = MatMut::split_columns(&mut d, rows, [cols, cols]).unwrap();
            swiglu_grad(gate, up, Mat::new(&dy, rows, cols).unwrap(), d_gate, d_up).unwrap();
            let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
            let (mut want, mut want_d) = (vec![0.0; rows * cols], vec![0.0; rows * 2 * cols]);
            for i in 0..rows {
                for j in 0..cols {
                    let at = i * 2 * cols + j;
                    let (g, u) = (f64::from(merged[at]), f64::from(merged[at + cols]));
                    let (e, sg) = (f64::from(dy[i * cols + j]), sigmoid(g));
                    want[i * cols + j] = (g * sg * u) as f32;
                    want_d[at] = (e * u * (sg + g * sg * (1.0 - sg))) as f32;
                    want_d[at + cols] = (e * g * sg) as f32;
                }
            }
            assert_close(&y, &want, 1e-6);
            assert_close(&d, &want_d, 1e-6);
        }
    }
}
