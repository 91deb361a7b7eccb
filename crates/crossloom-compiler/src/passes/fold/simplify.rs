//! Constants, and ops that change nothing.

use crossloom_ir::func::InstData;
use crossloom_ir::op::{
    Affine, Binary, BinaryKind, Constant, Iota, Op, ReduceKind, Reshape, Transpose, Unary,
};
use crossloom_ir::rewrite::Rewriter;
use crossloom_ir::{DType, Func, IrError, Value};

/// The function with every instruction as simple as its operands allow.
pub(super) fn simplify_all(func: &Func) -> Result<Func, IrError> {
    let mut rewriter = Rewriter::new(func);
    for inst in func.insts() {
        let inputs = rewriter.get_all(&inst.inputs)?;
        let Some(simpler) = simplify(rewriter.new_func(), func, inst, &inputs) else {
            rewriter.copy(inst)?;
            continue;
        };
        let value = emit(&mut rewriter, inst, simpler)?;
        rewriter.set(inst.outputs[0], value);
    }
    rewriter.finish()
}

/// What an instruction with one output comes down to.
enum Simpler {
    /// A value there is already.
    Same(Value),
    /// One number everywhere.
    Number(f64),
    /// `mul x + add`.
    Affine { x: Value, mul: f64, add: f64 },
    /// `1, 2, 3, …`.
    Count,
    /// Another movement of one operand.
    Moved(Op, Value),
}

fn emit(rewriter: &mut Rewriter<'_>, inst: &InstData, simpler: Simpler) -> Result<Value, IrError> {
    let shape = rewriter.old().shape(inst.outputs[0]).to_vec();
    let dtype = rewriter.old().dtype(inst.outputs[0]);
    let mut b = rewriter.builder(&inst.scope);
    match simpler {
        Simpler::Same(value) => b.convert(value, dtype),
        Simpler::Number(value) => b.one_as(Constant { value, shape }, &[], dtype),
        Simpler::Affine { x, mul, add } => b.one_as(Affine { mul, add }, &[x], dtype),
        Simpler::Count => {
            let from_zero = b.one(Iota { shape, axis: 0 }, &[])?;
            b.one_as(Affine { mul: 1.0, add: 1.0 }, &[from_zero], dtype)
        }
        Simpler::Moved(op, x) => b.one(op, &[x]),
    }
}

/// What `inst` of `old` comes down to on operands of the new function, if that is less than it is.
fn simplify(new: &Func, old: &Func, inst: &InstData, inputs: &[Value]) -> Option<Simpler> {
    let number = |i: usize| constant_of(new, inputs[i]);
    let dtype = old.dtype(inst.outputs[0]);
    let moves_nothing = || new.shape(inputs[0]) == old.shape(inst.outputs[0]);
    match &inst.op {
        Op::Affine(Affine { mul, add }) => {
            affine(new, inputs[0], *mul, *add).filter(|simpler| match simpler {
                Simpler::Affine { x, .. } => *x != inputs[0],
                _ => true,
            })
        }
        Op::Convert(_) => converted(new, inputs[0], dtype),
        Op::Unary(Unary(kind)) => finite(kind.value(number(0)?)),
        Op::Binary(Binary(kind)) => binary(new, *kind, [inputs[0], inputs[1]], [number(0), number(1)]),
        Op::Reduce(op) if op.axes.is_empty() => Some(Simpler::Same(inputs[0])),
        Op::Reduce(op) if super::count::counts(new, op, inputs[0]) => Some(Simpler::Count),
        Op::Reduce(op) => {
            let count: usize = op.axes.iter().map(|&axis| new.shape(inputs[0])[axis]).product();
            let x = number(0)?;
            finite(if op.kind == ReduceKind::Sum { x * count as f64 } else { x })
        }
        Op::Reshape(_) | Op::Broadcast(_) | Op::Slice(_) | Op::Pad(_) if moves_nothing() => {
            Some(Simpler::Same(inputs[0]))
        }
        Op::Transpose(op) if is_identity(&op.perm) => Some(Simpler::Same(inputs[0])),
        Op::Concat(_) if inputs.len() == 1 => Some(Simpler::Same(inputs[0])),
        Op::Broadcast(_) | Op::Slice(_) => Some(Simpler::Number(number(0)?)),
        Op::Pad(_) if number(0) == Some(0.0) => Some(Simpler::Number(0.0)),
        Op::Reshape(op) => match &new.def_inst(inputs[0])?.1 {
            InstData { op: Op::Constant(_), .. } => Some(Simpler::Number(number(0)?)),
            InstData { op: Op::Reshape(_), inputs: source, .. } if new.shape(source[0]) == op.shape => {
                Some(Simpler::Same(source[0]))
            }
            InstData { op: Op::Reshape(_), inputs: source, .. } => {
                Some(Simpler::Moved(Reshape { shape: op.shape.clone() }.into(), source[0]))
            }
            _ => None,
        },
        Op::Transpose(op) => match &new.def_inst(inputs[0])?.1 {
            InstData { op: Op::Constant(_), .. } => Some(Simpler::Number(number(0)?)),
            InstData { op: Op::Transpose(inner), inputs: source, .. } => {
                let perm: Vec<usize> = op.perm.iter().map(|&axis| inner.perm[axis]).collect();
                Some(if is_identity(&perm) {
                    Simpler::Same(source[0])
                } else {
                    Simpler::Moved(Transpose { perm }.into(), source[0])
                })
            }
            _ => None,
        },
        _ => None,
    }
}

/// An element-wise op of two operands, of which `x` and `y` are numbers where they are constants.
fn binary(new: &Func, kind: BinaryKind, on: [Value; 2], [x, y]: [Option<f64>; 2]) -> Option<Simpler> {
    match (kind, x, y) {
        (_, Some(x), Some(y)) => finite(kind.value(x, y)),
        (BinaryKind::Add, Some(c), None) => affine(new, on[1], 1.0, c),
        (BinaryKind::Add, None, Some(c)) => affine(new, on[0], 1.0, c),
        (BinaryKind::Sub, Some(c), None) => affine(new, on[1], -1.0, c),
        (BinaryKind::Sub, None, Some(c)) => affine(new, on[0], 1.0, -c),
        (BinaryKind::Mul, Some(c), None) => affine(new, on[1], c, 0.0),
        (BinaryKind::Mul, None, Some(c)) => affine(new, on[0], c, 0.0),
        (BinaryKind::Div, None, Some(1.0)) => Some(Simpler::Same(on[0])),
        _ => None,
    }
}

/// `mul x + add`, made one with the affines and the constant that `x` is made of.
fn affine(new: &Func, x: Value, mul: f64, add: f64) -> Option<Simpler> {
    let (mut x, mut mul, mut add) = (x, mul, add);
    loop {
        if let Some(number) = constant_of(new, x) {
            return finite(mul * number + add);
        }
        match new.def_inst(x) {
            // What it reads was rounded on the way.
            _ if new.dtype(x) != DType::F32 => break,
            // Otherwise `inner.add` would be rounded after it is multiplied instead of before.
            Some((_, InstData { op: Op::Affine(inner), inputs, .. })) if inner.add == 0.0 || mul == 1.0 => {
                add += mul * inner.add;
                mul *= inner.mul;
                x = inputs[0];
            }
            _ => break,
        }
    }
    Some(if mul == 1.0 && add == 0.0 { Simpler::Same(x) } else { Simpler::Affine { x, mul, add } })
}

/// `x` as that type. Widening changes no number, so what was widened is converted as it was before; a rounding to 16 bits
/// stays.
fn converted(new: &Func, x: Value, dtype: DType) -> Option<Simpler> {
    if new.dtype(x) == dtype {
        return Some(Simpler::Same(x));
    }
    if let Some(number) = constant_of(new, x) {
        return finite(number);
    }
    match new.def_inst(x) {
        Some((_, InstData { op: Op::Convert(_), inputs, .. })) if new.dtype(x) == DType::F32 => {
            Some(Simpler::Same(inputs[0]))
        }
        _ => None,
    }
}

fn finite(value: f64) -> Option<Simpler> {
    value.is_finite().then_some(Simpler::Number(value))
}

fn is_identity(perm: &[usize]) -> bool {
    perm.iter().enumerate().all(|(to, &from)| to == from)
}

fn constant_of(func: &Func, value: Value) -> Option<f64> {
    match func.def_inst(value) {
        Some((_, InstData { op: Op::Constant(c), .. })) => Some(func.dtype(value).round(c.value)),
        _ => None,
    }
}
