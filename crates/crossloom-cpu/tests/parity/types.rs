//! Kernels on `bf16` and on mixed types: products, attention, points of grids, element-wise programs, norms, rotations, rows, sums, pools,
//! injection and copies.

use crossloom_ir::DType::{self, Bf16, F16, F32, I32};
use crossloom_ir::op::{
    Activation, AddLayerNorm, AddRmsNorm, Affine, AgfInject, AgfInjectGrad, Attention, AttentionGrad,
    AttnPool, AttnPoolGrad, Binary, BinaryKind, Broadcast, CacheWrite, CachedAttention, Concat, Constant,
    Convert, DeformableAttention, DeformableAttentionGrad, Embedding, EmbeddingGrad, GatherRows, LayerNorm,
    LayerNormGrad, Linear, Matmul, MixRows, MixRowsGrad, Pad, Reduce, ReduceKind, RmsNorm, RmsNormGrad, Rope,
    ScatterMode, ScatterRows, Slice, Softmax, Transpose, Unary, UnaryKind,
};

use crate::compare::{Arg, between, check_typed, floats, is_lowered, narrow, random, random_whole, whole};
use crate::ops::{grid_points, outputs};

/// Both types of float in memory.
const BOTH: [DType; 2] = [F32, Bf16];

/// Every mix of both types for `N` operands and results.
fn mixes<const N: usize>() -> impl Iterator<Item = [DType; N]> {
    (0..1 << N).map(|mix| std::array::from_fn(|i| BOTH[(mix >> i) & 1]))
}

#[test]
fn conversions_round_once_and_to_nearest() {
    for from in [F32, Bf16, F16] {
        for to in [F32, Bf16, F16] {
            for n in [1, 7, 40_000] {
                let taken = check_typed(Convert, &[narrow(&random(&[n], 1), from)], &[to]);
                assert_eq!(taken.is_empty(), (from, to) != (F32, F32), "{from} to {to}");
            }
        }
    }
}

#[test]
fn products_take_every_mix() {
    for (m, n, k) in [(1, 33, 64), (65, 17, 33), (70, 96, 130)] {
        for [a, b, c] in mixes() {
            for (transpose_a, transpose_b) in [(false, false), (false, true), (true, false)] {
                let shape = |rows, cols, t: bool| if t { [2, cols, rows] } else { [2, rows, cols] };
                let left = narrow(&random(&shape(m, k, transpose_a), 6), a);
                let right = narrow(&random(&shape(k, n, transpose_b), 7), b);
                check_typed(Matmul { transpose_a, transpose_b }, &[left, right], &[c]);
            }
        }
        for [x, w, bias, y, other] in mixes() {
            let operand = |shape: &[usize], seed, dtype| narrow(&random(shape, seed), dtype);
            let args = [operand(&[1, m, k], 8, x), operand(&[n, k], 9, w), operand(&[n], 10, bias)];
            let act = Linear { bias: true, act: Some(Activation::GeluErf), residual: false };
            check_typed(act, &args, &[y, other]);
            let args = [&args[..], &[operand(&[1, m, n], 11, other)]].concat();
            let taken = check_typed(Linear { bias: true, act: None, residual: true }, &args, &[y]);
            // Sums that begin in the residual's memory are of its type.
            assert_eq!(!taken.is_empty(), y == other, "residual {other}, result {y}");
        }
    }
}

#[test]
fn attention_takes_every_mix() {
    for (heads, kv_heads, head_dim, tq, tk) in [(2, 1, 5, 7, 7), (4, 2, 16, 33, 70)] {
        let op = Attention { heads, kv_heads, causal: true, segments: false, scale: 0.4 };
        let (q_shape, kv) = ([2, tq, heads * head_dim], [2, tk, kv_heads * head_dim]);
        for [q, k, v, o, d_o] in mixes() {
            let args =
                [narrow(&random(&q_shape, 1), q), narrow(&random(&kv, 2), k), narrow(&random(&kv, 3), v)];
            check_typed(op, &args, &[o, F32]);
            let [of_o, lse] = &outputs(op, &args)[..] else { panic!("two outputs") };
            let mut backward = vec![narrow(&random(&q_shape, 4), d_o)];
            backward.extend(args);
            backward.extend([narrow(of_o, o), lse.clone()]);
            for grads in [[q, k, v], [o, d_o, q]] {
                check_typed(AttentionGrad(op), &backward, &grads);
            }
        }
        let op = CachedAttention { heads, kv_heads, segments: true, scale: 0.4 };
        for [q, k, v, o] in mixes() {
            let kv = [3, tk + 9, kv_heads * head_dim];
            let args = [
                narrow(&random(&[2, tq, heads * head_dim], 1), q),
                narrow(&random(&kv, 2), k),
                narrow(&random(&kv, 3), v),
                random_whole(&[3, tk + 9], -1, 4, 4),
                whole(&[2], &[2, 0]),
                whole(&[2], &[5, 1]),
                whole(&[2], &[tq as i32, 2]),
            ];
            check_typed(op, &args, &[o]);
        }
    }
}

#[test]
fn element_wise_ops_take_every_mix() {
    for shape in [&[7][..], &[130, 257]] {
        for [x, y, z] in mixes() {
            let args = [narrow(&random(shape, 1), x), narrow(&random(shape, 2), y)];
            // In place where a result has the type of an operand.
            let taken = check_typed(Binary(BinaryKind::Mul), &args, &[z]);
            assert_eq!(!taken.is_empty(), z == x || z == y);
            let taken = check_typed(Unary(UnaryKind::Act(Activation::Silu)), &args[..1], &[z]);
            assert_eq!(!taken.is_empty(), z == x);
            check_typed(Affine { mul: 0.7, add: -0.2 }, &args[1..], &[z]);
        }
        for dtype in BOTH {
            check_typed(Constant { value: 0.3, shape: shape.to_vec() }, &[], &[dtype]);
        }
    }
}

#[test]
fn pools_take_every_mix() {
    let [g, n, d, h] = [3, 70, 33, 4];
    for [x, w, pooled, grad] in mixes() {
        let (x, w) = (narrow(&random(&[g, n, d], 1), x), narrow(&random(&[h, d], 2), w));
        let mask: Vec<f32> = (0..g * n).map(|i| if i % 3 == 0 { 0.0 } else { 1.0 }).collect();
        let args = [x.clone(), w.clone(), floats(&[g, n], &mask)];
        check_typed(AttnPool { scale: 0.6, masked: true }, &args, &[pooled, F32]);
        let probs = outputs(AttnPool { scale: 0.6, masked: true }, &args).remove(1);
        for [dx, dw] in mixes() {
            let d_pooled = narrow(&random(&[g, h, d], 3), grad);
            let args = [d_pooled, x.clone(), w.clone(), probs.clone()];
            check_typed(AttnPoolGrad { scale: 0.6 }, &args, &[dx, dw]);
        }
    }
    let (x, w) = (random(&[g, n, d], 1), random(&[h, d], 2));
    assert!(!is_lowered(AttnPool { scale: 0.6, masked: false }, &[x, w], &[F32, Bf16]));
}

#[test]
fn points_of_grids_take_every_mix() {
    let op = DeformableAttention { heads: 2, sides: vec![4, 2] };
    let [values, places, weights] = grid_points(&op, [9, 17, 3]);
    for [of_values, of_places, of_weights, out] in mixes() {
        let args = [narrow(&values, of_values), narrow(&places, of_places), narrow(&weights, of_weights)];
        check_typed(op.clone(), &args, &[out]);
        let grad = narrow(&random(&[2, 9, 34], 4), out);
        let args = [&[grad], &args[..]].concat();
        for grads in [[out, of_values, of_places], [of_weights, out, of_values]] {
            check_typed(DeformableAttentionGrad(op.clone()), &args, &grads);
        }
    }
}

#[test]
fn the_injection_takes_every_mix() {
    let (taps, d) = (3, 37);
    for (convex, channel) in [(false, false), (true, false), (true, true)] {
        let gates: Vec<usize> = [2, taps].into_iter().chain(channel.then_some(d)).collect();
        for [h, gate, v] in mixes() {
            let index = whole(&[2, 3], &[4, -1, 1, 0, 2, 3]);
            let args = [
                narrow(&random(&[2, 5, d], 1), h),
                narrow(&random(&gates, 2), gate),
                narrow(&random(&[taps, 2, 3, d], 3), v),
                index,
            ];
            assert_eq!(check_typed(AgfInject { convex, channel }, &args, &[h]), [(0, 0)]);
            let mut backward = vec![narrow(&random(&[2, 5, d], 4), h)];
            backward.extend(args[1..].iter().cloned());
            backward.extend(convex.then(|| args[0].clone()));
            for [dv, d_gate] in mixes() {
                let all = [dv, d_gate, h];
                check_typed(AgfInjectGrad { convex, channel }, &backward, &all[..2 + usize::from(convex)]);
            }
        }
    }
    // What is updated where it is keeps its type.
    let index = whole(&[2, 3], &[4, -1, 1, 0, 2, 3]);
    let args = [random(&[2, 5, d], 1), random(&[2, taps], 2), random(&[taps, 2, 3, d], 3), index];
    assert!(!is_lowered(AgfInject { convex: false, channel: false }, &args, &[Bf16]));
}

#[test]
fn norms_take_every_mix() {
    let eps = 1e-2;
    for shape in [&[3, 33][..], &[2, 65, 32]] {
        let (d, lead) = (&shape[shape.len() - 1..], &shape[..shape.len() - 1]);
        let (mean, rstd) = (random(lead, 7), between(lead, 0.5, 2.0, 8));
        let (stream, passing) = (between(shape, -2.0, 2.0, 1), random(shape, 6));
        for [x, g, y] in mixes() {
            let of_x = narrow(&between(shape, -2.0, 2.0, 2), x);
            let (gamma, beta) = (narrow(&between(d, 0.5, 1.5, 3), g), narrow(&random(d, 4), g));
            let taken =
                check_typed(LayerNorm { eps }, &[of_x.clone(), gamma.clone(), beta.clone()], &[y, F32, F32]);
            assert_eq!(!taken.is_empty(), x == y);
            check_typed(RmsNorm { eps }, &[of_x.clone(), gamma.clone()], &[y, F32]);
            let sum = [stream.clone(), of_x.clone(), gamma.clone(), beta];
            check_typed(AddLayerNorm { eps }, &sum, &[F32, y, F32, F32]);
            check_typed(AddRmsNorm { eps }, &sum[..3], &[F32, y, F32]);
            let dy = narrow(&random(shape, 5), y);
            let layer =
                [dy.clone(), of_x.clone(), gamma.clone(), mean.clone(), rstd.clone(), passing.clone()];
            check_typed(LayerNormGrad { residual: true }, &layer, &[F32; 3]);
            check_typed(LayerNormGrad { residual: false }, &layer[..5], &[F32; 3]);
            check_typed(
                RmsNormGrad { residual: true },
                &[dy, of_x, gamma, rstd.clone(), passing.clone()],
                &[F32; 2],
            );
        }
    }
}

#[test]
fn rotations_rows_and_sums_take_every_mix() {
    for [x, y] in mixes() {
        // Positions inside the table, and beyond it.
        for high in [11, 300] {
            let args = [narrow(&random(&[3, 11, 12], 4), x), random_whole(&[3, 11], 0, high, 5)];
            let taken =
                check_typed(Rope { head_dim: 6, theta: 1e4, inverse: false, sections: None }, &args, &[y]);
            assert_eq!(!taken.is_empty(), x == y);
        }
    }
    for dtype in BOTH {
        let of = |shape: &[usize], seed| narrow(&random(shape, seed), dtype);
        let ids = random_whole(&[3, 50], 0, 5, 2);
        check_typed(Embedding, &[of(&[5, 35], 3), ids.clone()], &[dtype]);
        check_typed(EmbeddingGrad { vocab: 5 }, &[of(&[3, 50, 35], 4), ids], &[F32]);
        let (h, index) = (of(&[2, 5, 35], 5), whole(&[2, 3], &[4, -1, 0, 2, 1, -1]));
        check_typed(GatherRows, &[h.clone(), index.clone()], &[dtype]);
        for mode in [ScatterMode::Set, ScatterMode::Add] {
            let args = [h.clone(), index.clone(), of(&[2, 3, 35], 6)];
            assert!(!check_typed(ScatterRows { mode }, &args, &[dtype]).is_empty());
        }
        let parts = [random_whole(&[2, 9, 4], 0, 6, 7), random(&[2, 9, 4], 8)];
        let (features, end) = (of(&[3, 5, 35], 9), random(&[35], 10));
        for result in BOTH {
            check_typed(MixRows, &[&[features.clone(), end.clone()], &parts[..]].concat(), &[result]);
        }
        let grad = [&[of(&[3, 2, 9, 35], 11)], &parts[..]].concat();
        check_typed(MixRowsGrad { rows: 5 }, &grad, &[F32; 2]);
        for axes in [vec![0], vec![0, 1], vec![2], vec![1, 2]] {
            check_typed(Reduce { kind: ReduceKind::Sum, axes }, &[of(&[9, 130, 33], 3)], &[F32]);
        }
    }
}

#[test]
fn copies_take_elements_of_any_size() {
    for dtype in [F32, Bf16, F16, I32] {
        let of = |shape: &[usize], seed| match dtype {
            I32 => random_whole(shape, -9, 9, seed),
            _ => narrow(&random(shape, seed), dtype),
        };
        let (x, kept) = (of(&[3, 5, 7], 1), [dtype]);
        let one = std::slice::from_ref(&x);
        for perm in [[2, 1, 0], [1, 0, 2], [0, 2, 1]] {
            check_typed(Transpose { perm: perm.to_vec() }, one, &kept);
        }
        check_typed(Transpose { perm: vec![1, 0] }, &[of(&[130, 257], 1)], &kept);
        check_typed(Broadcast { shape: vec![3, 2, 5, 9, 7], axes: vec![0, 2, 4] }, one, &kept);
        for axis in 0..3 {
            check_typed(Slice { axis, start: 1, len: 2 }, one, &kept);
            if dtype.is_float() {
                check_typed(Pad { axis, before: 2, after: 1 }, one, &kept);
            }
            check_typed(Concat { axis }, &[x.clone(), x.clone()], &kept);
        }
        if !dtype.is_float() {
            continue;
        }
        let places = [whole(&[2], &[2, 0]), whole(&[2], &[4, 1]), whole(&[2], &[3, 2])];
        let cache = [vec![of(&[3, 9, 6], 1), of(&[2, 3, 6], 2)], places.to_vec()].concat();
        assert_eq!(check_typed(CacheWrite, &cache, &kept), [(0, 0)]);
    }
}

/// An op on types that no kernel loads is widened by the compiler, so a kernel must not claim it.
#[test]
fn types_without_a_kernel_have_none() {
    let x = |dtype| -> Arg { narrow(&random(&[3, 8], 1), dtype) };
    assert!(!is_lowered(Softmax, &[x(Bf16)], &[F32]));
    assert!(!is_lowered(Softmax, &[x(F32)], &[Bf16]));
    let product = Matmul { transpose_a: false, transpose_b: true };
    assert!(!is_lowered(product, &[x(F16), x(F32)], &[F32]));
    assert!(!is_lowered(product, &[x(F32), x(F32)], &[F16]));
    let (gamma, beta) = (narrow(&random(&[8], 2), F32), narrow(&random(&[8], 3), Bf16));
    assert!(!is_lowered(LayerNorm { eps: 1e-2 }, &[x(F32), gamma, beta], &[F32, F32, F32]));
    let statistics = [x(F32), narrow(&random(&[8], 2), F32)];
    assert!(!is_lowered(RmsNorm { eps: 1e-2 }, &statistics, &[F32, Bf16]));
}
