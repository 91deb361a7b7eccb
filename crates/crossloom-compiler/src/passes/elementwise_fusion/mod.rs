//! Element-wise fusion: chains and trees of element-wise ops become one sweep over memory.
//!
//! Before: any function. After: no element-wise instruction whose value is read only by element-wise instructions of
//! the same shape stands alone, up to [`MAX_LOADS`] operands and [`MAX_STEPS`] steps; each such tree is one
//! `fused_elementwise`, placed where its last instruction stood. A value that anything else reads ends a tree, and so does
//! a 16-bit one: the inner values of the fused op are `f32`, its operands are widened as they are read and its results
//! rounded as they are stored, so that fusion leaves out no rounding and adds none. Conversions are no steps of it.
//! Broadcasts of scalars, of vectors over the last axis and of one number per row are loads of the fused op, and so are
//! constants that only element-wise instructions read. Trees that read the same full operand are one op with several
//! results, placed where the first of them stood, so that the operand is read once; this is done where everything the
//! later one reads is there by then, and where it makes at least as many operands die there as it makes results, so that
//! no more memory is held on the way.

mod emit;
mod regions;
mod site;

use crossloom_ir::{Func, IrError, IrErrors};

use super::Pass;
use crate::Context;
use site::Site;

/// See the module comment.
#[derive(Debug)]
pub(super) struct ElementwiseFusion;

/// Most operands of one fused op.
const MAX_LOADS: usize = 12;
/// Most steps of one fused op: with the operands, its registers are blocks that stay in the first-level cache.
const MAX_STEPS: usize = 24;
/// Two sweeps nearly always find everything, and the second is short.
const MAX_SWEEPS: usize = 8;

impl Pass for ElementwiseFusion {
    fn name(&self) -> &'static str {
        "elementwise_fusion"
    }

    fn run(&self, func: &Func, _: &Context<'_>) -> Result<Func, IrErrors> {
        let mut func = sweep(func)?;
        // What moved up may have been the last reader of an operand, which now dies where it lets others join.
        for _ in 1..MAX_SWEEPS {
            let next = sweep(&func)?;
            if next.insts().len() == func.insts().len() {
                break;
            }
            func = next;
        }
        Ok(func)
    }
}

fn sweep(func: &Func) -> Result<Func, IrError> {
    let site = Site::new(func);
    emit::rewrite(&site, &regions::find(&site))
}
