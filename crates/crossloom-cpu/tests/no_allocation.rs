//! No kernel allocates once its buffers exist.
// The test names nearly every kernel.
#![allow(clippy::unwrap_used, clippy::wildcard_imports)]

#[path = "support/counting.rs"]
mod counting;

use counting::{Counting, counted_pool};
use crossloom_cpu::kernels::*;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of the last of several runs of `f` on the pool.
fn allocations(pool: &rayon::ThreadPool, mut f: impl FnMut() + Send) -> usize {
    pool.install(|| {
        (0..3).for_each(|_| f());
        counting::allocations(f)
    })
}

#[test]
fn kernels_allocate_nothing() {
    let pool = counted_pool(2);
    let ones = |n: usize| vec![0.5_f32; n];
    let check = |name: &str, f: &mut (dyn FnMut() + Send)| assert_eq!(allocations(&pool, f), 0, "{name}");

    for p in [Gemm::nt(600, 288, 96), Gemm::tn(288, 96, 900), Gemm::nn(64, 1200, 1100), Gemm::nt(1, 300, 96)]
    {
        let (a, b, mut c) = (ones(p.m * p.k), ones(p.k * p.n), ones(p.m * p.n));
        let (bias, mut pre, mut scratch) = (ones(p.n), ones(p.m * p.n), ones(p.scratch_len()));
        check("gemm", &mut || {
            let activation = Activation::GeluTanh;
            let epilogue = Epilogue::Activation {
                bias: Some((&bias[..]).into()),
                activation,
                pre: Some((&mut pre[..]).into()),
            };
            gemm(&p, &a, &b, &mut c, epilogue, &mut scratch).unwrap();
        });
    }

    for (batch, kv_heads) in [(8, 2), (1, 2)] {
        let p = Attention {
            batch,
            q_len: 160,
            k_len: 160,
            heads: 4,
            kv_heads,
            head_dim: 24,
            scale: 0.2,
            causal: true,
        };
        let (rows, wide, narrow) = (batch * 160, 96, kv_heads * 24);
        let (q, k, v) = (ones(rows * wide), ones(rows * narrow), ones(rows * narrow));
        let segments = vec![0_i32; rows];
        let (mut o, mut lse) = (ones(rows * wide), ones(rows * 4));
        let (mut dq, mut dk, mut dv) = (q.clone(), k.clone(), v.clone());
        let mut scratch = ones(p.grad_scratch_len(false));
        check("attention", &mut || {
            let (qm, km, vm) = (
                Mat::new(&q, rows, wide).unwrap(),
                Mat::new(&k, rows, narrow).unwrap(),
                Mat::new(&v, rows, narrow).unwrap(),
            );
            let out = MatMut::new(&mut o, rows, wide).unwrap();
            attention(&p, qm, km, vm, Some(&segments), out, &mut lse, &mut scratch).unwrap();
            let out = Mat::new(&o, rows, wide).unwrap();
            attention_grad(
                &p,
                qm,
                km,
                vm,
                Some(&segments),
                out,
                &lse,
                qm,
                FloatMatMut::wanted(&mut dq[..], rows, wide).unwrap(),
                FloatMatMut::wanted(&mut dk[..], rows, narrow).unwrap(),
                FloatMatMut::wanted(&mut dv[..], rows, narrow).unwrap(),
                &mut scratch,
            )
            .unwrap();
        });
    }

    let (rows, cols) = (1000, 96);
    let n = rows * cols;
    let (x, r, g, dy) = (ones(n), ones(n), ones(cols), ones(n));
    let (mut sum, mut y, mut mean, mut rstd) = (ones(n), ones(n), ones(rows), ones(rows));
    let (mut dx, mut dg, mut db) = (ones(n), ones(cols), ones(cols));
    let mut scratch = ones(norm_grad_scratch_len(rows, cols, 2));
    check("layer norm", &mut || {
        add_layer_norm(rows, cols, 1e-5, Some(&x), &r, &g, &g, &mut sum, &mut y, &mut mean, &mut rstd)
            .unwrap();
        layer_norm_grad(
            rows,
            cols,
            &sum,
            &g,
            &mean,
            &rstd,
            &dy,
            Incoming::Add(&r),
            &mut dx,
            &mut dg,
            &mut db,
            &mut scratch,
        )
        .unwrap();
    });
    check("rms norm", &mut || {
        add_rms_norm(rows, cols, 1e-5, Some(&x), &r, &g, &mut sum, &mut y, &mut rstd).unwrap();
        let none = Incoming::None;
        rms_norm_grad(rows, cols, &sum, &g, &rstd, &dy, none, &mut dx, &mut dg, &mut scratch).unwrap();
    });

    let (mut cos, mut sin) = (ones(12 * 200), ones(12 * 200));
    rope_table(200, 24, 1e4, &mut cos, &mut sin).unwrap();
    let positions = vec![7_i32; rows];
    check("rope, softmax", &mut || {
        let table = RopeTable { head_dim: 24, cos: &cos, sin: &sin };
        rope_in_place(MatMut::new(&mut y, rows, cols).unwrap(), &positions, table, false).unwrap();
        softmax(rows, cols, Some(&x), &mut y).unwrap();
    });

    let targets = vec![3_i32; rows];
    let mut losses = ones(rows);
    let mut reduce_scratch = ones(sum_rows_scratch_len(rows, cols));
    let (mut p, mut m, mut v) = (ones(n), ones(n), ones(n));
    check("losses, rows, sums, optimizer, copies", &mut || {
        cross_entropy(rows, cols, &x, &targets, &mut rstd, &mut losses).unwrap();
        cross_entropy_grad(rows, cols, 1.0, Some(&x), &targets, &rstd, &mut dx).unwrap();
        embedding(50, cols, &x, &targets, &mut y).unwrap();
        embedding_grad(50, cols, &dy, &targets, &mut dx).unwrap();
        let shape = Rows { batch: 10, len: 100, count: 20, cols };
        gather_rows(&shape, &x, &targets[..200], &mut y).unwrap();
        scatter_rows(&shape, Scatter::Add, &mut y, &targets[..200], &x).unwrap();
        let mix = MixRows { taps: 2, rows: 400, cols, tokens: 200, parts: 4 };
        let parts = (&targets[..800], &x[..800]);
        mix_rows(&mix, &x, &g, parts, &mut y).unwrap();
        mix_rows_grad(&mix, &dy, parts, &mut dx, &mut dg).unwrap();
        sum_rows(rows, cols, &x, &mut dg, &mut reduce_scratch).unwrap();
        assert!(sum_squares(&x) > 0.0);
        let constants = AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 };
        let step = AdamWStep { rate: 1e-3, correction1: 1.0, correction2: 1.0 };
        adamw(&constants, &step, &1.0, &mut p, &mut m, &mut v, &x).unwrap();
        permute(&[cols, rows], &[1, cols], &x, &mut y).unwrap();
    });

    let grids =
        DeformableAttention { batch: 2, queries: 60, heads: 4, head_dim: 8, points: 4, sides: vec![6, 4] };
    let values = ones(2 * 52 * 32);
    let (places, weights) = (ones(2 * 60 * 4 * 2 * 4 * 2), ones(2 * 60 * 4 * 2 * 4));
    let (mut read, mut d_values, mut d_places, mut d_weights) =
        (ones(2 * 60 * 32), values.clone(), places.clone(), weights.clone());
    check("points of grids", &mut || {
        let operands = [&values[..], &places[..], &weights[..]];
        let [v, l, w] = operands;
        deformable_attention(&grids, v, l, w, &mut read[..], &mut []).unwrap();
        let grads = [&mut d_values[..], &mut d_places[..], &mut d_weights[..]].map(Into::into);
        let operands = operands.map(Into::into);
        deformable_attention_grad(&grids, &read[..], operands, grads, &mut []).unwrap();
    });

    let pool_shape = AttnPool { groups: 16, rows: 100, cols, heads: 6, scale: 0.1 };
    let pool_x = ones(16 * 100 * cols);
    let (w, mut pooled, mut probs) = (ones(6 * cols), ones(16 * 6 * cols), ones(16 * 6 * 100));
    let (mut dw, mut pool_dx) = (ones(6 * cols), pool_x.clone());
    let mut pool_scratch = ones(pool_shape.scratch_len(false).max(pool_shape.grad_scratch_len(false)));
    let d_pooled = ones(16 * 6 * cols);
    let inject = AgfInject { batch: 16, len: 60, tokens: 40, cols, taps: 3, convex: true, channel: false };
    let mut inject_scratch = ones(inject.grad_scratch_len());
    let (mut h, tap, gate) = (ones(16 * 60 * cols), ones(3 * 16 * 40 * cols), ones(16 * 3));
    let (old, mut d_tap, mut d_gate) = (h.clone(), tap.clone(), gate.clone());
    let index: Vec<i32> = (0..16 * 40).map(|i| i % 40).collect();
    let program = Program::new(
        vec![Broadcast::Full, Broadcast::Row, Broadcast::Scalar],
        vec![Step::Binary(BinaryOp::Mul, 0, 1), Step::Unary(UnaryOp::Act(Activation::Silu), 3)],
        vec![4],
    )
    .unwrap();
    check("pooling, injection, element-wise", &mut || {
        let (rows_in, w, s) = (&pool_x[..], &w[..], &mut pool_scratch);
        attn_pool(&pool_shape, rows_in, w, None, &mut pooled[..], &mut probs, s).unwrap();
        let (dx, dw) = (&mut pool_dx[..], &mut dw[..]);
        attn_pool_grad(&pool_shape, &d_pooled[..], rows_in, w, &probs, dx, dw, s).unwrap();
        let (gate, dg, s) = (&gate[..], &mut d_gate[..], &mut inject_scratch);
        agf_inject(&inject, &mut h, gate, &tap, &index).unwrap();
        agf_inject_grad(&inject, &h, Some(&old), gate, &tap, &index, &mut d_tap, dg, s).unwrap();
        agf_inject_state_grad(&inject, &mut h, gate, &index).unwrap();
        let from = [&x[..], &g[..], &[1.0]].map(Into::into);
        program.run_slices(rows, cols, &from, &mut [(&mut y[..]).into()]).unwrap();
    });
}
