#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use rand::{Rng, SeedableRng};

use super::*;
use crate::kernels::float_mat::FloatMatMut;
use crate::kernels::testing::{assert_close, random};
use crate::kernels::view::{Mat, MatMut};

/// Whether the query at position `t` sees key `s`.
fn allows(p: &Attention, segments: Option<&[i32]>, t: usize, s: usize) -> bool {
    let shared = segments.is_none_or(|g| t == s || (g[t] != -1 && g[s] != -1 && (g[s] == 0 || g[s] == g[t])));
    (!p.causal || s <= t) && shared
}

/// Output, lse and, for a gradient of the output, dq, dk and dv, in `f64` with whole rows of scores.
struct Reference {
    o: Vec<f32>,
    lse: Vec<f32>,
    dq: Vec<f32>,
    dk: Vec<f32>,
    dv: Vec<f32>,
}

fn reference(
    p: &Attention,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    segments: Option<&[i32]>,
    d_out: &[f32],
) -> Reference {
    let (hd, wide, narrow) = (p.head_dim, p.heads * p.head_dim, p.kv_heads * p.head_dim);
    let mut r = Reference {
        o: vec![0.0; q.len()],
        lse: vec![0.0; p.batch * p.heads * p.q_len],
        dq: vec![0.0; q.len()],
        dk: vec![0.0; k.len()],
        dv: vec![0.0; v.len()],
    };
    let (mut dq, mut dk, mut dv) = (vec![0.0_f64; q.len()], vec![0.0_f64; k.len()], vec![0.0_f64; v.len()]);
    for b in 0..p.batch {
        let segments = segments.map(|s| &s[b * p.k_len..(b + 1) * p.k_len]);
        for h in 0..p.heads {
            let kv = h / (p.heads / p.kv_heads);
            for i in 0..p.q_len {
                let position = if p.causal { i + p.k_len - p.q_len } else { i };
                let qi = (b * p.q_len + i) * wide + h * hd;
                let at = |s: usize| (b * p.k_len + s) * narrow + kv * hd;
                let dot = |x: &[f32], xi: usize, y: &[f32], yi: usize| -> f64 {
                    (0..hd).map(|c| f64::from(x[xi + c]) * f64::from(y[yi + c])).sum()
                };
                let seen: Vec<usize> = (0..p.k_len).filter(|&s| allows(p, segments, position, s)).collect();
                let scores: Vec<f64> =
                    seen.iter().map(|&s| f64::from(p.scale) * dot(q, qi, k, at(s))).collect();
                let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = scores.iter().map(|x| (x - top).exp()).sum();
                let lse = top + sum.ln();
                r.lse[(b * p.heads + h) * p.q_len + i] = lse as f32;
                let probs: Vec<f64> = scores.iter().map(|x| (x - lse).exp()).collect();
                let mut o = vec![0.0; hd];
                for (&s, w) in seen.iter().zip(&probs) {
                    for c in 0..hd {
                        o[c] += w * f64::from(v[at(s) + c]);
                    }
                }
                let delta: f64 = (0..hd).map(|c| o[c] * f64::from(d_out[qi + c])).sum();
                for (&s, w) in seen.iter().zip(&probs) {
                    let ds = w * (dot(d_out, qi, v, at(s)) - delta) * f64::from(p.scale);
                    for c in 0..hd {
                        dq[qi + c] += ds * f64::from(k[at(s) + c]);
                        dk[at(s) + c] += ds * f64::from(q[qi + c]);
                        dv[at(s) + c] += w * f64::from(d_out[qi + c]);
                    }
                }
                for c in 0..hd {
                    r.o[qi + c] = o[c] as f32;
                }
            }
        }
    }
    let to32 = |x: Vec<f64>| x.into_iter().map(|x| x as f32).collect();
    (r.dq, r.dk, r.dv) = (to32(dq), to32(dk), to32(dv));
    r
}

/// Packed samples: a prefix, questions of random length, padding.
fn random_segments(seed: u64, batch: usize, len: usize) -> Vec<i32> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let mut all = Vec::new();
    for _ in 0..batch {
        let (mut row, mut question) = (vec![0; rng.random_range(0..=len / 2)], 1);
        let end = rng.random_range(row.len()..=len);
        while row.len() < end {
            let length = rng.random_range(1..=17).min(end - row.len());
            row.extend(std::iter::repeat_n(question, length));
            question += 1;
        }
        row.resize(len, -1);
        all.extend(row);
    }
    all
}

/// Compares both directions with the reference, on separate buffers.
fn check(p: &Attention, segments: Option<&[i32]>) {
    let (wide, narrow) = (p.heads * p.head_dim, p.kv_heads * p.head_dim);
    let (nq, nk) = (p.batch * p.q_len, p.batch * p.k_len);
    let (q, k, v) = (random(1, nq * wide), random(2, nk * narrow), random(3, nk * narrow));
    let q: Vec<f32> = q.iter().map(|x| 3.0 * x).collect();
    let d_out = random(4, nq * wide);
    let want = reference(p, &q, &k, &v, segments, &d_out);
    let (mut o, mut lse) = (vec![f32::NAN; nq * wide], vec![f32::NAN; p.batch * p.heads * p.q_len]);
    let mut scratch = vec![f32::NAN; p.grad_scratch_len(false)];
    let mat = |x, rows, cols| Mat::new(x, rows, cols).unwrap();
    let (qm, km, vm) = (mat(&q, nq, wide), mat(&k, nk, narrow), mat(&v, nk, narrow));
    attention(p, qm, km, vm, segments, MatMut::new(&mut o, nq, wide).unwrap(), &mut lse, &mut scratch)
        .unwrap();
    assert_close(&o, &want.o, 1e-5);
    assert_close(&lse, &want.lse, 1e-5);
    let (mut dq, mut dk, mut dv) =
        (vec![f32::NAN; q.len()], vec![f32::NAN; k.len()], vec![f32::NAN; v.len()]);
    attention_grad(
        p,
        qm,
        km,
        vm,
        segments,
        mat(&o, nq, wide),
        &lse,
        mat(&d_out, nq, wide),
        FloatMatMut::wanted(&mut dq[..], nq, wide).unwrap(),
        FloatMatMut::wanted(&mut dk[..], nk, narrow).unwrap(),
        FloatMatMut::wanted(&mut dv[..], nk, narrow).unwrap(),
        &mut scratch,
    )
    .unwrap();
    assert_close(&dq, &want.dq, 5e-5);
    assert_close(&dk, &want.dk, 5e-5);
    assert_close(&dv, &want.dv, 5e-5);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn odd_shapes_match_the_reference(
        batch in 1_usize..3, len in 1_usize..90, more in 0_usize..40, kv_heads in 1_usize..3, group in 1_usize..3,
        head_dim in 1_usize..40, causal: bool, with_segments: bool, seed: u64,
    ) {
        let k_len = if with_segments { len } else { len + more };
        let p = Attention {
            batch, q_len: len, k_len, heads: kv_heads * group, kv_heads, head_dim,
            scale: 1.0 / (head_dim as f32).sqrt(), causal,
        };
        let segments = random_segments(seed, batch, k_len);
        check(&p, with_segments.then_some(&segments[..]));
    }
}

#[test]
fn long_rows_run_through_several_rounds() {
    let p = Attention {
        batch: 1,
        q_len: 50,
        k_len: 700,
        heads: 2,
        kv_heads: 1,
        head_dim: 24,
        scale: 0.2,
        causal: false,
    };
    check(&p, None);
    check(&Attention { causal: true, ..p }, None);
    let p = Attention { q_len: 600, k_len: 600, kv_heads: 2, causal: true, ..p };
    check(&p, Some(&random_segments(5, 1, 600)));
}

#[test]
fn merged_buffers_need_no_copies() {
    let p = Attention {
        batch: 2,
        q_len: 37,
        k_len: 37,
        heads: 4,
        kv_heads: 2,
        head_dim: 8,
        scale: 0.3,
        causal: true,
    };
    let (rows, wide, narrow) = (74, 32, 16);
    let width = wide + 2 * narrow;
    let qkv = random(1, rows * width);
    let d_out = random(2, rows * wide);
    let cut = |first, cols| -> Vec<f32> {
        (0..rows).flat_map(|i| qkv[i * width + first..][..cols].to_vec()).collect()
    };
    let (q, k, v) = (cut(0, wide), cut(wide, narrow), cut(wide + narrow, narrow));
    let want = reference(&p, &q, &k, &v, None, &d_out);
    let view = |first, cols| Mat::columns(&qkv, rows, width, first, cols).unwrap();
    let (q, k, v) = (view(0, wide), view(wide, narrow), view(wide + narrow, narrow));
    let (mut o, mut lse) = (vec![0.0; rows * wide], vec![0.0; 2 * 4 * 37]);
    let mut scratch = vec![0.0; p.grad_scratch_len(false)];
    attention(&p, q, k, v, None, MatMut::new(&mut o, rows, wide).unwrap(), &mut lse, &mut scratch).unwrap();
    let mut grads = [(); 3].map(|()| vec![f32::NAN; rows * width]);
    let parts = [(0, wide), (wide, narrow), (wide + narrow, narrow)];
    let [dq, dk, dv] = &mut grads;
    let cells = |grad, (first, cols)| Some(MatMut::columns(grad, rows, width, first, cols).unwrap().into());
    let (dq, dk, dv) = (cells(dq, parts[0]), cells(dk, parts[1]), cells(dv, parts[2]));
    let (om, dm) = (Mat::new(&o, rows, wide).unwrap(), Mat::new(&d_out, rows, wide).unwrap());
    attention_grad(&p, q, k, v, None, om, &lse, dm, dq, dk, dv, &mut scratch).unwrap();
    assert_close(&o, &want.o, 1e-5);
    for ((grad, want), (first, cols)) in grads.iter().zip([want.dq, want.dk, want.dv]).zip(parts) {
        let given = Mat::columns(grad, rows, width, first, cols).unwrap();
        let given: Vec<f32> = (0..rows).flat_map(|i| given.row(i).to_vec()).collect();
        assert_close(&given, &want, 5e-5);
        // What lies beside the columns is left alone.
        assert_eq!(grad.iter().filter(|x| x.is_nan()).count(), rows * (width - cols));
    }
}

#[test]
fn shapes_that_do_not_fit_are_reported() {
    let p = Attention {
        batch: 1,
        q_len: 4,
        k_len: 3,
        heads: 2,
        kv_heads: 2,
        head_dim: 4,
        scale: 1.0,
        causal: true,
    };
    let x = [0.0; 64];
    let (mut o, mut lse) = ([0.0; 64], [0.0; 8]);
    let mut run = |p: &Attention, rows: usize| {
        let mut scratch = vec![0.0; p.scratch_len()];
        let (q, k) = (Mat::new(&x, rows, 8).unwrap(), Mat::new(&x, 3, 8).unwrap());
        attention(p, q, k, k, None, MatMut::new(&mut o, rows, 8).unwrap(), &mut lse, &mut scratch)
    };
    assert!(run(&p, 4).is_err());
    assert!(run(&Attention { causal: false, ..p }, 5).is_err());
    assert!(run(&Attention { causal: false, kv_heads: 0, ..p }, 4).is_err());
    assert!(run(&Attention { causal: false, ..p }, 4).is_ok());
}
