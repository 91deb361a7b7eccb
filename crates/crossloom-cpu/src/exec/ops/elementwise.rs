//! `unary`, `binary`, `affine`, `constant` and `fused_elementwise` to an element-wise [`Program`]; all of them may write
//! a result over an operand of its shape.

use crossloom_ir::op::{Binary, BinaryKind, Load, Op, Step as IrStep, Unary, UnaryKind};
use crossloom_ir::{DType, TensorType};

use crate::exec::io::{CpuKernel, Io, Lowered};
use crate::kernels::{BinaryOp, Broadcast, Float, KernelError, Program, Step, UnaryOp};

/// Operands, and results, of a program at most.
const OPERANDS: usize = 64;

/// A program bound to a shape.
struct Elementwise {
    program: Program,
    rows: usize,
    cols: usize,
}

/// The kernel of an element-wise op; `None` where a region is too large for one program.
pub(super) fn lower(op: &Op, inputs: &[&TensorType], outputs: &[&TensorType]) -> Option<Lowered> {
    let (name, loads, steps, stores) = match op {
        Op::Constant(op) => ("fill", vec![], vec![Step::Constant(op.value as f32)], vec![0]),
        Op::Unary(Unary(kind)) => {
            ("elementwise", vec![Broadcast::Full], vec![Step::Unary(unary(*kind), 0)], vec![1])
        }
        Op::Binary(Binary(kind)) => {
            ("elementwise", vec![Broadcast::Full; 2], vec![Step::Binary(binary(*kind), 0, 1)], vec![2])
        }
        Op::Affine(op) => {
            let step = Step::Affine(0, op.mul as f32, op.add as f32);
            ("elementwise", vec![Broadcast::Full], vec![step], vec![1])
        }
        Op::FusedElementwise(op) => {
            let loads = op.loads.iter().map(|load| broadcast(*load)).collect();
            let steps = op.body.iter().map(step).collect();
            ("fused_elementwise", loads, steps, op.stores.clone())
        }
        _ => return None,
    };
    let loads: Vec<_> = loads.into_iter().zip(inputs).map(|(load, ty)| (load, float(ty))).collect();
    let stores: Vec<_> = stores.into_iter().zip(outputs).map(|(store, ty)| (store, float(ty))).collect();
    let all = |n: usize| (0..n).collect::<Vec<_>>();
    let (operands, results) = (all(loads.len()), all(stores.len()));
    let program = Program::typed(loads, steps, stores).ok()?;
    if program.operands().max(program.outputs()) > OPERANDS {
        return None;
    }
    let kernel = Elementwise { program, rows: outputs[0].rows(), cols: outputs[0].last() };
    Some(Lowered::new(name, kernel).in_place(op.in_place()).floats(&operands, &results))
}

/// How a program sees a type; one that it does not know is refused by what the kernel says of its operands.
fn float(ty: &TensorType) -> Float {
    if ty.dtype == DType::Bf16 { Float::Bf16 } else { Float::F32 }
}

impl CpuKernel for Elementwise {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (mut from, mut to) = ([std::ptr::null(); OPERANDS], [std::ptr::null_mut(); OPERANDS]);
        let (inputs, outputs) = io.addresses();
        let (operands, results) = (inputs.len().min(OPERANDS), outputs.len().min(OPERANDS));
        from.iter_mut().zip(inputs).for_each(|(slot, input)| *slot = input);
        to.iter_mut().zip(outputs).for_each(|(slot, output)| *slot = output);
        // SAFETY: the executor builds `Io` only for steps of a plan that passed `plan::check`, with operands and results
        // of the types that the kernel was lowered for: a full operand and every result have `rows * cols` elements, the
        // others as many as their load mode says. A result overlaps no operand but one of its own shape that it lies over exactly.
        unsafe { self.program.run(self.rows, self.cols, &from[..operands], &to[..results])? };
        Ok(())
    }
}

fn broadcast(load: Load) -> Broadcast {
    match load {
        Load::Full => Broadcast::Full,
        Load::Row => Broadcast::Row,
        Load::Column => Broadcast::Column,
        Load::Scalar => Broadcast::Scalar,
    }
}

fn step(step: &IrStep) -> Step {
    match *step {
        IrStep::Unary(kind, x) => Step::Unary(unary(kind), x),
        IrStep::Binary(kind, x, y) => Step::Binary(binary(kind), x, y),
        IrStep::Affine(x, mul, add) => Step::Affine(x, mul as f32, add as f32),
    }
}

fn unary(kind: UnaryKind) -> UnaryOp {
    match kind {
        UnaryKind::Log2 => UnaryOp::Log2,
        UnaryKind::Exp2 => UnaryOp::Exp2,
        UnaryKind::Sin => UnaryOp::Sin,
        UnaryKind::Sqrt => UnaryOp::Sqrt,
        UnaryKind::Recip => UnaryOp::Recip,
        UnaryKind::Exp => UnaryOp::Exp,
        UnaryKind::Log => UnaryOp::Log,
        UnaryKind::Rsqrt => UnaryOp::Rsqrt,
        UnaryKind::Tanh => UnaryOp::Tanh,
        UnaryKind::Sigmoid => UnaryOp::Sigmoid,
        UnaryKind::Act(act) => UnaryOp::Act(act),
        UnaryKind::ActGrad(act) => UnaryOp::ActGrad(act),
    }
}

fn binary(kind: BinaryKind) -> BinaryOp {
    match kind {
        BinaryKind::Add => BinaryOp::Add,
        BinaryKind::Mul => BinaryOp::Mul,
        BinaryKind::Mod => BinaryOp::Mod,
        BinaryKind::LessThan => BinaryOp::LessThan,
        BinaryKind::Sub => BinaryOp::Sub,
        BinaryKind::Div => BinaryOp::Div,
        BinaryKind::Min => BinaryOp::Min,
        BinaryKind::Max => BinaryOp::Max,
    }
}
