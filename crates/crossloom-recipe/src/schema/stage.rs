//! `[[stage]]`: trainings that follow one another.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Data, Recipe, Train};

/// One of several trainings that follow one another. It starts from the weights that the one before it ended with; its
/// optimizer, its schedule and its steps begin anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Its name: letters, digits, `-` and `_`. It names the stage's folder, and the stage in `stage.NAME.train.steps`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$"))]
    pub name: String,
    /// What is trained and how, where that differs from `[train]`.
    pub train: Train,
    /// What it is trained on, where that differs from `[data]`.
    pub data: Data,
}

impl Recipe {
    /// One recipe per training, in order; of a recipe without stages, that is itself. Each has the `train` and `data` of its stage,
    /// and in `stages` those up to this one: what its weights depend on, and nothing that comes after.
    pub fn by_stage(&self) -> Vec<Self> {
        if self.stages.is_empty() {
            return vec![self.clone()];
        }
        let of = |(index, stage): (usize, &Stage)| Self {
            data: stage.data.clone(),
            train: stage.train.clone(),
            stages: self.stages[..=index].to_vec(),
            ..self.clone()
        };
        self.stages.iter().enumerate().map(of).collect()
    }

    /// The name of the stage whose `train` and `data` the recipe has: the last one. None where there are no stages.
    pub fn stage(&self) -> Option<&str> {
        self.stages.last().map(|stage| stage.name.as_str())
    }

    /// Optimizer steps of all stages together.
    pub fn all_steps(&self) -> u64 {
        match &self.stages[..] {
            [] => self.train.steps,
            stages => stages.iter().map(|stage| stage.train.steps).sum(),
        }
    }

    /// The seed of the order in which training pictures are drawn: `data.seed` and, where it is not 0, `train.seed`, so that
    /// repetitions of a training differ in both; and for a stage behind another its name too, so that two stages that share a
    /// data set do not draw it in the same order.
    pub fn order_seed(&self) -> u64 {
        let name = match &self.stages[..] {
            [] | [_] => None,
            [.., stage] => Some(stage.name.as_str()),
        };
        if name.is_none() && self.train.seed == 0 {
            return self.data.seed;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(ORDER_DOMAIN.as_bytes());
        hasher.update(&self.data.seed.to_le_bytes());
        hasher.update(name.unwrap_or_default().as_bytes());
        if self.train.seed != 0 {
            hasher.update(&[0]);
            hasher.update(&self.train.seed.to_le_bytes());
        }
        let [a, b, c, d, e, f, ..] = *hasher.finalize().as_bytes();
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }
}

/// Changes whenever the order of a stage's pictures does.
const ORDER_DOMAIN: &str = "crossloom stage order 1\n";
