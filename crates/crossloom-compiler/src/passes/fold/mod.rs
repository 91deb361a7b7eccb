//! Folding: constants, ops that change nothing, and sums of parts of one whole.
//!
//! Before: any function. After: no element-wise op, reduction or movement applies to constants alone; sums, differences
//! and products with a constant are `affine`; no `affine` is the identity or could be one with the affine it reads; no
//! reshape of a reshape, no transpose of a transpose, no movement that moves nothing, no `convert` to the type that its
//! operand has or of what was widened to `f32` just before. No rounding to a 16-bit type is left out. In a tree of sums whose inner values
//! nothing else reads, padded operands that nothing else reads and that lie side by side along an axis are one `concat`
//! (itself padded if they do not make up the whole), unless the tree has more than one other operand, which would be held
//! longer. Counting that is written as a cumulative sum of ones is an `iota`. Only rewrites that are exact, or as exact as
//! the original order of operations, are made: a product with zero stays (the other factor may be NaN), `x - x` stays (it
//! tells whether `x` is finite, and the optimizer asks), and no constant is folded into infinity or NaN.

mod count;
mod pads;
mod simplify;

use crossloom_ir::{Func, IrErrors};

use super::Pass;
use crate::Context;

/// See the module comment.
#[derive(Debug)]
pub(super) struct Fold;

impl Pass for Fold {
    fn name(&self) -> &'static str {
        "fold"
    }

    fn run(&self, func: &Func, _: &Context<'_>) -> Result<Func, IrErrors> {
        Ok(pads::join_all(&simplify::simplify_all(func)?)?)
    }
}
