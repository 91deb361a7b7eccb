//! Softmax over the last axis: the op, or what it is made of.

use crossloom_ir::func::InstData;
use crossloom_ir::op::{Affine, Binary, BinaryKind, Broadcast, Op, Reduce, ReduceKind, Unary, UnaryKind};
use crossloom_ir::{Func, Value};

/// A softmax that was found.
pub(super) struct Softmax {
    /// What it is of.
    pub(super) of: Value,
    /// By which positive factor that is multiplied first.
    pub(super) factor: f64,
    /// The instructions it is made of.
    pub(super) members: Vec<usize>,
}

/// The softmax that makes `probabilities`.
pub(super) fn find(func: &Func, probabilities: Value) -> Option<Softmax> {
    let mut walk = Walk { func, members: Vec::new() };
    let (of, factor) = walk.softmax(probabilities)?;
    Some(Softmax { of, factor, members: walk.members })
}

/// Goes from values to what makes them, and remembers the instructions passed.
struct Walk<'f> {
    func: &'f Func,
    members: Vec<usize>,
}

impl<'f> Walk<'f> {
    /// The instruction that makes a value; becomes a member.
    fn enter(&mut self, value: Value) -> Option<&'f InstData> {
        let (at, inst) = self.func.def_inst(value)?;
        self.members.push(at.index());
        Some(inst)
    }

    fn softmax(&mut self, value: Value) -> Option<(Value, f64)> {
        let inst = self.enter(value)?;
        match inst.op {
            Op::Softmax(_) => Some((inst.inputs[0], 1.0)),
            Op::Binary(Binary(BinaryKind::Div)) => {
                let total = self.spread(inst.inputs[1])?;
                self.normalised(inst.inputs[0], total)
            }
            Op::Binary(Binary(BinaryKind::Mul)) => {
                let [x, y] = [inst.inputs[0], inst.inputs[1]];
                let is_power =
                    |v: Value| self.func.def_inst(v).is_some_and(|(_, inst)| base(&inst.op).is_some());
                let (powers, inverse) = if is_power(x) { (x, y) } else { (y, x) };
                let total = self.inverse(inverse)?;
                self.normalised(powers, total)
            }
            _ => None,
        }
    }

    /// The value of which `inverse` is one over, spread along rows.
    fn inverse(&mut self, inverse: Value) -> Option<Value> {
        let is_recip = |op: &Op| matches!(op, Op::Unary(Unary(UnaryKind::Recip)));
        let inst = self.func.def_inst(inverse)?.1;
        if is_recip(&inst.op) {
            let inst = self.enter(inverse)?;
            return self.spread(inst.inputs[0]);
        }
        let inner = self.spread(inverse)?;
        let inst = self.enter(inner)?;
        is_recip(&inst.op).then_some(inst.inputs[0])
    }

    /// `powers` over `total`, which must be their sum.
    fn normalised(&mut self, powers: Value, total: Value) -> Option<(Value, f64)> {
        if self.reduced(total, ReduceKind::Sum)? != powers {
            return None;
        }
        let inst = self.enter(powers)?;
        let (mut factor, mut exponent) = (base(&inst.op)?, inst.inputs[0]);
        while let Some((_, InstData { op: Op::Affine(Affine { mul, add: 0.0 }), inputs, .. })) =
            self.func.def_inst(exponent)
        {
            self.enter(exponent)?;
            factor *= mul;
            exponent = inputs[0];
        }
        let of = self.without_largest(exponent)?;
        (factor > 0.0 && factor.is_finite()).then_some((of, factor))
    }

    /// The value from which its row's largest element is taken to give `value`.
    fn without_largest(&mut self, value: Value) -> Option<Value> {
        let inst = self.enter(value)?;
        let [x, y] = [*inst.inputs.first()?, *inst.inputs.get(1)?];
        let (of, largest) = match inst.op {
            Op::Binary(Binary(BinaryKind::Sub)) => (x, self.spread(y)?),
            Op::Binary(Binary(BinaryKind::Add)) => {
                let (of, negated) = if self.is_negated(y) { (x, y) } else { (y, x) };
                (of, self.negated(negated)?)
            }
            _ => return None,
        };
        (self.reduced(largest, ReduceKind::Max)? == of).then_some(of)
    }

    /// Whether a value is the negative of a row statistic, spread.
    fn is_negated(&self, value: Value) -> bool {
        Walk { func: self.func, members: Vec::new() }.negated(value).is_some()
    }

    /// The row statistic whose negative, spread, a value is.
    fn negated(&mut self, value: Value) -> Option<Value> {
        let minus = |op: &Op| matches!(op, Op::Affine(Affine { mul: -1.0, add: 0.0 }));
        let inst = self.func.def_inst(value)?.1;
        if minus(&inst.op) {
            let inst = self.enter(value)?;
            return self.spread(inst.inputs[0]);
        }
        let inner = self.spread(value)?;
        let inst = self.enter(inner)?;
        minus(&inst.op).then_some(inst.inputs[0])
    }

    /// The value, one number per row, that is repeated along the last axis to give `value`.
    fn spread(&mut self, value: Value) -> Option<Value> {
        let inst = self.enter(value)?;
        match &inst.op {
            Op::Broadcast(Broadcast { shape, axes }) if axes.iter().copied().eq(0..shape.len() - 1) => {
                Some(inst.inputs[0])
            }
            _ => None,
        }
    }

    /// What is reduced over its last axis to give `value`.
    fn reduced(&mut self, value: Value, wanted: ReduceKind) -> Option<Value> {
        let inst = self.enter(value)?;
        match &inst.op {
            Op::Reduce(Reduce { kind, axes })
                if *kind == wanted && *axes == [self.func.shape(inst.inputs[0]).len() - 1] =>
            {
                Some(inst.inputs[0])
            }
            _ => None,
        }
    }
}

/// The natural logarithm of the base of which an op takes powers.
fn base(op: &Op) -> Option<f64> {
    match op {
        Op::Unary(Unary(UnaryKind::Exp)) => Some(1.0),
        Op::Unary(Unary(UnaryKind::Exp2)) => Some(std::f64::consts::LN_2),
        _ => None,
    }
}
