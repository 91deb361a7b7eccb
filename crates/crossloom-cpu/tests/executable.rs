//! What an executable refuses: plans that are not sound, and stores it does not know.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crossloom_compiler::plan::{self, Block, Place, Plan};
use crossloom_cpu::exec::{CpuBackend, Executable, RunError, Store};
use crossloom_ir::{Func, Role, TensorType, Value, text};

const TEXT: &str = r#"func @net {
  input  %x "x": f32[4, 8]
  weight %w "w": f32[8, 8]
  weight %g "g": f32[8]
  a.b:
    %0 = exp %x : f32[4, 8]
    %1 = linear %0, %w : f32[4, 8]
    %2, %3, %4 = add_rms_norm %1, %0, %g {eps = 0.1} : f32[4, 8], f32[4, 8], f32[4]
    %5 = softmax %3 : f32[4, 8]
    %6 = affine %w {mul = 0.5, add = 0.0} : f32[8, 8]
  return "y" = %5
  return "sum" = %2
  update %w = %6
}
"#;

fn planned(source: &str) -> Plan {
    plan::plan(text::parse(source).unwrap_or_else(|e| panic!("{e}")), &CpuBackend).unwrap()
}

/// The plan is refused, the error says that, and the store is as it was.
fn refused(plan: Plan, says: &str) {
    let mut store = Store::new();
    let error = Executable::new(plan, &mut store).unwrap_err();
    assert!(matches!(error, RunError::Plan(_)), "{error:?}");
    assert!(error.to_string().contains(says), "{error}");
    assert_eq!(store.iter().count(), 0);
}

#[test]
fn a_plan_whose_values_overlap_or_leave_their_block_is_refused() {
    assert!(Executable::new(planned(TEXT), &mut Store::new()).is_ok());
    let output = |plan: &Plan, step: usize, output: usize| -> Value {
        plan.func.inst(plan.steps[step].inst).outputs[output]
    };
    let mut plan = planned(TEXT);
    let (first, second) = (output(&plan, 0, 0), output(&plan, 1, 0));
    plan.places[second.index()] = plan.place(first);
    refused(plan, "is written over an operand");

    let mut plan = planned(TEXT);
    let value = output(&plan, 1, 0);
    plan.places[value.index()].offset = plan.arena;
    refused(plan, "of a block of");

    let mut plan = planned(TEXT);
    plan.places[value.index()] = Place { block: Block::Param(7), offset: 0, len: 32 };
    refused(plan, "of a block of 0 words");

    let mut plan = planned(TEXT);
    plan.places.pop();
    refused(plan, "places for");

    let mut plan = planned(TEXT);
    plan.steps.swap(0, 1);
    refused(plan, "has no step in its place");
}

#[test]
fn more_memory_than_there_can_be_is_refused() {
    let mut plan = planned(TEXT);
    plan.arena = usize::MAX;
    refused(plan, "needs an arena of");
    let mut plan = planned(TEXT);
    plan.scratch = usize::MAX / 4;
    refused(plan, "words of scratch");
}

#[test]
fn less_scratch_than_a_kernel_needs_is_refused() {
    let mut plan = planned(TEXT);
    assert!(plan.scratch > 0);
    plan.scratch -= 1;
    let error = Executable::new(plan, &mut Store::new()).unwrap_err();
    assert!(matches!(error, RunError::NoKernel { .. }), "{error:?}");
}

/// The op allows its sum to lie over either operand; the kernel reads only the first from there.
#[test]
fn a_kernel_works_in_place_only_where_it_can() {
    let mut plan = planned(TEXT);
    let at = plan.steps.iter().position(|step| step.kernel == "add_rms_norm").unwrap();
    let inst = plan.func.inst(plan.steps[at].inst).clone();
    // Both operands die with the sum, so that the sum may lie over the second one, as far as the op is concerned.
    plan.places[inst.outputs[0].index()] = plan.place(inst.inputs[1]);
    plan.steps[at].in_place = vec![(1, 0)];
    plan::check(&plan).unwrap();
    refused(plan, "kernel `add_rms_norm` cannot write result 0 over operand 1");
}

/// Two blocks of a plan would be one piece of memory.
#[test]
fn two_parameters_of_one_name_are_refused() {
    let mut func = Func::new("twins");
    let ty = TensorType::f32([4]);
    let (a, b) = (func.add_param("w", Role::Weight, ty.clone()), func.add_param("w", Role::Weight, ty));
    let sum = func.builder().add(a, b).unwrap();
    func.add_update(a, sum).unwrap();
    refused(plan::plan(func, &CpuBackend).unwrap(), "`w`");
}

#[test]
fn an_executable_runs_on_the_store_it_was_made_for() {
    let mut own = Store::new();
    let mut exe = Executable::new(planned(TEXT), &mut own).unwrap();
    // One that has nothing, and one that has the same tensors in another order.
    let mut empty = Store::new();
    let mut other = Store::new();
    let mut reversed = Func::new("reversed");
    for (name, shape) in [("g", vec![8]), ("w", vec![8, 8])] {
        reversed.add_param(name, Role::Weight, TensorType::f32(shape));
    }
    other.add_params(&reversed).unwrap();
    for store in [&mut empty, &mut other] {
        let error = exe.run(store).unwrap_err();
        assert_eq!(error, RunError::OtherStore { function: "net".to_owned() });
        assert!(exe.run_profiled(store).is_err());
        assert!(exe.find_non_finite(store).is_err());
    }
    own.set("g", &[1.0; 8]).unwrap();
    exe.run(&mut own).unwrap();
    // A store is itself wherever it is moved, and may grow.
    let mut own = Box::new(own);
    own.add_params(&text::parse("func @more {\n  weight %m \"m\": f32[2]\n}\n").unwrap()).unwrap();
    exe.run(&mut own).unwrap();
    assert!(exe.result("y").unwrap().iter().all(|x| *x > 0.0));
}

#[test]
fn a_result_in_a_store_is_read_from_that_store() {
    let source = "func @f {\n  weight %w \"w\": f32[2]\n  %0 = exp %w : f32[2]\n  return \"old\" = %w\n  return \"y\" = %0\n}\n";
    let mut store = Store::new();
    let mut exe = Executable::new(planned(source), &mut store).unwrap();
    store.set("w", &[1.0, 2.0]).unwrap();
    exe.run(&mut store).unwrap();
    assert_eq!(exe.result_in(&store, "old").unwrap(), [1.0, 2.0]);
    let error = exe.result_in(&Store::new(), "old").unwrap_err();
    assert!(matches!(error, RunError::OtherStore { .. }), "{error:?}");
    assert!(matches!(exe.result("old"), Err(RunError::Unknown { .. })));
}
