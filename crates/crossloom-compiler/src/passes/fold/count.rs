//! Counting: `1, 2, 3, …` as luminal makes it, which has no op for it.
//!
//! luminal's `arange` is a cumulative sum of ones: ones with zeros in front, shown to every position through a window of
//! its own, which is a repetition whose rows are shifted against each other by one, and summed.

use crossloom_ir::func::InstData;
use crossloom_ir::op::{Broadcast, Constant, Op, Pad, Reduce, ReduceKind, Reshape, Slice};
use crossloom_ir::{Func, Value};

/// Whether `op` on `x` gives `1, 2, …, n`.
pub(super) fn counts(func: &Func, op: &Reduce, x: Value) -> bool {
    is_count(func, op, x) == Some(true)
}

/// As [`counts`]; nothing where an operand is made by another op than expected.
fn is_count(func: &Func, op: &Reduce, windows: Value) -> Option<bool> {
    let made = |value: Value| func.def_inst(value).map(|(_, InstData { op, inputs, .. })| (op, inputs));
    let &[n, columns] = func.shape(windows) else { return None };
    let sums = op.kind == ReduceKind::Sum && op.axes == [0] && n == columns;
    // Rows of 2n, of which each shows the first n.
    let (Op::Slice(Slice { axis: 1, start: 0, .. }), sliced) = made(windows)? else { return None };
    let (Op::Reshape(Reshape { shape: rows }), reshaped) = made(sliced[0])? else { return None };
    // The same elements in rows of 2n - 1, so that row r starts r elements into its own.
    let (Op::Pad(Pad { axis: 0, before: 0, .. }), padded) = made(reshaped[0])? else { return None };
    let (Op::Reshape(_), flat) = made(padded[0])? else { return None };
    let (Op::Broadcast(Broadcast { shape: repeated, axes }), source) = made(flat[0])? else { return None };
    // n - 1 zeros, n ones.
    let (Op::Pad(Pad { axis: 0, before, after: 0 }), ones) = made(source[0])? else { return None };
    let (Op::Constant(Constant { value, shape }), _) = made(ones[0])? else { return None };
    let all_ones = *value == 1.0 && *shape == [n] && *before + 1 == n;
    Some(sums && *rows == [n, 2 * n] && *repeated == [n, 2 * n - 1] && *axes == [1] && all_ones)
}
