//! Kernels on `bf16` and on mixed types: products, norms, rotations, rows, sums and copies.

use crossloom_ir::DType::{self, Bf16, F16, F32, I32};
use crossloom_ir::op::{
    Activation, AddLayerNorm, AddRmsNorm, Broadcast, CacheWrite, Concat, Convert, Embedding, EmbeddingGrad,
    GatherRows, LayerNorm, LayerNormGrad, Linear, Matmul, Pad, Reduce, ReduceKind, RmsNorm, RmsNormGrad,
    Rope, ScatterMode, ScatterRows, Slice, Softmax, Transpose,
};

use crate::compare::{Arg, between, check_typed, is_lowered, narrow, random, random_whole, whole};

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
            let taken = check_typed(Rope { head_dim: 6, theta: 1e4, inverse: false }, &args, &[y]);
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
