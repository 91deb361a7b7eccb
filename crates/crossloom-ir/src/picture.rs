//! Functions as the nodes of a [picture](crossloom_picture::Picture).

use std::collections::BTreeSet;

use crossloom_picture::{Kind, Node};

use crate::{Func, InstData, Role, Value};

/// The section of what a training step computes for its gradients only.
const GRADIENTS: &str = "gradients";
/// The section of what follows the gradients; also the scope that it is in.
const OPTIMIZER: &str = "optimizer";

/// Parameters, instructions and results of a function as nodes.
///
/// `label` says what is written on an instruction, and how many bytes each of its outputs takes; an instruction without
/// a label only renames what it reads first, and is not drawn. In a training step, what the loss does not depend on is
/// drawn below it.
pub fn nodes(func: &Func, label: impl Fn(usize, &InstData) -> Option<(String, Vec<u64>)>) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut known: Vec<Option<(usize, usize)>> = vec![None; func.value_count()];
    for param in func.params() {
        known[param.value.index()] = Some((nodes.len(), 0));
        let kind = match param.role {
            Role::Input => Kind::Given,
            Role::Weight | Role::State => Kind::Kept,
        };
        let types = vec![func.ty(param.value).to_string()];
        nodes.push(Node { kind, label: param.name.clone(), types, ..Node::default() });
    }
    let forward = forward(func);
    for (index, inst) in func.insts().iter().enumerate() {
        let inputs: Vec<_> = inst.inputs.iter().filter_map(|value| known[value.index()]).collect();
        let Some((label, bytes)) = label(index, inst) else {
            for output in &inst.outputs {
                known[output.index()] = inputs.first().copied();
            }
            continue;
        };
        for (output, value) in inst.outputs.iter().enumerate() {
            known[value.index()] = Some((nodes.len(), output));
        }
        let scope = inst.scope.as_str();
        let section = match &forward {
            Some(forward) if !forward.contains(&index) => Some(section(scope).to_owned()),
            _ => None,
        };
        let types = inst.outputs.iter().map(|&value| func.ty(value).to_string()).collect();
        let scope = scope.to_owned();
        nodes.push(Node { kind: Kind::Op, label, types, scope, section, inputs, bytes });
    }
    // New contents of parameters are no results that anybody reads.
    for result in func.results().iter().filter(|result| result.updates.is_none()) {
        let inputs: Vec<_> = known[result.value.index()].into_iter().collect();
        let section = inputs.first().and_then(|&(source, _): &(usize, usize)| nodes[source].section.clone());
        nodes.push(Node {
            kind: Kind::Result,
            label: result.name.clone(),
            types: vec![func.ty(result.value).to_string()],
            section,
            inputs,
            ..Node::default()
        });
    }
    nodes
}

fn section(scope: &str) -> &'static str {
    if scope.split('.').next() == Some(OPTIMIZER) { OPTIMIZER } else { GRADIENTS }
}

/// The instructions that the loss of a training step depends on; `None` for a function that trains nothing.
fn forward(func: &Func) -> Option<BTreeSet<usize>> {
    if func.results().iter().all(|result| result.updates.is_none()) {
        return None;
    }
    let mut seen = BTreeSet::new();
    let mut stack: Vec<Value> = func.result("loss").into_iter().collect();
    while let Some(value) = stack.pop() {
        if let Some((inst, data)) = func.def_inst(value)
            && seen.insert(inst.index())
        {
            stack.extend(&data.inputs);
        }
    }
    Some(seen)
}
