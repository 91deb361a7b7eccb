//! Functions as pictures.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crossloom_ir::picture::nodes;
use crossloom_picture::{Depth, Kind, Picture};

#[test]
fn a_training_step_has_its_gradients_in_a_section() {
    let text = "func @step {\n  input  %0 \"x\": f32[2]\n  weight %1 \"w\": f32[2]\n\n  model:\n    \
                %2 = mul %0, %1 : f32[2]\n    %3 = reduce_sum %2 {axes = [0]} : f32[]\n    \
                %4 = mul %0, %0 : f32[2]\n\n  optimizer.adamw:\n    %5 = sub %1, %4 : f32[2]\n\n  \
                return \"loss\" = %3\n  update %1 = %5\n}\n";
    let func = crossloom_ir::text::parse(text).unwrap_or_else(|errors| panic!("{errors}"));
    let drawn = nodes(&func, |_, inst| Some((inst.op.mnemonic().to_owned(), Vec::new())));
    let sections: Vec<Option<&str>> =
        (drawn.iter().filter(|node| node.kind == Kind::Op)).map(|node| node.section.as_deref()).collect();
    assert_eq!(sections, [None, None, Some("gradients"), Some("optimizer")]);
    let svg = Picture::of_nodes("step", &drawn, Depth::Scopes(3)).to_svg();
    assert!(svg.contains("<title>gradients.model\n") && svg.contains(">optimizer</text>"), "{svg}");
}
