//! Folding: sums of padded parts.

use crossloom_compiler::Context;
use crossloom_compiler::autodiff;
use crossloom_compiler::passes::{AFTER_AUTODIFF, run_all};
use crossloom_ir::Func;

use crate::support::{assert_same, check_pass, insts, mnemonics, only, parse, random_args, weights};

fn join(body: &str) -> Func {
    check_pass(
        "fold",
        &format!(
            "func @f {{\n  input %x \"x\": f32[2, 2]\n  input %y \"y\": f32[2, 1]\n  input %w \"w\": f32[2, 4]\n  \"\":\n{body}\n}}\n"
        ),
    )
}

const X_FIRST: &str = "%1 = pad %x {axis = 1, before = 0, after = 2} : f32[2, 4]\n";
const X_LAST: &str = "%2 = pad %x {axis = 1, before = 2, after = 0} : f32[2, 4]\n";
const Y_THIRD: &str = "%3 = pad %y {axis = 1, before = 2, after = 1} : f32[2, 4]\n";

#[test]
fn parts_of_the_whole_are_their_concatenation() {
    for sum in ["add %1, %2", "add %2, %1"] {
        let func = join(&format!("{X_FIRST}{X_LAST}%4 = {sum} : f32[2, 4]\n return \"r\" = %4"));
        assert_eq!(mnemonics(&func), ["concat"]);
    }
}

#[test]
fn parts_of_a_part_are_padded_once() {
    let func = join(&format!("{X_FIRST}{Y_THIRD}%4 = add %3, %1 : f32[2, 4]\n return \"r\" = %4"));
    assert_eq!(mnemonics(&func), ["concat", "pad"]);
}

#[test]
fn one_other_operand_is_added_and_two_keep_the_tree() {
    let func = join(&format!(
        "{X_FIRST}{X_LAST}%4 = add %1, %w : f32[2, 4]\n %5 = add %2, %4 : f32[2, 4]\n return \"r\" = %5"
    ));
    assert_eq!(mnemonics(&func), ["concat", "add"]);
    let func = join(&format!(
        "{X_FIRST}{X_LAST}%4 = add %1, %w : f32[2, 4]\n %5 = add %2, %4 : f32[2, 4]\n %6 = add %5, %w : f32[2, 4]\n return \"r\" = %6"
    ));
    assert_eq!(func.insts().len(), 5);
}

#[test]
fn a_part_that_fits_nowhere_is_added() {
    let func = join(&format!(
        "{X_FIRST}{X_LAST}{Y_THIRD}%4 = add %1, %3 : f32[2, 4]\n %5 = add %2, %4 : f32[2, 4]\n return \"r\" = %5"
    ));
    assert_eq!(mnemonics(&func), ["pad", "concat", "add"]);
}

#[test]
fn what_something_else_reads_stays() {
    for result in ["%1", "%4"] {
        let func = join(&format!(
            "{X_FIRST}{X_LAST}%4 = add %1, %w : f32[2, 4]\n %5 = add %4, %2 : f32[2, 4]\n return \"r\" = %5\n return \"s\" = {result}"
        ));
        assert_eq!(mnemonics(&func), ["pad", "pad", "add", "add"]);
    }
}

#[test]
fn parts_that_overlap_leave_a_gap_or_lie_along_other_axes_stay() {
    for other in [
        "%2 = pad %x {axis = 1, before = 1, after = 1} : f32[2, 4]",
        "%2 = pad %y {axis = 1, before = 3, after = 0} : f32[2, 4]",
    ] {
        let func = join(&format!("{X_FIRST}{other}\n %4 = add %1, %2 : f32[2, 4]\n return \"r\" = %4"));
        assert_eq!(mnemonics(&func), ["pad", "pad", "add"]);
    }
    let func = check_pass(
        "fold",
        "func @f {\n  input %x \"x\": f32[1, 2]\n  input %y \"y\": f32[2, 1]\n  \"\":
    %1 = pad %x {axis = 0, before = 0, after = 1} : f32[2, 2]
    %2 = pad %y {axis = 1, before = 1, after = 0} : f32[2, 2]
    %3 = add %1, %2 : f32[2, 2]
  return \"r\" = %3\n}\n",
    );
    assert_eq!(func.insts().len(), 3);
}

#[test]
fn the_gradient_of_a_value_that_was_cut_up_is_one_concatenation() {
    let func = parse(
        r#"func @f {
  weight %x "x": f32[2, 6]
  "":
    %1 = slice %x {axis = 1, start = 0, len = 2} : f32[2, 2]
    %2 = slice %x {axis = 1, start = 2, len = 1} : f32[2, 1]
    %3 = slice %x {axis = 1, start = 3, len = 3} : f32[2, 3]
    %4 = exp %1 : f32[2, 2]
    %5 = exp %2 : f32[2, 1]
    %6 = exp %3 : f32[2, 3]
    %7 = reduce_sum %4 {axes = [0, 1]} : f32[]
    %8 = reduce_sum %5 {axes = [0, 1]} : f32[]
    %9 = reduce_sum %6 {axes = [0, 1]} : f32[]
    %10 = add %7, %8 : f32[]
    %11 = add %10, %9 : f32[]
  return "loss" = %11
}
"#,
    );
    let grads = autodiff::gradient(&func, "loss", &weights(&func)).unwrap();
    let new = run_all(grads.clone(), &AFTER_AUTODIFF, &Context::default()).unwrap();
    assert_same(&new, &grads, &random_args(&grads, 4));
    assert!(insts(&new, "pad").is_empty());
    let whole = only(&new, "concat");
    assert_eq!((whole.inputs.len(), Some(whole.outputs[0])), (3, new.result("grad.x")));
}
