//! Rematerialisation: less memory, more work, the same bits.

use crossloom_compiler::passes::rematerialise::RECOMPUTE;
use crossloom_compiler::{CompiledSet, Context, Mode, NullTarget, Policy, Precision, compile};
use crossloom_ir::interp::run;
use crossloom_ir::op::{Activation, Attention, CrossEntropy, RmsNorm, UnaryKind};
use crossloom_ir::verify::verify;
use crossloom_ir::{Func, Role, Scope, Tensor, TensorType, text};

use crate::support::machine::Machine;
use crate::support::{all_trained, parse, random_args};

const B: usize = 4;
const T: usize = 16;
const D: usize = 8;

/// A decoder of so many pre-norm layers whose activations are much larger than its weights.
fn decoder(layers: usize) -> Func {
    let mut func = Func::new("decoder");
    let mut h = func.add_param("h", Role::Input, TensorType::f32([B, T, D]));
    let targets = func.add_param("targets", Role::Input, TensorType::i32([B * T]));
    for layer in 0..layers {
        let mut w = |name: &str, shape: &[usize]| {
            func.add_param(format!("{layer}.{name}"), Role::Weight, TensorType::f32(shape))
        };
        let norms = [w("g1", &[D]), w("g2", &[D])];
        let square = ["q", "k", "v", "o"].map(|name| w(name, &[D, D]));
        let [gate, up] = ["gate", "up"].map(|name| w(name, &[3 * D, D]));
        let down = w("down", &[D, 3 * D]);
        let mut b = func.builder();
        b.set_scope(Scope::new(format!("layer.{layer}")));
        let normed = b.one(RmsNorm { eps: 1e-5 }, &[h, norms[0]]).unwrap();
        let [q, k, v] = [0, 1, 2].map(|i| b.linear(normed, square[i], None).unwrap());
        let attention = Attention { heads: 2, kv_heads: 2, causal: true, segments: false, scale: 0.5 };
        let o = b.one(attention, &[q, k, v]).unwrap();
        let o = b.linear(o, square[3], None).unwrap();
        h = b.add(h, o).unwrap();
        let normed = b.one(RmsNorm { eps: 1e-5 }, &[h, norms[1]]).unwrap();
        let gate = b.linear(normed, gate, None).unwrap();
        let gate = b.unary(UnaryKind::Act(Activation::Silu), gate).unwrap();
        let up = b.linear(normed, up, None).unwrap();
        let hidden = b.mul(gate, up).unwrap();
        let hidden = b.linear(hidden, down, None).unwrap();
        h = b.add(h, hidden).unwrap();
    }
    let head = func.add_param("head", Role::Weight, TensorType::f32([5, D]));
    let mut b = func.builder();
    b.set_scope(Scope::new("head"));
    let rows = b.reshape(h, &[B * T, D]).unwrap();
    let logits = b.linear(rows, head, None).unwrap();
    let loss = b.one(CrossEntropy, &[logits, targets]).unwrap();
    func.add_result("loss", loss);
    func
}

fn step(func: &Func, memory: Option<usize>, compute: Precision, accumulate: usize) -> CompiledSet {
    let spec = all_trained(func, accumulate);
    let policy = Policy { compute, ..Policy::default() };
    let cx = Context { memory, policy, ..Context::new(&NullTarget, Mode::Train(&spec)) };
    compile(func, &cx).unwrap_or_else(|errors| panic!("{errors}"))
}

fn needed(set: &CompiledSet) -> usize {
    set.main.plan.arena_bytes().unwrap()
}

/// The instructions that are computed again, by their own scope and mnemonic.
fn again(set: &CompiledSet) -> Vec<(String, &'static str)> {
    let insts = set.main.plan.func.insts().iter();
    let named = insts.filter_map(|inst| {
        let own = inst.scope.as_str().strip_prefix(RECOMPUTE)?;
        Some((own.trim_start_matches('.').to_owned(), inst.op.mnemonic()))
    });
    named.collect()
}

/// Random arguments; second moments are squares.
fn arguments(func: &Func) -> Vec<Tensor<f64>> {
    let mut args = random_args(func, 5);
    for (arg, param) in args.iter_mut().zip(func.params()) {
        if param.name.starts_with("optimizer.v.") {
            arg.data.iter_mut().for_each(|value| *value = value.abs());
        }
    }
    args
}

fn bits(results: &[Tensor<f64>]) -> Vec<u64> {
    let bits: Vec<u64> =
        results.iter().flat_map(|tensor| &tensor.data).map(|value| value.to_bits()).collect();
    assert!(bits.iter().all(|&bits| f64::from_bits(bits).is_finite()));
    bits
}

fn is_product(mnemonic: &str) -> bool {
    ["linear", "matmul", "attention"].contains(&mnemonic)
}

#[test]
fn a_step_fits_smaller_budgets_with_more_work_and_the_same_bits() {
    let func = decoder(6);
    for (compute, accumulate) in [(Precision::F32, 1), (Precision::Bf16, 1), (Precision::F32, 3)] {
        let whole = step(&func, None, compute, accumulate);
        let all = needed(&whole);
        let args = arguments(&whole.main.plan.func);
        let expected = bits(&run(&whole.main.plan.func, &args).unwrap());
        let mut work = whole.main.plan.steps.len();
        assert!(again(&whole).is_empty());
        assert_eq!(step(&func, Some(all), compute, accumulate).main.plan, whole.main.plan, "it fits already");
        for percent in [90, 75, 60, 50] {
            let budget = all * percent / 100;
            let set = step(&func, Some(budget), compute, accumulate);
            let plan = &set.main.plan;
            assert!(needed(&set) <= budget, "{} of {budget} bytes at {percent} %", needed(&set));
            assert!(plan.steps.len() > work, "{percent} %: {} kernel calls after {work}", plan.steps.len());
            work = plan.steps.len();
            verify(&plan.func).unwrap();
            let given = bits(&run(&plan.func, &args).unwrap());
            assert!(given == expected, "{compute:?}, {percent} %: other numbers");
            if compute == Precision::F32 {
                let given = bits(&Machine::new(plan, &args).run());
                assert!(given == expected, "{percent} %: other numbers in memory");
            }
        }
    }
}

#[test]
fn cheap_values_go_first_and_products_only_where_they_must() {
    let func = decoder(6);
    let all = needed(&step(&func, None, Precision::F32, 1));
    let little = again(&step(&func, Some(all * 95 / 100), Precision::F32, 1));
    assert!(!little.is_empty() && little.iter().all(|(_, op)| !is_product(op)), "{little:?}");
    let much = again(&step(&func, Some(all / 2), Precision::F32, 1));
    assert!(much.iter().any(|(_, op)| is_product(op)), "{much:?}");
    // Every value is computed again once at the most.
    let layers: std::collections::BTreeSet<&str> = much.iter().map(|(scope, _)| scope.as_str()).collect();
    for layer in layers {
        let attentions = much.iter().filter(|(scope, op)| scope == layer && *op == "attention");
        assert!(attentions.count() <= 1, "{layer}");
    }
}

#[test]
fn where_nothing_fits_the_least_is_taken_and_its_size_is_told() {
    let func = decoder(6);
    let all = needed(&step(&func, None, Precision::F32, 1));
    let least = step(&func, Some(0), Precision::F32, 1);
    assert!(needed(&least) < all / 2, "{} of {all}", needed(&least));
    let exact = step(&func, Some(needed(&least)), Precision::F32, 1);
    assert!(needed(&exact) <= needed(&least));
    // Twice is the same.
    assert_eq!(step(&func, Some(0), Precision::F32, 1).main.plan, least.main.plan);
    // Deeper models hold less than in proportion.
    let deep = decoder(24);
    let [whole, small] = [None, Some(0)].map(|memory| needed(&step(&deep, memory, Precision::F32, 1)));
    assert!(small < whole / 3, "{small} of {whole}");
}

#[test]
fn a_function_without_a_backward_pass_has_nothing_to_compute_again() {
    let func = decoder(2);
    let cx = Context { memory: Some(0), ..Context::default() };
    let set = compile(&func, &cx).unwrap();
    assert_eq!(set.main.plan, compile(&func, &Context::default()).unwrap().main.plan);
}

#[test]
fn what_a_result_is_is_held_anyway() {
    let func = parse(
        r#"func @f {
  input  %x "x": f32[64]
  weight %w "w": f32[64]
  "":
    %1 = mul %x, %w : f32[64]
    %2 = exp %1 : f32[64]
    %3 = reduce_sum %2 {axes = [0]} : f32[]
    %4 = mul %2, %1 : f32[64]
  return "loss" = %3
  return "exp" = %2
  return "grad" = %4
}
"#,
    );
    let pass = crate::support::pass("rematerialise");
    let new = pass.run(&func, &Context { memory: Some(0), ..Context::default() }).unwrap();
    let repeated: Vec<&str> = (new.insts().iter())
        .filter(|inst| inst.scope.as_str().starts_with(RECOMPUTE))
        .map(|inst| inst.op.mnemonic())
        .collect();
    assert!(!repeated.contains(&"exp"), "{}", text::print(&new));
    let args: Vec<Tensor<f64>> = random_args(&func, 1);
    assert_eq!(run(&new, &args).unwrap(), run(&func, &args).unwrap());
}
