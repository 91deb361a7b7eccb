//! `[train]`: optimizer, schedule and loop.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PretrainedWeights;

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
    /// Seed of the parameters' start values and, with `data.seed`, of the order of the training pictures.
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits.
    #[default]
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

    /// Whether it is what a recipe has that says nothing.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A type in which frozen weights are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeptIn {
    /// 32 bits.
    F32,
    /// 16 bits: the upper half of an `f32`.
    Bf16,
    /// Each weight as its file has it, quantized too, and where it lies.
    File,
}

impl KeptIn {
    /// The name it has in a recipe.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::File => "file",
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
    /// What a fusion adds: layers of cross-attention.
    #[serde(default, skip_serializing_if = "PartTraining::is_plain")]
    pub fusion: PartTraining,
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
            Part::Fusion => &self.fusion,
            Part::Gate => &self.gate,
            Part::Language => &self.language,
        }
    }

    /// The settings of one part, to be changed.
    pub fn get_mut(&mut self, part: Part) -> &mut PartTraining {
        match part {
            Part::Vision => &mut self.vision,
            Part::Projector => &mut self.projector,
            Part::Adapter => &mut self.adapter,
            Part::Fusion => &mut self.fusion,
            Part::Gate => &mut self.gate,
            Part::Language => &mut self.language,
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
    /// What a fusion adds.
    Fusion,
    /// Gates.
    Gate,
    /// The language model.
    Language,
}

impl Part {
    /// All parts, in the order of a recipe.
    pub const ALL: [Self; 6] =
        [Self::Vision, Self::Projector, Self::Adapter, Self::Fusion, Self::Gate, Self::Language];

    /// The name it has in a recipe.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vision => "vision",
            Self::Projector => "projector",
            Self::Adapter => "adapter",
            Self::Fusion => "fusion",
            Self::Gate => "gate",
            Self::Language => "language",
        }
    }
}

/// How one part is trained: in full, through low-rank pairs beside its linear layers, or not at all; sets of its tensors
/// may differ from the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartTraining {
    /// Whether the part's own tensors are trained; frozen ones keep their start values. With `lora` they are frozen, and must be
    /// where its pairs are trained.
    #[schemars(extend("default" = true))]
    pub trainable: bool,
    /// Factor on `train.lr`.
    #[schemars(extend("default" = 1.0, "exclusiveMinimum" = 0.0, "maximum" = 1e6))]
    pub lr_scale: f64,
    /// Weight decay of this part. Absent: `train.weight_decay`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 0.0, "maximum" = 10.0))]
    pub weight_decay: Option<f64>,
    /// The type in which the frozen weights of the part are kept. Absent: `f32`. A part that is trained in full has none:
    /// its weights are `f32`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<KeptIn>,
    /// Low-rank pairs beside linear layers of the part, which alone are trained. For `vision`, `projector` and `language`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<Lora>,
    /// Tensors of the part that are trained otherwise than the rest. Each belongs to the first set that matches its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tensors: Vec<TensorSet>,
}

impl Default for PartTraining {
    /// Trained in full, as everything is.
    fn default() -> Self {
        Self {
            trainable: true,
            lr_scale: 1.0,
            weight_decay: None,
            dtype: None,
            lora: None,
            tensors: Vec::new(),
        }
    }
}

impl PartTraining {
    /// Whether it is trained in full, as everything is where nothing else is said.
    fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// Whether anything of the part may be trained.
    pub fn learns(&self) -> bool {
        self.trainable || self.trains_pairs() || self.tensors.iter().any(|set| set.trainable)
    }

    /// Whether it has low-rank pairs that are trained.
    pub fn trains_pairs(&self) -> bool {
        self.lora.as_ref().is_some_and(|lora| lora.trainable)
    }

    /// Whether anything of the part may be frozen.
    pub fn keeps(&self) -> bool {
        !self.trainable || self.tensors.iter().any(|set| !set.trainable)
    }
}

/// LoRA: a linear layer `W` of the part computes with `W + alpha / rank * B A`. `A` starts random and `B` at zero, or both where
/// `weights` have them; both are trained, `W` is not. The pairs of a stage stay in the model in all later ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lora {
    /// An adapter as PEFT writes it (`adapter_config.json` and `adapter_model.safetensors`), from which the pairs start. It says
    /// `rank`, `alpha` and `targets` itself: what is written beside it must be the same. A bare string is the `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<PretrainedWeights>,
    /// Rows of `A` and columns of `B`: at most the smaller side of every layer that has a pair.
    #[schemars(range(min = 1, max = 65_536))]
    pub rank: usize,
    /// Numerator of the factor `alpha / rank`. Absent: the rank, which makes the factor 1.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub alpha: f64,
    /// The linear layers that have a pair, each by the last parts of its name: `q_proj` is that of every layer,
    /// `layers.3.self_attn.q_proj` that of one.
    #[schemars(length(min = 1))]
    pub targets: Vec<String>,
    /// Whether the pairs are trained. Frozen ones keep the values that an earlier stage gave them, or have no effect where none did.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    #[schemars(extend("default" = true))]
    pub trainable: bool,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_yes(value: &bool) -> bool {
    *value
}

impl Lora {
    /// The factor of the pairs.
    pub fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }

    /// The first target that a linear layer is, by its whole name.
    pub fn target_of(&self, linear: &str) -> Option<usize> {
        let is = |target: &String| linear.strip_suffix(target.as_str()).is_some_and(ends_component);
        self.targets.iter().position(is)
    }
}

/// Whether what stands before the last parts of a name ends a part.
fn ends_component(before: &str) -> bool {
    before.is_empty() || before.ends_with('.')
}

/// Tensors of a part that are trained otherwise than the rest of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TensorSet {
    /// Their names: `*` stands for any letters, dots included, `?` for one, `{a,b}` for either.
    #[serde(rename = "match")]
    pub pattern: String,
    /// Whether they are trained, in full; frozen ones keep their start values.
    #[schemars(extend("default" = true))]
    pub trainable: bool,
    /// Factor on `train.lr`. Absent: that of the part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0.0, "maximum" = 1e6))]
    pub lr_scale: Option<f64>,
    /// Weight decay of the set. Absent: that of the part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 0.0, "maximum" = 10.0))]
    pub weight_decay: Option<f64>,
}
