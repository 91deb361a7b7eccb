//! Random functions: every pass keeps what they compute, forward and backward, and what it gives is well-formed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use crossloom_compiler::autodiff::gradient;
use crossloom_compiler::passes::{AFTER_AUTODIFF, BEFORE_AUTODIFF, Pass, by_name, precision, run_all};
use crossloom_compiler::{Context, Policy, Precision};
use crossloom_ir::expand::to_primitives;
use crossloom_ir::func::Role;
use crossloom_ir::interp::{Tensor, run};
use crossloom_ir::op::{
    Activation, AddRmsNorm, BinaryKind, LayerNorm, Linear, Op, RmsNorm, Softmax, UnaryKind,
};
use crossloom_ir::text::{parse, print};
use crossloom_ir::verify::verify;
use crossloom_ir::{DType, Func, Scope, TensorType, Value};
use crossloom_tests::filetest::Wide;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Rows and columns of the matrices that most values are.
const ROWS: usize = 3;
const COLUMNS: usize = 4;

/// A function that grows: matrices `[ROWS, COLUMNS]`, rows `[COLUMNS]` and columns `[ROWS]`.
struct Garden<'a> {
    func: Func,
    rng: &'a mut ChaCha8Rng,
    matrices: Vec<Value>,
    rows: Vec<Value>,
    columns: Vec<Value>,
    weights: Vec<Value>,
}

impl<'a> Garden<'a> {
    fn new(rng: &'a mut ChaCha8Rng) -> Self {
        let mut func = Func::new("random");
        let mut param =
            |name: &str, role, shape: &[usize]| func.add_param(name, role, TensorType::f32(shape));
        let matrices =
            vec![param("x", Role::Input, &[ROWS, COLUMNS]), param("y", Role::Input, &[ROWS, COLUMNS])];
        let rows = vec![param("gamma", Role::Weight, &[COLUMNS]), param("beta", Role::Weight, &[COLUMNS])];
        let columns = vec![param("column", Role::Input, &[ROWS])];
        let weights = vec![
            param("w", Role::Weight, &[COLUMNS, COLUMNS]),
            param("u", Role::Weight, &[COLUMNS, COLUMNS]),
        ];
        Self { func, rng, matrices, rows, columns, weights }
    }

    fn matrix(&mut self) -> Value {
        // The latest value more often than not, so that chains grow.
        if self.rng.random_bool(0.6) {
            *self.matrices.last().unwrap()
        } else {
            *self.matrices.choose(self.rng).unwrap()
        }
    }

    /// Appends one to a few instructions.
    fn grow(&mut self) {
        let (x, y) = (self.matrix(), self.matrix());
        let (row, column) = (*self.rows.choose(self.rng).unwrap(), *self.columns.choose(self.rng).unwrap());
        let weight = *self.weights.choose(self.rng).unwrap();
        let choice = self.rng.random_range(0..22);
        let scope = Scope::new(*["", "layer.0", "layer.1.mlp"].choose(self.rng).unwrap());
        let mut b = self.func.builder();
        b.set_scope(scope);
        let shape = [ROWS, COLUMNS];
        let new = match choice {
            0 => b.add(x, y),
            1 => b.sub(x, y),
            2 => b.mul(x, y),
            3 => b.unary(UnaryKind::Tanh, x),
            4 => b.unary(UnaryKind::Act(Activation::GeluTanh), x),
            5 => b.unary(UnaryKind::Act(Activation::Silu), x),
            6 => b.sigmoid(x),
            7 => b.affine(x, 0.5, 0.0),
            8 => b.affine(x, 1.0, 0.25),
            9 => b.binary(BinaryKind::Max, x, y),
            10 => b.constant(0.0, &shape).and_then(|zero| b.add(x, zero)),
            11 => b.constant(1.5, &shape).and_then(|factor| b.mul(factor, x)),
            12 => b.broadcast(row, &shape, &[1]).and_then(|row| b.mul(x, row)),
            13 => b.broadcast(column, &shape, &[0]).and_then(|column| b.add(x, column)),
            14 => b.linear(x, weight, None),
            15 => b.linear(x, weight, Some(row)),
            16 => b.push(RmsNorm { eps: 1e-3 }, &[x, row]).map(|outputs| outputs[0]),
            17 => b.push(LayerNorm { eps: 1e-3 }, &[x, row, self.rows[1]]).map(|outputs| outputs[0]),
            18 => b
                .push(AddRmsNorm { eps: 1e-3 }, &[x, y, row])
                .map(|outputs| outputs[self.rng.random_range(0..2)]),
            19 => b.one(Softmax, &[x]),
            20 => b.reshape(x, &[COLUMNS, ROWS]).and_then(|x| b.reshape(x, &shape)),
            _ => {
                let sums = b.reduce_sum(x, &[1]).unwrap();
                self.columns.push(sums);
                let act = Some(Activation::QuickGelu);
                b.push(Linear { bias: true, act, residual: true }, &[x, weight, row, y])
                    .map(|outputs| outputs[0])
            }
        };
        self.matrices.push(new.unwrap());
    }

    fn finish(mut self) -> Func {
        let last = *self.matrices.last().unwrap();
        let other = self.matrix();
        let mut b = self.func.builder();
        // Bounded, so that chains of products do not run off.
        let bounded = b.unary(UnaryKind::Tanh, last).unwrap();
        let loss = b.reduce_sum(bounded, &[0, 1]).unwrap();
        self.func.add_result("loss", loss);
        self.func.add_result("other", other);
        self.func
    }
}

fn random_function(rng: &mut ChaCha8Rng) -> Func {
    let size = rng.random_range(1..25);
    let mut garden = Garden::new(rng);
    for _ in 0..size {
        garden.grow();
    }
    garden.finish()
}

fn arguments(func: &Func, rng: &mut ChaCha8Rng) -> Vec<Tensor<f64>> {
    let shapes = func.params().iter().map(|param| func.shape(param.value).to_vec());
    shapes.map(|shape| Tensor::from_fn(shape, |_| rng.random_range(-1.0..1.0))).collect()
}

/// Compares the results of two functions on the same arguments.
#[track_caller]
fn check_same(what: &str, func: &Func, changed: &Func, args: &[Tensor<f64>], tolerance: f64) {
    let show = || format!("{what}\n{}\nbecame\n{}", print(func), print(changed));
    verify(changed).unwrap_or_else(|errors| panic!("{errors}\n{}", show()));
    let (wanted, got) = (run(func, args).unwrap(), run(changed, args).unwrap());
    assert_eq!(wanted.len(), got.len());
    for (wanted, got) in wanted.iter().zip(&got) {
        assert_eq!(wanted.shape, got.shape, "{}", show());
        for (a, b) in wanted.data.iter().zip(&got.data) {
            let close = (a - b).abs() <= tolerance * a.abs().max(1.0) || (!a.is_finite() && !b.is_finite());
            assert!(close, "{a} became {b}: {}", show());
        }
    }
}

fn apply(pass: &dyn Pass, func: &Func) -> Func {
    pass.run(func, &Context::default())
        .unwrap_or_else(|errors| panic!("{}: {errors}\n{}", pass.name(), print(func)))
}

#[test]
fn passes_keep_what_functions_compute() {
    for seed in 0..200 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let func = random_function(&mut rng);
        let args = arguments(&func, &mut rng);
        assert_eq!(print(&parse(&print(&func)).unwrap()), print(&func));
        for pass in BEFORE_AUTODIFF.into_iter().chain(AFTER_AUTODIFF) {
            check_same(pass.name(), &func, &apply(pass, &func), &args, 1e-9);
        }
        let all: Vec<&dyn Pass> = BEFORE_AUTODIFF.into_iter().chain(AFTER_AUTODIFF).collect();
        check_same(
            "all passes",
            &func,
            &run_all(func.clone(), &all, &Context::default()).unwrap(),
            &args,
            1e-9,
        );
        check_same("primitives", &func, &to_primitives(&func).unwrap(), &args, 1e-6);
    }
}

#[test]
fn passes_keep_gradients() {
    for seed in 1_000..1_100 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let func = random_function(&mut rng);
        let args = arguments(&func, &mut rng);
        let wrt: Vec<Value> = func.params().iter().map(|param| param.value).collect();
        let plain = gradient(&func, "loss", &wrt).unwrap();
        verify(&plain).unwrap();
        // Differentiated after the early passes, and the late passes on top of that.
        let early = run_all(func.clone(), &BEFORE_AUTODIFF, &Context::default()).unwrap();
        let wrt: Vec<Value> = early.params().iter().map(|param| param.value).collect();
        let early = gradient(&early, "loss", &wrt).unwrap();
        check_same("early passes", &plain, &early, &args, 1e-8);
        for pass in AFTER_AUTODIFF {
            check_same(pass.name(), &early, &apply(pass, &early), &args, 1e-8);
        }
        check_same(
            "all passes",
            &plain,
            &run_all(early, &AFTER_AUTODIFF, &Context::default()).unwrap(),
            &args,
            1e-8,
        );
    }
}

/// A function and its gradients, computed in `bf16`, with some of the weights frozen in it.
fn in_16_bits(rng: &mut ChaCha8Rng) -> Func {
    let func = random_function(rng);
    let frozen = func.params().iter().filter(|param| param.role == Role::Weight && rng.random_bool(0.3));
    let frozen: BTreeMap<String, DType> = frozen.map(|param| (param.name.clone(), DType::Bf16)).collect();
    let trained = func.params().iter().filter(|param| !frozen.contains_key(&param.name));
    let wrt: Vec<Value> = trained.map(|param| param.value).collect();
    let plain = gradient(&func, "loss", &wrt).unwrap();
    precision::apply(&plain, &Policy { compute: Precision::Bf16, frozen, ..Policy::default() }).unwrap()
}

#[test]
fn passes_keep_what_functions_of_mixed_types_compute() {
    let mut narrow = 0;
    for seed in 2_000..2_200 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let func = in_16_bits(&mut rng);
        verify(&func).unwrap();
        assert_eq!(print(&parse(&print(&func)).unwrap()), print(&func));
        let args = arguments(&func, &mut rng);
        narrow += func
            .insts()
            .iter()
            .filter(|inst| inst.outputs.iter().any(|&v| func.dtype(v) == DType::Bf16))
            .count();
        for pass in AFTER_AUTODIFF {
            check_same(pass.name(), &func, &apply(pass, &func), &args, 1e-9);
        }
        let all = run_all(func.clone(), &AFTER_AUTODIFF, &Context::default()).unwrap();
        check_same("all passes", &func, &all, &args, 1e-9);
        // A target without 16-bit kernels computes the same numbers, between conversions.
        let wide = Context { target: &Wide, ..Context::default() };
        let widened = run_all(all, &[by_name("legalize").unwrap()], &wide).unwrap();
        for inst in widened.insts().iter().filter(|inst| !matches!(inst.op, Op::Convert(_))) {
            let mut values = inst.inputs.iter().chain(&inst.outputs);
            assert!(values.all(|&v| widened.dtype(v) != DType::Bf16), "{}", print(&widened));
        }
        check_same("legalize", &func, &widened, &args, 1e-9);
    }
    assert!(narrow > 1_000, "{narrow} instructions with a result in 16 bits");
}

#[test]
fn passes_are_deterministic() {
    for seed in 0..20 {
        let all: Vec<&dyn Pass> = BEFORE_AUTODIFF.into_iter().chain(AFTER_AUTODIFF).collect();
        let compiled = || {
            let func = random_function(&mut ChaCha8Rng::seed_from_u64(seed));
            print(&run_all(func, &all, &Context::default()).unwrap())
        };
        assert_eq!(compiled(), compiled());
    }
}
