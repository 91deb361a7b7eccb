//! Vision towers, projector and decoders against what Hugging Face's models compute from the same weights.
//!
//! `tests/oracle/make_model_fixtures.py` wrote the fixtures. It ran in double precision, but for the places where
//! those models compute in single precision themselves: the decoders' norms, softmax and rotary angles, and the loss.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;
mod model;

use std::collections::BTreeSet;

use crossloom_compiler::autodiff;
use crossloom_ir::interp;
use crossloom_model::{Outputs, inputs};

use crate::fixture::{Fixture, assert_close};
use crate::model::{CLIP_LLAMA, Case, SIGLIP_QWEN2};

/// Model, fixture and the cases in it.
const CASES: [(&str, &str, &str); 3] = [
    (CLIP_LLAMA, "clip_llama", "rows"),
    (SIGLIP_QWEN2, "siglip_qwen2", "rows"),
    // Both questions behind one picture; the numbers are those of each question alone.
    (SIGLIP_QWEN2, "siglip_qwen2", "packed"),
];

fn each_case(check: impl Fn(&Case)) {
    for (recipe, fixture, case) in CASES {
        check(&Case::new(recipe, Fixture::load(fixture), case));
    }
}

#[test]
fn parameters_have_the_names_and_shapes_of_published_checkpoints() {
    each_case(|case| {
        let model = case.build(Outputs::Loss);
        let ours: BTreeSet<_> = model.params.into_iter().map(|p| (p.name, p.shape)).collect();
        assert_eq!(ours, case.fixture.weights(), "{case}");
    });
}

#[test]
fn every_state_of_vision_tower_projector_and_decoder_is_that_of_the_published_model() {
    each_case(|case| {
        let func = case.build(Outputs::Predictions).graph.lift().unwrap();
        let values = interp::run_all(&func, &case.arguments(&func)).unwrap();
        let states = case.expected("state.");
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
            let mut given = values[last.outputs[0].index()].clone().unwrap();
            if scope.starts_with("language.") {
                case.blank_padding(&mut given);
            }
            assert_close(&format!("{case}: {scope}"), &given, expected);
        }
    });
}

#[test]
fn logits_at_every_position_are_those_of_the_published_model() {
    each_case(|case| {
        let func = case.build(Outputs::Predictions).graph.lift().unwrap();
        let results = interp::run(&func, &case.arguments(&func)).unwrap();
        let at = func.results().iter().position(|r| r.name == "logits").unwrap();
        let expected = case.tensor("logits");
        let given = interp::Tensor::new(expected.shape.clone(), results[at].data.clone()).unwrap();
        assert_close(&format!("{case}: logits"), &given, expected);
    });
}

#[test]
fn loss_and_gradients_are_those_of_the_published_model() {
    each_case(|case| {
        let func = case.build(Outputs::Loss).graph.lift().unwrap();
        let expected = case.fixture.gradients();
        let wrt: Vec<_> = func.params().iter().filter(|p| expected.contains_key(p.name.as_str())).collect();
        assert_eq!(wrt.len(), expected.len(), "{case}");
        let wrt: Vec<_> = wrt.into_iter().map(|p| p.value).collect();
        let func = autodiff::gradient(&func, "loss", &wrt).unwrap();
        let results = interp::run(&func, &case.arguments(&func)).unwrap();
        for (result, given) in func.results().iter().zip(&results) {
            let expected = match result.name.strip_prefix("grad.") {
                Some(name) => expected[name],
                None => case.tensor(&result.name),
            };
            assert_close(&format!("{case}: {}", result.name), given, expected);
        }
        assert_eq!(results.len(), expected.len() + 1, "{case}");
    });
}

#[test]
fn fixtures_have_padding_packed_questions_and_pictures_at_different_positions() {
    let segments = |case: &Case| case.tensor(&format!("input.{}", inputs::SEGMENTS)).data.clone();
    let cases = CASES.map(|(recipe, fixture, case)| Case::new(recipe, Fixture::load(fixture), case));
    assert!(segments(&cases[0]).contains(&-1.0) && segments(&cases[1]).contains(&-1.0), "padding");
    assert!(segments(&cases[2]).contains(&2.0), "two questions");
    let image = &cases[0].tensor(&format!("input.{}", inputs::IMAGE_INDEX)).data;
    assert_ne!(image[..image.len() / 2], image[image.len() / 2..], "pictures at different positions");
}
