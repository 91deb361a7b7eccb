//! Element-wise ops: one interpreter of small programs over blocks that stay in the first-level cache.
//!
//! A task takes a fixed range of elements, block by block: operands are read, every step is one vectorised loop over
//! the block, results are written last. So a result may be written over an operand's memory.

use crossloom_ir::TensorType;
use crossloom_ir::op::{Activation as IrAct, Binary, BinaryKind, Load, Op, Step, Unary, UnaryKind};

use crate::exec::io::{CpuKernel, Io, KernelError, Lowered};
use crate::kernels::Activation;
use crate::kernels::activation::{Function as _, with_function};
use crate::math::{exp_v, log_v, sigmoid_v, tanh_v};
use crate::parallel::{self, chunk_range};
use crate::simd::{Simd, Vf, dispatch, map1, map2};

/// Elements of a block: 36 registers of it fill a first-level cache.
const BLOCK: usize = 256;
/// Elements of a task.
const CHUNK: usize = 16_384;
/// Registers a program may have.
const REGISTERS: usize = 40;

/// Number of results an element-wise kernel can have.
const RESULTS: usize = 24;

/// A program bound to a shape.
struct Program {
    elements: usize,
    /// Extent of the last axis.
    width: usize,
    loads: Vec<Load>,
    body: Vec<Step>,
    stores: Vec<usize>,
}

struct Constant(f32);

pub(super) fn lower(op: &Op, outputs: &[&TensorType]) -> Option<Lowered> {
    let (name, loads, body, stores) = match op {
        Op::Constant(op) => return Some(Lowered::new("fill", Constant(op.value as f32))),
        Op::Unary(Unary(kind)) => ("elementwise", vec![Load::Full], vec![Step::Unary(*kind, 0)], vec![1]),
        Op::Binary(Binary(kind)) => {
            ("elementwise", vec![Load::Full; 2], vec![Step::Binary(*kind, 0, 1)], vec![2])
        }
        Op::Affine(op) => ("elementwise", vec![Load::Full], vec![Step::Affine(0, op.mul, op.add)], vec![1]),
        Op::FusedElementwise(op) => {
            ("fused_elementwise", op.loads.clone(), op.body.clone(), op.stores.clone())
        }
        _ => return None,
    };
    if loads.len() + body.len() > REGISTERS || stores.len() > RESULTS {
        return None;
    }
    let (elements, width) = (outputs[0].elements(), outputs[0].last());
    Some(Lowered::new(name, Program { elements, width, loads, body, stores }).in_place(op.in_place()))
}

impl CpuKernel for Constant {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let (_, [out], _) = io.split()?;
        out.fill(self.0);
        Ok(())
    }
}

/// Addresses of operands and results, shared by all tasks.
#[derive(Clone, Copy)]
struct Addresses {
    inputs: [*const f32; REGISTERS],
    outputs: [*mut f32; RESULTS],
}

// SAFETY: plain addresses; tasks touch disjoint ranges of what is written, see `task`.
unsafe impl Sync for Addresses {}

impl CpuKernel for Program {
    fn run(&self, io: Io<'_>) -> Result<(), KernelError> {
        let mut at =
            Addresses { inputs: [std::ptr::null(); REGISTERS], outputs: [std::ptr::null_mut(); RESULTS] };
        let (inputs, outputs) = io.addresses();
        if inputs.len() != self.loads.len() || outputs.len() != self.stores.len() {
            return Err(KernelError(
                "an element-wise program is bound to another number of operands".to_owned(),
            ));
        }
        for (slot, input) in at.inputs.iter_mut().zip(inputs) {
            *slot = input;
        }
        for (slot, output) in at.outputs.iter_mut().zip(outputs) {
            *slot = output;
        }
        parallel::for_each(self.elements.div_ceil(CHUNK), |i| {
            let range = chunk_range(self.elements, CHUNK, i);
            task(self, at, range.start, range.end);
        });
        Ok(())
    }
}

dispatch!(fn task(program: &Program, at: Addresses, start: usize, end: usize) = task_body);

#[inline(always)]
fn task_body<S: Simd>(s: S, program: &Program, at: Addresses, start: usize, end: usize) {
    let mut registers = [[0.0f32; BLOCK]; REGISTERS];
    let loads = program.loads.len();
    for (register, load) in program.loads.iter().enumerate() {
        if *load == Load::Scalar {
            // SAFETY: a scalar operand has one element, and no task writes it: a result of the same memory would have
            // the type of a scalar, which makes this the only block of the only task.
            registers[register].fill(unsafe { *at.inputs[register] });
        }
    }
    let mut from = start;
    while from < end {
        let len = BLOCK.min(end - from);
        for (register, load) in program.loads.iter().enumerate() {
            let block = &mut registers[register][..len];
            match load {
                Load::Scalar => {}
                // SAFETY: a full operand has `elements` elements; this block of it is read before this task writes the
                // same block of a result, and no other task touches it.
                Load::Full => block.copy_from_slice(unsafe {
                    std::slice::from_raw_parts(at.inputs[register].add(from), len)
                }),
                Load::Row | Load::Column => {
                    load_repeated(*load, at.inputs[register], program.width, from, block)
                }
            }
        }
        for (number, step) in program.body.iter().enumerate() {
            let (before, rest) = registers.split_at_mut(loads + number);
            run_step(s, step, before, &mut rest[0][..len]);
        }
        for (result, &register) in program.stores.iter().enumerate() {
            // SAFETY: every result has `elements` elements, results do not overlap, tasks have disjoint ranges, and the
            // operand that may live here was copied above.
            let out = unsafe { std::slice::from_raw_parts_mut(at.outputs[result].add(from), len) };
            out.copy_from_slice(&registers[register][..len]);
        }
        from += len;
    }
}

/// Fills a block from a vector over the last axis, or from one number per row.
#[inline(always)]
fn load_repeated(load: Load, source: *const f32, width: usize, from: usize, block: &mut [f32]) {
    let (mut done, mut row, mut col) = (0, from / width, from % width);
    while done < block.len() {
        let run = (width - col).min(block.len() - done);
        let target = &mut block[done..done + run];
        if load == Load::Row {
            // SAFETY: the vector has `width` elements and `col + run <= width`; nothing writes it during the step.
            target.copy_from_slice(unsafe { std::slice::from_raw_parts(source.add(col), run) });
        } else {
            // SAFETY: there is one number per row and `row` is a row of the shape.
            target.fill(unsafe { *source.add(row) });
        }
        done += run;
        row += 1;
        col = 0;
    }
}

#[inline(always)]
fn run_step<S: Simd>(s: S, step: &Step, before: &[[f32; BLOCK]], out: &mut [f32]) {
    let n = out.len();
    match *step {
        Step::Affine(x, mul, add) => {
            let (mul, add) = (Vf::splat(s, mul as f32), Vf::splat(s, add as f32));
            map1!(s, &before[x][..n], out, |x| x.mul_add(mul, add));
        }
        Step::Unary(kind, x) => run_unary(s, kind, &before[x][..n], out),
        Step::Binary(kind, x, y) => run_binary(s, kind, &before[x][..n], &before[y][..n], out),
    }
}

#[inline(always)]
fn run_unary<S: Simd>(s: S, kind: UnaryKind, x: &[f32], out: &mut [f32]) {
    let one = Vf::splat(s, 1.0);
    match kind {
        UnaryKind::Log2 => map1!(s, x, out, |x| log_v(x) * Vf::splat(s, std::f32::consts::LOG2_E)),
        UnaryKind::Exp2 => map1!(s, x, out, |x| exp_v(x * Vf::splat(s, std::f32::consts::LN_2))),
        UnaryKind::Sin => x.iter().zip(out).for_each(|(x, y)| *y = x.sin()),
        UnaryKind::Sqrt => map1!(s, x, out, Vf::sqrt),
        UnaryKind::Recip => map1!(s, x, out, |x| one / x),
        UnaryKind::Exp => map1!(s, x, out, exp_v),
        UnaryKind::Log => map1!(s, x, out, log_v),
        UnaryKind::Rsqrt => map1!(s, x, out, |x| one / x.sqrt()),
        UnaryKind::Tanh => map1!(s, x, out, tanh_v),
        UnaryKind::Sigmoid => map1!(s, x, out, sigmoid_v),
        UnaryKind::Act(f) => with_function!(activation(f), F => map1!(s, x, out, F::value)),
        UnaryKind::ActGrad(f) => with_function!(activation(f), F => map1!(s, x, out, F::slope)),
    }
}

#[inline(always)]
fn run_binary<S: Simd>(s: S, kind: BinaryKind, x: &[f32], y: &[f32], out: &mut [f32]) {
    match kind {
        BinaryKind::Add => map2!(s, x, y, out, |x, y| x + y),
        BinaryKind::Sub => map2!(s, x, y, out, |x, y| x - y),
        BinaryKind::Mul => map2!(s, x, y, out, |x, y| x * y),
        BinaryKind::Div => map2!(s, x, y, out, |x, y| x / y),
        BinaryKind::Min => map2!(s, x, y, out, Vf::min),
        BinaryKind::Max => map2!(s, x, y, out, Vf::max),
        BinaryKind::LessThan => {
            let (one, zero) = (Vf::splat(s, 1.0), Vf::zero(s));
            map2!(s, x, y, out, |x, y| one.select(x.lt(y), zero));
        }
        BinaryKind::Mod => x.iter().zip(y).zip(out).for_each(|((x, y), z)| *z = x % y),
    }
}

/// The kernels' name of an activation.
pub(super) fn activation(act: IrAct) -> Activation {
    match act {
        IrAct::GeluTanh => Activation::GeluTanh,
        IrAct::GeluErf => Activation::GeluErf,
        IrAct::QuickGelu => Activation::QuickGelu,
        IrAct::Silu => Activation::Silu,
    }
}
