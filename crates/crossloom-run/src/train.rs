//! Training one variant.

use std::sync::atomic::AtomicBool;

use crossloom_data::conversations::ConversationStream;
use crossloom_data::packing::{PackedBatch, PackingPlan, TrainingOptions, TrainingPacker};
use crossloom_recipe as recipe;
use crossloom_train::checkpoint::{Checkpoints, ResumePolicy};
use crossloom_train::groups::GroupRates;
use crossloom_train::metrics::{JsonlSink, MetricSink, SampleLog, Scalars, TensorBoardSink};
use crossloom_train::progress::Progress;
use crossloom_train::run_dir::VariantDir;
use crossloom_train::schedule::RateCurve;
use crossloom_train::step::BoxError;
use crossloom_train::trainer::{Summary, TrainIo, TrainOptions, Trainer};

use crate::batch::Pools;
use crate::conversations::{ConversationBatches, Setting};
use crate::data::image_mode;
use crate::held_out::HeldOut;
use crate::model::Model;
use crate::processor::Processor;
use crate::sampled::Sample;
use crate::step::ModelStep;
use crate::stream::{Batches, TrainingStream};
use crate::training_stage::{TrainingStage, stages};
use crate::{Data, ExperimentError};

/// Refuses settings that cannot be trained with.
///
/// # Errors
/// What is unsound, all at once.
pub(crate) fn check(recipe: &recipe::Recipe) -> Result<(), ExperimentError> {
    let settings = &recipe.train;
    Trainer::new(train_options(settings, ""), peak_rates(settings), rate_curve(settings))?;
    Ok(())
}

/// Trains a model, from its newest checkpoint if `resume` says so and there is one. A recipe with stages is that of its last one, which
/// starts from what the one before it left in the variant's folder.
///
/// # Errors
/// A checkpoint of another recipe or a damaged one, a file that cannot be written, a value that is not finite; a stage before this one
/// that is not finished.
pub fn train(
    recipe: &recipe::Recipe,
    data: &Data,
    plan: &PackingPlan,
    model: &mut Model,
    dir: &VariantDir,
    resume: bool,
    stop: &AtomicBool,
    progress: &mut dyn Progress,
) -> Result<Summary, ExperimentError> {
    let settings = &recipe.train;
    let mut source = batches(recipe, data, plan)?;
    let hash = recipe.training_hash();
    let stages = stages(dir, recipe);
    let before = stages.len().checked_sub(2).and_then(|index| stages.get(index));
    let dir = dir.enter_stage(recipe.stage())?;
    let checkpoints = Checkpoints::new(dir.checkpoints_path(), settings.keep_checkpoints);
    let newest = if resume { checkpoints.newest()? } else { None };
    if newest.is_none() {
        model.start(settings.seed)?;
        if let Some(before) = before {
            let checkpoints = before.checkpoints();
            let left = checkpoints.newest()?.ok_or_else(|| unfinished(before))?;
            before.is_last(&left)?;
            model.take_over(&left)?;
        }
    }
    let mut step = ModelStep::new(model, Pools::of(recipe), settings.betas, settings.log_every)?;
    let mut held_out = HeldOut::new(recipe, data, plan)?;
    let mut options = train_options(settings, &hash);
    options.validate_every = held_out.as_ref().map(|_| HeldOut::every(recipe));
    let sample = Sample::of(recipe, data, plan);
    options.evaluate_every = recipe.eval.every.filter(|_| sample.is_some());
    let mut trainer = Trainer::new(options, peak_rates(settings), rate_curve(settings))?;
    if let Some(newest) = newest {
        // Runs of other recipes have other folders, so only a checkpoint that was put here by hand is of another recipe.
        let policy = ResumePolicy { recipe_hash: &hash, changes: &|_| None };
        trainer.resume(&newest, &policy, &mut step, &mut source)?;
        progress.note(&format!("continues after step {}", trainer.completed()));
    }
    let mut sinks: Vec<Box<dyn MetricSink>> = vec![
        Box::new(JsonlSink::open(dir.metrics_path(), trainer.completed())?),
        Box::new(TensorBoardSink::create(&dir.tensorboard_path(), trainer.completed())?),
    ];
    let mut validate = |step: &mut ModelStep<'_>, _: u64| -> Result<Scalars, BoxError> {
        held_out.as_mut().map_or_else(|| Ok(Scalars::new()), |held_out| held_out.measure(step))
    };
    let mut evaluate = |step: &mut ModelStep<'_>, _: u64| -> Result<Scalars, BoxError> {
        sample.as_ref().map_or_else(|| Ok(Scalars::new()), |sample| sample.measure(step))
    };
    // Samples of a data set in memory are told by their numbers; those of a stream went by.
    let mut log = match &source {
        Batches::Conversations(_) => Some(SampleLog::open(dir.drawn_path(), trainer.completed())?),
        Batches::Pictures(_) => None,
    };
    if matches!(source, Batches::Conversations(_)) && trainer.completed() == 0 {
        progress.note(
            "samples are read when they are drawn: `crossloom check RECIPE --data` tells before which cannot be learned from or lose turns");
    }
    let mut io = TrainIo {
        progress,
        sinks: &mut sinks,
        checkpoints: Some(&checkpoints),
        samples: log.as_mut(),
        stop,
        validate: Some(&mut validate),
        evaluate: Some(&mut evaluate),
    };
    let mut summary = trainer.run(&mut step, &mut source, &mut io)?;
    if let Batches::Conversations(of) = &source {
        summary.notes.extend(of.told());
    }
    Ok(summary)
}

/// What a training draws from, at its first batch.
fn batches<'d>(
    recipe: &recipe::Recipe,
    data: &'d Data,
    plan: &PackingPlan,
) -> Result<Batches<'d>, ExperimentError> {
    if let Some(stream) = conversation_stream(recipe, data)? {
        return Ok(Batches::Conversations(ConversationBatches::new(stream)));
    }
    let (packer, vectors) = (packer(recipe, data, plan)?, data.question_vectors(recipe)?);
    Ok(Batches::Pictures(TrainingStream::new(packer, PackedBatch::new(plan), vectors).of(data.set())))
}

/// The conversations that a recipe trains on, at the first batch; none where it trains on something else.
///
/// # Errors
/// Rows that no batch can have.
pub fn conversation_stream(
    recipe: &recipe::Recipe,
    data: &Data,
) -> Result<Option<ConversationStream>, ExperimentError> {
    match (Setting::of(recipe, &data.tokenizer)?, data.conversations()) {
        (Some(setting), Some(samples)) => Ok(Some(setting.stream(recipe, samples)?)),
        _ => Ok(None),
    }
}

/// What draws the training batches of a recipe, at the first of them.
///
/// # Errors
/// Data that does not belong to the plan.
pub(crate) fn packer<'d>(
    recipe: &recipe::Recipe,
    data: &'d Data,
    plan: &PackingPlan,
) -> Result<TrainingPacker<'d>, ExperimentError> {
    let (split, encoded) = data.images(recipe::Split::Train);
    let options = TrainingOptions {
        seed: recipe.order_seed(),
        normalization: Processor::of(recipe).normalization(),
        image_mode: image_mode(recipe),
        open_share: recipe.data.open_share,
    };
    Ok(TrainingPacker::new(plan, encoded, split.images(), options)?)
}

fn unfinished(stage: &TrainingStage) -> ExperimentError {
    ExperimentError::request(
        format!("the stage `{}` is not trained yet", stage.recipe.stage().unwrap_or_default()),
        "train it first: crossloom run trains all stages in their order",
    )
}

fn train_options(settings: &recipe::Train, hash: &str) -> TrainOptions {
    TrainOptions {
        steps: settings.steps,
        accumulate: settings.accumulate,
        log_every: settings.log_every,
        checkpoint_every: (settings.checkpoint_every > 0).then_some(settings.checkpoint_every),
        validate_every: None,
        evaluate_every: None,
        recipe_hash: hash.to_owned(),
    }
}

fn peak_rates(settings: &recipe::Train) -> GroupRates {
    let selection = recipe::Selection::new(settings);
    GroupRates::new(selection.groups().iter().map(|group| (group.name.clone(), group.lr)))
}

fn rate_curve(settings: &recipe::Train) -> RateCurve {
    RateCurve {
        shape: settings.schedule,
        warmup_steps: settings.warmup_steps(),
        total_steps: settings.steps,
        min_ratio: settings.min_lr_ratio,
    }
}
