//! Greedy answers to every question of a split.

use std::sync::atomic::{AtomicBool, Ordering};

use crossloom_data::image::Normalization;
use crossloom_data::packing::{AnswerMode, EvaluationPacker, PackedBatch, PackingPlan};
use crossloom_eval::metrics::Metric;
use crossloom_eval::samples::{Answer, Question, SampleRecord};
use crossloom_recipe::Recipe;
use crossloom_train::step::GateMeans;

use super::batch::{load_batch, pool_of};
use super::data::image_mode;
use super::model::Model;
use super::step::gate_means;
use super::{ExperimentData, ExperimentError};

/// Answers of a model, and the mean gates over all batches.
pub struct Evaluation {
    /// One record per question, in the data set's order.
    pub records: Vec<SampleRecord>,
    /// Mean gate of every edge.
    pub gates: GateMeans,
}

/// Answers every question of the recipe's evaluation split. `progress` hears batches done and their number. Stops early,
/// with `None`, when `stop` is set.
///
/// # Errors
/// Data that cannot be packed, or a graph that cannot run on it.
pub fn evaluate(
    recipe: &Recipe,
    data: &ExperimentData,
    plan: &PackingPlan,
    model: &mut Model,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Option<Evaluation>, ExperimentError> {
    let (split, encoded) = data.images(recipe.eval.split);
    let packer =
        EvaluationPacker::new(plan, encoded, split.images(), &Normalization::HALF, image_mode(recipe))?;
    let pool = pool_of(recipe);
    let mut batch = PackedBatch::new(plan);
    let mut records: Vec<Option<SampleRecord>> = vec![None; split.examples().len()];
    let limit = recipe.eval.limit.unwrap_or(usize::MAX);
    let (mut gates, mut batches) = (GateMeans::new(), 0usize);
    for index in 0..packer.batches() {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        packer.fill(index, AnswerMode::Awaited, &mut batch)?;
        let first = answer(model, &mut batch, pool)?;
        for (edge, mean) in first {
            *gates.entry(edge).or_insert(0.0) += mean;
        }
        batches += 1;
        for (place, question) in batch.questions().iter().enumerate() {
            let Some(number) = question.example.filter(|&number| number < limit) else { continue };
            let example = &split.examples()[number];
            let asked = Question {
                id: number.to_string(),
                image: example.image_id.to_string(),
                text: example.question.clone(),
                kind: example.question_type.to_string(),
                truth: vec![example.answer.clone()],
            };
            let text = data.tokenizer.decode(batch.generated(place));
            let given = Answer { text, finished: question.finished, logprob: None };
            records[number] = Some(SampleRecord::answered(&asked, given, Metric::ExactMatch));
        }
        progress(index + 1, packer.batches());
    }
    for mean in gates.values_mut() {
        *mean /= batches.max(1) as f32;
    }
    Ok(Some(Evaluation { records: records.into_iter().flatten().collect(), gates }))
}

/// Generates the answers of a batch by recomputation; returns the mean gates of the prompt.
pub(super) fn answer(
    model: &mut Model,
    batch: &mut PackedBatch,
    pool: crossloom_recipe::GatePool,
) -> Result<GateMeans, ExperimentError> {
    let targets = batch.plan().targets;
    let mut gates = None;
    let mut next = Vec::with_capacity(batch.questions().len());
    loop {
        load_batch(&mut model.predict, batch, pool)?;
        model.predict.run(&mut model.store)?;
        if gates.is_none() {
            gates = Some(gate_means(&model.predict, &model.gates)?);
        }
        let predictions = model.predict.int_result("predictions")?;
        next.clear();
        next.extend(batch.questions().iter().map(|q| predictions[q.row * targets + q.first_slot]));
        if batch.append_generated(&next)? == 0 {
            return Ok(gates.unwrap_or_default());
        }
    }
}
