//! Greedy answers to every question of a split.

use std::sync::atomic::{AtomicBool, Ordering};

use crossloom_data::datasets::VqaSplit;
use crossloom_data::packing::{AnswerMode, EncodedSplit, EvaluationPacker, PackedBatch, PackingPlan};
use crossloom_eval::metrics::{self, Metric};
use crossloom_eval::samples::{Answer, Question, SampleRecord};
use crossloom_eval::stats::Resampling;
use crossloom_recipe::{Eval, Recipe};
use crossloom_train::run_dir::GateRecord;
use indexmap::IndexMap;

use crate::batch::Pools;
use crate::data::image_mode;
use crate::gates::GateMoments;
use crate::generate::answer;
use crate::model::Model;
use crate::processor::Processor;
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
    let (split, encoded) = data.images(recipe.eval.split);
    let packer = EvaluationPacker::new(
        plan,
        encoded,
        split.images(),
        &Processor::of(recipe).normalization(),
        image_mode(recipe),
    )?;
    let (pools, vectors) = (Pools::of(recipe), data.question_vectors(recipe)?);
    let mut batch = PackedBatch::new(plan);
    let wanted = wanted(recipe, encoded);
    let mut answers: Vec<Option<Answer>> = vec![None; wanted.len()];
    let mut open = wanted.len();
    let mut gates = GateMoments::default();
    let encoding = model.phases.encoding()?;
    for index in 0..packer.batches() {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        packer.fill(index, AnswerMode::Awaited, &mut batch)?;
        if let Some(vectors) = &vectors {
            vectors.lay(recipe.eval.split, &mut batch)?;
        }
        let places: Vec<(usize, usize)> = (batch.questions().iter().enumerate())
            .filter_map(|(place, question)| Some((place, wanted.binary_search(&question.example?).ok()?)))
            .collect();
        // Questions beyond the limit are not answered; what is left out is not run.
        if !places.is_empty() {
            let mut rows: Vec<usize> =
                places.iter().map(|&(place, _)| batch.questions()[place].row).collect();
            rows.sort_unstable();
            rows.dedup();
            answer(model, &mut batch, &pools, encoding, &mut gates, &rows)?;
        }
        for (place, number) in places {
            let text = data.tokenizer.decode(batch.generated(place))?;
            let finished = batch.questions()[place].ended_by_eos;
            open -= usize::from(answers[number].is_none());
            answers[number] = Some(Answer { text, finished });
        }
        progress(wanted.len() - open, wanted.len());
        if open == 0 {
            break;
        }
    }
    let records = wanted.iter().zip(answers).map(|(&number, answer)| {
        let asked = question(split, number);
        match answer {
            Some(answer) => SampleRecord::answered(&asked, answer, recipe.eval.metric),
            None => SampleRecord::failed(&asked, "the question was in no batch"),
        }
    });
    Ok(Some(Evaluation { records: records.collect(), gates: gates.records() }))
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
