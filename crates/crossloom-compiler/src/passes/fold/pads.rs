//! A sum of parts, each padded to the whole, is their concatenation.
//!
//! Differentiation pads the gradient of every slice; joined, the gradient of a value that was cut into many parts is
//! written once and not once per part. Adding zero is exact, so results do not change.

use std::cmp::Reverse;

use crossloom_ir::func::InstData;
use crossloom_ir::op::{Binary, BinaryKind, Op, Pad};
use crossloom_ir::rewrite::Rewriter;
use crossloom_ir::{DType, Func, IrError, Value};

/// A tree of sums that is rewritten.
struct Tree {
    /// Where the root stands; everything is made there.
    root: usize,
    /// The sums and pads that disappear, the root among them.
    gone: Vec<usize>,
    /// Pads along one axis that lie side by side, first to last.
    runs: Vec<Vec<usize>>,
    /// What else is added.
    rest: Option<Value>,
}

/// The function with the pads of every tree of sums joined.
pub(super) fn join_all(func: &Func) -> Result<Func, IrError> {
    let uses = func.use_counts();
    let mut inside = vec![false; func.insts().len()];
    let mut tree_at: Vec<Option<Tree>> = Vec::with_capacity(func.insts().len());
    tree_at.resize_with(func.insts().len(), || None);
    let mut gone = vec![false; func.insts().len()];
    // Last to first, so that a sum is met as the root of the largest tree it is part of.
    for root in (0..func.insts().len()).rev() {
        if inside[root] || !is_sum(func, &func.insts()[root]) {
            continue;
        }
        if let Some(tree) = find_tree(func, root, &uses, &mut inside) {
            for &inst in &tree.gone {
                gone[inst] = true;
            }
            tree_at[root] = Some(tree);
        }
    }
    let mut rewriter = Rewriter::new(func);
    for (index, inst) in func.insts().iter().enumerate() {
        match &tree_at[index] {
            Some(tree) => emit(&mut rewriter, tree)?,
            None if gone[index] => {}
            None => rewriter.copy(inst)?,
        }
    }
    rewriter.finish()
}

/// Sums of 16-bit results are rounded one by one, so they stay.
fn is_sum(func: &Func, inst: &InstData) -> bool {
    matches!(inst.op, Op::Binary(Binary(BinaryKind::Add))) && func.dtype(inst.outputs[0]) == DType::F32
}

/// The pad that an instruction is, and the extent of its operand along the axis.
fn pad_of(func: &Func, inst: usize) -> Option<(Pad, usize)> {
    match &func.insts()[inst] {
        InstData { op: Op::Pad(pad), inputs, .. } if func.dtype(inputs[0]) == DType::F32 => {
            Some((*pad, func.shape(inputs[0])[pad.axis]))
        }
        _ => None,
    }
}

/// The tree below a sum, if pads can be joined in it; marks all sums of the tree.
fn find_tree(func: &Func, root: usize, uses: &[usize], inside: &mut [bool]) -> Option<Tree> {
    let (mut gone, mut pads, mut rest) = (vec![root], Vec::new(), Vec::new());
    let mut stack: Vec<Value> = func.insts()[root].inputs.clone();
    while let Some(value) = stack.pop() {
        let alone =
            func.def_inst(value).filter(|_| uses[value.index()] == 1).map(|(at, inst)| (at.index(), inst));
        match alone {
            Some((at, inst)) if is_sum(func, inst) => {
                inside[at] = true;
                gone.push(at);
                stack.extend(&inst.inputs);
            }
            Some((at, _)) if pad_of(func, at).is_some() => pads.push(at),
            _ => rest.push(value),
        }
    }
    let (runs, left) = join(func, pads);
    rest.extend(left.iter().map(|&pad| func.insts()[pad].outputs[0]));
    if runs.is_empty() || rest.len() > 1 {
        return None;
    }
    gone.extend(runs.iter().flatten());
    Some(Tree { root, gone, runs, rest: rest.first().copied() })
}

/// Groups pads into runs of at least two that lie side by side; returns those that are left, too.
fn join(func: &Func, mut pads: Vec<usize>) -> (Vec<Vec<usize>>, Vec<usize>) {
    let place = |pad: usize| pad_of(func, pad).map_or((0, 0, 0), |(op, len)| (op.axis, op.before, len));
    pads.sort_unstable_by_key(|&pad| {
        let (axis, before, len) = place(pad);
        (axis, before, Reverse(len), pad)
    });
    let mut runs: Vec<Vec<usize>> = Vec::new();
    for pad in pads {
        let (axis, before, _) = place(pad);
        let continues = |run: &&mut Vec<usize>| {
            run.last().is_some_and(|&last| {
                let (other, start, len) = place(last);
                other == axis && start + len == before
            })
        };
        // Nearly always the latest run: only parts that overlap make several.
        match runs.iter_mut().rev().take(4).find(continues) {
            Some(run) => run.push(pad),
            None => runs.push(vec![pad]),
        }
    }
    let (joined, single): (Vec<_>, Vec<_>) = runs.into_iter().partition(|run| run.len() > 1);
    (joined, single.concat())
}

fn emit(rewriter: &mut Rewriter<'_>, tree: &Tree) -> Result<(), IrError> {
    let func = rewriter.old();
    let root = &func.insts()[tree.root];
    let mut sum = match tree.rest {
        Some(value) => Some(rewriter.get(value)?),
        None => None,
    };
    for run in &tree.runs {
        let (Some((first, _)), Some((last, _))) = (pad_of(func, run[0]), pad_of(func, run[run.len() - 1]))
        else {
            return Err(IrError::new("is grouped as a pad but is none"));
        };
        let parts = run.iter().map(|&pad| rewriter.get(func.insts()[pad].inputs[0]));
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        let mut b = rewriter.builder(&root.scope);
        let mut whole = b.concat(&parts, first.axis)?;
        if first.before > 0 || last.after > 0 {
            whole = b.pad(whole, first.axis, first.before, last.after)?;
        }
        sum = Some(match sum {
            Some(sum) => b.add(sum, whole)?,
            None => whole,
        });
    }
    let sum = sum.ok_or_else(|| IrError::new("has nothing to sum"))?;
    rewriter.set(root.outputs[0], sum);
    Ok(())
}
