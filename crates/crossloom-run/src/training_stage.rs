//! The trainings of a variant, in order, and how far it has come through them. A recipe without stages has one.

use crossloom_recipe::Recipe;
use crossloom_train::checkpoint::{Checkpoint, Checkpoints};
use crossloom_train::run_dir::{StageDir, VariantDir};

use crate::ExperimentError;
use crate::trained::no_checkpoint;

/// One training of a variant.
#[derive(Clone, Debug)]
pub(crate) struct TrainingStage {
    /// What it trains: the recipe up to this stage.
    pub(crate) recipe: Recipe,
    /// Where it lies.
    pub(crate) dir: StageDir,
    /// Steps of all stages before it.
    pub(crate) before: u64,
}

/// All trainings of a variant, in order.
pub(crate) fn stages(dir: &VariantDir, recipe: &Recipe) -> Vec<TrainingStage> {
    recipe.by_stage().into_iter().map(|recipe| TrainingStage::of(dir, recipe)).collect()
}

/// The newest training of a variant that has a checkpoint, and the step of that; none where none has one.
///
/// # Errors
/// A folder that cannot be read.
fn reached(dir: &VariantDir, recipe: &Recipe) -> Result<Option<(TrainingStage, u64)>, ExperimentError> {
    for stage in stages(dir, recipe).into_iter().rev() {
        if let Some(done) = stage.done()? {
            return Ok(Some((stage, done)));
        }
    }
    Ok(None)
}

/// The newest training of a variant that has a checkpoint: what it has come to.
///
/// # Errors
/// No checkpoint at all; a folder that cannot be read.
pub(crate) fn newest(dir: &VariantDir, recipe: &Recipe) -> Result<TrainingStage, ExperimentError> {
    reached(dir, recipe)?.map(|(stage, _)| stage).ok_or_else(|| no_checkpoint(dir.path().display()))
}

/// Steps of all stages that a variant was trained for; none where it has no checkpoint.
///
/// # Errors
/// A folder that cannot be read.
pub(crate) fn steps_done(dir: &VariantDir, recipe: &Recipe) -> Result<Option<u64>, ExperimentError> {
    Ok(reached(dir, recipe)?.map(|(stage, done)| stage.before + done))
}

/// What is to be said before a variant with stages is asked that is not trained to its end: the stage whose newest checkpoint answers.
///
/// # Errors
/// A folder that cannot be read.
pub fn unfinished_stage(dir: &VariantDir, recipe: &Recipe) -> Result<Option<String>, ExperimentError> {
    let Some((stage, done)) = reached(dir, recipe)? else { return Ok(None) };
    let (steps, all) = (stage.before + done, recipe.all_steps());
    let told =
        |name: &str| format!("trained for {steps} of {all} steps: the stage `{name}` is what is asked");
    Ok(stage.recipe.stage().filter(|_| steps < all).map(told))
}

impl TrainingStage {
    /// The training of a recipe up to its stage.
    pub(crate) fn of(dir: &VariantDir, recipe: Recipe) -> Self {
        let earlier = recipe.stages.iter().rev().skip(1);
        let before = earlier.map(|stage| stage.train.steps).sum();
        Self { dir: dir.stage(recipe.stage()), before, recipe }
    }

    /// Its checkpoints, of which its recipe says how many are kept.
    pub(crate) fn checkpoints(&self) -> Checkpoints {
        Checkpoints::new(self.dir.checkpoints_path(), self.recipe.train.keep_checkpoints)
    }

    /// The step of its newest checkpoint.
    pub(crate) fn done(&self) -> Result<Option<u64>, ExperimentError> {
        Ok(self.checkpoints().steps()?.last().copied())
    }

    /// Whether all its steps are done.
    pub(crate) fn is_finished(&self) -> Result<bool, ExperimentError> {
        Ok(self.done()?.is_some_and(|done| done >= self.recipe.train.steps))
    }

    /// Refuses a checkpoint of another training than this one, or one that is not its last.
    pub(crate) fn is_last(&self, checkpoint: &Checkpoint<'_>) -> Result<(), ExperimentError> {
        let (state, name) = (checkpoint.state(), self.recipe.stage().unwrap_or_default());
        if state.recipe_hash == self.recipe.training_hash() && state.step == self.recipe.train.steps {
            return Ok(());
        }
        Err(ExperimentError::request(
            format!(
                "{} is not what the stage `{name}` of this recipe ends with",
                checkpoint.path().display()
            ),
            "remove the folder of the stage, and it is trained again",
        ))
    }
}

/// What a variant is called while one of its stages is worked on.
pub(crate) fn title(variant: &str, recipe: &Recipe) -> String {
    match recipe.stage() {
        Some(stage) => format!("{variant}, stage {stage}"),
        None => variant.to_owned(),
    }
}
