//! Functions with a bug in them, which are given to `verify` in the place of those that are built.

use crossloom_ir::rewrite::Rewriter;
use crossloom_ir::{Func, InstData, IrError};
use crossloom_recipe::Recipe;
use crossloom_run::ExperimentError;
use crossloom_run::verify::{Built, Function, Functions, Sizes, Use};

type Change = dyn Fn(Use, Function) -> Function + Sync;

/// What is built, changed by `change`.
pub(crate) struct Planted<'p>(pub(crate) &'p Change);

impl Functions for Planted<'_> {
    fn function(&self, recipe: &Recipe, usage: Use, sizes: Sizes) -> Result<Function, ExperimentError> {
        // A training step is made of the function that is trained, with its bugs.
        if usage == Use::Step {
            let loss = self.function(recipe, Use::Trained, sizes)?;
            return Ok((self.0)(usage, crossloom_run::verify::step_of(recipe, loss)?));
        }
        Ok((self.0)(usage, Built.function(recipe, usage, sizes)?))
    }
}

/// What is built of another recipe than the one that is verified.
pub(crate) struct Deviating<'d>(pub(crate) &'d (dyn Fn(&Recipe) -> Recipe + Sync));

impl Functions for Deviating<'_> {
    fn function(&self, recipe: &Recipe, usage: Use, sizes: Sizes) -> Result<Function, ExperimentError> {
        Built.function(&(self.0)(recipe), usage, sizes)
    }
}

/// A function rebuilt instruction by instruction; `rule` says whether it has dealt with one, else it is copied.
pub(crate) fn rebuilt(
    func: &Func,
    mut rule: impl FnMut(&mut Rewriter<'_>, &InstData) -> Result<bool, IrError>,
) -> Func {
    let mut rewriter = Rewriter::new(func);
    for inst in func.insts() {
        if !rule(&mut rewriter, inst).unwrap() {
            rewriter.copy(inst).unwrap();
        }
    }
    rewriter.finish().unwrap()
}

/// The same function with other instructions under a scope.
pub(crate) fn under(
    scope: &'static str,
    function: Function,
    rule: impl Fn(&mut Rewriter<'_>, &InstData) -> Result<bool, IrError>,
) -> Function {
    let func =
        rebuilt(
            &function.func,
            |rewriter, inst| {
                if inst.scope.as_str() == scope { rule(rewriter, inst) } else { Ok(false) }
            },
        );
    Function { func, ..function }
}
