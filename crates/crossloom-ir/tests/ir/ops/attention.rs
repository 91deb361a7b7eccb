//! Attention and rotary positions.

use crossloom_ir::op::{Attention, AttentionGrad, Op, Rope};
use crossloom_ir::{Cost, TensorType};
use proptest::prelude::*;

use super::support::{
    Arg, assert_close, assert_complains, between, check, distance, given, outputs, random, random_whole,
    whole,
};

/// Operands of width 3 per head.
fn operands(op: Attention, b: usize, tq: usize, tk: usize, seed: u64) -> Vec<Arg> {
    let q = random(&[b, tq, op.heads * 3], seed);
    vec![q, random(&[b, tk, op.kv_heads * 3], seed + 1), random(&[b, tk, op.kv_heads * 3], seed + 2)]
}

fn plain(heads: usize, kv_heads: usize, causal: bool) -> Attention {
    Attention { heads, kv_heads, causal, segments: false, scale: 0.7 }
}

/// Two packed samples: an image of three positions and two questions with padding behind; only padding behind a text.
fn segments() -> Arg {
    whole(&[2, 8], &[0, 0, 0, 1, 1, 2, 2, -1, 1, 1, 1, -1, -1, -1, -1, -1])
}

#[test]
fn every_mask_and_every_grouping() {
    for (heads, kv_heads) in [(1, 1), (2, 2), (4, 2), (3, 1)] {
        for causal in [false, true] {
            let op = plain(heads, kv_heads, causal);
            check(op, &operands(op, 2, 4, 4, 1));
            check(op, &operands(op, 1, 1, 1, 2));
            // Fewer queries than keys: a cached sequence goes on.
            check(op, &operands(op, 2, 2, 5, 3));
            let op = Attention { segments: true, ..op };
            let mut args = operands(op, 2, 8, 8, 4);
            args.push(segments());
            check(op, &args);
        }
    }
    // More queries than keys is cross-attention.
    check(plain(2, 1, false), &operands(plain(2, 1, false), 1, 5, 2, 5));
}

/// The same operands with the results of the forward pass, as the backward op gets them.
fn backward_operands(op: Attention, args: &[Arg]) -> Vec<Arg> {
    let results = outputs(op, args);
    let mut all = vec![random(&args[0].ty.shape, 77)];
    all.extend(args[..3].iter().cloned());
    all.extend(results.iter().map(|t| given(&t.shape, &t.data)));
    all.extend(args.get(3).cloned());
    all
}

#[test]
fn the_backward_op_is_differentiable() {
    for causal in [false, true] {
        let op = plain(4, 2, causal);
        check(AttentionGrad(op), &backward_operands(op, &operands(op, 1, 3, 3, 6)));
        let op = Attention { segments: true, heads: 2, kv_heads: 1, ..op };
        let mut args = operands(op, 2, 8, 8, 7);
        args.push(segments());
        check(AttentionGrad(op), &backward_operands(op, &args));
    }
}

#[test]
fn equal_keys_give_the_mean_of_what_is_visible() {
    let op = Attention { heads: 1, kv_heads: 1, causal: true, segments: false, scale: 1.0 };
    let v = given(&[1, 3, 1], &[3.0, 6.0, 12.0]);
    let y = outputs(op, &[given(&[1, 3, 1], &[5.0, -2.0, 1.0]), given(&[1, 3, 1], &[0.0; 3]), v]);
    assert_close(&y[0], &[3.0, 4.5, 7.0], 1e-12);
    assert_close(&y[1], &[0.0, 2.0_f64.ln(), 3.0_f64.ln()], 1e-12);
}

#[test]
fn segments_see_the_prefix_and_themselves() {
    let op = Attention { heads: 1, kv_heads: 1, causal: true, segments: true, scale: 1.0 };
    let numbers = [0, 0, 1, 1, 2, -1, -1];
    let seen = |t: usize| -> Vec<usize> {
        let pair = |s: usize| Some((numbers[t], numbers[s]));
        (0..7).filter(|&s| op.allows(t, s, pair(s))).collect()
    };
    assert_eq!(seen(1), [0, 1]);
    assert_eq!(seen(3), [0, 1, 2, 3]);
    assert_eq!(seen(4), [0, 1, 4]);
    assert_eq!(seen(6), [6]);
    let open = Attention { causal: false, ..op };
    assert!(open.allows(0, 1, Some((0, 0))));
    assert!(!open.allows(0, 2, Some((0, 1))));
}

#[test]
fn a_question_does_not_see_another() {
    let op = Attention { segments: true, ..plain(2, 1, true) };
    let mut args = operands(op, 2, 8, 8, 8);
    args.push(segments());
    let before = outputs(op, &args);
    // The keys and values of question 1 change; question 2 (positions 5 and 6 of sample 0) must not notice.
    for operand in 1..3 {
        for position in 3..5 {
            args[operand].value.data[position * 3..position * 3 + 3].fill(9.0);
        }
    }
    let after = outputs(op, &args);
    let row = |t: usize| t * 6..t * 6 + 6;
    assert_ne!(before[0].data[row(4)], after[0].data[row(4)]);
    assert_eq!(before[0].data[row(5)], after[0].data[row(5)]);
    assert_eq!(before[0].data[row(6)], after[0].data[row(6)]);
}

#[test]
fn the_last_queries_alone_give_the_last_rows() {
    let op = plain(4, 2, true);
    let args = operands(op, 1, 6, 6, 9);
    let whole = outputs(op, &args);
    let q = given(&[1, 2, 12], &args[0].value.data[4 * 12..]);
    let tail = outputs(op, &[q, args[1].clone(), args[2].clone()]);
    assert_eq!(tail[0].data, whole[0].data[4 * 12..]);
}

#[test]
fn cost_counts_the_causal_triangle() {
    let cost = |op: Attention, tq: usize, tk: usize| -> Cost {
        let (q, k) = (TensorType::f32([2, tq, 16]), TensorType::f32([2, tk, 8]));
        let inputs = [&q, &k, &k];
        let outputs = op.into_op().infer(&inputs).unwrap();
        op.into_op().cost(&inputs, &outputs.iter().collect::<Vec<_>>())
    };
    let (full, causal) = (plain(4, 2, false), plain(4, 2, true));
    let per_pair = 4 * 4 + 5;
    assert_eq!(cost(full, 10, 10).flops, 2 * 4 * 100 * per_pair + 2 * 10 * 16);
    assert_eq!(cost(causal, 10, 10).flops, 2 * 4 * 55 * per_pair + 2 * 10 * 16);
    assert_eq!(cost(causal, 1, 10).flops, 2 * 4 * 10 * per_pair + 2 * 16);
}

trait IntoOp: Into<Op> {
    fn into_op(self) -> Op {
        self.into()
    }
}
impl IntoOp for Attention {}

#[test]
fn rope_with_every_width() {
    for (width, head_dim) in [(2, 2), (8, 4), (12, 6)] {
        for inverse in [false, true] {
            let positions = random_whole(&[2, 3], 0, 9, 10);
            check(
                Rope { head_dim, theta: 100.0, inverse, sections: None },
                &[random(&[2, 3, width], 11), positions],
            );
        }
    }
}

#[test]
fn rope_by_three_numbers_takes_each_in_turns() {
    for (head_dim, sections) in
        [(2, [1, 0, 0]), (6, [1, 1, 1]), (8, [2, 1, 1]), (10, [2, 2, 1]), (14, [3, 2, 2]), (14, [5, 1, 1])]
    {
        for inverse in [false, true] {
            let op = Rope { head_dim, theta: 100.0, inverse, sections: Some(sections) };
            check(op, &[random(&[2, 3, 2 * head_dim], 11), random_whole(&[2, 3, 3], 0, 9, 10)]);
        }
    }
    // Pairs of time, row, column, and time again; each by its own wave length.
    let op = Rope { head_dim: 8, theta: 10_000.0, inverse: false, sections: Some([2, 1, 1]) };
    let x = given(&[1, 1, 8], &[1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    let y = outputs(op, &[x, whole(&[1, 1, 3], &[2, 3, 5])]);
    let angles = [2.0, 0.3, 0.05, 0.002_f64];
    let turned: Vec<f64> = angles.map(f64::cos).into_iter().chain(angles.map(f64::sin)).collect();
    assert_close(&y[0], &turned, 1e-12);
    // Three numbers alike are one.
    let (x, one) = (random(&[1, 2, 8], 5), whole(&[1, 2], &[7, 4]));
    let three = outputs(op, &[x.clone(), whole(&[1, 2, 3], &[7, 7, 7, 4, 4, 4])]);
    assert_eq!(three, outputs(Rope { sections: None, ..op }, &[x, one]));
}

#[test]
fn rope_turns_by_the_position() {
    let op = Rope { head_dim: 4, theta: 10_000.0, inverse: false, sections: None };
    let x = random(&[1, 2, 8], 12);
    let at_zero = outputs(op, &[x.clone(), whole(&[1, 2], &[0, 0])]);
    assert_eq!(at_zero[0], x.value);
    // Pair (0, 2) turns by 1 radian per position, pair (1, 3) by 1/100.
    let y = outputs(op, &[given(&[1, 1, 4], &[1.0, 1.0, 0.0, 0.0]), whole(&[1, 1], &[2])]);
    assert_close(&y[0], &[2.0_f64.cos(), 0.02_f64.cos(), 2.0_f64.sin(), 0.02_f64.sin()], 1e-12);
}

#[test]
fn rope_is_undone_by_its_inverse_and_sees_only_distances() {
    let op = Rope { head_dim: 6, theta: 500.0, inverse: false, sections: None };
    let (x, positions) = (random(&[1, 1, 6], 13), whole(&[1, 1], &[17]));
    let turned = outputs(op, &[x.clone(), positions.clone()]).remove(0);
    let back = outputs(Rope { inverse: true, ..op }, &[given(&[1, 1, 6], &turned.data), positions]);
    assert!(distance(&back[0], &x.value) < 1e-12);
    let dot = |a: i32, b: i32| -> f64 {
        let turn = |x: &Arg, at| outputs(op, &[x.clone(), whole(&[1, 1], &[at])]).remove(0).data;
        turn(&x, a).iter().zip(turn(&random(&[1, 1, 6], 14), b)).map(|(x, y)| x * y).sum()
    };
    assert!((dot(3, 8) - dot(40, 45)).abs() < 1e-12);
}

#[test]
fn wrong_operands_are_named() {
    let f32 = |shape: &[usize]| TensorType::f32(shape);
    let x = f32(&[2, 5, 8]);
    let three = [x.clone(), x.clone(), x.clone()];
    let op = plain(2, 2, false);
    assert_complains(op, &three[..2], "takes 3 operands (q, k, v), 2 were given");
    assert_complains(plain(3, 3, false), &three, "width 8 of q does not divide into 3 heads");
    assert_complains(plain(4, 3, false), &three, "4 query heads do not share 3 key heads evenly");
    assert_complains(plain(0, 0, false), &three, "0 query heads do not share 0 key heads evenly");
    assert_complains(plain(4, 2, false), &three, "k is f32[2, 5, 8], must be f32[2, 5, 4]");
    let fewer = f32(&[2, 4, 8]);
    let keys = [x.clone(), fewer.clone(), fewer.clone()];
    assert_complains(plain(2, 2, true), &keys, "5 queries cannot stand at the end of 4 keys");
    assert_complains(op, &[x.clone(), x.clone(), fewer.clone()], "v is f32[2, 4, 8], must be f32[2, 5, 8]");
    let empty = f32(&[2, 0, 8]);
    assert_complains(op, &[x.clone(), empty.clone(), empty], "no keys to attend to");
    let packed = Attention { segments: true, ..op };
    let four = [x.clone(), x.clone(), x.clone(), TensorType::i32([2, 4])];
    assert_complains(packed, &four, "segments is i32[2, 4], must be i32[2, 5]");
    let four = [fewer, x.clone(), x.clone(), TensorType::i32([2, 5])];
    assert_complains(packed, &four, "has segments, so 4 queries need as many keys, not 5");
    assert_complains(Attention { scale: f64::NAN, ..op }, &three, "`scale` is NaN, must be finite");
    let lse = f32(&[2, 2, 4]);
    let six = [x.clone(), x.clone(), x.clone(), x.clone(), x.clone(), lse];
    assert_complains(AttentionGrad(op), &six, "lse is f32[2, 2, 4], must be f32[2, 2, 5]");
    let positions = TensorType::i32([2, 5]);
    let rope = |head_dim, theta| Rope { head_dim, theta, inverse: false, sections: None };
    assert_complains(rope(3, 1e4), &[x.clone(), positions.clone()], "`head_dim` is 3, must be even");
    assert_complains(
        rope(6, 1e4),
        &[x.clone(), positions.clone()],
        "width 8 of x is no multiple of the head width 6",
    );
    for sections in [[1, 1, 1], [0, 2, 0], [2, 0, 0]] {
        let op = Rope { sections: Some(sections), ..rope(4, 1e4) };
        let given = [x.clone(), TensorType::i32([2, 5, 3])];
        if sections == [2, 0, 0] {
            assert_complains(
                op,
                &[x.clone(), positions.clone()],
                "positions is i32[2, 5], must be i32[2, 5, 3]",
            );
        } else {
            assert_complains(op, &given, "`sections` does not divide the 2 pairs of a head in turns");
        }
    }
    assert_complains(rope(4, 0.0), &[x.clone(), positions], "`theta` is 0, must be positive");
    assert_complains(rope(4, 1e4), &[x, TensorType::i32([5])], "positions is i32[5], must be i32[2, 5]");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_packing(t in 1_usize..6, groups in 1_usize..3, kv_heads in 1_usize..3, causal: bool, seed in 0_u64..1000) {
        let op = Attention { heads: groups * kv_heads, kv_heads, causal, segments: true, scale: 0.5 };
        let mut args = operands(op, 1, t, t, seed);
        args.push(random_whole(&[1, t], -1, 3, seed + 9));
        check(op, &args);
        let rope = Rope { head_dim: 4, theta: 50.0, inverse: causal, sections: None };
        check(rope, &[between(&[1, t, 8], -2.0, 2.0, seed), random_whole(&[1, t], 0, 20, seed)]);
    }
}
