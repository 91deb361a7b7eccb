//! The plan verifier. What it proves is what the executors' `unsafe` code relies on:
//!
//! - every value lies within its block, and has the bytes of its type; a parameter lies in its own block; what a step
//!   writes starts at a multiple of the plan's alignment, a view at one of its element;
//! - a value without memory is read by nobody;
//! - the steps are the instructions in program order, but for those that only rename memory, whose result lies where
//!   their operand does;
//! - outputs of one step are disjoint from each other and from every input, except pairs declared in place, which
//!   coincide exactly and are pairs the op allows;
//! - memory that a value occupies is not written by another value's step before the last read of it;
//! - a parameter's memory is written only by values that update it, and never while its old content is still needed.

use std::collections::{BTreeMap, HashSet};

use crossloom_ir::func::ValueDef;
use crossloom_ir::{IrError, IrErrors, Role, Value};

use super::alias::view_offset;
use super::{Block, Place, Plan, element_alignment};

/// Checks a plan; returns all violations.
///
/// # Errors
/// Each violation, with the value, op and scope.
pub fn check(plan: &Plan) -> Result<(), IrErrors> {
    let mut errors = Vec::new();
    if !plan.alignment.is_power_of_two() {
        errors.push(IrError::new(format!("an alignment of {} bytes is no power of two", plan.alignment)));
    }
    check_bounds(plan, &mut errors);
    check_order(plan, &mut errors);
    if !errors.is_empty() {
        // What follows relies on these.
        return Err(IrErrors(errors));
    }
    check_steps(plan, &mut errors);
    check_contents(plan, &mut errors);
    if errors.is_empty() { Ok(()) } else { Err(IrErrors(errors)) }
}

fn overlap(a: Place, b: Place) -> bool {
    a.len > 0 && b.len > 0 && a.block == b.block && a.offset < b.offset + b.len && b.offset < a.offset + a.len
}

fn check_bounds(plan: &Plan, errors: &mut Vec<IrError>) {
    if plan.places.len() != plan.func.value_count() {
        let message = format!("{} places for {} values", plan.places.len(), plan.func.value_count());
        return errors.push(IrError::new(message));
    }
    for (index, param) in plan.func.params().iter().enumerate() {
        let place = plan.place(param.value);
        if (place.block, place.offset) != (Block::Param(index), 0) {
            let message = format!("parameter `{}` does not lie in its own block", param.name);
            errors.push(IrError::new(message).with_value(param.value));
        }
    }
    let uses = plan.func.use_counts();
    for index in 0..plan.func.value_count() {
        let value = Value(index as u32);
        let (place, ty) = (plan.place(value), plan.func.ty(value));
        let room = match place.block {
            Block::Arena => plan.arena,
            Block::Param(p) => plan.func.params().get(p).map_or(0, |p| plan.func.ty(p.value).bytes()),
        };
        if place.len == 0 && uses[index] == 0 {
            continue;
        }
        if place.len != ty.bytes() || place.offset.checked_add(place.len).is_none_or(|end| end > room) {
            let message = format!("lies at {}+{} of a block of {room} bytes", place.offset, place.len);
            errors.push(IrError::new(message).with_value(value));
        }
        if !place.offset.is_multiple_of(element_alignment(ty.dtype)) {
            let message = format!("starts at {}, which is within an element of {}", place.offset, ty.dtype);
            errors.push(IrError::new(message).with_value(value));
        }
    }
}

fn check_order(plan: &Plan, errors: &mut Vec<IrError>) {
    let mut steps = plan.steps.iter().peekable();
    for (index, inst) in plan.func.insts().iter().enumerate() {
        if steps.next_if(|step| step.inst.index() == index).is_some() {
            continue;
        }
        let renamed = inst.inputs.first().zip(view_offset(&plan.func, &inst.op, &inst.inputs));
        let there = renamed.zip(inst.outputs.first()).is_some_and(|((&from, shift), &to)| {
            let (from, to) = (plan.places.get(from.index()), plan.places.get(to.index()));
            from.zip(to)
                .is_some_and(|(a, b)| (a.block, a.offset.checked_add(shift)) == (b.block, Some(b.offset)))
        });
        if !there {
            let error = IrError::new("has no step in its place and is no view of its operand");
            errors.push(error.with_op(inst.op.mnemonic()).with_scope(&inst.scope));
        }
    }
    if let Some(step) = steps.next() {
        errors.push(IrError::new(format!("step `{}` of {} is not in program order", step.kernel, step.inst)));
    }
}

fn check_steps(plan: &Plan, errors: &mut Vec<IrError>) {
    for step in &plan.steps {
        let inst = plan.func.inst(step.inst);
        let allowed: HashSet<_> = inst.op.in_place().into_iter().collect();
        if let Some((i, o)) = step.in_place.iter().find(|pair| !allowed.contains(pair)) {
            let error = IrError::new(format!("cannot write result {o} over operand {i}"));
            errors.push(error.with_op(inst.op.mnemonic()).with_scope(&inst.scope));
        }
        let in_place: HashSet<_> = step.in_place.iter().copied().collect();
        let apart = |&&(i, o): &&(usize, usize)| {
            let place = |values: &[Value], index: usize| values.get(index).map(|&value| plan.place(value));
            place(&inst.inputs, i) != place(&inst.outputs, o)
        };
        let apart: HashSet<usize> = step.in_place.iter().filter(apart).map(|&(_, o)| o).collect();
        // Only what lies in one block can overlap: of the thousands of operands of an optimizer's step that is two or three.
        let mut operands: BTreeMap<Block, Vec<(usize, Place)>> = BTreeMap::new();
        for (i, &input) in inst.inputs.iter().enumerate() {
            let place = plan.place(input);
            operands.entry(place.block).or_default().push((i, place));
        }
        let mut results: BTreeMap<Block, Vec<Place>> = BTreeMap::new();
        for (o, &output) in inst.outputs.iter().enumerate() {
            let at = plan.place(output);
            if !at.offset.is_multiple_of(plan.alignment) {
                let message = format!("is written at {}, no multiple of {}", at.offset, plan.alignment);
                let error = IrError::new(message).with_value(output).with_op(inst.op.mnemonic());
                errors.push(error.with_scope(&inst.scope));
            }
            let mut beside = operands.get(&at.block).into_iter().flatten();
            let others = results.entry(at.block).or_default();
            let clash = apart.contains(&o)
                || beside.any(|&(i, from)| !in_place.contains(&(i, o)) && overlap(from, at))
                || others.iter().any(|&other| overlap(other, at));
            others.push(at);
            if clash {
                let error = IrError::new("is written over an operand or another result of the same step");
                errors.push(error.with_value(output).with_op(inst.op.mnemonic()).with_scope(&inst.scope));
            }
        }
    }
}

/// Replays the plan symbolically: every memory range remembers which value it holds.
fn check_contents(plan: &Plan, errors: &mut Vec<IrError>) {
    let mut memory = Contents::default();
    let mut updated = vec![false; plan.func.params().len()];
    for param in plan.func.results().iter().filter_map(|r| r.updates) {
        updated[param] = plan.func.params()[param].role != Role::Input;
    }
    for param in plan.func.params() {
        memory.write(plan.place(param.value), param.value);
    }
    for (index, inst) in plan.func.insts().iter().enumerate() {
        let is_step = plan.steps.binary_search_by_key(&index, |step| step.inst.index());
        for &input in &inst.inputs {
            if !memory.holds(plan, plan.place(input), input) {
                let error = IrError::new("is read after its memory was given to another value");
                errors.push(error.with_value(input).with_op(inst.op.mnemonic()).with_scope(&inst.scope));
            }
        }
        for &output in &inst.outputs {
            let place = plan.place(output);
            if let Block::Param(p) = place.block
                && is_step.is_ok()
                && !updated[p]
            {
                let error = IrError::new(format!("overwrites parameter `{}`", plan.func.params()[p].name));
                errors.push(error.with_value(output).with_op(inst.op.mnemonic()).with_scope(&inst.scope));
            }
            if is_step.is_ok() {
                memory.write(place, output);
            }
        }
    }
    for result in plan.func.results() {
        let place = plan.place(result.value);
        let home = result.updates.is_none_or(|p| place.block == Block::Param(p) && place.offset == 0);
        if !home || !memory.holds(plan, place, result.value) {
            let message = format!("result `{}` is not where it is expected at the end", result.name);
            errors.push(IrError::new(message).with_value(result.value));
        }
    }
}

/// Which value's step last wrote which range.
#[derive(Default)]
struct Contents {
    ranges: BTreeMap<(Block, usize), (usize, Value)>,
}

impl Contents {
    fn write(&mut self, place: Place, value: Value) {
        let end = place.offset + place.len;
        let first = self.ranges.range(..=(place.block, place.offset)).next_back().map(|(&k, _)| k);
        let start = first.filter(|k| k.0 == place.block).unwrap_or((place.block, place.offset));
        let touched: Vec<_> = self.ranges.range(start..(place.block, end)).map(|(&k, &v)| (k, v)).collect();
        for ((block, offset), (len, holder)) in touched {
            if offset + len <= place.offset {
                continue;
            }
            self.ranges.remove(&(block, offset));
            if offset < place.offset {
                self.ranges.insert((block, offset), (place.offset - offset, holder));
            }
            if offset + len > end {
                self.ranges.insert((block, end), (offset + len - end, holder));
            }
        }
        if place.len > 0 {
            self.ranges.insert((place.block, place.offset), (place.len, value));
        }
    }

    /// Whether the whole range was last written by the step that made `value` (or what `value` is a view of).
    fn holds(&self, plan: &Plan, place: Place, value: Value) -> bool {
        let origin = origin(plan, value);
        let end = place.offset + place.len;
        let mut at = place.offset;
        while at < end {
            let Some((&(block, offset), &(len, holder))) =
                self.ranges.range(..=(place.block, at)).next_back()
            else {
                return false;
            };
            if block != place.block || offset + len <= at || holder != origin {
                return false;
            }
            at = offset + len;
        }
        true
    }
}

/// The value whose step wrote the memory that `value` is a view of.
fn origin(plan: &Plan, value: Value) -> Value {
    let mut value = value;
    while let ValueDef::Output(inst, _) = plan.func.def(value) {
        let made_by_step = plan.steps.binary_search_by_key(&inst, |step| step.inst).is_ok();
        if made_by_step {
            break;
        }
        value = plan.func.inst(inst).inputs[0];
    }
    value
}
