//! Functions and plans as pictures.

use std::collections::BTreeMap;

use crossloom_compiler::Plan;
use crossloom_graph::picture::{Node, func_nodes};
use crossloom_graph::{Depth, Picture};
use crossloom_ir::{Func, InstData};

/// Functions, the second and later ones as sections of their own.
pub(super) fn of_funcs(title: &str, funcs: &[&Func], depth: Depth) -> Picture {
    let op = |inst: &InstData| Some((format!("{}{}", inst.op.mnemonic(), inst.op.attrs()), Vec::new()));
    let nodes = funcs.iter().map(|func| (func.name.as_str(), func_nodes(func, |_, inst| op(inst))));
    Picture::new(title, &joined(nodes), depth)
}

/// Plans: kernel calls with the bytes that they write. What only renames memory is not drawn.
pub(super) fn of_plans<'p>(title: &str, plans: impl Iterator<Item = &'p Plan>, depth: Depth) -> Picture {
    let nodes = plans.map(|plan| {
        let kernels: BTreeMap<usize, &str> =
            plan.steps.iter().map(|step| (step.inst.index(), step.kernel.as_str())).collect();
        let call = |index: usize, inst: &InstData| {
            let bytes = inst.outputs.iter().map(|&value| 4 * plan.place(value).len as u64).collect();
            kernels.get(&index).map(|kernel| ((*kernel).to_owned(), bytes))
        };
        (plan.func.name.as_str(), func_nodes(&plan.func, call))
    });
    Picture::new(title, &joined(nodes), depth)
}

/// The nodes of several functions in one list.
fn joined<'n>(functions: impl Iterator<Item = (&'n str, Vec<Node>)>) -> Vec<Node> {
    let mut all: Vec<Node> = Vec::new();
    for (number, (name, nodes)) in functions.enumerate() {
        let offset = all.len();
        all.extend(nodes.into_iter().map(|mut node| {
            for (source, _) in &mut node.inputs {
                *source += offset;
            }
            if number > 0 {
                node.section = Some(name.to_owned());
            }
            node
        }));
    }
    all
}
