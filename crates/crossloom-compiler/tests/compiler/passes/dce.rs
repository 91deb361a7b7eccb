//! Dead code.

use crate::support::{check_pass, mnemonics};

#[test]
fn what_no_result_depends_on_is_gone_and_parameters_stay() {
    let func = check_pass(
        "dce",
        r#"func @f {
  input  %x "x": f32[2, 3]
  weight %w "w": f32[3, 3]
  state  %m "m": f32[2, 3]
  vision.block.0:
    %1 = linear %x, %w : f32[2, 3]
  vision.block.1:
    %2 = linear %1, %w : f32[2, 3]
    %3 = exp %2 : f32[2, 3]
  "":
    %4, %5 = rms_norm %1, %6 {eps = 0.1} : f32[2, 3], f32[2]
    %7 = affine %m {mul = 0.5, add = 0.0} : f32[2, 3]
  return "s" = %5
  update %m = %7
}
"#
        .replace("%6", "%g")
        .replace("  state ", "  weight %g \"g\": f32[3]\n  state ")
        .as_str(),
    );
    // One of two outputs is enough to keep an instruction, and an update is a result.
    assert_eq!(mnemonics(&func), ["linear", "rms_norm", "affine"]);
    assert_eq!(func.params().len(), 4);
}
