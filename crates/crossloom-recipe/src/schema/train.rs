//! `[train]`: optimizer, schedule and loop.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// AdamW, its schedule, and the loop around it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// Optimizer steps.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub steps: u64,
    /// Sequences per forward pass.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub batch_size: usize,
    /// Forward passes whose gradients are averaged before one optimizer step.
    #[schemars(range(min = 1, max = 65536), extend("default" = 1))]
    pub accumulate: usize,
    /// Seed of the parameters' start values.
    #[schemars(range(max = 9_007_199_254_740_991_u64), extend("default" = 0))]
    pub seed: u64,
    /// Peak learning rate.
    #[schemars(extend("exclusiveMinimum" = 0.0, "maximum" = 10.0))]
    pub lr: f64,
    /// AdamW's two decay rates.
    #[schemars(extend("default" = [0.9, 0.999]), inner(range(min = 0.0, max = 1.0)))]
    pub betas: [f64; 2],
    /// AdamW's epsilon.
    #[schemars(extend("default" = 1e-8, "exclusiveMinimum" = 0.0, "maximum" = 0.1))]
    pub eps: f64,
    /// Decoupled weight decay of matrices. Norms, biases and gate queries are never decayed.
    #[schemars(extend("default" = 0.0, "minimum" = 0.0, "maximum" = 10.0))]
    pub weight_decay: f64,
    /// Largest global norm of the gradient. Absent: no clipping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub clip_norm: Option<f64>,
    /// Linear warm-up: a whole number of steps (`100`) or a fraction of all steps (`0.03`).
    #[schemars(extend("default" = 0.03))]
    pub warmup: Warmup,
    /// Learning rate after the warm-up.
    #[schemars(extend("default" = "cosine"))]
    pub schedule: Schedule,
    /// Learning rate at the last step, as a share of `lr`. Not used by `constant`.
    #[schemars(extend("default" = 0.0, "minimum" = 0.0, "maximum" = 1.0))]
    pub min_lr_ratio: f64,
    /// Steps between two lines of the training log.
    #[schemars(range(min = 1), extend("default" = 10))]
    pub log_every: u64,
    /// Steps between two checkpoints; 0 writes one at the end only.
    #[schemars(extend("default" = 0))]
    pub checkpoint_every: u64,
    /// In which type products and attention are computed from and held; sums, norms, the residual stream, the loss and the
    /// optimizer are `f32` always.
    #[schemars(extend("default" = "f32"))]
    pub precision: Precision,
    /// How many checkpoints are kept, the newest ones.
    #[schemars(range(min = 1), extend("default" = 2))]
    pub keep_checkpoints: usize,
    /// What is trained, and how, part by part.
    pub parts: Parts,
}

impl Train {
    /// Warm-up in steps; a fraction is rounded to the nearest step.
    pub fn warmup_steps(&self) -> u64 {
        match self.warmup {
            Warmup::Steps(steps) => steps,
            Warmup::Fraction(fraction) => (fraction * self.steps as f64).round() as u64,
        }
    }

    /// Whether a step does the same whatever the number of steps is, so that a finished training can go on: the learning
    /// rate is constant and its warm-up a number of steps. Then `steps` is no part of what identifies a training.
    pub fn can_be_extended(&self) -> bool {
        self.schedule == Schedule::Constant && matches!(self.warmup, Warmup::Steps(_))
    }

    /// Peak learning rate of a part: 0 when it is frozen.
    pub fn part_lr(&self, part: Part) -> f64 {
        let training = self.parts.get(part);
        if training.trainable { self.lr * training.lr_scale } else { 0.0 }
    }

    /// Factor by which AdamW shrinks the matrices of a part, times its learning rate, per step: its own, or that of all.
    pub fn part_weight_decay(&self, part: Part) -> f64 {
        self.parts.get(part).weight_decay.unwrap_or(self.weight_decay)
    }
}

/// Linear warm-up: an integer is a number of steps, a float is a fraction of all steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Warmup {
    /// So many steps.
    Steps(u64),
    /// This share of all steps, from 0 to below 1.
    Fraction(#[schemars(extend("minimum" = 0.0, "exclusiveMaximum" = 1.0))] f64),
}

/// Learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Half a cosine down to `min_lr_ratio`.
    Cosine,
    /// A line down to `min_lr_ratio`.
    Linear,
    /// Stays at `lr`.
    Constant,
}

/// A float type that is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits.
    F32,
    /// 16 bits: the upper half of an `f32`.
    Bf16,
}

impl Precision {
    /// The name it has in a recipe.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

/// Settings per part of the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    /// The vision encoder.
    pub vision: PartTraining,
    /// The input's projector, which adapters may share.
    pub projector: PartTraining,
    /// What an adapter adds: low-rank branches, projectors per tap, tap norms.
    pub adapter: PartTraining,
    /// Gates: queries, attention, controllers, static weights.
    pub gate: PartTraining,
    /// The language model.
    pub language: PartTraining,
}

impl Parts {
    /// The settings of one part.
    pub fn get(&self, part: Part) -> &PartTraining {
        match part {
            Part::Vision => &self.vision,
            Part::Projector => &self.projector,
            Part::Adapter => &self.adapter,
            Part::Gate => &self.gate,
            Part::Language => &self.language,
        }
    }
}

/// Parts of a model that are trained separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The vision encoder.
    Vision,
    /// The input's projector.
    Projector,
    /// What an adapter adds.
    Adapter,
    /// Gates.
    Gate,
    /// The language model.
    Language,
}

impl Part {
    /// All parts, in the order of a recipe.
    pub const ALL: [Self; 5] = [Self::Vision, Self::Projector, Self::Adapter, Self::Gate, Self::Language];

    /// The name it has in a recipe.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vision => "vision",
            Self::Projector => "projector",
            Self::Adapter => "adapter",
            Self::Gate => "gate",
            Self::Language => "language",
        }
    }
}

/// How one part is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartTraining {
    /// Whether the part is trained; a frozen part keeps its start values.
    #[schemars(extend("default" = true))]
    pub trainable: bool,
    /// Factor on `train.lr`.
    #[schemars(extend("default" = 1.0, "exclusiveMinimum" = 0.0, "maximum" = 1e6))]
    pub lr_scale: f64,
    /// Weight decay of this part. Absent: `train.weight_decay`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 0.0, "maximum" = 10.0))]
    pub weight_decay: Option<f64>,
    /// The type in which the weights of a frozen part are kept. Absent: `f32`. A part that is trained has none: its
    /// weights are `f32`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<Precision>,
}
