//! Checks that hold for every op.

mod differentiate;

use std::collections::BTreeSet;

use crossloom_ir::attrs::Attrs;
use crossloom_ir::expand::{expand_where, to_primitives};
use crossloom_ir::interp::run;
use crossloom_ir::{DType, Func, Op, Role, Scope, Tensor, TensorType};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// One operand of an op under test.
#[derive(Clone, Debug)]
pub(crate) struct Arg {
    pub(crate) ty: TensorType,
    pub(crate) value: Tensor<f64>,
    /// Its gradient is compared with finite differences.
    pub(crate) differentiated: bool,
}

impl Arg {
    /// The same operand, whose gradient is not looked at.
    pub(crate) fn fixed(mut self) -> Self {
        self.differentiated = false;
        self
    }
}

/// A float operand with those elements.
pub(crate) fn given(shape: &[usize], data: &[f64]) -> Arg {
    let value = Tensor::new(shape, data.to_vec()).unwrap();
    Arg { ty: TensorType::f32(shape), value, differentiated: true }
}

/// A float operand with elements drawn evenly from `low..high`.
pub(crate) fn between(shape: &[usize], low: f64, high: f64, seed: u64) -> Arg {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let value = Tensor::from_fn(shape, |_| rng.random_range(low..high));
    Arg { ty: TensorType::f32(shape), value, differentiated: true }
}

/// A float operand with elements drawn evenly from `-1..1`.
pub(crate) fn random(shape: &[usize], seed: u64) -> Arg {
    between(shape, -1.0, 1.0, seed)
}

/// A whole-number operand.
pub(crate) fn whole(shape: &[usize], data: &[i32]) -> Arg {
    let value = Tensor::new(shape, data.iter().map(|&x| f64::from(x)).collect()).unwrap();
    Arg { ty: TensorType::i32(shape), value, differentiated: false }
}

/// Whole numbers drawn from `low..high`.
pub(crate) fn random_whole(shape: &[usize], low: i32, high: i32, seed: u64) -> Arg {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let data: Vec<i32> = (0..shape.iter().product()).map(|_| rng.random_range(low..high)).collect();
    whole(shape, &data)
}

/// How closely the expansion follows the reference, relative to the largest element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tolerance {
    pub(crate) expansion: f64,
    pub(crate) gradient: f64,
}

pub(crate) const EXACT: Tolerance = Tolerance { expansion: 1e-9, gradient: 1e-6 };
/// The expansion of the error function is a fitted polynomial.
pub(crate) const ERF: Tolerance = Tolerance { expansion: 1e-6, gradient: 1e-6 };

/// All checks of one op on one set of operands.
pub(crate) fn check(op: impl Into<Op>, args: &[Arg]) {
    check_within(op, args, EXACT);
}

/// As [`check`], with given tolerances.
pub(crate) fn check_within(op: impl Into<Op>, args: &[Arg], tolerance: Tolerance) {
    let op = op.into();
    check_round_trip(&op);
    check_expansion(&op, args, tolerance);
    check_gradient(&op, args, tolerance);
}

/// The op reads back from its printed form.
pub(crate) fn check_round_trip(op: &Op) {
    let printed = op.attrs();
    let back =
        Op::from_text(op.mnemonic(), printed.clone()).unwrap_or_else(|e| panic!("{}: {e}", op.mnemonic()));
    assert_eq!(&back, op);
    let mut extra = Attrs::new();
    for (name, value) in printed.entries() {
        extra.push(name, value.clone());
    }
    let error = Op::from_text(op.mnemonic(), extra.int("surplus", 1)).unwrap_err();
    assert!(error.contains("`surplus`"), "{}: {error}", op.mnemonic());
}

/// A function of one instruction that returns all its outputs.
pub(crate) fn function_of(op: &Op, args: &[Arg]) -> Func {
    let mut func = Func::new("one");
    let params: Vec<_> = args
        .iter()
        .enumerate()
        .map(|(i, arg)| func.add_param(format!("p{i}"), Role::Input, arg.ty.clone()))
        .collect();
    let outputs = func.push(op.clone(), &params, &Scope::new("test")).unwrap();
    for (i, output) in outputs.into_iter().enumerate() {
        func.add_result(format!("r{i}"), output);
    }
    func
}

/// The op's outputs.
pub(crate) fn outputs(op: impl Into<Op>, args: &[Arg]) -> Vec<Tensor<f64>> {
    run(&function_of(&op.into(), args), &values(args)).unwrap()
}

/// What the reference says about operands it does not accept.
pub(crate) fn refusal(op: impl Into<Op>, args: &[Arg]) -> String {
    run(&function_of(&op.into(), args), &values(args)).unwrap_err().to_string()
}

/// What the type rule says about wrong operand types.
pub(crate) fn complaint(op: impl Into<Op>, types: &[TensorType]) -> String {
    op.into().infer(&types.iter().collect::<Vec<_>>()).unwrap_err()
}

/// The type rule's complaint contains that text.
pub(crate) fn assert_complains(op: impl Into<Op>, types: &[TensorType], text: &str) {
    let complaint = complaint(op, types);
    assert!(complaint.contains(text), "{complaint:?} does not contain {text:?}");
}

fn values(args: &[Arg]) -> Vec<Tensor<f64>> {
    args.iter().map(|arg| arg.value.clone()).collect()
}

/// Largest difference relative to the largest magnitude of `expected` (at least 1).
pub(crate) fn distance(given: &Tensor<f64>, expected: &Tensor<f64>) -> f64 {
    assert_eq!(given.shape, expected.shape);
    let scale = expected.data.iter().fold(1.0_f64, |m, x| m.max(x.abs()));
    let differences = given.data.iter().zip(&expected.data).map(|(a, b)| (a - b).abs());
    // NaN must not pass for small.
    differences.fold(0.0, |m: f64, d| if d.is_nan() { f64::INFINITY } else { m.max(d) }) / scale
}

/// Elements agree to that absolute accuracy.
pub(crate) fn assert_close(given: &Tensor<f64>, expected: &[f64], accuracy: f64) {
    let expected = Tensor::new(given.shape.clone(), expected.to_vec()).unwrap();
    assert!(distance(given, &expected) <= accuracy, "{:?} is not {:?}", given.data, expected.data);
}

fn assert_primitive(func: &Func) {
    let names: BTreeSet<&str> = func.insts().iter().map(|inst| inst.op.mnemonic()).collect();
    let primitives = [
        "constant",
        "iota",
        "to_float",
        "to_int",
        "log2",
        "exp2",
        "sin",
        "sqrt",
        "recip",
        "add",
        "mul",
        "mod",
        "less_than",
        "reduce_sum",
        "reduce_max",
        "reshape",
        "transpose",
        "broadcast",
        "slice",
        "pad",
    ];
    for name in names {
        assert!(primitives.contains(&name), "`{name}` is left in the expansion");
    }
    for inst in func.insts() {
        if let Op::Reduce(reduce) = &inst.op {
            assert_eq!(reduce.axes.len(), 1);
        }
        for &value in inst.outputs.iter().chain(&inst.inputs) {
            assert!(func.shape(value).len() <= 6, "{} makes {}", inst.op.mnemonic(), func.ty(value));
        }
    }
}

/// An op whose expansion rounds, which no primitive does, computes the same as that.
pub(crate) fn check_rounding(op: impl Into<Op>, args: &[Arg]) {
    let op = op.into();
    check_round_trip(&op);
    let func = function_of(&op, args);
    let expanded = expand_where(&func, |other| *other == op).unwrap();
    assert!(expanded.insts().iter().any(|inst| matches!(inst.op, Op::Convert(_))));
    let (given, expected) = (run(&func, &values(args)).unwrap(), run(&expanded, &values(args)).unwrap());
    for (given, expected) in given.iter().zip(&expected) {
        assert!(distance(given, expected) <= EXACT.expansion, "{given:?} is not {expected:?}");
    }
}

/// A function and its primitives compute the same, in f64 closely and in f32 roughly.
pub(crate) fn assert_same_as_primitives(func: &Func, args: &[Tensor<f64>], tolerance: f64) {
    let primitives = to_primitives(func).unwrap();
    assert_primitive(&primitives);
    let expected = run(func, args).unwrap();
    let given = run(&primitives, args).unwrap();
    let single: Vec<Tensor<f32>> = args.iter().map(Tensor::cast).collect();
    let rough = run(&primitives, &single).unwrap();
    for (i, result) in func.results().iter().enumerate() {
        let far = distance(&given[i], &expected[i]);
        assert!(far <= tolerance, "{}: primitives are {far:e} off", result.name);
        let far = distance(&rough[i].cast(), &expected[i]);
        assert!(far <= 1e-3, "{}: primitives in f32 are {far:e} off", result.name);
    }
}

/// The expansion ends in primitives and computes what the reference computes.
pub(crate) fn check_expansion(op: &Op, args: &[Arg], tolerance: Tolerance) {
    assert_same_as_primitives(&function_of(op, args), &values(args), tolerance.expansion);
}

/// The gradient of a random weighting of all outputs follows central differences of the reference, and its code expands
/// into primitives that compute the same.
pub(crate) fn check_gradient(op: &Op, args: &[Arg], tolerance: Tolerance) {
    let forward = function_of(op, args);
    let floats: Vec<usize> = (0..forward.results().len())
        .filter(|&i| forward.ty(forward.results()[i].value).dtype == DType::F32)
        .collect();
    let weights: Vec<Arg> =
        floats.iter().map(|&i| random(forward.shape(forward.results()[i].value), 1000 + i as u64)).collect();
    let wanted: Vec<usize> = (0..args.len()).filter(|&i| args[i].differentiated).collect();
    // Through every set of outputs: rules differ in which incoming gradients there are.
    let subsets = 1_usize..1 << floats.len();
    let choices =
        subsets.map(|bits| (0..floats.len()).filter(|i| bits >> i & 1 == 1).collect::<Vec<usize>>());
    for chosen in choices {
        let loss = |point: &[Tensor<f64>]| -> f64 {
            let outputs = run(&forward, point).unwrap();
            chosen
                .iter()
                .flat_map(|&c| outputs[floats[c]].data.iter().zip(&weights[c].value.data))
                .map(|(y, w)| y * w)
                .sum()
        };
        let picked: Vec<(usize, Arg)> = chosen.iter().map(|&c| (floats[c], weights[c].clone())).collect();
        let backward = differentiate::gradient_function(op, args, &picked, &wanted);
        let mut point = values(args);
        point.extend(picked.iter().map(|(_, weight)| weight.value.clone()));
        let gradients = run(&backward, &point).unwrap();
        assert_same_as_primitives(&backward, &point, tolerance.expansion);
        for (&operand, gradient) in wanted.iter().zip(&gradients) {
            let slopes = central_differences(&loss, &values(args), operand);
            let far = distance_of_slopes(gradient, &slopes);
            assert!(
                far <= tolerance.gradient,
                "{}: gradient of operand {operand} through outputs {chosen:?} is {far:e} off:\n{:?}\n{:?}",
                op.mnemonic(),
                gradient.data,
                slopes.data
            );
        }
    }
}

/// Largest difference relative to the largest slope.
fn distance_of_slopes(gradient: &Tensor<f64>, slopes: &Tensor<f64>) -> f64 {
    assert_eq!(gradient.shape, slopes.shape);
    let scale = slopes.data.iter().fold(1e-3_f64, |m, x| m.max(x.abs()));
    let differences = gradient.data.iter().zip(&slopes.data).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |m: f64, d| if d.is_nan() { f64::INFINITY } else { m.max(d) }) / scale
}

fn central_differences(
    loss: &impl Fn(&[Tensor<f64>]) -> f64,
    point: &[Tensor<f64>],
    operand: usize,
) -> Tensor<f64> {
    let step = 1e-5;
    let mut moved = point.to_vec();
    let mut slope = |i: usize| {
        let here = point[operand].data[i];
        moved[operand].data[i] = here + step;
        let after = loss(&moved);
        moved[operand].data[i] = here - step;
        let before = loss(&moved);
        moved[operand].data[i] = here;
        (after - before) / (2.0 * step)
    };
    Tensor::from_fn(point[operand].shape.clone(), &mut slope)
}
