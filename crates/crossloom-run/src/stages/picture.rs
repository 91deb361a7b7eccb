//! Functions and plans as pictures.

use std::collections::BTreeMap;

use crossloom_compiler::Plan;
use crossloom_ir::picture::nodes;
use crossloom_ir::{Func, InstData};
use crossloom_picture::{Depth, Node, Picture};

/// Functions, the second and later ones as sections of their own.
pub(super) fn of_funcs(title: &str, funcs: &[&Func], depth: Depth) -> Picture {
    let op = |inst: &InstData| Some((format!("{}{}", inst.op.mnemonic(), inst.op.attrs()), Vec::new()));
    let lists = funcs.iter().map(|func| (func.name.as_str(), nodes(func, |_, inst| op(inst))));
    Picture::of_nodes(title, &Node::joined(lists), depth)
}

/// Plans: kernel calls with the bytes that they write. What only renames memory is not drawn.
pub(super) fn of_plans<'p>(title: &str, plans: impl Iterator<Item = &'p Plan>, depth: Depth) -> Picture {
    let lists = plans.map(|plan| {
        let kernels: BTreeMap<usize, &str> =
            plan.steps.iter().map(|step| (step.inst.index(), step.kernel.as_str())).collect();
        let call = |index: usize, inst: &InstData| {
            let bytes = inst.outputs.iter().map(|&value| plan.place(value).len as u64).collect();
            kernels.get(&index).map(|kernel| ((*kernel).to_owned(), bytes))
        };
        (plan.func.name.as_str(), nodes(&plan.func, call))
    });
    Picture::of_nodes(title, &Node::joined(lists), depth)
}
