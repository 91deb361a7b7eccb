//! Sums around normalisations.

use crossloom_compiler::autodiff;
use crossloom_ir::Func;

use crate::support::{apply, assert_same, check_pass, mnemonics, only, parse, random_args, weights};

const HEAD: &str = r#"func @f {
  input  %x "x": f32[2, 3]
  input  %r "r": f32[2, 3]
  input  %s "s": f32[2]
  weight %g "g": f32[3]
  weight %b "b": f32[3]
  block.0:
"#;

fn fuse(body: &str) -> Func {
    check_pass("norm_fusion", &format!("{HEAD}{body}\n}}\n"))
}

#[test]
fn a_sum_and_the_norm_that_reads_it_are_one() {
    let func = fuse(
        "%1 = add %x, %r : f32[2, 3]
    %2, %3, %4 = layer_norm %1, %g, %b {eps = 0.1} : f32[2, 3], f32[2], f32[2]
  return \"y\" = %2
  return \"mean\" = %3
  return \"rstd\" = %4",
    );
    assert_eq!(mnemonics(&func), ["add_layer_norm"]);
    let func = fuse(
        "%1 = add %x, %r : f32[2, 3]
    %2, %3 = rms_norm %1, %g {eps = 0.1} : f32[2, 3], f32[2]
    %4 = add %1, %2 : f32[2, 3]
  return \"y\" = %4
  return \"rstd\" = %3",
    );
    assert_eq!(mnemonics(&func), ["add_rms_norm", "add"]);
}

#[test]
fn of_two_norms_of_a_sum_the_first_takes_it() {
    let func = fuse(
        "%1 = add %x, %r : f32[2, 3]
    %2, %3 = rms_norm %1, %g {eps = 0.1} : f32[2, 3], f32[2]
    %4, %5 = rms_norm %1, %b {eps = 0.1} : f32[2, 3], f32[2]
  return \"y\" = %2
  return \"z\" = %4",
    );
    assert_eq!(mnemonics(&func), ["add_rms_norm", "rms_norm"]);
}

#[test]
fn a_norm_whose_scale_is_made_later_stays() {
    let func = fuse(
        "%1 = add %x, %r : f32[2, 3]
    %2 = reduce_sum %x {axes = [0]} : f32[3]
    %3, %4 = rms_norm %1, %2 {eps = 0.1} : f32[2, 3], f32[2]
  return \"y\" = %3",
    );
    assert_eq!(mnemonics(&func), ["add", "reduce_sum", "rms_norm"]);
    let func = fuse(
        "%2 = reduce_sum %x {axes = [0]} : f32[3]
    %1 = add %x, %r : f32[2, 3]
    %3, %4 = rms_norm %1, %2 {eps = 0.1} : f32[2, 3], f32[2]
  return \"y\" = %3",
    );
    assert_eq!(mnemonics(&func), ["reduce_sum", "add_rms_norm"]);
}

#[test]
fn the_gradient_of_a_norm_takes_the_residual_gradient() {
    let func = fuse(
        "%1, %2 = rms_norm_grad %x, %r, %g, %s : f32[2, 3], f32[3]
    %3 = add %x, %1 : f32[2, 3]
  return \"dx\" = %3
  return \"dg\" = %2",
    );
    assert_eq!(mnemonics(&func), ["rms_norm_grad"]);
    assert_eq!(only(&func, "rms_norm_grad").inputs.len(), 5);
    let func = fuse(
        "%1, %2, %3 = layer_norm_grad %x, %r, %g, %s, %s : f32[2, 3], f32[3], f32[3]
    %4 = add %1, %x : f32[2, 3]
  return \"dx\" = %4
  return \"dg\" = %2
  return \"db\" = %3",
    );
    assert_eq!(mnemonics(&func), ["layer_norm_grad"]);
}

#[test]
fn a_gradient_that_is_read_twice_or_whose_scale_is_needed_early_stays() {
    for body in [
        "%1, %2 = rms_norm_grad %x, %r, %g, %s : f32[2, 3], f32[3]
    %3 = add %x, %1 : f32[2, 3]
  return \"dx\" = %3
  return \"alone\" = %1",
        "%1, %2 = rms_norm_grad %x, %r, %g, %s : f32[2, 3], f32[3]
    %3 = broadcast %2 {shape = [2, 3], axes = [1]} : f32[2, 3]
    %4 = add %3, %1 : f32[2, 3]
  return \"dx\" = %4",
        "%1, %2 = rms_norm_grad %x, %r, %g, %s : f32[2, 3], f32[3]
    %3 = exp %2 : f32[3]
    %4 = add %x, %1 : f32[2, 3]
  return \"dx\" = %4
  return \"dg\" = %3",
    ] {
        let func = fuse(body);
        only(&func, "add");
        assert_eq!(only(&func, "rms_norm_grad").inputs.len(), 4, "{body}");
    }
}

#[test]
fn a_gradient_is_not_added_to_the_gradient_of_its_own_scale_in_one_op() {
    // On a single row both have the same shape.
    let func = check_pass(
        "norm_fusion",
        r#"func @f {
  input  %x "x": f32[3]
  input  %s "s": f32[]
  weight %g "g": f32[3]
  "":
    %1, %2 = rms_norm_grad %x, %x, %g, %s : f32[3], f32[3]
    %3 = add %1, %2 : f32[3]
  return "r" = %3
}
"#,
    );
    assert_eq!(mnemonics(&func), ["rms_norm_grad", "add"]);
}

#[test]
fn a_sum_with_a_gradient_that_feeds_a_norm_is_fused_once() {
    let func = fuse(
        "%1, %2 = rms_norm_grad %x, %r, %g, %s : f32[2, 3], f32[3]
    %3 = add %x, %1 : f32[2, 3]
    %4, %5 = rms_norm %3, %g {eps = 0.1} : f32[2, 3], f32[2]
  return \"y\" = %4
  return \"dg\" = %2",
    );
    assert_eq!(mnemonics(&func), ["rms_norm_grad", "add_rms_norm"]);
}

#[test]
fn a_norm_scaled_by_a_gradient_that_moves_down_waits_for_it() {
    let func = fuse(
        "%1, %2 = rms_norm_grad %x, %r, %g, %s : f32[2, 3], f32[3]
    %3 = add %x, %r : f32[2, 3]
    %4 = add %x, %1 : f32[2, 3]
    %5, %6 = rms_norm %3, %2 {eps = 0.1} : f32[2, 3], f32[2]
  return \"y\" = %5
  return \"dx\" = %4",
    );
    assert_eq!(mnemonics(&func), ["add", "rms_norm_grad", "rms_norm"]);
}

#[test]
fn a_pre_norm_block_adds_its_residual_gradient_in_the_norm() {
    let func = parse(
        r#"func @f {
  input  %x "x": f32[2, 3]
  weight %h "h": f32[2, 3]
  weight %g "g": f32[3]
  weight %w "w": f32[3, 3]
  "":
    %0 = add %x, %h : f32[2, 3]
    %1, %2 = rms_norm %0, %g {eps = 0.1} : f32[2, 3], f32[2]
    %3 = linear %1, %w : f32[2, 3]
    %4 = add %0, %3 : f32[2, 3]
    %5 = mul %4, %4 : f32[2, 3]
    %6 = reduce_sum %5 {axes = [0, 1]} : f32[]
  return "loss" = %6
}
"#,
    );
    let grads = autodiff::gradient(&func, "loss", &weights(&func)).unwrap();
    let fused = apply("norm_fusion", &grads);
    assert_same(&fused, &grads, &random_args(&grads, 3));
    only(&fused, "add_rms_norm");
    assert_eq!(only(&fused, "rms_norm_grad").inputs.len(), 5);
    assert_eq!(fused.insts().len(), grads.insts().len() - 2);
}
