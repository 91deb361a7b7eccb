//! What a row computes does not depend on what stands beside it: the kernels of a forward pass give it the same bits alone
//! and among others, on every instruction set and any number of threads. Products are in `gemm/tests.rs`, the cache in
//! `attention/cached_tests.rs`.

#![allow(clippy::unwrap_used)]

use super::testing::{Buffer, mixes, on_each_isa, random};
use super::*;

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Output and log-sum-exp, of operands that are rounded to `bf16` or not.
fn attend(
    p: &Attention,
    [q, k, v]: [&[f32]; 3],
    segments: Option<&[i32]>,
    is_narrow: bool,
) -> (Vec<f32>, Vec<f32>) {
    let (wide, narrow) = (p.heads * p.head_dim, p.kv_heads * p.head_dim);
    let (nq, nk) = (p.batch * p.q_len, p.batch * p.k_len);
    let (mut o, mut lse) = (vec![f32::NAN; nq * wide], vec![f32::NAN; p.batch * p.heads * p.q_len]);
    let mut scratch = vec![f32::NAN; p.scratch_len()];
    let [q, k, v] = [q, k, v].map(|x| Buffer::new(x, is_narrow));
    let q = FloatMat::new(q.floats(), nq, wide).unwrap();
    let [k, v] = [&k, &v].map(|x| FloatMat::new(x.floats(), nk, narrow).unwrap());
    attention(p, q, k, v, segments, MatMut::new(&mut o, nq, wide).unwrap(), &mut lse, &mut scratch).unwrap();
    (o, lse)
}

const SHAPE: Attention = Attention {
    batch: 3,
    q_len: 700,
    k_len: 700,
    heads: 4,
    kv_heads: 2,
    head_dim: 24,
    scale: 0.7,
    causal: true,
};

#[test]
fn a_question_does_not_see_what_is_packed_beside_it() {
    let len = SHAPE.k_len;
    let (wide, narrow) = (SHAPE.heads * SHAPE.head_dim, SHAPE.kv_heads * SHAPE.head_dim);
    let (q, k, v) = (random(1, 3 * len * wide), random(2, 3 * len * narrow), random(3, 3 * len * narrow));
    // The question at 390..430, across tiles, blocks and no end of a round, behind a picture of 70 positions.
    let (picture, own) = (0..70, 390..430);
    let packed = |others: &dyn Fn(usize) -> i32| -> Vec<i32> {
        let at = |t: usize| match t {
            t if picture.contains(&t) => 0,
            t if own.contains(&t) => 1,
            t => others(t),
        };
        (0..len).map(at).collect()
    };
    let neighbours: [&(dyn Fn(usize) -> i32 + Sync); 4] =
        [&|_| -1, &|t| 2 + (t / 7) as i32, &|t| if t < 400 { 2 } else { -1 }, &|t| 2 + (t / 150) as i32];
    on_each_isa(|| {
        let one = |x: &[f32], width: usize, len: usize| x[..len * width].to_vec();
        let alone = Attention { batch: 1, q_len: own.end, k_len: own.end, ..SHAPE };
        let (q1, k1, v1) = (one(&q, wide, own.end), one(&k, narrow, own.end), one(&v, narrow, own.end));
        let segments = packed(&|_| -1);
        let rows = own.start * wide..own.end * wide;
        for (is_narrow, others) in neighbours.into_iter().flat_map(|others| [(false, others), (true, others)])
        {
            let (want, want_lse) = attend(&alone, [&q1, &k1, &v1], Some(&segments[..own.end]), is_narrow);
            // As the first of three samples.
            let segments = packed(others).repeat(3);
            let (o, lse) = attend(&SHAPE, [&q, &k, &v], Some(&segments), is_narrow);
            assert_eq!(bits(&o[rows.clone()]), bits(&want[rows.clone()]));
            for h in 0..SHAPE.heads {
                let of = |lse: &[f32], len: usize| bits(&lse[h * len..][own.clone()]);
                assert_eq!(of(&lse, len), of(&want_lse, own.end));
            }
        }
    });
}

#[test]
fn a_query_attends_alike_alone_and_among_others() {
    let len = 300;
    let (wide, narrow) = (SHAPE.heads * SHAPE.head_dim, SHAPE.kv_heads * SHAPE.head_dim);
    let (q, k, v) = (random(1, 3 * len * wide), random(2, 3 * len * narrow), random(3, 3 * len * narrow));
    on_each_isa(|| {
        for [causal, is_narrow] in mixes() {
            let all = Attention { q_len: len, k_len: len, causal, ..SHAPE };
            let (o, lse) = attend(&all, [&q, &k, &v], None, is_narrow);
            for sample in 0..3 {
                let one = Attention { batch: 1, q_len: 1, ..all };
                let (from, keys) =
                    ((sample + 1) * len - 1, sample * len * narrow..(sample + 1) * len * narrow);
                let row = from * wide..(from + 1) * wide;
                let parts = [&q[row.clone()], &k[keys.clone()], &v[keys]];
                let (o1, lse1) = attend(&one, parts, None, is_narrow);
                assert_eq!(bits(&o1), bits(&o[row]));
                let last = |h: usize| lse[(sample * all.heads + h) * len + len - 1];
                assert_eq!(bits(&lse1), bits(&(0..all.heads).map(last).collect::<Vec<_>>()));
            }
        }
    });
}

/// Checks that a kernel from rows to rows, `f(first row, rows)` giving what the results of those rows hold, gives every
/// row what it gives all of them.
fn check_rows(rows: usize, f: impl Fn(usize, usize) -> Vec<Vec<f32>>) {
    let all = f(0, rows);
    for (first, count) in [(0, 1), (rows - 1, 1), (rows / 2, 1), (1, 5), (rows / 3, rows / 2)] {
        for (some, all) in f(first, count).iter().zip(&all) {
            let width = all.len() / rows;
            assert_eq!(bits(some), bits(&all[first * width..(first + count) * width]), "{first} + {count}");
        }
    }
}

#[test]
fn norms_and_softmax_work_on_every_row_by_itself() {
    for cols in [1, 7, 96, 1030] {
        let rows = 40;
        let (x, r) = (random(1, rows * cols), random(2, rows * cols));
        let (gamma, beta) = (random(3, cols), random(4, cols));
        on_each_isa(|| {
            check_rows(rows, |first, n| {
                let part = first * cols..(first + n) * cols;
                let (x, r) = (&x[part.clone()], &r[part]);
                let of = |len: usize| vec![f32::NAN; len];
                let [mut a, mut b, mut c, mut d, mut e, mut f] = [(); 6].map(|()| of(n * cols));
                let [mut m1, mut r1, mut m2, mut r2, mut r3, mut r4] = [(); 6].map(|()| of(n));
                layer_norm(n, cols, 1e-5, Some(x), &gamma, &beta, &mut a, &mut m1, &mut r1).unwrap();
                let x = Some(x);
                add_layer_norm(n, cols, 1e-5, x, r, &gamma, &beta, &mut b, &mut c, &mut m2, &mut r2).unwrap();
                rms_norm(n, cols, 1e-5, x, &gamma, &mut d, &mut r3).unwrap();
                add_rms_norm(n, cols, 1e-5, x, r, &gamma, &mut b, &mut e, &mut r4).unwrap();
                softmax(n, cols, x, &mut f).unwrap();
                vec![a, b, c, d, e, f, m1, r1, m2, r2, r3, r4]
            });
        });
    }
}

#[test]
fn element_wise_programs_do_not_see_where_an_element_lies() {
    for cols in [1, 7, 96, 300] {
        let rows = 40;
        let (x, y) = (random(1, rows * cols), random(2, rows * cols));
        let steps = vec![
            Step::Binary(BinaryOp::Mul, 0, 1),
            Step::Unary(UnaryOp::Act(Activation::GeluErf), 2),
            Step::Unary(UnaryOp::Exp, 3),
            Step::Unary(UnaryOp::Sin, 4),
            Step::Unary(UnaryOp::Tanh, 3),
            Step::Binary(BinaryOp::Div, 5, 6),
        ];
        let full = |float| (Broadcast::Full, float);
        let (loads, stores) =
            (vec![full(Float::F32), full(Float::Bf16)], vec![(4, Float::F32), (7, Float::Bf16)]);
        let program = Program::typed(loads, steps, stores).unwrap();
        let y = super::testing::narrow(&y);
        on_each_isa(|| {
            check_rows(rows, |first, n| {
                let part = first * cols..(first + n) * cols;
                let (mut a, mut b) = (vec![f32::NAN; n * cols], Buffer::room(n * cols, true));
                let from = [(&x[part.clone()]).into(), (&y[part]).into()];
                program.run_slices(n, cols, &from, &mut [(&mut a[..]).into(), b.floats_mut()]).unwrap();
                vec![a, b.wide()]
            });
        });
    }
}

#[test]
fn rows_of_a_loss_and_rotations_stand_alone() {
    let (rows, classes) = (40, 530);
    let logits = random(1, rows * classes);
    let targets: Vec<i32> = (0..rows).map(|i| (i * 13) as i32 - 1).collect();
    let positions: Vec<i32> = (0..rows).map(|i| (i * 7 % 64) as i32).collect();
    let (mut cos, mut sin) = (vec![0.0; 64 * 6], vec![0.0; 64 * 6]);
    rope_table(64, 12, 1e4, &mut cos, &mut sin).unwrap();
    let table = RopeTable { head_dim: 12, cos: &cos, sin: &sin };
    on_each_isa(|| {
        check_rows(rows, |first, n| {
            let (mut lse, mut losses) = (vec![f32::NAN; n], vec![f32::NAN; n]);
            let part = &logits[first * classes..(first + n) * classes];
            cross_entropy(n, classes, part, &targets[first..first + n], &mut lse, &mut losses).unwrap();
            let mut turned = vec![f32::NAN; n * 24];
            let x = Mat::new(&logits[first * 24..(first + n) * 24], n, 24).unwrap();
            let y = MatMut::new(&mut turned, n, 24).unwrap();
            rope(x, &positions[first..first + n], table, false, y).unwrap();
            vec![lse, losses, turned]
        });
    });
}

#[test]
fn samples_are_pooled_read_and_injected_into_by_themselves() {
    let (samples, tokens, cols, taps) = (9, 150, 35, 3);
    let (x, w) = (random(1, samples * tokens * cols), random(2, 4 * cols));
    let (h, gate) = (random(3, samples * 11 * cols), random(4, samples * taps));
    let v = random(5, taps * samples * 5 * cols);
    let index: Vec<i32> = (0..samples * 5).map(|i| [3, -1, 0, 9, 7][i % 5]).collect();
    let (places, weights) = (random(6, samples * 7 * 5 * 2 * 2), random(7, samples * 7 * 5 * 2));
    on_each_isa(|| {
        check_rows(samples, |first, n| {
            let p = AttnPool { groups: n, rows: tokens, cols, heads: 4, scale: 0.6 };
            let (mut pooled, mut probs) = (vec![f32::NAN; n * 4 * cols], vec![f32::NAN; n * 4 * tokens]);
            let mut narrow_pooled = Buffer::room(n * 4 * cols, true);
            let part = &x[first * tokens * cols..(first + n) * tokens * cols];
            let mut scratch = vec![0.0; p.scratch_len(true)];
            attn_pool(&p, part, &w[..], None, &mut pooled[..], &mut probs, &mut scratch).unwrap();
            let rounded = Buffer::new(part, true);
            let to = narrow_pooled.floats_mut();
            attn_pool(&p, rounded.floats(), &w[..], None, to, &mut vec![0.0; probs.len()], &mut scratch)
                .unwrap();
            let p = AgfInject { batch: n, len: 11, tokens: 5, cols, taps, convex: true, channel: false };
            let mut h = h[first * 11 * cols..(first + n) * 11 * cols].to_vec();
            // Taps are outermost: the samples of every tap, one behind the other.
            let of_tap = |k: usize| v[(k * samples + first) * 5 * cols..][..n * 5 * cols].iter().copied();
            let v: Vec<f32> = (0..taps).flat_map(of_tap).collect();
            let gate = &gate[first * taps..(first + n) * taps];
            let index = &index[first * 5..(first + n) * 5];
            let mut of_narrow = h.clone();
            agf_inject(&p, &mut h, gate, &v, index).unwrap();
            agf_inject(&p, &mut of_narrow, gate, &super::testing::narrow(&v), index).unwrap();
            let p = DeformableAttention {
                batch: n,
                queries: 7,
                heads: 5,
                head_dim: 7,
                points: 2,
                sides: vec![12],
            };
            let cells = &x[first * tokens * cols..][..n * tokens * cols];
            let cells: Vec<f32> =
                cells.chunks(tokens * cols).flat_map(|sample| &sample[..144 * cols]).copied().collect();
            let mut read = vec![f32::NAN; n * 7 * cols];
            let (places, weights) = (&places[first * 140..][..n * 140], &weights[first * 70..][..n * 70]);
            deformable_attention(&p, &cells[..], places, weights, &mut read[..], &mut []).unwrap();
            vec![pooled, probs, h, narrow_pooled.wide(), of_narrow, read]
        });
    });
}
