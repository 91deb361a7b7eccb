//! What a compiled function costs, answered before anything runs.

use std::collections::BTreeMap;

use crossloom_ir::{Cost, Role};
use serde::Serialize;

use crate::Plan;
use crate::passes::precision::COPY;
use crate::passes::rematerialise::RECOMPUTE;

/// Sizes and costs of a compiled function. Memory is in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Number of weights (elements).
    pub parameters: u64,
    /// Memory of the weights.
    pub weight_bytes: u64,
    /// Memory of optimizer moments, gradient accumulators and caches.
    pub state_bytes: u64,
    /// Memory of the 16-bit copies of trained weights.
    pub copy_bytes: u64,
    /// Memory of the batch inputs.
    pub input_bytes: u64,
    /// The arena: activations and gradients at their peak.
    pub arena_bytes: u64,
    /// Working memory of kernels.
    pub scratch_bytes: u64,
    /// Floating-point operations of one call.
    pub flops: u64,
    /// Bytes moved by one call if every operand is read once and every result written once.
    pub bytes_moved: u64,
    /// What of this computes values of the forward pass again, see
    /// [`rematerialise`](crate::passes::rematerialise).
    pub recomputed: ScopeCost,
    /// Operations and bytes by scope, to a given depth.
    pub by_scope: BTreeMap<String, ScopeCost>,
    /// What is held in which element type, by the type's name.
    pub by_type: BTreeMap<String, TypeMemory>,
}

/// What is held in one element type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TypeMemory {
    /// Bytes of weights.
    pub weights: u64,
    /// Bytes of state: moments, accumulators, caches, copies of weights.
    pub state: u64,
    /// How many values kernels write.
    pub values: u64,
    /// Bytes of these values, each counted once though they share memory over time.
    pub value_bytes: u64,
}

/// Cost of everything in one scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ScopeCost {
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes moved.
    pub bytes: u64,
    /// Kernel calls.
    pub calls: u64,
}

impl Explanation {
    /// All memory the function needs while it runs.
    pub fn peak_bytes(&self) -> u64 {
        self.weight_bytes
            + self.state_bytes
            + self.copy_bytes
            + self.input_bytes
            + self.arena_bytes
            + self.scratch_bytes
    }
}

/// Explains a plan; scopes are cut to their first `depth` parts.
pub fn explain(plan: &Plan, depth: usize) -> Explanation {
    let mut out = Explanation {
        arena_bytes: plan.arena as u64,
        scratch_bytes: plan.scratch as u64,
        ..Explanation::default()
    };
    for param in plan.func.params() {
        let ty = plan.func.ty(param.value);
        let bytes = ty.bytes() as u64;
        let of_type = out.by_type.entry(ty.dtype.to_string()).or_default();
        match param.role {
            Role::Weight => {
                out.parameters += ty.elements() as u64;
                out.weight_bytes += bytes;
                of_type.weights += bytes;
            }
            Role::State => {
                let kind =
                    if param.name.starts_with(COPY) { &mut out.copy_bytes } else { &mut out.state_bytes };
                *kind += bytes;
                of_type.state += bytes;
            }
            Role::Input => out.input_bytes += bytes,
        }
    }
    let mut total = Cost::default();
    for step in &plan.steps {
        let inst = plan.func.inst(step.inst);
        let inputs: Vec<_> = inst.inputs.iter().map(|&v| plan.func.ty(v)).collect();
        let outputs: Vec<_> = inst.outputs.iter().map(|&v| plan.func.ty(v)).collect();
        let cost = inst.op.cost(&inputs, &outputs);
        total += cost;
        let scope: Vec<&str> = inst.scope.as_str().split('.').take(depth).collect();
        let entry = out.by_scope.entry(scope.join(".")).or_default();
        entry.flops += cost.flops;
        entry.bytes += cost.bytes;
        entry.calls += 1;
        if inst.scope.as_str().split('.').next() == Some(RECOMPUTE) {
            out.recomputed.flops += cost.flops;
            out.recomputed.bytes += cost.bytes;
            out.recomputed.calls += 1;
        }
        // A result of length zero is one that nobody reads.
        for &output in inst.outputs.iter().filter(|&&output| plan.place(output).len > 0) {
            let ty = plan.func.ty(output);
            let of_type = out.by_type.entry(ty.dtype.to_string()).or_default();
            of_type.values += 1;
            of_type.value_bytes += ty.bytes() as u64;
        }
    }
    out.flops = total.flops;
    out.bytes_moved = total.bytes;
    out
}
