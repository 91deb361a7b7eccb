//! Leaves, movement, reductions and products.

use std::slice::from_ref;

use crossloom_ir::op::{
    Activation, Broadcast, Concat, Constant, Iota, Linear, Matmul, MatmulActGrad, Pad, Reduce, ReduceKind,
    Reshape, Slice, Transpose, WeightGrad,
};
use crossloom_ir::{DType, TensorType};

use super::support::{ERF, EXACT, assert_complains, check, check_within, outputs, random};

#[test]
fn leaves() {
    check(Constant { value: -0.125, shape: vec![2, 3] }, &[]);
    check(Constant { value: 7.0, shape: vec![] }, &[]);
    check(Iota { shape: vec![2, 3, 2], axis: 1 }, &[]);
    assert_eq!(outputs(Iota { shape: vec![2, 3], axis: 1 }, &[])[0].data, [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]);
    assert_complains(Iota { shape: vec![2], axis: 1 }, &[], "axis 1 of a rank-1 shape");
}

#[test]
fn movement() {
    let x = || random(&[2, 3, 4], 3);
    check(Reshape { shape: vec![6, 4] }, &[x()]);
    check(Transpose { perm: vec![2, 0, 1] }, &[x()]);
    check(Broadcast { shape: vec![5, 2, 3, 7, 4], axes: vec![1, 2, 4] }, &[x()]);
    check(Broadcast { shape: vec![2, 2], axes: vec![] }, &[random(&[], 3)]);
    check(Slice { axis: 2, start: 1, len: 2 }, &[x()]);
    check(Pad { axis: 1, before: 2, after: 1 }, &[x()]);
    check(Concat { axis: 1 }, &[x(), random(&[2, 1, 4], 4), random(&[2, 2, 4], 5)]);
    check(Concat { axis: 0 }, &[x()]);
}

#[test]
fn reductions() {
    for kind in [ReduceKind::Sum, ReduceKind::Max] {
        for axes in [vec![0], vec![1], vec![2], vec![0, 2], vec![0, 1, 2], vec![]] {
            check(Reduce { kind, axes }, &[random(&[2, 3, 4], 6)]);
        }
    }
}

#[test]
fn products() {
    for (transpose_a, transpose_b) in [(false, false), (false, true), (true, false), (true, true)] {
        let a = if transpose_a { [2, 5, 3] } else { [2, 3, 5] };
        let b = if transpose_b { [2, 4, 5] } else { [2, 5, 4] };
        check(Matmul { transpose_a, transpose_b }, &[random(&a, 7), random(&b, 8)]);
        check(Matmul { transpose_a, transpose_b }, &[random(&a[1..], 7), random(&b[1..], 8)]);
    }
}

#[test]
fn what_comes_back_through_a_layer() {
    for (transpose_a, transpose_b, a, b) in [(false, false, [2, 3], [3, 4]), (true, true, [3, 2], [4, 3])] {
        let product = Matmul { transpose_a, transpose_b };
        let operands = [random(&a, 1), random(&b, 2), random(&[2, 4], 3)];
        check(MatmulActGrad { product, act: Activation::Silu, rounded: DType::F32 }, &operands);
    }
    check(WeightGrad, &[random(&[5, 3], 4), random(&[5, 2], 5)]);
    let f = |shape: &[usize]| TensorType::f32(shape);
    let product = Matmul { transpose_a: false, transpose_b: false };
    let op = MatmulActGrad { product, act: Activation::Silu, rounded: DType::F32 };
    assert_complains(op, &[f(&[2, 3]), f(&[3, 4]), f(&[2, 3])], "pre f32[2, 3] must be f32[2, 4]");
    assert_complains(WeightGrad, &[f(&[2, 3]), f(&[3, 4])], "not of as many rows");
}

#[test]
fn linear_with_every_epilogue() {
    for bias in [false, true] {
        for residual in [false, true] {
            for act in [None].into_iter().chain(Activation::ALL.map(Some)) {
                let mut args = vec![random(&[2, 3, 5], 9), random(&[4, 5], 10)];
                if bias {
                    args.push(random(&[4], 11));
                }
                if residual {
                    args.push(random(&[2, 3, 4], 12));
                }
                let tolerance = if act == Some(Activation::GeluErf) { ERF } else { EXACT };
                check_within(Linear { bias, act, residual }, &args, tolerance);
            }
        }
    }
}

#[test]
fn wrong_operands_are_named() {
    let x = TensorType::f32([2, 3]);
    assert_complains(Reshape { shape: vec![4] }, from_ref(&x), "does not hold the 6 elements");
    assert_complains(Transpose { perm: vec![0, 0] }, from_ref(&x), "no permutation");
    assert_complains(Broadcast { shape: vec![3, 2], axes: vec![0, 1] }, from_ref(&x), "do not place");
    assert_complains(Slice { axis: 1, start: 2, len: 2 }, from_ref(&x), "outside");
    assert_complains(Pad { axis: 2, before: 0, after: 0 }, from_ref(&x), "cannot pad axis 2");
    assert_complains(Concat { axis: 0 }, &[x.clone(), TensorType::f32([2, 4])], "does not join");
    assert_complains(Reduce { kind: ReduceKind::Sum, axes: vec![2] }, from_ref(&x), "must be ascending axes");
    assert_complains(
        Matmul { transpose_a: false, transpose_b: false },
        &[x.clone(), x.clone()],
        "contracts 3 with 2",
    );
    assert_complains(Linear::default(), &[x, TensorType::f32([4, 2])], "weights are [out, in]");
}
