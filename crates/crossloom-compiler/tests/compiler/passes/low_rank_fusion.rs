//! The branches of all taps in the shared projector's sums.

use crossloom_ir::op::{Activation, LowRankLinear, Op};
use crossloom_ir::{DType, Func};

use crate::support::{check_pass, mnemonics, only};

const HEAD: &str = r#"func @f {
  input  %x "x": f32[6, 4]
  input  %l0 "l0": f32[3, 2]
  input  %l1 "l1": f32[3, 2]
  weight %w "w": f32[5, 4]
  weight %b "b": f32[5]
  weight %u0 "u0": f32[5, 2]
  weight %u1 "u1": f32[5, 2]
  projector:
    %1 = linear %l0, %u0 : f32[3, 5]
    %2 = linear %l1, %u1 : f32[3, 5]
    %3 = concat %1, %2 {axis = 0} : f32[6, 5]
"#;

fn fuse(body: &str) -> Func {
    check_pass("low_rank_fusion", &format!("{HEAD}{body}\n}}\n"))
}

#[test]
fn branches_become_operands() {
    let func = fuse(
        "    %4 = linear %x, %w, %b, %3 {bias = true, residual = true} : f32[6, 5]
  return \"y\" = %4",
    );
    let op = LowRankLinear { taps: 2, bias: true, act: None, scale: 1.0, rounded: DType::F32 };
    assert_eq!(mnemonics(&func), ["low_rank_linear"]);
    assert_eq!(only(&func, "low_rank_linear").op, Op::from(op));
    let func = fuse(
        "    %4 = affine %3 {mul = 0.5, add = 0.0} : f32[6, 5]
    %5 = linear %x, %w, %4 {residual = true} : f32[6, 5]
    %6 = gelu_tanh %5 : f32[6, 5]
    %7 = add %5, %6 : f32[6, 5]
  return \"y\" = %7",
    );
    let act = Some(Activation::GeluTanh);
    assert_eq!(mnemonics(&func), ["low_rank_linear", "add"]);
    let op = LowRankLinear { act, scale: 0.5, bias: false, ..op };
    assert_eq!(only(&func, "low_rank_linear").op, Op::from(op));
}

#[test]
fn branches_that_are_read_or_rounded_otherwise_stay() {
    for body in [
        "    %4 = linear %x, %w, %3 {residual = true} : f32[6, 5]
  return \"y\" = %4
  return \"branches\" = %3",
        "    %4 = linear %x, %w, %3 {residual = true} : f32[6, 5]
  return \"y\" = %4
  return \"branch\" = %1",
        "    %4 = affine %3 {mul = 0.5, add = 1.0} : f32[6, 5]
    %5 = linear %x, %w, %4 {residual = true} : f32[6, 5]
  return \"y\" = %5",
        "    %4 = affine %3 {mul = 0.5, add = 0.0} : bf16[6, 5]
    %5 = linear %x, %w, %4 {residual = true} : f32[6, 5]
  return \"y\" = %5",
    ] {
        assert!(mnemonics(&fuse(body)).contains(&"concat"), "{body}");
    }
}

#[test]
fn a_sum_that_is_held_in_16_bits_keeps_its_activation() {
    let func = fuse(
        "    %4 = linear %x, %w, %3 {residual = true} : bf16[6, 5]
    %5 = silu %4 : f32[6, 5]
  return \"y\" = %5",
    );
    assert_eq!(mnemonics(&func), ["low_rank_linear", "silu"]);
}
