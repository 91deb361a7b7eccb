//! What the CPU refuses: plans that are not sound, or that ask of kernels what they cannot.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crossloom_compiler::plan::{self, Block, Place, Plan};
use crossloom_cpu::{CpuDevice, CpuTarget};
use crossloom_ir::{Func, Role, TensorType, Value, text};
use crossloom_runtime::{Executable, RunError};

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
    plan::plan(text::parse(source).unwrap_or_else(|e| panic!("{e}")), &CpuTarget).unwrap()
}

/// The plan is refused, and the error says that.
fn refused(plan: Plan, says: &str) {
    let error = Executable::new(&CpuDevice::shared(), plan).unwrap_err();
    assert!(matches!(error, RunError::Plan(_)), "{error:?}");
    assert!(error.to_string().contains(says), "{error}");
}

#[test]
fn a_plan_whose_values_overlap_or_leave_their_block_is_refused() {
    assert!(Executable::new(&CpuDevice::shared(), planned(TEXT)).is_ok());
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
    plan.places[value.index()] = Place { block: Block::Param(7), offset: 0, len: 128 };
    refused(plan, "of a block of 0 bytes");

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
    plan.scratch = usize::MAX / 2;
    refused(plan, "bytes of scratch");
}

#[test]
fn less_scratch_than_a_kernel_needs_is_refused() {
    let mut plan = planned(TEXT);
    assert!(plan.scratch > 0);
    plan.scratch -= 1;
    let error = Executable::new(&CpuDevice::shared(), plan).unwrap_err();
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
    refused(plan::plan(func, &CpuTarget).unwrap(), "`w`");
}

/// Its first operand is moved to integers: no kernel takes them, and none reads them as something else.
#[test]
fn a_kernel_is_bound_only_to_the_types_it_takes() {
    let source = "func @f {\n  input %x \"x\": i32[4]\n  %0 = to_float %x : f32[4]\n  return \"y\" = %0\n}\n";
    let mut plan = planned(source);
    plan.steps[0].kernel = "elementwise".to_owned();
    let error = Executable::new(&CpuDevice::shared(), plan).unwrap_err();
    let shown = error.to_string();
    assert!(matches!(error, RunError::NoKernel { .. }) && shown.contains("i32[4], f32[4]"), "{shown}");
    // Copies take elements of any type.
    let source = "func @f {\n  input %x \"x\": i32[2, 3]\n  %0 = transpose %x {perm = [1, 0]} : i32[3, 2]\n  return \"y\" = %0\n}\n";
    assert!(Executable::new(&CpuDevice::shared(), planned(source)).is_ok());
}

#[test]
fn a_plan_for_less_alignment_is_refused() {
    let mut plan = planned(TEXT);
    plan.alignment = 16;
    refused(plan, "aligned to 16 bytes");
}

/// A norm writes its statistics whether they are read or not.
#[test]
fn a_result_is_left_out_only_by_a_kernel_that_can() {
    let mut plan = planned(TEXT);
    let at = plan.steps.iter().position(|step| step.kernel == "add_rms_norm").unwrap();
    let unread = plan.func.inst(plan.steps[at].inst).outputs[2];
    plan.places[unread.index()].len = 0;
    plan::check(&plan).unwrap();
    refused(plan, "cannot leave out result 2");
}
