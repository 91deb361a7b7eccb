//! The sequences that are verified: pictures with gaps between their rows, questions, answers, padding.

use std::ops::Range;

use crossloom_ir::Tensor;
use crossloom_model::inputs;
use crossloom_recipe::{GatePool, Recipe};

use super::evaluate::Named;
use super::small::VOCAB;
use crate::batch::Pools;

/// Tokens of an answer.
pub(crate) const ANSWER: usize = 2;

/// A question of a sequence: where its prompt and its answer stand.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) prompt: Range<usize>,
    pub(crate) answer: Range<usize>,
}

/// A sequence.
#[derive(Clone, Debug)]
pub(crate) struct Sequence {
    /// From the first visual token to the last, with the gaps between rows.
    pub(crate) picture: Range<usize>,
    /// The position of every visual token.
    pub(crate) visual: Vec<usize>,
    pub(crate) questions: Vec<Question>,
}

impl Sequence {
    /// What is read before anything is generated: all but answers.
    pub(crate) fn prompt(&self) -> Vec<usize> {
        let questions = self.questions.iter().flat_map(|question| question.prompt.clone());
        (0..self.picture.end).chain(questions).collect()
    }

    /// The number of a position's question, from 1; 0 for what all questions see.
    fn segment(&self, position: usize) -> i32 {
        let of = |question: &Question| (question.prompt.start..question.answer.end).contains(&position);
        match self.questions.iter().position(of) {
            Some(question) => question as i32 + 1,
            None if position < self.picture.end => 0,
            None => -1,
        }
    }

    /// Whether anything stands there.
    pub(crate) fn is_real(&self, position: usize) -> bool {
        self.segment(position) >= 0
    }

    /// Whether text of a question or an answer stands there.
    pub(crate) fn is_text(&self, position: usize) -> bool {
        self.segment(position) > 0
    }

    /// Whether an answer's token stands there.
    pub(crate) fn answers(&self, position: usize) -> bool {
        self.questions.iter().any(|question| question.answer.contains(&position))
    }

    /// Whether a token of its last question stands there, or of its answer.
    pub(crate) fn of_last_question(&self, position: usize) -> bool {
        let last = self.questions.last();
        last.is_some_and(|question| (question.prompt.start..question.answer.end).contains(&position))
    }
}

/// All sequences of a batch. They differ: in one a token stands before the picture and a gap behind every row of it, in the other the
/// picture comes first and whole.
#[derive(Clone, Debug)]
pub(crate) struct Sequences {
    pub(crate) all: Vec<Sequence>,
    /// Positions of each.
    pub(crate) tokens: usize,
    /// Visual tokens of each.
    pub(crate) visual: usize,
    first_text: [usize; 2],
    pools: Pools,
    /// Whether only some layers have visual tokens.
    comes_and_goes: bool,
    /// Width of a question's vector, where it is given.
    vector_width: Option<usize>,
}

impl Sequences {
    /// Those for a recipe.
    pub(crate) fn of(recipe: &Recipe) -> Self {
        let (side, pools) = (recipe.model.visual_grid(), Pools::of(recipe));
        let several =
            recipe.data.questions_per_sequence > 1 && pools.iter().all(|(_, pool)| pool == GatePool::Image);
        let mut all = Vec::new();
        // Where no visual token is in the sequence, the picture takes no position.
        let side = if recipe.visual_positions() == 0 { 0 } else { side };
        for (lead, gap) in [(1, 1), (0, 0)] {
            let mut visual: Vec<usize> =
                (0..side * side).map(|token| lead + token + gap * (token / side)).collect();
            // A connector may make more tokens than there are places of the picture.
            let (behind, more) = (lead + side * (side + gap), recipe.visual_positions() - side * side);
            visual.extend(behind..behind + more);
            let end = behind + more;
            let (mut at, mut questions) = (end, Vec::new());
            for prompt in [3 - lead, 2].into_iter().take(1 + usize::from(several)) {
                let answer = at + prompt..at + prompt + ANSWER;
                questions.push(Question { prompt: at..at + prompt, answer: answer.clone() });
                at = answer.end;
            }
            all.push(Sequence { picture: lead..end, visual, questions });
        }
        let longest = all.iter().filter_map(|sequence| Some(sequence.questions.last()?.answer.end)).max();
        let positions = recipe.picture_positions();
        let first_text = [0, 1].map(|row: usize| match positions {
            Some(positions) => all[row].picture.start + positions,
            None => all[row].picture.end,
        });
        Self {
            tokens: longest.unwrap_or_default() + 1,
            visual: recipe.visual_positions(),
            all,
            first_text,
            pools,
            comes_and_goes: recipe.topology.stream.stretch().is_some(),
            vector_width: recipe.topology.conditioning.given_width(),
        }
    }

    /// Next tokens of a sequence that are trained.
    pub(crate) fn targets(&self) -> usize {
        self.all.iter().map(|sequence| sequence.questions.len() * ANSWER).max().unwrap_or_default()
    }

    /// Whether several questions share a picture.
    pub(crate) fn share(&self) -> bool {
        self.all.iter().any(|sequence| sequence.questions.len() > 1)
    }

    fn per_position(&self, of: impl Fn(usize, usize) -> f64) -> Tensor<f64> {
        Tensor::from_fn([self.all.len(), self.tokens], |i| of(i / self.tokens, i % self.tokens))
    }

    /// The rotary position of a token.
    fn position(&self, row: usize, at: usize) -> usize {
        let sequence = &self.all[row];
        match sequence.questions.iter().find(|q| (q.prompt.start..q.answer.end).contains(&at)) {
            Some(question) => self.first_text[row] + at - question.prompt.start,
            // Where rows and columns are counted from the first, all visual tokens have its position.
            None if self.first_text[row] != sequence.picture.end && sequence.picture.contains(&at) => {
                sequence.picture.start
            }
            None => at,
        }
    }

    /// All that a whole forward pass is given besides pictures, with every position as a target.
    pub(crate) fn inputs(&self, seed: u64) -> Named {
        let word = |row: usize, at: usize| ((seed as usize + 3) * (row * 31 + at * 7 + 5) % VOCAB) as f64;
        let mut named = Named::new();
        named.insert(inputs::TOKENS.into(), self.per_position(word));
        named.insert(inputs::POSITIONS.into(), self.per_position(|row, at| self.position(row, at) as f64));
        let segment = |row: usize, at: usize| f64::from(self.all[row].segment(at));
        named.insert(inputs::SEGMENTS.into(), self.per_position(segment));
        if self.comes_and_goes {
            let hidden = |row: usize, at: usize| {
                if self.all[row].visual.contains(&at) { -1.0 } else { segment(row, at) }
            };
            named.insert(inputs::TEXT_SEGMENTS.into(), self.per_position(hidden));
        }
        let visual = |i: usize| self.all[i / self.visual].visual[i % self.visual] as f64;
        named.insert(inputs::IMAGE_INDEX.into(), Tensor::from_fn([self.all.len(), self.visual], visual));
        let text = |row: usize, at: usize| f64::from(u8::from(self.all[row].is_text(at)));
        let asked = |row: usize, at: usize| {
            f64::from(u8::from(self.all[row].is_text(at) && !self.all[row].answers(at)))
        };
        named.insert(inputs::QUESTION_MASK.into(), self.per_position(asked));
        if let Some(width) = self.vector_width {
            let value = |i: usize| (((seed as usize + 5) * (i * 17 + 3)) % 13) as f64 / 13.0 - 0.5;
            named.insert(inputs::QUESTION_VECTOR.into(), Tensor::from_fn([self.all.len(), width], value));
        }
        named.insert(inputs::TEXT_MASK.into(), self.per_position(text));
        for (input, pool) in self.pools.iter() {
            let mask = self.per_position(|row, at| f64::from(u8::from(self.pooled(pool, row, at))));
            named.insert(input.into(), mask);
        }
        named.insert(inputs::TARGET_INDEX.into(), self.per_position(|_, at| at as f64));
        named
    }

    fn pooled(&self, pool: GatePool, row: usize, at: usize) -> bool {
        let segment = self.all[row].segment(at);
        match pool {
            GatePool::Image => self.all[row].picture.contains(&at),
            GatePool::Prompt => segment >= 0 && !self.all[row].answers(at),
        }
    }

    /// What a training step is given besides: the positions in front of answers' tokens, and these tokens.
    pub(crate) fn targeted(&self, named: &mut Named) {
        let targets = self.targets();
        let tokens = named.get(inputs::TOKENS).cloned();
        let before: Vec<Vec<usize>> = self
            .all
            .iter()
            .map(|s| s.questions.iter().flat_map(|q| q.answer.start - 1..q.answer.end - 1).collect())
            .collect();
        let at = |i: usize| before[i / targets].get(i % targets).copied();
        let index = |i: usize| at(i).unwrap_or_default() as f64;
        let next = |i: usize| {
            let of = |at: usize| tokens.as_ref().map(|tokens| tokens.at(i / targets * self.tokens + at + 1));
            at(i).and_then(of).unwrap_or(-1.0)
        };
        let shape = [self.all.len(), targets];
        named.insert(inputs::TARGET_INDEX.into(), Tensor::from_fn(shape, index));
        named.insert(inputs::TARGETS.into(), Tensor::from_fn(shape, next));
    }

    /// Positions of every sequence as the inputs of a call on a cache with room for so many of each. `held` is what the cache holds.
    pub(crate) fn call(&self, whole: &Named, spans: &[Vec<usize>], held: &[usize], tokens: usize) -> Named {
        let mut named = Named::new();
        for (name, of) in whole.iter().filter(|(name, _)| inputs::is_per_position(name)) {
            let segments = [inputs::SEGMENTS, inputs::TEXT_SEGMENTS].contains(&name.as_str());
            let padding = if segments { -1.0 } else { 0.0 };
            let value = |i: usize| {
                let (row, at) = (i / tokens, i % tokens);
                spans[row].get(at).map_or(padding, |position| of.at(row * self.tokens + position))
            };
            named.insert(name.clone(), Tensor::from_fn([spans.len(), tokens], value));
        }
        let here = |i: usize| {
            let (row, token) = (i / self.visual, i % self.visual);
            let position = self.all[row].visual[token];
            spans[row].iter().position(|&at| at == position).map_or(-1.0, |at| at as f64)
        };
        named.insert(inputs::IMAGE_INDEX.into(), Tensor::from_fn([spans.len(), self.visual], here));
        let every = Tensor::from_fn([spans.len(), tokens], |i| (i % tokens) as f64);
        named.insert(inputs::TARGET_INDEX.into(), every);
        let per_row = |of: &dyn Fn(usize) -> usize| Tensor::from_fn([spans.len()], |row| of(row) as f64);
        let slot = |row: usize| spans.len() - 1 - row;
        named.insert(inputs::SLOT.into(), per_row(&slot));
        let kept = |row: usize| if spans[row].is_empty() { -1.0 } else { slot(row) as f64 };
        named.insert(inputs::PICTURE_SLOT.into(), Tensor::from_fn([spans.len()], kept));
        named.insert(inputs::START.into(), per_row(&|row| held[row]));
        named.insert(inputs::COUNT.into(), per_row(&|row| spans[row].len()));
        named
    }
}
