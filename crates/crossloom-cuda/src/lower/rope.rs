//! Rotary positions. Frequencies are constants of the kernel.

use crossloom_ir::TensorType;
use crossloom_ir::op::Rope;

use super::{THREADS, each};
use crate::launch::{Argument, Lowered, Source};

pub(super) fn lower(op: &Rope, inputs: &[&TensorType]) -> Option<Lowered> {
    let x = inputs[0];
    let (rows, heads, half) = (x.rows(), x.last() / op.head_dim, op.head_dim / 2);
    let frequency = |pair: usize| op.theta.powf(-2.0 * pair as f64 / op.head_dim as f64);
    let list = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(", ");
    let source = Source::new().set("THREADS", THREADS).set("ROWS", rows).set("HEADS", heads);
    let source = source.set("HALF", half).set("NUMBERS", op.axes());
    let source = source.set("DIRECTION", if op.inverse { "-1.0f" } else { "1.0f" });
    let source = source.set("FREQUENCIES", list(&mut (0..half).map(|pair| format!("{:e}", frequency(pair)))));
    let source = source.set("AXES", list(&mut (0..half).map(|pair| op.axis(pair).to_string())));
    let arguments = vec![Argument::Input(0), Argument::Input(1), Argument::Output(0)];
    let text = include_str!("../kernels/rope.cu");
    Some(Lowered::new("rope", vec![source.launch("rope", text, each(rows * heads * half)?, arguments)]))
}
