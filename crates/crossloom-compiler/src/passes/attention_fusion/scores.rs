//! From probabilities back to the product of queries and keys.

use crossloom_ir::func::InstData;
use crossloom_ir::op::{Affine, Binary, BinaryKind, Op};
use crossloom_ir::{DType, Func, Value};

use super::layout::Operand;
use super::{mask, softmax};

/// The scores of an attention.
pub(super) struct Scores {
    pub(super) queries: Operand,
    pub(super) keys: Operand,
    pub(super) scale: f64,
    pub(super) causal: bool,
}

/// The scores whose softmax is the first operand of `product`, the instruction at `index`; nothing if something else
/// reads what lies between.
pub(super) fn find(func: &Func, product: &InstData, index: usize, users: &[Vec<usize>]) -> Option<Scores> {
    let mut members = Vec::new();
    let probabilities = through_reshapes(func, product.inputs[0], &mut members);
    if product.inputs[1] == product.inputs[0] {
        return None;
    }
    let softmax = softmax::find(func, probabilities)?;
    members.extend(softmax.members);
    let (mut value, mut scale, mut causal) = (softmax.of, softmax.factor, false);
    let scores = loop {
        value = through_reshapes(func, value, &mut members);
        let (at, inst) = func.def_inst(value)?;
        members.push(at.index());
        let factor = |i: usize| mask::number(func, inst.inputs[i]);
        value = match &inst.op {
            Op::Matmul(op) => {
                let queries = Operand { value: inst.inputs[0], swapped: op.transpose_a };
                let keys = Operand { value: inst.inputs[1], swapped: !op.transpose_b };
                break Scores { queries, keys, scale, causal };
            }
            Op::Affine(Affine { mul, add: 0.0 }) => {
                scale *= mul;
                inst.inputs[0]
            }
            Op::Binary(Binary(BinaryKind::Div)) => {
                scale /= factor(1)?;
                inst.inputs[0]
            }
            Op::Binary(Binary(BinaryKind::Mul)) => {
                let (factor, other) = match (factor(0), factor(1)) {
                    (Some(factor), _) => (factor, inst.inputs[1]),
                    (None, factor) => (factor?, inst.inputs[0]),
                };
                scale *= factor;
                other
            }
            Op::Binary(Binary(BinaryKind::Add)) if !causal => {
                causal = true;
                let [x, y] = [inst.inputs[0], inst.inputs[1]];
                if mask::is_causal(func, y, scale) {
                    x
                } else if mask::is_causal(func, x, scale) {
                    y
                } else {
                    return None;
                }
            }
            _ => return None,
        };
    };
    let inside = |member: &usize| {
        let outputs = &func.insts()[*member].outputs;
        // The op holds scores and probabilities in no memory, so it rounds none of them.
        if outputs.iter().any(|&output| func.dtype(output) != DType::F32) {
            return false;
        }
        let mut readers = outputs.iter().flat_map(|output| &users[output.index()]);
        readers.all(|reader| *reader == index || members.contains(reader))
    };
    (scores.scale.is_finite() && members.iter().all(inside)).then_some(scores)
}

/// Goes back through reshapes that keep the two last axes.
fn through_reshapes(func: &Func, mut value: Value, members: &mut Vec<usize>) -> Value {
    while let Some((at, InstData { op: Op::Reshape(_), inputs, .. })) = func.def_inst(value) {
        let (to, from) = (func.shape(value), func.shape(inputs[0]));
        if to.len() < 2 || from.len() < 2 || to[to.len() - 2..] != from[from.len() - 2..] {
            break;
        }
        members.push(at.index());
        value = inputs[0];
    }
    value
}
