//! Memory plans: what they compute, what they hold, and what the plan verifier rejects.

use crossloom_compiler::plan::{Block, Plan, check};
use crossloom_compiler::training::{Group, Training};
use crossloom_compiler::{CompiledSet, Context, Kernel, Mode, NullTarget, Target, compile};
use crossloom_ir::interp::run;
use crossloom_ir::{Func, Inst, Op, Role, Tensor, TensorType, Value};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::machine::Machine;
use crate::support::program::{Program, program};
use crate::support::{EXACT, cases, distance, parse, random_args};

fn train_spec(func: &Func, accumulate: usize) -> Training {
    let params = func.params().iter().filter(|p| p.role == Role::Weight).map(|p| p.name.clone()).collect();
    Training {
        groups: vec![Group { name: "all".to_owned(), params, weight_decay: 0.1 }],
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        clip_norm: Some(1.0),
        accumulate,
    }
}

fn forward(func: &Func) -> CompiledSet {
    compile(func, &Context::new(&NullTarget, Mode::Forward)).unwrap()
}

fn train(func: &Func, accumulate: usize) -> CompiledSet {
    let spec = train_spec(func, accumulate);
    compile(func, &Context::new(&NullTarget, Mode::Train(&spec))).unwrap()
}

/// Arguments of a compiled function: those of the program by name, the rest random; second moments are positive.
fn args_of(plan: &Plan, program: &Program) -> Vec<Tensor<f64>> {
    let mut args = random_args(&plan.func, 5);
    for (arg, p) in args.iter_mut().zip(plan.func.params()) {
        if let Some(at) = program.func.params().iter().position(|known| known.name == p.name) {
            *arg = program.args[at].clone();
        } else {
            arg.data.iter_mut().for_each(|x| *x = x.abs());
        }
    }
    args
}

/// The first result or parameter that is not what the interpreter says, if there is one.
fn wrong_result(plan: &Plan, args: &[Tensor<f64>]) -> Option<String> {
    let expected = run(&plan.func, args).unwrap();
    let mut machine = Machine::new(plan, args);
    let given = machine.run();
    for ((given, expected), def) in given.iter().zip(&expected).zip(plan.func.results()) {
        if distance(given, expected) > EXACT {
            return Some(def.name.clone());
        }
        if def.updates.is_some_and(|param| machine.param(param) != given.data) {
            return Some(format!("new content of {}", def.name));
        }
    }
    let updated: Vec<usize> = plan.func.results().iter().filter_map(|r| r.updates).collect();
    let kept = (0..args.len()).filter(|index| !updated.contains(index));
    let mut spoiled = kept.filter(|&index| machine.param(index) != args[index].data);
    spoiled.next().map(|index| format!("parameter {}", plan.func.params()[index].name))
}

fn check_plan(plan: &Plan, program: &Program) {
    check(plan).unwrap();
    assert!(plan.arena >= plan.lower_bound);
    assert_eq!(wrong_result(plan, &args_of(plan, program)), None, "{plan}");
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn plans_compute_what_the_function_says(
        choices in prop::collection::vec(any::<u16>(), 0..120),
        accumulate in 1_usize..3,
    ) {
        let program = program(&choices);
        check_plan(&forward(&program.func).main.plan, &program);
        let set = train(&program.func, accumulate);
        check_plan(&set.main.plan, &program);
        if let Some(apply) = &set.apply {
            check_plan(&apply.plan, &program);
        }
    }

    #[test]
    fn the_same_function_gives_the_same_plan(choices in prop::collection::vec(any::<u16>(), 0..120)) {
        let program = program(&choices);
        let [first, second] = [(); 2].map(|()| train(&program.func, 1).main.plan);
        prop_assert_eq!(first.to_string(), second.to_string());
        prop_assert_eq!(first.summary(), second.summary());
        prop_assert_eq!(first, second);
    }

    /// Whatever a plan is changed into: what the verifier accepts still computes the right results.
    #[test]
    fn a_plan_that_passes_the_verifier_is_right(
        choices in prop::collection::vec(any::<u16>(), 0..60),
        seed in any::<u64>(),
    ) {
        let program = program(&choices);
        let plan = train(&program.func, 1).main.plan;
        let args = args_of(&plan, &program);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for _ in 0..40 {
            let mut changed = plan.clone();
            let what = mutate(&mut changed, &mut rng);
            if check(&changed).is_ok() {
                prop_assert_eq!(wrong_result(&changed, &args), None, "{} of\n{}", what, plan);
            }
        }
    }
}

/// Changes one thing about a plan.
fn mutate(plan: &mut Plan, rng: &mut ChaCha8Rng) -> String {
    let steps = plan.steps.len();
    let value = rng.random_range(0..plan.places.len());
    match rng.random_range(0..7) {
        0 => {
            let to = rng.random_range(0..plan.arena / 16) * 16;
            plan.places[value].offset = to;
            format!("%{value} moved to {to}")
        }
        1 => {
            let other = rng.random_range(0..plan.places.len());
            let len = plan.places[value].len;
            plan.places[value] = plan.places[other];
            plan.places[value].len = len;
            format!("%{value} moved to the place of %{other}")
        }
        2 => {
            let i = rng.random_range(0..steps - 1);
            plan.steps.swap(i, i + 1);
            format!("steps {i} and the next swapped")
        }
        3 => {
            let i = rng.random_range(0..steps);
            plan.steps.remove(i);
            format!("step {i} removed")
        }
        4 => {
            let i = rng.random_range(0..steps);
            let step = plan.steps[i].clone();
            plan.steps.insert(i, step);
            format!("step {i} doubled")
        }
        5 => {
            let i = rng.random_range(0..steps);
            plan.steps[i].in_place.clear();
            format!("step {i} not in place")
        }
        _ => {
            let i = rng.random_range(0..steps);
            let inst = plan.func.inst(plan.steps[i].inst);
            let (from, to) = (inst.inputs.len().max(1), inst.outputs.len());
            let pair = (rng.random_range(0..from), rng.random_range(0..to));
            plan.steps[i].in_place = vec![pair];
            format!("step {i} in place {pair:?}")
        }
    }
}

/// A chain in which every value dies at the next step, a parameter that is read twice, and a result.
fn chain() -> Plan {
    let func = parse(
        r#"func @chain {
  input  %x "x": f32[4, 16]
  weight %w "w": f32[16, 16]
  state  %m "m": f32[16]
  "":
    %1 = linear %x, %w : f32[4, 16]
    %2 = linear %1, %w : f32[4, 16]
    %3 = linear %2, %w : f32[4, 16]
    %4 = reduce_sum %3 {axes = [0]} : f32[16]
    %5 = add %m, %4 : f32[16]
  return "y" = %3
  update %m = %5
}
"#,
    );
    crossloom_compiler::plan::plan(func, &NullTarget).unwrap()
}

/// The output of the step of that number.
fn output(plan: &Plan, step: usize) -> Value {
    plan.func.inst(plan.steps[step].inst).outputs[0]
}

fn rejected(plan: &Plan, message: &str) {
    let errors = check(plan).unwrap_err().to_string();
    assert!(errors.contains(message), "{errors:?} does not contain {message:?}");
}

#[test]
fn the_arena_of_a_chain_is_its_lower_bound() {
    let plan = chain();
    assert_eq!((plan.arena, plan.lower_bound), (512, 512));
    assert_eq!(plan.steps.len(), 5);
    check(&plan).unwrap();
}

#[test]
fn a_value_over_another_that_is_still_read_is_rejected() {
    let mut plan = chain();
    let (first, second) = (output(&plan, 0), output(&plan, 1));
    plan.places[second.index()] = plan.places[first.index()];
    rejected(&plan, "is written over an operand or another result of the same step");
    let mut plan = chain();
    let sums = output(&plan, 3);
    plan.places[sums.index()].offset = plan.places[output(&plan, 2).index()].offset + 64;
    rejected(&plan, "is written over an operand");
}

#[test]
fn a_value_outside_its_block_is_rejected() {
    let mut plan = chain();
    plan.arena -= 64;
    rejected(&plan, "of a block of 448 bytes");
    let mut plan = chain();
    let value = output(&plan, 1);
    plan.places[value.index()].block = Block::Param(99);
    rejected(&plan, "of a block of 0 bytes");
    let mut plan = chain();
    plan.places[value.index()].offset = usize::MAX - 3;
    rejected(&plan, "of a block of");
    let mut plan = chain();
    plan.places[value.index()].len = 8;
    rejected(&plan, "+8 of a block of");
    for (offset, says) in [(4, "is written at 4, no multiple of 64"), (2, "within an element of f32")] {
        let mut plan = chain();
        plan.places[value.index()].offset = offset;
        rejected(&plan, says);
    }
    let mut plan = chain();
    plan.alignment = 48;
    rejected(&plan, "no power of two");
}

#[test]
fn a_parameter_is_overwritten_only_by_its_update() {
    let mut plan = chain();
    let value = output(&plan, 3);
    plan.places[value.index()].block = Block::Param(1);
    plan.places[value.index()].offset = 0;
    rejected(&plan, "overwrites parameter `w`");
}

#[test]
fn an_update_that_is_not_in_its_parameter_is_rejected() {
    let mut plan = chain();
    let value = output(&plan, 4);
    plan.steps[4].in_place.clear();
    plan.places[value.index()].block = Block::Arena;
    plan.places[value.index()].offset = 0;
    rejected(&plan, "result `m` is not where it is expected at the end");
}

#[test]
fn steps_out_of_order_missing_or_doubled_are_rejected() {
    let mut plan = chain();
    plan.steps.swap(1, 2);
    assert!(check(&plan).is_err());
    for step in 0..5 {
        let mut plan = chain();
        plan.steps.remove(step);
        assert!(check(&plan).is_err(), "without step {step}");
        let mut plan = chain();
        let doubled = plan.steps[step].clone();
        plan.steps.insert(step, doubled);
        assert!(check(&plan).is_err(), "with step {step} twice");
    }
    let mut plan = chain();
    plan.steps[4].inst = Inst(99);
    assert!(check(&plan).is_err());
}

#[test]
fn a_missing_step_that_would_have_worked_in_place_is_rejected() {
    let func = parse(
        r#"func @f {
  input %x "x": f32[16]
  "":
    %0 = constant {value = 2.0, shape = [16]} : f32[16]
    %1 = mul %x, %0 : f32[16]
    %2 = exp %1 : f32[16]
  return "y" = %2
}
"#,
    );
    let plan = crossloom_compiler::plan::plan(func, &NullTarget).unwrap();
    check(&plan).unwrap();
    for step in 0..3 {
        let mut plan = plan.clone();
        plan.steps.remove(step);
        assert!(check(&plan).is_err(), "without step {step}");
    }
}

/// Places of the outputs of the `multi_adamw` steps, with the parameter each updates.
fn moments(plan: &Plan) -> Vec<(Block, Option<usize>)> {
    let updates =
        |value: Value| plan.func.results().iter().find(|r| r.value == value).and_then(|r| r.updates);
    let steps = plan.steps.iter().map(|step| plan.func.inst(step.inst));
    let outputs = steps.filter(|inst| inst.op.mnemonic() == "multi_adamw").flat_map(|inst| &inst.outputs);
    outputs.map(|&v| (plan.place(v).block, updates(v))).collect()
}

#[test]
fn weights_moments_and_accumulators_are_updated_in_place() {
    let program = program(&[6, 1, 2, 0, 3, 1, 8, 1, 4, 25, 0, 17, 1, 1]);
    let one = train(&program.func, 1);
    let accumulated = train(&program.func, 2);
    let apply = accumulated.apply.unwrap();
    for plan in [&one.main.plan, &apply.plan] {
        let moments = moments(plan);
        assert!(!moments.is_empty());
        assert!(moments.iter().all(|(block, param)| param.map(Block::Param) == Some(*block)), "{plan}");
        let steps: Vec<_> = plan.steps.iter().filter(|step| step.kernel == "multi_adamw").collect();
        assert_eq!(steps.len(), 1, "{plan}");
        assert!(steps.iter().all(|step| step.in_place == plan.func.inst(step.inst).op.in_place()));
    }
    // Nothing of the optimizer is in the arena of the part that only applies.
    assert!(apply.plan.arena <= 64 * 8, "{}", apply.plan);
    let micro = &accumulated.main.plan;
    for result in micro.func.results() {
        if let Some(param) = result.updates {
            assert_eq!(micro.place(result.value).block, Block::Param(param));
        }
    }
    let copies = micro.steps.iter().filter(|step| step.kernel == "affine").count();
    assert_eq!(copies, 0, "{micro}");
}

/// A function with one state of four numbers.
fn with_state(body: &str) -> Plan {
    let func = parse(&format!(
        "func @f {{\n  input %x \"x\": f32[4]\n  state %m \"m\": f32[4]\n  state %n \"n\": f32[4]\n  \"\":\n{body}\n}}\n"
    ));
    let plan = crossloom_compiler::plan::plan(func, &NullTarget).unwrap();
    check(&plan).unwrap();
    let args = random_args(&plan.func, 9);
    assert_eq!(wrong_result(&plan, &args), None, "{plan}");
    plan
}

#[test]
fn new_content_that_is_ready_before_the_old_is_last_read_is_copied_at_the_end() {
    for body in [
        "%1 = affine %m {mul = 2.0, add = 0.0} : f32[4]\n %2 = mul %m, %x : f32[4]\n update %m = %1\n return \"y\" = %2",
        "%1 = exp %x : f32[4]\n %2 = mul %m, %x : f32[4]\n update %m = %1\n return \"y\" = %2",
        "%1 = constant {value = 0.0, shape = [4]} : f32[4]\n %2 = mul %m, %x : f32[4]\n update %m = %1\n return \"y\" = %2",
        "%1 = exp %x : f32[4]\n update %m = %1\n return \"old\" = %m",
        "%1 = exp %x : f32[4]\n %2 = reshape %m {shape = [2, 2]} : f32[2, 2]\n update %m = %1\n return \"old\" = %2",
        "%1 = exp %x : f32[4]\n %2 = tanh %1 : f32[4]\n %3 = add %2, %m : f32[4]\n update %m = %3\n return \"y\" = %2",
        "%1 = exp %x : f32[4]\n %2 = add %1, %m : f32[4]\n update %m = %2",
    ] {
        with_state(body);
    }
}

#[test]
fn updates_from_elsewhere_are_copied() {
    for body in [
        "update %m = %x",
        "update %m = %n\n update %n = %m",
        "update %m = %m",
        "%1 = exp %x : f32[4]\n update %m = %1\n update %n = %1",
        "%1 = concat %x, %x {axis = 0} : f32[8]\n %2 = slice %1 {axis = 0, start = 0, len = 4} : f32[4]\n update %m = %2",
        "%1 = concat %x, %x {axis = 0} : f32[8]\n %2 = slice %1 {axis = 0, start = 4, len = 4} : f32[4]\n update %m = %2\n return \"y\" = %1",
        "%1 = exp %x : f32[4]\n %2 = reshape %1 {shape = [2, 2]} : f32[2, 2]\n %3 = reshape %2 {shape = [4]} : f32[4]\n update %m = %3\n return \"y\" = %2",
    ] {
        with_state(body);
    }
}

#[test]
fn an_update_prefers_the_memory_it_belongs_to() {
    // The sum could be written over either operand; only one of them saves a copy.
    for sum in ["add %1, %m", "add %m, %1"] {
        let plan = with_state(&format!("%1 = exp %x : f32[4]\n %2 = {sum} : f32[4]\n update %m = %2"));
        assert_eq!(plan.steps.len(), 2, "{plan}");
        assert_eq!(plan.arena, 64);
    }
    // Also when it is returned as well.
    let plan =
        with_state("%1 = exp %x : f32[4]\n %2 = add %1, %m : f32[4]\n update %m = %2\n return \"y\" = %2");
    assert_eq!(plan.steps.len(), 2, "{plan}");
}

/// Has a kernel for every op, each of which can leave out all results but the first.
struct Frugal;

impl Target for Frugal {
    fn name(&self) -> &'static str {
        "frugal"
    }

    fn alignment(&self) -> usize {
        256
    }

    fn kernel(&self, op: &Op, _: &[&TensorType], outputs: &[&TensorType]) -> Option<Kernel> {
        let name = op.mnemonic().to_owned();
        Some(Kernel {
            name,
            in_place: op.in_place(),
            optional: (1..outputs.len()).collect(),
            ..Kernel::default()
        })
    }
}

/// A norm of which the mean is read and the other statistic is not.
fn norms() -> Func {
    parse(
        r#"func @norms {
  input  %x "x": f32[4, 16]
  weight %g "g": f32[16]
  weight %b "b": f32[16]
  "":
    %0, %1, %2 = layer_norm %x, %g, %b {eps = 0.1} : f32[4, 16], f32[4], f32[4]
    %3 = exp %1 : f32[4]
  return "y" = %0
  return "mean" = %3
}
"#,
    )
}

#[test]
fn a_result_that_nobody_reads_has_no_memory_if_its_kernel_can_leave_it_out() {
    let plan = crossloom_compiler::plan::plan(norms(), &Frugal).unwrap();
    check(&plan).unwrap();
    let outputs = &plan.func.inst(plan.steps[0].inst).outputs;
    let lens: Vec<usize> = outputs.iter().map(|&value| plan.place(value).len).collect();
    assert_eq!(lens, [256, 16, 0]);
    assert_eq!((plan.arena, plan.alignment), (512, 256), "{plan}");
    assert_eq!(wrong_result(&plan, &random_args(&plan.func, 3)), None);
    // One whose kernel must write it has its memory, read or not.
    let plan = crossloom_compiler::plan::plan(norms(), &NullTarget).unwrap();
    let unread = plan.func.inst(plan.steps[0].inst).outputs[2];
    assert_eq!(plan.place(unread).len, 16);
}

#[test]
fn a_value_without_memory_that_is_read_is_rejected() {
    let mut plan = crossloom_compiler::plan::plan(norms(), &Frugal).unwrap();
    for output in [0, 1] {
        let value = plan.func.inst(plan.steps[0].inst).outputs[output];
        let place = plan.places[value.index()];
        plan.places[value.index()].len = 0;
        rejected(&plan, "+0 of a block of");
        plan.places[value.index()] = place;
    }
    check(&plan).unwrap();
}
