//! Attention fusion: attention written out of products and a softmax becomes the `attention` op, which holds no scores.
//!
//! Before: any function without dead code, best before differentiation (the gradient of the op recomputes the scores,
//! that of its parts stores them). After: no product of probabilities and values stands alone whose probabilities are
//! the softmax over the last axis of scaled scores `q k^T`, with or without a causal mask, provided that nothing else
//! reads what lies between and that keys and values have one width. The softmax may be the op or `exp(x - max)` over its
//! sum, with either base; the scale a factor before or after the mask; the mask any sum with a function of the two
//! positions that is 0 where a query sees a key and at most [`mask::FORBIDDEN`] elsewhere. Splitting into heads,
//! repeating of key heads and merging become part of the op where they are the ones it does itself; otherwise every
//! head is a sample of its own. A mask that is read from a parameter, or is not causal, keeps attention as it was
//! written.

mod layout;
mod mask;
mod scores;
mod softmax;

use crossloom_ir::op::{Attention, Op};
use crossloom_ir::rewrite::Rewriter;
use crossloom_ir::{DType, Func, IrError, IrErrors, Value};

use super::Pass;
use crate::Context;
use layout::{Layout, Operand};

/// See the module comment.
#[derive(Debug)]
pub(super) struct AttentionFusion;

/// Attention found in a function.
struct Found {
    /// The instruction that is replaced; its output is the attention's, in another shape.
    at: usize,
    /// The product whose scope and output shape it has.
    product: usize,
    layout: Layout,
    causal: bool,
    scale: f64,
    /// The output of `at` is the product's and must be split into heads.
    split: bool,
}

impl Pass for AttentionFusion {
    fn name(&self) -> &'static str {
        "attention_fusion"
    }

    fn run(&self, func: &Func, cx: &Context<'_>) -> Result<Func, IrErrors> {
        let found = find(func);
        if found.is_empty() {
            return Ok(func.clone());
        }
        let mut rewriter = Rewriter::new(func);
        let mut next = found.iter().peekable();
        for (index, inst) in func.insts().iter().enumerate() {
            match next.next_if(|found| found.at == index) {
                Some(found) => emit(&mut rewriter, found)?,
                None => rewriter.copy(inst)?,
            }
        }
        // What only the replaced instructions read.
        super::dce::Dce.run(&rewriter.finish()?, cx)
    }
}

/// Everything that becomes an attention, in order of where it is replaced.
fn find(func: &Func) -> Vec<Found> {
    let users = users(func);
    let mut gone = vec![false; func.value_count()];
    let mut all = Vec::new();
    for (index, inst) in func.insts().iter().enumerate() {
        let Op::Matmul(product) = &inst.op else { continue };
        if product.transpose_a {
            continue;
        }
        let Some(scores) = scores::find(func, inst, index, &users) else { continue };
        let values = Operand { value: inst.inputs[1], swapped: product.transpose_b };
        let Some(layout) = layout::find(func, [scores.queries, scores.keys, values], &gone) else { continue };
        let merged = layout.merged(func, inst.outputs[0], &users);
        let (at, split) = merged.as_ref().map_or((index, !layout.is_plain()), |merged| (merged.at, false));
        for value in merged.into_iter().flat_map(|merged| merged.passed) {
            gone[value.index()] = true;
        }
        all.push(Found { at, product: index, layout, causal: scores.causal, scale: scores.scale, split });
    }
    all.sort_by_key(|found: &Found| found.at);
    all
}

/// For every value, the instructions that read it; results count as `usize::MAX`.
fn users(func: &Func) -> Vec<Vec<usize>> {
    let mut users = vec![Vec::new(); func.value_count()];
    for (index, inst) in func.insts().iter().enumerate() {
        for input in &inst.inputs {
            users[input.index()].push(index);
        }
    }
    for result in func.results() {
        users[result.value.index()].push(usize::MAX);
    }
    users
}

fn emit(rewriter: &mut Rewriter<'_>, found: &Found) -> Result<(), IrError> {
    let func = rewriter.old();
    let Layout { samples, heads, kv_heads, queries, keys, width, .. } = found.layout;
    let product = &func.insts()[found.product];
    let mut operands = Vec::with_capacity(3);
    for (operand, (rows, heads)) in
        found.layout.operands.iter().zip([(queries, heads), (keys, kv_heads), (keys, kv_heads)])
    {
        let value = rewriter.get(operand.value)?;
        let mut b = rewriter.builder(&product.scope);
        operands.push(if operand.swapped {
            let value = b.reshape(value, &[samples, width, rows])?;
            b.transpose(value, &[0, 2, 1])?
        } else {
            b.reshape(value, &[samples, rows, heads * width])?
        });
    }
    let op = Attention { heads, kv_heads, causal: found.causal, segments: false, scale: found.scale };
    let output = func.insts()[found.at].outputs[0];
    let shape = func.shape(output).to_vec();
    let mut b = rewriter.builder(&product.scope);
    let types = [func.dtype(output), DType::F32];
    let mut o: Value = b.push_as(op, &operands, &types)?[0];
    if found.split {
        o = b.reshape(o, &[samples, queries, heads, width])?;
        o = b.transpose(o, &[0, 2, 1, 3])?;
    }
    let o = b.reshape(o, &shape)?;
    rewriter.set(output, o);
    Ok(())
}
