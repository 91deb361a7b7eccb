//! Rotary positions. Frequencies are constants of the kernel.

use crossloom_ir::op::Rope;

use super::{THREADS, each};
use crate::launch::{Argument, Lowered, Types};

/// Rows from which on a thread turns several heads by one sine and cosine; fewer would leave most of a device without work.
const MANY_ROWS: usize = 256;

pub(super) fn lower(op: &Rope, types: Types<'_>) -> Option<Lowered> {
    let x = types.inputs[0];
    let (rows, heads, half) = (x.rows(), x.last() / op.head_dim, op.head_dim / 2);
    let frequency = |pair: usize| op.theta.powf(-2.0 * pair as f64 / op.head_dim as f64);
    let wide = if half.is_multiple_of(8) { 8 } else { 1 };
    let heads_each = if rows >= MANY_ROWS { heads } else { 1 };
    let source = types.source().set("THREADS", THREADS).sets([
        ("ROWS", rows),
        ("HEADS", heads),
        ("HALF", half),
        ("NUMBERS", op.axes()),
        ("WIDE", wide),
        ("EACH_HEADS", heads_each),
    ]);
    let source = source.set("DIRECTION", if op.inverse { "-1.0f" } else { "1.0f" });
    let source = source.list("FREQUENCIES", (0..half).map(|pair| format!("{:e}", frequency(pair))));
    let source = source.list("AXES", (0..half).map(|pair| op.axis(pair)));
    let arguments = vec![Argument::Input(0), Argument::Input(1), Argument::Output(0)];
    let threads = rows * heads.div_ceil(heads_each) * (half / wide);
    let launch = source.launch("rope", include_str!("../kernels/rope.cu"), each(threads)?, arguments)?;
    Some(Lowered::new("rope", vec![launch]))
}
