//! What the training loop asks of a model and of a data set.

use std::fmt;

use indexmap::IndexMap;
pub use safetensors::Dtype;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::groups::GroupRates;
use crate::metrics::Scalars;

/// Any error of an implementer; the loop adds the step number and passes it on.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Mean gate weight of every edge, keyed by the edge's stable name (`block.7->layer.4`), in topology order.
pub type GateMeans = IndexMap<String, f32>;

/// One micro-batch, opaque to the loop except for its size and its origin.
pub trait TrainBatch {
    /// Number of target positions whose loss counts (ignored slots excluded). Zero is allowed: such a batch is skipped.
    fn target_tokens(&self) -> usize;

    /// Ids of the samples in the batch, for error messages.
    fn sample_ids(&self) -> Vec<String> {
        Vec::new()
    }
}

/// An endless stream of batches: it reshuffles with its own seeded generator when an epoch ends.
pub trait BatchSource {
    /// The batch that the matching [`TrainStep`] understands.
    type Batch: TrainBatch;

    /// The next batch. An empty data set is an error, never an endless wait.
    fn next_batch(&mut self) -> Result<Self::Batch, BoxError>;

    /// The position *after the last batch that was handed out* (batches prepared ahead do not count), such that
    /// [`restore`](Self::restore) on a fresh source yields the same stream from there on.
    ///
    /// Use integers and strings only: a float may lose its last bit on the way through JSON.
    ///
    /// # Errors
    /// The position cannot be written down; a checkpoint without it would be worthless, so none is made.
    fn state(&self) -> Result<Value, BoxError>;

    /// What it counts of its samples, for metrics; nothing by default.
    fn counts(&self) -> Scalars {
        Scalars::new()
    }

    /// What is to be said of the samples of the newest batch, such as that some were left out; nothing by default.
    fn notes(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// Go to a position that [`state`](Self::state) returned, perhaps in an earlier process.
    fn restore(&mut self, state: &Value) -> Result<(), BoxError>;
}

/// A tensor of a model, as a checkpoint sees it.
#[derive(Debug, Clone, Copy)]
pub struct StateTensor<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its element type.
    pub dtype: Dtype,
    /// Its extents.
    pub shape: &'a [usize],
    /// Its elements, row-major and little-endian.
    pub bytes: &'a [u8],
}

/// What [`ModelState::visit_state`] calls with every tensor.
pub type Visit<'a> = dyn FnMut(StateTensor<'_>) -> Result<(), BoxError> + 'a;

/// The model's tensors by name, as a checkpoint sees them.
///
/// Names are Hugging Face names for parameters and `optimizer.m.NAME`, `optimizer.v.NAME` for the optimizer's moments:
/// whatever starts with [`OPTIMIZER_PREFIX`] goes to `optimizer.safetensors`, the rest to `model.safetensors`.
pub trait ModelState {
    /// Visit every tensor once, **in the same order at every call**. An error of the
    /// visitor ends the visit and is returned unchanged.
    fn visit_state(&self, visit: &mut Visit<'_>) -> Result<(), BoxError>;

    /// Overwrite one tensor. Name, element type and shape were checked against [`visit_state`](Self::visit_state) before.
    fn load_state(&mut self, tensor: StateTensor<'_>) -> Result<(), BoxError>;
}

/// First part of the name of every tensor that belongs to the optimizer.
pub const OPTIMIZER_PREFIX: &str = "optimizer.";

/// What one call of [`TrainStep::micro_step`] is asked to do.
#[derive(Debug, Clone, Copy)]
pub struct MicroStep<'a> {
    /// Number of the optimizer step, counted from 1.
    pub step: u64,
    /// Which micro-batch of the step this is, counted from 0. At 0 the gradient accumulator starts from zero.
    pub index: usize,
    /// How many micro-batches the step has.
    pub count: usize,
    /// Factor of this micro-batch's gradient: its share of the step's target tokens. The weights of a step sum to 1, so
    /// that the sum of weighted gradients is the gradient of the mean loss over *all* target tokens of the step. It is
    /// exactly 1 when `count` is 1, so a fused step may ignore it there.
    pub weight: f32,
    /// Present on the last micro-batch only: clip and apply the accumulated gradient after the backward pass.
    pub update: Option<&'a Update>,
}

/// The share of one micro-batch in the target tokens of its step: the weight of its gradient.
pub fn share_of_targets<B: TrainBatch>(batches: &[B], index: usize) -> f64 {
    let all: usize = batches.iter().map(TrainBatch::target_tokens).sum();
    batches.get(index).map_or(0.0, |batch| batch.target_tokens() as f64 / all as f64)
}

/// How the parameters are to be updated at the end of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// Number of this update, counted from 1 (the `t` of Adam's bias correction).
    pub step: u64,
    /// Learning rate of every group in this update, the schedule applied.
    pub rates: GroupRates,
}

/// What one micro-batch gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MicroOutput {
    /// Mean cross-entropy over the micro-batch's own target tokens, in nats; unweighted.
    pub loss: f32,
    /// The same of each of its samples over that sample's own target tokens, in the order of [`TrainBatch::sample_ids`]; `None` of
    /// one without any.
    pub sample_losses: Vec<Option<f32>>,
    /// Global L2 norm of the accumulated gradient before clipping; required when an update was asked for.
    pub grad_norm: Option<f32>,
    /// Mean gate weight of every edge over the micro-batch, where the model has gates.
    pub gate_means: Option<GateMeans>,
}

/// A sample of a step, with what the model lost on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleLoss {
    /// Its id, as [`TrainBatch::sample_ids`] has it.
    pub id: String,
    /// Mean cross-entropy over its target tokens, in nats; none where it has no target, and where it is not finite.
    pub loss: Option<f64>,
}

impl SampleLoss {
    pub(crate) fn new(id: String, loss: Option<f32>) -> Self {
        Self { id, loss: loss.filter(|loss| loss.is_finite()).map(f64::from) }
    }
}

impl fmt::Display for SampleLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.loss {
            Some(loss) => write!(f, "{} ({loss:.3})", self.id),
            None => f.write_str(&self.id),
        }
    }
}

/// What one whole optimizer step gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepOutput {
    /// Mean loss over all target tokens of the step, in nats.
    pub loss: f64,
    /// Global L2 norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Target tokens of the step.
    pub tokens: u64,
    /// Gate means, averaged over the micro-batches by their weights.
    pub gate_means: Option<GateMeans>,
    /// Its samples, where they are written down.
    pub samples: Vec<SampleLoss>,
}

/// Where the first non-finite value appeared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NonFinite {
    /// The op that made it, e.g. `softmax`.
    pub op: String,
    /// The scope path of that op, e.g. `language.layer.3.attn`.
    pub scope: String,
    /// The name of the value, e.g. `v42`.
    pub value_name: String,
}

impl fmt::Display for NonFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "op `{}` in scope `{}` (value `{}`)", self.op, self.scope, self.value_name)
    }
}

/// A model that can be trained.
pub trait TrainStep: ModelState {
    /// The batch it eats.
    type Batch: TrainBatch;

    /// Forward and backward of one micro-batch; on the last one of a step also clipping and the update.
    ///
    /// Where it can, an implementation leaves parameters and moments as they were when the gradient norm is not finite;
    /// the loop writes no checkpoint after that in any case.
    fn micro_step(&mut self, batch: &Self::Batch, micro: &MicroStep<'_>) -> Result<MicroOutput, BoxError>;

    /// Forget the gradients of a step that was abandoned between two micro-batches.
    ///
    /// # Errors
    /// The device that holds them failed.
    fn discard_gradients(&mut self) -> Result<(), BoxError>;

    /// After a non-finite loss or gradient in a step over `batches`: find the value that was non-finite first, by doing the
    /// step again from cleared gradients, micro-batch by micro-batch, its update included. May be slow. Each micro-batch has
    /// the weight that [`share_of_targets`] gives it.
    fn locate_non_finite(&mut self, batches: &[Self::Batch], update: &Update) -> Option<NonFinite>;

    /// State of the model's own random generator (dropout …); `null` where it has none. Integers and strings only.
    fn rng_state(&self) -> Value {
        Value::Null
    }

    /// Go back to a state that [`rng_state`](Self::rng_state) returned.
    fn restore_rng(&mut self, state: &Value) -> Result<(), BoxError> {
        if state.is_null() {
            Ok(())
        } else {
            Err("the checkpoint holds a random-generator state, but this model has no random generator"
                .into())
        }
    }
}
