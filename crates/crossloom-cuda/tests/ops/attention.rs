//! Attention, forwards, backwards and over a cache: head widths, groups, masks, tiles that are not full, both kinds of kernels.

use crossloom_ir::op::{
    Attention, AttentionGrad, CacheWrite, CachedAttention, DeformableAttention, DeformableAttentionGrad,
};

use crate::support::{Operand, agree, case, floats, given, ints, refused};

/// What a product of weights that were rounded to eight bits may be away.
const NARROW: f64 = 6e-3;

/// Log-sum-exps that make weights of a reasonable size.
fn lse(shape: &[usize]) -> Operand {
    floats(shape, 7).map(|x| x + 4.0)
}

/// The shared prefix, two segments, padding.
fn segment(i: usize, len: usize) -> i32 {
    match i % len * 5 / len {
        0 => 0,
        1 | 2 => 1,
        3 => 2,
        _ => -1,
    }
}

#[test]
fn attention_and_its_gradient() {
    let mut cases = Vec::new();
    for (samples, queries, keys, heads, kv_heads, width, causal, segments) in [
        (1, 1, 1, 1, 1, 1, false, false),
        (2, 5, 37, 4, 2, 8, false, false),
        (1, 37, 5, 1, 1, 40, false, false),
        (1, 40, 40, 2, 1, 64, true, false),
        (1, 3, 70, 2, 2, 33, true, false),
        (2, 45, 45, 2, 1, 16, true, true),
        (1, 33, 33, 1, 1, 128, false, true),
        (1, 70, 140, 2, 1, 72, true, false),
        (1, 65, 65, 2, 2, 96, true, true),
    ] {
        let op = Attention { heads, kv_heads, causal, segments, scale: 1.0 / (width as f64).sqrt() };
        let name = format!("{samples} {queries} {keys} {heads} {kv_heads} {width} {causal} {segments}");
        let q = || floats(&[samples, queries, heads * width], 1);
        let [k, v] = [2, 3].map(|seed| floats(&[samples, keys, kv_heads * width], seed));
        let numbers = segments.then(|| ints(&[samples, keys], (0..samples * keys).map(|i| segment(i, keys))));
        let mut operands = vec![q(), k.clone(), v.clone()];
        operands.extend(numbers.clone());
        cases.push(case(name.clone(), op, operands).within(1e-5));
        let mut operands = vec![q().narrow(), k.clone().narrow(), v.clone().narrow()];
        operands.extend(numbers.clone());
        cases.push(case(format!("{name} narrow"), op, operands).within(NARROW));
        let shape = [samples, queries, heads * width];
        let (grad, o) = (floats(&shape, 5), floats(&shape, 6));
        let mut operands =
            vec![grad.clone(), q(), k.clone(), v.clone(), o.clone(), lse(&[samples, heads, queries])];
        operands.extend(numbers.clone());
        cases.push(case(format!("{name} backwards"), AttentionGrad(op), operands).within(1e-5));
        let mut operands = vec![
            grad.narrow(),
            q().narrow(),
            k.narrow(),
            v.narrow(),
            o.narrow(),
            lse(&[samples, heads, queries]),
        ];
        operands.extend(numbers);
        cases.push(case(format!("{name} backwards narrow"), AttentionGrad(op), operands).within(NARROW));
    }
    agree(&cases);
}

/// Prefill in chunks and steps of decoding, over slots in another order, with rows that are not real and positions never written.
#[test]
fn attention_over_a_cache() {
    let mut cases = Vec::new();
    for (tokens, capacity, heads, kv_heads, width, segments) in [
        (1, 5, 2, 1, 8, false),
        (1, 600, 7, 1, 64, false),
        (1, 300, 4, 2, 72, true),
        (1, 40, 1, 1, 33, false),
        (1, 40, 9, 1, 16, false),
        (5, 70, 4, 2, 24, true),
        (40, 150, 2, 1, 64, false),
        (70, 150, 2, 1, 128, true),
    ] {
        let op = CachedAttention { heads, kv_heads, segments, scale: 1.0 / (width as f64).sqrt() };
        let name = format!("{tokens} {capacity} {heads} {kv_heads} {width} {segments}");
        let q = floats(&[3, tokens, heads * width], 1);
        let start = [0, capacity as i32 - tokens as i32, 3.min(capacity as i32 - tokens as i32)];
        let count = [tokens as i32, tokens as i32 - 1, 1];
        let slot = [3, 0, 2];
        // Behind what was written there is no number: it must not be read.
        let cache = |seed| {
            let line = kv_heads * width;
            let all = floats(&[4, capacity, line], seed);
            let filled = |i: usize| {
                let (sequence, position) = (i / line / capacity, (i / line % capacity) as i32);
                let row = slot.iter().position(|&s| s as usize == sequence);
                row.is_some_and(|row| position < start[row] + count[row])
            };
            all.with(|i, x| if filled(i) { x } else { f64::NAN })
        };
        let (keys, values) = (cache(2), cache(3));
        let numbers = segments.then(|| ints(&[4, capacity], (0..4 * capacity).map(|i| segment(i, capacity))));
        let place = [slot, start, count].map(|numbers| ints(&[3], numbers));
        let all = |x: [Operand; 3]| x.into_iter().chain(numbers.clone()).chain(place.clone()).collect();
        cases.push(case(name.clone(), op, all([q.clone(), keys.clone(), values.clone()])).within(1e-5));
        let narrow = all([q.clone().narrow(), keys.clone().narrow(), values.clone().narrow()]);
        cases.push(case(format!("{name} narrow"), op, narrow).within(NARROW));
        cases.push(
            case(format!("{name} mixed"), op, all([q, keys.narrow(), values.narrow()])).within(1e-5).narrow(),
        );
    }
    agree(&cases);
    let op = CachedAttention { heads: 1, kv_heads: 1, segments: false, scale: 1.0 };
    let attend = |tokens: usize, place: [[i32; 2]; 3]| {
        let operands = [&[2, tokens, 8][..], &[3, 9, 8], &[3, 9, 8]].map(|shape| floats(shape, 1));
        case("attention", op, operands.into_iter().chain(place.map(|x| ints(&[2], x))).collect())
    };
    let write = |place: [[i32; 2]; 3]| {
        let operands = [&[3, 9, 8][..], &[2, 4, 8]].map(|shape| floats(shape, 1));
        case("write", CacheWrite, operands.into_iter().chain(place.map(|x| ints(&[2], x))).collect())
    };
    refused(vec![
        (attend(1, [[0, 3], [1, 1], [1, 1]]), 1, 3),
        (attend(1, [[0, 1], [9, 1], [1, 1]]), 4, 1),
        (attend(4, [[0, 1], [-1, 1], [1, 1]]), 2, -1),
        (write([[0, 1], [6, 1], [4, 1]]), 4, 4),
        (write([[1, 1], [0, 4], [4, 1]]), 1, 1),
    ]);
}

#[test]
fn points_of_grids() {
    let mut cases = Vec::new();
    for (samples, queries, heads, width, sides, points) in
        [(1, 1, 1, 1, vec![1], 1), (2, 5, 2, 8, vec![3, 2], 3), (1, 4, 3, 40, vec![4], 10)]
    {
        let op = DeformableAttention { heads, sides: sides.clone() };
        let cells: usize = sides.iter().map(|side| side * side).sum();
        let shape = [samples, queries, heads, sides.len(), points];
        let values = floats(&[samples, cells, heads * width], 1);
        // Some beyond the grid, some at a centre.
        let locations =
            floats(&[&shape[..], &[2]].concat(), 2).with(|i, x| if i % 7 == 0 { 0.5 } else { x / 3.0 + 0.5 });
        let weights = floats(&shape, 3);
        let grad = floats(&[samples, queries, heads * width], 4);
        let name = format!("{samples} {queries} {heads} {width} {sides:?} {points}");
        let operands = vec![values.clone(), locations.clone(), weights.clone()];
        cases.push(case(name.clone(), op.clone(), operands).within(2e-5));
        let operands = vec![values.clone().narrow(), locations.clone(), weights.clone()];
        cases.push(case(format!("{name} narrow"), op.clone(), operands).within(2e-5).narrow());
        let backwards = DeformableAttentionGrad(op);
        let operands = vec![grad.clone(), values.clone(), locations.clone(), weights.clone()];
        cases.push(case(format!("{name} backwards"), backwards.clone(), operands).within(5e-5));
        let operands = vec![grad.narrow(), values.narrow(), locations, weights];
        cases.push(case(format!("{name} backwards narrow"), backwards, operands).within(5e-5));
    }
    let op = DeformableAttention { heads: 1, sides: vec![2] };
    let locations = given(&[1, 2, 1, 1, 1, 2], &[f32::NAN, 0.5, 9.0, 0.5]);
    cases.push(case(
        "a place that is no number",
        op,
        vec![floats(&[1, 4, 3], 1), locations, floats(&[1, 2, 1, 1, 1], 2)],
    ));
    agree(&cases);
}
