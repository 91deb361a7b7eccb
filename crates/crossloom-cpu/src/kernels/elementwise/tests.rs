#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crossloom_ir::op::Activation;

use crate::element::{Floats, FloatsMut};
use crate::kernels::activation;
use crate::kernels::testing::{Buffer, assert_close, random};

/// One element of every value, in `f64`.
fn reference(steps: &[Step], mut values: Vec<f64>) -> Vec<f64> {
    for step in steps {
        let v = |i: usize| values[i];
        values.push(match *step {
            Step::Unary(op, x) => match op {
                UnaryOp::Exp => v(x).exp(),
                UnaryOp::Exp2 => v(x).exp2(),
                UnaryOp::Log => v(x).ln(),
                UnaryOp::Log2 => v(x).log2(),
                UnaryOp::Sin => v(x).sin(),
                UnaryOp::Sqrt => v(x).sqrt(),
                UnaryOp::Rsqrt => 1.0 / v(x).sqrt(),
                UnaryOp::Recip => 1.0 / v(x),
                UnaryOp::Tanh => v(x).tanh(),
                UnaryOp::Sigmoid => 1.0 / (1.0 + (-v(x)).exp()),
                UnaryOp::Act(activation) => activation::reference(activation, v(x)),
                UnaryOp::ActGrad(activation) => {
                    let around = |h: f64| activation::reference(activation, v(x) + h);
                    (around(1e-4) - around(-1e-4)) / 2e-4
                }
            },
            Step::Binary(op, x, y) => match op {
                BinaryOp::Add => v(x) + v(y),
                BinaryOp::Sub => v(x) - v(y),
                BinaryOp::Mul => v(x) * v(y),
                BinaryOp::Div => v(x) / v(y),
                BinaryOp::Min => v(x).min(v(y)),
                BinaryOp::Max => v(x).max(v(y)),
                BinaryOp::Mod => v(x) % v(y),
                BinaryOp::LessThan => f64::from(u8::from(v(x) < v(y))),
            },
            Step::Affine(x, mul, add) => f64::from(mul) * v(x) + f64::from(add),
            Step::Constant(x) => f64::from(x),
        });
    }
    values
}

/// Operands of every mode for a region, narrow or not.
fn operands(loads: &[(Broadcast, Float)], rows: usize, cols: usize) -> Vec<Buffer> {
    let operand = |(i, (load, float)): (usize, &(Broadcast, Float))| {
        let len = match load {
            Broadcast::Full => rows * cols,
            Broadcast::Row => cols,
            Broadcast::Column => rows,
            Broadcast::Scalar => 1,
        };
        Buffer::new(&random(i as u64, len), *float == Float::Bf16)
    };
    loads.iter().enumerate().map(operand).collect()
}

/// What every output should be before it is rounded.
fn expected(
    loads: &[(Broadcast, Float)],
    steps: &[Step],
    stores: &[(usize, Float)],
    inputs: &[Vec<f32>],
    rows: usize,
    cols: usize,
) -> Vec<Vec<f32>> {
    let mut out = vec![Vec::new(); stores.len()];
    for i in 0..rows * cols {
        let at = |((load, _), x): (&(Broadcast, Float), &Vec<f32>)| {
            f64::from(match load {
                Broadcast::Full => x[i],
                Broadcast::Row => x[i % cols],
                Broadcast::Column => x[i / cols],
                Broadcast::Scalar => x[0],
            })
        };
        let values = reference(steps, loads.iter().zip(inputs).map(at).collect());
        for (out, (store, _)) in out.iter_mut().zip(stores) {
            out.push(values[*store] as f32);
        }
    }
    out
}

/// The outputs of a program.
fn run(
    program: &Program,
    inputs: &[Buffer],
    stores: &[(usize, Float)],
    rows: usize,
    cols: usize,
) -> Vec<Buffer> {
    let mut given: Vec<Buffer> =
        stores.iter().map(|(_, float)| Buffer::room(rows * cols, *float == Float::Bf16)).collect();
    let from: Vec<Floats<'_>> = inputs.iter().map(Buffer::floats).collect();
    let mut to: Vec<FloatsMut<'_>> = given.iter_mut().map(Buffer::floats_mut).collect();
    program.run_slices(rows, cols, &from, &mut to).unwrap();
    given
}

/// In `f32` a program computes the reference; with other types the same, of widened operands and rounded once; and in
/// place what it computes elsewhere.
fn check_typed(
    loads: &[(Broadcast, Float)],
    steps: &[Step],
    stores: &[(usize, Float)],
    rows: usize,
    cols: usize,
) {
    let inputs = operands(loads, rows, cols);
    let wide: Vec<Vec<f32>> = inputs.iter().map(Buffer::wide).collect();
    let want = expected(loads, steps, stores, &wide, rows, cols);
    let in_f32 = |stores: &[(usize, Float)]| -> Vec<(usize, Float)> {
        stores.iter().map(|(store, _)| (*store, Float::F32)).collect()
    };
    let program = Program::new(
        loads.iter().map(|(load, _)| *load).collect(),
        steps.to_vec(),
        stores.iter().map(|(store, _)| *store).collect(),
    );
    let wide: Vec<Buffer> = wide.into_iter().map(Buffer::F32).collect();
    let exact = run(&program.unwrap(), &wide, &in_f32(stores), rows, cols);
    for (exact, want) in exact.iter().zip(&want) {
        assert_close(&exact.wide(), want, 2e-5);
    }
    let program = Program::typed(loads.to_vec(), steps.to_vec(), stores.to_vec()).unwrap();
    let given = run(&program, &inputs, stores, rows, cols);
    for ((given, exact), (_, float)) in given.iter().zip(&exact).zip(stores) {
        assert_eq!(given.bits(), Buffer::new(&exact.wide(), *float == Float::Bf16).bits());
    }
    // Every output takes over a full operand of its type, as far as there are any.
    let mut memory = inputs.clone();
    let mut spare: Vec<Buffer> =
        stores.iter().map(|(_, float)| Buffer::room(rows * cols, *float == Float::Bf16)).collect();
    let mut full: Vec<usize> = (0..loads.len()).filter(|i| loads[*i].0 == Broadcast::Full).collect();
    let taken: Vec<Option<usize>> = (stores.iter())
        .map(|(_, float)| full.iter().position(|i| loads[*i].1 == *float).map(|at| full.remove(at)))
        .collect();
    let start = |buffer: &mut Buffer| -> *mut () {
        match buffer.floats_mut() {
            FloatsMut::F32(x) => x.as_mut_ptr().cast(),
            FloatsMut::Bf16(x) => x.as_mut_ptr().cast(),
        }
    };
    let from: Vec<*mut ()> = memory.iter_mut().map(start).collect();
    let spare: Vec<*mut ()> = spare.iter_mut().map(start).collect();
    let to: Vec<*mut ()> =
        taken.iter().zip(&spare).map(|(at, spare)| at.map_or(*spare, |i| from[i])).collect();
    let inputs: Vec<*const ()> = from.iter().map(|x| x.cast_const()).collect();
    // SAFETY: operands and outputs have the sizes and types of the program; an output is a full operand of its type or
    // overlaps nothing.
    unsafe { program.run(rows, cols, &inputs, &to).unwrap() };
    for (at, given) in taken.iter().zip(&given) {
        if let Some(at) = at {
            assert_eq!(memory[*at].bits(), given.bits());
        }
    }
}

fn check(loads: &[Broadcast], steps: &[Step], stores: &[usize], rows: usize, cols: usize) {
    let loads: Vec<_> = loads.iter().map(|load| (*load, Float::F32)).collect();
    let stores: Vec<_> = stores.iter().map(|store| (*store, Float::F32)).collect();
    check_typed(&loads, steps, &stores, rows, cols);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn random_programs_match_the_reference(
        rows in 1_usize..9, cols in 1_usize..200, seed: u64, length in 0_usize..12, operands in 1_usize..6,
    ) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let modes = [Broadcast::Full, Broadcast::Full, Broadcast::Row, Broadcast::Column, Broadcast::Scalar];
        let float = |rng: &mut ChaCha8Rng| if rng.random_bool(0.5) { Float::F32 } else { Float::Bf16 };
        let loads: Vec<(Broadcast, Float)> =
            (0..operands).map(|_| (modes[rng.random_range(0..5)], float(&mut rng))).collect();
        // Values that `f32` and the reference have alike. Only those are compared: another one might be rounded to the
        // other side of what it is compared with, and the two results of a comparison are far apart.
        let mut exact = vec![true; operands];
        let mut steps = Vec::new();
        for i in 0..length {
            let mut x = || rng.random_range(0..operands + i);
            let (x, y) = (x(), x());
            let known: Vec<usize> = (0..exact.len()).filter(|v| exact[*v]).collect();
            let mut one = || known[rng.random_range(0..known.len())];
            let (a, b) = (one(), one());
            let step = match rng.random_range(0..11) {
                0 => Step::Binary(BinaryOp::Add, x, y),
                1 => Step::Binary(BinaryOp::Sub, x, y),
                2 => Step::Binary(BinaryOp::Min, x, y),
                3 => Step::Binary(BinaryOp::Max, x, y),
                4 => Step::Affine(x, 0.5, -0.25),
                5 => Step::Unary(UnaryOp::Tanh, x),
                6 => Step::Unary(UnaryOp::Sigmoid, x),
                7 => Step::Binary(BinaryOp::LessThan, a, b),
                8 => Step::Unary(UnaryOp::Sin, x),
                9 => Step::Constant(0.75),
                _ => Step::Unary(UnaryOp::Act(Activation::Silu), x),
            };
            exact.push(match step {
                Step::Binary(BinaryOp::LessThan, ..) | Step::Constant(_) => true,
                Step::Binary(BinaryOp::Min | BinaryOp::Max, x, y) => exact[x] && exact[y],
                _ => false,
            });
            steps.push(step);
        }
        let stores: Vec<(usize, Float)> = (0..rng.random_range(1..4))
            .map(|_| (rng.random_range(0..operands + length), float(&mut rng)))
            .collect();
        check_typed(&loads, &steps, &stores, rows, cols);
    }
}

#[test]
fn every_function_matches_f64() {
    let steps = [
        // At least a half.
        Step::Binary(BinaryOp::Mul, 0, 0),
        Step::Affine(1, 1.0, 0.5),
        Step::Unary(UnaryOp::Log, 2),
        Step::Unary(UnaryOp::Log2, 2),
        Step::Unary(UnaryOp::Sqrt, 2),
        Step::Unary(UnaryOp::Rsqrt, 2),
        Step::Unary(UnaryOp::Recip, 2),
        Step::Unary(UnaryOp::Exp, 0),
        Step::Unary(UnaryOp::Exp2, 0),
        Step::Unary(UnaryOp::ActGrad(Activation::QuickGelu), 0),
        Step::Binary(BinaryOp::Div, 0, 2),
        Step::Binary(BinaryOp::Mod, 7, 2),
        Step::Binary(BinaryOp::LessThan, 0, 5),
    ];
    let stores: Vec<usize> = (1..=13).collect();
    check(&[Broadcast::Full], &steps, &stores, 3, 111);
}

#[test]
fn long_regions_are_cut_without_a_seam() {
    let loads = [Broadcast::Full, Broadcast::Row, Broadcast::Column, Broadcast::Scalar];
    let steps = [
        Step::Binary(BinaryOp::Mul, 0, 1),
        Step::Binary(BinaryOp::Add, 4, 2),
        Step::Binary(BinaryOp::Mul, 5, 3),
    ];
    check(&loads, &steps, &[6], 301, 97);
}

#[test]
fn wrong_programs_are_reported() {
    let full = || vec![Broadcast::Full];
    assert!(Program::new(full(), vec![Step::Unary(UnaryOp::Exp, 1)], vec![1]).is_err());
    assert!(Program::new(full(), vec![], vec![1]).is_err());
    assert!(Program::new(vec![Broadcast::Row; 30], vec![], (0..30).collect()).is_err());
    let program = Program::new(full(), vec![], vec![0]).unwrap();
    assert!(program.run_slices(1, 2, &[Floats::F32(&[1.0])], &mut [FloatsMut::F32(&mut [0.0; 2])]).is_err());
    assert!(program.run_slices(1, 2, &[], &mut [FloatsMut::F32(&mut [0.0; 2])]).is_err());
    assert!(program.run_slices(1, 2, &[Floats::F32(&[1.0; 2])], &mut []).is_err());
    let narrow = [half::bf16::ONE; 2];
    let mut y = [0.0; 2];
    assert!(program.run_slices(1, 2, &[Floats::Bf16(&narrow)], &mut [FloatsMut::F32(&mut y)]).is_err());
}
