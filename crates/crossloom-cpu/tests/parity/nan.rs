//! A NaN is not lost: it makes of a result what the reference says, wherever in a vector it stands.

use std::slice::from_ref;

use crossloom_ir::op::{
    Attention, AttnPool, Binary, BinaryKind, CrossEntropy, FusedElementwise, Load, Reduce, ReduceKind,
    Softmax, Step,
};

use crate::compare::{Arg, check, random, whole};

/// Places in a row of 37: first, within the first vector, at its end, in the rest.
const PLACES: [usize; 5] = [0, 5, 15, 33, 36];

fn with_nan(shape: &[usize], at: usize, seed: u64) -> Arg {
    let mut arg = random(shape, seed);
    arg.data[at] = f32::NAN;
    arg
}

#[test]
fn the_largest_of_numbers_and_nan_is_nan() {
    for at in PLACES {
        let (x, y) = (with_nan(&[2, 37], at, 1), random(&[2, 37], 2));
        for kind in [BinaryKind::Min, BinaryKind::Max] {
            check(Binary(kind), &[x.clone(), y.clone()]);
            check(Binary(kind), &[y.clone(), x.clone()]);
            check(Binary(kind), &[x.clone(), x.clone()]);
            let fused = FusedElementwise {
                shape: vec![2, 37],
                loads: vec![Load::Full, Load::Scalar],
                body: vec![Step::Binary(kind, 0, 1), Step::Affine(2, 2.0, 0.0)],
                stores: vec![3],
            };
            check(fused, &[x.clone(), random(&[], 3)]);
        }
        for axes in [vec![0], vec![1], vec![0, 1]] {
            check(Reduce { kind: ReduceKind::Max, axes }, from_ref(&x));
        }
    }
}

#[test]
fn a_nan_in_a_row_of_scores_makes_the_row_nan() {
    for at in PLACES {
        let mut x = with_nan(&[2, 37], at, 1);
        // Something large before and after it, which a maximum that loses NaN may lose with it.
        x.data[(at + 36) % 37] = 90.0;
        x.data[(at + 1) % 37] = 90.0;
        check(Softmax, from_ref(&x));
        check(CrossEntropy, &[x, whole(&[2], &[3, 4])]);
    }
    for at in [0, 5, 37 * 8 - 1, 37 * 8] {
        let (q, k, v) = (random(&[2, 37, 8], 1), with_nan(&[2, 37, 8], at, 2), random(&[2, 37, 8], 3));
        let op = Attention { heads: 2, kv_heads: 2, causal: false, segments: false, scale: 0.5 };
        check(op, &[q, k, v]);
        let (x, w) = (with_nan(&[2, 37, 8], at, 4), random(&[3, 8], 5));
        check(AttnPool { scale: 0.5, masked: false }, &[x, w]);
    }
}
