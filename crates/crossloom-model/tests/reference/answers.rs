//! Greedy answers token for token: prompts are read into a cache, then decoded one token at a time.

use std::collections::BTreeMap;

use crossloom_ir::Tensor;
use crossloom_model::{
    BatchShape, CacheShape, ModelGraph, Span, StepShape, decode, encode_and_connect, inputs, prefill,
};

use crate::fixture::assert_close;
use crate::model::{
    CLIP_LLAMA, CLIP_LLAMA_LAYERS, Case, DINOV2_QWEN3, GRANITE_VISION, QWEN3_VL, SIGLIP_GRANITE,
    SIGLIP_QWEN2, SIGLIP_QWEN2_NORMED,
};
use crate::{IN_F32, compiled, number_type};

/// All that runs a graph.
const RUNS: [Run; 2] = [Case::interpreted, compiled::call];

type Inputs = BTreeMap<&'static str, Tensor<f64>>;

/// Some rows of an input.
fn rows_of(t: &Tensor<f64>, rows: &[usize]) -> Tensor<f64> {
    let size = t.data.len() / t.shape[0];
    let mut shape = t.shape.clone();
    shape[0] = rows.len();
    Tensor::from_fn(shape, |i| t.data[rows[i / size] * size + i % size])
}

/// One number a row.
fn per_row(rows: usize, shape: &[usize], number: impl Fn(usize) -> usize) -> Tensor<f64> {
    let shape: Vec<usize> = std::iter::once(rows).chain(shape.iter().copied()).collect();
    Tensor::from_fn(shape, |row| number(row) as f64)
}

/// What runs a graph: the reference, or a plan.
type Run =
    fn(&Case, &ModelGraph, &mut BTreeMap<String, Tensor<f32>>, &Inputs) -> BTreeMap<String, Tensor<f32>>;

/// What those rows of a case are answered with, in single precision.
fn check(case: &Case, rows: &[usize], span: Span, run: Run) {
    let expected = case.tensor("prompt.greedy");
    let (batch, generated) = (rows.len(), expected.last());
    let tokens = rows_of(case.input(inputs::TOKENS), rows);
    let segments = rows_of(case.input(inputs::SEGMENTS), rows);
    let lengths: Vec<usize> =
        (0..batch).map(|row| segments.row(row).iter().filter(|segment| **segment >= 0.0).count()).collect();
    let cache = CacheShape { slots: batch + 1, capacity: tokens.last() + generated };
    // What follows a prompt follows its last token.
    let positions = rows_of(case.input(inputs::POSITIONS), rows);
    let follows: Vec<f64> = (0..batch).map(|row| positions.row(row)[lengths[row] - 1] + 1.0).collect();
    let edges = case.edges();
    let vocab = case.tensor("prompt.logits").last();

    // Slots in another order than rows.
    let slot = per_row(batch, &[], |row| batch - row);
    let mut given = Inputs::from([
        (inputs::SLOT, slot.clone()),
        (inputs::START, per_row(batch, &[], |_| 0)),
        (inputs::COUNT, per_row(batch, &[], |row| lengths[row])),
        (inputs::TARGET_INDEX, per_row(batch, &[1], |row| lengths[row] - 1)),
        (inputs::POSITIONS, positions),
        (inputs::SEGMENTS, segments),
        (inputs::TOKENS, tokens.clone()),
    ]);
    if span == Span::Whole {
        let pixels = Inputs::from([(inputs::PIXELS, rows_of(case.input(inputs::PIXELS), rows))]);
        let model = encode_and_connect(
            &case.recipe,
            &edges,
            BatchShape { batch, tokens: 1, targets: 1, views: None },
            0,
        )
        .unwrap();
        let pictures = run(case, &model, &mut BTreeMap::new(), &pixels);
        for name in [inputs::VISUAL, inputs::FEATURES] {
            given.extend(pictures.get(name).map(|made| (name, number_type(made))));
        }
        // No gate pools anything.
        given.insert(inputs::POOL_MASK, Tensor::splat(&tokens.shape[..], 0.0));
        given.insert(inputs::IMAGE_INDEX, rows_of(case.input(inputs::IMAGE_INDEX), rows));
    }
    let step = StepShape { rows: batch, tokens: tokens.last(), cache, visual: None };
    let model = prefill(&case.recipe, &edges, step, 1, vocab, span).unwrap();
    let mut state = BTreeMap::new();
    let mut results = run(case, &model, &mut state, &given);
    let first = number_type(&results["logits"]);
    assert_close(
        &format!("{case}: logits behind a prompt"),
        &first,
        &rows_of(case.tensor("prompt.logits"), rows),
        IN_F32,
    );

    let model =
        decode(&case.recipe, &edges, StepShape { rows: batch, tokens: 1, cache, visual: None }, vocab)
            .unwrap();
    for at in 0..generated {
        let next: Vec<usize> = (0..batch).map(|row| results["predictions"].at(row) as usize).collect();
        let wanted: Vec<usize> = rows.iter().map(|&row| expected.row(row)[at] as usize).collect();
        assert_eq!(next, wanted, "{case}: token {at} of the answers");
        let place = per_row(batch, &[], |row| lengths[row] + at);
        let given = Inputs::from([
            (inputs::SLOT, slot.clone()),
            (inputs::START, place),
            (inputs::COUNT, per_row(batch, &[], |_| 1)),
            (inputs::POSITIONS, Tensor::from_fn([batch, 1], |row| follows[row] + at as f64)),
            // That of the question.
            (inputs::SEGMENTS, per_row(batch, &[1], |_| 1)),
            (inputs::TOKENS, per_row(batch, &[1], |row| next[row])),
        ]);
        results = run(case, &model, &mut state, &given);
    }
}

#[test]
fn answers_are_token_for_token_those_of_the_published_model() {
    for (model, name) in [
        (CLIP_LLAMA, "rows"),
        (SIGLIP_QWEN2, "last_block"),
        (SIGLIP_QWEN2_NORMED, "post_norm"),
        (DINOV2_QWEN3, "rows"),
        (CLIP_LLAMA_LAYERS, "rows"),
        (QWEN3_VL, "rows"),
        (SIGLIP_GRANITE, "rows"),
        (GRANITE_VISION, "rows"),
    ] {
        let case = Case::new(model, name, name);
        let rows: Vec<usize> = (0..case.input(inputs::TOKENS).shape[0]).collect();
        for run in RUNS {
            check(&case, &rows, Span::Whole, run);
        }
        let answers = &case.tensor("prompt.greedy").data;
        assert!(answers.iter().any(|token| token != &answers[0]), "{case}: one token again and again");
    }
}

#[test]
fn a_question_without_a_picture_is_answered_by_the_language_model_alone() {
    for model in [CLIP_LLAMA, QWEN3_VL, GRANITE_VISION] {
        for run in RUNS {
            check(&Case::new(model, "rows", "rows"), &[2], Span::Text, run);
        }
    }
}
