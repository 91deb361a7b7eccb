//! Random programs: every pass and the whole pipeline keep their meaning, and gradients are slopes.

use crossloom_compiler::autodiff;
use crossloom_compiler::passes::{AFTER_AUTODIFF, BEFORE_AUTODIFF, Pass, run_all};
use crossloom_compiler::plan::plan;
use crossloom_compiler::{Context, NullTarget};
use crossloom_ir::interp::run;
use crossloom_ir::verify::verify;
use crossloom_ir::{Func, Role, Tensor, text};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::program::{Program, program};
use crate::support::{apply, assert_alike, assert_same, cases, insts, pass, weights};

fn choices() -> impl Strategy<Value = Vec<u16>> {
    prop::collection::vec(any::<u16>(), 0..120)
}

/// Passes that replace an op by its definition, or move what is of no cost; all others never make a function longer.
const EXPANDING: [&str; 4] = ["product_fusion", "attention_fusion", "amp_batching", "agf_fusion"];

fn all_passes() -> Vec<&'static dyn Pass> {
    let mut passes: Vec<&dyn Pass> = Vec::new();
    for pass in BEFORE_AUTODIFF.into_iter().chain(AFTER_AUTODIFF) {
        if passes.iter().all(|known| known.name() != pass.name()) {
            passes.push(pass);
        }
    }
    passes
}

/// The pass keeps the function's meaning, does not lengthen it, and has nothing to do a second time.
fn check_passes(func: &Func, args: &[Tensor<f64>]) {
    for pass in all_passes() {
        let name = pass.name();
        let new = apply(name, func);
        assert_same(&new, func, args);
        let (before, after) = (func.insts().len(), new.insts().len());
        assert!(
            after <= before || EXPANDING.contains(&name),
            "{name} makes {after} of {before} instructions of\n{}\nnamely\n{}",
            text::print(func),
            text::print(&new)
        );
        assert_alike(&apply(name, &new), &new, &format!("{name} changes its own result"));
    }
}

fn differentiated(program: &Program) -> Func {
    autodiff::gradient(&program.func, "loss", &weights(&program.func)).unwrap()
}

/// The loss at the weights moved along a direction.
fn loss_along(program: &Program, direction: &[Tensor<f64>], step: f64) -> f64 {
    let moved: Vec<Tensor<f64>> = program
        .args
        .iter()
        .zip(direction)
        .map(|(arg, d)| Tensor::from_fn(arg.shape.clone(), |i| arg.data[i] + step * d.data[i]))
        .collect();
    run(&program.func, &moved).unwrap()[0].data[0]
}

/// Slope of the loss along a direction by central differences.
fn slope(program: &Program, direction: &[Tensor<f64>], step: f64) -> f64 {
    (loss_along(program, direction, step) - loss_along(program, direction, -step)) / (2.0 * step)
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn passes_keep_the_meaning(choices in choices()) {
        let program = program(&choices);
        verify(&program.func).unwrap();
        check_passes(&program.func, &program.args);
    }

    #[test]
    fn passes_keep_the_meaning_of_gradient_code(choices in choices()) {
        let program = program(&choices);
        let func = differentiated(&program);
        verify(&func).unwrap();
        check_passes(&func, &program.args);
    }

    #[test]
    fn the_pipeline_keeps_results_and_gradients(choices in choices()) {
        let plain = program(&choices);
        let expected = differentiated(&plain);
        let before = run_all(plain.func.clone(), &BEFORE_AUTODIFF, &Context::default()).unwrap();
        assert_same(&before, &plain.func, &plain.args);
        let middle = autodiff::gradient(&before, "loss", &weights(&before)).unwrap();
        verify(&middle).unwrap();
        assert_same(&middle, &expected, &plain.args);
        let after = run_all(middle, &AFTER_AUTODIFF, &Context::default()).unwrap();
        assert_same(&after, &expected, &plain.args);
    }

    #[test]
    fn what_is_computed_again_has_the_same_bits(choices in choices()) {
        let program = program(&choices);
        let before = run_all(program.func.clone(), &BEFORE_AUTODIFF, &Context::default()).unwrap();
        let func = autodiff::gradient(&before, "loss", &weights(&before)).unwrap();
        let func = run_all(func, &AFTER_AUTODIFF, &Context::default()).unwrap();
        let needed = |func: &Func| plan(func.clone(), &NullTarget).unwrap().arena_bytes().unwrap();
        let all = needed(&func);
        for memory in [0, all / 2, all - all / 8] {
            let new = pass("rematerialise").run(&func, &Context { memory: Some(memory), ..Context::default() }).unwrap();
            verify(&new).unwrap();
            prop_assert!(needed(&new) <= all, "{} of {all} bytes", needed(&new));
            let (given, expected) = (run(&new, &program.args).unwrap(), run(&func, &program.args).unwrap());
            for (given, expected) in given.iter().zip(&expected) {
                let bits = |tensor: &Tensor<f64>| tensor.data.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                prop_assert_eq!(bits(given), bits(expected));
            }
        }
    }

    #[test]
    fn gradients_are_slopes(choices in choices()) {
        let program = program(&choices);
        let mut rng = ChaCha8Rng::seed_from_u64(choices.len() as u64);
        let direction: Vec<Tensor<f64>> = program
            .func
            .params()
            .iter()
            .map(|p| {
                let moves = p.role == Role::Weight;
                Tensor::from_fn(program.func.shape(p.value), |_| if moves { rng.random_range(-1.0..1.0) } else { 0.0 })
            })
            .collect();
        let slopes = [1e-5, 2e-5].map(|step| slope(&program, &direction, step));
        let accuracy = 2e-6 * slopes[0].abs().max(1.0);
        // A kink or a jump on the way: no slope to compare with.
        prop_assume!((slopes[0] - slopes[1]).abs() <= accuracy);
        let func = differentiated(&program);
        let results = run(&func, &program.args).unwrap();
        let moving = direction.iter().zip(program.func.params()).filter(|(_, p)| p.role == Role::Weight);
        let given: f64 = results[program.func.results().len()..]
            .iter()
            .zip(moving)
            .flat_map(|(grad, (direction, _))| grad.data.iter().zip(&direction.data))
            .map(|(grad, direction)| grad * direction)
            .sum();
        prop_assert!((given - slopes[0]).abs() <= accuracy, "{given} is not {}\n{}", slopes[0], text::print(&program.func));
    }
}

/// The generator reaches every kind of op that it knows, and its programs have a loss that depends on the weights.
#[test]
fn random_programs_hold_all_kinds_of_ops() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut seen = std::collections::BTreeSet::new();
    let (mut given, mut fused) = (0, 0);
    for _ in 0..300 {
        let choices: Vec<u16> = (0..120).map(|_| rng.random_range(0..u16::MAX)).collect();
        let program = program(&choices);
        seen.extend(program.func.insts().iter().map(|inst| inst.op.mnemonic()));
        fused += insts(&apply("attention_fusion", &program.func), "attention").len();
        given += insts(&program.func, "attention").len();
        let results = run(&program.func, &program.args).unwrap();
        assert!(results[0].data[0].is_finite());
    }
    assert!(fused > given + 50, "attention is fused {} times", fused - given);
    for op in [
        "linear",
        "layer_norm",
        "rms_norm",
        "layer_norm_grad",
        "rms_norm_grad",
        "attention",
        "rope",
        "deformable_attention",
        "amp_project",
        "agf_gate",
        "agf_inject",
        "attn_pool",
        "embedding",
        "gather_rows",
        "scatter_rows",
        "softmax",
        "cross_entropy",
        "concat",
        "pad",
        "slice",
        "matmul",
        "reduce_max",
        "broadcast",
        "div",
        "less_than",
    ] {
        assert!(seen.contains(op), "no program holds `{op}`");
    }
}
