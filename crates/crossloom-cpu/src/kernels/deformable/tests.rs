#![allow(clippy::unwrap_used)]

use crossloom_ir::Tensor;
use crossloom_ir::op::{DeformableAttention as Op, DeformableAttentionGrad, OpSpec};

use super::*;
use crate::kernels::testing::{Buffer, assert_close, mixes, on_each_isa, on_threads, random};

/// A head dimension that fills no register, one that fills several, and queries that are several tasks.
fn shapes() -> Vec<DeformableAttention> {
    let small =
        DeformableAttention { batch: 2, queries: 5, heads: 3, head_dim: 5, points: 2, sides: vec![3, 1, 4] };
    let long =
        DeformableAttention { batch: 1, queries: 67, heads: 4, head_dim: 64, points: 4, sides: vec![8, 6] };
    assert!(long.tasks() > 1);
    vec![small, long]
}

/// Values, locations in and around the grids, weights, and a gradient of the result.
fn numbers(p: &DeformableAttention) -> [Vec<f32>; 4] {
    let points = p.batch * p.queries * p.per_query();
    let locations = random(2, 2 * points).iter().map(|x| 0.5 + 0.7 * x).collect();
    let rows = p.batch * p.rows() * p.width();
    [random(1, rows), locations, random(3, points), random(4, p.batch * p.queries * p.width())]
}

/// Result and gradients by values, places and weights, of operands in memory of those types; gradients that are skipped are
/// empty.
fn run(p: &DeformableAttention, operands: &[Buffer; 4], narrow: [bool; 4], skips: [bool; 3]) -> Vec<Buffer> {
    let [values, locations, weights, d_out] = operands;
    let mut out = Buffer::room(d_out.wide().len(), narrow[0]);
    let mut scratch = vec![f32::NAN; p.scratch_len(narrow[0])];
    let parts = [values.floats(), locations.floats(), weights.floats()];
    deformable_attention(p, parts[0], parts[1], parts[2], out.floats_mut(), &mut scratch).unwrap();
    let mut grads: [Buffer; 3] = std::array::from_fn(|i| {
        Buffer::room(if skips[i] { 0 } else { operands[i].wide().len() }, narrow[1 + i])
    });
    let mut scratch = vec![f32::NAN; p.grad_scratch_len(narrow[1])];
    let to = grads.each_mut().map(Buffer::floats_mut);
    deformable_attention_grad(p, d_out.floats(), parts, to, &mut scratch).unwrap();
    [out].into_iter().chain(grads).collect()
}

#[test]
fn results_and_gradients_are_those_of_the_reference() {
    for p in shapes() {
        let numbers = numbers(&p);
        let points = vec![p.batch, p.queries, p.heads, p.sides.len(), p.points];
        let shapes = [
            vec![p.batch, p.rows(), p.width()],
            [&points[..], &[2]].concat(),
            points,
            vec![p.batch, p.queries, p.width()],
        ];
        let tensors: Vec<Tensor<f64>> =
            (0..4).map(|i| Tensor::from_fn(shapes[i].clone(), |at| f64::from(numbers[i][at]))).collect();
        let op = Op { heads: p.heads, sides: p.sides.clone() };
        let mut expected = op.eval(&[&tensors[0], &tensors[1], &tensors[2]]).unwrap();
        let operands = [&tensors[3], &tensors[0], &tensors[1], &tensors[2]];
        expected.extend(DeformableAttentionGrad(op).eval(&operands).unwrap());
        let operands = numbers.map(|x| Buffer::new(&x, false));
        on_each_isa(|| {
            let given = run(&p, &operands, [false; 4], [false; 3]);
            for (given, expected) in given.iter().zip(&expected) {
                assert_close(&given.wide(), &expected.cast::<f32>().data, 2e-5);
            }
        });
    }
}

#[test]
fn the_number_of_threads_does_not_show() {
    for p in shapes() {
        for is_narrow in [false, true] {
            let operands = numbers(&p).map(|x| Buffer::new(&x, is_narrow));
            let one = on_threads(1, || run(&p, &operands, [is_narrow; 4], [false; 3]));
            for threads in [2, 3] {
                let more = on_threads(threads, || run(&p, &operands, [is_narrow; 4], [false; 3]));
                assert!(one.iter().map(Buffer::bits).eq(more.iter().map(Buffer::bits)));
            }
        }
    }
}

#[test]
fn narrow_types_round_and_results_left_out_change_no_other() {
    let p = &shapes()[0];
    let numbers = numbers(p);
    on_each_isa(|| {
        for are_narrow in mixes::<4>() {
            let operands: [Buffer; 4] = std::array::from_fn(|i| Buffer::new(&numbers[i], are_narrow[i]));
            let wide = operands.each_ref().map(|x| Buffer::F32(x.wide()));
            let exact = run(p, &wide, [false; 4], [false; 3]);
            for to_narrow in mixes::<4>() {
                let given = run(p, &operands, to_narrow, [false; 3]);
                for ((given, exact), is_narrow) in given.iter().zip(&exact).zip(to_narrow) {
                    assert_eq!(given, &Buffer::new(&exact.wide(), is_narrow));
                }
            }
            for skips in mixes::<3>() {
                let given = run(p, &operands, [false; 4], skips);
                for (i, skipped) in skips.into_iter().enumerate() {
                    let kept = if skipped { Vec::new() } else { exact[1 + i].bits() };
                    assert_eq!(given[1 + i].bits(), kept);
                }
            }
        }
    });
}

#[test]
fn a_place_that_is_no_number_is_not_lost() {
    let p = DeformableAttention { batch: 1, queries: 2, heads: 2, head_dim: 3, points: 2, sides: vec![2] };
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for (which, at) in [(1, 1), (1, 2), (2, 1)] {
            let mut numbers = numbers(&p);
            numbers[which][at] = bad;
            let given = run(&p, &numbers.map(|x| Buffer::new(&x, false)), [false; 4], [false; 3]);
            // The first head of the first query alone.
            let out = given[0].wide();
            assert!(out[..3].iter().all(|x| x.is_nan()) && out[3..].iter().all(|x| x.is_finite()), "{out:?}");
        }
    }
}

#[test]
fn what_is_far_away_is_zero() {
    let p = DeformableAttention { batch: 1, queries: 1, heads: 1, head_dim: 1, points: 1, sides: vec![2] };
    for far in [1e30, -1e30, 1.26, -0.26] {
        let operands = [vec![1.0; 4], vec![far, 0.5], vec![1.0], vec![1.0]].map(|x| Buffer::new(&x, false));
        for given in run(&p, &operands, [false; 4], [false; 3]) {
            assert!(given.wide().iter().all(|x| *x == 0.0), "{far}: {given:?}");
        }
    }
}

#[test]
fn buffers_that_are_too_short_are_named() {
    let p = DeformableAttention { batch: 1, queries: 1, heads: 1, head_dim: 1, points: 1, sides: vec![2] };
    let [values, locations, weights] = [&[0.0; 4][..], &[0.0; 2], &[0.0]];
    let complaint = |values, locations, weights, out: &mut [f32]| {
        deformable_attention(&p, values, locations, weights, out, &mut []).unwrap_err().to_string()
    };
    let short = &[0.0; 0][..];
    assert!(complaint(&values[..3], locations, weights, &mut [0.0]).contains("`values` holds 3"));
    assert!(complaint(values, &locations[..1], weights, &mut [0.0]).contains("`locations` holds 1"));
    assert!(complaint(values, locations, short, &mut [0.0]).contains("`weights` holds 0"));
    assert!(complaint(values, locations, weights, &mut []).contains("`out` holds 0"));
}
