//! Rematerialisation: what the backward pass reads of the forward pass is computed again where memory is short.
//!
//! Before: a function whose kernels are chosen but for legal alternatives, so that it is what is planned; it has a result
//! `loss`, and what stands behind that is the backward pass. After: the same instructions in the same order, and in front of
//! instructions of the backward pass copies of forward ones, in the scope `recompute` with their own scope below it. A copy
//! is the same op on the same operands, so the same kernel gives the same bits. Parameters and results are those of before.
//!
//! Nothing changes without a budget ([`Context::memory`]), within it, or without a backward pass. Otherwise as little is
//! computed again as brings the plan, working memory included, under the budget:
//!
//! 1. values of cheap ops (norms, activations, element-wise ops, conversions, movements) whose operands are held anyway or are
//!    cheap themselves, those first that free the most bytes per operation;
//! 2. besides these all of them, the forward pass is cut into segments where little goes from one to the next, at most so many
//!    bytes each, and everything inside a segment is computed again, from what crossed its start, for the backward pass of
//!    that segment; segments first that free the most bytes per operation. Several sizes of segments are tried, and the one
//!    that costs the fewest operations is taken.
//!
//! Where no choice fits, that is taken which needs the fewest bytes; the plan says how many. Choices are compared by their plans.
//! Their number is logarithmic in the number of instructions, and each is linear.

mod cuts;
mod emit;
mod site;

use std::cmp::Ordering;

use crossloom_ir::{Func, IrErrors};

use super::{Pass, dce};
use crate::{Context, plan};
use site::{Choice, Site};

/// First part of the scopes of what is computed again.
pub const RECOMPUTE: &str = "recompute";

/// See the module comment.
#[derive(Debug)]
pub(super) struct Rematerialise;

impl Pass for Rematerialise {
    fn name(&self) -> &'static str {
        "rematerialise"
    }

    fn run(&self, func: &Func, cx: &Context<'_>) -> Result<Func, IrErrors> {
        let Some(budget) = cx.memory else { return Ok(func.clone()) };
        let needed = bytes(func, cx)?;
        let Some(site) = Site::of(func).filter(|_| needed > budget) else { return Ok(func.clone()) };
        let mut search = Search { site: &site, cx, budget, best: (needed, func.clone()) };
        let mut cheap = site.cheap();
        cheap.sort_by(most_bytes_per_operation);
        if let Some((_, func)) = search.fewest(&[], &cheap)? {
            return Ok(func);
        }
        let mut found: Option<(u64, Func)> = None;
        let mut before = Vec::new();
        for limit in site.segment_sizes() {
            let cuts = cuts::cut(&site, limit);
            if cuts == before {
                continue;
            }
            let mut segments = site.segments(&cuts, &cheap);
            before = cuts;
            segments.sort_by(most_bytes_per_operation);
            if let Some((flops, func)) = search.fewest(&cheap, &segments)?
                && found.as_ref().is_none_or(|(least, _)| flops < *least)
            {
                found = Some((flops, func));
            }
        }
        Ok(found.map_or(search.best.1, |(_, func)| func))
    }
}

/// Bytes that a function's plan takes in the arena, working memory included.
fn bytes(func: &Func, cx: &Context<'_>) -> Result<usize, IrErrors> {
    Ok(plan::plan(func.clone(), cx.target)?.arena_bytes().unwrap_or(usize::MAX))
}

/// What frees more for an operation comes first; else what stands first.
fn most_bytes_per_operation(a: &Choice, b: &Choice) -> Ordering {
    let rate = |of: &Choice, other: &Choice| u128::from(of.bytes) * (u128::from(other.flops) + 1);
    rate(b, a).cmp(&rate(a, b)).then(a.at.cmp(&b.at))
}

/// Tries choices.
struct Search<'s, 'f> {
    site: &'s Site<'f>,
    cx: &'s Context<'s>,
    budget: usize,
    /// The fewest bytes so far, and the function that needs them.
    best: (usize, Func),
}

impl Search<'_, '_> {
    /// With all of `always`, the shortest beginning of `choices` that fits, its operations and its function; `None` where all
    /// together do not fit.
    fn fewest(&mut self, always: &[Choice], choices: &[Choice]) -> Result<Option<(u64, Func)>, IrErrors> {
        let Some(mut func) = self.fits(always, choices)? else { return Ok(None) };
        let (mut low, mut high) = (0, choices.len());
        // `high` fits; what is at most `low` does not, or was not tried where `low` is 0.
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            match self.fits(always, &choices[..middle])? {
                Some(fitting) => (high, func) = (middle, fitting),
                None => low = middle,
            }
        }
        let taken = always.iter().chain(&choices[..high]);
        Ok(Some((taken.map(|choice| choice.flops).sum(), func)))
    }

    fn fits(&mut self, always: &[Choice], choices: &[Choice]) -> Result<Option<Func>, IrErrors> {
        let again = self.site.union(always.iter().chain(choices));
        let func = dce::Dce.run(&emit::emit(self.site, &again)?, self.cx)?;
        let needed = bytes(&func, self.cx)?;
        if needed < self.best.0 {
            self.best = (needed, func.clone());
        }
        Ok((needed <= self.budget).then_some(func))
    }
}
