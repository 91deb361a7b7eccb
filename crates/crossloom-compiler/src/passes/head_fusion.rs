//! Head fusion: the output projection, the loss and their gradients are one instruction, so that a device makes logits of some rows at a
//! time.
//!
//! Before: any function, differentiated. After: where the target has a kernel for it, a `linear` that only a `cross_entropy` and its gradient
//! read, and the products that read this gradient, are one `linear_cross_entropy` where the first product stood, provided nothing else
//! reads what lies between and nothing reads the loss, or that of a row, by then.

use crossloom_ir::func::InstData;
use crossloom_ir::op::{CrossEntropy, CrossEntropyGrad, Linear, LinearCrossEntropy, Matmul, Op};
use crossloom_ir::rewrite::Rewriter;
use crossloom_ir::{DType, Func, IrErrors, TensorType, Value};

use super::Pass;
use super::uses::Uses;
use crate::Context;

/// See the module comment.
#[derive(Debug)]
pub(super) struct HeadFusion;

impl Pass for HeadFusion {
    fn name(&self) -> &'static str {
        "head_fusion"
    }

    fn run(&self, func: &Func, cx: &Context<'_>) -> Result<Func, IrErrors> {
        let uses = Uses::of_func(func);
        let heads: Vec<Head> = (0..func.insts().len())
            .filter_map(|index| Head::at(func, &uses, index))
            .filter(|head| has_kernel(func, cx, head))
            .collect();
        if heads.is_empty() {
            return Ok(func.clone());
        }
        let mut rewriter = Rewriter::new(func);
        for (index, inst) in func.insts().iter().enumerate() {
            if let Some(head) = heads.iter().find(|head| head.place == index) {
                let inputs = rewriter.get_all(&head.inputs)?;
                let mut b = rewriter.builder(&inst.scope);
                let mut operands = inputs.clone();
                operands[1] = b.reshape(inputs[1], &head.rows.shape)?;
                let outputs = b.push_as(head.op, &operands, &func.dtypes(&head.outputs))?;
                rewriter.set_all(&head.outputs, &outputs);
            } else if !heads.iter().any(|head| head.absorbed.contains(&index)) {
                rewriter.copy(inst)?;
            }
        }
        Ok(rewriter.finish()?)
    }
}

/// What is to become one instruction.
struct Head {
    op: LinearCrossEntropy,
    /// `dloss`, hidden states of any rank, weight, targets.
    inputs: Vec<Value>,
    /// Loss, those of the rows, gradient of the hidden states and, if it is trained, of the weight.
    outputs: Vec<Value>,
    /// The hidden states as rows.
    rows: TensorType,
    /// All instructions that are gone, and the one in whose place the new one stands.
    absorbed: Vec<usize>,
    place: usize,
}

impl Head {
    /// The head whose loss is backwards at that instruction.
    fn at(func: &Func, uses: &Uses, index: usize) -> Option<Self> {
        let grad = &func.insts()[index];
        let Op::CrossEntropyGrad(CrossEntropyGrad) = grad.op else { return None };
        let [dloss, logits, targets, lse] = *grad.inputs.first_chunk::<4>()?;
        let (loss_at, loss) = func.def_inst(lse)?;
        let Op::CrossEntropy(CrossEntropy) = loss.op else { return None };
        // Nothing but the loss and its gradient reads logits and log-sum-exps.
        let (loss_at, logits_of) = (loss_at.index(), loss.inputs[0]);
        if logits_of != logits || uses.of(logits) != [loss_at, index] || uses.of(lse) != [index] {
            return None;
        }
        let mut absorbed = vec![loss_at, index];
        let mut projected = logits;
        if let (at, InstData { op: Op::Reshape(_), inputs, .. }) = func.def_inst(projected)? {
            absorbed.push(at.index());
            projected = inputs[0];
            (uses.of(projected) == [at.index()]).then_some(())?;
        }
        let (at, projection) = func.def_inst(projected)?;
        let plain = Linear::default();
        (projection.op == Op::Linear(plain) && func.dtype(projected) == DType::F32).then_some(())?;
        absorbed.push(at.index());
        let (h, w) = (projection.inputs[0], projection.inputs[1]);
        // The gradient of the logits, rounded or not, and the products that read it.
        let mut slopes = grad.outputs[0];
        if let [only] = *uses.of(slopes)
            && matches!(func.insts().get(only)?.op, Op::Convert(_))
        {
            absorbed.push(only);
            slopes = func.insts()[only].outputs[0];
        }
        let rounded = func.dtype(slopes);
        let (mut dh, mut dw) = (None, None);
        for &reader in uses.of(slopes) {
            let product = func.insts().get(reader)?;
            match product.op {
                Op::Matmul(Matmul { transpose_a: false, transpose_b: false })
                    if product.inputs == [slopes, w] && dh.is_none() =>
                {
                    dh = Some(reader);
                }
                Op::Matmul(Matmul { transpose_a: true, transpose_b: false })
                    if product.inputs[0] == slopes && is_same(func, product.inputs[1], h) && dw.is_none() =>
                {
                    dw = Some(reader);
                }
                _ => return None,
            }
        }
        let readers: Vec<usize> = [dh, dw].into_iter().flatten().collect();
        let place = *readers.iter().min()?;
        absorbed.extend(&readers);
        let result = |at: usize| func.insts()[at].outputs[0];
        let [mean, _, losses] = *loss.outputs.first_chunk::<3>()?;
        let outputs: Vec<Value> = [mean, losses, result(dh?)].into_iter().chain(dw.map(result)).collect();
        let later = |&value: &Value| uses.of(value).iter().all(|&reader| reader > place);
        [mean, losses].iter().all(later).then_some(())?;
        let rows = func.ty(h).rows();
        Some(Self {
            op: LinearCrossEntropy { rounded, trained: dw.is_some() },
            inputs: vec![dloss, h, w, targets],
            outputs,
            rows: TensorType { dtype: func.dtype(h), shape: vec![rows, func.ty(h).last()] },
            absorbed,
            place,
        })
    }
}

/// Whether a value is another one, perhaps in another shape.
fn is_same(func: &Func, value: Value, other: Value) -> bool {
    value == other
        || func
            .def_inst(value)
            .is_some_and(|(_, inst)| matches!(inst.op, Op::Reshape(_)) && inst.inputs[0] == other)
}

fn has_kernel(func: &Func, cx: &Context<'_>, head: &Head) -> bool {
    let mut inputs: Vec<&TensorType> = head.inputs.iter().map(|&v| func.ty(v)).collect();
    inputs[1] = &head.rows;
    let outputs: Vec<&TensorType> = head.outputs.iter().map(|&v| func.ty(v)).collect();
    cx.target.kernel(&head.op.into(), &inputs, &outputs).is_some()
}
