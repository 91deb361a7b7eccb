//! A plan as text and as JSON.

use std::collections::BTreeMap;

use crossloom_compiler::Plan;
use serde_json::{Value, json};

/// How many kernel calls of each name a plan has.
pub(super) fn kernel_counts<'p>(plans: impl Iterator<Item = &'p Plan>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for step in plans.flat_map(|plan| &plan.steps) {
        *counts.entry(step.kernel.clone()).or_insert(0) += 1;
    }
    counts
}

/// The summary, then every kernel call.
pub(super) fn plan_text(plan: &Plan) -> String {
    format!("{}\n{plan}", plan.summary())
}

/// Sizes in bytes, kernel calls by name, and every call with its scope and places.
pub fn plan_json(plan: &Plan) -> Value {
    let place = |value: &crossloom_ir::Value| plan.place(*value).to_string();
    let steps: Vec<Value> = (plan.steps.iter())
        .map(|step| {
            let inst = plan.func.inst(step.inst);
            json!({
                "kernel": step.kernel,
                "scope": inst.scope.as_str(),
                "reads": inst.inputs.iter().map(place).collect::<Vec<_>>(),
                "writes": inst.outputs.iter().map(place).collect::<Vec<_>>(),
                "in_place": step.in_place,
            })
        })
        .collect();
    json!({
        "name": plan.func.name,
        "backend": plan.target,
        "arena_bytes": plan.arena,
        "lower_bound_bytes": plan.lower_bound,
        "scratch_bytes": plan.scratch,
        "kernel_calls": plan.steps.len(),
        "kernels": kernel_counts(std::iter::once(plan)),
        "steps": steps,
    })
}
