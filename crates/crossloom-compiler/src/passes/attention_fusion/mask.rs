//! Causal masks, recognised by what they are: functions of the positions of query and key.
//!
//! A mask is followed back through movements and arithmetic with constants to `iota`. On the way every value is either
//! linear in the two positions, or takes one of two numbers, depending on the sign of something linear. Whatever else
//! it is, a parameter above all, makes it no mask that is known here.
//!
//! The op leaves out what the mask forbids; the sum that was written only makes it small. So results differ beyond rounding
//! in two cases: where scores are so far apart (6e4 and more) that a forbidden key still won against the mask, and where a
//! forbidden key or its value is NaN, which the written sum would carry into every query.

use crossloom_ir::op::{Affine, Binary, BinaryKind, Op};
use crossloom_ir::{Func, Value};

/// A score of at most this much is no score: its probability is zero beside any other. Masks are written with much less, or
/// with the least number of 16-bit floats, -65504.
pub(super) const FORBIDDEN: f64 = -6e4;

/// Most instructions of a mask.
const MAX_INSTS: usize = 64;

/// What an axis of a value stands for.
#[derive(Clone, Copy, PartialEq)]
enum Axis {
    Query,
    Key,
    /// A sample, a head, or nothing: the mask may not depend on it.
    Other,
}

/// `query t + key s + constant` at query `t` and key `s`.
#[derive(Clone, Copy)]
struct Linear {
    query: f64,
    key: f64,
    constant: f64,
}

/// The elements of a value.
#[derive(Clone, Copy)]
enum Entries {
    Linear(Linear),
    /// `yes` where the linear function is below zero, else `no`.
    Step {
        below: Linear,
        yes: f64,
        no: f64,
    },
}

/// The number that a value holds everywhere.
pub(super) fn number(func: &Func, value: Value) -> Option<f64> {
    let (_, inst) = func.def_inst(value)?;
    match &inst.op {
        Op::Constant(constant) => Some(constant.value),
        Op::Broadcast(_) | Op::Reshape(_) => number(func, inst.inputs[0]),
        _ => None,
    }
}

/// Whether `mask [.., Tq, Tk]`, multiplied by `scale`, forbids exactly the keys behind a query, the last query standing
/// at the last key.
pub(super) fn is_causal(func: &Func, mask: Value, scale: f64) -> bool {
    let &[.., queries, keys] = func.shape(mask) else { return false };
    let mut axes = vec![Axis::Other; func.shape(mask).len()];
    let rank = axes.len();
    axes[rank - 2] = Axis::Query;
    axes[rank - 1] = Axis::Key;
    let mut reader = Reader { func, left: MAX_INSTS };
    let Some(Entries::Step { below, yes, no }) = reader.read(mask, &axes) else { return false };
    if queries > keys || below.key == 0.0 || below.query != -below.key {
        return false;
    }
    // The step lies where `s - t` is this.
    let edge = -below.constant / below.key;
    let (seen, unseen, last_seen) =
        if below.key > 0.0 { (yes, no, edge.ceil() - 1.0) } else { (no, yes, edge.floor()) };
    last_seen == (keys - queries) as f64 && seen * scale == 0.0 && unseen * scale <= FORBIDDEN
}

struct Reader<'f> {
    func: &'f Func,
    /// Instructions that may still be looked at.
    left: usize,
}

impl Reader<'_> {
    /// The elements of a value whose axes stand for that.
    fn read(&mut self, value: Value, axes: &[Axis]) -> Option<Entries> {
        self.left = self.left.checked_sub(1)?;
        let (_, inst) = self.func.def_inst(value)?;
        let constant = |constant| Entries::Linear(Linear { query: 0.0, key: 0.0, constant });
        match &inst.op {
            Op::Constant(op) => Some(constant(op.value)),
            Op::Iota(op) => {
                let along = |axis| f64::from(u8::from(axes[op.axis] == axis));
                let linear = Linear { query: along(Axis::Query), key: along(Axis::Key), constant: 0.0 };
                (axes[op.axis] != Axis::Other).then_some(Entries::Linear(linear))
            }
            Op::Broadcast(op) => {
                let axes: Vec<Axis> = op.axes.iter().map(|&axis| axes[axis]).collect();
                self.read(inst.inputs[0], &axes)
            }
            Op::Transpose(op) => {
                let mut from = vec![Axis::Other; axes.len()];
                for (to, &axis) in op.perm.iter().enumerate() {
                    from[axis] = axes[to];
                }
                self.read(inst.inputs[0], &from)
            }
            Op::Reshape(op) => {
                let axes = regroup(self.func.shape(inst.inputs[0]), &op.shape, axes)?;
                self.read(inst.inputs[0], &axes)
            }
            Op::Affine(Affine { mul, add }) => Some(self.read(inst.inputs[0], axes)?.affine(*mul, *add)),
            Op::Binary(Binary(kind)) => {
                let (x, y) = (self.read(inst.inputs[0], axes)?, self.read(inst.inputs[1], axes)?);
                binary(*kind, x, y)
            }
            _ => None,
        }
    }
}

impl Entries {
    fn affine(self, mul: f64, add: f64) -> Self {
        match self {
            Self::Linear(x) => Self::Linear(Linear {
                query: mul * x.query,
                key: mul * x.key,
                constant: mul * x.constant + add,
            }),
            Self::Step { below, yes, no } => Self::Step { below, yes: mul * yes + add, no: mul * no + add },
        }
    }

    fn number(self) -> Option<f64> {
        match self {
            Self::Linear(Linear { query: 0.0, key: 0.0, constant }) => Some(constant),
            _ => None,
        }
    }
}

fn binary(kind: BinaryKind, x: Entries, y: Entries) -> Option<Entries> {
    match (kind, x.number(), y.number()) {
        (BinaryKind::Add, Some(c), _) => return Some(y.affine(1.0, c)),
        (BinaryKind::Add, _, Some(c)) => return Some(x.affine(1.0, c)),
        (BinaryKind::Sub, Some(c), _) => return Some(y.affine(-1.0, c)),
        (BinaryKind::Sub, _, Some(c)) => return Some(x.affine(1.0, -c)),
        (BinaryKind::Mul, Some(c), _) => return Some(y.affine(c, 0.0)),
        (BinaryKind::Mul, _, Some(c)) => return Some(x.affine(c, 0.0)),
        _ => {}
    }
    let (Entries::Linear(x), Entries::Linear(y)) = (x, y) else { return None };
    let sum = |sign: f64| Linear {
        query: x.query + sign * y.query,
        key: x.key + sign * y.key,
        constant: x.constant + sign * y.constant,
    };
    match kind {
        BinaryKind::Add => Some(Entries::Linear(sum(1.0))),
        BinaryKind::Sub => Some(Entries::Linear(sum(-1.0))),
        BinaryKind::LessThan => Some(Entries::Step { below: sum(-1.0), yes: 1.0, no: 0.0 }),
        _ => None,
    }
}

/// What the axes of `from` stand for, if those of its reshape `to` stand for `axes`: axes are paired from the last one
/// as long as they have one extent, and what is left must stand for nothing.
fn regroup(from: &[usize], to: &[usize], axes: &[Axis]) -> Option<Vec<Axis>> {
    let same = from.iter().rev().zip(to.iter().rev()).take_while(|(x, y)| x == y).count();
    let rest = axes.len() - same;
    let mut grouped = vec![Axis::Other; from.len() - same];
    grouped.extend(&axes[rest..]);
    axes[..rest].iter().all(|axis| *axis == Axis::Other).then_some(grouped)
}
