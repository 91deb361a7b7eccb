//! The optimizer's step, and the length of all gradients.

use crossloom_ir::TensorType;
use crossloom_ir::op::AdamW;

use super::{THREADS, each};
use crate::Geometry;
use crate::launch::{Argument, Lowered, Source};
use Argument::{Input, Output, Scratch};

/// Elements whose squares one block sums up.
const CHUNK: usize = 1 << 15;

pub(super) fn lower_adamw(op: &AdamW, inputs: &[&TensorType]) -> Option<Lowered> {
    let elements = inputs[0].elements();
    let source = Source::new().set("THREADS", THREADS).set("ELEMENTS", elements);
    let source = source.float("BETA1", op.beta1).float("REST1", 1.0 - op.beta1);
    let source = source.float("BETA2", op.beta2).float("REST2", 1.0 - op.beta2);
    let source = source.float("EPS", op.eps).float("DECAY", op.weight_decay);
    let arguments = (0..6).map(Input).chain((0..3).map(Output)).collect();
    let launch = source.launch("adamw", include_str!("../kernels/adamw.cu"), each(elements)?, arguments);
    Some(Lowered::new("adamw", vec![launch]).in_place(vec![(0, 0), (2, 1), (3, 2)]))
}

pub(super) fn lower_norm(inputs: &[&TensorType]) -> Option<Lowered> {
    let block = |blocks: usize| Some(Geometry::line(blocks, 256)?.with_shared(256 * 8));
    let (mut launches, mut count) = (Vec::new(), 0);
    for (input, ty) in inputs.iter().enumerate() {
        let blocks = ty.elements().div_ceil(CHUNK);
        let source = Source::new().set("ELEMENTS", ty.elements()).set("CHUNK", CHUNK).set("FIRST", count);
        let text = include_str!("../kernels/squares.cu");
        launches.push(source.launch("squares", text, block(blocks)?, vec![Input(input), Scratch(0)]));
        count += blocks;
    }
    let source = Source::new().set("COUNT", count);
    let text = include_str!("../kernels/root.cu");
    launches.push(source.launch("root", text, block(1)?, vec![Scratch(0), Output(0)]));
    Some(Lowered::new("global_norm", launches).with_scratch(count * 8))
}
