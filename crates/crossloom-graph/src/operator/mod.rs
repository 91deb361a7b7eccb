//! The luminal operators of this crate.
//!
//! luminal's `Operator::process` cannot fail. Here it never panics either: an operator that cannot compute puts the
//! reason into its [`FailureCell`] and gives tensors of NaN, and every later operator of the graph does nothing.
//! [`LuminalGraph::execute`](crate::LuminalGraph::execute) reports the reason.

mod apply;
mod failure;
mod load;
mod output;
mod realize;

pub use apply::IrOperator;
pub use failure::FailureCell;
pub use load::Load;
pub use output::Output;

pub(crate) use realize::{poison, realize};
