//! A request's numbers do not depend on who shares its rounds.

use super::*;

/// Random requests: greedy or not, short or long, some with tokens that are given.
fn requests(card: &Card, data: &Data, count: usize, rng: &mut ChaCha8Rng) -> Vec<Request> {
    let request = |number: usize| {
        let (question, picture) = example(data, rng.random_range(0..30));
        let prompt = card.question(&question, vec![picture]).unwrap();
        let sampling = match number % 3 {
            0 => Sampling::default(),
            1 => Sampling { temperature: 1.5, seed: number as u64, ..Sampling::default() },
            _ => Sampling { temperature: 0.9, repetition_penalty: 1.3, top_p: 0.95, ..Sampling::default() },
        };
        let given = (0..rng.random_range(0..3)).map(|at| at + 5).collect();
        Request {
            sampling,
            given,
            logprobs: Some(256),
            gates: true,
            ..Request::new(prompt, rng.random_range(1..9))
        }
    };
    (0..count).map(request).collect()
}

/// Every event of requests that come at random, in a batch of changing size, is that of the same request alone: tokens, the
/// log-probabilities of all tokens of the vocabulary, and gates, bit for bit.
fn same_in_company(what: &str, recipe: &Recipe, data: &Data) {
    let mut engine = ByHand::of(recipe, data, 8);
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let asked = requests(&engine.client.card.clone(), data, 24, &mut rng);
    let alone: Vec<Vec<Event>> = asked.iter().map(|request| engine.alone(request.clone())).collect();
    let lengths: Vec<usize> = alone.iter().map(Vec::len).collect();
    assert!(lengths.iter().max() > lengths.iter().min(), "{what}: all answers have one length");
    for mix in 0..3 {
        let mut rng = ChaCha8Rng::seed_from_u64(mix);
        let mut order: Vec<usize> = (0..asked.len()).collect();
        for at in (1..order.len()).rev() {
            order.swap(at, rng.random_range(0..=at));
        }
        let (mut running, mut waiting, mut most) = (Vec::new(), order.into_iter(), 0);
        let before = engine.client.stats().prefills;
        loop {
            let arrive = rng.random_range(0..4);
            for number in waiting.by_ref().take(arrive) {
                running.push((number, engine.client.submit(asked[number].clone()).unwrap()));
            }
            let busy = engine.round();
            most = most.max(engine.client.stats().live);
            if !busy && waiting.len() == 0 {
                break;
            }
        }
        assert!(most > 3, "{what}: they had no company: {most}");
        let prefills = (engine.client.stats().prefills - before) as usize;
        assert!(prefills < asked.len(), "{what}: none was read together with another");
        assert_eq!(running.len(), asked.len());
        for (number, running) in running {
            assert_eq!(events(running), alone[number], "{what}: request {number} in mix {mix}");
        }
    }
}

#[test]
fn numbers_of_a_request_do_not_depend_on_its_company() {
    for variant in ["cli", "projector"] {
        let recipe = recipe(variant, &["data.questions_per_sequence=1"]);
        same_in_company(variant, &recipe, &data(&recipe));
    }
}

#[test]
fn nor_where_pictures_are_read_by_layers_of_their_own_or_in_every_phase() {
    for method in ["cross-attention", "llama-3-2-vision", "igva", "sli"] {
        let recipe = of_method(method);
        same_in_company(method, &recipe, &data(&recipe));
    }
}

#[test]
fn nor_where_views_are_counted() {
    for variant in ["cli", "projector"] {
        let recipe = recipe(variant, &["data.questions_per_sequence=1", "model.language.max_positions=1024"]);
        same_in_company(variant, &recipe, &in_a_models_tokens(&recipe));
    }
}

#[test]
fn nor_where_keys_and_values_are_kept_in_16_bits() {
    let cached = "eval.cache=bf16";
    let counted =
        recipe("cli", &["data.questions_per_sequence=1", "model.language.max_positions=1024", cached]);
    same_in_company("counted views", &counted, &in_a_models_tokens(&counted));
    for method in ["cross-attention", "llama-3-2-vision", "igva"] {
        let mut recipe = of_method(method);
        recipe.eval.cache = Precision::Bf16;
        same_in_company(method, &recipe, &data(&recipe));
    }
}
