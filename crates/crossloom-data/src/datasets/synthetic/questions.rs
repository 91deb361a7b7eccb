//! Questions about a scene, in easy-VQA's forms, with yes and no in balance.

use super::SyntheticOptions;
use super::draw::{COLOURS, Scene, Shape};
use crate::datasets::{Example, QuestionType};
use crate::seeded::SeededRng;

/// Forms that ask whether a subject is there; `{}` is the subject without its article.
const AFFIRMATIVE: [&str; 4] =
    ["is there a {}?", "is there a {} in the image?", "does the image contain a {}?", "is a {} present?"];
/// The same, negated: a yes says that the subject is absent.
const NEGATED: [&str; 4] = [
    "is there not a {}?",
    "is there not a {} in the image?",
    "does the image not contain a {}?",
    "is no {} present?",
];
const SHAPE_FORMS: [&str; 3] =
    ["what shape is in the image?", "what shape does the image contain?", "what shape is present?"];
const COLOUR_FORMS: [&str; 2] = ["what color is the {}?", "what is the color of the {}?"];

/// Between half of `max_questions` and all of them, no question twice.
pub(super) fn ask(
    scene: &Scene,
    image: usize,
    options: &SyntheticOptions,
    rng: &mut SeededRng,
) -> Vec<Example> {
    let fewest = options.max_questions.div_ceil(2);
    let wanted = fewest + rng.below((options.max_questions - fewest + 1) as u32) as usize;
    let mut examples: Vec<Example> = Vec::with_capacity(wanted);
    // A picture allows far more questions than 32, but few open ones; a bound keeps the loop finite in any case.
    for _ in 0..wanted * 16 {
        if examples.len() == wanted {
            break;
        }
        let (question, answer) =
            if rng.unit() < options.open_share { open(scene, rng) } else { closed(scene, rng) };
        if examples.iter().all(|example| example.question != question) {
            examples.push(Example {
                image,
                image_id: image as u64,
                question_type: QuestionType::of_shape_answer(answer),
                question,
                answer: answer.to_owned(),
            });
        }
    }
    examples
}

fn open(scene: &Scene, rng: &mut SeededRng) -> (String, &'static str) {
    let colour = COLOURS[scene.colour].0;
    if rng.coin() {
        // One time in four the question names the colour.
        let form = rng.below(4) as usize;
        let question = SHAPE_FORMS
            .get(form)
            .map_or_else(|| format!("what is the {colour} shape?"), |form| (*form).to_owned());
        (question, scene.shape.name())
    } else {
        let form = COLOUR_FORMS[rng.below(2) as usize];
        let subject = if rng.coin() { "shape" } else { scene.shape.name() };
        (form.replace("{}", subject), colour)
    }
}

fn closed(scene: &Scene, rng: &mut SeededRng) -> (String, &'static str) {
    let yes = rng.coin();
    let negated = rng.coin();
    let present = yes != negated;
    // Eight colours and three shapes: easy-VQA asks about each equally often.
    let subject = if rng.below(11) < 3 {
        pick(Shape::ALL.map(Shape::name), scene.shape as usize, present, rng).to_owned()
    } else {
        format!("{} shape", pick(COLOURS.map(|(name, _)| name), scene.colour, present, rng))
    };
    let forms = if negated { NEGATED } else { AFFIRMATIVE };
    let form = forms[rng.below(forms.len() as u32) as usize];
    (form.replace("{}", &subject), if yes { "yes" } else { "no" })
}

/// The name at `right`, or, when the subject is to be absent, any other.
fn pick<const N: usize>(
    names: [&'static str; N],
    right: usize,
    present: bool,
    rng: &mut SeededRng,
) -> &'static str {
    let shift = if present { 0 } else { 1 + rng.below(N as u32 - 1) as usize };
    names[(right + shift) % N]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::Purpose;

    /// The answer that the question's words imply, found without the generator's own variables.
    fn implied(scene: &Scene, question: &str) -> &'static str {
        let colour = COLOURS[scene.colour].0;
        if question.starts_with("what") {
            return if question.contains("color") { colour } else { scene.shape.name() };
        }
        let words: Vec<&str> = question.trim_end_matches('?').split(' ').collect();
        let negated = words.contains(&"not") || words.contains(&"no");
        let named = words.contains(&colour) || words.contains(&scene.shape.name());
        if named == negated { "no" } else { "yes" }
    }

    #[test]
    fn every_answer_is_true() {
        let options = SyntheticOptions { open_share: 0.5, max_questions: 32, ..SyntheticOptions::default() };
        for index in 0..300 {
            let mut rng = SeededRng::new(3, Purpose::SyntheticTrain, index, 0);
            let scene = Scene::draw(&mut rng);
            let examples = ask(&scene, 0, &options, &mut rng);
            assert!(examples.len() >= 16);
            for example in examples {
                assert_eq!(
                    example.answer,
                    implied(&scene, &example.question),
                    "{scene:?}: {}",
                    example.question
                );
            }
        }
    }
}
