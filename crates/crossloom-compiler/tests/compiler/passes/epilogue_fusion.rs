//! Activations and residual sums as part of a linear layer.

use crossloom_ir::Func;
use crossloom_ir::op::{Activation, Linear, Op};

use crate::support::{check_pass, mnemonics, only};

fn fuse(body: &str) -> Func {
    check_pass(
        "epilogue_fusion",
        &format!(
            "func @f {{\n  input %x \"x\": f32[2, 3]\n  weight %w \"w\": f32[3, 3]\n  weight %b \"b\": f32[3]\n  block.0:\n{body}\n}}\n"
        ),
    )
}

fn linear(func: &Func) -> Linear {
    let Op::Linear(op) = only(func, "linear").op else { panic!() };
    op
}

#[test]
fn an_activation_is_absorbed() {
    let func = fuse(
        "%1 = linear %x, %w, %b {bias = true} : f32[2, 3]\n block.1:\n %2 = gelu_tanh %1 : f32[2, 3]\n return \"r\" = %2",
    );
    assert_eq!(mnemonics(&func), ["linear"]);
    assert_eq!(linear(&func), Linear { bias: true, act: Some(Activation::GeluTanh), residual: false });
    assert_eq!(only(&func, "linear").scope.as_str(), "block.0");
}

#[test]
fn a_residual_sum_is_absorbed_from_either_side() {
    for sum in ["add %x, %1", "add %1, %x"] {
        let func =
            fuse(&format!("%1 = linear %x, %w : f32[2, 3]\n %2 = {sum} : f32[2, 3]\n return \"r\" = %2"));
        assert_eq!(mnemonics(&func), ["linear"]);
        assert_eq!(linear(&func), Linear { bias: false, act: None, residual: true });
    }
}

#[test]
fn the_layer_moves_down_to_a_residual_that_is_made_later() {
    let func = fuse(
        "%1 = linear %x, %w : f32[2, 3]\n %2 = exp %x : f32[2, 3]\n %3 = add %1, %2 : f32[2, 3]\n return \"r\" = %3",
    );
    assert_eq!(mnemonics(&func), ["exp", "linear"]);
}

#[test]
fn of_two_layers_one_takes_the_sum() {
    let func = fuse(
        "%1 = linear %x, %w : f32[2, 3]\n %2 = linear %1, %w : f32[2, 3]\n %3 = linear %x, %w, %b {bias = true} : f32[2, 3]\n %4 = add %2, %3 : f32[2, 3]\n return \"r\" = %4",
    );
    assert_eq!(mnemonics(&func), ["linear", "linear", "linear"]);
}

#[test]
fn a_layer_that_is_read_twice_stays() {
    for body in [
        "%1 = linear %x, %w : f32[2, 3]\n %2 = silu %1 : f32[2, 3]\n return \"r\" = %2\n return \"pre\" = %1",
        "%1 = linear %x, %w : f32[2, 3]\n %2 = silu %1 : f32[2, 3]\n %3 = add %2, %1 : f32[2, 3]\n return \"r\" = %3",
        "%1 = linear %x, %w : f32[2, 3]\n %2 = add %1, %1 : f32[2, 3]\n return \"r\" = %2",
    ] {
        assert_eq!(linear(&fuse(body)), Linear::default(), "{body}");
    }
}

#[test]
fn other_element_wise_ops_and_fused_layers_stay() {
    for body in [
        "%1 = linear %x, %w : f32[2, 3]\n %2 = tanh %1 : f32[2, 3]\n return \"r\" = %2",
        "%1 = linear %x, %w : f32[2, 3]\n %2 = sub %1, %x : f32[2, 3]\n return \"r\" = %2",
    ] {
        assert_eq!(fuse(body).insts().len(), 2, "{body}");
    }
    let func = fuse(
        "%1, %2 = linear %x, %w {act = silu} : f32[2, 3], f32[2, 3]\n %3 = silu %1 : f32[2, 3]\n return \"r\" = %3",
    );
    assert_eq!(mnemonics(&func), ["linear", "silu"]);
}
