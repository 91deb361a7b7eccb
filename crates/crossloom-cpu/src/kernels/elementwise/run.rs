//! Running a program block by block.

use std::mem::MaybeUninit;

use half::bf16;

use super::program::{BinaryOp, Broadcast, Float, Place, Program, Step, UnaryOp};
use super::{BLOCK, OPERANDS, REGISTERS};
use crate::element::{Element, Floats, FloatsMut};
use crate::kernels::activation::{Function, with_function};
use crate::kernels::error::{KernelError, need, same};
use crate::math::{exp_v, exp2_v, log_v, sigmoid_v, tanh_v};
use crate::parallel::{self, chunk_range};
use crate::simd::{Simd, Vf, dispatch, lanes};

/// Elements of one task.
const CHUNK: usize = 16_384;

/// Operand and output pointers that tasks share.
struct Pointers<'a> {
    inputs: &'a [*const ()],
    outputs: &'a [*mut ()],
}
// SAFETY: tasks work on disjoint ranges of elements: what one reads or writes of a full operand or an output, no other
// touches; broadcast operands are only read (the contract of `Program::run`).
unsafe impl Sync for Pointers<'_> {}

impl Program {
    /// Runs the program over a `[rows, cols]` region.
    ///
    /// # Errors
    /// Where the number of operands or outputs is not the program's.
    ///
    /// # Safety
    /// Operand `i` is readable for `rows * cols`, `cols`, `rows` or 1 values, as its [`Broadcast`] says, and output
    /// `j` is writable for `rows * cols`, each of the [`Float`] type that the program says and aligned to it. An output may be exactly the memory of one or more full operands of its type (the
    /// program then works in place); otherwise outputs overlap nothing, and nobody else touches any of it meanwhile.
    pub unsafe fn run(
        &self,
        rows: usize,
        cols: usize,
        inputs: &[*const ()],
        outputs: &[*mut ()],
    ) -> Result<(), KernelError> {
        same("elementwise", "operands", inputs.len(), self.operands())?;
        same("elementwise", "outputs", outputs.len(), self.outputs())?;
        let total = rows * cols;
        let pointers = Pointers { inputs, outputs };
        parallel::for_each(total.div_ceil(CHUNK), |task| {
            let r = chunk_range(total, CHUNK, task);
            run_task(self, &pointers, cols, r.start, r.len());
        });
        Ok(())
    }

    /// Runs the program over a `[rows, cols]` region, from slices to other slices.
    ///
    /// # Errors
    /// Where the number of operands or outputs is not the program's, or one is too short or of another type.
    pub fn run_slices(
        &self,
        rows: usize,
        cols: usize,
        inputs: &[Floats<'_>],
        outputs: &mut [FloatsMut<'_>],
    ) -> Result<(), KernelError> {
        let name = "elementwise";
        same(name, "operands", inputs.len(), self.operands())?;
        same(name, "outputs", outputs.len(), self.outputs())?;
        let mut from = [std::ptr::null(); OPERANDS];
        let mut to = [std::ptr::null_mut(); OPERANDS];
        for ((input, (load, float)), from) in inputs.iter().zip(&self.loads).zip(&mut from) {
            let len = match load {
                Broadcast::Full => rows * cols,
                Broadcast::Row => cols,
                Broadcast::Column => rows,
                Broadcast::Scalar => 1,
            };
            need(name, "operand", input.len(), len)?;
            let (size, start) = match input {
                Floats::F32(x) => (size_of::<f32>(), x.as_ptr().cast()),
                Floats::Bf16(x) => (size_of::<bf16>(), x.as_ptr().cast()),
            };
            same(name, "bytes of an operand's value", size, float.bytes())?;
            *from = start;
        }
        for ((output, (_, float)), to) in outputs.iter_mut().zip(&self.stores).zip(&mut to) {
            need(name, "output", output.len(), rows * cols)?;
            let (size, start) = match output {
                FloatsMut::F32(x) => (size_of::<f32>(), x.as_mut_ptr().cast()),
                FloatsMut::Bf16(x) => (size_of::<bf16>(), x.as_mut_ptr().cast()),
            };
            same(name, "bytes of an output's value", size, float.bytes())?;
            *to = start;
        }
        // SAFETY: lengths and types were checked; slices are valid for their lengths, and mutable ones overlap nothing.
        unsafe { self.run(rows, cols, &from[..inputs.len()], &to[..outputs.len()]) }
    }
}

dispatch!(
    fn run_task(program: &Program, pointers: &Pointers<'_>, cols: usize, start: usize, len: usize) = run_body
);

#[inline(always)]
fn run_body<S: Simd>(
    s: S,
    program: &Program,
    pointers: &Pointers<'_>,
    cols: usize,
    start: usize,
    len: usize,
) {
    let mut memory = MaybeUninit::<[f32; REGISTERS * BLOCK]>::uninit();
    let registers = memory.as_mut_ptr().cast::<f32>();
    // SAFETY: registers are `BLOCK` values each and there are at most `REGISTERS`; the program wrote every register
    // before a step reads it, as steps read only earlier values; memory of operands and outputs by the contract of
    // `Program::run`, elements `start .. start + len` being this task's.
    unsafe {
        for (i, load) in program.loads.iter().enumerate() {
            if let ((Broadcast::Scalar, float), Place::Register(r)) = (load, program.places[i]) {
                let from = pointers.inputs[i];
                let value = match float {
                    Float::F32 => *from.cast::<f32>(),
                    Float::Bf16 => (*from.cast::<bf16>()).widen(),
                };
                std::slice::from_raw_parts_mut(registers.add(r * BLOCK), BLOCK.min(len)).fill(value);
            }
        }
        let mut at = start;
        while at < start + len {
            let n = BLOCK.min(start + len - at);
            run_block(s, program, pointers, registers, cols, at, n);
            at += n;
        }
    }
}

/// Elements `at .. at + n`.
///
/// # Safety
/// As in [`run_body`]; `n <= BLOCK`, and scalars are loaded.
#[inline(always)]
unsafe fn run_block<S: Simd>(
    s: S,
    program: &Program,
    pointers: &Pointers<'_>,
    registers: *mut f32,
    cols: usize,
    at: usize,
    n: usize,
) {
    // SAFETY: by the contract of this function.
    unsafe {
        for (i, load) in program.loads.iter().enumerate() {
            let Place::Register(r) = program.places[i] else { continue };
            let to = std::slice::from_raw_parts_mut(registers.add(r * BLOCK), n);
            match load.1 {
                Float::F32 => fill(s, load.0, pointers.inputs[i].cast::<f32>(), cols, at, to),
                Float::Bf16 => fill(s, load.0, pointers.inputs[i].cast::<bf16>(), cols, at, to),
            }
        }
        let place = |value: usize| match program.places[value] {
            Place::Register(r) => registers.add(r * BLOCK).cast_const(),
            Place::Operand(i) => pointers.inputs[i].cast::<f32>().add(at),
            Place::Nowhere => registers.cast_const(),
        };
        let operands = program.loads.len();
        for (i, step) in program.steps.iter().enumerate() {
            let to = match program.places[operands + i] {
                Place::Register(r) => registers.add(r * BLOCK),
                _ => match program.direct {
                    Some(output) if i + 1 == program.steps.len() => {
                        pointers.outputs[output].cast::<f32>().add(at)
                    }
                    _ => continue,
                },
            };
            match *step {
                Step::Unary(op, x) => unary(s, op, n, place(x), to),
                Step::Binary(op, x, y) => binary(s, op, n, [place(x), place(y)], to),
                Step::Affine(x, mul, add) => {
                    let (x, mul, add) = (place(x), Vf::splat(s, mul), Vf::splat(s, add));
                    lanes!(s, n, [x], to, |x| x.mul_add(mul, add));
                }
                Step::Constant(x) => std::slice::from_raw_parts_mut(to, n).fill(x),
            }
        }
        for (j, &(value, float)) in program.stores.iter().enumerate() {
            let (from, to) = (place(value), pointers.outputs[j]);
            match float {
                _ if program.direct == Some(j) => {}
                Float::F32 => std::ptr::copy_nonoverlapping(from, to.cast::<f32>().add(at), n),
                Float::Bf16 => lanes!(s, n, [from], to.cast::<bf16>().add(at), |x| x),
            }
        }
    }
}

/// # Safety
/// As [`lanes`].
#[inline(always)]
unsafe fn unary<S: Simd>(s: S, op: UnaryOp, n: usize, x: *const f32, to: *mut f32) {
    let one = Vf::splat(s, 1.0);
    // SAFETY: by the contract of this function.
    unsafe {
        match op {
            UnaryOp::Exp => lanes!(s, n, [x], to, |x| exp_v(x)),
            UnaryOp::Exp2 => lanes!(s, n, [x], to, |x| exp2_v(x)),
            UnaryOp::Log => lanes!(s, n, [x], to, |x| log_v(x)),
            UnaryOp::Log2 => {
                let factor = Vf::splat(s, std::f32::consts::LOG2_E);
                lanes!(s, n, [x], to, |x| log_v(x) * factor);
            }
            UnaryOp::Sin => (0..n).for_each(|i| *to.add(i) = (*x.add(i)).sin()),
            UnaryOp::Sqrt => lanes!(s, n, [x], to, |x| x.sqrt()),
            UnaryOp::Rsqrt => lanes!(s, n, [x], to, |x| one / x.sqrt()),
            UnaryOp::Recip => lanes!(s, n, [x], to, |x| one / x),
            UnaryOp::Tanh => lanes!(s, n, [x], to, |x| tanh_v(x)),
            UnaryOp::Sigmoid => lanes!(s, n, [x], to, |x| sigmoid_v(x)),
            UnaryOp::Act(a) => with_function!(a, F => lanes!(s, n, [x], to, |x| F::value(x))),
            UnaryOp::ActGrad(a) => with_function!(a, F => lanes!(s, n, [x], to, |x| F::slope(x))),
        }
    }
}

/// # Safety
/// As [`lanes`].
#[inline(always)]
unsafe fn binary<S: Simd>(s: S, op: BinaryOp, n: usize, from: [*const f32; 2], to: *mut f32) {
    let (one, zero) = (Vf::splat(s, 1.0), Vf::zero(s));
    let [x, y] = from;
    // SAFETY: by the contract of this function.
    unsafe {
        match op {
            BinaryOp::Add => lanes!(s, n, [x, y], to, |x, y| x + y),
            BinaryOp::Sub => lanes!(s, n, [x, y], to, |x, y| x - y),
            BinaryOp::Mul => lanes!(s, n, [x, y], to, |x, y| x * y),
            BinaryOp::Div => lanes!(s, n, [x, y], to, |x, y| x / y),
            BinaryOp::Min => lanes!(s, n, [x, y], to, |x, y| x.min_or_nan(y)),
            BinaryOp::Max => lanes!(s, n, [x, y], to, |x, y| x.max_or_nan(y)),
            BinaryOp::Mod => (0..n).for_each(|i| *to.add(i) = *x.add(i) % *y.add(i)),
            BinaryOp::LessThan => lanes!(s, n, [x, y], to, |x, y| one.select(x.lt(y), zero)),
        }
    }
}

/// Fills a register with an operand's values for elements `at ..`; scalars are there already.
///
/// # Safety
/// The operand holds a value for every element, column or row that is met, as its mode says.
#[inline(always)]
unsafe fn fill<S: Simd, E: Element>(
    s: S,
    load: Broadcast,
    from: *const E,
    cols: usize,
    at: usize,
    to: &mut [f32],
) {
    let (mut row, mut col) = (at / cols, at % cols);
    let mut done = 0;
    while done < to.len() {
        // SAFETY: `at + to.len()` elements, `cols` columns or row `row` are met.
        unsafe {
            let n = (cols - col).min(to.len() - done);
            match load {
                Broadcast::Full => {
                    lanes!(s, to.len(), [from.add(at)], to.as_mut_ptr(), |x| x);
                    return;
                }
                Broadcast::Row => lanes!(s, n, [from.add(col)], to.as_mut_ptr().add(done), |x| x),
                Broadcast::Column => to[done..done + n].fill((*from.add(row)).widen()),
                Broadcast::Scalar => return,
            }
            done += n;
        }
        (row, col) = (row + 1, 0);
    }
}
