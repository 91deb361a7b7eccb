//! A variant that was trained and evaluated, in this process or an earlier one.

use std::collections::BTreeMap;

use crossloom_eval::Results;
use crossloom_eval::compare::{Costs, Standing};
use crossloom_eval::samples::{SampleRecord, read_samples};
use crossloom_recipe::{ImageUse, Precision, Recipe, Variant};
use crossloom_train::run_dir::{GateRecord, RunDir, RunRecord, VariantDir, VariantRecord};
use indexmap::IndexMap;

use crate::ExperimentError;
use crate::cells::{Cell, Member};
use crate::training_stage::steps_done;

/// A variant that was trained and evaluated.
#[derive(Debug)]
pub struct VariantOutcome {
    /// Its name.
    pub name: String,
    /// One sentence on what it is; may be empty.
    pub description: String,
    /// Its recipe.
    pub recipe: Recipe,
    /// Whether it competes or is a yardstick.
    pub role: Standing,
    /// One record per question.
    pub records: Vec<SampleRecord>,
    /// Its numbers.
    pub results: Results,
    /// The step of the checkpoint that answered, counted over all stages.
    pub steps: u64,
    /// The gate of every edge on the evaluation split.
    pub gates: IndexMap<String, GateRecord>,
    /// What is to be said of gates that are the same for every sample.
    pub gate_note: Option<String>,
    /// Whether it is marked as the baseline.
    pub baseline: bool,
    /// Number of weights.
    pub parameters: u64,
    /// Those that training changes.
    pub trained: u64,
    /// Operations of a training step, where they are on record.
    pub step_flops: Option<u64>,
    /// Median time of a training step in milliseconds.
    pub step_ms: Option<f64>,
    /// Share of the time of its steps that went into waiting for data, in 0..1.
    pub data_wait: Option<f64>,
    /// Seconds by phase, over all processes.
    pub seconds: IndexMap<String, f64>,
    /// Where its files are.
    pub dir: VariantDir,
}

impl VariantOutcome {
    pub(crate) fn new(
        variant: &Variant,
        records: Vec<SampleRecord>,
        results: Results,
        entry: &VariantRecord,
        dir: VariantDir,
    ) -> Self {
        Self {
            name: variant.name.clone(),
            description: variant.description.clone(),
            recipe: variant.recipe.clone(),
            role: role(&variant.recipe),
            records,
            results,
            steps: entry.steps,
            gates: entry.gates.clone(),
            gate_note: entry.gate_note.clone(),
            baseline: variant.baseline,
            parameters: entry.parameters,
            trained: entry.trainable_parameters,
            step_flops: entry.step_flops,
            step_ms: entry.step_ms,
            data_wait: entry.data_wait,
            seconds: entry.seconds.clone(),
            dir,
        }
    }

    /// It, to be compared.
    pub fn member(&self) -> Member<'_> {
        Member {
            cell: Cell { name: &self.name, recipe: Some(&self.recipe), baseline: self.baseline },
            role: self.role,
            records: &self.records,
            costs: Costs {
                parameters: Some(self.parameters),
                trained: Some(self.trained),
                step_flops: self.step_flops,
                step_ms: self.step_ms,
            },
        }
    }

    /// Whether it was trained for all steps of its recipe.
    pub(crate) fn is_trained(&self) -> bool {
        self.steps >= self.recipe.all_steps()
    }

    /// What limits it, where it was trained for fewer steps than its recipe says.
    pub(crate) fn partly_trained(&self) -> Option<String> {
        let (steps, wanted) = (self.steps, self.recipe.all_steps());
        let mut before = 0;
        let stage = self.recipe.stages.iter().find(|stage| {
            before += stage.train.steps;
            steps <= before
        });
        let stage = stage.map(|stage| format!(", up to stage `{}`", stage.name)).unwrap_or_default();
        (!self.is_trained()).then(|| format!("trained for {steps} of {wanted} steps{stage}"))
    }

    /// What an earlier process found for a variant. `None` where it was not evaluated, or not with these settings or the
    /// checkpoint that is there now.
    ///
    /// # Errors
    /// A folder that cannot be read, or answers that are damaged.
    pub fn earlier(
        variant: &Variant,
        dir: &RunDir,
        record: &RunRecord,
    ) -> Result<Option<Self>, ExperimentError> {
        let dir = dir.variant_path(&variant.name)?;
        let Some(entry) = record.variants.get(&variant.name) else { return Ok(None) };
        let newest = steps_done(&dir, &variant.recipe)?;
        let settings = evaluated_as(&variant.recipe, newest.unwrap_or(entry.steps));
        if !dir.results_path().exists() || entry.evaluated_as != settings {
            return Ok(None);
        }
        let damaged = |path: std::path::PathBuf, message: String| ExperimentError::File { path, message };
        let records =
            read_samples(&dir.samples_path()).map_err(|e| damaged(dir.samples_path(), e.to_string()))?;
        let results = std::fs::read(dir.results_path())
            .map_err(|e| e.to_string())
            .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|e| e.to_string()))
            .map_err(|message| damaged(dir.results_path(), message))?;
        Ok(Some(Self::new(variant, records, results, entry, dir)))
    }
}

/// The question-only models are yardsticks, not contenders.
pub(crate) fn role(recipe: &Recipe) -> Standing {
    match recipe.data.image {
        ImageUse::Given => Standing::Model,
        ImageUse::Withheld => Standing::Reference,
    }
}

/// The role as a record has it.
pub(crate) fn role_name(role: Standing) -> &'static str {
    match role {
        Standing::Model => "model",
        Standing::Reference => "reference",
    }
}

/// The settings that decide which questions are asked, how long answers may be and what they score, and the step of the
/// checkpoint that answers. Only answers that were given under the settings of now, by the newest checkpoint, are compared.
pub(crate) fn evaluated_as(recipe: &Recipe, step: u64) -> BTreeMap<String, String> {
    let eval = &recipe.eval;
    let split = eval.split.name();
    let limit = eval.limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
    let (tokens, step) = (eval.max_new_tokens.to_string(), step.to_string());
    // Left out where nothing is rounded, as it is of runs from before it could be.
    let rounded = (eval.cache != Precision::F32).then(|| ("cache", eval.cache.name()));
    let settings = [
        ("split", split),
        ("metric", eval.metric.name()),
        ("limit", &limit),
        ("max_new_tokens", &tokens),
        ("step", &step),
    ];
    settings.into_iter().chain(rounded).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
