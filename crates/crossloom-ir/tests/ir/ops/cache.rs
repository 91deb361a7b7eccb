//! Caches of keys and values.

use crossloom_ir::grad::GradCx;
use crossloom_ir::op::{Attention, CacheWrite, CachedAttention, Op};
use crossloom_ir::{Func, Tensor, TensorType};
use proptest::prelude::*;

use super::support::{
    Arg, EXACT, assert_close, assert_complains, check_expansion, check_round_trip, outputs, random,
    random_whole, refusal, whole,
};

fn attention(heads: usize, kv_heads: usize, segments: bool) -> CachedAttention {
    CachedAttention { heads, kv_heads, segments, scale: 0.7 }
}

/// A cache of three slots of seven positions, and a call of two rows of three.
fn write_operands(slot: [i32; 2], start: [i32; 2], count: [i32; 2]) -> Vec<Arg> {
    vec![
        random(&[3, 7, 4], 1),
        random(&[2, 3, 4], 2),
        whole(&[2], &slot),
        whole(&[2], &start),
        whole(&[2], &count),
    ]
}

#[test]
fn only_the_real_positions_of_the_named_slots_change() {
    let args = write_operands([2, 0], [4, 1], [3, 2]);
    let new = &outputs(CacheWrite, &args)[0];
    for (i, value) in new.data.iter().enumerate() {
        let (slot, position, c) = (i / 28, i / 4 % 7, i % 4);
        let row = match (slot, position) {
            (2, 4..7) => Some(position - 4),
            (0, 1..3) => Some(3 + position - 1),
            _ => None,
        };
        let expected = row.map_or(args[0].value.data[i], |row| args[1].value.data[row * 4 + c]);
        assert_eq!(*value, expected, "element {i}");
    }
    check_round_trip(&Op::from(CacheWrite));
    check_expansion(&CacheWrite.into(), &args, EXACT);
    let mut marks = args;
    marks[0] = random_whole(&[3, 7], -1, 9, 3);
    marks[1] = random_whole(&[2, 3], -1, 9, 4);
    check_expansion(&CacheWrite.into(), &marks, EXACT);
}

#[test]
fn places_outside_the_cache_are_refused_with_the_row() {
    let refused = |slot, start, count| refusal(CacheWrite, &write_operands(slot, start, count));
    for (refusal, text) in [
        (refused([3, 0], [0, 0], [1, 1]), "slot 3 of row 0 is outside 0..=2"),
        (refused([0, -1], [0, 0], [1, 1]), "slot -1 of row 1 is outside 0..=2"),
        (refused([0, 1], [0, 8], [1, 0]), "start 8 of row 1 is outside 0..=7"),
        (refused([0, 1], [0, 0], [4, 1]), "count 4 of row 0 is outside 0..=3"),
        (refused([0, 1], [5, 0], [3, 1]), "row 0 has 3 positions from 5 on, the cache 7 in all"),
        (refused([1, 1], [0, 3], [1, 1]), "slot 1 is written by two rows"),
    ] {
        assert!(refusal.contains(text), "{refusal}");
    }
    // A row without new positions writes nowhere, so it may name any slot.
    outputs(CacheWrite, &write_operands([1, 1], [0, 3], [1, 0]));
    let attend = |start: [i32; 2]| {
        let mut args = vec![random(&[2, 3, 4], 1), random(&[3, 7, 4], 2), random(&[3, 7, 4], 3)];
        args.extend([whole(&[2], &[0, 1]), whole(&[2], &start), whole(&[2], &[3, 3])]);
        refusal(attention(2, 2, false), &args)
    };
    assert!(attend([0, 5]).contains("row 1 has 3 positions from 5 on"), "{}", attend([0, 5]));
}

#[test]
fn no_gradient_flows_through_a_cache() {
    for op in [Op::from(CacheWrite), attention(1, 1, false).into()] {
        let mut func = Func::new("f");
        let mut cx = GradCx::new(func.builder(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let error = op.gradient(&mut cx).unwrap_err();
        assert!(error.to_string().contains("belongs to prefill and decode"), "{error}");
    }
}

/// Queries at the end of what three slots hold, in another order than the slots.
fn attention_operands(op: CachedAttention, starts: [i32; 2], counts: [i32; 2], seed: u64) -> Vec<Arg> {
    let (wide, narrow) = (op.heads * 3, op.kv_heads * 3);
    let mut args = vec![
        random(&[2, 3, wide], seed),
        random(&[3, 7, narrow], seed + 1),
        random(&[3, 7, narrow], seed + 2),
    ];
    if op.segments {
        args.push(random_whole(&[3, 7], -1, 3, seed + 3));
    }
    args.extend([whole(&[2], &[2, 0]), whole(&[2], &starts), whole(&[2], &counts)]);
    args
}

#[test]
fn every_grouping_and_every_mask_expands() {
    for (heads, kv_heads) in [(1, 1), (4, 2), (3, 1)] {
        for segments in [false, true] {
            let op = attention(heads, kv_heads, segments);
            check_round_trip(&op.into());
            for (starts, counts) in [([0, 4], [3, 3]), ([2, 6], [2, 1]), ([7, 0], [0, 0])] {
                check_expansion(&op.into(), &attention_operands(op, starts, counts, 5), EXACT);
            }
        }
    }
}

#[test]
fn operands_that_do_not_fit_are_told() {
    let f = |shape: &[usize]| TensorType::f32(shape);
    let i = |shape: &[usize]| TensorType::i32(shape);
    let places = || [i(&[2]), i(&[2]), i(&[2])];
    let write = |cache, rows| [vec![cache, rows], places().to_vec()].concat();
    assert_complains(
        CacheWrite,
        &write(f(&[3, 7, 4]), f(&[2, 3, 5])),
        "rows is f32[2, 3, 5], of another width",
    );
    assert_complains(
        CacheWrite,
        &write(i(&[3, 7]), f(&[2, 3])),
        "rows is f32[2, 3], must hold whole numbers",
    );
    assert_complains(CacheWrite, &write(f(&[3, 7, 4]), f(&[1, 3, 4])), "slot is i32[2], must be i32[1]");
    let attend = |q, keys: TensorType, values| [vec![q, keys, values], places().to_vec()].concat();
    let (q, k) = (f(&[2, 3, 8]), f(&[3, 7, 4]));
    let op = attention(4, 2, false);
    assert_complains(op, &attend(q.clone(), f(&[3, 7, 8]), k.clone()), "must be f32[3, 7, 4]");
    assert_complains(op, &attend(q.clone(), k.clone(), f(&[3, 6, 4])), "values is f32[3, 6, 4]");
    assert_complains(op, &attend(q.clone(), f(&[3, 0, 4]), f(&[3, 0, 4])), "no keys");
    assert_complains(attention(4, 2, true), &attend(q, k.clone(), k), "takes 7 operands");
}

proptest! {
    /// A sequence that is appended piece by piece and attended to is what whole attention over it gives, whatever else
    /// is in the cache.
    #[test]
    fn attention_over_a_cache_is_attention_over_the_sequence(
        len in 1_usize..9, cut in 0_usize..8, slot in 0_usize..3, groups in 1_usize..3, kv_heads in 1_usize..3,
        segments: bool, seed in 0_u64..1000,
    ) {
        let (heads, width) = (groups * kv_heads, kv_heads * 2);
        let op = CachedAttention { heads, kv_heads, segments, scale: 0.5 };
        let whole_op = Attention { heads, kv_heads, causal: true, segments, scale: 0.5 };
        let (q, k, v) = (random(&[1, len, heads * 2], seed), random(&[1, len, width], seed + 1), random(&[1, len, width], seed + 2));
        let marks = random_whole(&[1, len], -1, 3, seed + 3);
        let mut operands = vec![q.clone(), k.clone(), v.clone()];
        operands.extend(segments.then(|| marks.clone()));
        let expected = outputs(whole_op, &operands).remove(0);

        let cut = cut.min(len);
        let mut caches = [random(&[3, 9, width], 7), random(&[3, 9, width], 8), random_whole(&[3, 9], 0, 5, 9)];
        let mut given = Vec::new();
        for (from, to) in [(0, cut), (cut, len)] {
            // Four positions too many, of which none is real.
            let tokens = to - from + 4;
            let part = |arg: &Arg| {
                let row = arg.value.shape[2..].iter().product::<usize>();
                let mut data = arg.value.data[from * row..to * row].to_vec();
                data.resize(tokens * row, 3.0);
                let mut shape = arg.value.shape.clone();
                shape[1] = tokens;
                let value = Tensor::new(shape.clone(), data).unwrap();
                Arg { ty: TensorType { shape, ..arg.ty.clone() }, value, differentiated: false }
            };
            let place = [whole(&[1], &[slot as i32]), whole(&[1], &[from as i32]), whole(&[1], &[(to - from) as i32])];
            for (cache, rows) in caches.iter_mut().zip([&k, &v, &marks]) {
                let args = [vec![cache.clone(), part(rows)], place.to_vec()].concat();
                cache.value = outputs(CacheWrite, &args).remove(0);
            }
            let mut args = vec![part(&q), caches[0].clone(), caches[1].clone()];
            args.extend(segments.then(|| caches[2].clone()));
            args.extend(place);
            let o = outputs(op, &args).remove(0);
            given.extend_from_slice(&o.data[..(to - from) * heads * 2]);
            prop_assert!(o.data[(to - from) * heads * 2..].iter().all(|&x| x == 0.0));
        }
        let given = Tensor::new(expected.shape.clone(), given).unwrap();
        assert_close(&given, &expected.data, 1e-12);
    }
}
