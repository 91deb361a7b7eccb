//! Every op on shapes that do and do not fill a vector, a tile or a task.

use std::collections::BTreeSet;

use crossloom_ir::interp::run;
use crossloom_ir::op::{
    Activation, AdamW, AddLayerNorm, AddRmsNorm, Affine, AgfGate, AgfInject, AgfInjectGrad, AgfInjectNorm,
    AgfInjectNormGrad, AmpProject, Argmax, Attach, Attention, AttentionGrad, AttnPool, AttnPoolGrad, Binary,
    BinaryKind, Broadcast, CacheWrite, CachedAttention, Concat, Constant, Convert, CrossEntropy,
    CrossEntropyGrad, DeformableAttention, DeformableAttentionGrad, Embedding, EmbeddingGrad,
    FusedElementwise, GatherRows, GlobalNorm, Iota, LayerNorm, LayerNormGrad, Linear, LinearCrossEntropy,
    Load, LowRankLinear, Matmul, MatmulActGrad, MixRows, MixRowsGrad, MultiAdamW, NormKind, Pad,
    PoolAttention, Reduce, ReduceKind, Reshape, RmsNorm, RmsNormGrad, Rope, ScatterMode, ScatterRows, Slice,
    Softmax, Step, ToFloat, ToInt, Transpose, Unary, UnaryKind, WeightGrad,
};
use crossloom_ir::{DType, Op};

use crate::compare::{Arg, between, check, floats, random, random_whole, whole};

/// Names of the ops that were checked.
type Seen = BTreeSet<&'static str>;

/// One element, less than a vector, odd, several tasks.
const SHAPES: [&[usize]; 5] = [&[1], &[7], &[3, 5, 17], &[2, 64], &[130, 257]];

fn elementwise(seen: &mut Seen) {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let seed = seed as u64;
        for kind in UnaryKind::all() {
            let positive = matches!(
                kind,
                UnaryKind::Log | UnaryKind::Log2 | UnaryKind::Sqrt | UnaryKind::Rsqrt | UnaryKind::Recip
            );
            let (low, high) = if positive { (0.05, 9.0) } else { (-6.0, 6.0) };
            seen.insert(check(Unary(kind), &[between(shape, low, high, seed)]));
        }
        for kind in BinaryKind::all() {
            let away_from_zero = matches!(kind, BinaryKind::Div | BinaryKind::Mod);
            let y = if away_from_zero { between(shape, 0.5, 2.0, seed + 9) } else { random(shape, seed + 9) };
            // A remainder jumps; whole numbers keep both sides on the same side of it.
            let x =
                if kind == BinaryKind::Mod { random_whole(shape, -9, 9, seed) } else { random(shape, seed) };
            let (x, y) = match kind {
                BinaryKind::Mod => (floats(shape, &x.data), random_whole(shape, 1, 5, seed)),
                _ => (x, y),
            };
            seen.insert(check(Binary(kind), &[x, floats(shape, &y.data)]));
        }
        seen.insert(check(Affine { mul: -1.5, add: 0.25 }, &[random(shape, seed)]));
        seen.insert(check(Constant { value: 0.3, shape: shape.to_vec() }, &[]));
        seen.insert(check(Convert, &[random(shape, seed)]));
        seen.insert(check(ToFloat, &[random_whole(shape, -100, 100, seed)]));
        seen.insert(check(ToInt, &[between(shape, -9.0, 9.0, seed)]));
        seen.insert(check(Iota { shape: shape.to_vec(), axis: shape.len() - 1 }, &[]));
        seen.insert(check(Iota { shape: shape.to_vec(), axis: 0 }, &[]));
        let fused = FusedElementwise {
            shape: shape.to_vec(),
            loads: vec![Load::Full, Load::Row, Load::Column, Load::Scalar],
            body: vec![
                Step::Binary(BinaryKind::Mul, 0, 1),
                Step::Binary(BinaryKind::Add, 4, 2),
                Step::Unary(UnaryKind::Act(Activation::Silu), 5),
                Step::Binary(BinaryKind::Mul, 6, 3),
            ],
            stores: vec![7, 5],
        };
        let (row, column) = (&shape[shape.len() - 1..], &shape[..shape.len() - 1]);
        let args =
            [random(shape, seed), random(row, seed + 1), random(column, seed + 2), random(&[], seed + 3)];
        seen.insert(check(fused, &args));
    }
}

fn movement(seen: &mut Seen) {
    let x = || random(&[3, 5, 7], 1);
    for perm in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 2, 1], [1, 2, 0]] {
        seen.insert(check(Transpose { perm: perm.to_vec() }, &[x()]));
    }
    seen.insert(check(Transpose { perm: vec![1, 0] }, &[random(&[130, 257], 1)]));
    seen.insert(check(Reshape { shape: vec![7, 15] }, &[x()]));
    for (shape, axes) in [
        (vec![4, 3, 5, 7], vec![1, 2, 3]),
        (vec![3, 2, 5, 9, 7], vec![0, 2, 4]),
        (vec![3, 5, 7, 2], vec![0, 1, 2]),
    ] {
        seen.insert(check(Broadcast { shape, axes }, &[x()]));
    }
    for axis in 0..3 {
        seen.insert(check(Slice { axis, start: 1, len: 2 }, &[x()]));
        seen.insert(check(Pad { axis, before: 2, after: 1 }, &[x()]));
        let mut other = vec![3, 5, 7];
        other[axis] = 4;
        seen.insert(check(Concat { axis }, &[x(), random(&other, 2), x()]));
    }
}

fn reductions(seen: &mut Seen) {
    for shape in [&[3, 5, 7][..], &[1, 1, 1], &[9, 130, 33]] {
        for axes in [&[0][..], &[1], &[2], &[0, 1], &[1, 2], &[0, 2], &[0, 1, 2]] {
            for kind in [ReduceKind::Sum, ReduceKind::Max] {
                seen.insert(check(Reduce { kind, axes: axes.to_vec() }, &[random(shape, 3)]));
            }
        }
    }
    for shape in [&[4][..], &[3, 1], &[5, 33], &[2, 3, 260]] {
        seen.insert(check(Softmax, &[between(shape, -9.0, 9.0, 4)]));
        seen.insert(check(Argmax, &[random(shape, 5)]));
    }
    // The first of equals, and all of them below zero.
    check(Argmax, &[floats(&[2, 5], &[1.0, 3.0, 3.0, 2.0, 3.0, -2.0, -2.0, -2.0, -2.0, -2.0])]);
}

fn products(seen: &mut Seen) {
    for (m, n, k) in [(1, 1, 1), (3, 5, 7), (1, 33, 64), (65, 17, 33), (70, 96, 130)] {
        for (transpose_a, transpose_b) in [(false, false), (false, true), (true, false), (true, true)] {
            for lead in [&[][..], &[2], &[2, 3]] {
                let shape = |rows: usize, cols: usize, t: bool| -> Vec<usize> {
                    lead.iter().copied().chain(if t { [cols, rows] } else { [rows, cols] }).collect()
                };
                let args = [random(&shape(m, k, transpose_a), 6), random(&shape(k, n, transpose_b), 7)];
                let product = Matmul { transpose_a, transpose_b };
                seen.insert(check(product, &args));
                let [a, b] = args;
                let args = [a, b, random(&shape(m, n, false), 8)];
                let act = Activation::GeluTanh;
                seen.insert(check(MatmulActGrad { product, act, rounded: DType::F32 }, &args));
            }
        }
        seen.insert(check(WeightGrad, &[random(&[k, m], 9), random(&[k, n], 10)]));
        for bias in [false, true] {
            let epilogues =
                [None, Some(Activation::GeluTanh), Some(Activation::GeluErf), Some(Activation::QuickGelu)];
            for (act, residual) in epilogues.map(|act| (act, false)).into_iter().chain([
                (Some(Activation::Silu), false),
                (None, true),
                (Some(Activation::Silu), true),
            ]) {
                let mut args = vec![random(&[1, m, k], 8), random(&[n, k], 9)];
                args.extend(bias.then(|| random(&[n], 10)));
                args.extend(residual.then(|| random(&[1, m, n], 11)));
                seen.insert(check(Linear { bias, act, residual }, &args));
            }
        }
    }
}

fn norms(seen: &mut Seen) {
    for shape in [&[1, 1][..], &[5], &[3, 33], &[2, 65, 32], &[300, 96]] {
        let (d, lead) = (&shape[shape.len() - 1..], &shape[..shape.len() - 1]);
        let (x, r) = (between(shape, -2.0, 2.0, 1), between(shape, -2.0, 2.0, 2));
        let (gamma, beta) = (between(d, 0.5, 1.5, 3), random(d, 4));
        let (dy, ds) = (random(shape, 5), random(shape, 6));
        let (mean, rstd) = (random(lead, 7), between(lead, 0.5, 2.0, 8));
        let eps = 1e-2;
        seen.insert(check(LayerNorm { eps }, &[x.clone(), gamma.clone(), beta.clone()]));
        seen.insert(check(AddLayerNorm { eps }, &[x.clone(), r.clone(), gamma.clone(), beta]));
        seen.insert(check(RmsNorm { eps }, &[x.clone(), gamma.clone()]));
        seen.insert(check(AddRmsNorm { eps }, &[x.clone(), r, gamma.clone()]));
        let layer = [dy.clone(), x.clone(), gamma.clone(), mean, rstd.clone(), ds.clone()];
        let rms = [dy, x, gamma, rstd, ds];
        for residual in [false, true] {
            seen.insert(check(LayerNormGrad { residual }, &layer[..5 + usize::from(residual)]));
            seen.insert(check(RmsNormGrad { residual }, &rms[..4 + usize::from(residual)]));
        }
    }
}

/// Results of the forward op as operands.
pub(crate) fn outputs(op: impl Into<Op>, args: &[Arg]) -> Vec<Arg> {
    let mut func = crossloom_ir::Func::new("forward");
    let params: Vec<_> = args
        .iter()
        .enumerate()
        .map(|(i, arg)| func.add_param(format!("p{i}"), crossloom_ir::Role::Input, arg.ty.clone()))
        .collect();
    let results = func.push(op, &params, &crossloom_ir::Scope::default()).unwrap();
    results.into_iter().enumerate().for_each(|(i, value)| func.add_result(format!("r{i}"), value));
    let values: Vec<crossloom_ir::Tensor<f32>> =
        args.iter().map(|a| crossloom_ir::Tensor::new(a.ty.shape.clone(), a.data.clone()).unwrap()).collect();
    run(&func, &values).unwrap().into_iter().map(|t| floats(&t.shape, &t.data)).collect()
}

fn attention_pair(op: Attention, forward: &[Arg], seen: &mut Seen) {
    seen.insert(check(op, forward));
    let mut backward = vec![random(&forward[0].ty.shape, 77)];
    backward.extend(forward[..3].iter().cloned());
    backward.extend(outputs(op, forward));
    backward.extend(forward.get(3).cloned());
    seen.insert(check(AttentionGrad(op), &backward));
}

/// Image, two questions, padding; text only with padding; nothing but padding.
fn segments(t: usize) -> Arg {
    let row = |kind: usize, at: usize| match kind {
        0 if at < t / 3 => 0,
        0 | 1 if at < t / 2 => 1,
        0 if at < t - 2 => 2,
        _ => -1,
    };
    whole(&[3, t], &(0..3 * t).map(|i| row(i / t, i % t)).collect::<Vec<_>>())
}

fn attention(seen: &mut Seen) {
    for (heads, kv_heads, head_dim) in [(1, 1, 1), (2, 2, 8), (4, 2, 5), (6, 1, 16), (3, 3, 40)] {
        for causal in [false, true] {
            for (tq, tk) in [(1, 1), (7, 7), (2, 9), (33, 33), (70, 70)] {
                let op = Attention { heads, kv_heads, causal, segments: false, scale: 0.4 };
                let kv = [3, tk, kv_heads * head_dim];
                let mut args = vec![random(&[3, tq, heads * head_dim], 1), random(&kv, 2), random(&kv, 3)];
                attention_pair(op, &args, seen);
                if tq == tk && tq > 4 {
                    args.push(segments(tq));
                    attention_pair(Attention { segments: true, ..op }, &args, seen);
                }
            }
        }
    }
    for (width, head_dim) in [(2, 2), (12, 6), (96, 24)] {
        for inverse in [false, true] {
            let args = [random(&[3, 11, width], 4), random_whole(&[3, 11], 0, 300, 5)];
            let op = Rope { head_dim, theta: 1e4, inverse, sections: None };
            seen.insert(check(op, &args));
            // Inside the table and beyond it, in one row.
            let pairs = head_dim / 2;
            let args = [random(&[3, 11, width], 4), random_whole(&[3, 11, 3], 0, 30, 5)];
            seen.insert(check(
                Rope { sections: Some([pairs - pairs / 3 * 2, pairs / 3, pairs / 3]), ..op },
                &args,
            ));
        }
    }
}

/// Two rows go on with slots 2 and 0 of three, of which the second has fewer real positions than the call.
fn cache(seen: &mut Seen) {
    for (tokens, capacity, starts) in [(1, 5, [4, 0]), (3, 40, [33, 5]), (30, 300, [270, 0])] {
        let place = || {
            let real = tokens as i32;
            [whole(&[2], &[2, 0]), whole(&[2], &starts), whole(&[2], &[real, real - 1])]
        };
        for width in [1, 6, 64] {
            let rows = random(&[2, tokens, width], 2);
            let args = [vec![random(&[3, capacity, width], 1), rows], place().to_vec()].concat();
            seen.insert(check(CacheWrite, &args));
        }
        let marks = vec![random_whole(&[3, capacity], -1, 4, 1), random_whole(&[2, tokens], -1, 4, 2)];
        seen.insert(check(CacheWrite, &[marks, place().to_vec()].concat()));
        for (heads, kv_heads, head_dim) in [(1, 1, 1), (4, 2, 5), (6, 1, 16), (3, 3, 40)] {
            for segments in [false, true] {
                let op = CachedAttention { heads, kv_heads, segments, scale: 0.4 };
                let kv = [3, capacity, kv_heads * head_dim];
                let mut args =
                    vec![random(&[2, tokens, heads * head_dim], 1), random(&kv, 2), random(&kv, 3)];
                args.extend(segments.then(|| random_whole(&[3, capacity], -1, 4, 4)));
                args.extend(place());
                seen.insert(check(op, &args));
            }
        }
    }
}

/// Values, places in and around grids with those sides, and weights, of two samples and so many queries.
pub(crate) fn grid_points(op: &DeformableAttention, [queries, head_dim, points]: [usize; 3]) -> [Arg; 3] {
    let of_points = [2, queries, op.heads, op.sides.len(), points];
    [
        random(&[2, op.rows().unwrap(), op.heads * head_dim], 1),
        between(&[&of_points[..], &[2]].concat(), -0.2, 1.2, 2),
        random(&of_points, 3),
    ]
}

fn grids(seen: &mut Seen) {
    for (heads, sides, extents) in
        [(1, &[1][..], [1, 1, 1]), (2, &[3, 1, 4], [5, 7, 2]), (3, &[6], [2, 32, 4])]
    {
        let op = DeformableAttention { heads, sides: sides.to_vec() };
        let operands = grid_points(&op, extents);
        seen.insert(check(op.clone(), &operands));
        let grad = random(&[2, extents[0], heads * extents[1]], 4);
        seen.insert(check(DeformableAttentionGrad(op), &[&[grad], &operands[..]].concat()));
    }
}

fn rows(seen: &mut Seen) {
    for d in [1, 3, 64] {
        for ids in [random_whole(&[9], 0, 5, 1), random_whole(&[3, 50], 0, 5, 2), whole(&[1], &[4])] {
            seen.insert(check(Embedding, &[random(&[5, d], 3), ids.clone()]));
            let mut shape = ids.ty.shape.clone();
            shape.push(d);
            seen.insert(check(EmbeddingGrad { vocab: 5 }, &[random(&shape, 4), ids]));
        }
        let (h, index) = (random(&[2, 5, d], 5), whole(&[2, 3], &[4, -1, 0, 2, 1, -1]));
        let slots = random(&[2, 3, d], 6);
        seen.insert(check(GatherRows, &[h.clone(), index.clone()]));
        for mode in [ScatterMode::Set, ScatterMode::Add] {
            seen.insert(check(ScatterRows { mode }, &[h.clone(), index.clone(), slots.clone()]));
        }
        let twice = whole(&[2, 3], &[4, 4, 0, 2, 2, 2]);
        check(GatherRows, &[h.clone(), twice.clone()]);
        check(ScatterRows { mode: ScatterMode::Add }, &[h, twice, slots]);
        let parts = [random_whole(&[2, 9, 4], 0, 6, 7), random(&[2, 9, 4], 8)];
        let features = [random(&[3, 5, d], 9), random(&[d], 10)];
        seen.insert(check(MixRows, &[&features[..], &parts[..]].concat()));
        seen.insert(check(MixRowsGrad { rows: 5 }, &[&[random(&[3, 2, 9, d], 11)], &parts[..]].concat()));
    }
}

fn losses(seen: &mut Seen) {
    for (r, v) in [(1, 1), (5, 13), (64, 300)] {
        let logits = between(&[r, v], -5.0, 5.0, 1);
        let kept = random_whole(&[r], 0, v as i32, 2);
        let some: Vec<i32> =
            kept.data.iter().enumerate().map(|(i, &t)| if i % 3 == 1 { -1 } else { t as i32 }).collect();
        for targets in [kept, whole(&[r], &some), whole(&[r], &vec![-1; r])] {
            let forward = [logits.clone(), targets.clone()];
            seen.insert(check(CrossEntropy, &forward));
            let lse = outputs(CrossEntropy, &forward).remove(1);
            let backward = [random(&[], 3), logits.clone(), targets.clone(), lse];
            seen.insert(check(CrossEntropyGrad, &backward));
            let head = LinearCrossEntropy { rounded: DType::F32, trained: true };
            let (h, w) = (random(&[r, 5], 4), random(&[v, 5], 5));
            seen.insert(check(head, &[random(&[], 3), h, w, targets]));
        }
    }
}

fn pooling(seen: &mut Seen) {
    for (g, n, d, h) in [(1, 1, 1, 1), (3, 5, 7, 2), (4, 33, 32, 4)] {
        let (x, w) = (random(&[g, n, d], 1), random(&[h, d], 2));
        seen.insert(check(AttnPool { scale: 0.6, masked: false }, &[x.clone(), w.clone()]));
        // All rows, every second one, none.
        let keep = |i: usize| [true, i.is_multiple_of(2), false][(i / n) % 3];
        let mask: Vec<f32> = (0..g * n).map(|i| f32::from(u8::from(keep(i)))).collect();
        let masked = [x.clone(), w.clone(), floats(&[g, n], &mask)];
        check(AttnPool { scale: 0.6, masked: true }, &masked);
        let probs = outputs(AttnPool { scale: 0.6, masked: true }, &masked).remove(1);
        seen.insert(check(AttnPoolGrad { scale: 0.6 }, &[random(&[g, h, d], 3), x, w, probs]));
    }
}

fn injection(seen: &mut Seen) {
    for (dv, inner, d, n) in [(4, 3, 5, 3), (17, 40, 24, 9)] {
        for taps in [1, 3] {
            for attach in [Attach::None, Attach::Parallel, Attach::PerLinear] {
                for (bias, act) in [(true, Activation::GeluErf), (false, Activation::GeluTanh)] {
                    let op = AmpProject { taps, act, scale: 0.5, bias, attach };
                    seen.insert(check(op, &projection(op, [dv, inner, d, n])));
                }
            }
        }
    }
    for (attention, heads) in [
        (PoolAttention::None, 1),
        (PoolAttention::Shared, 1),
        (PoolAttention::Shared, 3),
        (PoolAttention::Separate, 2),
    ] {
        for (channel, masked) in [(false, false), (true, false), (false, true)] {
            let op = AgfGate { heads, attention, channel, masked };
            seen.insert(check(op, &gate(op)));
        }
    }
    for (convex, channel) in [(false, false), (false, true), (true, false), (true, true)] {
        for (taps, d) in [(1, 1), (2, 4), (3, 37)] {
            let gate: Vec<usize> = [2, taps].into_iter().chain(channel.then_some(d)).collect();
            let index = whole(&[2, 3], &[4, -1, 1, 0, 2, 3]);
            let args = [random(&[2, 5, d], 1), random(&gate, 2), random(&[taps, 2, 3, d], 3), index];
            seen.insert(check(AgfInject { convex, channel }, &args));
            let mut backward = vec![random(&[2, 5, d], 4)];
            backward.extend(args[1..].iter().cloned());
            backward.extend(convex.then(|| args[0].clone()));
            seen.insert(check(AgfInjectGrad { convex, channel }, &backward));
            let inject = AgfInject { convex, channel };
            for norm in [NormKind::Layer, NormKind::Rms] {
                let weights = [between(&[d], 0.5, 1.5, 5), random(&[d], 6)];
                let forward = [&args[..], &weights[..norm.vectors()]].concat();
                seen.insert(check(AgfInjectNorm { inject, norm, eps: 0.1 }, &forward));
                let statistics = [random(&[2, 5], 7), between(&[2, 5], 0.5, 2.0, 8)];
                let own = [random(&[2, 5, d], 9), random(&[2, 5, d], 10), weights[0].clone()];
                let own = [&own[..], &statistics[2 - norm.vectors()..], &[random(&[2, 5, d], 11)]].concat();
                let grad = [&own[..], &backward[1..]].concat();
                seen.insert(check(AgfInjectNormGrad { inject, norm, residual: true }, &grad));
            }
        }
    }
    for (taps, rank, act) in [(1, 3, None), (3, 2, Some(Activation::Silu))] {
        let mut args = vec![random(&[taps * 9, 17], 1), random(&[40, 17], 2), random(&[40], 3)];
        for tap in 0..taps as u64 {
            args.extend([random(&[9, rank], 10 + tap), random(&[40, rank], 20 + tap)]);
        }
        let op = LowRankLinear { taps, bias: true, act, scale: 0.5, rounded: DType::F32 };
        seen.insert(check(op, &args));
    }
}

fn projection(op: AmpProject, [dv, inner, d, n]: [usize; 4]) -> Vec<Arg> {
    let mut args: Vec<Arg> = (0..op.taps).map(|k| random(&[2, n, dv], k as u64)).collect();
    args.push(random(&[inner, dv], 20));
    args.extend(op.bias.then(|| random(&[inner], 21)));
    args.push(random(&[d, inner], 22));
    args.extend(op.bias.then(|| random(&[d], 23)));
    for k in 0..op.taps {
        // Ranks may differ between taps.
        let (rank, seed) = (1 + k, 30 + 10 * k as u64);
        match op.attach {
            Attach::None => {}
            Attach::Parallel => args.extend([random(&[rank, dv], seed), random(&[d, rank], seed + 1)]),
            Attach::PerLinear => {
                args.extend([random(&[rank, dv], seed), random(&[inner, rank], seed + 1)]);
                args.extend([random(&[rank, inner], seed + 2), random(&[d, rank], seed + 3)]);
            }
        }
    }
    args
}

fn gate(op: AgfGate) -> Vec<Arg> {
    let d = 6;
    let mask = floats(&[2, 5], &[1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
    let mut args = vec![random(&[2, 5, d], 40), random(&[3, 2, 4, d], 41), mask];
    args.extend(op.masked.then(|| floats(&[2, 4], &[1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])));
    args.extend([random(&[d], 42), random(&[d], 43)]);
    let sets = match op.attention {
        PoolAttention::None => 0,
        PoolAttention::Shared => 1,
        PoolAttention::Separate => 2,
    };
    for set in 0..sets {
        let shapes = [&[d, d][..], &[d], &[d, d], &[d, d], &[d], &[d, d], &[d]];
        args.extend(shapes.into_iter().enumerate().map(|(i, shape)| random(shape, 50 + 10 * set + i as u64)));
    }
    let gates = if op.channel { d } else { 1 };
    args.extend([random(&[gates, 2 * d], 80), random(&[gates], 81)]);
    args
}

fn optimizer(seen: &mut Seen) {
    for shape in [&[1][..], &[7], &[5, 33], &[40_000]] {
        for weight_decay in [0.0, 0.1] {
            let op = AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay };
            let (hyper, scale) = (floats(&[3], &[1e-2, 1.5, 1.2]), floats(&[], &[0.5]));
            let tensors =
                [random(shape, 1), random(shape, 2), random(shape, 3), between(shape, 0.01, 1.0, 4)];
            seen.insert(check(op, &[&tensors[..], &[hyper, scale]].concat()));
        }
        seen.insert(check(GlobalNorm, &[random(shape, 5), random(&[3, 2], 6)]));
    }
    // Expanded here: the CPU takes the parameters one by one.
    let several = MultiAdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: vec![0.1, 0.0] };
    let step = |shape: &[usize]| {
        let moments = [random(shape, 3), between(shape, 0.01, 1.0, 4)];
        [&[random(shape, 1), random(shape, 2)][..], &moments, &[floats(&[3], &[1e-2, 1.5, 1.2])]].concat()
    };
    seen.insert(check(several, &[vec![floats(&[], &[0.5])], step(&[5, 33]), step(&[7])].concat()));
}

/// One test, because together the families must hold every op: an op that is added to the registry is added here.
#[test]
fn every_op_on_the_cpu_is_the_reference() {
    let mut seen = Seen::new();
    let families = [
        elementwise,
        movement,
        reductions,
        products,
        norms,
        attention,
        cache,
        grids,
        rows,
        losses,
        pooling,
        injection,
        optimizer,
    ];
    for family in families {
        family(&mut seen);
    }
    let missing: Vec<_> = Op::mnemonics().into_iter().filter(|name| !seen.contains(name)).collect();
    assert_eq!(missing, [""; 0], "ops without a case");
}
