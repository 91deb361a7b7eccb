//! Greedy answers to the questions of a split, by an engine in place. Questions about a picture share a slot, so that it is read once for
//! all of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossloom_data::conversations::{Conversation, Room, Shown};
use crossloom_data::datasets::VqaSplit;
use crossloom_data::image::VisualLayout;
use crossloom_data::packing::{EncodedSplit, ImageMode, PackingPlan, QuestionRow};
use crossloom_eval::metrics::{self, Metric};
use crossloom_eval::samples::{Answer, Question, SampleRecord};
use crossloom_eval::stats::Resampling;
use crossloom_recipe::{Eval, PointAddress, Recipe, Tap};
use crossloom_train::run_dir::GateRecord;
use indexmap::IndexMap;

use crate::data::image_mode;
use crate::engine::{self, InPlace, Intake, Prompt, Reason, Request, Running};
use crate::gates::GateMoments;
use crate::model::Model;
use crate::phases::Phases;
use crate::{Data, ExperimentError};

/// Answers of a model, and the gates over all sequences with a question that was asked.
pub struct Evaluation {
    /// One record per question, in the data set's order.
    pub records: Vec<SampleRecord>,
    /// The gate of every edge.
    pub gates: IndexMap<String, GateRecord>,
}

/// Answers every question of the recipe's evaluation split, or the first `eval.limit` of them. `progress` hears how many
/// are answered, and of how many. Stops early, with `None`, when `stop` is set.
///
/// # Errors
/// Data that cannot be packed, or a graph that cannot run on it.
pub fn evaluate(
    recipe: &Recipe,
    data: &Data,
    plan: &PackingPlan,
    model: &mut Model,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Option<Evaluation>, ExperimentError> {
    let questions = Questions::all(recipe, data, plan);
    questions.ask(&mut model.phases, &model.gates, stop, progress)
}

/// Questions of a split that are asked together.
pub(crate) struct Questions<'d> {
    recipe: &'d Recipe,
    data: &'d Data,
    plan: &'d PackingPlan,
    /// Their numbers in the split, ascending.
    pub(crate) numbers: Vec<usize>,
}

impl<'d> Questions<'d> {
    /// Those that a recipe is evaluated on.
    pub(crate) fn all(recipe: &'d Recipe, data: &'d Data, plan: &'d PackingPlan) -> Self {
        let numbers = wanted(recipe, data.images(recipe.eval.split).1);
        Self { recipe, data, plan, numbers }
    }

    /// Asks a model that has these phases and gated points, as [`evaluate`] does.
    pub(crate) fn ask(
        &self,
        phases: &mut Phases,
        gated: &[(PointAddress, Vec<Tap>)],
        stop: &AtomicBool,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Option<Evaluation>, ExperimentError> {
        let Self { recipe, data, plan, numbers } = self;
        let split = data.images(recipe.eval.split).0;
        let mut waiting = VecDeque::from(self.rows()?);
        // A row for every slot waits, so that whatever is free finds one.
        let queue = phases.slots() * plan.questions_per_sequence;
        let intake = Intake::of_rows(recipe, &data.tokenizer, plan, phases)?;
        let mut engine = InPlace::new(phases, gated, intake, queue);
        let mut answers: Vec<Option<Answer>> = vec![None; numbers.len()];
        let (mut open, mut answered): (Vec<(usize, Running)>, usize) = (Vec::new(), 0);
        let mut gates = GateMoments::default();
        loop {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            while let Some(row) = waiting.front()
                && engine.client().stats().waiting + row.examples.len() <= queue
            {
                let asked = engine.client().submit_together(self.requests(row)?)?;
                let places = row.examples.iter().filter_map(|example| numbers.binary_search(example).ok());
                open.extend(places.zip(asked));
                waiting.pop_front();
            }
            let more = engine.round();
            let mut failed = None;
            open.retain_mut(|(place, running)| {
                let Some(answer) = running.try_answer() else { return true };
                match answer {
                    Ok(engine::Answer { text, reason, gates: told, .. }) => {
                        if let Some(told) = told {
                            gates.add_told(&told);
                        }
                        answers[*place] = Some(Answer { text, finished: reason == Reason::Stop });
                        answered += 1;
                    }
                    Err(problem) => failed = Some((numbers[*place], problem)),
                }
                false
            });
            if let Some((number, problem)) = failed {
                return Err(ExperimentError::request(
                    format!("question {number} of {} was not answered: {problem}", recipe.eval.split.name()),
                    "ask it again: crossloom eval",
                ));
            }
            progress(answered, numbers.len());
            if !more && waiting.is_empty() && open.is_empty() {
                break;
            }
        }
        let records = numbers.iter().zip(answers).map(|(&number, answer)| {
            let asked = question(split, number);
            match answer {
                Some(answer) => SampleRecord::answered(&asked, answer, recipe.eval.metric),
                None => SampleRecord::failed(&asked, "the question was in no row"),
            }
        });
        Ok(Some(Evaluation { records: records.collect(), gates: gates.records() }))
    }

    /// Rows of those that are asked.
    fn rows(&self) -> Result<Vec<QuestionRow>, ExperimentError> {
        let (split, encoded) = self.data.images(self.recipe.eval.split);
        let mut rows = QuestionRow::all(self.plan, encoded, split.images())?;
        for row in &mut rows {
            row.examples.retain(|example| self.numbers.binary_search(example).is_ok());
        }
        rows.retain(|row| !row.examples.is_empty());
        Ok(rows)
    }

    /// The requests of a row; its gates are told once.
    fn requests(&self, row: &QuestionRow) -> Result<Vec<Request>, ExperimentError> {
        let Self { recipe, data, plan, .. } = *self;
        let (split, encoded) = data.images(recipe.eval.split);
        let vectors = data.question_vectors(recipe)?;
        let shown = match image_mode(recipe) {
            ImageMode::Shown => split.images().image(row.image).into_iter().collect(),
            ImageMode::Withheld => Vec::new(),
        };
        let picture =
            Shown { start: plan.lead.len(), layout: VisualLayout::whole(plan.visual_tokens), views: shown };
        let request = |(place, &example): (usize, &usize)| {
            let visual = std::iter::repeat_n(plan.special.image, plan.visual_tokens);
            let asked = encoded.question(example).iter().copied().chain([plan.special.answer]);
            let tokens: Vec<i32> = plan.lead.iter().copied().chain(visual).chain(asked).collect();
            let text = tokens.len() - plan.visual_tokens;
            let needs = Room { text, visual: plan.visual_tokens, views: 1 };
            let pictures = vec![picture.clone()];
            let conversation = Conversation { tokens, learned: Vec::new(), pictures, needs, dropped: 0 };
            let vector = vectors.as_ref().and_then(|known| known.of(recipe.eval.split, example));
            let vector = vector.map(|vector| engine::Question::Vector(Arc::from(vector)));
            let prompt = Prompt::of(conversation, vector);
            Request { gates: place == 0, ..Request::new(prompt, plan.max_new_tokens) }
        };
        Ok(row.examples.iter().enumerate().map(request).collect())
    }
}

/// Refuses a metric that the questions of the evaluation split cannot be scored with.
///
/// # Errors
/// Questions that lack what the metric needs.
pub(crate) fn check_metric(recipe: &Recipe, data: &Data) -> Result<(), ExperimentError> {
    let (split, encoded) = data.images(recipe.eval.split);
    let asked: Vec<Question> =
        wanted(recipe, encoded).into_iter().map(|number| question(split, number)).collect();
    metrics::check(recipe.eval.metric, &asked).map_err(|unsuited| {
        let fits: Vec<String> = (Metric::ALL.into_iter())
            .filter(|&metric| metrics::check(metric, &asked).is_ok())
            .map(|metric| format!("`{}`", metric.name()))
            .collect();
        let questions = format!("the {} questions of {}", recipe.eval.split.name(), data.name());
        let help = format!("set eval.metric to one that {questions} can be scored with: {}", fits.join(", "));
        ExperimentError::request(unsuited.to_string(), help)
    })
}

/// The numbers of the questions that are asked: those of the split, or the first `eval.limit` of them.
fn wanted(recipe: &Recipe, split: &EncodedSplit) -> Vec<usize> {
    let mut wanted = split.examples();
    wanted.truncate(recipe.eval.limit.unwrap_or(usize::MAX));
    wanted
}

fn question(split: &VqaSplit, number: usize) -> Question {
    let example = &split.examples()[number];
    Question {
        id: number.to_string(),
        image: example.image_id.to_string(),
        text: example.question.clone(),
        kind: example.question_type.to_string(),
        truth: vec![example.answer.clone()],
    }
}

/// How intervals are computed.
pub(crate) fn resampling(eval: &Eval) -> Resampling {
    Resampling { draws: eval.permutations, confidence: eval.confidence, seed: eval.seed }
}
