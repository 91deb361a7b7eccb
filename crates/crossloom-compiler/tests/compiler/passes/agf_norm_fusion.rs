//! The gated update with the norm behind it.

use crossloom_ir::Func;

use crate::support::{check_pass, mnemonics};

const HEAD: &str = r#"func @f {
  input  %h "h": f32[2, 3, 4]
  input  %gate "gate": f32[2, 5]
  input  %v "v": f32[5, 2, 2, 4]
  input  %dy "dy": f32[2, 3, 4]
  input  %ds "ds": f32[2, 3, 4]
  weight %g "g": f32[4]
  weight %b "b": f32[4]
  "":
    %i0 = constant {value = 1.0, shape = [2, 2]} : f32[2, 2]
    %i1 = iota {shape = [2, 2], axis = 1} : f32[2, 2]
    %i2 = add %i0, %i1 : f32[2, 2]
    %i = to_int %i2 : i32[2, 2]
  inject:
"#;

fn fuse(body: &str) -> Func {
    check_pass("agf_norm_fusion", &format!("{HEAD}{body}\n}}\n"))
}

fn ops(func: &Func) -> Vec<&'static str> {
    mnemonics(func).into_iter().filter(|op| op.contains("agf") || op.contains("norm")).collect()
}

#[test]
fn an_update_takes_the_first_norm_that_reads_it() {
    let func = fuse(
        "    %1 = agf_inject %h, %gate, %v, %i {convex = true} : f32[2, 3, 4]
    %2, %3, %4 = layer_norm %1, %g, %b {eps = 0.1} : f32[2, 3, 4], f32[2, 3], f32[2, 3]
    %5, %6 = rms_norm %1, %g {eps = 0.1} : f32[2, 3, 4], f32[2, 3]
    %7 = add %1, %5 : f32[2, 3, 4]
  return \"y\" = %2
  return \"z\" = %7",
    );
    assert_eq!(ops(&func), ["agf_inject_norm", "rms_norm"]);
    // Its weight is made later.
    let func = fuse(
        "    %1 = agf_inject %h, %gate, %v, %i : f32[2, 3, 4]
    %2 = affine %g {mul = 2.0, add = 0.0} : f32[4]
    %3, %4 = rms_norm %1, %2 {eps = 0.1} : f32[2, 3, 4], f32[2, 3]
  return \"y\" = %3",
    );
    assert_eq!(ops(&func), ["agf_inject", "rms_norm"]);
}

#[test]
fn a_norm_backwards_takes_the_update_behind_it() {
    let func = fuse(
        "    %1, %2 = rms_norm %h, %g {eps = 0.1} : f32[2, 3, 4], f32[2, 3]
    %3, %4 = rms_norm_grad %dy, %h, %g, %2, %ds {residual = true} : f32[2, 3, 4], f32[4]
    %5, %6 = agf_inject_grad %3, %gate, %v, %i : f32[5, 2, 2, 4], f32[2, 5]
    %7 = add %3, %ds : f32[2, 3, 4]
  return \"dh\" = %7
  return \"dg\" = %4
  return \"dv\" = %5
  return \"dgate\" = %6",
    );
    assert_eq!(ops(&func), ["rms_norm", "agf_inject_norm_grad"]);
}

#[test]
fn a_convex_update_changes_a_gradient_that_nothing_else_may_read() {
    let body = |other: &str| {
        format!(
            "    %1, %2, %3 = layer_norm %h, %g, %b {{eps = 0.1}} : f32[2, 3, 4], f32[2, 3], f32[2, 3]
    %4, %5, %6 = layer_norm_grad %dy, %h, %g, %2, %3 : f32[2, 3, 4], f32[4], f32[4]
    %7, %8, %9 = agf_inject_grad %4, %gate, %v, %i, %ds {{convex = true}} : f32[5, 2, 2, 4], f32[2, 5], f32[2, 3, 4]
  return \"dh\" = %9
  return \"dg\" = %5
  return \"db\" = %6
  return \"dv\" = %7
  return \"dgate\" = %8{other}"
        )
    };
    assert_eq!(ops(&fuse(&body(""))), ["layer_norm", "agf_inject_norm_grad"]);
    let func = fuse(&body("\n  return \"other\" = %4"));
    assert_eq!(ops(&func), ["layer_norm", "layer_norm_grad", "agf_inject_grad"]);
}
