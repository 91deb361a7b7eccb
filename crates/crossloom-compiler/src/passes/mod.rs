//! The passes. One pass, one file; its module comment states what holds before and after.

mod agf_fusion;
mod agf_norm_fusion;
mod amp_batching;
mod attention_fusion;
mod cse;
mod dce;
mod elementwise_fusion;
mod epilogue_fusion;
mod fold;
mod gradient_fusion;
mod head_fusion;
pub(crate) mod legalize;
mod low_rank_fusion;
mod norm_fusion;
mod optimizer_fusion;
pub mod precision;
mod product_fusion;
pub mod rematerialise;
mod uses;

use crossloom_ir::{Func, IrErrors, verify};

use crate::Context;

/// A rewrite of a whole function that keeps its meaning, parameters and results.
pub trait Pass: Sync {
    /// The name under which `explain`, filetests and errors speak of the pass.
    fn name(&self) -> &'static str;

    /// Rewrites the function for what it is compiled for.
    ///
    /// # Errors
    /// A rewrite that breaks a type rule: a defect of the pass, reported with op and scope.
    fn run(&self, func: &Func, cx: &Context<'_>) -> Result<Func, IrErrors>;
}

/// Passes that run on the forward function, before differentiation, so that its gradient has their structure too.
pub const BEFORE_AUTODIFF: [&dyn Pass; 8] = [
    &fold::Fold,
    &cse::Cse,
    &dce::Dce,
    &product_fusion::ProductFusion,
    &attention_fusion::AttentionFusion,
    &amp_batching::AmpBatching,
    &agf_fusion::AgfFusion,
    &epilogue_fusion::EpilogueFusion,
];

/// Passes that run on the whole function, after differentiation where there is one. They fuse without asking the target;
/// what it cannot do fused is taken apart again. Heads, low-rank branches, gradients of layers and injections with their norms are fused only
/// where the target has a kernel for that: taken apart again, they would not be what they were. The last pass sees what is planned.
pub const AFTER_AUTODIFF: [&dyn Pass; 15] = [
    &precision::SetTypes,
    &legalize::Legalize,
    &fold::Fold,
    &cse::Cse,
    &dce::Dce,
    &head_fusion::HeadFusion,
    &low_rank_fusion::LowRankFusion,
    &gradient_fusion::GradientFusion,
    &norm_fusion::NormFusion,
    &agf_norm_fusion::AgfNormFusion,
    &elementwise_fusion::ElementwiseFusion,
    &optimizer_fusion::OptimizerFusion,
    &legalize::Legalize,
    &dce::Dce,
    &rematerialise::Rematerialise,
];

/// The pass of that name.
pub fn by_name(name: &str) -> Option<&'static dyn Pass> {
    BEFORE_AUTODIFF.into_iter().chain(AFTER_AUTODIFF).find(|pass| pass.name() == name)
}

/// Runs passes in order; the verifier runs after each where the context asks for it.
///
/// # Errors
/// A pass failed, or what it gave does not verify; the error names the pass.
pub fn run_all(func: Func, passes: &[&dyn Pass], cx: &Context<'_>) -> Result<Func, IrErrors> {
    let mut func = func;
    for pass in passes {
        func = checked(pass.name(), pass.run(&func, cx)?, cx)?;
    }
    Ok(func)
}

/// Verifies a function that a stage gave, if that is asked for; the errors name the stage.
pub(crate) fn checked(stage: &str, func: Func, cx: &Context<'_>) -> Result<Func, IrErrors> {
    if cx.verify {
        verify::verify(&func).map_err(|mut errors| {
            for error in &mut errors.0 {
                error.message = format!("after {stage}: {}", error.message);
            }
            errors
        })?;
    }
    Ok(func)
}
