//! The output projection with its loss.

use crossloom_compiler::passes::precision::{Policy, Precision};
use crossloom_compiler::{Context, Mode, compile};
use crossloom_ir::op::{LinearCrossEntropy, Op};
use crossloom_ir::{DType, Func};

use crate::support::{all_trained, apply, check_pass, mnemonics, only, parse};

const HEAD: &str = r#"func @f {
  input  %g "g": f32[]
  input  %h "h": f32[2, 3, 4]
  weight %w "w": f32[2, 4]
  input  %t "t": i32[6]
  head:
    %1 = linear %h, %w : f32[2, 3, 2]
    %2 = reshape %1 {shape = [6, 2]} : f32[6, 2]
    %3, %4, %losses = cross_entropy %2, %t : f32[], f32[6], f32[6]
    %5 = cross_entropy_grad %g, %2, %t, %4 : f32[6, 2]
"#;

fn fuse(body: &str) -> Func {
    let new = check_pass("head_fusion", &format!("{HEAD}{body}\n}}\n"));
    apply("dce", &new)
}

#[test]
fn logits_are_gone_where_only_the_loss_reads_them() {
    let func = fuse(
        "    %6 = matmul %5, %w : f32[6, 4]
    %7 = reshape %h {shape = [6, 4]} : f32[6, 4]
    %8 = matmul %5, %7 {transpose_a = true} : f32[2, 4]
  return \"loss\" = %3
  return \"losses\" = %losses
  return \"dh\" = %6
  return \"dw\" = %8",
    );
    assert_eq!(mnemonics(&func), ["reshape", "linear_cross_entropy"]);
    let expected = Op::from(LinearCrossEntropy { rounded: DType::F32, trained: true });
    assert_eq!(only(&func, "linear_cross_entropy").op, expected);
}

#[test]
fn a_frozen_weight_has_no_gradient_and_rounding_is_kept() {
    let func = fuse(
        "    %6 = convert %5 : bf16[6, 2]
    %7 = matmul %6, %w : f32[6, 4]
  return \"loss\" = %3
  return \"dh\" = %7",
    );
    assert_eq!(mnemonics(&func), ["reshape", "linear_cross_entropy"]);
    let expected = Op::from(LinearCrossEntropy { rounded: DType::Bf16, trained: false });
    assert_eq!(only(&func, "linear_cross_entropy").op, expected);
}

#[test]
fn what_others_read_stays() {
    for (body, what) in [
        (
            "    %6 = matmul %5, %w : f32[6, 4]
  return \"loss\" = %3
  return \"dh\" = %6
  return \"logits\" = %2",
            "the logits",
        ),
        (
            "    %6 = matmul %5, %w : f32[6, 4]
    %7 = reduce_sum %5 {axes = [0]} : f32[2]
  return \"loss\" = %3
  return \"dh\" = %6
  return \"db\" = %7",
            "their gradient",
        ),
        (
            "    %6 = affine %3 {mul = 2.0, add = 0.0} : f32[]
    %7 = matmul %5, %w : f32[6, 4]
  return \"loss\" = %6
  return \"dh\" = %7",
            "the loss, before there is a gradient",
        ),
        (
            "    %6 = affine %losses {mul = 2.0, add = 0.0} : f32[6]
    %7 = matmul %5, %w : f32[6, 4]
  return \"loss\" = %3
  return \"losses\" = %6
  return \"dh\" = %7",
            "those of the rows, before there is a gradient",
        ),
        ("  return \"loss\" = %3\n  return \"slopes\" = %5", "no product"),
    ] {
        let func = fuse(body);
        assert!(mnemonics(&func).contains(&"cross_entropy"), "{what}");
    }
}

#[test]
fn a_training_step_in_both_precisions_has_no_logits() {
    let func = parse(
        r#"func @f {
  input  %x "x": f32[2, 3, 4]
  weight %v "v": f32[4, 4]
  weight %w "w": f32[5, 4]
  input  %t "t": i32[6]
  head:
    %0 = linear %x, %v {act = silu} : f32[2, 3, 4], f32[2, 3, 4]
    %1 = linear %0, %w : f32[2, 3, 5]
    %2 = reshape %1 {shape = [6, 5]} : f32[6, 5]
    %3, %4, %losses = cross_entropy %2, %t : f32[], f32[6], f32[6]
  return "loss" = %3
}
"#
        .replace("%0 = linear", "%0, %9 = linear")
        .as_str(),
    );
    let spec = all_trained(&func, 1);
    for compute in [Precision::F32, Precision::Bf16] {
        let policy = Policy { compute, ..Policy::default() };
        let cx = Context { policy, mode: Mode::Train(&spec), ..Context::default() };
        let plan = compile(&func, &cx).unwrap().main.plan;
        let rounded = if compute == Precision::F32 { DType::F32 } else { DType::Bf16 };
        let head = only(&plan.func, "linear_cross_entropy");
        assert_eq!(head.op, LinearCrossEntropy { rounded, trained: true }.into());
        assert!(!mnemonics(&plan.func).contains(&"cross_entropy_grad"));
    }
}
