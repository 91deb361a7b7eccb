//! Questions about one picture that share a slot.

use super::*;

/// An engine over rows of questions, as an evaluation has it. Its model lives as long as the tests.
fn of_rows(recipe: &Recipe, data: &Data) -> InPlace<'static> {
    let plan = data.plan(recipe).unwrap();
    let model = Box::leak(Box::new(super::plain::compared::busy(recipe, &plan)));
    let intake = Intake::of_rows(recipe, &data.tokenizer, &plan, &mut model.phases).unwrap();
    InPlace::new(&mut model.phases, &model.gates, intake, 64)
}

/// Up to four questions about a picture of the test split.
fn about(client: &Client, data: &Data, picture: usize) -> Vec<Request> {
    let split = data.images(Split::Test).0;
    let of_picture = split.examples().iter().filter(|example| example.image == picture).take(4);
    let request = |example: &crossloom_data::datasets::Example| {
        let shown = vec![split.images().image(picture).unwrap()];
        let prompt = client.card().question(&example.question, shown).unwrap();
        Request { gates: true, ..Request::new(prompt, 5) }
    };
    of_picture.map(request).collect()
}

fn answers(engine: &mut InPlace<'_>, requests: Vec<Vec<Request>>) -> Vec<Answer> {
    let client = engine.client().clone();
    let running: Vec<Running> =
        requests.into_iter().flat_map(|together| client.submit_together(together).unwrap()).collect();
    while engine.round() {}
    running.into_iter().map(|mut running| running.try_answer().unwrap().unwrap()).collect()
}

#[test]
fn answers_in_a_shared_slot_are_those_of_questions_alone() {
    for variant in ["cli", "projector"] {
        let recipe = recipe(variant, &[]);
        let data = data(&recipe);
        let mut engine = of_rows(&recipe, &data);
        let client = engine.client().clone();
        let asked: Vec<Vec<Request>> = (0..5).map(|picture| about(&client, &data, picture)).collect();
        let alone: Vec<Vec<Request>> = asked.iter().flatten().map(|request| vec![request.clone()]).collect();
        let (together, alone) = (answers(&mut engine, asked), answers(&mut engine, alone));
        for (one, other) in together.iter().zip(&alone) {
            assert_eq!(
                (&one.ids, &one.text, one.reason),
                (&other.ids, &other.text, other.reason),
                "{variant}"
            );
            let [one, other] = [one, other].map(|answer| answer.gates.as_ref().unwrap());
            assert!(
                one.iter().zip(other).all(|(a, b)| (a.value - b.value).abs() < 1e-5),
                "{one:?} {other:?}"
            );
        }
        let different: std::collections::BTreeSet<_> = together.iter().map(|answer| &answer.ids).collect();
        assert!(different.len() > 3, "{variant}: {different:?}");
        let stats = client.stats();
        assert!(together.len() > 15, "questions share slots");
        let asked = 2 * together.len() as u64;
        assert_eq!((stats.done, stats.live, engine.slots.free()), (asked, 0, stats.slots));
    }
}

#[test]
fn one_that_leaves_a_shared_slot_takes_nothing_from_the_others() {
    let recipe = recipe("cli", &[]);
    let data = data(&recipe);
    let mut engine = of_rows(&recipe, &data);
    let client = engine.client().clone();
    let whole = answers(&mut engine, vec![about(&client, &data, 1)]);
    let mut running = client.submit_together(about(&client, &data, 1)).unwrap();
    engine.round();
    drop(running.remove(1));
    while engine.round() {}
    let left: Vec<Vec<i32>> =
        running.into_iter().map(|mut running| running.try_answer().unwrap().unwrap().ids).collect();
    assert_eq!(left, [0, 2, 3].map(|at| whole[at].ids.clone()));
    assert_eq!(engine.slots.free(), client.stats().slots);
}

/// Continuations of one prompt, whose positions are all shared, score as they do alone.
#[test]
fn continuations_of_one_prompt_are_scored_together() {
    let recipe = recipe("cli", &[]);
    let data = data(&recipe);
    let mut engine = of_rows(&recipe, &data);
    let client = engine.client().clone();
    let first = about(&client, &data, 2).remove(0);
    let scored = |given: &[i32]| Request {
        given: given.to_vec(),
        max_new_tokens: 0,
        logprobs: Some(0),
        gates: false,
        ..first.clone()
    };
    let choices: Vec<Request> = [&[5, 7, 6][..], &[8], &[11, 5]].map(scored).into();
    let alone = choices.iter().map(|request| vec![request.clone()]).collect();
    let together = answers(&mut engine, vec![choices]);
    let stats = client.stats();
    assert_eq!((stats.prefills, stats.rounds), (1, 0), "all are scored by the call that reads their prompt");
    assert_eq!(stats.tokens_in, first.prompt.positions() as u64 + 2 + 1, "which it reads once");
    let alone = answers(&mut engine, alone);
    assert_eq!(together.iter().map(|answer| answer.logprobs.len()).collect::<Vec<_>>(), [3, 1, 2]);
    for (one, other) in together.iter().zip(&alone) {
        assert_eq!(one.ids, other.ids);
        let apart = one.logprobs.iter().zip(&other.logprobs).map(|(a, b)| (a - b).abs());
        assert!(apart.fold(0.0, f32::max) < 1e-4, "{:?} {:?}", one.logprobs, other.logprobs);
    }
}

#[test]
fn what_cannot_share_a_slot_is_refused_whole() {
    let recipe = recipe("cli", &[]);
    let data = data(&recipe);
    let engine = of_rows(&recipe, &data);
    let client = engine.client();
    let apart = |given| Some(Refused::Apart { given, most: 4 });
    let refused = |requests: Vec<Request>| client.submit_together(requests).err();
    let full: Vec<usize> = (0..5).filter(|&picture| about(client, &data, picture).len() == 4).collect();
    let (one, other) = (about(client, &data, full[0]), about(client, &data, full[1]));
    assert_eq!(refused(vec![one[0].clone(), other[1].clone()]), apart(2), "of two pictures");
    assert_eq!(refused(one.iter().chain(&one[..1]).cloned().collect()), apart(5));
    assert_eq!(refused(Vec::new()), apart(0));
    let long = one.iter().map(|request| Request { max_new_tokens: 20, ..request.clone() });
    assert!(matches!(refused(long.collect()), Some(Refused::TooLong { .. })), "each alone has room");
    assert_eq!(client.stats().waiting, 0);
}
