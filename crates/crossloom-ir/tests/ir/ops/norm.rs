//! Layer norm and RMS norm.

use crossloom_ir::TensorType;
use crossloom_ir::op::{AddLayerNorm, AddRmsNorm, LayerNorm, LayerNormGrad, RmsNorm, RmsNormGrad};
use proptest::prelude::*;

use super::support::{assert_close, assert_complains, between, check, given, outputs, random};

const SHAPES: [&[usize]; 5] = [&[4], &[1, 1], &[3, 5], &[2, 3, 7], &[2, 1, 2, 3]];

#[test]
fn norms_and_their_gradients() {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let seed = seed as u64;
        let d = &shape[shape.len() - 1..];
        let lead = &shape[..shape.len() - 1];
        let (x, r) = (between(shape, -2.0, 2.0, seed), between(shape, -2.0, 2.0, seed + 10));
        let (gamma, beta) = (between(d, 0.5, 1.5, seed + 20), random(d, seed + 30));
        let (dy, ds) = (random(shape, seed + 40), random(shape, seed + 50));
        let (mean, rstd) = (random(lead, seed + 60), between(lead, 0.5, 2.0, seed + 70));
        check(LayerNorm { eps: 0.1 }, &[x.clone(), gamma.clone(), beta.clone()]);
        check(AddLayerNorm { eps: 0.1 }, &[x.clone(), r.clone(), gamma.clone(), beta]);
        check(RmsNorm { eps: 0.1 }, &[x.clone(), gamma.clone()]);
        check(AddRmsNorm { eps: 0.1 }, &[x.clone(), r, gamma.clone()]);
        let layer = [dy.clone(), x.clone(), gamma.clone(), mean, rstd.clone(), ds.clone()];
        check(LayerNormGrad { residual: true }, &layer);
        check(LayerNormGrad { residual: false }, &layer[..5]);
        let rms = [dy, x, gamma, rstd, ds];
        check(RmsNormGrad { residual: true }, &rms);
        check(RmsNormGrad { residual: false }, &rms[..4]);
    }
}

#[test]
fn rms_norm_of_ones_is_gamma() {
    let ones = given(&[1, 4], &[1.0; 4]);
    let gamma = [0.5, -1.0, 2.0, 3.0];
    let y = outputs(RmsNorm { eps: 0.0 }, &[ones, given(&[4], &gamma)]);
    assert_close(&y[0], &gamma, 1e-15);
    assert_close(&y[1], &[1.0], 1e-15);
}

#[test]
fn layer_norm_by_hand() {
    // Mean 2.5, variance 1.25.
    let x = given(&[1, 4], &[1.0, 2.0, 3.0, 4.0]);
    let y = outputs(LayerNorm { eps: 0.0 }, &[x, given(&[4], &[1.0; 4]), given(&[4], &[10.0; 4])]);
    let root = 1.25_f64.sqrt();
    let expected = [-1.5, -0.5, 0.5, 1.5].map(|c| 10.0 + c / root);
    assert_close(&y[0], &expected, 1e-15);
    assert_close(&y[1], &[2.5], 1e-15);
    assert_close(&y[2], &[1.0 / root], 1e-15);
}

#[test]
fn wrong_operands_are_named() {
    let f32 = |shape: &[usize]| TensorType::f32(shape);
    let (x, d) = (f32(&[2, 3]), f32(&[3]));
    let norm = LayerNorm { eps: 1e-5 };
    assert_complains(norm, &[x.clone(), d.clone()], "takes 3 operands (x, gamma, beta), 2 were given");
    assert_complains(norm, &[x.clone(), f32(&[2]), d.clone()], "gamma is f32[2], must be f32[3]");
    assert_complains(
        norm,
        &[f32(&[]), d.clone(), d.clone()],
        "x is f32[], must hold floats under a last axis",
    );
    assert_complains(norm, &[f32(&[2, 0]), f32(&[0]), f32(&[0])], "a last axis that is not empty");
    assert_complains(
        LayerNorm { eps: -1.0 },
        &[x.clone(), d.clone(), d.clone()],
        "`eps` is -1, must not be negative",
    );
    let add = AddLayerNorm { eps: 0.0 };
    assert_complains(add, &[x.clone(), d.clone(), d.clone(), d.clone()], "r is f32[3], must be f32[2, 3]");
    assert_complains(RmsNorm { eps: f64::NAN }, &[x.clone(), d.clone()], "`eps` is NaN");
    assert_complains(AddRmsNorm { eps: 0.0 }, &[x.clone(), x.clone()], "(x, r, gamma), 2 were given");
    let grad = LayerNormGrad { residual: true };
    let stat = f32(&[2]);
    let five = [x.clone(), x.clone(), d.clone(), stat.clone(), stat.clone()];
    assert_complains(grad, &five, "takes 6 operands (dy, x, gamma, mean, rstd, ds), 5 were given");
    let wrong = [x.clone(), x.clone(), d.clone(), d.clone(), stat];
    assert_complains(LayerNormGrad { residual: false }, &wrong, "mean is f32[3], must be f32[2]");
    let wrong = [x.clone(), x.clone(), d.clone(), d];
    assert_complains(RmsNormGrad { residual: false }, &wrong, "rstd is f32[3], must be f32[2]");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_shape(lead in prop::collection::vec(1_usize..4, 0..3), d in 1_usize..6, seed in 0_u64..1000) {
        let mut shape = lead;
        shape.push(d);
        let gamma = between(&[d], 0.5, 1.5, seed + 2);
        check(AddRmsNorm { eps: 0.2 }, &[random(&shape, seed), random(&shape, seed + 1), gamma.clone()]);
        check(LayerNorm { eps: 0.2 }, &[random(&shape, seed), gamma, random(&[d], seed + 3)]);
    }
}
