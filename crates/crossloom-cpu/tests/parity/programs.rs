//! Random element-wise programs, as one fused op and as plain code that the compiler fuses.

use crossloom_ir::op::{Activation, BinaryKind, FusedElementwise, Load, Step, UnaryKind};
use crossloom_ir::{DType, Func, Role, TensorType, Value};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::compare::{Arg, check, check_function, check_typed, is_lowered, narrow, random};

/// Functions that a value of any size can pass through.
const ANYWHERE: [UnaryKind; 7] = [
    UnaryKind::Tanh,
    UnaryKind::Sigmoid,
    UnaryKind::Act(Activation::GeluTanh),
    UnaryKind::Act(Activation::GeluErf),
    UnaryKind::Act(Activation::Silu),
    UnaryKind::ActGrad(Activation::QuickGelu),
    UnaryKind::ActGrad(Activation::GeluErf),
];
/// Functions that want something like a number from 1/2 to 3/2.
const NEAR_ONE: [UnaryKind; 7] = [
    UnaryKind::Log,
    UnaryKind::Log2,
    UnaryKind::Sqrt,
    UnaryKind::Rsqrt,
    UnaryKind::Recip,
    UnaryKind::Exp,
    UnaryKind::Exp2,
];
const SMOOTH: [BinaryKind; 5] =
    [BinaryKind::Add, BinaryKind::Sub, BinaryKind::Mul, BinaryKind::Min, BinaryKind::Max];

fn shape(rng: &mut ChaCha8Rng) -> Vec<usize> {
    let rank = rng.random_range(1..4);
    (0..rank).map(|_| [1, 2, 3, 7, 16, 33, 65][rng.random_range(0..7)]).collect()
}

/// Adds a few steps whose values stay bounded.
fn grow(rng: &mut ChaCha8Rng, loads: usize, body: &mut Vec<Step>) {
    let known = loads + body.len();
    let x = rng.random_range(0..known);
    match rng.random_range(0..5) {
        0 => body.push(Step::Unary(ANYWHERE[rng.random_range(0..ANYWHERE.len())], x)),
        1 => {
            body.push(Step::Unary(UnaryKind::Sigmoid, x));
            body.push(Step::Affine(known, 1.0, 0.5));
            body.push(Step::Unary(NEAR_ONE[rng.random_range(0..NEAR_ONE.len())], known + 1));
        }
        2 => body.push(Step::Affine(x, rng.random_range(-1.0..1.0), rng.random_range(-1.0..1.0))),
        // Comparing what was computed would set the rounding against a jump; operands are exact.
        3 if loads > 1 => body.push(Step::Binary(BinaryKind::LessThan, rng.random_range(0..loads), 0)),
        _ => {
            let kind = SMOOTH[rng.random_range(0..SMOOTH.len())];
            body.push(Step::Binary(kind, x, rng.random_range(0..known)));
            body.push(Step::Unary(UnaryKind::Tanh, known));
        }
    }
}

fn operands(rng: &mut ChaCha8Rng, shape: &[usize], count: usize) -> (Vec<Load>, Vec<Arg>) {
    let all = [Load::Full, Load::Full, Load::Row, Load::Column, Load::Scalar];
    let loads: Vec<Load> = (0..count).map(|_| all[rng.random_range(0..all.len())]).collect();
    let args = loads.iter().map(|load| {
        let extents: Vec<usize> = load.axes(shape.len()).iter().map(|&axis| shape[axis]).collect();
        random(&extents, rng.random_range(0..1 << 32))
    });
    let args = args.collect();
    (loads, args)
}

#[test]
fn random_fused_programs() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut types = ChaCha8Rng::seed_from_u64(13);
    let mut typed = 0;
    for _ in 0..150 {
        let shape = shape(&mut rng);
        let count = rng.random_range(1..6);
        let (loads, args) = operands(&mut rng, &shape, count);
        let mut body = Vec::new();
        for _ in 0..rng.random_range(1..9) {
            grow(&mut rng, count, &mut body);
        }
        let mut stores: Vec<usize> = (count..count + body.len()).filter(|_| rng.random_bool(0.3)).collect();
        stores.push(count + body.len() - 1);
        stores.dedup();
        // A fused op needs no operand that has the region's shape, and computes in place only where there is one.
        let op = FusedElementwise { shape, loads, body, stores };
        check(op.clone(), &args);
        // The same of mixed types, as far as it still has registers for what is widened.
        let mut any = || if types.random_bool(0.5) { DType::F32 } else { DType::Bf16 };
        let args: Vec<Arg> = args.iter().map(|arg| narrow(arg, any())).collect();
        let results: Vec<DType> = op.stores.iter().map(|_| any()).collect();
        if is_lowered(op.clone(), &args, &results) {
            check_typed(op, &args, &results);
            typed += 1;
        }
    }
    assert!(typed > 140, "{typed} programs have a kernel for mixed types");
}

#[test]
fn random_programs_that_the_compiler_fuses() {
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    for _ in 0..100 {
        let shape = shape(&mut rng);
        let count = rng.random_range(1..6);
        let (loads, args) = operands(&mut rng, &shape, count);
        let mut body = Vec::new();
        // More steps than one kernel takes.
        for _ in 0..rng.random_range(1..50) {
            grow(&mut rng, count, &mut body);
        }
        let mut func = Func::new("plain");
        let params: Vec<Value> = args
            .iter()
            .enumerate()
            .map(|(i, arg)| {
                func.add_param(format!("p{i}"), Role::Input, TensorType::f32(arg.ty.shape.clone()))
            })
            .collect();
        let mut values = Vec::new();
        let mut b = func.builder();
        for (&param, load) in params.iter().zip(&loads) {
            values.push(if *load == Load::Full {
                param
            } else {
                b.broadcast(param, &shape, &load.axes(shape.len())).unwrap()
            });
        }
        for step in &body {
            values.push(match *step {
                Step::Unary(kind, x) => b.unary(kind, values[x]).unwrap(),
                Step::Binary(kind, x, y) => b.binary(kind, values[x], values[y]).unwrap(),
                Step::Affine(x, mul, add) => b.affine(values[x], mul, add).unwrap(),
            });
        }
        let uses = func.use_counts();
        for (i, &value) in values.iter().enumerate().skip(count) {
            if uses[value.index()] == 0 || rng.random_bool(0.1) {
                func.add_result(format!("r{i}"), value);
            }
        }
        check_function(&func, &args);
    }
}
