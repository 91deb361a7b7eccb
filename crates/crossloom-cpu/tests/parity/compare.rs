//! A function on the CPU beside the same function in the interpreter.

use crossloom_compiler::{Context, Mode, Plan, Target as _, compile, plan};
use crossloom_cpu::CpuTarget;
use crossloom_ir::interp::run;
use crossloom_ir::op::Affine;
use crossloom_ir::{DType, Func, Op, Role, Scope, Tensor, TensorType, text};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::session;

/// Largest difference allowed, relative to the largest expected magnitude of the tensor.
const TOLERANCE: f64 = 1e-4;
/// What cancels to zero in exact arithmetic is judged by this magnitude.
const FLOOR: f64 = 1e-2;

/// An operand: its type and its elements, which `f32` holds exactly.
#[derive(Clone, Debug)]
pub(crate) struct Arg {
    pub(crate) ty: TensorType,
    pub(crate) data: Vec<f32>,
}

/// Floats drawn evenly from `low..high`.
pub(crate) fn between(shape: &[usize], low: f32, high: f32, seed: u64) -> Arg {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let data = (0..shape.iter().product()).map(|_| rng.random_range(low..high)).collect();
    Arg { ty: TensorType::f32(shape), data }
}

/// Floats drawn evenly from `-1..1`.
pub(crate) fn random(shape: &[usize], seed: u64) -> Arg {
    between(shape, -1.0, 1.0, seed)
}

pub(crate) fn floats(shape: &[usize], data: &[f32]) -> Arg {
    Arg { ty: TensorType::f32(shape), data: data.to_vec() }
}

pub(crate) fn whole(shape: &[usize], data: &[i32]) -> Arg {
    Arg { ty: TensorType::i32(shape), data: data.iter().map(|&x| x as f32).collect() }
}

/// Whole numbers drawn from `low..high`.
pub(crate) fn random_whole(shape: &[usize], low: i32, high: i32, seed: u64) -> Arg {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let data: Vec<i32> = (0..shape.iter().product()).map(|_| rng.random_range(low..high)).collect();
    whole(shape, &data)
}

/// Runs a plan on the CPU and compares every result.
fn check_plan(plan: Plan, args: &[Arg], expected: &[Tensor<f64>], what: &str) {
    let mut session = session(plan);
    let func = session.plan().func.clone();
    for (param, arg) in func.params().iter().zip(args) {
        match arg.ty.dtype {
            DType::F32 => session.write(&param.name, &arg.data).unwrap(),
            DType::I32 => {
                let ids: Vec<i32> = arg.data.iter().map(|&x| x as i32).collect();
                session.write(&param.name, &ids).unwrap();
            }
            other => panic!("{other} as an argument"),
        }
    }
    // A second run finds the arena full of the first one's values.
    for _ in 0..2 {
        session.run().unwrap_or_else(|e| panic!("{what}: {e}"));
    }
    for (result, expected) in func.results().iter().zip(expected) {
        let given: Vec<f64> = match func.ty(result.value).dtype {
            DType::F32 => session.read::<f32>(&result.name).unwrap().into_iter().map(f64::from).collect(),
            DType::I32 => session.read::<i32>(&result.name).unwrap().into_iter().map(f64::from).collect(),
            other => panic!("{other} as a result"),
        };
        assert_close(&given, &expected.data, FLOOR, TOLERANCE, &format!("{what}, result `{}`", result.name));
    }
}

/// Largest difference relative to the largest expected magnitude, which counts as at least `floor`.
pub(crate) fn assert_close(given: &[f64], expected: &[f64], floor: f64, tolerance: f64, what: &str) {
    assert_eq!(given.len(), expected.len(), "{what}");
    let scale = expected.iter().filter(|x| x.is_finite()).fold(floor, |m, x| m.max(x.abs()));
    for (at, (g, e)) in given.iter().zip(expected).enumerate() {
        let far = if g == e || (g.is_nan() && e.is_nan()) { 0.0 } else { (g - e).abs() / scale };
        // NaN must not pass for small.
        assert!(far <= tolerance, "{what}: element {at} is {g}, should be {e}");
    }
}

fn tensors(args: &[Arg]) -> Vec<Tensor<f64>> {
    args.iter().map(|a| Tensor::from_fn(a.ty.shape.clone(), |i| f64::from(a.data[i]))).collect()
}

fn params(func: &mut Func, args: &[Arg]) -> Vec<crossloom_ir::Value> {
    args.iter()
        .enumerate()
        .map(|(i, arg)| func.add_param(format!("p{i}"), Role::Input, arg.ty.clone()))
        .collect()
}

/// One instruction; if `copied`, its float operands are copies that die there.
fn function_of(op: &Op, args: &[Arg], copied: bool) -> Func {
    let (mut func, scope) = (Func::new("one"), Scope::new("test"));
    let mut operands = params(&mut func, args);
    for operand in &mut operands {
        if copied && func.ty(*operand).dtype == DType::F32 {
            *operand = func.push(Affine { mul: 1.0, add: 0.0 }, &[*operand], &scope).unwrap()[0];
        }
    }
    let outputs = func.push(op.clone(), &operands, &scope).unwrap_or_else(|e| panic!("{e}"));
    for (i, output) in outputs.into_iter().enumerate() {
        func.add_result(format!("r{i}"), output);
    }
    func
}

fn has_kernel(op: &Op, func: &Func) -> Option<Vec<(usize, usize)>> {
    let inst = func.insts().last().unwrap();
    let inputs: Vec<_> = inst.inputs.iter().map(|&v| func.ty(v)).collect();
    let outputs: Vec<_> = inst.outputs.iter().map(|&v| func.ty(v)).collect();
    CpuTarget.kernel(op, &inputs, &outputs).map(|kernel| kernel.in_place)
}

/// The op compiled, and where the CPU has a kernel for it also that kernel alone: with operands that live on, and, where
/// it can work in place, in place. Returns its name.
pub(crate) fn check(op: impl Into<Op>, args: &[Arg]) -> &'static str {
    let op = op.into();
    let func = function_of(&op, args, false);
    let expected = run(&func, &tensors(args)).unwrap_or_else(|e| panic!("{}: {e}", op.mnemonic()));
    let shown = format!("{} of {}", op.mnemonic(), text::print(&func));
    let compiled = compile(&func, &Context::new(&CpuTarget, Mode::Forward));
    let compiled = compiled.unwrap_or_else(|e| panic!("{shown}: {e}"));
    check_plan(compiled.main.plan, args, &expected, &format!("compiled {shown}"));
    if let Some(in_place) = has_kernel(&op, &func) {
        check_plan(plan::plan(func, &CpuTarget).unwrap(), args, &expected, &format!("plain {shown}"));
        let copied = plan::plan(function_of(&op, args, true), &CpuTarget).unwrap();
        plan::check(&copied).unwrap();
        let floats = in_place.iter().any(|&(input, _)| args[input].ty.dtype == DType::F32);
        let taken = copied.steps.last().is_some_and(|step| !step.in_place.is_empty());
        if floats && !matches!(op, Op::Reshape(_)) {
            assert!(taken, "{shown} is not computed in place");
        }
        check_plan(copied, args, &expected, &format!("in-place {shown}"));
    }
    op.mnemonic()
}

/// A function of inputs only, compiled.
pub(crate) fn check_function(func: &Func, args: &[Arg]) {
    let expected = run(func, &tensors(args)).unwrap_or_else(|e| panic!("{e}"));
    let compiled = compile(func, &Context::new(&CpuTarget, Mode::Forward));
    let compiled = compiled.unwrap_or_else(|e| panic!("{e}"));
    check_plan(compiled.main.plan, args, &expected, &text::print(func));
}
