//! The injection: pooling by attention, the gated update, and both backwards, in all forms.

use crossloom_ir::DType;
use crossloom_ir::op::{
    Activation, AgfInject, AgfInjectGrad, AgfInjectNorm, AgfInjectNormGrad, AttnPool, AttnPoolGrad,
    LowRankLinear, NormKind,
};

use crate::support::{Operand, agree, case, floats, given, ints, refused};

#[test]
fn pooling() {
    let mut cases = Vec::new();
    for (groups, rows, width, heads) in [(1, 1, 1, 1), (3, 37, 40, 2), (2, 5, 130, 11), (1, 2050, 3, 1)] {
        let scale = 0.4;
        let name = format!("{groups} {rows} {width} {heads}");
        let (x, w) = (floats(&[groups, rows, width], 1), floats(&[heads, width], 2));
        cases.push(case(name.clone(), AttnPool { scale, masked: false }, vec![x.clone(), w.clone()]));
        // Of the first group nothing is kept.
        let mask: Vec<f32> =
            (0..groups * rows).map(|i| f32::from(u8::from(i >= rows && i % 3 != 0))).collect();
        let operands = vec![x.clone(), w.clone(), given(&[groups, rows], &mask)];
        cases.push(case(format!("{name} masked"), AttnPool { scale, masked: true }, operands));
        let probs = floats(&[groups, heads, rows], 3).map(|p| p.abs() / rows as f64);
        let operands = vec![floats(&[groups, heads, width], 4), x, w, probs];
        cases.push(case(format!("{name} backwards"), AttnPoolGrad { scale }, operands).within(1e-5));
    }
    agree(&cases);
}

#[test]
fn the_gated_update() {
    let mut cases = Vec::new();
    for (convex, channel) in [(false, false), (true, false), (false, true), (true, true)] {
        for (taps, samples, tokens, rows, cols) in [(1, 1, 1, 1, 1), (3, 2, 40, 60, 36)] {
            let name = format!("{convex} {channel} {taps} {samples} {tokens} {rows} {cols}");
            let h = floats(&[samples, rows, cols], 1);
            let gate = if channel { vec![samples, taps, cols] } else { vec![samples, taps] };
            let (gate, v) = (floats(&gate, 2), floats(&[taps, samples, tokens, cols], 3));
            let slot = |i: usize| if i % tokens % 5 == 4 { -1 } else { (i % tokens * 7 % rows) as i32 };
            let index = ints(&[samples, tokens], (0..samples * tokens).map(slot));
            let operands = vec![h.clone(), gate.clone(), v.clone(), index.clone()];
            cases.push(case(name.clone(), AgfInject { convex, channel }, operands));
            let mut operands = vec![floats(&[samples, rows, cols], 4), gate, v, index];
            operands.extend(convex.then_some(h));
            cases.push(case(format!("{name} backwards"), AgfInjectGrad { convex, channel }, operands));
        }
    }
    agree(&cases);
    let with = |index: [i32; 4]| {
        let operands =
            vec![floats(&[2, 4, 3], 5), floats(&[2, 1], 6), floats(&[1, 2, 2, 3], 7), ints(&[2, 2], index)];
        case("agf_inject", AgfInject::default(), operands)
    };
    refused(vec![(with([0, 4, 1, -2]), 1, 4), (with([0, 1, 3, 3]), 3, 3)]);
}

/// The update and the norm behind it, in both sweeps: rows of a warp and of a block, features of both widths.
#[test]
fn the_gated_update_and_its_norm() {
    let mut cases = Vec::new();
    for (taps, samples, tokens, rows, cols) in
        [(1, 1, 1, 1, 1), (3, 2, 40, 60, 36), (2, 1, 3, 5, 256), (2, 2, 2, 3, 2056)]
    {
        for (convex, channel) in [(false, false), (true, false), (true, true)] {
            for norm in [NormKind::Rms, NormKind::Layer] {
                let inject = AgfInject { convex, channel };
                let name = format!("{taps} {samples} {tokens} {rows} {cols} {inject:?} {norm:?}");
                let h = floats(&[samples, rows, cols], 1);
                let gate = if channel { vec![samples, taps, cols] } else { vec![samples, taps] };
                let (gate, v) = (floats(&gate, 2), floats(&[taps, samples, tokens, cols], 3));
                let slot = |i: usize| if i % tokens % 5 == 2 { -1 } else { (i % tokens * 7 % rows) as i32 };
                let index = ints(&[samples, tokens], (0..samples * tokens).map(slot));
                let weights = [floats(&[cols], 4), floats(&[cols], 5)];
                let update = [gate, v, index];
                let narrow = |operands: &[Operand; 3]| {
                    let [gate, v, index] = operands.clone();
                    [gate, v.narrow(), index]
                };
                let forward = |update: [Operand; 3]| {
                    let operands = [vec![h.clone()], update.to_vec(), weights[..norm.vectors()].to_vec()];
                    case(name.clone(), AgfInjectNorm { inject, norm, eps: 0.1 }, operands.concat())
                        .within(2e-5)
                };
                cases.push(forward(update.clone()));
                cases.push(forward(narrow(&update)).results(&[DType::F32, DType::Bf16, DType::F32]));
                if channel {
                    continue;
                }
                let shape = [samples, rows, cols];
                let statistics = [floats(&shape[..2], 6), floats(&shape[..2], 7).map(|x| x.abs() + 0.5)];
                let backward = |residual: bool, dy: Operand, update: [Operand; 3]| {
                    let mut operands = vec![dy, floats(&shape, 9), weights[0].clone()];
                    operands.extend_from_slice(&statistics[2 - norm.vectors()..]);
                    operands.extend(residual.then(|| floats(&shape, 10)));
                    operands.extend(update);
                    operands.extend(convex.then(|| h.clone()));
                    let op = AgfInjectNormGrad { inject, norm, residual };
                    case(format!("{name} backwards {residual}"), op, operands).within(2e-5)
                };
                cases.push(backward(false, floats(&shape, 8), update.clone()));
                cases.push(backward(true, floats(&shape, 8).narrow(), narrow(&update)));
            }
        }
    }
    agree(&cases);
    let with = |index: [i32; 4]| {
        let operands = vec![
            floats(&[2, 4, 3], 5),
            floats(&[2, 1], 6),
            floats(&[1, 2, 2, 3], 7),
            ints(&[2, 2], index),
            floats(&[3], 8),
        ];
        case(
            "agf_inject_norm",
            AgfInjectNorm { inject: AgfInject::default(), norm: NormKind::Rms, eps: 0.1 },
            operands,
        )
    };
    refused(vec![(with([0, 4, 1, -2]), 1, 4), (with([0, 1, 3, 3]), 3, 3)]);
}

/// One projector over all taps with a branch for each: tiles that are not full, ranks beyond a step along k, both kinds of kernels.
#[test]
fn a_projector_with_branches() {
    let mut cases = Vec::new();
    for (taps, rows, width, outer, rank) in
        [(1, 1, 1, 1, 1), (3, 5, 40, 9, 8), (2, 70, 33, 66, 40), (4, 64, 128, 64, 16)]
    {
        for (bias, act, scale) in [(true, None, 1.0), (false, Some(Activation::Silu), 0.5)] {
            let mut operands = vec![floats(&[taps * rows, width], 1), floats(&[outer, width], 2)];
            operands.extend(bias.then(|| floats(&[outer], 3)));
            for k in 0..taps as u64 {
                operands.extend([floats(&[rows, rank], 10 + k), floats(&[outer, rank], 20 + k)]);
            }
            let name = format!("{taps} {rows} {width} {outer} {rank}");
            let op = LowRankLinear { taps, bias, act, scale, rounded: DType::F32 };
            cases.push(case(name.clone(), op, operands.clone()).within(1e-5));
            let narrow: Vec<Operand> = operands.into_iter().map(Operand::narrow).collect();
            cases.push(case(format!("{name} narrow"), op, narrow.clone()).within(1e-5).narrow());
            // A branch may round to either neighbour, a part in 256 away.
            let rounded = LowRankLinear { rounded: DType::Bf16, ..op };
            cases.push(case(format!("{name} rounded"), rounded, narrow).within(4e-3));
        }
    }
    agree(&cases);
}
