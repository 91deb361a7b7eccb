//! Random batches: pictures at different positions, packed questions, padding.

use crate::settings::{Gate, Settings};
use crate::weights::Random;

/// A sequence about one picture.
pub(crate) struct Sequence {
    /// `[channel][y][x]`.
    pub(crate) pixels: Vec<f64>,
    pub(crate) tokens: Vec<usize>,
    /// Rotary positions.
    pub(crate) positions: Vec<usize>,
    /// 0 what all questions see, 1, 2, … questions with their answers, −1 padding.
    pub(crate) segments: Vec<i32>,
    /// Whether a position is part of an answer.
    answers: Vec<bool>,
    /// Where every visual token stands, if it does.
    pub(crate) places: Vec<Option<usize>>,
    /// Positions whose next token is asked for; without a token, nothing is.
    pub(crate) targets: Vec<(usize, Option<usize>)>,
}

impl Sequence {
    /// Visual tokens and their positions.
    pub(crate) fn visual(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.places.iter().enumerate().filter_map(|(token, position)| Some((token, (*position)?)))
    }

    /// The position by time, row and column. Visual tokens are counted from the position that they have, row by row.
    pub(crate) fn positions_in_three(&self, visual_grid: usize) -> Vec<[usize; 3]> {
        let mut all: Vec<[usize; 3]> = self.positions.iter().map(|&position| [position; 3]).collect();
        for (token, position) in self.visual() {
            all[position][1] += token / visual_grid;
            all[position][2] += token % visual_grid;
        }
        all
    }

    /// Positions that a gate pools: those of the picture, or of all that is not answer or padding.
    pub(crate) fn pooled(&self, prompt: bool) -> Vec<usize> {
        let image = |t: &usize| self.places.contains(&Some(*t));
        let asked = |t: &usize| self.segments[*t] >= 0 && !self.answers[*t];
        (0..self.tokens.len()).filter(|t| if prompt { asked(t) } else { image(t) }).collect()
    }

    /// Positions that hold something.
    pub(crate) fn filled(&self, position: usize) -> bool {
        self.segments[position] >= 0
    }
}

/// Sequences of one length.
pub(crate) struct Batch {
    /// Gates pool image and question, not the image alone.
    pub(crate) prompt: bool,
    pub(crate) sequences: Vec<Sequence>,
    pub(crate) tokens: usize,
    pub(crate) targets: usize,
}

impl Batch {
    /// Two sequences for a recipe.
    pub(crate) fn random(settings: &Settings, seed: u64) -> Self {
        let mut random = Random::new(seed, "batch");
        // A gate that pools the prompt would mix the questions of a picture.
        let prompt = matches!(settings.injection.gate, Gate::Agf(agf) if agf.prompt);
        let questions = if prompt { 1 } else { 2 };
        let mut sequences: Vec<Sequence> =
            (0..2).map(|_| sequence(settings, questions, &mut random)).collect();
        let tokens = sequences.iter().map(|sequence| sequence.tokens.len()).max().unwrap();
        for sequence in &mut sequences {
            while sequence.tokens.len() < tokens {
                push(sequence, random.below(settings.language.vocab), 0, -1, false);
            }
        }
        Self { prompt, sequences, tokens, targets: 2 }
    }
}

fn push(sequence: &mut Sequence, token: usize, position: usize, segment: i32, answer: bool) {
    sequence.tokens.push(token);
    sequence.positions.push(position);
    sequence.segments.push(segment);
    sequence.answers.push(answer);
}

fn sequence(settings: &Settings, questions: usize, random: &mut Random) -> Sequence {
    let (vision, vocab) = (&settings.vision, settings.language.vocab);
    let pixels = 3 * vision.image_size.pow(2);
    let mut made = Sequence {
        pixels: (0..pixels).map(|_| 1.5 * random.signed()).collect(),
        tokens: Vec::new(),
        positions: Vec::new(),
        segments: Vec::new(),
        answers: Vec::new(),
        places: Vec::new(),
        targets: Vec::new(),
    };
    for position in 0..random.below(3) {
        push(&mut made, random.below(vocab), position, 0, false);
    }
    // Now and then a visual token has no place.
    let visual = settings.visual_tokens();
    let missing = if visual > 1 { random.below(3 * visual) } else { usize::MAX };
    for token in 0..visual {
        made.places.push((token != missing).then_some(made.tokens.len()));
        if token != missing {
            let position = made.tokens.len();
            push(&mut made, random.below(vocab), position, 0, false);
        }
    }
    let start = made.tokens.len();
    for question in 1..=1 + random.below(questions) {
        let (asked, answered) = (1 + random.below(2), 1 + random.below(2));
        for i in 0..asked + answered {
            // Every question follows the picture, whatever stands between.
            push(&mut made, random.below(vocab), start + i, question as i32, i >= asked);
        }
    }
    for _ in 0..2 {
        let position = start + random.below(made.tokens.len() - start);
        let token = (made.targets.is_empty() || random.below(3) > 0).then(|| random.below(vocab));
        made.targets.push((position, token));
    }
    made
}
