//! The pools of the visual side.

use std::fmt::Write;

use crossloom_compiler::Context;
use crossloom_compiler::autodiff;
use crossloom_compiler::passes::{AFTER_AUTODIFF, BEFORE_AUTODIFF, run_all};
use crossloom_ir::op::{AttnPool, Op};
use crossloom_ir::{Func, InstData, Value};

use crate::support::{
    apply, assert_alike, assert_same, check_pass, insts, mnemonics, parse, random_args, weights,
};

/// A hidden state through `points` gated injections of the same two taps, with a linear layer before each.
fn decoder(points: usize, attention: &str, shared: bool) -> Func {
    let mut head = String::from(
        "func @agf {\n  input %h0 \"h\": f32[2, 3, 4]\n  input %m \"mask\": f32[2, 3]\n  input %i \"index\": i32[2, 2]\n  weight %v \"v\": f32[2, 2, 2, 4]\n  weight %w \"w\": f32[4, 4]\n",
    );
    let mut body = String::new();
    for p in 0..points {
        let gate = if shared { 0 } else { p };
        let mut names: Vec<(String, &str)> = vec![(format!("g{gate}_qv"), "4"), (format!("g{gate}_qh"), "4")];
        if attention != "none" {
            let shapes = ["4, 4", "4", "4, 4", "4, 4", "4", "4, 4", "4"];
            names.extend(shapes.iter().enumerate().map(|(i, shape)| (format!("g{gate}_{i}"), *shape)));
        }
        names.extend([(format!("g{gate}_cw"), "1, 8"), (format!("g{gate}_cb"), "1")]);
        if !shared || p == 0 {
            for (name, shape) in &names {
                let _ = writeln!(head, "  weight %{name} \"{name}\": f32[{shape}]");
            }
        }
        let operands: Vec<String> = names.iter().map(|(name, _)| format!("%{name}")).collect();
        let (operands, heads) = (operands.join(", "), if attention == "none" { 1 } else { 2 });
        let _ = write!(
            body,
            "  layer.{p}:
    %l{p} = linear %h{p}, %w : f32[2, 3, 4]
  inject.{p}.agf:
    %g{p} = agf_gate %l{p}, %v, %m, {operands} {{heads = {heads}, attention = {attention}}} : f32[2, 2]
    %h{} = agf_inject %l{p}, %g{p}, %v, %i : f32[2, 3, 4]
",
            p + 1
        );
    }
    parse(&format!(
        "{head}{body}  \"\":\n    %sq = mul %h{points}, %h{points} : f32[2, 3, 4]\n    %loss = reduce_sum %sq {{axes = [0, 1, 2]}} : f32[]\n  return \"loss\" = %loss\n}}\n"
    ))
}

/// The index stays distinct.
fn args(func: &Func) -> Vec<crossloom_ir::Tensor<f64>> {
    let mut args = random_args(func, 21);
    args[2].data.copy_from_slice(&[0.0, 2.0, 1.0, -1.0]);
    args[1].data.copy_from_slice(&[1.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
    args
}

fn pools(func: &Func, masked: bool) -> Vec<&InstData> {
    let is = |inst: &&InstData| matches!(inst.op, Op::AttnPool(AttnPool { masked: m, .. }) if m == masked);
    func.insts().iter().filter(is).collect()
}

#[test]
fn every_tap_is_read_once_for_the_gates_of_all_points() {
    for attention in ["none", "shared"] {
        for points in [1, 2, 5] {
            let func = decoder(points, attention, false);
            let new = apply("agf_fusion", &func);
            assert_same(&new, &func, &args(&func));
            assert!(insts(&new, "agf_gate").is_empty());
            let visual = pools(&new, false);
            assert_eq!(visual.len(), 1, "{points} points");
            let heads = if attention == "none" { 1 } else { 2 };
            // Its queries are those of all points; besides it only the injections read the taps.
            assert_eq!(new.shape(visual[0].inputs[1]), [points * heads, 4]);
            let taps = new.param("v").unwrap().value;
            let readers = |v: Value| new.insts().iter().filter(move |inst| inst.inputs.contains(&v));
            let names: Vec<_> = readers(taps).map(|inst| inst.op.mnemonic()).collect();
            assert_eq!(names.iter().filter(|name| **name == "reshape").count(), 1);
            assert_eq!(names.len(), 1 + points);
            assert_eq!(readers(visual[0].inputs[0]).count(), 1);
            // The hidden side depends on the state at its point.
            assert_eq!(pools(&new, true).len(), points);
            assert_alike(&apply("agf_fusion", &new), &new, "a second run changes something");
        }
    }
}

#[test]
fn points_that_share_a_gate_share_its_queries() {
    let func = decoder(4, "shared", true);
    let new = apply("agf_fusion", &func);
    assert_same(&new, &func, &args(&func));
    let visual = pools(&new, false);
    assert_eq!(visual.len(), 1);
    assert_eq!(new.shape(visual[0].inputs[1]), [2, 4]);
    assert!(insts(&new, "concat").is_empty());
}

#[test]
fn the_taps_are_read_once_backwards_too() {
    let func = decoder(3, "shared", false);
    let plain = autodiff::gradient(&func, "loss", &weights(&func)).unwrap();
    let forward = run_all(func, &BEFORE_AUTODIFF, &Context::default()).unwrap();
    let grads = autodiff::gradient(&forward, "loss", &weights(&forward)).unwrap();
    let new = run_all(grads, &AFTER_AUTODIFF, &Context::default()).unwrap();
    assert_same(&new, &plain, &args(&plain));
    // One of the visual side, one per point of the hidden side.
    assert_eq!(insts(&new, "attn_pool_grad").len(), 1 + 3);
    assert_eq!(pools(&new, false).len(), 1);
    // The gradients of the points' parts of the pool are put side by side, not padded and summed.
    let pooled = new.ty(pools(&new, false)[0].outputs[0]);
    let joined = insts(&new, "concat").into_iter().filter(|inst| new.ty(inst.outputs[0]) == pooled);
    assert_eq!(joined.count(), 1);
    assert!(insts(&new, "pad").iter().all(|inst| new.ty(inst.outputs[0]) != pooled));
}

const HEAD: &str = "func @p {
  input  %x \"x\": f32[2, 3, 4]
  input  %y \"y\": f32[2, 3, 4]
  weight %q \"q\": f32[2, 4]
  weight %r \"r\": f32[1, 4]
  \"\":
";

#[test]
fn pools_of_other_features_or_scales_stay_apart() {
    let func = check_pass(
        "agf_fusion",
        &format!(
            "{HEAD}    %1, %2 = attn_pool %x, %q {{scale = 0.5}} : f32[2, 2, 4], f32[2, 2, 3]
    %3, %4 = attn_pool %y, %r {{scale = 0.5}} : f32[2, 1, 4], f32[2, 1, 3]
    %5, %6 = attn_pool %x, %r {{scale = 0.25}} : f32[2, 1, 4], f32[2, 1, 3]
    %7, %8 = attn_pool %y, %q {{scale = 0.5}} : f32[2, 2, 4], f32[2, 2, 3]
  return \"a\" = %1
  return \"b\" = %4
  return \"c\" = %6
  return \"d\" = %7
}}
"
        ),
    );
    assert_eq!(pools(&func, false).len(), 3);
}

#[test]
fn a_query_that_is_made_later_moves_up() {
    let func = check_pass(
        "agf_fusion",
        &format!(
            "{HEAD}    %1, %2 = attn_pool %x, %q {{scale = 0.5}} : f32[2, 2, 4], f32[2, 2, 3]
    %3 = exp %y : f32[2, 3, 4]
    %4 = exp %r : f32[1, 4]
    %5 = tanh %4 : f32[1, 4]
    %6, %7 = attn_pool %x, %5 {{scale = 0.5}} : f32[2, 1, 4], f32[2, 1, 3]
  return \"a\" = %1
  return \"b\" = %6
  return \"c\" = %3
}}
"
        ),
    );
    let order = ["exp", "tanh", "concat", "attn_pool", "slice", "slice", "slice", "slice", "exp"];
    assert_eq!(mnemonics(&func), order);
}

#[test]
fn a_query_that_depends_on_a_pool_waits_for_it() {
    let func = check_pass(
        "agf_fusion",
        &format!(
            "{HEAD}    %1, %2 = attn_pool %x, %q {{scale = 0.5}} : f32[2, 2, 4], f32[2, 2, 3]
    %3 = slice %1 {{axis = 0, start = 0, len = 1}} : f32[1, 2, 4]
    %4 = reshape %3 {{shape = [2, 4]}} : f32[2, 4]
    %5, %6 = attn_pool %y, %4 {{scale = 0.5}} : f32[2, 2, 4], f32[2, 2, 3]
    %7, %8 = attn_pool %x, %4 {{scale = 0.5}} : f32[2, 2, 4], f32[2, 2, 3]
    %9, %10 = attn_pool %y, %q {{scale = 0.5}} : f32[2, 2, 4], f32[2, 2, 3]
    %11, %12 = attn_pool %x, %r {{scale = 0.5}} : f32[2, 1, 4], f32[2, 1, 3]
  return \"a\" = %5
  return \"b\" = %7
  return \"c\" = %9
  return \"d\" = %11
}}
"
        ),
    );
    // The first and the last of %x are one, the others each depend on it.
    assert_eq!(pools(&func, false).len(), 4);
}
