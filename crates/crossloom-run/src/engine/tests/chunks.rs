//! Answers do not depend on the chunks in which prompts are read.

use crossloom_data::chat::{Message, Part};

use super::*;

fn in_chunks(recipe: &Recipe, data: &Data, chunk: Option<usize>) -> ByHand {
    let mut limits = limits(4);
    limits.resources.chunk = chunk;
    ByHand::new(busy(recipe, data, &limits), &limits)
}

/// Answers of some requests, and how many calls read their prompts.
fn answers(engine: &mut ByHand, requests: &[Request]) -> (Vec<Answer>, u64) {
    let answers = requests.iter().map(|request| engine.answer(request.clone())).collect();
    (answers, engine.client.stats().prefills)
}

/// The same tokens, and the same log-probabilities and gates but for rounding.
fn assert_alike(what: &str, one: &[Answer], other: &[Answer]) {
    let apart = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let gates =
        |answer: &Answer| -> Vec<f32> { answer.gates.iter().flatten().map(|gate| gate.value).collect() };
    for (one, other) in one.iter().zip(other) {
        assert_eq!((&one.ids, &one.text), (&other.ids, &other.text), "{what}");
        assert_eq!(one.logprobs.len(), other.logprobs.len());
        let off = apart(&one.logprobs, &other.logprobs).max(apart(&gates(one), &gates(other)));
        assert!(off < 1e-4, "{what}: {off}");
    }
}

#[test]
fn one_picture_in_chunks_is_read_as_at_once() {
    let recipe = recipe("cli", &["data.questions_per_sequence=1"]);
    let data = data(&recipe);
    let [mut cut, mut whole] = [Some(20), None].map(|chunk| in_chunks(&recipe, &data, chunk));
    let card = Arc::clone(&whole.client.card);
    let ask = |number: usize| {
        let (question, picture) = example(&data, number);
        let prompt = card.question(&question, vec![picture]).unwrap();
        let given = (0..number % 3).map(|at| at as i32 + 5).collect();
        Request { given, logprobs: Some(3), gates: true, ..Request::new(prompt, 6) }
    };
    let asked: Vec<Request> = (0..8).map(ask).collect();
    let ((one, calls), (other, at_once)) = (answers(&mut cut, &asked), answers(&mut whole, &asked));
    assert_alike("cli", &one, &other);
    assert!(at_once == 8 && calls > 12, "{calls} calls, {at_once} at once");
}

/// The first chunk keeps the picture's keys and values, and the next ones read what was kept, in as many bits.
#[test]
fn chunks_read_a_kept_picture_as_prompts_do_at_once() {
    for cache in [Precision::F32, Precision::Bf16] {
        let mut recipe = of_method("cross-attention");
        recipe.eval.cache = cache;
        let data = data(&recipe);
        let [mut cut, mut whole] = [Some(4), None].map(|chunk| in_chunks(&recipe, &data, chunk));
        let card = Arc::clone(&whole.client.card);
        let ask = |number: usize| {
            let (question, picture) = example(&data, number);
            Request {
                logprobs: Some(3),
                gates: true,
                ..Request::new(card.question(&question, vec![picture]).unwrap(), 6)
            }
        };
        let asked: Vec<Request> = (0..8).map(ask).collect();
        let ((one, calls), (other, at_once)) = (answers(&mut cut, &asked), answers(&mut whole, &asked));
        assert_alike(cache.name(), &one, &other);
        assert!(at_once == 8 && calls > 12, "{calls} calls, {at_once} at once");
    }
}

/// Several pictures with words between them, one, or none; a continuation of each is scored.
#[test]
fn counted_pictures_in_chunks_are_read_as_at_once() {
    let words = "one two three four five six seven eight nine ten ".repeat(6);
    for (variant, chunk) in [("projector", 20), ("cli", 72)] {
        let recipe = recipe(variant, &["data.questions_per_sequence=1", "model.language.max_positions=1024"]);
        let data = in_a_models_tokens(&recipe);
        let images = data.images(Split::Test).0.images();
        let [mut cut, mut whole] = [Some(chunk), None].map(|chunk| in_chunks(&recipe, &data, chunk));
        let card = Arc::clone(&whole.client.card);
        let ask = |parts: &[&str]| {
            let places = parts.iter().filter(|part| **part == "#").count();
            let part = |part: &&str| match *part {
                "#" => Part::Image {},
                text => Part::Text { text: text.to_owned() },
            };
            let content = parts.iter().map(part).collect();
            let pictures = (0..places).map(|number| images.image(number).unwrap()).collect();
            let prompt = card.chat(&[Message { role: "user".to_owned(), content }], pictures).unwrap();
            Request { logprobs: Some(3), gates: true, ..Request::new(prompt, 5) }
        };
        let plain = [
            ask(&["#", "and", "#", &words, "which?"]),
            ask(&[&words, "#", "which?", &words]),
            ask(&["#", "which?"]),
            ask(&[&words, "which?"]),
        ];
        let scored = plain.iter().map(|request| Request { given: vec![11, 7, 99], ..request.clone() });
        let asked: Vec<Request> = plain.iter().cloned().chain(scored).collect();
        let ((one, calls), (other, at_once)) = (answers(&mut cut, &asked), answers(&mut whole, &asked));
        assert_alike(variant, &one, &other);
        assert!(at_once == 8 && calls > 12, "{variant}: {calls} calls, {at_once} at once");
        // A gate pools all pictures: what lies too far apart for a chunk is refused before anything is computed.
        let far = cut.client.submit(ask(&["#", &words, "#", "which?"]));
        let refused = matches!(far, Err(Refused::Stretch { most, .. }) if most == chunk);
        assert_eq!(refused, variant == "cli", "{variant}: {far:?}");
    }
}
