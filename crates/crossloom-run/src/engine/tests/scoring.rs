//! Continuations and prompts that are scored with the call that reads them.

use super::*;

/// An answer of many tokens, drawn one by one, with its request.
fn written(engine: &mut ByHand, data: &Data, seed: u64) -> (Request, Answer) {
    let (question, picture) = example(data, seed as usize);
    let prompt = engine.client.card().question(&question, vec![picture]).unwrap();
    let sampling = Sampling { temperature: 1.2, seed, ..Sampling::default() };
    let request = Request { sampling, logprobs: Some(4), ..Request::new(prompt, 90) };
    let answer = engine.answer(request.clone());
    (request, answer)
}

fn apart(one: &[f32], other: &[f32]) -> f32 {
    assert_eq!(one.len(), other.len());
    one.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// What was decoded token by token has the same log-probabilities when it is given: in one call that reads prompts, and none that
/// decodes.
fn scores_as_it_was_written(what: &str, recipe: &Recipe, data: &Data, chunk: Option<usize>) {
    let mut limits = limits(2);
    limits.resources.chunk = chunk;
    let mut engine = ByHand::new(busy(recipe, data, &limits), &limits);
    let mut longest = 0;
    for seed in 0..6 {
        let (request, answer) = written(&mut engine, data, seed);
        if answer.ids.is_empty() {
            continue;
        }
        longest = longest.max(answer.ids.len());
        let before = engine.client.stats();
        let given = Request { given: answer.ids.clone(), max_new_tokens: 0, ..request };
        let scored = engine.answer(given);
        let after = engine.client.stats();
        assert_eq!((&scored.ids, &scored.text), (&answer.ids, &answer.text), "{what}");
        assert_eq!(scored.usage.completion_tokens, answer.ids.len());
        let off = apart(&scored.logprobs, &answer.logprobs);
        assert!(off < 2e-4, "{what}, {} tokens: {off}", answer.ids.len());
        assert_eq!(after.rounds, before.rounds, "{what}: something was decoded");
        let calls = after.prefills - before.prefills;
        assert!(if chunk.is_some() { calls > 1 } else { calls == 1 }, "{what}: {calls} calls");
    }
    assert!(longest > 8, "{what}: all answers are short: {longest}");
}

/// A continuation with more tokens than logits are read at once of is scored by one call that reads prompts, and as in many.
#[test]
fn a_long_continuation_is_scored_in_pieces() {
    let recipe = recipe("cli", &["data.questions_per_sequence=1"]);
    let data = data(&recipe);
    let scored = |chunk: Option<usize>| {
        let mut limits = limits(2);
        limits.resources.chunk = chunk;
        let mut engine = ByHand::new(busy(&recipe, &data, &limits), &limits);
        let (question, picture) = example(&data, 0);
        let prompt = engine.client.card().question(&question, vec![picture]).unwrap();
        let vocabulary = engine.client.card().vocabulary() as i32;
        let given: Vec<i32> = (0..150).map(|at| (at * at + 5) % vocabulary).collect();
        let answer = engine.answer(Request { given, logprobs: Some(3), ..Request::new(prompt, 0) });
        (answer.logprobs, engine.client.stats().prefills)
    };
    let ((whole, one), (cut, many)) = (scored(None), scored(Some(20)));
    assert!(one == 1 && many > 7, "{one} calls, {many} in chunks");
    assert!(whole.len() == 150 && apart(&whole, &cut) < 1e-4, "{}", apart(&whole, &cut));
}

#[test]
fn what_was_decoded_scores_in_one_call_as_it_was_decoded() {
    let whole_prompt = "variants.cli.topology.gate.pool=prompt";
    for (variant, sets) in [("cli", &[][..]), ("cli", &[whole_prompt][..]), ("projector", &[][..])] {
        let recipe = recipe(variant, &[&["data.questions_per_sequence=1"][..], sets].concat());
        scores_as_it_was_written(&format!("{variant} {sets:?}"), &recipe, &data(&recipe), None);
    }
    let recipe = recipe("cli", &["data.questions_per_sequence=1"]);
    scores_as_it_was_written("in chunks", &recipe, &data(&recipe), Some(20));
}

#[test]
fn and_where_pictures_are_read_by_layers_of_their_own_or_in_every_phase() {
    for method in ["deepstack", "cross-attention", "llama-3-2-vision", "igva", "sli"] {
        let recipe = of_method(method);
        scores_as_it_was_written(method, &recipe, &data(&recipe), None);
    }
}

/// Where an answer goes on behind what is given, it goes on as if that had been decoded.
#[test]
fn an_answer_goes_on_behind_what_is_given() {
    let recipe = recipe("cli", &["data.questions_per_sequence=1"]);
    let data = data(&recipe);
    let mut engine = ByHand::of(&recipe, &data, 2);
    let mut several = 0;
    for number in 0..8 {
        let (question, picture) = example(&data, number);
        let prompt = engine.client.card().question(&question, vec![picture]).unwrap();
        let whole = engine.answer(Request::new(prompt.clone(), 30));
        for cut in 1..whole.ids.len() {
            let given = whole.ids[..cut].to_vec();
            let rest = engine.answer(Request { given, ..Request::new(prompt.clone(), 30 - cut) });
            assert_eq!((&rest.ids, rest.reason), (&whole.ids, whole.reason), "cut at {cut}");
        }
        several += usize::from(whole.ids.len() > 3);
    }
    assert!(several > 2, "answers are too short to be cut");
}

/// A prompt that is told has the scores of its tokens as a continuation of the first of them.
#[test]
fn a_prompt_is_scored_as_a_continuation_of_its_first_token() {
    let sets = ["data.questions_per_sequence=1", "model.language.max_positions=1024"];
    let recipe = recipe("projector", &sets);
    let data = in_a_models_tokens(&recipe);
    let mut engine = ByHand::of(&recipe, &data, 2);
    let card = Arc::clone(&engine.client.card);
    let text = "The naïve 猫 sat on <|im_end|> the mat, and 🙂 thought of nothing at all.";
    let ids = card.tokens(text).unwrap();
    let prompt = card.text(text, Vec::new()).unwrap();
    assert_eq!(prompt.tokens(), ids);
    assert_eq!(card.ids(&ids, Vec::new()).unwrap(), prompt);
    let before = engine.client.stats();
    let asked = Request { echo: true, logprobs: Some(2), ..Request::new(prompt, 0) };
    let told = engine.answer(asked.clone());
    let after = engine.client.stats();
    assert_eq!((after.prefills - before.prefills, after.rounds - before.rounds), (1, 0));
    assert_eq!((told.reason, told.usage.completion_tokens, &*told.text), (Reason::Length, 0, ""));
    assert_eq!(told.prompt.iter().map(|token| token.id).collect::<Vec<_>>(), ids);
    assert_eq!(told.prompt.iter().map(|token| &*token.text).collect::<String>(), text);
    assert_eq!((told.prompt[0].logprob, told.prompt[0].top.len()), (None, 0));
    let scores: Vec<f32> = told.prompt[1..].iter().map(|token| token.logprob.unwrap()).collect();
    assert!(told.prompt[1..].iter().all(|token| token.top.len() == 2 && token.top[0].1 >= token.top[1].1));
    let first = card.ids(&ids[..1], Vec::new()).unwrap();
    let given = Request { given: ids[1..].to_vec(), logprobs: Some(2), ..Request::new(first, 0) };
    let off = apart(&scores, &engine.answer(given).logprobs);
    assert!(off < 1e-4, "{off}");
    // Without log-probabilities it is told all the same, and an answer follows as it does without it.
    let plain = engine.answer(Request { logprobs: None, max_new_tokens: 5, ..asked.clone() });
    assert!(plain.prompt.iter().all(|token| token.logprob.is_none()) && plain.prompt.len() == ids.len());
    let goes_on = engine.answer(Request { max_new_tokens: 5, ..asked.clone() });
    let alone = engine.answer(Request { echo: false, logprobs: None, max_new_tokens: 5, ..asked });
    assert_eq!((&plain.ids, &goes_on.ids), (&alone.ids, &alone.ids));
    assert!(matches!(card.ids(&[-1], Vec::new()), Err(PromptError::Vocabulary { id: -1, .. })));
    assert!(matches!(card.ids(&[], Vec::new()), Err(PromptError::Blank)));
}

/// Where pictures stand in front, visual tokens are not told.
#[test]
fn of_a_prompt_with_a_picture_its_words_are_told() {
    let recipe = recipe("cli", &["data.questions_per_sequence=1", "model.language.max_positions=1024"]);
    let data = in_a_models_tokens(&recipe);
    let mut engine = ByHand::of(&recipe, &data, 2);
    let (question, picture) = example(&data, 0);
    let prompt = engine.client.card().question(&question, vec![picture]).unwrap();
    let (positions, visual) = (prompt.positions(), prompt.conversation.needs.visual);
    let told = engine.answer(Request { echo: true, logprobs: Some(0), ..Request::new(prompt, 1) });
    assert!(visual > 0 && told.prompt.len() == positions - visual);
    assert!(told.prompt[1..].iter().all(|token| token.logprob.unwrap().is_finite()));
    let text: String = told.prompt.iter().map(|token| &*token.text).collect();
    assert!(text.starts_with("<|im_start|>user") && text.contains(&question), "{text}");
}

/// The model's own end is told with its log-probability where these are asked for.
#[test]
fn the_end_of_an_answer_has_a_log_probability() {
    let recipe = recipe("cli", &["data.questions_per_sequence=1"]);
    let data = data(&recipe);
    let mut engine = ByHand::of(&recipe, &data, 1);
    let eos = engine.client.card().tokenizer().special().eos;
    let mut ends = 0;
    for number in 0..12 {
        let (question, picture) = example(&data, number);
        let prompt = engine.client.card().question(&question, vec![picture]).unwrap();
        let told = engine.alone(Request { logprobs: Some(1), ..Request::new(prompt, 40) });
        let Some(Event::Done { reason, end, usage, .. }) = told.last() else { panic!("{told:?}") };
        assert_eq!(*reason == Reason::Stop, end.is_some());
        if let Some(end) = end {
            ends += 1;
            assert_eq!((end.id, end.top[0]), (eos, (eos, end.logprob.unwrap())), "it was the likeliest");
            assert_eq!(usage.completion_tokens, told.len() - 1, "a start, tokens, and the end");
        }
    }
    assert!(ends > 0, "no answer ends");
}
