//! Epilogue fusion: a linear layer takes its activation and its residual sum with it.
//!
//! Before: any function, best before differentiation (the gradient of a fused layer uses its saved pre-activation).
//! After: an activation whose operand is a plain linear layer read by nothing else is that layer's `act`; a sum of a
//! linear layer read by nothing else with a value defined before it is that layer's `residual`.

use crossloom_ir::func::InstData;
use crossloom_ir::op::{Binary, BinaryKind, Linear, Op, Unary, UnaryKind};
use crossloom_ir::rewrite::Rewriter;
use crossloom_ir::{DType, Func, Inst, IrErrors, Value};

use super::Pass;
use crate::Context;

/// See the module comment.
#[derive(Debug)]
pub(super) struct EpilogueFusion;

/// A linear layer and the later instruction that becomes part of it.
struct Match {
    linear: Inst,
    op: Linear,
    residual: Option<Value>,
}

impl Pass for EpilogueFusion {
    fn name(&self) -> &'static str {
        "epilogue_fusion"
    }

    fn run(&self, func: &Func, _: &Context<'_>) -> Result<Func, IrErrors> {
        let uses = func.use_counts();
        let mut absorbed = vec![false; func.insts().len()];
        let mut matches: Vec<Option<Match>> = Vec::with_capacity(func.insts().len());
        for inst in func.insts() {
            let found = match_site(func, inst, &uses, &absorbed);
            if let Some(found) = &found {
                absorbed[found.linear.index()] = true;
            }
            matches.push(found);
        }
        let mut rewriter = Rewriter::new(func);
        for (index, inst) in func.insts().iter().enumerate() {
            if absorbed[index] {
                continue;
            }
            let Some(found) = &matches[index] else {
                rewriter.copy(inst)?;
                continue;
            };
            let linear = func.inst(found.linear);
            let mut inputs = rewriter.get_all(&linear.inputs)?;
            if let Some(residual) = found.residual {
                inputs.push(rewriter.get(residual)?);
            }
            // The second output of a layer with an activation is what the activation is of.
            let mut types = func.dtypes(&inst.outputs);
            types.extend(found.op.act.map(|_| DType::F32));
            let outputs = rewriter.builder(&linear.scope).push_as(found.op, &inputs, &types)?;
            rewriter.set(inst.outputs[0], outputs[0]);
        }
        Ok(rewriter.finish()?)
    }
}

fn match_site(func: &Func, inst: &InstData, uses: &[usize], absorbed: &[bool]) -> Option<Match> {
    let plain = |value: Value| match func.def_inst(value) {
        Some((at, InstData { op: Op::Linear(op), .. }))
            // A layer whose result is rounded gives another number to what reads it.
            if uses[value.index()] == 1
                && func.dtype(value) == DType::F32
                && !absorbed[at.index()] && op.act.is_none() && !op.residual =>
        {
            Some((at, *op))
        }
        _ => None,
    };
    match &inst.op {
        Op::Unary(Unary(UnaryKind::Act(act))) => {
            let (linear, op) = plain(inst.inputs[0])?;
            Some(Match { linear, op: Linear { act: Some(*act), ..op }, residual: None })
        }
        Op::Binary(Binary(BinaryKind::Add)) => {
            // The fused layer stands where the sum stood, so any other operand is defined by then.
            let (x, y) = (inst.inputs[0], inst.inputs[1]);
            let (value, other) = if plain(y).is_some() { (y, x) } else { (x, y) };
            let (linear, op) = plain(value)?;
            Some(Match { linear, op: Linear { residual: true, ..op }, residual: Some(other) })
        }
        _ => None,
    }
}
