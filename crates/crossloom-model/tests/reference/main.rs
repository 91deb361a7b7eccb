//! Whole models against what Hugging Face's implementations compute from the same folders: configuration, names, tensors,
//! states, logits, loss, gradients and answers.
//!
//! `tests/oracle/make_model_fixtures.py` wrote the fixtures. It ran in double precision, but for the places where those models
//! compute in single precision themselves: the decoders' norms, softmax and rotary angles, positions that are resampled, and the
//! loss.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod answers;
mod compiled;
mod fixture;
mod model;

use std::collections::BTreeSet;

use crossloom_compiler::passes::precision;
use crossloom_compiler::{Policy, Precision, autodiff};
use crossloom_ir::{DType, Func, Real, Role, Tensor, interp};
use crossloom_model::{LOSSES_RESULT, Outputs, inputs};

use crate::fixture::assert_close;
use crate::model::{
    CLIP_LLAMA, CLIP_LLAMA_LAYERS, Case, DINOV2_QWEN3, GRANITE_VISION, Model, QWEN3_VL, SIGLIP_GRANITE,
    SIGLIP_QWEN2, SIGLIP_QWEN2_NORMED, number_type,
};

/// Largest difference of numbers computed in double precision, relative to the largest of their tensor.
const IN_F64: f64 = 1e-5;
/// The same in single precision.
const IN_F32: f64 = 1e-4;
/// The same of two models in bf16, which has 8 bits: rounded at other places, for there the residual stream is bf16 too.
const IN_BF16: f64 = 5e-2;

/// Largest error in bf16, in the mean square, relative to that of the published model. Both are chance: there are few logits.
const MORE_IN_BF16: f64 = 1.5;

/// A model, a case of its fixture, and the case that has the gradients.
const CASES: [(Model, &str, &str); 9] = [
    (CLIP_LLAMA, "rows", "rows"),
    (SIGLIP_QWEN2, "last_block", "last_block"),
    // Both questions behind one picture; the numbers are those of each question alone.
    (SIGLIP_QWEN2, "packed", "last_block"),
    (SIGLIP_QWEN2_NORMED, "post_norm", "post_norm"),
    (DINOV2_QWEN3, "rows", "rows"),
    (CLIP_LLAMA_LAYERS, "rows", "rows"),
    (QWEN3_VL, "rows", "rows"),
    (SIGLIP_GRANITE, "rows", "rows"),
    (GRANITE_VISION, "rows", "rows"),
];

fn each_case(check: impl Fn(&Case)) {
    for (model, case, gradients_of) in CASES {
        check(&Case::new(model, case, gradients_of));
    }
}

#[test]
fn parameters_have_the_names_and_shapes_of_the_folders() {
    each_case(|case| {
        let model = case.build(Outputs::Loss);
        let ours: BTreeSet<_> = model.params.into_iter().map(|p| (p.name, p.shape)).collect();
        let mut theirs = case.fixture.weights();
        // What OneVision puts behind the rows of its tiles.
        theirs.retain(|(name, _)| name != "image_newline");
        assert_eq!(ours, theirs, "{case}");
    });
}

#[test]
fn a_model_says_itself_which_state_it_reads() {
    for (model, case, of) in [CASES[0], CASES[1], CASES[5], CASES[6], CASES[8]] {
        let case = Case::new(model, case, of);
        let wired: Vec<(crossloom_recipe::Tap, _)> =
            case.fixture.wiring().into_iter().map(|(tap, point)| (tap.into(), point)).collect();
        assert_eq!(wired, case.edges(), "{case}");
        assert_eq!(case.recipe.topology.input.taps(), case.fixture.taps(), "{case}");
    }
}

fn check_states<T: Real>(tolerance: f64) {
    each_case(|case| {
        let func = case.build(Outputs::Predictions).graph.lift().unwrap();
        let values = interp::run_all(&func, &case.arguments::<T>(&func)).unwrap();
        let states = case.fixture.under("state.");
        assert!(states.len() >= 7, "{case}: {} states", states.len());
        let last_inst = |scope: &str| {
            let inside = |s: &str| s == scope || s.starts_with(&format!("{scope}."));
            func.insts().iter().rposition(|inst| inside(inst.scope.as_str())).unwrap()
        };
        // In program order, so that the first state that is off is the one that is told.
        let mut states: Vec<_> = states.into_iter().map(|(scope, t)| (last_inst(scope), scope, t)).collect();
        states.sort_by_key(|state| state.0);
        for (last, scope, expected) in states {
            let last = &func.insts()[last];
            let mut given = number_type(values[last.outputs[0].index()].as_ref().unwrap());
            if scope.starts_with("language.") || scope.starts_with("inject.") {
                case.blank_padding(&mut given);
            } else {
                given = case.asked_pictures(&given);
            }
            assert_close(&format!("{case}: {scope}"), &given, expected, tolerance);
        }
    });
}

#[test]
fn every_state_of_vision_tower_projector_and_decoder_is_that_of_the_published_model() {
    check_states::<f64>(IN_F64);
    check_states::<f32>(IN_F32);
}

fn logits<T: Real>(case: &Case, func: &Func) -> Tensor<f64> {
    let results = interp::run(func, &case.arguments::<T>(func)).unwrap();
    let at = func.results().iter().position(|r| r.name == "logits").unwrap();
    let logits = number_type::<T, f64>(&results[at]);
    Tensor::new(case.tensor("logits").shape.clone(), logits.data).unwrap()
}

#[test]
fn logits_at_every_position_are_those_of_the_published_model() {
    each_case(|case| {
        let func = case.build(Outputs::Predictions).graph.lift().unwrap();
        let expected = case.tensor("logits");
        assert_close(&format!("{case}: logits"), &logits::<f64>(case, &func), expected, IN_F64);
        assert_close(&format!("{case}: logits in f32"), &logits::<f32>(case, &func), expected, IN_F32);
    });
}

#[test]
fn logits_in_bf16_are_those_of_the_published_model_in_bf16() {
    each_case(|case| {
        let func = case.build(Outputs::Predictions).graph.lift().unwrap();
        let weights = func.params().iter().filter(|p| p.role == Role::Weight);
        let frozen = weights.map(|p| (p.name.clone(), DType::Bf16)).collect();
        let low = precision::apply(&func, &Policy { compute: Precision::Bf16, frozen, ..Policy::default() })
            .unwrap();
        let ours = logits::<f32>(case, &low);
        let theirs = case.tensor("bf16.logits");
        assert_close(&format!("{case}: logits in bf16"), &ours, theirs, IN_BF16);
        // From what both round, ours is about as far as theirs.
        let off = |low: &Tensor<f64>| {
            let pairs = low.data.iter().zip(&case.tensor("logits").data);
            (pairs.map(|(low, exact)| (low - exact).powi(2)).sum::<f64>() / low.data.len() as f64).sqrt()
        };
        let (ours, theirs) = (off(&ours), off(theirs));
        assert!(
            ours > 0.0 && ours <= MORE_IN_BF16 * theirs,
            "{case}: off by {ours:.2e}, theirs by {theirs:.2e}"
        );
    });
}

fn check_gradients<T: Real>(tolerance: f64) {
    each_case(|case| {
        let func = case.build(Outputs::Loss).graph.lift().unwrap();
        let (expected, of_targets) = (case.fixture.gradients(), case.losses());
        let wrt: Vec<_> = func.params().iter().filter(|p| expected.contains_key(&p.name)).collect();
        assert_eq!(wrt.len(), expected.len(), "{case}");
        let wrt: Vec<_> = wrt.into_iter().map(|p| p.value).collect();
        let func = autodiff::gradient(&func, "loss", &wrt).unwrap();
        let results = interp::run(&func, &case.arguments::<T>(&func)).unwrap();
        for (result, given) in func.results().iter().zip(&results) {
            let expected = match result.name.strip_prefix("grad.") {
                Some(name) => &expected[name],
                None if result.name == LOSSES_RESULT => &of_targets,
                None => case.tensor(&result.name),
            };
            assert_close(&format!("{case}: {}", result.name), &number_type(given), expected, tolerance);
        }
        assert_eq!(results.len(), expected.len() + 2, "{case}");
    });
}

#[test]
fn loss_and_gradients_are_those_of_the_published_model() {
    check_gradients::<f64>(IN_F64);
    check_gradients::<f32>(IN_F32);
}

#[test]
fn fixtures_have_padding_packed_questions_pictures_at_different_positions_and_none() {
    let cases = CASES.map(|(model, case, of)| Case::new(model, case, of));
    let segments = |case: &Case| case.input(inputs::SEGMENTS).data.clone();
    assert!([0, 1, 4].iter().all(|&i| segments(&cases[i]).contains(&-1.0)), "padding");
    assert!(segments(&cases[2]).contains(&2.0), "two questions");
    for case in [&cases[0], &cases[4], &cases[6], &cases[7], &cases[8]] {
        let image = case.input(inputs::IMAGE_INDEX);
        assert_ne!(image.row(0), image.row(1), "{case}: pictures at different positions");
    }
    for case in [&cases[0], &cases[6], &cases[8]] {
        assert_eq!(case.with_picture(), [0, 1], "{case}: one row of three has none");
    }
}
