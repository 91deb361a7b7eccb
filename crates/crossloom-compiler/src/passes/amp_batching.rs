//! AMP batching: all taps go through the shared projector in one product.
//!
//! Before: `amp_project` instructions as the graph builder emits them. After: none; each is one linear layer per
//! projector layer over the rows of all taps `[K B N, ..]`, whatever their number, and the low-rank branches are added to
//! its result in one sweep. Run before differentiation, so that the gradients of the projector are one product each as
//! well.

use crossloom_ir::expand::expand_where;
use crossloom_ir::op::Op;
use crossloom_ir::{Func, IrErrors};

use super::Pass;
use crate::Context;

/// See the module comment.
#[derive(Debug)]
pub(super) struct AmpBatching;

impl Pass for AmpBatching {
    fn name(&self) -> &'static str {
        "amp_batching"
    }

    fn run(&self, func: &Func, _: &Context<'_>) -> Result<Func, IrErrors> {
        // The op's own definition is the batched form.
        Ok(expand_where(func, |op| matches!(op, Op::AmpProject(_)))?)
    }
}
