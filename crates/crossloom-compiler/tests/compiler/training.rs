//! Training steps against hand-written loops.

use std::collections::BTreeMap;

use crossloom_compiler::training::{
    ACCUMULATOR, Group, MICRO_WEIGHT, Training, TrainingFuncs, training, updates,
};
use crossloom_compiler::{Context, Mode, NullTarget, autodiff, compile};
use crossloom_ir::interp::run;
use crossloom_ir::op::{AdamW, Op};
use crossloom_ir::verify::verify;
use crossloom_ir::{Func, Role, Scope, Tensor, TensorType};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::machine::Machine;
use crate::support::{EXACT, distance, parse, weights};

/// Mean square error of a small network on `rows` rows; `frozen` is read, `idle` is not.
fn network(rows: usize) -> Func {
    parse(&format!(
        r#"func @net {{
  input  %x "x": f32[{rows}, 3]
  input  %t "target": f32[{rows}, 2]
  weight %w "w": f32[4, 3]
  weight %b "b": f32[4]
  weight %g "gamma": f32[4]
  weight %f "frozen": f32[2, 4]
  weight %i "idle": f32[2, 2]
  "":
    %1 = linear %x, %w, %b {{bias = true}} : f32[{rows}, 4]
    %2, %3 = rms_norm %1, %g {{eps = 0.1}} : f32[{rows}, 4], f32[{rows}]
    %4 = gelu_tanh %2 : f32[{rows}, 4]
    %5 = linear %4, %f : f32[{rows}, 2]
    %6 = sub %5, %t : f32[{rows}, 2]
    %7 = mul %6, %6 : f32[{rows}, 2]
    %8 = reduce_sum %7 {{axes = [0, 1]}} : f32[]
    %9 = affine %8 {{mul = {:?}, add = 0.0}} : f32[]
  return "loss" = %9
  return "out" = %5
}}
"#,
        1.0 / (2 * rows) as f64
    ))
}

fn spec() -> Training {
    let group = |name: &str, params: &[&str], weight_decay| Group {
        name: name.to_owned(),
        params: params.iter().map(|&p| p.to_owned()).collect(),
        weight_decay,
    };
    Training {
        groups: vec![
            group("fast", &["w", "gamma"], 0.1),
            group("slow", &["b", "idle"], 0.2),
            group("none", &[], 0.0),
        ],
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-8,
        clip_norm: None,
        accumulate: 1,
    }
}

fn step_func(forward: &Func, spec: &Training) -> Func {
    let TrainingFuncs::Step(func) = training(forward, spec).unwrap() else { panic!("is accumulated") };
    verify(&func).unwrap();
    func
}

/// Values by parameter name.
type Store = BTreeMap<String, Tensor<f64>>;

/// Weights and one batch; everything else starts at zero.
fn start(func: &Func, seed: u64) -> Store {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut store = Store::new();
    for p in func.params() {
        let shape = func.shape(p.value);
        let random = p.role == Role::Weight || ["x", "target"].contains(&p.name.as_str());
        store.insert(
            p.name.clone(),
            Tensor::from_fn(shape, |_| if random { rng.random_range(-1.0..1.0) } else { 0.0 }),
        );
    }
    store
}

fn args(func: &Func, store: &Store) -> Vec<Tensor<f64>> {
    func.params().iter().map(|p| store[&p.name].clone()).collect()
}

/// Runs a function, stores its updates and returns its other results.
fn call(func: &Func, store: &mut Store) -> Store {
    let results = run(func, &args(func, store)).unwrap();
    let mut others = Store::new();
    for (def, tensor) in func.results().iter().zip(results) {
        let into = if def.updates.is_some() { &mut *store } else { &mut others };
        into.insert(def.name.clone(), tensor);
    }
    others
}

fn number(tensor: &Tensor<f64>) -> f64 {
    assert_eq!(tensor.data.len(), 1);
    tensor.data[0]
}

fn set_hyper(store: &mut Store, step: i32, spec: &Training, rates: [f64; 3]) {
    for (group, rate) in spec.groups.iter().zip(rates) {
        let correction = |beta: f64| 1.0 / (1.0 - beta.powi(step));
        let hyper = vec![rate, correction(spec.beta1), correction(spec.beta2)];
        store.insert(format!("hyper.{}", group.name), Tensor::new([3], hyper).unwrap());
    }
}

const RATES: [f64; 3] = [0.05, 0.01, 1.0];

/// The same by hand: gradients from the forward function, then AdamW written out.
struct ByHand {
    grads: Func,
    moments: BTreeMap<String, (Vec<f64>, Vec<f64>)>,
}

impl ByHand {
    fn new(forward: &Func) -> Self {
        let grads = autodiff::gradient(forward, "loss", &weights(forward)).unwrap();
        Self { grads, moments: BTreeMap::new() }
    }

    /// One step on `store`; returns the loss and the gradient norm over the trained weights.
    fn step(
        &mut self,
        store: &mut Store,
        number_of_step: i32,
        spec: &Training,
        rates: [f64; 3],
    ) -> (f64, f64) {
        let results = call(&self.grads, store);
        // The weight that the loss does not depend on is in no norm.
        let trained: Vec<(&str, f64, f64)> = spec
            .groups
            .iter()
            .zip(rates)
            .flat_map(|(g, rate)| g.params.iter().map(move |p| (p.as_str(), rate, g.weight_decay)))
            .filter(|(name, ..)| *name != "idle")
            .collect();
        let grad = |name: &str| &results[&format!("grad.{name}")].data;
        let squares: f64 = trained.iter().flat_map(|(name, ..)| grad(name)).map(|g| g * g).sum();
        let norm = squares.sqrt();
        let scale = spec.clip_norm.map_or(1.0, |limit| (limit / (norm + 1e-6)).min(1.0));
        for (name, rate, decay) in trained {
            let p = store.get_mut(name).unwrap();
            let decay = if p.shape.len() >= 2 { decay } else { 0.0 };
            let zeros = || vec![0.0; p.data.len()];
            let (m, v) = self.moments.entry(name.to_owned()).or_insert_with(|| (zeros(), zeros()));
            for i in 0..p.data.len() {
                let g = grad(name)[i] * scale;
                m[i] = spec.beta1 * m[i] + (1.0 - spec.beta1) * g;
                v[i] = spec.beta2 * v[i] + (1.0 - spec.beta2) * g * g;
                let m_hat = m[i] / (1.0 - spec.beta1.powi(number_of_step));
                let v_hat = v[i] / (1.0 - spec.beta2.powi(number_of_step));
                p.data[i] -= rate * (m_hat / (v_hat.sqrt() + spec.eps) + decay * p.data[i]);
            }
        }
        (number(&results["loss"]), norm)
    }
}

fn assert_stores_alike(given: &Store, expected: &Store) {
    for (name, tensor) in expected {
        let far = distance(&given[name], tensor);
        assert!(far <= EXACT, "`{name}` is {far:e} off");
    }
}

#[test]
fn three_steps_follow_the_loop_written_by_hand() {
    for clip_norm in [None, Some(0.05), Some(100.0)] {
        let (forward, spec) = (network(4), Training { clip_norm, ..spec() });
        let func = step_func(&forward, &spec);
        let mut store = start(&func, 1);
        let mut expected: Store = start(&forward, 1);
        expected.extend(forward.params().iter().map(|p| (p.name.clone(), store[&p.name].clone())));
        let mut by_hand = ByHand::new(&forward);
        let compiled = compile(&forward, &Context::new(&NullTarget, Mode::Train(&spec))).unwrap();
        let plan = &compiled.main.plan;
        let mut planned = store.clone();
        for step in 1..=3 {
            set_hyper(&mut store, step, &spec, RATES);
            let results = call(&func, &mut store);
            let (loss, norm) = by_hand.step(&mut expected, step, &spec, RATES);
            assert!((number(&results["loss"]) - loss).abs() <= EXACT);
            assert!((number(&results["grad_norm"]) - norm).abs() <= EXACT * norm.max(1.0));
            assert_stores_alike(&store, &expected);
            // The compiled step does it in place.
            set_hyper(&mut planned, step, &spec, RATES);
            let mut machine = Machine::new(plan, &args(&plan.func, &planned));
            machine.run();
            for (index, p) in plan.func.params().iter().enumerate() {
                planned.get_mut(&p.name).unwrap().data.copy_from_slice(machine.param(index));
            }
            assert_stores_alike(&planned, &store);
        }
        assert!(
            clip_norm != Some(0.05) || by_hand.step(&mut expected, 4, &spec, RATES).1 > 0.05,
            "never clipped"
        );
    }
}

#[test]
fn frozen_and_idle_weights_have_no_gradient_no_moments_and_no_update() {
    let func = step_func(&network(4), &spec());
    let updated: Vec<&str> = updates(&func).map(|r| r.name.as_str()).collect();
    let of = |name: &str| [name.to_owned(), format!("optimizer.m.{name}"), format!("optimizer.v.{name}")];
    assert_eq!(updated, ["w", "gamma", "b"].map(of).concat());
    assert!(func.params().iter().all(|p| !p.name.contains("frozen") || p.role == Role::Weight));
    // The gradient of a weight is a product with a transposed operand; that of `frozen` [2, 4] is not made.
    let frozen = TensorType::f32([2, 4]);
    let made = func.insts().iter().flat_map(|inst| &inst.outputs).filter(|&&v| *func.ty(v) == frozen);
    assert_eq!(made.count(), 0);
    assert_eq!(func.insts().iter().filter(|inst| matches!(inst.op, Op::AdamW(_))).count(), 3);
}

#[test]
fn vectors_are_not_decayed() {
    let func = step_func(&network(4), &spec());
    let decay = |name: &str| {
        let value = func.param(name).unwrap().value;
        let of = func.insts().iter().find_map(|inst| match &inst.op {
            Op::AdamW(op) if inst.inputs[0] == value => Some(op.weight_decay),
            _ => None,
        });
        of.unwrap()
    };
    assert_eq!([decay("w"), decay("gamma"), decay("b")], [0.1, 0.0, 0.0]);
}

#[test]
fn accumulated_micro_batches_are_one_big_batch() {
    for clip_norm in [None, Some(0.05)] {
        let one = Training { clip_norm, ..spec() };
        let two = Training { accumulate: 2, ..one.clone() };
        let big = step_func(&network(4), &one);
        let TrainingFuncs::Accumulated { micro, apply } = training(&network(2), &two).unwrap() else {
            panic!()
        };
        verify(&micro).unwrap();
        verify(&apply).unwrap();
        let mut expected = start(&big, 2);
        let mut store: Store = expected.clone();
        store.extend(start(&micro, 2).into_iter().filter(|(name, _)| name.starts_with(ACCUMULATOR)));
        for step in 1..=3 {
            set_hyper(&mut expected, step, &one, RATES);
            set_hyper(&mut store, step, &one, RATES);
            let (x, target) = (expected["x"].clone(), expected["target"].clone());
            let mut losses = 0.0;
            for half in 0..2 {
                store.insert("x".to_owned(), Tensor::from_fn([2, 3], |i| x.data[half * 6 + i]));
                store.insert("target".to_owned(), Tensor::from_fn([2, 2], |i| target.data[half * 4 + i]));
                store.insert(MICRO_WEIGHT.to_owned(), Tensor::splat([], 0.5));
                losses += 0.5 * number(&call(&micro, &mut store)["loss"]);
            }
            let norm = number(&call(&apply, &mut store)["grad_norm"]);
            let results = call(&big, &mut expected);
            assert!((losses - number(&results["loss"])).abs() <= EXACT);
            assert!((norm - number(&results["grad_norm"])).abs() <= EXACT);
            for (name, tensor) in &expected {
                assert!(
                    ["x", "target"].contains(&name.as_str()) || distance(&store[name], tensor) <= EXACT,
                    "{name}"
                );
            }
            let sums = store.iter().filter(|(name, _)| name.starts_with(ACCUMULATOR));
            assert!(sums.flat_map(|(_, tensor)| &tensor.data).all(|&x| x == 0.0), "accumulators are cleared");
        }
    }
}

#[test]
fn the_functions_of_an_accumulated_step_share_their_state() {
    let spec = Training { accumulate: 4, ..spec() };
    let TrainingFuncs::Accumulated { micro, apply } = training(&network(2), &spec).unwrap() else { panic!() };
    for p in apply.params().iter().filter(|p| p.name.starts_with(ACCUMULATOR)) {
        let other = micro.param(&p.name).unwrap();
        assert_eq!((p.role, apply.ty(p.value)), (other.role, micro.ty(other.value)));
    }
    // The micro-batch part has no optimizer state, the other part no batch.
    assert!(
        micro.params().iter().all(|p| !p.name.starts_with("optimizer.") && !p.name.starts_with("hyper."))
    );
    assert!(apply.params().iter().all(|p| p.role != Role::Input || p.name.starts_with("hyper.")));
    let compiled = compile(&network(2), &Context::new(&NullTarget, Mode::Train(&spec))).unwrap();
    assert!(compiled.apply.is_some());
}

#[test]
fn a_step_whose_gradient_is_not_finite_changes_nothing() {
    for clip_norm in [None, Some(0.5)] {
        let spec = Training { clip_norm, ..spec() };
        let func = step_func(&network(4), &spec);
        let compiled = compile(&network(4), &Context::new(&NullTarget, Mode::Train(&spec))).unwrap();
        for poison in [f64::NAN, f64::INFINITY, 1e200] {
            let mut store = start(&func, 3);
            set_hyper(&mut store, 1, &spec, RATES);
            call(&func, &mut store);
            store.get_mut("target").unwrap().data[1] = poison;
            set_hyper(&mut store, 2, &spec, RATES);
            let before = store.clone();
            let results = call(&func, &mut store);
            assert!(!number(&results["grad_norm"]).is_finite(), "{poison}");
            for p in func.params().iter().filter(|p| p.role != Role::Input) {
                assert_eq!(store[&p.name], before[&p.name], "{} after {poison}", p.name);
            }
            let plan = &compiled.main.plan;
            let mut machine = Machine::new(plan, &args(&plan.func, &before));
            machine.run();
            for (index, p) in plan.func.params().iter().enumerate().filter(|(_, p)| p.role != Role::Input) {
                assert_eq!(machine.param(index), before[&p.name].data, "{} after {poison}", p.name);
            }
        }
    }
}

#[test]
fn a_scale_that_is_not_finite_changes_nothing_in_adamw() {
    let mut func = Func::new("adamw");
    let shapes: [&[usize]; 6] = [&[2], &[2], &[2], &[2], &[3], &[]];
    let params: Vec<_> = (0..)
        .zip(shapes)
        .map(|(i, s)| func.add_param(format!("p{i}"), Role::Input, TensorType::f32(s)))
        .collect();
    let op = AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 };
    for (i, value) in func.push(op, &params, &Scope::default()).unwrap().into_iter().enumerate() {
        func.add_result(format!("r{i}"), value);
    }
    let vector = |data: &[f64]| Tensor::new([data.len()], data.to_vec()).unwrap();
    for scale in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let args = [
            vector(&[1.0, -2.0]),
            vector(&[f64::NAN, f64::INFINITY]),
            vector(&[0.5, 0.25]),
            vector(&[0.1, 0.2]),
            vector(&[0.1, 2.0, 3.0]),
            Tensor::splat([], scale),
        ];
        let results = run(&func, &args).unwrap();
        assert_eq!(results, [args[0].clone(), args[2].clone(), args[3].clone()]);
    }
}

#[test]
fn what_is_wrong_with_the_settings_is_said_all_at_once() {
    let mut bad = spec();
    bad.groups[0].params.extend(["nowhere".to_owned(), "x".to_owned(), "b".to_owned()]);
    bad.groups[2].name = "slow".to_owned();
    bad.clip_norm = Some(0.0);
    bad.accumulate = 0;
    let message = training(&network(2), &bad).unwrap_err().to_string();
    for part in [
        "group `fast` names `nowhere`, which is no weight",
        "group `fast` names `x`, which is no weight",
        "weight `b` is named more than once",
        "more than one group `slow`",
        "the largest gradient norm is 0, must be positive and finite",
        "at least one micro-batch",
    ] {
        assert!(message.contains(part), "{message:?} does not contain {part:?}");
    }
    for limit in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(training(&network(2), &Training { clip_norm: Some(limit), ..spec() }).is_err());
    }
}

#[test]
fn there_must_be_a_scalar_loss_that_depends_on_a_trained_weight() {
    let mut idle = spec();
    idle.groups = vec![Group { name: "idle".to_owned(), params: vec!["idle".to_owned()], weight_decay: 0.0 }];
    let message = training(&network(2), &idle).unwrap_err().to_string();
    assert!(message.contains("nothing to train"), "{message}");
    let mut func = network(2);
    let out = func.result("out").unwrap();
    func.clear_results();
    let message = training(&func, &spec()).unwrap_err().to_string();
    assert!(message.contains("no result `loss`"), "{message}");
    func.add_result("loss", out);
    let message = training(&func, &spec()).unwrap_err().to_string();
    assert!(message.contains("only a scalar can be differentiated, this is f32[2, 2]"), "{message}");
}

#[test]
fn gradient_code_belongs_to_the_scope_of_what_it_differentiates() {
    let mut func = network(2);
    let (x, w) = (func.param("x").unwrap().value, func.param("w").unwrap().value);
    let y = func.push(crossloom_ir::op::Linear::default(), &[x, w], &Scope::new("vision.block.3")).unwrap();
    let mut b = func.builder();
    let loss = b.reduce_sum(y[0], &[0, 1]).unwrap();
    func.clear_results();
    func.add_result("loss", loss);
    let before = func.insts().len();
    let grads = autodiff::gradient(&func, "loss", &[w]).unwrap();
    let scopes: Vec<&str> = grads.insts()[before..].iter().map(|inst| inst.scope.as_str()).collect();
    assert!(scopes.contains(&"vision.block.3"), "{scopes:?}");
}
