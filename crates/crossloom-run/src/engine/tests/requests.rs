//! How requests come, wait, leave and fail.

use std::collections::BTreeMap;

use super::*;

fn setting() -> (Recipe, Data) {
    let recipe = recipe("cli", &["data.questions_per_sequence=1"]);
    let data = data(&recipe);
    (recipe, data)
}

fn request(client: &Client, data: &Data, number: usize, tokens: usize) -> Request {
    let (question, picture) = example(data, number);
    Request::new(client.card().question(&question, vec![picture]).unwrap(), tokens)
}

/// One whose answer has so many tokens.
fn long(recipe: &Recipe, data: &Data, tokens: usize) -> Request {
    let mut engine = ByHand::of(recipe, data, 1);
    let client = engine.client.clone();
    let mut asked = (0..100).map(|seed| {
        let sampling = Sampling { temperature: 1.5, seed, ..Sampling::default() };
        Request { sampling, ..request(&client, data, seed as usize, tokens) }
    });
    asked.find(|request| engine.answer(request.clone()).reason == Reason::Length).unwrap()
}

#[test]
fn a_request_that_is_dropped_frees_its_slot_and_place() {
    let (recipe, data) = setting();
    let mut engine = ByHand::of(&recipe, &data, 1);
    let client = engine.client.clone();
    let running = client.submit(long(&recipe, &data, 30)).unwrap();
    let waiting = client.submit(request(&client, &data, 1, 4)).unwrap();
    let left = client.submit(request(&client, &data, 2, 4)).unwrap();
    for _ in 0..5 {
        engine.round();
    }
    assert_eq!((client.stats().live, client.stats().waiting), (1, 2));
    drop(left);
    drop(running);
    while engine.round() {}
    let stats = client.stats();
    assert_eq!((stats.live, stats.waiting, stats.done, stats.cancelled), (0, 0, 1, 2));
    assert!(stats.rounds < 20, "the rest of a long answer was computed: {stats:?}");
    assert!(waiting.answer().is_ok());
    assert_eq!(engine.engine.slots.free(), 1);
}

#[test]
fn what_can_never_be_answered_is_refused_at_once_and_a_full_queue_is_told() {
    let (recipe, data) = setting();
    let few = Limits { queue: 2, ..limits(1) };
    let engine = ByHand::new(busy(&recipe, &data, &few), &few);
    let client = &engine.client;
    let refused = |request: Request| client.submit(request).err();
    let room = client.card().positions();
    let fits = request(client, &data, 0, 1);
    let most = room - fits.prompt.positions() + 1;
    assert!(matches!(
        refused(Request { max_new_tokens: most + 1, ..fits.clone() }),
        Some(Refused::TooLong { .. })
    ));
    assert!(matches!(
        refused(Request { max_new_tokens: usize::MAX, ..fits.clone() }),
        Some(Refused::TooLong { .. })
    ));
    let vocabulary = client.card().vocabulary() as i32;
    for id in [-1, vocabulary, i32::MAX] {
        let error = refused(Request { given: vec![id], ..fits.clone() });
        assert_eq!(error, Some(Refused::Vocabulary { id, size: vocabulary as usize }));
    }
    assert!(matches!(refused(Request { max_new_tokens: 0, ..fits.clone() }), Some(Refused::Empty(_))));
    for stop in [vec![String::new()], vec!["x".to_owned(); 1_000_000]] {
        assert!(matches!(refused(Request { stop, ..fits.clone() }), Some(Refused::Stop(_))));
    }
    assert!(matches!(
        refused(Request { logprobs: Some(1_000_000), ..fits.clone() }),
        Some(Refused::Logprobs { .. })
    ));
    for (field, sampling) in [
        ("temperature", Sampling { temperature: f32::NAN, ..Sampling::default() }),
        ("temperature", Sampling { temperature: -1.0, ..Sampling::default() }),
        ("top_p", Sampling { top_p: 0.0, ..Sampling::default() }),
        ("min_p", Sampling { min_p: 1.5, ..Sampling::default() }),
        ("repetition_penalty", Sampling { repetition_penalty: 0.0, ..Sampling::default() }),
        ("presence_penalty", Sampling { presence_penalty: f32::INFINITY, ..Sampling::default() }),
    ] {
        match refused(Request { sampling, ..fits.clone() }) {
            Some(Refused::Sampling(bad)) => assert_eq!(bad.field, field),
            other => panic!("{field}: {other:?}"),
        }
    }
    let kept: Vec<Running> =
        (0..2).map(|_| client.submit(Request { max_new_tokens: most, ..fits.clone() }).unwrap()).collect();
    assert_eq!(refused(fits.clone()), Some(Refused::Full { waiting: 2 }));
    drop(kept);
    assert!(client.submit(fits).is_ok(), "places of those who left are free");
}

#[test]
fn the_longest_answer_fits_its_slot() {
    let (recipe, data) = setting();
    let mut engine = ByHand::of(&recipe, &data, 2);
    let client = engine.client.clone();
    let asked = request(&client, &data, 0, 0);
    let most = client.card().positions() - asked.prompt.positions() + 1;
    let asked = Request { given: vec![6; most], ..asked };
    let [first, second] = [&asked, &asked].map(|request| client.submit(request.clone()).unwrap());
    while engine.round() {}
    assert_eq!(first.answer().unwrap().ids.len(), most);
    assert_eq!(second.answer().unwrap().usage.completion_tokens, most);
}

#[test]
fn an_engine_that_finishes_answers_what_it_has_and_one_that_is_dropped_tells_its_clients() {
    let (recipe, data) = setting();
    let engine = Engine::over(busy(&recipe, &data, &limits(2)), 64).unwrap();
    let client = engine.client();
    let running: Vec<Running> =
        (0..6).map(|number| client.submit(request(&client, &data, number, 5)).unwrap()).collect();
    engine.finish().unwrap();
    for running in running {
        running.answer().unwrap();
    }
    assert!(matches!(client.submit(request(&client, &data, 0, 5)), Err(Refused::Closed)));
    let long = long(&recipe, &data, 30);
    let engine = Engine::over(busy(&recipe, &data, &limits(1)), 64).unwrap();
    let client = engine.client();
    let running: Vec<Running> = (0..30).map(|_| client.submit(long.clone()).unwrap()).collect();
    drop(engine);
    let told: Vec<Result<Answer, String>> = running.into_iter().map(Running::answer).collect();
    assert!(told.iter().any(Result::is_err), "{told:?}");
}

#[test]
fn clients_on_many_threads_each_hear_their_own_answer() {
    let (recipe, data) = setting();
    let mut alone = ByHand::of(&recipe, &data, 1);
    let client = alone.client.clone();
    let wanted: Vec<Answer> =
        (0..12).map(|number| alone.answer(request(&client, &data, number, 6))).collect();
    let engine = Engine::over(busy(&recipe, &data, &limits(4)), 64).unwrap();
    std::thread::scope(|scope| {
        for (number, wanted) in wanted.iter().enumerate() {
            let (client, data) = (engine.client(), &data);
            scope.spawn(move || {
                let running = client.submit(request(&client, data, number, 6)).unwrap();
                assert_eq!(running.answer().as_ref(), Ok(wanted));
            });
        }
    });
    let client = engine.client();
    engine.finish().unwrap();
    assert_eq!(client.stats().done, 12);
}

/// A request for which no vector was computed fails; those around it are answered.
#[test]
fn a_request_that_fails_leaves_others_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("questions.safetensors");
    let (_, data) = setting();
    let texts: Vec<String> = (0..30).map(|number| example(&data, number).0).collect();
    let bytes: BTreeMap<&str, Vec<u8>> =
        texts.iter().map(|text| (text.as_str(), vec![text.len() as u8; 8])).collect();
    let views = bytes.iter().map(|(text, bytes)| {
        (*text, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2], bytes).unwrap())
    });
    std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    let sets = [
        format!("topology.conditioning={{ kind = 'precomputed', vectors = '{}', width = 2 }}", path.display()),
        "topology.input={ kind = 'weighted', of = ['block.1', 'block.2'], weights = { kind = 'question', hidden = 8 } }"
            .to_owned(),
        "data.questions_per_sequence=1".to_owned(),
    ];
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    let recipe = recipe("projector", &sets);
    let mut engine = ByHand::of(&recipe, &data, 3);
    let client = engine.client.clone();
    let good = |number: usize| request(&client, &data, number, 5);
    let alone = engine.answer(good(1));
    let unknown = client.card().question("red?", vec![example(&data, 0).1]).unwrap();
    let running = [good(1), Request::new(unknown, 5), good(1)].map(|request| client.submit(request).unwrap());
    while engine.round() {}
    let [first, bad, last] = running.map(Running::answer);
    assert_eq!((first.as_ref(), last.as_ref()), (Ok(&alone), Ok(&alone)));
    assert!(bad.unwrap_err().contains("no vector of \"red?\""));
    assert_eq!((client.stats().failed, engine.engine.slots.free()), (1, 3));
}

#[test]
fn slots_that_do_not_fit_are_refused_with_figures_before_any_is_taken() {
    let (recipe, data) = setting();
    let served = Served::starting(&recipe, data.tokenizer.clone());
    let mut many = limits(4096);
    many.resources.budget = Some(200 << 20);
    let error = Engine::start(served, many).unwrap_err().to_string();
    assert!(error.contains("keys and values") && error.contains("MiB"), "{error}");
    let served = Served::starting(&recipe, data.tokenizer.clone());
    let error = Engine::start(served, Limits { positions: Some(4096), ..limits(1) }).unwrap_err();
    assert!(error.to_string().contains("max_positions"), "{error}");
}
