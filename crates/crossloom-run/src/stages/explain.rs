//! What a variant costs, answered before anything runs.

use std::collections::{BTreeMap, BTreeSet};

use crossloom_compiler::explain::{ScopeCost, TypeMemory, explain as explain_plan};
use crossloom_compiler::passes::precision::COPY;
use crossloom_ir::Role;
use crossloom_model::ParamSpec;
use crossloom_recipe::{Fusion, FusionOrder, Gate, Mask, Part, Phase, Recipe, Selection, Wiring};
use crossloom_runtime::limits::Need;
use indexmap::IndexMap;
use serde::Serialize;

use super::compiled::{Program, program_within};
use super::plan::kernel_counts;
use super::{Mode, Shapes, Subject};
use crate::ExperimentError;
use crate::backends::Backend;
use crate::graph::{group_of, precision};
use crate::memory::expected;

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
    /// A training step, all micro-batches of it.
    pub train: Costs,
    /// A forward pass of one batch.
    pub forward: Costs,
    /// Bytes that a run holds at once, by purpose, but for the process itself.
    pub run: Need,
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

/// What a call costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Costs {
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes moved, if every operand is read once and every result written once.
    pub bytes_moved: u64,
    /// Kernel calls.
    pub kernel_calls: u64,
    /// Operations that compute values of the forward pass again, to hold fewer of them.
    pub recomputed_flops: u64,
    /// Memory while it runs.
    pub memory: Memory,
}

/// Memory by purpose, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Parameters.
    pub weights: u64,
    /// Moments of the optimizer and gradient accumulators.
    pub optimizer: u64,
    /// The 16-bit copies of trained weights.
    pub copies: u64,
    /// The arena: activations and gradients at their peak.
    pub activations_and_gradients: u64,
    /// The batch.
    pub inputs: u64,
    /// Working memory of kernels.
    pub scratch: u64,
    /// All of it.
    pub peak: u64,
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
    /// FLOPs of a forward pass.
    pub forward_flops: Ratio,
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
    let (run, memory) = expected(recipe, shapes, backend, budget)?;
    let compile = |recipe: &Recipe, mode| {
        program_within(&Subject { name, recipe, shapes, mode, backend, verify: false }, memory)
    };
    let (train, forward) = (compile(recipe, Mode::Train)?, compile(recipe, Mode::Forward)?);
    let (train_costs, forward_costs) = (costs(recipe, &train), costs(recipe, &forward));
    let overhead = if recipe.topology.injects() {
        let bare = without_injection(recipe);
        let (bare_train, bare_forward) = (compile(&bare, Mode::Train)?, compile(&bare, Mode::Forward)?);
        let (bare_costs, bare_forward_costs) = (costs(&bare, &bare_train), costs(&bare, &bare_forward));
        Some(Overhead {
            parameters: ratio(elements(&bare_forward), elements(&forward)),
            train_flops: ratio(bare_costs.flops, train_costs.flops),
            forward_flops: ratio(bare_forward_costs.flops, forward_costs.flops),
            train_bytes_moved: ratio(bare_costs.bytes_moved, train_costs.bytes_moved),
            train_peak: ratio(bare_costs.memory.peak, train_costs.memory.peak),
        })
    } else {
        None
    };
    let lora = if Part::ALL.into_iter().any(|part| recipe.train.parts.get(part).trains_pairs()) {
        let full = in_full(recipe);
        let program = compile(&full, Mode::Train)?;
        let full_costs = costs(&full, &program);
        Some(Saved {
            trained: ratio(trained(&full, &program), trained(recipe, &train)),
            optimizer: ratio(full_costs.memory.optimizer, train_costs.memory.optimizer),
            train_flops: ratio(full_costs.flops, train_costs.flops),
            train_peak: ratio(full_costs.memory.peak, train_costs.memory.peak),
        })
    } else {
        None
    };
    Ok(Explained {
        variant: name.to_owned(),
        stage: recipe.stage().map(str::to_owned),
        shapes,
        precision: precision(recipe),
        types: types(&train),
        parameters: parameters(recipe, &forward),
        train: train_costs,
        forward: forward_costs,
        run,
        by_scope: by_scope(recipe, &train, depth),
        passes: (train.passes())
            .map(|pass| PassCounts { name: pass.name, before: pass.before, after: pass.after })
            .collect(),
        kernels: kernel_counts(train.plans()),
        overhead,
        lora,
    })
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

fn trained(recipe: &Recipe, program: &Program) -> u64 {
    parameters(recipe, program).values().map(|part| part.trained).sum()
}

/// The same model with nothing injected.
fn without_injection(recipe: &Recipe) -> Recipe {
    let mut bare = recipe.clone();
    bare.topology.taps.clear();
    bare.topology.points.clear();
    bare.topology.wiring = Wiring::Dense;
    bare.topology.gate = Gate::None {};
    bare.topology.fusion = Fusion::Add { order: FusionOrder::Parallel };
    (bare.topology.mask, bare.topology.phase) = (Mask::Visual, Phase::Prefill);
    bare
}

fn ratio(without: u64, with: u64) -> Ratio {
    Ratio { without, with, ratio: with as f64 / without.max(1) as f64 }
}

fn elements(program: &Program) -> u64 {
    program.params.iter().map(ParamSpec::elements).sum()
}

fn parameters(recipe: &Recipe, program: &Program) -> IndexMap<&'static str, PartParameters> {
    let selection = Selection::new(&recipe.train);
    let mut parts: IndexMap<&'static str, PartParameters> = IndexMap::new();
    for part in Part::ALL {
        let mut sum = PartParameters::default();
        for param in program.params.iter().filter(|param| param.part == part) {
            sum.total += param.elements();
            sum.trained += group_of(&selection, param).map_or(0, |_| param.elements());
        }
        if sum.total > 0 {
            parts.insert(part.name(), sum);
        }
    }
    parts
}

/// How often each plan of a program runs per call.
fn repeats(recipe: &Recipe, program: &Program) -> u64 {
    if program.set.apply.is_some() { recipe.train.accumulate as u64 } else { 1 }
}

fn costs(recipe: &Recipe, program: &Program) -> Costs {
    let mut costs = Costs::default();
    let mut kept: BTreeMap<&str, (Role, u64)> = BTreeMap::new();
    for (index, plan) in program.plans().enumerate() {
        let times = if index == 0 { repeats(recipe, program) } else { 1 };
        let explained = explain_plan(plan, 1);
        costs.flops += times * explained.flops;
        costs.recomputed_flops += times * explained.recomputed.flops;
        costs.bytes_moved += times * explained.bytes_moved;
        costs.kernel_calls += times * plan.steps.len() as u64;
        let memory = &mut costs.memory;
        memory.inputs += explained.input_bytes;
        // All plans of a program run in one arena, one after the other.
        memory.activations_and_gradients = memory.activations_and_gradients.max(explained.arena_bytes);
        memory.scratch = memory.scratch.max(explained.scratch_bytes);
        // Weights and state are shared by all plans of a program.
        for param in plan.func.params().iter().filter(|param| param.role != Role::Input) {
            kept.insert(&param.name, (param.role, plan.func.ty(param.value).bytes() as u64));
        }
    }
    let memory = &mut costs.memory;
    let of = |wanted: Role, copies: bool| {
        let all = kept.iter().filter(|(name, (role, _))| *role == wanted && name.starts_with(COPY) == copies);
        all.map(|(_, (_, bytes))| bytes).sum()
    };
    (memory.weights, memory.optimizer) = (of(Role::Weight, false), of(Role::State, false));
    memory.copies = of(Role::State, true);
    memory.peak = memory.weights
        + memory.optimizer
        + memory.copies
        + memory.activations_and_gradients
        + memory.inputs
        + memory.scratch;
    costs
}

/// Weights and state are shared by the plans of a program, what kernels write is each one's own.
fn types(program: &Program) -> BTreeMap<String, TypeMemory> {
    let mut types: BTreeMap<String, TypeMemory> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for plan in program.plans() {
        for (name, memory) in explain_plan(plan, 1).by_type {
            let entry = types.entry(name).or_default();
            entry.values += memory.values;
            entry.value_bytes += memory.value_bytes;
        }
        for param in plan.func.params().iter().filter(|param| seen.insert(&param.name)) {
            let ty = plan.func.ty(param.value);
            let entry = types.entry(ty.dtype.to_string()).or_default();
            match param.role {
                Role::Weight => entry.weights += ty.bytes() as u64,
                Role::State => entry.state += ty.bytes() as u64,
                Role::Input => {}
            }
        }
    }
    types
}

fn by_scope(recipe: &Recipe, program: &Program, depth: usize) -> BTreeMap<String, ScopeCost> {
    let mut scopes: BTreeMap<String, ScopeCost> = BTreeMap::new();
    for (index, plan) in program.plans().enumerate() {
        let times = if index == 0 { repeats(recipe, program) } else { 1 };
        for (scope, cost) in explain_plan(plan, depth).by_scope {
            let entry = scopes.entry(scope).or_default();
            entry.flops += times * cost.flops;
            entry.bytes += times * cost.bytes;
            entry.calls += times * cost.calls;
        }
    }
    scopes
}
