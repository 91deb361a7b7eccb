//! What a variant costs, answered before anything runs.

mod against;
mod budget;
mod costs;

use std::collections::BTreeMap;

use crossloom_compiler::Plan;
use crossloom_compiler::explain::{ScopeCost, TypeMemory};
use crossloom_model::ParamSpec;
use crossloom_recipe::{
    Fusion, FusionOrder, Gate, Injection, Mask, Part, Phase, Precision, Recipe, Selection, Wiring,
};
use crossloom_runtime::limits::Need;
use indexmap::IndexMap;
use serde::Serialize;

use self::costs::{by_part, by_scope, costs, types};
use super::Shapes;
use super::edges::{EdgeCost, edge_costs};
use super::plan::kernel_counts;
use crate::ExperimentError;
use crate::backends::Backend;
use crate::graph::{group_of, precision};
use crate::memory::{Expected, expected};
use crate::programs::Programs;

pub use self::against::{Figure, Unit, figures};
pub use self::budget::{Budget, Changed, Tried, within};
pub use self::costs::{Costs, FUSING, Memory, PartCosts};

/// Everything that is known of a variant before it runs.
#[derive(Debug, Clone, Serialize)]
pub struct Explained {
    /// The variant.
    pub variant: String,
    /// The stage that is trained, where the recipe has stages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Sizes of its batches.
    pub shapes: Shapes,
    /// In which types it computes and keeps frozen parts, in words.
    pub precision: String,
    /// What a training step holds in which element type, by the type's name.
    pub types: BTreeMap<String, TypeMemory>,
    /// Parameters by part of the model.
    pub parameters: IndexMap<&'static str, PartParameters>,
    /// Costs by part of the model, and of what belongs to none.
    pub parts: IndexMap<String, PartCosts>,
    /// A training step, all micro-batches of it.
    pub train: Costs,
    /// A batch of prompts that is read with its pictures: `encode`, `connect` and `prefill`.
    pub prefill: Costs,
    /// One token of every open question of a batch.
    pub decode: Costs,
    /// Bytes that a run holds at once, by purpose, but for the process itself.
    pub run: Need,
    /// The same, were it computed in `f32` and in `bf16`.
    pub run_in: BTreeMap<&'static str, Need>,
    /// What each edge of the topology costs in a forward pass of one batch, by its name.
    pub edges: IndexMap<String, EdgeCost>,
    /// Costs of a training step by scope.
    pub by_scope: BTreeMap<String, ScopeCost>,
    /// The passes that the training step went through.
    pub passes: Vec<PassCounts>,
    /// Kernel calls of a training step by kernel.
    pub kernels: BTreeMap<String, usize>,
    /// Against the same model without its injection; absent where there is none.
    pub overhead: Option<Overhead>,
    /// Against the same training with low-rank pairs in no part, and those parts in full; absent where there are none.
    pub lora: Option<Saved>,
}

/// Parameters of a part, in elements.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PartParameters {
    /// All of them.
    pub total: u64,
    /// Those that training changes.
    pub trained: u64,
}

/// A pass with the number of instructions around it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PassCounts {
    /// Its name.
    pub name: &'static str,
    /// Instructions before.
    pub before: usize,
    /// Instructions after.
    pub after: usize,
}

/// A figure without and with what is asked about: the injection, or low-rank pairs in place of training in full.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ratio {
    /// Without.
    pub without: u64,
    /// With.
    pub with: u64,
    /// `with / without`.
    pub ratio: f64,
}

/// What the injection adds to the same model without it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Overhead {
    /// Parameters.
    pub parameters: Ratio,
    /// FLOPs of a training step.
    pub train_flops: Ratio,
    /// FLOPs of a batch of prompts.
    pub prefill_flops: Ratio,
    /// Bytes moved by a training step.
    pub train_bytes_moved: Ratio,
    /// Peak memory of a training step.
    pub train_peak: Ratio,
}

/// What low-rank pairs save: a figure of the training with the adapted parts in full, and of the training as it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Saved {
    /// Parameters that are trained.
    pub trained: Ratio,
    /// Bytes of the optimizer.
    pub optimizer: Ratio,
    /// FLOPs of a training step.
    pub train_flops: Ratio,
    /// Peak memory of a training step.
    pub train_peak: Ratio,
}

/// Explains a variant; scopes are cut to their first `depth` parts. `budget` is how many bytes a run may hold, besides the process
/// itself.
///
/// # Errors
/// The variant cannot be built or compiled.
pub fn explain(
    name: &str,
    recipe: &Recipe,
    shapes: Shapes,
    depth: usize,
    backend: Backend,
    budget: Option<u64>,
) -> Result<Explained, ExperimentError> {
    let Expected { programs, need, squeezed } = expected(recipe, shapes, backend, budget)?;
    let Phases { train, prefill, decode } = Phases::of(recipe, &programs);
    // Others are brought to as much memory as this one.
    let other = |recipe: &Recipe| -> Result<Programs, ExperimentError> {
        let target = backend.target();
        let mut programs = Programs::to_train(recipe, shapes.batch, shapes.vocab, None, target)?;
        if let Some(arena) = squeezed {
            programs.squeeze(target, arena)?;
        }
        Ok(programs)
    };
    let (train_costs, prefill_costs) = (costs(&train), costs(&prefill));
    let overhead = if recipe.topology.injects() {
        let bare = without_injection(recipe);
        let bare_programs = other(&bare)?;
        let Phases { train, prefill, .. } = Phases::of(&bare, &bare_programs);
        let (bare_train, bare_prefill) = (costs(&train), costs(&prefill));
        Some(Overhead {
            parameters: ratio(elements(&bare_programs), elements(&programs)),
            train_flops: ratio(bare_train.flops, train_costs.flops),
            prefill_flops: ratio(bare_prefill.flops, prefill_costs.flops),
            train_bytes_moved: ratio(bare_train.bytes_moved, train_costs.bytes_moved),
            train_peak: ratio(bare_train.memory.peak, train_costs.memory.peak),
        })
    } else {
        None
    };
    let lora = if Part::ALL.into_iter().any(|part| recipe.train.parts.get(part).trains_pairs()) {
        let full = in_full(recipe);
        let full_programs = other(&full)?;
        let full_costs = costs(&Phases::of(&full, &full_programs).train);
        Some(Saved {
            trained: ratio(trained(&full, &full_programs), trained(recipe, &programs)),
            optimizer: ratio(full_costs.memory.optimizer, train_costs.memory.optimizer),
            train_flops: ratio(full_costs.flops, train_costs.flops),
            train_peak: ratio(full_costs.memory.peak, train_costs.memory.peak),
        })
    } else {
        None
    };
    let mut run_in = BTreeMap::new();
    for precision in [Precision::F32, Precision::Bf16] {
        let need = if precision == recipe.train.precision {
            need.clone()
        } else {
            expected(&computed_in(recipe, precision), shapes, backend, budget)?.need
        };
        run_in.insert(precision.name(), need);
    }
    let passes = programs.training.iter().flat_map(|training| &training.passes);
    Ok(Explained {
        variant: name.to_owned(),
        stage: recipe.stage().map(str::to_owned),
        shapes,
        precision: precision(recipe),
        types: types(&train),
        parameters: parameters(recipe, &programs),
        parts: by_part(&train, &prefill, &decode),
        train: train_costs,
        prefill: prefill_costs,
        decode: costs(&decode),
        run: need,
        run_in,
        edges: edge_costs(recipe, shapes)?,
        by_scope: by_scope(&train, depth),
        passes: passes
            .map(|pass| PassCounts { name: pass.name, before: pass.before, after: pass.after })
            .collect(),
        kernels: kernel_counts(train.iter().map(|(plan, _)| *plan)),
        overhead,
        lora,
    })
}

/// What a model is run for: the plans of each with how often they run.
struct Phases<'p> {
    /// A training step, with all its micro-batches.
    train: Vec<(&'p Plan, u64)>,
    /// A batch of prompts, read with its pictures.
    prefill: Vec<(&'p Plan, u64)>,
    /// One token of every open question.
    decode: Vec<(&'p Plan, u64)>,
}

impl<'p> Phases<'p> {
    fn of(recipe: &Recipe, programs: &'p Programs) -> Self {
        let steps = programs.training.iter().flat_map(|training| {
            let times = if training.apply.is_some() { recipe.train.accumulate as u64 } else { 1 };
            std::iter::once((&training.step, times)).chain(training.apply.iter().map(|apply| (apply, 1)))
        });
        Self {
            train: steps.collect(),
            prefill: programs.phases.reading().map(|plan| (plan, 1)).to_vec(),
            decode: vec![(programs.phases.decoding(), 1)],
        }
    }
}

/// The same training, computed in another type.
fn computed_in(recipe: &Recipe, precision: Precision) -> Recipe {
    let mut other = recipe.clone();
    other.train.precision = precision;
    other
}
/// The same training with the parts in full that have low-rank pairs.
fn in_full(recipe: &Recipe) -> Recipe {
    let mut full = recipe.clone();
    for part in Part::ALL {
        let settings = full.train.parts.get_mut(part);
        if settings.trains_pairs() {
            settings.lora = None;
            (settings.trainable, settings.dtype) = (true, None);
        }
    }
    full
}

fn trained(recipe: &Recipe, programs: &Programs) -> u64 {
    parameters(recipe, programs).values().map(|part| part.trained).sum()
}

/// The same model with nothing injected.
fn without_injection(recipe: &Recipe) -> Recipe {
    let mut bare = recipe.clone();
    bare.topology.named.clear();
    bare.topology.main = Injection {
        taps: Vec::new(),
        points: Vec::new(),
        wiring: Wiring::Dense,
        adapter: bare.topology.main.adapter,
        gate: Gate::None {},
        fusion: Fusion::Add { order: FusionOrder::Parallel },
        mask: Mask::Visual,
        phase: Phase::Prefill,
    };
    bare
}

fn ratio(without: u64, with: u64) -> Ratio {
    Ratio { without, with, ratio: with as f64 / without.max(1) as f64 }
}

fn elements(programs: &Programs) -> u64 {
    programs.params.iter().map(ParamSpec::elements).sum()
}

fn parameters(recipe: &Recipe, programs: &Programs) -> IndexMap<&'static str, PartParameters> {
    let selection = Selection::new(&recipe.train);
    let mut parts: IndexMap<&'static str, PartParameters> = IndexMap::new();
    for part in Part::ALL {
        let mut sum = PartParameters::default();
        for param in programs.params.iter().filter(|param| param.part == part) {
            sum.total += param.elements();
            sum.trained += group_of(&selection, param).map_or(0, |_| param.elements());
        }
        if sum.total > 0 {
            parts.insert(part.name(), sum);
        }
    }
    parts
}
