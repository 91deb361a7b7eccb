//! Operands and results of every float type, mixed, and quantized weights.

use crossloom_ir::DType;
use crossloom_ir::op::{
    AgfInject, AgfInjectGrad, Argmax, AttnPool, AttnPoolGrad, CacheWrite, Convert, CrossEntropy,
    CrossEntropyGrad, Embedding, GatherRows, LayerNorm, LayerNormGrad, Linear, Matmul, Reduce, ReduceKind,
    RmsNorm, RmsNormGrad, Rope, ScatterMode, ScatterRows, Softmax, ToFloat,
};

use crate::support::{Operand, agree, case, floats, given, ints, quantized};

const NARROW: [DType; 2] = [DType::Bf16, DType::F16];
const QUANTIZED: [DType; 5] = [DType::Q8_0, DType::Q4_0, DType::Q4_1, DType::Q4K, DType::Q6K];

#[test]
fn rows() {
    let mut cases = Vec::new();
    // A warp for a row and a block for a row, with columns one by one, by four and by eight.
    for shape in [[1, 70, 33], [1, 3, 128], [2, 3, 256], [2, 2, 2056]] {
        let (cols, lead) = (shape[2], &shape[..2]);
        for dtype in NARROW {
            let name = |op: &str| format!("{op} of {shape:?} {dtype}");
            let x = || floats(&shape, 1).rounded(dtype);
            let (gamma, beta) = (floats(&[cols], 3).rounded(dtype), floats(&[cols], 4));
            let (mean, rstd) = (floats(lead, 7), floats(lead, 8).map(|x| x.abs() + 0.5));
            let some = [dtype, DType::F32];
            let norm = case(name("rms_norm"), RmsNorm { eps: 0.1 }, vec![x(), gamma.clone()]);
            cases.push(norm.within(2e-5).results(&some));
            let norm = case(name("layer_norm"), LayerNorm { eps: 0.1 }, vec![x(), gamma.clone(), beta]);
            cases.push(norm.within(2e-5).results(&some));
            let dy = || floats(&shape, 5).rounded(dtype);
            let operands = vec![dy(), x(), gamma.clone(), rstd.clone(), floats(&shape, 6)];
            cases.push(case(name("rms_norm_grad"), RmsNormGrad { residual: true }, operands));
            let operands = vec![dy(), x(), gamma, mean, rstd];
            let grad = case(name("layer_norm_grad"), LayerNormGrad { residual: false }, operands);
            cases.push(grad.results(&some));
            cases.push(case(name("softmax"), Softmax, vec![x()]).results(&[dtype]));
            cases.push(case(name("argmax"), Argmax, vec![x()]));
            for axes in [vec![2], vec![0, 1], vec![1]] {
                let op = Reduce { kind: ReduceKind::Sum, axes };
                cases.push(case(name("sum"), op, vec![x()]).within(1e-5).results(&[dtype]));
            }
            let (rows, targets) = (shape[0] * shape[1], |r: usize| (r * 7 % cols) as i32);
            let logits = || floats(&[rows, cols], 2).rounded(dtype);
            let targets = ints(&[rows], (0..rows).map(targets));
            cases.push(case(name("loss"), CrossEntropy, vec![logits(), targets.clone()]));
            let operands = vec![floats(&[], 4), logits(), targets, floats(&[rows], 3).map(|x| x + 9.0)];
            cases.push(
                case(name("loss backwards"), CrossEntropyGrad, operands).within(1e-5).results(&[dtype]),
            );
        }
    }
    agree(&cases);
}

#[test]
fn rows_by_index_and_positions() {
    let mut cases = Vec::new();
    for dtype in NARROW {
        let table = || floats(&[6, 40], 1).rounded(dtype);
        cases.push(case("embedding", Embedding, vec![table(), ints(&[3], [0, 5, 3])]).results(&[dtype]));
        let h = || floats(&[2, 5, 40], 3).rounded(dtype);
        let index = || ints(&[2, 3], [0, -1, 4, 2, 1, 3]);
        cases.push(case("gather_rows", GatherRows, vec![h(), index()]).results(&[dtype]));
        let rows = floats(&[2, 3, 40], 4).rounded(dtype);
        let set = ScatterRows { mode: ScatterMode::Set };
        cases.push(case("scatter_rows", set, vec![h(), index(), rows.clone()]).results(&[dtype]));
        cases.push(case(
            "scatter_rows add",
            ScatterRows { mode: ScatterMode::Add },
            vec![h(), index(), rows],
        ));
        let op = Rope { head_dim: 32, theta: 1e4, inverse: false, sections: None };
        let operands = vec![floats(&[2, 3, 96], 1).rounded(dtype), ints(&[2, 3], (0..6).map(|i| i * 31))];
        cases.push(case("rope", op, operands).results(&[dtype]));
        let cache = floats(&[3, 5, 6], 1).rounded(dtype);
        let rows = floats(&[2, 2, 6], 2).rounded(dtype);
        let place = [ints(&[2], [2, 0]), ints(&[2], [1, 3]), ints(&[2], [2, 1])];
        let operands = [vec![cache, rows], place.to_vec()].concat();
        cases.push(case("cache_write", CacheWrite, operands).results(&[dtype]));
    }
    // As many rows as let a thread turn several heads.
    let op = Rope { head_dim: 32, theta: 1e4, inverse: true, sections: None };
    let positions = ints(&[2, 150], (0..300).map(|i| i * 7));
    cases.push(case("rope of many rows", op, vec![floats(&[2, 150, 96], 1), positions]));
    for dtype in QUANTIZED {
        let table = quantized(&[6, 512], dtype, 1);
        let ids = ints(&[3], [0, 5, 3]);
        cases.push(case(format!("embedding {dtype}"), Embedding, vec![table.clone(), ids]));
    }
    agree(&cases);
}

#[test]
fn injection() {
    let mut cases = Vec::new();
    for (cols, channel, convex) in
        [(33, false, true), (256, false, false), (256, true, true), (128, true, false)]
    {
        let name = format!("{cols} {channel} {convex}");
        let gate_shape = if channel { vec![2, 3, cols] } else { vec![2, 3] };
        let (h, v) = (floats(&[2, 6, cols], 1), floats(&[3, 2, 4, cols], 2).narrow());
        let (gate, index) = (floats(&gate_shape, 3), ints(&[2, 4], [5, 0, -1, 2, 1, 3, 4, 0]));
        let operands = vec![h.clone(), gate.clone(), v.clone(), index.clone()];
        cases.push(case(name.clone(), AgfInject { convex, channel }, operands.clone()));
        cases.push(case(name.clone(), AgfInject { convex, channel }, operands).narrow());
        let mut operands = vec![floats(&[2, 6, cols], 4).narrow(), gate, v, index];
        operands.extend(convex.then_some(h));
        let grad = case(format!("{name} backwards"), AgfInjectGrad { convex, channel }, operands);
        cases.push(grad.within(1e-5).results(&[DType::Bf16, DType::F32]));
        let (x, w) = (floats(&[2, 5, cols], 5).narrow(), floats(&[3, cols], 6).narrow());
        let mask = given(&[2, 5], &[1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]).narrow();
        let pool = AttnPool { scale: 0.1, masked: true };
        let pool = case(format!("pool {cols}"), pool, vec![x.clone(), w.clone(), mask]);
        cases.push(pool.within(1e-5).results(&[DType::Bf16, DType::F32]));
        let probs = floats(&[2, 3, 5], 7).map(|x| x.abs() / 5.0);
        let operands = vec![floats(&[2, 3, cols], 8).narrow(), x, w, probs];
        let grad = case(format!("pool {cols} backwards"), AttnPoolGrad { scale: 0.1 }, operands);
        cases.push(grad.within(1e-5).results(&[DType::Bf16, DType::F32]));
    }
    agree(&cases);
}

/// One row to a tile full of them: streamed weights and tiles.
#[test]
fn products_with_weights_of_every_type() {
    let mut cases = Vec::new();
    let weights = |dtype: DType, shape: &[usize], seed| match dtype {
        dtype if dtype.is_quantized() => quantized(shape, dtype, seed),
        dtype => floats(shape, seed).rounded(dtype),
    };
    let types = [&[DType::F32, DType::Bf16, DType::F16], &QUANTIZED[..]].concat();
    for dtype in types {
        for (m, n) in [(1, 9), (3, 40), (8, 7), (9, 66)] {
            let (x, w) = (floats(&[m, 512], 1), weights(dtype, &[n, 512], 2));
            let name = format!("{m} x {n} {dtype}");
            let bias = Linear { bias: true, act: None, residual: true };
            let operands = vec![x.clone(), w.clone(), floats(&[n], 3), floats(&[m, n], 4)];
            cases.push(case(name.clone(), bias, operands).within(2e-5));
            let plain = Linear::default();
            cases.push(case(format!("{name} narrow"), plain, vec![x.narrow(), w]).within(2e-5).narrow());
        }
        let b = weights(dtype, &[512, 512], 5);
        let op = Matmul { transpose_a: false, transpose_b: false };
        cases.push(case(format!("matmul {dtype}"), op, vec![floats(&[5, 512], 6), b]).within(2e-5));
    }
    agree(&cases);
}

#[test]
fn conversions() {
    // Subnormal numbers, ties, the largest number and beyond.
    let edges = [0.0, -0.0, 1.0, 3.0e-8, 5.9e-8, 9.0e-8, -6.1e-5, 6.0e-5, 65504.0, 65519.0, 65520.0, -1e9];
    let more = [1.0 + 1.0 / 2048.0, 1.0 + 3.0 / 2048.0, f32::INFINITY, f32::NAN, 2049.0, 2051.0, 0.33, -0.1];
    let all: Operand = given(&[20], &[&edges[..], &more].concat());
    let mut cases = vec![case("to f16", Convert, vec![all.clone()]).results(&[DType::F16])];
    cases.push(case("from f16", Convert, vec![all.clone().rounded(DType::F16)]));
    cases.push(case("f16 to bf16", Convert, vec![all.rounded(DType::F16)]).narrow());
    cases.push(case("whole numbers", ToFloat, vec![ints(&[3], [-4, 0, 1 << 24])]));
    agree(&cases);
}
