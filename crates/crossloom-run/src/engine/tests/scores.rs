//! What ends an answer, and what is told of its tokens.

use super::*;

fn setting() -> (Recipe, Data) {
    let recipe = recipe("projector", &["data.questions_per_sequence=1", "model.language.max_positions=1024"]);
    let data = in_a_models_tokens(&recipe);
    (recipe, data)
}

/// Ids of a text, given as an answer, so that what is told of them is known.
fn saying(client: &Client, text: &str) -> Request {
    let prompt = client.card().question("what?", Vec::new()).unwrap();
    Request { given: client.card().tokens(text).unwrap(), ..Request::new(prompt, 0) }
}

#[test]
fn characters_of_several_tokens_are_told_whole() {
    let (recipe, data) = setting();
    let mut engine = ByHand::of(&recipe, &data, 2);
    let text = "naïve 猫🙂 ends";
    let request = saying(&engine.client, text);
    let tokens = request.given.len();
    assert!(tokens > text.split(' ').count(), "characters of several tokens");
    let mut told = String::new();
    for event in engine.alone(request.clone()) {
        match event {
            Event::Token(token) => {
                assert!(!token.text.contains('\u{FFFD}'), "{told}|{}", token.text);
                told += &token.text;
            }
            Event::Done { text, usage, .. } => {
                told += &text;
                assert_eq!(usage.completion_tokens, tokens);
            }
            Event::Started { .. } => {}
            Event::Failed(problem) => panic!("{problem}"),
        }
    }
    assert_eq!(told, text);
    // Cut in the middle of a character, what is there is shown as what it is.
    let cat = client_tokens(&engine, "猫");
    assert!(cat.len() > 1);
    let half = Request { given: cat[..1].to_vec(), ..request };
    assert!(engine.answer(half).text.contains('\u{FFFD}'));
}

fn client_tokens(engine: &ByHand, text: &str) -> Vec<i32> {
    engine.client.card().tokens(text).unwrap()
}

#[test]
fn a_text_that_ends_an_answer_is_found_across_tokens_and_is_no_part_of_it() {
    let (recipe, data) = setting();
    let mut engine = ByHand::of(&recipe, &data, 2);
    let mut ask = |text: &str, stop: &[&str]| {
        let stop = stop.iter().map(|&text| text.to_owned()).collect();
        let request = Request { stop, ..saying(&engine.client, text) };
        let answer = engine.answer(request);
        (answer.text, answer.reason)
    };
    let said = "one two three four";
    assert_eq!(ask(said, &["o thr"]), ("one tw".to_owned(), Reason::Stop));
    assert_eq!(ask(said, &["four", "two"]), ("one ".to_owned(), Reason::Stop));
    assert_eq!(
        ask(said, &["fourteen"]),
        (said.to_owned(), Reason::Length),
        "what is withheld is told at the end"
    );
    assert_eq!(ask(said, &["four"]), ("one two three ".to_owned(), Reason::Stop));
}

#[test]
fn log_probabilities_are_of_the_models_own_distribution() {
    let recipe = recipe("projector", &["data.questions_per_sequence=1"]);
    let data = data(&recipe);
    let mut engine = ByHand::of(&recipe, &data, 2);
    let vocabulary = engine.client.card().vocabulary();
    let (question, picture) = example(&data, 0);
    let prompt = engine.client.card().question(&question, vec![picture]).unwrap();
    let plain = Request { logprobs: Some(vocabulary.min(256)), ..Request::new(prompt, 1) };
    let bent = Sampling { temperature: 0.3, top_k: 1, repetition_penalty: 2.0, ..Sampling::default() };
    let bent = Request { sampling: bent, ..plain.clone() };
    let tops = [plain, bent].map(|request| {
        let events = engine.alone(request);
        let Some(Event::Token(token)) = events.iter().find(|event| matches!(event, Event::Token(_))) else {
            panic!("{events:?}")
        };
        token.top.clone()
    });
    assert_eq!(tops[0], tops[1]);
    let sum: f64 = tops[0].iter().map(|(_, logprob)| f64::from(*logprob).exp()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    assert!(tops[0].windows(2).all(|pair| pair[0].1 >= pair[1].1));
}
