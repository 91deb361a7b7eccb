//! Norms, softmax, rows by index, rotary positions, the loss and the optimizer.

use crossloom_ir::op::{
    AdamW, AddLayerNorm, AddRmsNorm, Argmax, CrossEntropy, CrossEntropyGrad, Embedding, EmbeddingGrad,
    GatherRows, GlobalNorm, LayerNorm, LayerNormGrad, LinearCrossEntropy, MixRows, MixRowsGrad, MultiAdamW,
    RmsNorm, RmsNormGrad, Rope, ScatterMode, ScatterRows, Softmax,
};

use crossloom_ir::DType;

use crate::support::{Operand, agree, case, floats, given, ints, refused};

/// Rows, and their width: less than a warp, a warp, more, and so wide that a block works on one row.
const SHAPES: [[usize; 3]; 4] = [[1, 1, 1], [2, 3, 32], [1, 70, 33], [2, 2, 2052]];

#[test]
fn norms() {
    let mut cases = Vec::new();
    for shape in SHAPES {
        let (cols, eps) = (shape[2], 1e-5);
        let lead = &shape[..2];
        let (x, r) = (floats(&shape, 1), floats(&shape, 2));
        let (gamma, beta) = (floats(&[cols], 3), floats(&[cols], 4));
        let (dy, ds) = (floats(&shape, 5), floats(&shape, 6));
        let (mean, rstd) = (floats(lead, 7), floats(lead, 8).map(|x| x.abs() + 0.5));
        let name = |op: &str| format!("{op} of {shape:?}");
        let rms = vec![x.clone(), gamma.clone()];
        cases.push(case(name("rms_norm"), RmsNorm { eps }, rms).within(2e-5));
        let rms = vec![x.clone(), r.clone(), gamma.clone()];
        cases.push(case(name("add_rms_norm"), AddRmsNorm { eps }, rms).within(2e-5));
        let layer = vec![x.clone(), gamma.clone(), beta.clone()];
        cases.push(case(name("layer_norm"), LayerNorm { eps: 0.1 }, layer).within(2e-5));
        let layer = vec![x.clone(), r, gamma.clone(), beta];
        cases.push(case(name("add_layer_norm"), AddLayerNorm { eps: 0.1 }, layer).within(2e-5));
        for residual in [false, true] {
            let mut operands = vec![dy.clone(), x.clone(), gamma.clone(), rstd.clone()];
            operands.extend(residual.then(|| ds.clone()));
            cases.push(case(name("rms_norm_grad"), RmsNormGrad { residual }, operands));
            let mut operands = vec![dy.clone(), x.clone(), gamma.clone(), mean.clone(), rstd.clone()];
            operands.extend(residual.then(|| ds.clone()));
            cases.push(case(name("layer_norm_grad"), LayerNormGrad { residual }, operands));
        }
    }
    agree(&cases);
}

#[test]
fn softmax_argmax_and_loss() {
    let mut cases = Vec::new();
    for shape in SHAPES {
        let x = floats(&shape, 1).map(|x| 10.0 * x);
        cases.push(case(format!("softmax of {shape:?}"), Softmax, vec![x.clone()]));
        cases.push(case(format!("argmax of {shape:?}"), Argmax, vec![x]));
        let (rows, cols) = (shape[0] * shape[1], shape[2]);
        let targets = (0..rows).map(|r| if r % 3 == 2 { -1 } else { (r * 7 % cols) as i32 });
        let (logits, targets) = (floats(&[rows, cols], 2).map(|x| 4.0 * x), ints(&[rows], targets));
        cases.push(case(format!("loss of {shape:?}"), CrossEntropy, vec![logits.clone(), targets.clone()]));
        let lse = floats(&[rows], 3).map(|x| x + 9.0);
        let operands = vec![floats(&[], 4), logits, targets, lse];
        cases.push(case(format!("loss of {shape:?} backwards"), CrossEntropyGrad, operands).within(1e-5));
    }
    let (nan, low) = (f32::NAN, f32::NEG_INFINITY);
    let x = [low, low, low, 3.0, 5.0, 5.0, nan, 9.0, 1.0, 2.0, nan, 2.0, -0.0, 0.0, nan];
    cases.push(case("argmax of edges", Argmax, vec![given(&[5, 3], &x)]));
    let none = vec![floats(&[2, 5], 5), ints(&[2], [-1, -1])];
    cases.push(case("no row has a target", CrossEntropy, none));
    agree(&cases);
    let with = |targets: [i32; 3]| vec![floats(&[3, 5], 6), ints(&[3], targets)];
    let backwards =
        |targets: [i32; 3]| vec![floats(&[], 7), floats(&[3, 5], 6), ints(&[3], targets), floats(&[3], 8)];
    refused(vec![
        (case("loss", CrossEntropy, with([0, 5, -2])), 1, 5),
        (case("loss", CrossEntropy, with([0, -1, -2])), 2, -2),
        (case("loss backwards", CrossEntropyGrad, backwards([9, 5, -2])), 0, 9),
    ]);
}

/// Also with logits of some rows at a time.
#[test]
fn the_output_projection_with_its_loss() {
    let mut cases = Vec::new();
    for (rows, width, classes) in [(1, 1, 1), (5, 12, 33), (70, 40, 65)] {
        for (trained, at_once) in [(false, 64), (true, 64), (true, 1), (true, 3)] {
            let name = format!("{rows} x {width}, {classes} classes, {trained}, {at_once} at once");
            let targets = (0..rows).map(|r| if r % 4 == 3 { -1 } else { (r * 7 % classes) as i32 });
            let (h, w) = (floats(&[rows, width], 2), floats(&[classes, width], 3));
            let operands = vec![floats(&[], 1), h, w, ints(&[rows], targets)];
            let op = LinearCrossEntropy { rounded: DType::F32, trained };
            let wide = case(name.clone(), op, operands.clone()).within(1e-5);
            cases.push(wide.logits(at_once * classes * 4));
            let narrow = |(i, x): (usize, Operand)| if i == 1 || i == 2 { x.narrow() } else { x };
            let narrow = operands.into_iter().enumerate().map(narrow).collect();
            let op = LinearCrossEntropy { rounded: DType::Bf16, trained };
            let narrow = case(format!("{name} narrow"), op, narrow).within(4e-3);
            let narrow = narrow.results(&[DType::F32, DType::F32, DType::Bf16, DType::F32]);
            cases.push(narrow.logits(at_once * classes * 4));
        }
    }
    agree(&cases);
    let operands =
        |targets: [i32; 3]| vec![floats(&[], 1), floats(&[3, 2], 2), floats(&[5, 2], 3), ints(&[3], targets)];
    let op = LinearCrossEntropy { rounded: DType::F32, trained: false };
    refused(vec![(case("one row at a time", op, operands([0, -1, 5])).logits(20), 2, 5)]);
}

#[test]
fn rows_by_index() {
    let mut cases = Vec::new();
    for cols in [1, 40] {
        let table = floats(&[6, cols], 1);
        cases.push(case(
            "embedding",
            Embedding,
            vec![table.clone(), ints(&[2, 4], [0, 5, 3, 3, 1, 0, 2, 5])],
        ));
        let ids = (0..70).map(|i| i * i % 5);
        let operands = vec![floats(&[70, cols], 2), ints(&[70], ids)];
        cases.push(case("embedding_grad", EmbeddingGrad { vocab: 6 }, operands));
        let h = floats(&[2, 50, cols], 3);
        // 40 slots, so that a warp looks twice.
        let index = |distinct: bool| {
            let slot = move |i: i32| match i % 40 {
                0 | 39 => -1,
                slot if distinct => (slot * 7 + i / 40) % 50,
                slot => slot % 3 + 10,
            };
            ints(&[2, 40], (0..80).map(slot))
        };
        cases.push(case("gather_rows", GatherRows, vec![h.clone(), index(false)]));
        for mode in [ScatterMode::Set, ScatterMode::Add] {
            let operands = vec![h.clone(), index(mode == ScatterMode::Set), floats(&[2, 40, cols], 4)];
            cases.push(case(format!("scatter_rows {mode:?}"), ScatterRows { mode }, operands));
        }
    }
    agree(&cases);
    let h = || floats(&[2, 4, 3], 5);
    let scatter = |mode, index: [i32; 4]| {
        case("scatter_rows", ScatterRows { mode }, vec![h(), ints(&[2, 2], index), floats(&[2, 2, 3], 6)])
    };
    refused(vec![
        (case("embedding", Embedding, vec![floats(&[3, 2], 1), ints(&[3], [1, 3, -1])]), 1, 3),
        (
            case("embedding_grad", EmbeddingGrad { vocab: 3 }, vec![floats(&[2, 2], 1), ints(&[2], [2, -1])]),
            1,
            -1,
        ),
        (case("gather_rows", GatherRows, vec![h(), ints(&[2, 2], [0, -1, -2, 7])]), 2, -2),
        (scatter(ScatterMode::Add, [0, 4, 1, -2]), 1, 4),
        (scatter(ScatterMode::Set, [0, 1, 3, 3]), 3, 3),
    ]);
}

/// Taps that are mixed alike, of rows that several tokens share, that none reads, and of the row that all taps share.
#[test]
fn rows_that_are_mixed() {
    let mut cases = Vec::new();
    for (taps, rows, tokens, cols) in [(1, 1, 1, 1), (2, 5, 9, 40), (3, 40, 70, 33)] {
        let named = |i: i32| i * i * 7 % (rows as i32 + 1);
        let parts = 2 * tokens * 4;
        let shape = [2, tokens, 4];
        let at = || ints(&shape, (0..parts as i32).map(named));
        let weights = || {
            let values: Vec<f32> = (0..parts).map(|i| [1.0, 0.0, 0.25, -0.5, 0.0][i % 5]).collect();
            given(&shape, &values)
        };
        let features = floats(&[taps, rows, cols], 1);
        let name = |what: &str| format!("{what} of {rows} rows, {taps} taps");
        let operands = vec![features, floats(&[cols], 2), at(), weights()];
        cases.push(case(name("mix_rows"), MixRows, operands.clone()));
        let narrow = |(i, x): (usize, Operand)| if i == 0 { x.narrow() } else { x };
        let narrow = operands.into_iter().enumerate().map(narrow).collect();
        cases.push(case(name("narrow mix_rows"), MixRows, narrow).within(1e-2).results(&[DType::Bf16]));
        let operands = vec![floats(&[taps, 2, tokens, cols], 3), at(), weights()];
        cases.push(case(name("mix_rows_grad"), MixRowsGrad { rows }, operands));
    }
    agree(&cases);
    let parts = |row: i32| vec![ints(&[1, 2, 2], [0, 3, row, 0]), floats(&[1, 2, 2], 1)];
    let forward = |row| [vec![floats(&[2, 3, 2], 2), floats(&[2], 3)], parts(row)].concat();
    let backward = |row| [vec![floats(&[2, 1, 2, 2], 2)], parts(row)].concat();
    refused(vec![
        (case("mix_rows", MixRows, forward(4)), 2, 4),
        (case("mix_rows_grad", MixRowsGrad { rows: 3 }, backward(-1)), 2, -1),
    ]);
}

#[test]
fn rotary_positions() {
    let mut cases = Vec::new();
    for inverse in [false, true] {
        for sections in [None, Some([2, 1, 1])] {
            let op = Rope { head_dim: 8, theta: 10_000.0, inverse, sections };
            let numbers = if sections.is_some() { 3 } else { 1 };
            let mut shape = vec![2, 3];
            shape.extend(sections.map(|_| 3));
            let positions = ints(&shape, (0..6 * numbers).map(|i| i * i * 37 % 3001));
            cases.push(case(format!("{sections:?}"), op, vec![floats(&[2, 3, 24], 1), positions]));
        }
    }
    let op = Rope { head_dim: 2, theta: 3.0, inverse: false, sections: None };
    cases.push(case("one pair", op, vec![floats(&[1, 1, 2], 2), ints(&[1, 1], [-5])]));
    agree(&cases);
}

#[test]
fn optimizer() {
    let op = AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1 };
    let step = |scale: f32| {
        let shape = [3, 100];
        let moment = floats(&shape, 4).map(f64::abs);
        let hyper = given(&[3], &[1e-3, 10.0, 1000.0]);
        vec![floats(&shape, 1), floats(&shape, 2), floats(&shape, 3), moment, hyper, given(&[], &[scale])]
    };
    let several = MultiAdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: vec![0.1, 0.0, 0.2] };
    let all = |scale: f32| {
        let mut operands = vec![given(&[], &[scale])];
        for (seed, shape) in [&[5000][..], &[], &[2, 2049]].into_iter().enumerate() {
            let seed = 10 * seed as u64;
            operands.extend([floats(shape, seed + 1), floats(shape, seed + 2), floats(shape, seed + 3)]);
            operands.extend([
                floats(shape, seed + 4).map(f64::abs),
                given(&[3], &[1e-3 * (seed + 1) as f32, 10.0, 1000.0]),
            ]);
        }
        operands
    };
    agree(&[
        case("several parameters", several.clone(), all(0.5)),
        case("several parameters stay as they are", several, all(f32::NAN)),
        case("adamw", op, step(0.5)),
        case("adamw leaves all as it is", op, step(f32::NAN)),
        case("adamw leaves all as it is", op, step(f32::INFINITY)),
        case("global_norm", GlobalNorm, vec![floats(&[5], 1), floats(&[40_000], 2), floats(&[], 3)]),
        case("global_norm of large ones", GlobalNorm, vec![given(&[2], &[3e30, 4e30])]),
    ]);
}
