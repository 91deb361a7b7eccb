//! Optimizer fusion: the steps of all parameters are one instruction, so that a device starts one kernel for them.
//!
//! Before: any function. After: of the `adamw`s with the same decay rates, epsilon and gradient scale, those whose results nothing
//! reads by then are one `multi_adamw` where the last of them stood, if there are two or more. Each computes what it did.

use std::collections::BTreeMap;

use crossloom_ir::func::InstData;
use crossloom_ir::op::{AdamW, MultiAdamW, Op};
use crossloom_ir::rewrite::Rewriter;
use crossloom_ir::{DType, Func, IrError, IrErrors, Scope, Value};

use super::Pass;
use super::uses::Uses;
use crate::Context;

/// See the module comment.
#[derive(Debug)]
pub(super) struct OptimizerFusion;

impl Pass for OptimizerFusion {
    fn name(&self) -> &'static str {
        "optimizer_fusion"
    }

    fn run(&self, func: &Func, _: &Context<'_>) -> Result<Func, IrErrors> {
        // By the last instruction of a group, all of them.
        let groups: BTreeMap<usize, Vec<usize>> =
            groups(func).into_iter().filter_map(|group| Some((*group.last()?, group))).collect();
        let mut absorbed = vec![false; func.insts().len()];
        for &index in groups.values().flatten() {
            absorbed[index] = true;
        }
        let mut rewriter = Rewriter::new(func);
        for (index, inst) in func.insts().iter().enumerate() {
            match groups.get(&index) {
                Some(group) => fuse(&mut rewriter, func, group)?,
                None if absorbed[index] => {}
                None => rewriter.copy(inst)?,
            }
        }
        Ok(rewriter.finish()?)
    }
}

/// The step of one parameter, in `f32`.
fn step<'f>(func: &Func, inst: &'f InstData) -> Option<(&'f AdamW, [Value; 6])> {
    let Op::AdamW(op) = &inst.op else { return None };
    let wide = inst.outputs.iter().all(|&value| func.dtype(value) == DType::F32);
    Some((op, *inst.inputs.first_chunk::<6>()?)).filter(|_| wide)
}

/// Groups of two or more instructions that can become one, each in the function's order.
fn groups(func: &Func) -> Vec<Vec<usize>> {
    let mut alike: BTreeMap<([u64; 3], Value), Vec<usize>> = BTreeMap::new();
    for (index, inst) in func.insts().iter().enumerate() {
        if let Some((op, [.., scale])) = step(func, inst) {
            let constants = [op.beta1, op.beta2, op.eps].map(f64::to_bits);
            alike.entry((constants, scale)).or_default().push(index);
        }
    }
    let readers = Uses::of_func(func);
    let mut groups: Vec<Vec<usize>> = alike.into_values().collect();
    for group in &mut groups {
        // The last one stays where it is, so it never has to be left out.
        let Some(&last) = group.last() else { continue };
        let unread = |index: &usize| func.insts()[*index].outputs.iter().all(|v| readers.first(*v) > last);
        group.retain(unread);
    }
    groups.retain(|group| group.len() > 1);
    groups
}

fn fuse(rewriter: &mut Rewriter<'_>, func: &Func, group: &[usize]) -> Result<(), IrError> {
    let mut fused = MultiAdamW { beta1: 0.0, beta2: 0.0, eps: 0.0, weight_decay: Vec::new() };
    let (mut inputs, mut outputs, mut scope) = (Vec::new(), Vec::new(), Scope::default());
    for inst in group.iter().map(|&index| &func.insts()[index]) {
        let Some((&AdamW { beta1, beta2, eps, weight_decay }, [p, g, m, v, hyper, scale])) = step(func, inst)
        else {
            continue;
        };
        (fused.beta1, fused.beta2, fused.eps) = (beta1, beta2, eps);
        fused.weight_decay.push(weight_decay);
        if inputs.is_empty() {
            inputs.push(rewriter.get(scale)?);
        }
        inputs.extend(rewriter.get_all(&[p, g, m, v, hyper])?);
        outputs.extend_from_slice(&inst.outputs);
        scope = inst.scope.clone();
    }
    let results = rewriter.builder(&scope).push(fused, &inputs)?;
    rewriter.set_all(&outputs, &results);
    Ok(())
}
