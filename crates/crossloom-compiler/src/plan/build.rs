//! From code to a plan.

use crossloom_ir::func::{InstData, ResultDef, ValueDef};
use crossloom_ir::op::Affine;
use crossloom_ir::{Func, Inst, IrError, IrErrors, Value};

use super::alias::Aliases;
use super::arena::{Arena, padded};
use super::{Block, Place, Plan, Step};
use crate::{Kernel, Target};

/// Lays a function out in memory and chooses its kernels.
///
/// # Errors
/// Every instruction the target has no kernel for; every update whose value cannot be written to its parameter.
#[allow(
    clippy::needless_pass_by_value,
    reason = "the plan takes over the function, which callers have no use for"
)]
pub fn plan(func: Func, target: &dyn Target) -> Result<Plan, IrErrors> {
    let mut func = copy_foreign_updates(&func)?;
    let mut kernels = choose_kernels(&func, target);
    let mut aliases = Aliases::of(&func, &kernels);
    let early: Vec<bool> = func.results().iter().map(|result| is_early(&func, &aliases, result)).collect();
    if early.contains(&true) {
        func = copy_results(&func, &early)?;
        kernels = choose_kernels(&func, target);
        aliases = Aliases::of(&func, &kernels);
    }
    let (steps, scratch) = schedule(&func, target, &aliases, &kernels)?;
    let homes = update_targets(&func, &aliases)?;
    let alignment = target.alignment();
    let (blocks, arena, lower_bound) = allocate(&func, &aliases, &homes, alignment);
    let places = (0..func.value_count())
        .map(|i| {
            let value = Value(i as u32);
            if aliases.skipped[i] {
                return Place { block: Block::Arena, offset: 0, len: 0 };
            }
            let view = aliases.views[i];
            let (block, start) = blocks[view.root.index()];
            Place { block, offset: start + view.offset, len: func.ty(value).bytes() }
        })
        .collect();
    let target = target.name().to_owned();
    Ok(Plan { func, target, alignment, places, steps, arena, scratch, lower_bound })
}

/// Gives every update a value of its own: one that is a parameter's memory or part of another value's, or that several
/// updates share, is copied. So is old content of an updated parameter that is returned.
fn copy_foreign_updates(func: &Func) -> Result<Func, IrErrors> {
    let aliases = Aliases::of(func, &[]);
    let mut updated = vec![false; func.params().len()];
    for param in func.results().iter().filter_map(|result| result.updates) {
        updated[param] = true;
    }
    let mut taken = vec![false; func.value_count()];
    let is_foreign = |result: &ResultDef| {
        let root = aliases.root(result.value);
        match (func.def(root), result.updates) {
            (ValueDef::Param(p), None) => updated[p],
            (ValueDef::Param(p), Some(param)) => p != param,
            (ValueDef::Output(..), None) => false,
            (ValueDef::Output(..), Some(param)) => {
                let whole = func.ty(root).bytes() == func.ty(func.params()[param].value).bytes();
                !whole || std::mem::replace(&mut taken[root.index()], true)
            }
        }
    };
    let foreign: Vec<bool> = func.results().iter().map(is_foreign).collect();
    copy_results(func, &foreign)
}

/// Appends a copy of a value, of its own type.
fn copy(func: &mut Func, value: Value) -> Result<Value, IrErrors> {
    let dtype = func.dtype(value);
    Ok(func.builder().one_as(Affine { mul: 1.0, add: 0.0 }, &[value], dtype)?)
}

/// Returns copies, made at the end, of the results that are picked.
fn copy_results(func: &Func, picked: &[bool]) -> Result<Func, IrErrors> {
    let mut func = func.clone();
    let results = func.results().to_vec();
    func.clear_results();
    for (result, &picked) in results.into_iter().zip(picked) {
        let value = if picked { copy(&mut func, result.value)? } else { result.value };
        match result.updates {
            None => func.add_result(result.name, value),
            Some(param) => func.add_update(func.params()[param].value, value)?,
        }
    }
    Ok(func)
}

/// Whether new content of a parameter is written before the old one is last read, so that it cannot lie there.
fn is_early(func: &Func, aliases: &Aliases, result: &ResultDef) -> bool {
    let (Some(param), ValueDef::Output(first_write, _)) =
        (result.updates, func.def(aliases.root(result.value)))
    else {
        return false;
    };
    let old = func.params()[param].value;
    aliases.last_use[old.index()].is_some_and(|last| last >= first_write.index())
}

/// For every root that is not yet a parameter's memory but whose value updates one and can be computed there: that
/// parameter. Possible when nothing reads the old content from where the root is first written.
fn update_targets(func: &Func, aliases: &Aliases) -> Result<Vec<Option<usize>>, IrErrors> {
    let mut targets = vec![None; func.value_count()];
    let mut errors = Vec::new();
    for result in func.results() {
        let Some(param) = result.updates else { continue };
        let root = aliases.root(result.value);
        let ValueDef::Output(..) = func.def(root) else { continue };
        if is_early(func, aliases, result) {
            let name = &func.params()[param].name;
            let message = format!("the new content of `{name}` is computed while the old one is still read");
            errors.push(IrError::new(message).with_value(result.value));
        }
        targets[root.index()] = Some(param);
    }
    if errors.is_empty() { Ok(targets) } else { Err(IrErrors(errors)) }
}

/// The target's kernel for every instruction.
fn choose_kernels(func: &Func, target: &dyn Target) -> Vec<Option<Kernel>> {
    let choose = |inst: &InstData| {
        let inputs: Vec<_> = inst.inputs.iter().map(|&v| func.ty(v)).collect();
        let outputs: Vec<_> = inst.outputs.iter().map(|&v| func.ty(v)).collect();
        target.kernel(&inst.op, &inputs, &outputs)
    };
    func.insts().iter().map(choose).collect()
}

/// One step per instruction that does more than rename memory, and the largest working memory.
fn schedule(
    func: &Func,
    target: &dyn Target,
    aliases: &Aliases,
    kernels: &[Option<Kernel>],
) -> Result<(Vec<Step>, usize), IrErrors> {
    let (mut steps, mut scratch, mut errors) = (Vec::new(), 0, Vec::new());
    for (index, inst) in func.insts().iter().enumerate().filter(|(index, _)| !aliases.renames[*index]) {
        match &kernels[index] {
            Some(kernel) => {
                scratch = scratch.max(kernel.scratch);
                let in_place = aliases.in_place[index].clone();
                steps.push(Step { inst: Inst(index as u32), kernel: kernel.name.clone(), in_place });
            }
            None => {
                let message =
                    format!("target `{}` has no kernel for it and it has no expansion", target.name());
                errors.push(IrError::new(message).with_op(inst.op.mnemonic()).with_scope(&inst.scope));
            }
        }
    }
    if errors.is_empty() { Ok((steps, scratch)) } else { Err(IrErrors(errors)) }
}

/// Block and start of every root, the arena's length and the lower bound, in bytes.
fn allocate(
    func: &Func,
    aliases: &Aliases,
    homes: &[Option<usize>],
    alignment: usize,
) -> (Vec<(Block, usize)>, usize, usize) {
    let mut blocks = vec![(Block::Arena, 0); func.value_count()];
    for (index, param) in func.params().iter().enumerate() {
        blocks[param.value.index()] = (Block::Param(index), 0);
    }
    let mut dying: Vec<Vec<Value>> = vec![Vec::new(); func.insts().len()];
    let (mut arena, mut alive, mut lower_bound) = (Arena::default(), 0, 0);
    for (index, inst) in func.insts().iter().enumerate() {
        for &output in &inst.outputs {
            if aliases.root(output) != output || aliases.skipped[output.index()] {
                continue;
            }
            if let Some(param) = homes[output.index()] {
                blocks[output.index()] = (Block::Param(param), 0);
                continue;
            }
            let len = padded(func.ty(output).bytes(), alignment);
            blocks[output.index()] = (Block::Arena, arena.take(len));
            alive += len;
            let last = aliases.last_use[output.index()].unwrap_or(index);
            if last != usize::MAX {
                dying[last].push(output);
            }
        }
        lower_bound = lower_bound.max(alive);
        for &value in &dying[index] {
            let len = padded(func.ty(value).bytes(), alignment);
            arena.give(blocks[value.index()].1, len);
            alive -= len;
        }
    }
    (blocks, arena.len(), lower_bound)
}
