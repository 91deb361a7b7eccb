//! Element-wise regions.

use std::fmt::Write;

use crossloom_compiler::Context;
use crossloom_compiler::autodiff;
use crossloom_compiler::passes::{AFTER_AUTODIFF, BEFORE_AUTODIFF, run_all};
use crossloom_ir::op::{BinaryKind, FusedElementwise, Load, Op};
use crossloom_ir::{Func, Role, TensorType};

use crate::support::{apply, assert_same, check_pass, insts, mnemonics, only, parse, random_args, weights};

fn fuse(body: &str) -> Func {
    check_pass(
        "elementwise_fusion",
        &format!(
            "func @f {{\n  input %x \"x\": f32[2, 3]\n  input %y \"y\": f32[2, 3]\n  input %row \"row\": f32[3]\n  input %col \"col\": f32[2]\n  input %one \"one\": f32[]\n  a:\n{body}\n}}\n"
        ),
    )
}

fn fused(func: &Func) -> FusedElementwise {
    let Op::FusedElementwise(op) = &only(func, "fused_elementwise").op else { panic!() };
    op.clone()
}

#[test]
fn a_tree_is_one_sweep_where_its_root_stood() {
    let func = fuse(
        "%1 = exp %x : f32[2, 3]
    %2 = mul %1, %y : f32[2, 3]
    %3 = reduce_sum %y {axes = [1]} : f32[2]
    %4 = tanh %y : f32[2, 3]
  b:
    %5 = sub %2, %4 : f32[2, 3]
  return \"r\" = %5
  return \"s\" = %3",
    );
    assert_eq!(mnemonics(&func), ["reduce_sum", "fused_elementwise"]);
    assert_eq!((fused(&func).body.len(), fused(&func).stores.len()), (4, 1));
    assert_eq!(only(&func, "fused_elementwise").scope.as_str(), "b");
}

#[test]
fn broadcasts_and_constants_are_loads() {
    let func = fuse(
        "%1 = broadcast %row {shape = [2, 3], axes = [1]} : f32[2, 3]
    %2 = broadcast %col {shape = [2, 3], axes = [0]} : f32[2, 3]
    %3 = broadcast %one {shape = [2, 3], axes = []} : f32[2, 3]
    %4 = constant {value = 0.25, shape = [2, 3]} : f32[2, 3]
    %5 = mul %x, %1 : f32[2, 3]
    %6 = add %5, %2 : f32[2, 3]
    %7 = max %6, %3 : f32[2, 3]
    %8 = min %7, %4 : f32[2, 3]
  return \"r\" = %8",
    );
    let op = fused(&func);
    assert_eq!(op.loads, [Load::Full, Load::Row, Load::Column, Load::Scalar, Load::Scalar]);
    assert_eq!(only(&func, "constant").outputs.len(), 1);
    assert_eq!(func.shape(only(&func, "constant").outputs[0]), [0usize; 0]);
    // The broadcasts are dead now.
    assert_eq!(insts(&crate::support::apply("dce", &func), "broadcast").len(), 0);
}

#[test]
fn one_op_with_a_broadcast_is_a_region_too() {
    let func = fuse(
        "%1 = broadcast %row {shape = [2, 3], axes = [1]} : f32[2, 3]\n %2 = mul %x, %1 : f32[2, 3]\n return \"r\" = %2",
    );
    assert_eq!(fused(&func).loads, [Load::Full, Load::Row]);
}

#[test]
fn a_broadcast_that_no_load_can_do_is_read_in_full() {
    let func = check_pass(
        "elementwise_fusion",
        r#"func @f {
  input %x "x": f32[2, 3, 4]
  input %m "m": f32[3]
  input %n "n": f32[3, 4]
  "":
    %1 = broadcast %m {shape = [2, 3, 4], axes = [1]} : f32[2, 3, 4]
    %2 = broadcast %n {shape = [2, 3, 4], axes = [1, 2]} : f32[2, 3, 4]
    %3 = mul %x, %1 : f32[2, 3, 4]
    %4 = mul %3, %2 : f32[2, 3, 4]
  return "r" = %4
}
"#,
    );
    assert_eq!(fused(&func).loads, [Load::Full, Load::Full, Load::Full]);
    assert_eq!(insts(&func, "broadcast").len(), 2);
}

#[test]
fn a_constant_that_something_else_reads_is_made_once() {
    let func = fuse(
        "%1 = constant {value = 0.5, shape = [2, 3]} : f32[2, 3]
    %2 = max %x, %1 : f32[2, 3]
    %3 = reduce_sum %1 {axes = [0]} : f32[3]
  return \"r\" = %2
  return \"s\" = %3",
    );
    assert_eq!(mnemonics(&func), ["constant", "max", "reduce_sum"]);
}

#[test]
fn equal_constants_of_several_regions_are_one_number() {
    let func = fuse(
        "%1 = constant {value = 0.5, shape = [2, 3]} : f32[2, 3]
    %2 = constant {value = 0.5, shape = [3]} : f32[3]
    %3 = max %x, %1 : f32[2, 3]
    %4 = max %row, %2 : f32[3]
  return \"r\" = %3
  return \"s\" = %4",
    );
    assert_eq!(mnemonics(&func), ["constant", "fused_elementwise", "fused_elementwise"]);
}

#[test]
fn what_is_read_outside_ends_a_tree() {
    let func = fuse(
        "%1 = exp %x : f32[2, 3]
    %2 = tanh %1 : f32[2, 3]
    %3 = mul %2, %y : f32[2, 3]
    %4 = reduce_sum %2 {axes = [1]} : f32[2]
  return \"r\" = %3
  return \"s\" = %4",
    );
    assert_eq!(mnemonics(&func), ["fused_elementwise", "mul", "reduce_sum"]);
    let func =
        fuse("%1 = exp %x : f32[2, 3]\n %2 = tanh %1 : f32[2, 3]\n return \"r\" = %2\n return \"s\" = %1");
    assert_eq!(mnemonics(&func), ["exp", "tanh"]);
}

#[test]
fn a_value_read_twice_inside_is_computed_once() {
    let func = fuse(
        "%1 = exp %x : f32[2, 3]
    %2 = tanh %1 : f32[2, 3]
    %3 = sin %1 : f32[2, 3]
    %4 = mul %2, %3 : f32[2, 3]
  return \"r\" = %4",
    );
    assert_eq!((fused(&func).body.len(), fused(&func).loads.len()), (4, 1));
}

#[test]
fn shapes_do_not_mix() {
    let func = fuse(
        "%1 = exp %x : f32[2, 3]
    %2 = reshape %1 {shape = [6]} : f32[6]
    %3 = tanh %2 : f32[6]
    %4 = sin %3 : f32[6]
  return \"r\" = %4",
    );
    assert_eq!(mnemonics(&func), ["exp", "reshape", "fused_elementwise"]);
}

#[test]
fn a_dead_tree_is_no_error() {
    let func = fuse("%1 = exp %x : f32[2, 3]\n %2 = tanh %1 : f32[2, 3]\n return \"r\" = %x");
    assert_eq!(mnemonics(&func), ["fused_elementwise"]);
}

#[test]
fn siblings_that_free_an_operand_share_a_sweep() {
    let func = fuse(
        "%1 = reshape %x {shape = [6]} : f32[6]
    %2 = reshape %y {shape = [6]} : f32[6]
    %3 = exp %1 : f32[6]
    %4 = mul %1, %2 : f32[6]
  return \"r\" = %3
  return \"s\" = %4",
    );
    assert_eq!(fused(&func).stores.len(), 2);
    // Parameters never die: the second result would only be held longer.
    let func =
        fuse("%1 = exp %x : f32[2, 3]\n %2 = mul %x, %y : f32[2, 3]\n return \"r\" = %1\n return \"s\" = %2");
    assert_eq!(mnemonics(&func), ["exp", "mul"]);
}

#[test]
fn a_sibling_that_needs_something_later_waits() {
    let func = fuse(
        "%1 = reshape %x {shape = [6]} : f32[6]
    %2 = exp %1 : f32[6]
    %3 = reduce_sum %2 {axes = [0]} : f32[]
    %4 = broadcast %3 {shape = [6], axes = []} : f32[6]
    %5 = mul %1, %4 : f32[6]
  return \"r\" = %5",
    );
    assert_eq!(mnemonics(&func), ["reshape", "exp", "reduce_sum", "broadcast", "fused_elementwise"]);
}

#[test]
fn regions_stay_small_enough_for_the_cache() {
    let mut source = String::from("func @f {\n  input %x \"x\": f32[4]\n  \"\":\n    %0 = exp %x : f32[4]\n");
    for i in 0..60 {
        let _ = writeln!(source, "    %{} = tanh %{i} : f32[4]", i + 1);
    }
    source.push_str("  return \"r\" = %60\n}\n");
    let func = check_pass("elementwise_fusion", &source);
    let sizes: Vec<usize> = insts(&func, "fused_elementwise")
        .iter()
        .map(|inst| if let Op::FusedElementwise(op) = &inst.op { op.body.len() } else { 0 })
        .collect();
    assert_eq!(sizes.iter().sum::<usize>(), 61);
    assert!(sizes.iter().all(|&size| size <= 24), "{sizes:?}");
    // As many operands as a sum of 20 tensors has do not fit either.
    let mut source = String::from("func @f {\n");
    for i in 0..20 {
        let _ = writeln!(source, "  input %{i} \"x{i}\": f32[4]");
    }
    source.push_str("  \"\":\n    %20 = add %0, %1 : f32[4]\n");
    for i in 2..20 {
        let _ = writeln!(source, "    %{} = add %{}, %{i} : f32[4]", 19 + i, 18 + i);
    }
    source.push_str("  return \"r\" = %38\n}\n");
    let func = check_pass("elementwise_fusion", &source);
    assert!(func.insts().iter().all(|inst| inst.inputs.len() <= 12));
    assert_eq!(func.insts().len(), 2);
}

#[test]
fn the_backward_of_a_gated_layer_is_one_region_with_two_results() {
    let func = parse(
        r#"func @mlp {
  input  %x "x": f32[2, 3]
  weight %a "gate": f32[4, 3]
  weight %b "up": f32[4, 3]
  weight %c "down": f32[3, 4]
  mlp:
    %1 = linear %x, %a : f32[2, 4]
    %2 = silu %1 : f32[2, 4]
    %3 = linear %x, %b : f32[2, 4]
    %4 = mul %2, %3 : f32[2, 4]
    %5 = linear %4, %c : f32[2, 3]
  "":
    %6 = mul %5, %5 : f32[2, 3]
    %7 = reduce_sum %6 {axes = [0, 1]} : f32[]
  return "loss" = %7
}
"#,
    );
    for before in [&BEFORE_AUTODIFF[..], &[]] {
        let forward = run_all(func.clone(), before, &Context::default()).unwrap();
        let grads = autodiff::gradient(&forward, "loss", &weights(&forward)).unwrap();
        let new = run_all(grads.clone(), &AFTER_AUTODIFF, &Context::default()).unwrap();
        assert_same(&new, &grads, &random_args(&grads, 5));
        let pair = insts(&new, "fused_elementwise").into_iter().filter(|inst| inst.outputs.len() == 2);
        let pair: Vec<_> = pair.filter(|inst| new.shape(inst.outputs[0]) == [2, 4]).collect();
        assert_eq!(pair.len(), 1, "{}", crossloom_ir::text::print(&new));
        let Op::FusedElementwise(op) = &pair[0].op else { panic!() };
        // dh, up, the gate's value and what it was made of; dup = dh gate, dgate = dh up silu'(pre).
        assert_eq!((op.loads.len(), op.body.len()), (4, 4));
    }
}

/// Zero and minus zero are equal and divide into opposite infinities; NaN is not equal to itself.
#[test]
fn constants_are_told_apart_by_their_bits() {
    let mut func = Func::new("constants");
    let x = func.add_param("x", Role::Input, TensorType::f32([2, 3]));
    let b = &mut func.builder();
    let [zero, minus, nan] = [0.0, -0.0, f64::NAN].map(|number| b.constant(number, &[2, 3]).unwrap());
    let (high, low) = (b.div(x, zero).unwrap(), b.div(x, minus).unwrap());
    let negative = b.binary(BinaryKind::LessThan, high, low).unwrap();
    let never = b.binary(BinaryKind::LessThan, x, nan).unwrap();
    let sum = b.add(negative, never).unwrap();
    func.add_result("r", sum);
    let new = apply("elementwise_fusion", &func);
    assert_same(&new, &func, &random_args(&func, 4));
    let op = fused(&new);
    assert_eq!((op.loads.len(), op.body.len()), (4, 5));
}
