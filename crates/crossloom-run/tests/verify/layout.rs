//! Bugs in what rows show of a list of views are found.

use crossloom_ir::op::Op;
use crossloom_recipe::AnyRes;
use crossloom_run::verify::{Function, Use, verify};

use crate::planted::{Planted, under};
use crate::support::cli;

/// No edge is concerned, for the layout is in front of all of them.
#[test]
fn rows_that_show_other_views_and_ends_that_are_not_the_learned_token() {
    let mut recipe = cli();
    recipe.model.vision.anyres = Some(AnyRes { side: 2, most_tiles: 4 });
    let mixing = |scope: &'static str, operand: usize| {
        move |usage: Use, function: Function| {
            if usage != Use::OverViews {
                return function;
            }
            under(scope, function, |rewriter, inst| {
                let Op::MixRows(op) = inst.op else { return Ok(false) };
                let mut operands = rewriter.get_all(&inst.inputs)?;
                let mut b = rewriter.builder(&inst.scope);
                operands[operand] = b.affine(operands[operand], 0.0, 0.5)?;
                let new = b.one(op, &operands)?;
                rewriter.set(inst.outputs[0], new);
                Ok(true)
            })
        }
    };
    let problems = |scope, operand| {
        let change = mixing(scope, operand);
        let verified = verify(&recipe, &Planted(&change)).unwrap();
        let problems: Vec<String> =
            verified.problems().map(|(of, problem)| format!("{of}: {problem}")).collect();
        problems
    };
    assert!(verify(&recipe, &Planted(&|_, function| function)).unwrap().holds());
    // Weights of the input's rows, those of the taps' rows, and the end itself.
    for (scope, operand, what) in [
        ("projector.layout", 3, "do not give what these pictures give"),
        ("inject.layout", 3, "do not give what these pictures give"),
        ("projector.layout", 1, "does not read `image_newline`"),
    ] {
        let found = problems(scope, operand);
        assert!(found.len() == 1 && found[0].starts_with("layout: ") && found[0].contains(what), "{found:?}");
    }
}
