//! Keys and values that are kept in 16 bits.

use std::collections::BTreeMap;

use crossloom_model::caches;

use super::*;

/// The same recipe with a cache of that type.
fn cached(recipe: &Recipe, cache: Precision) -> Recipe {
    let mut recipe = recipe.clone();
    recipe.eval.cache = cache;
    recipe
}

/// Bytes of keys and values, and of the whole numbers beside them.
fn bytes(parts: &Parts) -> (usize, usize) {
    let tensors = parts.model.store.tensors();
    let held = tensors.into_iter().filter(|tensor| tensor.name.starts_with(caches::PREFIX));
    held.fold((0, 0), |(floats, whole), tensor| {
        if tensor.ty.dtype.is_float() {
            (floats + tensor.ty.bytes(), whole)
        } else {
            (floats, whole + tensor.ty.bytes())
        }
    })
}

/// Log-probabilities of the likeliest tokens at every place of answers whose tokens are given.
fn heard(engine: &mut ByHand, data: &Data) -> Vec<BTreeMap<i32, f32>> {
    let mut heard = Vec::new();
    for number in 0..6 {
        let (question, picture) = example(data, number);
        let prompt = engine.client.card.question(&question, vec![picture]).unwrap();
        let request = Request { given: (5..12).collect(), logprobs: Some(256), ..Request::new(prompt, 0) };
        for event in engine.alone(request) {
            let Event::Token(token) = event else { continue };
            heard.push(token.top.into_iter().collect());
        }
    }
    heard
}

#[test]
fn they_take_half_the_memory_and_move_answers_by_what_rounding_does() {
    let counted = recipe("cli", &["data.questions_per_sequence=1", "model.language.max_positions=1024"]);
    let mut settings = vec![("counted views", counted.clone(), in_a_models_tokens(&counted))];
    for method in ["cross-attention", "llama-3-2-vision", "deepstack", "cli"] {
        let recipe = of_method(method);
        let data = data(&recipe);
        settings.push((method, recipe, data));
    }
    for (what, recipe, data) in settings {
        let [wide, narrow] = [Precision::F32, Precision::Bf16].map(|cache| {
            let parts = busy(&cached(&recipe, cache), &data, &limits(4));
            let bytes = bytes(&parts);
            (bytes, heard(&mut ByHand::new(parts, &limits(4)), &data))
        });
        assert_eq!((narrow.0.0 * 2, narrow.0.1), wide.0, "{what}: bytes of keys and values");
        let (mut off, mut spread, mut count) = (0.0_f64, 0.0_f64, 0.0_f64);
        for (wide, narrow) in wide.1.iter().zip(&narrow.1) {
            let mean = wide.values().map(|&x| f64::from(x)).sum::<f64>() / wide.len() as f64;
            // Where a model knows more tokens than are told, the last of them may be others.
            let both = wide.iter().filter_map(|(id, &wide)| Some((wide, *narrow.get(id)?)));
            for (wide, narrow) in both {
                off += f64::from(wide - narrow).powi(2);
                spread += (f64::from(wide) - mean).powi(2);
                count += 1.0;
            }
        }
        assert_eq!(wide.1.len(), narrow.1.len());
        let share = (off / spread).sqrt();
        println!("{what}: off by {share:.5} of the spread over {count} log-probabilities");
        // Eight bits are kept of a number: it is off by a 512th at the most, in every layer.
        assert!(share > 1e-5, "{what}: nothing was rounded");
        assert!(share < 1.0 / 32.0, "{what}: off by {share} of the spread");
    }
}

#[test]
fn the_memory_that_is_counted_before_is_that_of_the_type() {
    let recipe = recipe("cli", &["data.questions_per_sequence=1"]);
    let data = data(&recipe);
    let refused = |cache| {
        let served = Served::starting(&recipe, data.tokenizer.clone()).with_cache(cache);
        let mut many = limits(8192);
        many.resources.budget = Some(200 << 20);
        match Engine::start(served, many).unwrap_err() {
            ExperimentError::DoesNotFit { error, .. } => error.need.of("keys and values"),
            other => panic!("{other}"),
        }
    };
    let (wide, narrow) = (refused(Precision::F32), refused(Precision::Bf16));
    // A position has a segment of four bytes besides.
    let positions = 8192 * recipe.model.language.max_positions as u64;
    assert_eq!(wide - 4 * positions, 2 * (narrow - 4 * positions));
}
