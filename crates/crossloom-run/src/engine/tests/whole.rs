//! What the engine says is what one pass over prompt and answer says.

use crossloom_data::packing::PackedBatch;

use super::plain::answer;
use super::*;
use crate::batch::{Pools, batch_shape, load_batch};
use crate::gates::GateMoments;
use crate::processor::Processor;

/// Greedy answers of the engine are those of rows of packed questions with one question each.
#[test]
fn greedy_answers_are_those_of_packed_rows() {
    for variant in ["cli", "projector", "question_only"] {
        let recipe = recipe(variant, &["data.questions_per_sequence=1"]);
        let data = data(&recipe);
        let mut engine = ByHand::of(&recipe, &data, 4);
        let mut plan = data.plan(&recipe).unwrap();
        plan.batch_size = 1;
        let mut model = super::plain::compared::busy(&recipe, &plan);
        let encoding = model.phases.encoding().unwrap();
        let mut batch = PackedBatch::new(&plan);
        let mut different = std::collections::BTreeSet::new();
        for number in 0..20 {
            let (question, picture) = example(&data, number);
            let shown = if engine.client.card().has_vision() { vec![picture.clone()] } else { Vec::new() };
            let prompt = engine.client.card().question(&question, shown).unwrap();
            let request = Request { gates: true, ..Request::new(prompt, plan.max_new_tokens) };
            let answered = engine.answer(request);
            let tokens = vec![data.tokenizer.question(&question).unwrap()];
            batch.fill_prompts(&[(&picture, tokens)], &Processor::of(&recipe).normalization()).unwrap();
            if !engine.client.card().has_vision() {
                batch.pixels_bchw.fill(0.0);
            }
            let mut gates = GateMoments::default();
            answer(&mut model, &mut batch, &Pools::of(&recipe), encoding, &mut gates, &[0]).unwrap();
            assert_eq!(answered.ids, batch.generated(0), "{variant}: {question}");
            assert_eq!(answered.reason == Reason::Stop, batch.questions()[0].ended_by_eos);
            assert_eq!(answered.text, data.tokenizer.decode(&answered.ids).unwrap());
            let told = answered.gates.unwrap();
            let told: Vec<(String, f32)> =
                told.into_iter().map(|gate| (format!("{}->{}", gate.tap, gate.point), gate.value)).collect();
            assert_eq!(told, gates.means().into_iter().collect::<Vec<_>>(), "{variant}");
            assert_eq!(told.len(), engine.client.card().gated_edges().len());
            different.insert(answered.ids);
        }
        assert!(different.len() > 3, "{variant}: {different:?}");
    }
}

/// The log-probability of each given token is that of the whole model's logits at the position before it.
#[test]
fn scores_of_continuations_are_those_of_the_whole_model() {
    for variant in ["cli", "projector"] {
        let recipe = recipe(variant, &["data.questions_per_sequence=1", "eval.max_new_tokens=8"]);
        let data = data(&recipe);
        let mut engine = ByHand::of(&recipe, &data, 2);
        let mut plan = data.plan(&recipe).unwrap();
        plan.batch_size = 1;
        let model = super::plain::compared::busy(&recipe, &plan);
        let mut whole = model.whole(&recipe, batch_shape(&plan), plan.vocab_size).unwrap();
        let mut batch = PackedBatch::new(&plan);
        for (number, given) in [vec![5, 7, 6, 9], vec![8], vec![11, 11, 5]].into_iter().enumerate() {
            let (question, picture) = example(&data, 7 * number);
            let prompt = engine.client.card().question(&question, vec![picture.clone()]).unwrap();
            let asked = Request { given: given.clone(), logprobs: Some(0), ..Request::new(prompt, 0) };
            let answered = engine.answer(asked);
            assert_eq!((&answered.ids, answered.reason), (&given, Reason::Length));
            let tokens = vec![data.tokenizer.question(&question).unwrap()];
            let normalization = Processor::of(&recipe).normalization();
            batch.fill_prompts(&[(&picture, tokens)], &normalization).unwrap();
            for (&token, &scored) in given.iter().zip(&answered.logprobs) {
                load_batch(&mut whole, &batch, &Pools::of(&recipe)).unwrap();
                whole.run().unwrap();
                let logits = whole.read::<f32>("logits").unwrap();
                let at = batch.questions()[0].first_slot * plan.vocab_size;
                let row = &logits[at..at + plan.vocab_size];
                let sum: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
                let wanted = f64::from(row[token as usize]) - sum.ln();
                assert!((f64::from(scored) - wanted).abs() < 1e-4, "{variant}: {scored} {wanted}");
                batch.append_generated(&[token]).unwrap();
            }
        }
    }
}
