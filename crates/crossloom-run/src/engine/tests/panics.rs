//! A panic in the work of one request.

use crossloom_data::conversations::Conversation;
use crossloom_data::image::VisualLayout;

use super::*;

/// A prompt whose picture has more tokens than it says, which no client can make.
fn lying(prompt: &Prompt) -> Prompt {
    let mut conversation = Conversation::clone(&prompt.conversation);
    conversation.pictures[0].layout = VisualLayout::whole(10_000);
    Prompt::of(conversation, prompt.question.clone())
}

/// It is told of its request, whose slot is free again. Its neighbours hear what they hear alone, bit for bit, then and afterwards.
#[test]
fn a_panic_ends_one_request_and_touches_no_other() {
    let recipe = recipe("cli", &["data.questions_per_sequence=1"]);
    let data = data(&recipe);
    let mut engine = ByHand::of(&recipe, &data, 3);
    let client = engine.client.clone();
    let good = |number: usize| {
        let (question, picture) = example(&data, number);
        let prompt = client.card().question(&question, vec![picture]).unwrap();
        let sampling = Sampling { temperature: 1.5, seed: number as u64, ..Sampling::default() };
        Request { sampling, logprobs: Some(256), gates: true, ..Request::new(prompt, 6) }
    };
    let alone: Vec<Vec<Event>> = (0..4).map(|number| engine.alone(good(number))).collect();
    let drawing = Request { stop: vec![PANICS.to_owned()], ..good(5) };
    let read = Request { prompt: lying(&good(6).prompt), ..good(6) };
    for (failed, bad) in [drawing, read].into_iter().enumerate() {
        let asked = [good(0), bad, good(1), good(2)];
        let [first, bad, second, third] = asked.map(|request| client.submit(request).unwrap());
        while engine.round() {}
        let told = events(bad);
        let Some(Event::Failed(problem)) = told.last() else { panic!("{told:?}") };
        assert!(problem.contains("a panic in the engine"), "{problem}");
        let heard = [first, second, third].map(events);
        assert_eq!(heard.as_slice(), &alone[..3]);
        let stats = client.stats();
        assert_eq!((stats.failed, stats.live, engine.engine.slots.free()), (failed as u64 + 1, 0, 3));
        assert_eq!(engine.alone(good(3)), alone[3]);
    }
}
