//! `run.json`: what must be known to understand or repeat a run.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// How far a run or a variant has come.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum RunStatus {
    /// Started. Where the run's lock is free as well, its process was killed: see [`RunRecord::abandoned`].
    #[default]
    Running,
    /// All steps are done, and no evaluation was asked for.
    Trained,
    /// Ran to its end.
    Finished,
    /// Stopped on request with a checkpoint.
    Interrupted,
    /// Ended by an error.
    Failed {
        /// The error's message.
        error: String,
    },
}

impl RunStatus {
    /// `running`, `trained`, `finished`, `interrupted` or `failed`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Trained => "trained",
            Self::Finished => "finished",
            Self::Interrupted => "interrupted",
            Self::Failed { .. } => "failed",
        }
    }
}

/// One data set of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DataManifest {
    /// Name, e.g. `easy-vqa`.
    pub name: String,
    /// Version, where it has one.
    pub version: String,
    /// Where it came from.
    pub source: String,
    /// SHA-256 of the archive that it was unpacked from; empty where there is none, as for generated data.
    pub sha256: String,
    /// Samples in each split.
    pub splits: BTreeMap<String, u64>,
    /// BLAKE3 of the decoded content of the training and the test split.
    pub content: BTreeMap<String, String>,
}

/// The gate of one edge over the evaluated samples.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct GateRecord {
    /// Mean over the evaluated sequences, in 0..1.
    pub mean: f64,
    /// Standard deviation between the sequences that were evaluated.
    pub deviation: f64,
}

/// What became of the pictures that the newest process has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PictureRecord {
    /// How often a picture was encoded.
    pub encoded: u64,
    /// How often it was held in memory instead.
    pub from_memory: u64,
    /// How often it was found on disk instead.
    pub from_disk: u64,
    /// Bytes of encoded pictures in memory.
    pub bytes: u64,
    /// Bytes of encoded pictures on disk, of all runs together.
    pub disk_bytes: u64,
}

/// How a fixed sample of questions was answered in the course of a training.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SampledRecord {
    /// The ids of the questions, as in a file of answers.
    pub questions: Vec<String>,
    /// Their mean score by completed optimizer steps, of all stages together.
    pub scores: BTreeMap<u64, f64>,
}

/// One stage of a variant.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StageRecord {
    /// Hash of what it trains, and of what the stages before it do.
    pub hash: String,
    /// BLAKE3 of the decoded content of the training and the test split of its data.
    pub data: BTreeMap<String, String>,
    /// Completed optimizer steps.
    pub steps: u64,
    /// Parameters that are trained.
    pub trainable_parameters: u64,
    /// Loss of the last step, in nats.
    pub final_loss: Option<f64>,
    /// Median time of a training step with the drawing of its batch, in milliseconds, over the newest process that did any.
    pub step_ms: Option<f64>,
    /// Share of the time of its steps that went into waiting for data, over the newest process that did any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_wait: Option<f64>,
    /// Seconds of training, summed over all processes.
    pub seconds: f64,
    /// Folder of the newest checkpoint, relative to the run directory.
    pub checkpoint: Option<String>,
    /// The variant, and the run if it is another, that trained it, where it was taken over from there.
    pub taken_from: Option<String>,
}

/// One variant (trained model) of a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct VariantRecord {
    /// How far it has come.
    pub status: RunStatus,
    /// Completed optimizer steps, of all stages together.
    pub steps: u64,
    /// The stages that were begun, by name, in order; none where the recipe has none.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub stages: IndexMap<String, StageRecord>,
    /// Parameters in all.
    pub parameters: u64,
    /// Parameters that are trained.
    pub trainable_parameters: u64,
    /// In which types it computes and keeps frozen parts, such as `bf16`.
    pub precision: String,
    /// Loss of the last step, in nats.
    pub final_loss: Option<f64>,
    /// Folder of the newest checkpoint, relative to the run directory.
    pub checkpoint: Option<String>,
    /// The variant, and the run if it is another, that trained it, where its only training was taken over from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken_from: Option<String>,
    /// Seeds by purpose.
    pub seeds: BTreeMap<String, u64>,
    /// The kernel of every planned op, in the order of the plans: `train %42` → `matmul`.
    pub kernel_choices: IndexMap<String, String>,
    /// Median time of a training step with the drawing of its batch, in milliseconds, over the newest process that did any.
    pub step_ms: Option<f64>,
    /// Share of the time of training steps that went into waiting for data, over the newest process that did any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_wait: Option<f64>,
    /// Floating-point operations of a training step; `None` where it was not trained since they are noted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_flops: Option<u64>,
    /// How a sample of the questions was answered in the course of its training, where the recipe asks for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampled: Option<SampledRecord>,
    /// Seconds by phase (`compile`, `train`, `evaluate`), summed over all processes.
    pub seconds: IndexMap<String, f64>,
    /// Peak bytes by purpose (`weights`, `activations` …).
    pub bytes: IndexMap<String, u64>,
    /// What became of the pictures that were encoded apart: for answers, and for training where no step changes the encoder.
    pub pictures: Option<PictureRecord>,
    /// Its role in a comparison, `model` or `reference`; empty before it was evaluated.
    pub role: String,
    /// The settings of the evaluation that answers depend on, and the step of the checkpoint that answered; empty before
    /// it was evaluated. Answers are compared only where these are what they would be now.
    pub evaluated_as: BTreeMap<String, String>,
    /// The gate of every edge over the evaluated samples.
    pub gates: IndexMap<String, GateRecord>,
    /// What is to be said of gates that are the same for every sample; `None` where there are none.
    pub gate_note: Option<String>,
}

/// Everything needed to understand or repeat a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunRecord {
    /// Layout version of this record.
    pub schema_version: u32,
    /// The recipe's name.
    pub name: String,
    /// Hash of what the resolved recipe trains.
    pub recipe_hash: String,
    /// Path of the recipe as it was given.
    pub recipe_path: String,
    /// How far the run has come.
    pub status: RunStatus,
    /// Start, in seconds since 1970.
    pub started: f64,
    /// Last change of this record, in seconds since 1970.
    pub updated: f64,
    /// Versions of crossloom and of what it stands on.
    pub versions: BTreeMap<String, String>,
    /// Commit of the git checkout that the recipe lies in, if it does.
    pub git_commit: Option<String>,
    /// Whether that commit alone does not give back what was run: something tracked is changed, or a file of the recipe is not
    /// in the commit.
    pub git_dirty: Option<bool>,
    /// The device, in words.
    pub device: String,
    /// The instruction set of its kernels, of which the last bits depend.
    pub instruction_set: String,
    /// The algorithm of every product that a library computes, in the library's own words, and how it was chosen.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub algorithms: BTreeMap<String, String>,
    /// What a reader must know of how the run came about, such as that it went on elsewhere.
    pub notes: Vec<String>,
    /// Threads used.
    pub threads: u64,
    /// Seeds by purpose, those that all variants share.
    pub seeds: BTreeMap<String, u64>,
    /// The data sets.
    pub data: Vec<DataManifest>,
    /// The variants, in the recipe's order.
    pub variants: IndexMap<String, VariantRecord>,
    /// Seconds by phase for the run as a whole.
    pub seconds: IndexMap<String, f64>,
}

impl RunRecord {
    /// Layout version that this build writes.
    pub const SCHEMA_VERSION: u32 = 1;

    /// The record of a run that has just begun, everything else at its default.
    pub fn new(name: &str, recipe_hash: &str) -> Self {
        Self {
            schema_version: Self::SCHEMA_VERSION,
            name: name.to_owned(),
            recipe_hash: recipe_hash.to_owned(),
            ..Self::default()
        }
    }

    /// Says that it changes now, in seconds since 1970. A record that changes for the first time starts then; one that was
    /// changed later than now, because the clock was set back, keeps that time.
    pub fn touch(&mut self, now: f64) {
        if self.started == 0.0 {
            self.started = now;
        }
        self.updated = now.max(self.started).max(self.updated);
    }

    /// The record as it must be read where no process works on the run: what still says `running` was killed.
    #[must_use]
    pub fn abandoned(mut self) -> Self {
        let variants = self.variants.values_mut().map(|variant| &mut variant.status);
        for status in variants.chain(std::iter::once(&mut self.status)) {
            if *status == RunStatus::Running {
                *status = RunStatus::Interrupted;
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_changes_no_order() {
        let mut record = RunRecord::new("x", "abc");
        for (now, times) in [(100.0, (100.0, 100.0)), (160.0, (100.0, 160.0)), (20.0, (100.0, 160.0))] {
            record.touch(now);
            assert_eq!((record.started, record.updated), times, "at {now}");
        }
    }

    #[test]
    fn what_was_killed_was_interrupted_and_the_rest_is_as_it_was() {
        let mut record = RunRecord::new("x", "abc");
        record.variants.insert("a".to_owned(), VariantRecord::default());
        let trained = VariantRecord { status: RunStatus::Trained, ..VariantRecord::default() };
        record.variants.insert("b".to_owned(), trained);
        let record = record.abandoned();
        let states: Vec<&str> = record.variants.values().map(|variant| variant.status.name()).collect();
        assert_eq!((record.status.name(), states), ("interrupted", vec!["interrupted", "trained"]));
    }
}
