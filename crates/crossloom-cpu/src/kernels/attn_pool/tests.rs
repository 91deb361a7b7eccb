#![allow(clippy::unwrap_used)]

use super::*;
use crate::kernels::testing::{Buffer, assert_close, mixes, on_each_isa, on_threads, random};

fn check(p: &AttnPool, masked: bool) {
    let (x, w) = (random(1, p.groups * p.rows * p.cols), random(2, p.heads * p.cols));
    let d_pooled = random(3, p.groups * p.heads * p.cols);
    let mask: Vec<f32> =
        (0..p.groups * p.rows).map(|i| if i / p.rows == 1 || i % 3 == 1 { 0.0 } else { 1.0 }).collect();
    let run = |threads| {
        let mut pooled = vec![f32::NAN; d_pooled.len()];
        let mut probs = vec![f32::NAN; p.groups * p.heads * p.rows];
        let (mut dx, mut dw) = (vec![f32::NAN; x.len()], vec![f32::NAN; w.len()]);
        let mut scratch = vec![f32::NAN; p.scratch_len(false).max(p.grad_scratch_len(false))];
        let mask = masked.then_some(&mask[..]);
        on_threads(threads, || {
            attn_pool(p, &x[..], &w[..], mask, &mut pooled[..], &mut probs, &mut scratch).unwrap();
            let (d, dx, dw) = (&d_pooled[..], &mut dx[..], &mut dw[..]);
            attn_pool_grad(p, d, &x[..], &w[..], &probs, dx, dw, &mut scratch).unwrap();
        });
        (pooled, probs, dx, dw)
    };
    let (mut want_pooled, mut want_probs) = (vec![0.0; d_pooled.len()], Vec::new());
    let (mut want_dx, mut want_dw) = (vec![0.0_f64; x.len()], vec![0.0_f64; w.len()]);
    for g in 0..p.groups {
        for h in 0..p.heads {
            let at = |n: usize| (g * p.rows + n) * p.cols;
            let dot = |n: usize, y: &[f32]| -> f64 {
                (0..p.cols).map(|c| f64::from(x[at(n) + c]) * f64::from(y[c])).sum()
            };
            let kept = |n: usize| !masked || mask[g * p.rows + n] != 0.0;
            let query = &w[h * p.cols..][..p.cols];
            let e: Vec<f64> = (0..p.rows)
                .map(|n| if kept(n) { (f64::from(p.scale) * dot(n, query)).exp() } else { 0.0 })
                .collect();
            let sum = e.iter().sum::<f64>().max(1e-30);
            let prob: Vec<f64> = e.iter().map(|e| e / sum).collect();
            let d = &d_pooled[(g * p.heads + h) * p.cols..][..p.cols];
            let mean: f64 = (0..p.rows).map(|n| prob[n] * dot(n, d)).sum();
            for n in 0..p.rows {
                let ds = f64::from(p.scale) * prob[n] * (dot(n, d) - mean);
                for c in 0..p.cols {
                    want_pooled[(g * p.heads + h) * p.cols + c] += prob[n] * f64::from(x[at(n) + c]);
                    want_dx[at(n) + c] += prob[n] * f64::from(d[c]) + ds * f64::from(query[c]);
                    want_dw[h * p.cols + c] += ds * f64::from(x[at(n) + c]);
                }
            }
            want_probs.extend(prob.iter().map(|x| *x as f32));
        }
    }
    let to32 = |x: Vec<f64>| x.into_iter().map(|x| x as f32).collect::<Vec<_>>();
    let (pooled, probs, dx, dw) = run(1);
    assert_close(&pooled, &to32(want_pooled), 1e-5);
    assert_close(&probs, &want_probs, 1e-5);
    assert_close(&dx, &to32(want_dx), 1e-4);
    assert_close(&dw, &to32(want_dw), 1e-4);
    assert_eq!(run(1), run(3));
}

#[test]
fn odd_shapes_match_f64() {
    for (groups, rows, cols, heads) in
        [(1, 1, 1, 1), (3, 7, 19, 5), (2, 64, 96, 4), (3, 150, 33, 40), (2, 65, 8, 33)]
    {
        let p = AttnPool { groups, rows, cols, heads, scale: 1.3 };
        check(&p, false);
        check(&p, true);
    }
}

#[test]
fn narrow_types_round_and_results_left_out_change_no_other() {
    for p in [
        AttnPool { groups: 3, rows: 70, cols: 35, heads: 5, scale: 1.3 },
        AttnPool { groups: 1, rows: 9, cols: 8, heads: 2, scale: 1.3 },
    ] {
        let (rows, queries) = (p.groups * p.rows * p.cols, p.queries());
        let (x, w, d) = (random(1, rows), random(2, queries), random(3, p.groups * queries));
        let run = |[x, w, d]: [&Buffer; 3], types: [bool; 3], skip: [bool; 2]| {
            let len = |skip: bool, n: usize| if skip { 0 } else { n };
            let mut pooled = Buffer::room(p.groups * queries, types[0]);
            let mut dx = Buffer::room(len(skip[0], rows), types[1]);
            let mut dw = Buffer::room(len(skip[1], queries), types[2]);
            let mut probs = vec![f32::NAN; p.groups * p.heads * p.rows];
            let mut scratch = vec![f32::NAN; p.scratch_len(true).max(p.grad_scratch_len(true))];
            let (x, w, d) = (x.floats(), w.floats(), d.floats());
            attn_pool(&p, x, w, None, pooled.floats_mut(), &mut probs, &mut scratch).unwrap();
            let (to_x, to_w) = (dx.floats_mut(), dw.floats_mut());
            attn_pool_grad(&p, d, x, w, &probs, to_x, to_w, &mut scratch).unwrap();
            [pooled, Buffer::F32(probs), dx, dw]
        };
        on_each_isa(|| {
            for [a, b, c] in mixes() {
                let given = [Buffer::new(&x, a), Buffer::new(&w, b), Buffer::new(&d, c)];
                let [x, w, d] = &given;
                let wide = [x, w, d].map(|x| Buffer::F32(x.wide()));
                let exact = run([&wide[0], &wide[1], &wide[2]], [false; 3], [false; 2]);
                for types in mixes::<3>() {
                    let of = [types[0], false, types[1], types[2]];
                    for skip in mixes::<2>() {
                        let is_left_out = [false, false, skip[0], skip[1]];
                        let results = run([x, w, d], types, skip);
                        for (i, result) in results.iter().enumerate() {
                            let want = if is_left_out[i] { Vec::new() } else { exact[i].wide() };
                            assert_eq!(*result, Buffer::new(&want, of[i]));
                        }
                    }
                }
            }
        });
    }
}
