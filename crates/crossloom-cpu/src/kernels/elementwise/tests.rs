#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crossloom_ir::op::Activation;

use crate::kernels::activation;
use crate::kernels::testing::{assert_close, random};

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

/// Operands of every mode for a region.
fn operands(loads: &[Broadcast], rows: usize, cols: usize) -> Vec<Vec<f32>> {
    let len = |load: &Broadcast| match load {
        Broadcast::Full => rows * cols,
        Broadcast::Row => cols,
        Broadcast::Column => rows,
        Broadcast::Scalar => 1,
    };
    loads.iter().enumerate().map(|(i, l)| random(i as u64, len(l))).collect()
}

/// What every output should be.
fn expected(
    loads: &[Broadcast],
    steps: &[Step],
    stores: &[usize],
    inputs: &[Vec<f32>],
    rows: usize,
    cols: usize,
) -> Vec<Vec<f32>> {
    let mut out = vec![Vec::new(); stores.len()];
    for i in 0..rows * cols {
        let at = |(load, x): (&Broadcast, &Vec<f32>)| {
            f64::from(match load {
                Broadcast::Full => x[i],
                Broadcast::Row => x[i % cols],
                Broadcast::Column => x[i / cols],
                Broadcast::Scalar => x[0],
            })
        };
        let values = reference(steps, loads.iter().zip(inputs).map(at).collect());
        for (out, store) in out.iter_mut().zip(stores) {
            out.push(values[*store] as f32);
        }
    }
    out
}

fn check(loads: &[Broadcast], steps: &[Step], stores: &[usize], rows: usize, cols: usize) {
    let program = Program::new(loads.to_vec(), steps.to_vec(), stores.to_vec()).unwrap();
    let inputs = operands(loads, rows, cols);
    let want = expected(loads, steps, stores, &inputs, rows, cols);
    let mut got = vec![vec![f32::NAN; rows * cols]; stores.len()];
    let from: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let mut to: Vec<&mut [f32]> = got.iter_mut().map(Vec::as_mut_slice).collect();
    program.run_slices(rows, cols, &from, &mut to).unwrap();
    for (got, want) in got.iter().zip(&want) {
        assert_close(got, want, 2e-5);
    }
    // In place: every output takes over a full operand, as far as there are any.
    let mut memory = inputs.clone();
    let full: Vec<usize> = (0..loads.len()).filter(|i| loads[*i] == Broadcast::Full).collect();
    let mut spare = vec![vec![f32::NAN; rows * cols]; stores.len()];
    let from: Vec<*mut f32> = memory.iter_mut().map(Vec::as_mut_ptr).collect();
    let to: Vec<*mut f32> =
        (0..stores.len()).map(|j| full.get(j).map_or(spare[j].as_mut_ptr(), |i| from[*i])).collect();
    let inputs: Vec<*const f32> = from.iter().map(|x| x.cast_const()).collect();
    // SAFETY: outputs are operands' own memory or spare buffers, all long enough and distinct.
    unsafe { program.run(rows, cols, &inputs, &to).unwrap() };
    for (j, want) in want.iter().enumerate() {
        assert_close(full.get(j).map_or(&spare[j], |i| &memory[*i]), want, 2e-5);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn random_programs_match_the_reference(
        rows in 1_usize..9, cols in 1_usize..200, seed: u64, length in 0_usize..12, operands in 1_usize..6,
    ) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let modes = [Broadcast::Full, Broadcast::Full, Broadcast::Row, Broadcast::Column, Broadcast::Scalar];
        let loads: Vec<Broadcast> = (0..operands).map(|_| modes[rng.random_range(0..5)]).collect();
        let steps: Vec<Step> = (0..length)
            .map(|i| {
                let mut x = || rng.random_range(0..operands + i);
                let (x, y) = (x(), x());
                match rng.random_range(0..11) {
                    0 => Step::Binary(BinaryOp::Add, x, y),
                    1 => Step::Binary(BinaryOp::Sub, x, y),
                    2 => Step::Binary(BinaryOp::Min, x, y),
                    3 => Step::Binary(BinaryOp::Max, x, y),
                    4 => Step::Affine(x, 0.5, -0.25),
                    5 => Step::Unary(UnaryOp::Tanh, x),
                    6 => Step::Unary(UnaryOp::Sigmoid, x),
                    7 => Step::Binary(BinaryOp::LessThan, x, y),
                    8 => Step::Unary(UnaryOp::Sin, x),
                    9 => Step::Constant(0.75),
                    _ => Step::Unary(UnaryOp::Act(Activation::Silu), x),
                }
            })
            .collect();
        let stores: Vec<usize> =
            (0..rng.random_range(1..4)).map(|_| rng.random_range(0..operands + length)).collect();
        check(&loads, &steps, &stores, rows, cols);
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
    assert!(program.run_slices(1, 2, &[&[1.0]], &mut [&mut [0.0; 2]]).is_err());
    assert!(program.run_slices(1, 2, &[], &mut [&mut [0.0; 2]]).is_err());
    assert!(program.run_slices(1, 2, &[&[1.0; 2]], &mut []).is_err());
}
