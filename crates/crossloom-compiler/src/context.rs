//! What a function is compiled for: asked by passes, legalization and planner.

use crate::training::Training;
use crate::{NullTarget, Policy, Target};

/// What to compile a forward function into.
#[derive(Clone, Copy, Debug)]
pub enum Mode<'a> {
    /// The function as it is.
    Forward,
    /// A training step.
    Train(&'a Training),
}

/// What a function is compiled for.
#[derive(Clone)]
pub struct Context<'a> {
    /// What the result is to be.
    pub mode: Mode<'a>,
    /// Which kernels there are.
    pub target: &'a dyn Target,
    /// Which value is held in which type.
    pub policy: Policy,
    /// The most bytes that intermediate values and working memory are to take; none: as many as it needs. Where they need
    /// more, values of the forward pass are computed again, see [`rematerialise`](crate::passes::rematerialise). A plan
    /// that needs more all the same is no error here.
    pub memory: Option<usize>,
    /// Run the verifier after every pass, after differentiation and after legalization.
    pub verify: bool,
}

impl<'a> Context<'a> {
    /// All in `f32`, without a limit of memory, and verified throughout in builds with debug assertions.
    pub fn new(target: &'a dyn Target, mode: Mode<'a>) -> Self {
        Self { mode, target, policy: Policy::default(), memory: None, verify: cfg!(debug_assertions) }
    }
}

/// A forward pass for a target that has all kernels.
impl Default for Context<'_> {
    fn default() -> Self {
        Self::new(&NullTarget, Mode::Forward)
    }
}
