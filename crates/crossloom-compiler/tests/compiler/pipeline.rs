//! The whole compiler: what it records, and what it does about kernels a target lacks.

use crossloom_compiler::explain::explain;
use crossloom_compiler::passes::{AFTER_AUTODIFF, BEFORE_AUTODIFF, Pass};
use crossloom_compiler::training::{Group, Training};
use crossloom_compiler::{Context, Kernel, Mode, NullTarget, Plan, Target, compile};
use crossloom_ir::interp::run;
use crossloom_ir::{Func, Op, TensorType};

use crate::support::machine::Machine;
use crate::support::{EXACT, distance, parse, random_args};

/// Two pre-norm layers, with a loss.
fn network() -> Func {
    parse(
        r#"func @net {
  input  %x "x": f32[4, 3]
  input  %h "h": f32[4, 3]
  weight %a "a": f32[3]
  weight %b "b": f32[3]
  weight %w "w": f32[3, 3]
  block.0.mlp:
    %0 = add %x, %h : f32[4, 3]
    %1, %2 = rms_norm %0, %a {eps = 0.1} : f32[4, 3], f32[4]
    %3 = linear %1, %w, %a {bias = true} : f32[4, 3]
    %4 = gelu_erf %3 : f32[4, 3]
    %5 = add %0, %4 : f32[4, 3]
  block.1.mlp:
    %6, %7, %8 = layer_norm %5, %a, %b {eps = 0.1} : f32[4, 3], f32[4], f32[4]
    %9 = softmax %6 : f32[4, 3]
  loss:
    %10 = mul %9, %x : f32[4, 3]
    %11 = reduce_sum %10 {axes = [0, 1]} : f32[]
  return "loss" = %11
}
"#,
    )
}

fn spec() -> Training {
    let params = ["a", "b", "w"].map(str::to_owned).to_vec();
    Training {
        groups: vec![Group { name: "all".to_owned(), params, weight_decay: 0.1 }],
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-8,
        clip_norm: Some(1.0),
        accumulate: 1,
    }
}

/// Has kernels for everything but those ops, none of which work in place.
struct Lacking(&'static [&'static str]);

impl Target for Lacking {
    fn name(&self) -> &'static str {
        "lacking"
    }

    fn alignment(&self) -> usize {
        32
    }

    fn kernel(&self, op: &Op, _: &[&TensorType], _: &[&TensorType]) -> Option<Kernel> {
        let has = !self.0.contains(&op.mnemonic());
        has.then(|| Kernel { name: op.mnemonic().to_owned(), scratch: 7, ..Kernel::default() })
    }
}

#[test]
fn every_pass_is_recorded_in_order() {
    let set = compile(&network(), &Context::new(&NullTarget, Mode::Train(&spec()))).unwrap();
    let names: Vec<&str> = set.main.passes.iter().map(|record| record.name).collect();
    let expected: Vec<&str> = BEFORE_AUTODIFF.into_iter().chain(AFTER_AUTODIFF).map(Pass::name).collect();
    assert_eq!(names, expected);
    for pair in set.main.passes[BEFORE_AUTODIFF.len()..].windows(2) {
        assert_eq!(pair[0].after, pair[1].before);
    }
    assert_eq!(set.main.passes[0].before, network().insts().len());
    assert_eq!(set.main.passes[names.len() - 1].after, set.main.plan.func.insts().len());
}

#[test]
fn what_a_target_lacks_is_expanded_also_where_a_pass_made_it() {
    for lacks in [
        &["softmax", "linear", "gelu_erf_grad"][..],
        &["fused_elementwise"],
        &["add_rms_norm", "rms_norm", "layer_norm_grad"],
        &["fused_elementwise", "add_rms_norm", "rms_norm_grad", "matmul", "div"],
    ] {
        let target = Lacking(lacks);
        for mode in [Mode::Forward, Mode::Train(&spec())] {
            let plan = compile(&network(), &Context::new(&target, mode)).unwrap().main.plan;
            assert!(plan.steps.iter().all(|step| !lacks.contains(&step.kernel.as_str())), "{plan}");
            assert!(plan.steps.iter().all(|step| step.in_place.is_empty()));
            assert_eq!(plan.scratch, 7);
            // The reference of the error function is not a polynomial, its expansion is.
            let reference = compile(&network(), &Context::new(&NullTarget, mode)).unwrap().main.plan;
            let args = random_args(&plan.func, 3).into_iter().map(|mut arg| {
                arg.data.iter_mut().for_each(|x| *x = x.abs());
                arg
            });
            let args: Vec<_> = args.collect();
            let given = Machine::new(&plan, &args).run();
            for (given, expected) in given.iter().zip(&run(&reference.func, &args).unwrap()) {
                assert!(distance(given, expected) <= if lacks.contains(&"linear") { 1e-6 } else { EXACT });
            }
        }
    }
}

/// Has no kernel for attention with heads wider than 4.
struct Narrow;

impl Target for Narrow {
    fn name(&self) -> &'static str {
        "narrow"
    }

    fn alignment(&self) -> usize {
        64
    }

    fn kernel(&self, op: &Op, inputs: &[&TensorType], _: &[&TensorType]) -> Option<Kernel> {
        let fits = match op {
            Op::Attention(op) => inputs[0].last() / op.heads <= 4,
            Op::AttentionGrad(op) => inputs[1].last() / op.0.heads <= 4,
            _ => true,
        };
        fits.then(|| Kernel { name: op.mnemonic().to_owned(), ..Kernel::default() })
    }
}

#[test]
fn of_one_op_only_what_the_target_refuses_is_expanded() {
    let func = parse(
        r#"func @two {
  input  %x "x": f32[2, 3, 8]
  weight %w "w": f32[8, 8]
  a:
    %0 = linear %x, %w : f32[2, 3, 8]
    %1, %2 = attention %0, %0, %0 {heads = 2, kv_heads = 2, scale = 0.5} : f32[2, 3, 8], f32[2, 2, 3]
    %3, %4 = attention %1, %0, %0 {heads = 1, kv_heads = 1, causal = true, scale = 0.5} : f32[2, 3, 8], f32[2, 1, 3]
    %5 = reduce_sum %3 {axes = [0, 1, 2]} : f32[]
  return "loss" = %5
}
"#,
    );
    let mut train = spec();
    train.groups[0].params = vec!["w".to_owned()];
    for mode in [Mode::Forward, Mode::Train(&train)] {
        let plan = compile(&func, &Context::new(&Narrow, mode)).unwrap().main.plan;
        let reference = compile(&func, &Context::new(&NullTarget, mode)).unwrap().main.plan;
        let count = |plan: &Plan, kernel: &str| plan.steps.iter().filter(|s| s.kernel == kernel).count();
        for kernel in ["attention", "attention_grad"] {
            let all = count(&reference, kernel);
            assert_eq!(count(&plan, kernel), all / 2, "{plan}");
            assert_eq!(all, if kernel == "attention" || matches!(mode, Mode::Train(_)) { 2 } else { 0 });
        }
        let args: Vec<_> = random_args(&plan.func, 3)
            .into_iter()
            .map(|mut arg| {
                arg.data.iter_mut().for_each(|x| *x = x.abs());
                arg
            })
            .collect();
        let given = Machine::new(&plan, &args).run();
        for (given, expected) in given.iter().zip(&run(&reference.func, &args).unwrap()) {
            assert!(distance(given, expected) <= EXACT);
        }
    }
}

#[test]
fn all_that_has_neither_a_kernel_nor_an_expansion_is_reported() {
    let errors = compile(&network(), &Context::new(&Lacking(&["reduce_sum", "exp2"]), Mode::Forward));
    let errors = errors.unwrap_err().to_string();
    assert!(
        errors.contains("reduce_sum: target `lacking` has no kernel for it and it has no expansion"),
        "{errors}"
    );
    assert!(errors.contains("[in loss]"), "{errors}");
}

#[test]
fn a_wrong_training_setting_is_an_error_not_a_panic() {
    let mut wrong = spec();
    wrong.groups[0].params.push("nowhere".to_owned());
    assert!(compile(&network(), &Context::new(&NullTarget, Mode::Train(&wrong))).is_err());
}

#[test]
fn an_explanation_counts_memory_exactly_and_work_by_scope() {
    let set = compile(&network(), &Context::new(&NullTarget, Mode::Train(&spec()))).unwrap();
    let plan = &set.main.plan;
    let all = explain(plan, usize::MAX);
    assert_eq!(all.parameters, 3 + 3 + 9);
    assert_eq!(all.weight_bytes, 4 * 15);
    // Two moments per weight.
    assert_eq!(all.state_bytes, 2 * all.weight_bytes);
    assert_eq!(all.input_bytes, 4 * (12 + 12 + 3));
    assert_eq!(all.arena_bytes, plan.arena as u64);
    assert_eq!(all.peak_bytes(), all.weight_bytes + all.state_bytes + all.input_bytes + all.arena_bytes);
    for depth in [0, 1, 2] {
        let cut = explain(plan, depth);
        assert_eq!((cut.flops, cut.bytes_moved), (all.flops, all.bytes_moved));
        assert_eq!(cut.by_scope.values().map(|scope| scope.flops).sum::<u64>(), all.flops);
        assert_eq!(cut.by_scope.values().map(|scope| scope.bytes).sum::<u64>(), all.bytes_moved);
        assert_eq!(cut.by_scope.values().map(|scope| scope.calls).sum::<u64>(), plan.steps.len() as u64);
    }
    assert_eq!(explain(plan, 0).by_scope.len(), 1);
    let scopes: Vec<String> = explain(plan, 2).by_scope.into_keys().collect();
    assert_eq!(scopes, ["block.0", "block.1", "loss", "optimizer.adamw", "optimizer.clip"]);
}

#[test]
fn the_work_of_a_product_is_counted() {
    let func = parse(
        "func @f {\n  input %x \"x\": f32[4, 3]\n  weight %w \"w\": f32[5, 3]\n  a.b:\n    %1 = linear %x, %w : f32[4, 5]\n  return \"y\" = %1\n}\n",
    );
    let set = compile(&func, &Context::new(&NullTarget, Mode::Forward)).unwrap();
    let all = explain(&set.main.plan, 1);
    assert_eq!((all.flops, all.bytes_moved), (2 * 4 * 3 * 5, 4 * (12 + 15 + 20)));
    assert_eq!(all.by_scope["a"].calls, 1);
}
