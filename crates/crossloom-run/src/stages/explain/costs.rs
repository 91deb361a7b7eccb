//! What plans cost together: operations, bytes, memory by purpose, by scope and by part of the model.

use std::collections::{BTreeMap, BTreeSet};

use crossloom_compiler::Plan;
use crossloom_compiler::explain::{ScopeCost, TypeMemory, explain as explain_plan};
use crossloom_compiler::passes::precision::COPY;
use crossloom_ir::Role;
use crossloom_model::caches;
use crossloom_recipe::Part;
use indexmap::IndexMap;
use serde::Serialize;

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
    /// The cache of keys and values.
    pub keys_and_values: u64,
    /// The arena: activations and gradients at their peak.
    pub activations_and_gradients: u64,
    /// The batch.
    pub inputs: u64,
    /// Working memory of kernels.
    pub scratch: u64,
    /// All of it.
    pub peak: u64,
}

/// What a part of the model costs in each of the things that it is run for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PartCosts {
    /// In a training step.
    pub train: ScopeCost,
    /// While a batch of prompts is read with its pictures.
    pub prefill: ScopeCost,
    /// While one token of every open question is read.
    pub decode: ScopeCost,
}

/// Plans that run one after the other, each with how often.
pub(super) type Calls<'p> = [(&'p Plan, u64)];

/// What some calls cost together. They share weights, state and one arena; inputs are each plan's own.
pub(super) fn costs(calls: &Calls<'_>) -> Costs {
    let mut costs = Costs::default();
    let mut kept: BTreeMap<&str, (Role, u64)> = BTreeMap::new();
    for &(plan, times) in calls {
        let explained = explain_plan(plan, 1);
        costs.flops += times * explained.flops;
        costs.recomputed_flops += times * explained.recomputed.flops;
        costs.bytes_moved += times * explained.bytes_moved;
        costs.kernel_calls += times * plan.steps.len() as u64;
        let memory = &mut costs.memory;
        memory.inputs += explained.input_bytes;
        memory.activations_and_gradients = memory.activations_and_gradients.max(explained.arena_bytes);
        memory.scratch = memory.scratch.max(explained.scratch_bytes);
        for param in plan.func.params().iter().filter(|param| param.role != Role::Input) {
            kept.insert(&param.name, (param.role, plan.func.ty(param.value).bytes() as u64));
        }
    }
    let memory = &mut costs.memory;
    for (name, (role, bytes)) in kept {
        *match role {
            Role::Weight => &mut memory.weights,
            _ if name.starts_with(COPY) => &mut memory.copies,
            _ if name.starts_with(caches::PREFIX) => &mut memory.keys_and_values,
            _ => &mut memory.optimizer,
        } += bytes;
    }
    memory.peak = memory.weights
        + memory.optimizer
        + memory.copies
        + memory.keys_and_values
        + memory.activations_and_gradients
        + memory.inputs
        + memory.scratch;
    costs
}

/// What is held in which element type. Weights and state are shared, what kernels write is each plan's own.
pub(super) fn types(calls: &Calls<'_>) -> BTreeMap<String, TypeMemory> {
    let mut types: BTreeMap<String, TypeMemory> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (plan, _) in calls {
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

/// Costs by scope, cut to its first `depth` parts.
pub(super) fn by_scope(calls: &Calls<'_>, depth: usize) -> BTreeMap<String, ScopeCost> {
    let mut scopes: BTreeMap<String, ScopeCost> = BTreeMap::new();
    for &(plan, times) in calls {
        for (scope, cost) in explain_plan(plan, depth).by_scope {
            add(scopes.entry(scope).or_default(), cost, times);
        }
    }
    scopes
}

fn add(sum: &mut ScopeCost, cost: ScopeCost, times: u64) {
    sum.flops += times * cost.flops;
    sum.bytes += times * cost.bytes;
    sum.calls += times * cost.calls;
}

/// What belongs to no part of the model but to a training step: `optimizer`, `recompute`, and what has no scope.
const OTHER: &str = "other";

/// Costs by part of the model: the parts of a recipe in their order, then what else a training step does.
pub(super) fn by_part(
    train: &Calls<'_>,
    prefill: &Calls<'_>,
    decode: &Calls<'_>,
) -> IndexMap<String, PartCosts> {
    let mut parts: IndexMap<String, PartCosts> =
        Part::ALL.iter().map(|part| (part.name().to_owned(), PartCosts::default())).collect();
    let kinds: [(&Calls<'_>, fn(&mut PartCosts) -> &mut ScopeCost); 3] = [
        (train, |part| &mut part.train),
        (prefill, |part| &mut part.prefill),
        (decode, |part| &mut part.decode),
    ];
    for (calls, of) in kinds {
        for (scope, cost) in by_scope(calls, 2) {
            add(of(parts.entry(part_of(&scope)).or_default()), cost, 1);
        }
    }
    parts.retain(|_, costs| *costs != PartCosts::default());
    parts
}

/// What gates and fuses at a point: one scope, in which neither is told from the other.
pub const FUSING: &str = "gate and fusion";

/// The part of the model that computes a scope: of an injection its adapter, or what gates and fuses.
pub(super) fn part_of(scope: &str) -> String {
    let mut names = scope.split('.');
    let (first, second) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
    match first {
        "" => OTHER.to_owned(),
        "inject" if Part::ALL.iter().any(|part| part.name() == second) => second.to_owned(),
        "inject" => FUSING.to_owned(),
        first => first.to_owned(),
    }
}
