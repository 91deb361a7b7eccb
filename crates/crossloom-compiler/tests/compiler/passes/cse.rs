//! Common subexpressions.

use crate::support::{check_pass, insts, mnemonics, only};

#[test]
fn equal_instructions_are_one_whose_scope_is_the_first() {
    let func = check_pass(
        "cse",
        r#"func @f {
  input %x "x": f32[2, 3]
  a:
    %1 = affine %x {mul = 2.0, add = 0.0} : f32[2, 3]
    %2 = exp %1 : f32[2, 3]
  b:
    %3 = affine %x {mul = 2.0, add = 0.0} : f32[2, 3]
    %4 = exp %3 : f32[2, 3]
    %5 = add %2, %4 : f32[2, 3]
  return "r" = %5
}
"#,
    );
    assert_eq!(mnemonics(&func), ["affine", "exp", "add"]);
    assert_eq!(only(&func, "affine").scope.as_str(), "a");
    let sum = only(&func, "add");
    assert_eq!(sum.inputs[0], sum.inputs[1]);
}

#[test]
fn all_outputs_are_shared() {
    let func = check_pass(
        "cse",
        r#"func @f {
  input  %x "x": f32[2, 3]
  weight %g "g": f32[3]
  "":
    %1, %2 = rms_norm %x, %g {eps = 0.1} : f32[2, 3], f32[2]
    %3, %4 = rms_norm %x, %g {eps = 0.1} : f32[2, 3], f32[2]
    %5 = add %1, %3 : f32[2, 3]
    %6 = add %2, %4 : f32[2]
  return "y" = %5
  return "s" = %6
}
"#,
    );
    only(&func, "rms_norm");
}

#[test]
fn attributes_and_the_order_of_operands_count() {
    let func = check_pass(
        "cse",
        r#"func @f {
  input %x "x": f32[2]
  input %y "y": f32[2]
  "":
    %1 = affine %x {mul = 2.0, add = 0.0} : f32[2]
    %2 = affine %x {mul = 2.0, add = -0.0} : f32[2]
    %3 = affine %x {mul = 2.0000000000000004, add = 0.0} : f32[2]
    %4 = sub %x, %y : f32[2]
    %5 = sub %y, %x : f32[2]
    %6 = constant {value = 0.0, shape = [2]} : f32[2]
    %7 = constant {value = 0.0, shape = [1, 2]} : f32[1, 2]
  return "1" = %1
  return "2" = %2
  return "3" = %3
  return "4" = %4
  return "5" = %5
  return "6" = %6
  return "7" = %7
}
"#,
    );
    assert_eq!(func.insts().len(), 7);
    assert_eq!(insts(&func, "affine").len(), 3);
}
