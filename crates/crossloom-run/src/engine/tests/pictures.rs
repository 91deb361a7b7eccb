//! Whose pictures are whose.

use crossloom_data::chat::{Message, Part};

use super::*;

/// A message of words and pictures, `#` for a picture.
fn message(parts: &[&str]) -> Message {
    let part = |part: &&str| match *part {
        "#" => Part::Image {},
        text => Part::Text { text: text.to_owned() },
    };
    Message { role: "user".to_owned(), content: parts.iter().map(part).collect() }
}

fn setting(variant: &str) -> (Recipe, Data) {
    let sets =
        ["data.questions_per_sequence=1", "model.language.max_positions=1024", "eval.max_new_tokens=14"];
    let recipe = recipe(variant, &sets);
    let data = in_a_models_tokens(&recipe);
    (recipe, data)
}

/// Two pictures under one text: the events of each are its own, also where both are asked in the same round, and after the other was.
#[test]
fn a_picture_under_the_same_text_is_another_prompt() {
    let (recipe, data) = setting("cli");
    let mut engine = ByHand::of(&recipe, &data, 4);
    let images = data.images(Split::Test).0.images();
    let pictures: Vec<Image> = (0..images.len()).map(|number| images.image(number).unwrap()).collect();
    assert_eq!(pictures.len(), 5);
    let card = Arc::clone(&engine.client.card);
    let ask = |picture: &Image| {
        let prompt = card.question("what is it?", vec![picture.clone()]).unwrap();
        Request { logprobs: Some(20), gates: true, ..Request::new(prompt, 6) }
    };
    let first: Vec<Vec<Event>> = pictures.iter().map(|picture| engine.alone(ask(picture))).collect();
    for (at, one) in first.iter().enumerate() {
        assert!(first[..at].iter().all(|other| other != one), "two pictures give one answer");
    }
    let encoded = engine.client.stats().pictures_encoded;
    assert_eq!(encoded, pictures.len() as u64);
    let together: Vec<Running> =
        pictures.iter().rev().map(|picture| engine.client.submit(ask(picture)).unwrap()).collect();
    while engine.round() {}
    let together: Vec<Vec<Event>> = together.into_iter().rev().map(events).collect();
    assert_eq!(together, first);
    let stats = engine.client.stats();
    assert_eq!((stats.pictures_encoded, stats.pictures_held), (encoded, encoded), "features are held");
}

#[test]
fn several_pictures_are_read_in_their_order_and_places() {
    let (recipe, data) = setting("cli");
    let mut engine = ByHand::of(&recipe, &data, 2);
    let [one, two] = [0, 1].map(|number| data.images(Split::Test).0.images().image(number).unwrap());
    let card = Arc::clone(&engine.client.card);
    let mut ask = |message: Message, pictures: Vec<Image>| {
        let prompt = card.chat(&[message], pictures).unwrap();
        engine.alone(Request { logprobs: Some(20), gates: true, ..Request::new(prompt, 4) })
    };
    let both = ask(message(&["#", "then", "#", "which?"]), vec![one.clone(), two.clone()]);
    let turned = ask(message(&["#", "then", "#", "which?"]), vec![two.clone(), one.clone()]);
    let moved = ask(message(&["#", "#", "then", "which?"]), vec![one.clone(), two.clone()]);
    let twice = ask(message(&["#", "then", "#", "which?"]), vec![one.clone(), one.clone()]);
    let alone = ask(message(&["#", "then", "which?"]), vec![one.clone()]);
    let none = ask(message(&["then", "which?"]), Vec::new());
    let all = [&both, &turned, &moved, &twice, &alone, &none];
    for (at, one) in all.iter().enumerate() {
        assert!(all[..at].iter().all(|other| other != one), "prompt {at} is like another");
    }
    for events in all {
        assert!(matches!(events.last(), Some(Event::Done { .. })), "{events:?}");
        for event in events {
            if let Event::Token(token) = event {
                assert!(token.top.iter().all(|(_, logprob)| logprob.is_finite()));
            }
        }
    }
    assert_eq!(both, ask(message(&["#", "then", "#", "which?"]), vec![one, two]), "asked again");
}

/// Where a picture is counted, the numbers are those of a model that reads exactly one.
#[test]
fn one_picture_of_several_is_the_one_picture() {
    for variant in ["cli", "projector"] {
        let (recipe, data) = setting(variant);
        let mut counted = ByHand::of(&recipe, &data, 2);
        assert_eq!(counted.client.card().pictures(), (0, 3));
        let mut plan = data.plan(&recipe).unwrap();
        plan.batch_size = 1;
        let mut model = super::plain::compared::busy(&recipe, &plan);
        let encoding = model.phases.encoding().unwrap();
        let mut batch = crossloom_data::packing::PackedBatch::new(&plan);
        let pools = crate::batch::Pools::of(&recipe);
        for number in 0..8 {
            let (question, picture) = example(&data, 3 * number);
            let prompt = counted.client.card().question(&question, vec![picture.clone()]).unwrap();
            let answered = counted.answer(Request::new(prompt, plan.max_new_tokens));
            let tokens = vec![data.tokenizer.question(&question).unwrap()];
            let normalization = crate::processor::Processor::of(&recipe).normalization();
            batch.fill_prompts(&[(&picture, tokens)], &normalization).unwrap();
            let mut gates = crate::gates::GateMoments::default();
            super::plain::answer(&mut model, &mut batch, &pools, encoding, &mut gates, &[0]).unwrap();
            assert_eq!(answered.ids, batch.generated(0), "{variant}: {question}");
        }
    }
}

#[test]
fn pictures_that_a_model_cannot_read_are_refused_before_anything_is_computed() {
    let recipe_of_one = recipe("cli", &["data.questions_per_sequence=1"]);
    let data_of_one = data(&recipe_of_one);
    let one = ByHand::of(&recipe_of_one, &data_of_one, 1);
    let (question, picture) = example(&data_of_one, 0);
    assert_eq!(one.client.card().pictures(), (1, 1));
    for pictures in [vec![], vec![picture.clone(), picture.clone()]] {
        let error = one.client.card().question(&question, pictures).unwrap_err();
        assert!(matches!(error, PromptError::Pictures { least: 1, most: 1, .. }), "{error}");
    }
    let blind = recipe("question_only", &["data.questions_per_sequence=1"]);
    let blind = ByHand::of(&blind, &data(&blind), 1);
    assert!(!blind.client.card().has_vision());
    let error = blind.client.card().question(&question, vec![picture.clone()]).unwrap_err();
    assert!(matches!(error, PromptError::NoVision { pictures: 1 }), "{error}");
    let (recipe, data) = setting("projector");
    let several = ByHand::of(&recipe, &data, 1);
    let error = several.client.card().question("what?", vec![picture.clone(); 4]).unwrap_err();
    assert!(matches!(error, PromptError::Pictures { given: 4, least: 0, most: 3 }), "{error}");
    let error = several.client.card().chat(&[message(&["#", "what?"])], Vec::new()).unwrap_err();
    assert!(matches!(error, PromptError::Places { places: 1, given: 0 }), "{error}");
    let error = several.client.card().question("  ", vec![picture]).unwrap_err();
    assert!(matches!(error, PromptError::Blank), "{error}");
}
