//! The verifier: every property a well-formed function has.
//!
//! **Values**
//! - Every parameter and every output of an instruction is a value of its own: none is defined twice, none is undefined.
//! - Every value's recorded definition is the parameter or the instruction output that defines it.
//! - Every operand is a parameter or an output of an *earlier* instruction.
//! - Every result is a value of the function.
//!
//! **Types**
//! - Every instruction satisfies its op's type rule, which says how many operands it takes, which of them are floats and
//!   which whole numbers, how many axes they have (so no scalar stands where rows are meant), and how their extents fit.
//! - The outputs are as many as the type rule gives, and of those types. Only the *float* type of a float result that the
//!   op computes is the instruction's choice: what moves data keeps its operand's type, and its operands are of one type.
//! - A quantized value is a weight parameter, the last axis of which is a whole number of blocks, and is read only as the
//!   weight of a product or the table of a gather. It is no result.
//! - No tensor has more than [`MAX_ELEMENTS`] elements, so no size or offset computed from a type overflows.
//!
//! **Names**
//! - The function, every parameter and every result has a name.
//! - No two parameters share a name, and no two results that update nothing do.
//!
//! **Updates**
//! - An update goes to a weight or a state parameter, never to an input.
//! - The new content has the parameter's type.
//! - A parameter is updated at most once.
//! - Nothing is checked about reading a parameter that is also updated: an update is a result of the function, so inside
//!   it the parameter's value is the old content wherever it is read. Keeping the memory apart is the planner's task.
//!
//! **Scopes**
//! - A scope is the root or a path of non-empty parts, separated by dots and made of letters, digits, `_`, `-` and `>`.
//!
//! What is *not* checked: whether every value is used (dead code is well-formed), and whether numbers are finite.

mod checks;
mod function;
#[cfg(test)]
mod tests;

use crate::{Func, Inst, IrError, IrErrors};
use function::Function;

/// The largest number of elements a tensor may have: 2⁴⁰, four tebibytes of `f32`.
pub const MAX_ELEMENTS: usize = 1 << 40;

/// Whether a tensor of that shape has at most [`MAX_ELEMENTS`] elements, its empty axes left out of account.
pub fn elements_within_limit(shape: &[usize]) -> bool {
    let product = shape.iter().filter(|&&extent| extent > 0).try_fold(1_usize, |product, &extent| {
        product.checked_mul(extent).filter(|&product| product <= MAX_ELEMENTS)
    });
    product.is_some()
}

/// The part of a function that a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Site {
    /// The function as a whole.
    Func,
    /// The parameter of that index.
    Param(usize),
    /// That instruction.
    Inst(Inst),
    /// The result of that index.
    Result(usize),
}

/// A property that does not hold, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The part of the function it is about.
    pub site: Site,
    /// What is wrong, with value, op and scope.
    pub error: IrError,
}

/// Checks every property of the module's list.
///
/// # Errors
/// All that do not hold, in order of the function's parts.
pub fn verify(func: &Func) -> Result<(), IrErrors> {
    let findings = findings(func);
    if findings.is_empty() {
        return Ok(());
    }
    Err(IrErrors(findings.into_iter().map(|finding| finding.error).collect()))
}

/// Every property of the module's list that does not hold, in order of the function's parts.
pub fn findings(func: &Func) -> Vec<Finding> {
    check(&Function::of(func))
}

fn check(function: &Function<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    checks::names(function, &mut findings);
    checks::values(function, &mut findings);
    checks::types(function, &mut findings);
    checks::quantized_results(function, &mut findings);
    checks::updates(function, &mut findings);
    checks::scopes(function, &mut findings);
    findings.sort_by_key(|finding| finding.site);
    findings
}
