//! The shared projector over all taps.

use std::fmt::Write;

use crossloom_compiler::Context;
use crossloom_compiler::autodiff;
use crossloom_compiler::passes::{BEFORE_AUTODIFF, run_all};
use crossloom_ir::op::{Activation, Linear, Op};
use crossloom_ir::{Func, InstData};

use crate::support::{apply, assert_same, insts, parse, random_args, weights};

/// `taps` taps of two samples and three tokens through a projector 4 -> 6 -> 5.
fn amp(taps: usize, attach: &str) -> Func {
    let mut head = String::from("func @amp {\n");
    let mut operands: Vec<String> = Vec::new();
    for k in 0..taps {
        let _ = writeln!(head, "  input %x{k} \"x{k}\": f32[2, 3, 4]");
        operands.push(format!("%x{k}"));
    }
    head.push_str("  weight %w1 \"w1\": f32[6, 4]\n  weight %b1 \"b1\": f32[6]\n  weight %w2 \"w2\": f32[5, 6]\n  weight %b2 \"b2\": f32[5]\n");
    operands.extend(["%w1", "%b1", "%w2", "%b2"].map(str::to_owned));
    for k in 0..taps {
        let shapes: &[&str] = match attach {
            "parallel" => &["2, 4", "5, 2"],
            "per_linear" => &["2, 4", "6, 2", "2, 6", "5, 2"],
            _ => &[],
        };
        for (i, shape) in shapes.iter().enumerate() {
            let _ = writeln!(head, "  weight %l{k}_{i} \"tap{k}.lora{i}\": f32[{shape}]");
            operands.push(format!("%l{k}_{i}"));
        }
    }
    let operands = operands.join(", ");
    let ty = format!("f32[{taps}, 2, 3, 5]");
    parse(&format!(
        "{head}  amp:\n    %v = amp_project {operands} {{taps = {taps}, act = gelu_erf, scale = 0.5, bias = true, attach = {attach}}} : {ty}
  \"\":
    %sq = mul %v, %v : {ty}
    %loss = reduce_sum %sq {{axes = [0, 1, 2, 3]}} : f32[]
  return \"loss\" = %loss
  return \"v\" = %v
}}
"
    ))
}

/// The linear layers that apply a weight of that name.
fn layers<'f>(func: &'f Func, weight: &str) -> Vec<&'f InstData> {
    let weight = func.param(weight).unwrap().value;
    insts(func, "linear").into_iter().filter(|inst| inst.inputs[1] == weight).collect()
}

#[test]
fn every_projector_layer_is_one_product_whatever_the_number_of_taps() {
    for attach in ["none", "parallel", "per_linear"] {
        for taps in [1, 2, 7] {
            let func = amp(taps, attach);
            let new = apply("amp_batching", &func);
            assert_same(&new, &func, &random_args(&func, 11));
            assert!(insts(&new, "amp_project").is_empty());
            for weight in ["w1", "w2"] {
                let found = layers(&new, weight);
                assert_eq!(found.len(), 1, "{attach}, {taps} taps, {weight}");
                // It sees the rows of all taps.
                assert_eq!(new.shape(found[0].inputs[0])[0], taps * 2 * 3);
            }
            let matrices = match attach {
                "parallel" => 2,
                "per_linear" => 4,
                _ => 0,
            };
            assert_eq!(insts(&new, "linear").len(), 2 + taps * matrices);
        }
    }
}

#[test]
fn activation_and_branches_go_into_the_products() {
    let func = run_all(amp(3, "parallel"), &BEFORE_AUTODIFF, &Context::default()).unwrap();
    let epilogue = |weight: &str| {
        let Op::Linear(op) = layers(&func, weight)[0].op else { panic!() };
        op
    };
    assert_eq!(epilogue("w1"), Linear { bias: true, act: Some(Activation::GeluErf), residual: false });
    assert_eq!(epilogue("w2"), Linear { bias: true, act: None, residual: true });
}

#[test]
fn so_is_every_gradient_of_the_projector() {
    for taps in [1, 4] {
        let func = amp(taps, "parallel");
        let plain = autodiff::gradient(&func, "loss", &weights(&func)).unwrap();
        let forward = run_all(func, &BEFORE_AUTODIFF, &Context::default()).unwrap();
        let grads = autodiff::gradient(&forward, "loss", &weights(&forward)).unwrap();
        assert_same(&grads, &plain, &random_args(&grads, 12));
        for weight in ["w1", "w2"] {
            let grad = grads.result(&format!("grad.{weight}")).unwrap();
            let (_, product) = grads.def_inst(grad).unwrap();
            assert_eq!(product.op.mnemonic(), "matmul", "{weight}");
            assert_eq!(grads.shape(product.inputs[0])[0], taps * 6);
        }
    }
}
