//! Speed of the kernels at the sizes of the quickstart models: encoder of 4 blocks, 96 wide, 64 tokens; decoder of 3
//! layers, 96 wide, 160 positions; batch 16.
//!
//! "items" are floating-point operations (Gitem/s is GFLOP/s), bytes are those that must move. `CROSSLOOM_THREADS`
//! sets the number of threads. The first group is the roofline: a large product of the `gemm` crate, and `memcpy`.

#![allow(clippy::wildcard_imports, reason = "benches use nearly every kernel")]

use crossloom_cpu::kernels::*;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};

fn main() {
    let threads = std::env::var("CROSSLOOM_THREADS").ok().and_then(|t| t.parse().ok()).unwrap_or(0);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    // Run on a thread of the pool, as the executor does.
    if let Ok(pool) = pool {
        pool.install(divan::main);
    }
}

/// Values that are neither all equal nor special.
fn data(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919) % 1000) as f32 / 1000.0 - 0.4).collect()
}

/// The same in `bf16`.
fn narrow(x: &[f32]) -> Vec<half::bf16> {
    x.iter().map(|x| half::bf16::from_f32(*x)).collect()
}

/// Runs a kernel that cannot fail on the shapes given here.
fn run(result: Result<(), KernelError>) {
    if let Err(error) = result {
        panic!("{error}");
    }
}

mod roofline {
    use super::*;

    #[divan::bench]
    fn gemm_crate_1024(bencher: Bencher<'_, '_>) {
        let n = 1024;
        let (a, b, mut c) = (data(n * n), data(n * n), data(n * n));
        bencher.counter(ItemsCount::new(2 * n * n * n)).bench_local(|| {
            let s = n as isize;
            // SAFETY: three contiguous matrices of `n * n` values.
            unsafe {
                gemm::gemm(
                    n,
                    n,
                    n,
                    c.as_mut_ptr(),
                    1,
                    s,
                    false,
                    a.as_ptr(),
                    1,
                    s,
                    b.as_ptr(),
                    1,
                    s,
                    0.0,
                    1.0,
                    false,
                    false,
                    false,
                    gemm::Parallelism::Rayon(0),
                );
            }
        });
    }

    #[divan::bench(args = [1 << 16, 1 << 20, 1 << 24])]
    fn copy(bencher: Bencher<'_, '_>, n: usize) {
        let (x, mut y) = (data(n), data(n));
        // A program without steps.
        let Ok(copy) = Program::new(vec![Broadcast::Full], vec![], vec![0]) else { return };
        bencher
            .counter(BytesCount::new(8 * n))
            .bench_local(|| run(copy.run_slices(1, n, &[(&x[..]).into()], &mut [(&mut y[..]).into()])));
    }
}

/// All products of a token of SmolLM2-135M, as in decoding: every weight is read once, and comes from memory.
mod token {
    use super::*;
    use crossloom_ir::DType;

    const LAYERS: usize = 30;
    /// Columns and depth: query, key, value, output, gate, up, down.
    const LAYER: [(usize, usize); 7] =
        [(576, 576), (192, 576), (192, 576), (576, 576), (1536, 576), (1536, 576), (576, 1536)];
    const LOGITS: (usize, usize) = (49152, 576);
    const TYPES: [DType; 5] = [DType::F32, DType::Bf16, DType::Q8_0, DType::Q4_0, DType::Q4_1];

    /// Bytes of weights of that type, none of which is a number that is not finite.
    fn weights(dtype: DType) -> Vec<u32> {
        let numbers: usize = (0..LAYERS).flat_map(|_| LAYER).chain([LOGITS]).map(|(n, k)| n * k).sum();
        (0..dtype.bytes_of(numbers) / 4)
            .map(|i| 0x3c00_3c00 | (i as u32).wrapping_mul(0x9e37_79b1) & 0xff_00ff)
            .collect()
    }

    #[divan::bench(args = TYPES, consts = [1, 8])]
    fn products<const ROWS: usize>(bencher: Bencher<'_, '_>, dtype: DType) {
        let weights = weights(dtype);
        let bytes: &[u8] = bytemuck::cast_slice(&weights);
        let x = data(ROWS * 1536);
        let narrow_x = narrow(&x);
        let (mut y, mut scratch) = (vec![0.0_f32; ROWS * LOGITS.0], vec![0.0; 3 << 20]);
        bencher.counter(BytesCount::new(bytes.len())).bench_local(|| {
            let mut rest = bytes;
            for (n, k) in (0..LAYERS).flat_map(|_| LAYER).chain([LOGITS]) {
                let (w, behind) = rest.split_at(dtype.bytes_of(n * k));
                rest = behind;
                let p = Gemm::nt(ROWS, n, k);
                run(match dtype {
                    DType::F32 => {
                        let w: &[f32] = bytemuck::cast_slice(w);
                        gemm(&p, &x, w, &mut y, Epilogue::None, &mut scratch)
                    }
                    DType::Bf16 => {
                        let w: &[half::bf16] = bytemuck::cast_slice(w);
                        gemm(&p, &narrow_x, w, &mut y, Epilogue::None, &mut scratch)
                    }
                    _ => {
                        gemm_blocks(&p, &x, Blocks { dtype, bytes: w }, &mut y, Epilogue::None, &mut scratch)
                    }
                });
            }
        });
    }
}

mod products {
    use super::*;

    const SIZES: [(char, usize, usize, usize); 12] = [
        ('f', 1024, 288, 96),
        ('f', 1024, 96, 96),
        ('f', 1024, 384, 96),
        ('f', 1024, 96, 384),
        ('f', 2560, 192, 96),
        ('f', 2560, 512, 96),
        ('f', 2560, 96, 256),
        ('x', 1024, 96, 384),
        ('x', 2560, 96, 512),
        ('w', 384, 96, 1024),
        ('w', 96, 384, 1024),
        ('w', 288, 96, 2560),
    ];

    fn shape((kind, m, n, k): (char, usize, usize, usize)) -> Gemm {
        match kind {
            'f' => Gemm::nt(m, n, k),
            'x' => Gemm::nn(m, n, k),
            _ => Gemm::tn(m, n, k),
        }
    }

    /// `f`orward, gradient of the input `x`, gradient of the `w`eight.
    #[divan::bench(args = SIZES.map(|s| format!("{} {} {} {}", s.0, s.1, s.2, s.3)))]
    fn plain(bencher: Bencher<'_, '_>, name: &str) {
        let Some(size) = SIZES.into_iter().find(|s| format!("{} {} {} {}", s.0, s.1, s.2, s.3) == name)
        else {
            return;
        };
        let p = shape(size);
        let (a, b, mut c) = (data(p.m * p.k), data(p.n * p.k), data(p.m * p.n));
        let mut scratch = data(p.scratch_len());
        bencher
            .counter(ItemsCount::new(p.flops()))
            .bench_local(|| run(gemm(&p, &a, &b, &mut c, Epilogue::None, &mut scratch)));
    }

    /// A square product in both types.
    #[divan::bench(args = ["f32", "bf16"])]
    fn square_1024(bencher: Bencher<'_, '_>, name: &str) {
        let p = Gemm::nt(1024, 1024, 1024);
        let (a, b) = (data(1 << 20), data(1 << 20));
        let (low_a, low_b) = (narrow(&a), narrow(&b));
        let (mut c, mut low_c) = (data(1 << 20), narrow(&a));
        let mut scratch = data(p.scratch_len());
        bencher.counter(ItemsCount::new(p.flops())).bench_local(|| {
            if name == "f32" {
                run(gemm(&p, &a, &b, &mut c, Epilogue::None, &mut scratch));
            } else {
                run(gemm(&p, &low_a, &low_b, &mut low_c, Epilogue::None, &mut scratch));
            }
        });
    }

    /// One row by a weight, as in decoding, and the rows at which tiles take over: bytes of the weight.
    #[divan::bench(args = ["1 f32", "1 bf16", "8 f32", "8 bf16", "13 f32"])]
    fn decode_4096(bencher: Bencher<'_, '_>, name: &str) {
        let Some((m, kind)) = name.split_once(' ').and_then(|(m, kind)| Some((m.parse().ok()?, kind))) else {
            return;
        };
        let p = Gemm::nt(m, 4096, 4096);
        let (x, w, mut y) = (data(m * 4096), data(1 << 24), data(m * 4096));
        let (low_x, low_w) = (narrow(&x), narrow(&w));
        let mut scratch = data(p.scratch_len());
        let bytes = (if kind == "f32" { 4 } else { 2 }) << 24;
        bencher.counter(BytesCount::new(bytes as usize)).bench_local(|| {
            if kind == "f32" {
                run(gemm(&p, &x, &w, &mut y, Epilogue::None, &mut scratch));
            } else {
                run(gemm(&p, &low_x, &low_w, &mut y, Epilogue::None, &mut scratch));
            }
        });
    }

    #[divan::bench(args = ["bias", "residual", "gelu"])]
    fn epilogue_1024_384_96(bencher: Bencher<'_, '_>, name: &str) {
        let p = Gemm::nt(1024, 384, 96);
        let (a, b, mut c) = (data(p.m * p.k), data(p.n * p.k), data(p.m * p.n));
        let (bias, other, mut pre) = (data(p.n), data(p.m * p.n), data(p.m * p.n));
        let mut scratch = data(p.scratch_len());
        let activation = Activation::GeluTanh;
        bencher.counter(ItemsCount::new(p.flops())).bench_local(|| {
            let epilogue = match name {
                "bias" => Epilogue::Bias(bias[..].into()),
                "residual" => Epilogue::Residual { bias: Some(bias[..].into()), residual: other[..].into() },
                _ => Epilogue::Activation {
                    bias: Some(bias[..].into()),
                    activation,
                    pre: Some(pre[..].as_mut().into()),
                },
            };
            run(gemm(&p, &a, &b, &mut c, epilogue, &mut scratch));
        });
    }
}

mod attend {
    use super::*;

    /// Encoder (full), decoder (causal), decoder with packed questions, a longer row.
    const CASES: [&str; 4] = ["encoder", "decoder", "decoder_packed", "long_1024"];

    fn case(name: &str) -> (Attention, Option<Vec<i32>>) {
        let base = Attention {
            batch: 16,
            q_len: 64,
            k_len: 64,
            heads: 4,
            kv_heads: 4,
            head_dim: 24,
            scale: 0.2,
            causal: false,
        };
        match name {
            "encoder" => (base, None),
            "long_1024" => {
                let long =
                    Attention { batch: 1, q_len: 1024, k_len: 1024, head_dim: 64, causal: true, ..base };
                (long, None)
            }
            _ => {
                let p = Attention { q_len: 160, k_len: 160, causal: true, ..base };
                let row: Vec<i32> = (0..160).map(|t| if t < 64 { 0 } else { (t - 64) / 12 + 1 }).collect();
                (p, (name == "decoder_packed").then(|| row.repeat(16)))
            }
        }
    }

    #[divan::bench(args = CASES)]
    fn forward(bencher: Bencher<'_, '_>, name: &str) {
        let (p, segments) = case(name);
        let (rows, cols) = (p.batch * p.q_len, p.heads * p.head_dim);
        let qkv = data(rows * 3 * cols);
        let (mut o, mut lse) = (data(rows * cols), data(rows * p.heads));
        let mut scratch = data(p.scratch_len());
        bencher.counter(ItemsCount::new(p.flops())).bench_local(|| {
            let [q, k, v] = [0, 1, 2].map(|i| Mat::columns(&qkv, rows, 3 * cols, i * cols, cols));
            let (Ok(q), Ok(k), Ok(v), Ok(o)) = (q, k, v, MatMut::new(&mut o, rows, cols)) else { return };
            run(attention(&p, q, k, v, segments.as_deref(), o, &mut lse, &mut scratch));
        });
    }

    #[divan::bench(args = CASES)]
    fn backward(bencher: Bencher<'_, '_>, name: &str) {
        let (p, segments) = case(name);
        let (rows, cols) = (p.batch * p.q_len, p.heads * p.head_dim);
        let qkv = data(rows * 3 * cols);
        let (mut dq, mut dk, mut dv) = (data(rows * cols), data(rows * cols), data(rows * cols));
        let (o, d_out, lse) = (data(rows * cols), data(rows * cols), vec![4.0; rows * p.heads]);
        let mut scratch = data(p.grad_scratch_len(false));
        bencher.counter(ItemsCount::new(p.flops() * 5 / 2)).bench_local(|| {
            let [q, k, v] = [0, 1, 2].map(|i| Mat::columns(&qkv, rows, 3 * cols, i * cols, cols));
            let (o, d_out) = (Mat::new(&o, rows, cols), Mat::new(&d_out, rows, cols));
            let (Ok(q), Ok(k), Ok(v), Ok(o), Ok(d_out)) = (q, k, v, o, d_out) else { return };
            let grads =
                [&mut dq, &mut dk, &mut dv].map(|grad| FloatMatMut::wanted(&mut grad[..], rows, cols));
            let [Ok(dq), Ok(dk), Ok(dv)] = grads else { return };
            run(attention_grad(&p, q, k, v, segments.as_deref(), o, &lse, d_out, dq, dk, dv, &mut scratch));
        });
    }
}

mod rows {
    use super::*;

    const ROWS: usize = 2560;
    const COLS: usize = 96;
    const N: usize = ROWS * COLS;

    #[divan::bench]
    fn add_layer_norm(bencher: Bencher<'_, '_>) {
        let (x, r, g) = (data(N), data(N), data(COLS));
        let (mut s, mut y, mut m, mut d) = (data(N), data(N), data(ROWS), data(ROWS));
        bencher.counter(BytesCount::new(16 * N)).bench_local(|| {
            run(super::add_layer_norm(
                ROWS,
                COLS,
                1e-5,
                Some(&x),
                &r,
                &g,
                &g,
                &mut s,
                &mut y,
                &mut m,
                &mut d,
            ));
        });
    }

    #[divan::bench]
    fn layer_norm_grad(bencher: Bencher<'_, '_>) {
        let (x, dy, g, mean, rstd) = (data(N), data(N), data(COLS), data(ROWS), data(ROWS));
        let (mut dx, mut dg, mut db) = (data(N), data(COLS), data(COLS));
        let mut scratch = data(norm_grad_scratch_len(ROWS, COLS, 2));
        bencher.counter(BytesCount::new(16 * N)).bench_local(|| {
            let incoming = Incoming::Add(&dy);
            run(super::layer_norm_grad(
                ROWS,
                COLS,
                &x,
                &g,
                &mean,
                &rstd,
                &dy,
                incoming,
                &mut dx,
                &mut dg,
                &mut db,
                &mut scratch,
            ));
        });
    }

    #[divan::bench]
    fn add_rms_norm(bencher: Bencher<'_, '_>) {
        let (x, r, g) = (data(N), data(N), data(COLS));
        let (mut s, mut y, mut d) = (data(N), data(N), data(ROWS));
        bencher.counter(BytesCount::new(16 * N)).bench_local(|| {
            run(super::add_rms_norm(ROWS, COLS, 1e-5, Some(&x), &r, &g, &mut s, &mut y, &mut d));
        });
    }

    #[divan::bench]
    fn rms_norm_grad(bencher: Bencher<'_, '_>) {
        let (x, dy, g, rstd) = (data(N), data(N), data(COLS), data(ROWS));
        let (mut dx, mut dg) = (data(N), data(COLS));
        let mut scratch = data(norm_grad_scratch_len(ROWS, COLS, 1));
        bencher.counter(BytesCount::new(16 * N)).bench_local(|| {
            let incoming = Incoming::Add(&dy);
            run(super::rms_norm_grad(
                ROWS,
                COLS,
                &x,
                &g,
                &rstd,
                &dy,
                incoming,
                &mut dx,
                &mut dg,
                &mut scratch,
            ));
        });
    }

    #[divan::bench]
    fn rope_merged_qkv(bencher: Bencher<'_, '_>) {
        let mut qkv = data(ROWS * 3 * COLS);
        let (mut cos, mut sin) = (data(160 * 12), data(160 * 12));
        run(rope_table(160, 24, 1e4, &mut cos, &mut sin));
        let positions: Vec<i32> = (0..ROWS as i32).map(|i| i % 160).collect();
        bencher.counter(BytesCount::new(16 * N)).bench_local(|| {
            let table = RopeTable { head_dim: 24, cos: &cos, sin: &sin };
            // Queries and keys lie side by side, and turn alike.
            let Ok(qk) = MatMut::columns(&mut qkv, ROWS, 3 * COLS, 0, 2 * COLS) else { return };
            run(rope_in_place(qk, &positions, table, false));
        });
    }

    #[divan::bench]
    fn sum_rows(bencher: Bencher<'_, '_>) {
        let (x, mut out) = (data(N), data(COLS));
        let mut scratch = data(sum_rows_scratch_len(ROWS, COLS));
        bencher
            .counter(BytesCount::new(4 * N))
            .bench_local(|| run(super::sum_rows(ROWS, COLS, &x, &mut out, &mut scratch)));
    }

    #[divan::bench]
    fn cross_entropy_and_grad(bencher: Bencher<'_, '_>) {
        let (rows, classes) = (256, 60);
        let (x, mut lse, mut losses) = (data(rows * classes), data(rows), data(rows));
        let mut d = data(rows * classes);
        let targets: Vec<i32> = (0..rows as i32).map(|i| i % 60).collect();
        bencher.counter(BytesCount::new(12 * rows * classes)).bench_local(|| {
            let loss = super::cross_entropy(rows, classes, &x, &targets, &mut lse, &mut losses);
            run(cross_entropy_grad(rows, classes, 1.0, Some(&x), &targets, &lse, &mut d));
            loss
        });
    }
}

mod flat {
    use super::*;

    const ROWS: usize = 2560;
    const COLS: usize = 256;
    const N: usize = ROWS * COLS;

    #[divan::bench(args = ["gelu_tanh", "gelu_erf", "quick_gelu", "silu", "exp", "tanh"])]
    fn unary(bencher: Bencher<'_, '_>, name: &str) {
        let (x, mut y) = (data(N), data(N));
        let op = match name {
            "gelu_tanh" => UnaryOp::Act(Activation::GeluTanh),
            "gelu_erf" => UnaryOp::Act(Activation::GeluErf),
            "quick_gelu" => UnaryOp::Act(Activation::QuickGelu),
            "silu" => UnaryOp::Act(Activation::Silu),
            "exp" => UnaryOp::Exp,
            _ => UnaryOp::Tanh,
        };
        let Ok(program) = Program::new(vec![Broadcast::Full], vec![Step::Unary(op, 0)], vec![1]) else {
            return;
        };
        bencher.counter(BytesCount::new(8 * N)).bench_local(|| {
            run(program.run_slices(ROWS, COLS, &[(&x[..]).into()], &mut [(&mut y[..]).into()]));
        });
    }

    #[divan::bench]
    fn elementwise_mul_add_row_silu(bencher: Bencher<'_, '_>) {
        let (x, row, y) = (data(N), data(COLS), data(N));
        let mut out = data(N);
        let program = Program::new(
            vec![Broadcast::Full, Broadcast::Row, Broadcast::Full],
            vec![
                Step::Binary(BinaryOp::Mul, 0, 1),
                Step::Binary(BinaryOp::Add, 3, 2),
                Step::Unary(UnaryOp::Act(Activation::Silu), 4),
            ],
            vec![5],
        );
        let Ok(program) = program else { return };
        bencher.counter(BytesCount::new(12 * N)).bench_local(|| {
            let from = [&x, &row, &y].map(|x| (&x[..]).into());
            run(program.run_slices(ROWS, COLS, &from, &mut [(&mut out[..]).into()]));
        });
    }

    #[divan::bench]
    fn adamw_1m(bencher: Bencher<'_, '_>) {
        let n = 1 << 20;
        let (mut p, mut m, mut v, g) = (data(n), vec![0.0; n], vec![0.0; n], data(n));
        let constants = AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 };
        let step = AdamWStep { rate: 1e-3, correction1: 1.0, correction2: 1.0 };
        bencher
            .counter(BytesCount::new(28 * n))
            .bench_local(|| run(adamw(&constants, &step, &1.0, &mut p, &mut m, &mut v, &g)));
    }

    #[divan::bench]
    fn sum_squares_1m(bencher: Bencher<'_, '_>) {
        let x = data(1 << 20);
        bencher.counter(BytesCount::new(4 * x.len())).bench_local(|| sum_squares(&x));
    }
}

mod grids {
    use super::*;

    /// The four grids of an encoder of 24 by 24 patches, read by as many queries.
    fn operands() -> (DeformableAttention, [Vec<f32>; 3]) {
        let p = DeformableAttention {
            batch: 1,
            queries: 576,
            heads: 16,
            head_dim: 64,
            points: 4,
            sides: vec![24; 4],
        };
        let points = 576 * 16 * 4 * 4;
        let places = (0..2 * points).map(|i| (i * 7919 % 1000) as f32 / 1000.0).collect();
        (p, [data(4 * 576 * 1024), places, data(points)])
    }

    /// Operations of 147 456 points.
    #[divan::bench]
    fn deformable_attention(bencher: Bencher<'_, '_>) {
        let (p, [values, places, weights]) = operands();
        let mut out = data(576 * 1024);
        bencher.counter(ItemsCount::new(147_456 * 8 * 64_usize)).bench_local(|| {
            let (v, l, w) = (&values[..], &places[..], &weights[..]);
            run(super::deformable_attention(&p, v, l, w, &mut out[..], &mut []));
        });
    }

    #[divan::bench]
    fn deformable_attention_grad(bencher: Bencher<'_, '_>) {
        let (p, operands) = operands();
        let (d_out, mut grads) = (data(576 * 1024), operands.clone());
        bencher.counter(ItemsCount::new(147_456 * 16 * 64_usize)).bench_local(|| {
            let from = operands.each_ref().map(|x| (&x[..]).into());
            let to = grads.each_mut().map(|x| (&mut x[..]).into());
            run(super::deformable_attention_grad(&p, &d_out[..], from, to, &mut []));
        });
    }
}

mod mixing {
    use super::*;

    /// A base and four tiles of 27 by 27 patches, 896 wide, whose tokens between patches are made of four.
    fn operands() -> (MixRows, Vec<i32>, Vec<f32>) {
        let p = MixRows { taps: 1, rows: 5 * 729, cols: 896, tokens: 2943, parts: 4 };
        let named = (0..2943 * 4).map(|i| (i / 4 + i % 2 + 27 * (i % 4 / 2)) % 3646).collect();
        (p, named, vec![0.25; 2943 * 4])
    }

    #[divan::bench]
    fn mix_rows(bencher: Bencher<'_, '_>) {
        let (p, named, weights) = operands();
        let (features, end, mut y) = (data(p.rows * p.cols), data(p.cols), data(p.tokens * p.cols));
        bencher.counter(BytesCount::new(8 * p.tokens * p.cols)).bench_local(|| {
            run(super::mix_rows(&p, &features[..], &end, (&named, &weights), &mut y[..]));
        });
    }

    #[divan::bench]
    fn mix_rows_grad(bencher: Bencher<'_, '_>) {
        let (p, named, weights) = operands();
        let (dy, mut features, mut end) = (data(p.tokens * p.cols), data(p.rows * p.cols), data(p.cols));
        bencher.counter(BytesCount::new(8 * p.tokens * p.cols)).bench_local(|| {
            run(super::mix_rows_grad(&p, &dy[..], (&named, &weights), &mut features, &mut end));
        });
    }
}

mod inject {
    use super::*;

    #[divan::bench]
    fn attn_pool(bencher: Bencher<'_, '_>) {
        let p = AttnPool { groups: 64, rows: 64, cols: 96, heads: 6, scale: 0.1 };
        let (x, w) = (data(64 * 64 * 96), data(6 * 96));
        let (mut pooled, mut probs) = (data(64 * 6 * 96), data(64 * 6 * 64));
        let mut scratch = data(p.scratch_len(false));
        bencher.counter(BytesCount::new(4 * x.len())).bench_local(|| {
            let (x, w, pooled) = (&x[..], &w[..], &mut pooled[..]);
            run(super::attn_pool(&p, x, w, None, pooled, &mut probs, &mut scratch));
        });
    }

    #[divan::bench]
    fn attn_pool_grad(bencher: Bencher<'_, '_>) {
        let p = AttnPool { groups: 64, rows: 64, cols: 96, heads: 6, scale: 0.1 };
        let (x, w, d, probs) = (data(64 * 64 * 96), data(6 * 96), data(64 * 6 * 96), data(64 * 6 * 64));
        let (mut dx, mut dw, mut scratch) = (x.clone(), w.clone(), data(p.grad_scratch_len(false)));
        bencher.counter(BytesCount::new(8 * x.len())).bench_local(|| {
            let (d, x, w, dx, dw) = (&d[..], &x[..], &w[..], &mut dx[..], &mut dw[..]);
            run(super::attn_pool_grad(&p, d, x, w, &probs, dx, dw, &mut scratch));
        });
    }

    #[divan::bench]
    fn agf_inject_and_grad(bencher: Bencher<'_, '_>) {
        let p =
            AgfInject { batch: 16, len: 160, tokens: 64, cols: 96, taps: 4, convex: false, channel: false };
        let v = data(4 * 16 * 64 * 96);
        let (mut h, gate, mut dv) = (data(16 * 160 * 96), data(64), v.clone());
        let (mut d_gate, mut scratch) = (gate.clone(), data(p.grad_scratch_len()));
        let index: Vec<i32> = (0..16 * 64).map(|i| i % 64).collect();
        bencher.counter(BytesCount::new(4 * (3 * v.len() + 3 * 16 * 64 * 96))).bench_local(|| {
            let (gate, d_gate) = (&gate[..], &mut d_gate[..]);
            run(agf_inject(&p, &mut h, gate, &v, &index));
            run(agf_inject_grad(&p, &h, None, gate, &v, &index, &mut dv, d_gate, &mut scratch));
        });
    }
}
