//! The training loss and its gradient.

mod cross_entropy;
mod cross_entropy_grad;
mod linear_cross_entropy;

pub use cross_entropy::CrossEntropy;
pub use cross_entropy_grad::CrossEntropyGrad;
pub use linear_cross_entropy::LinearCrossEntropy;

use crate::{Builder, IrError, Real, Tensor, Value};

/// The class every row is to predict; `None` for the ignored ones (-1).
fn classes<T: Real>(targets: &Tensor<T>, count: usize) -> Result<Vec<Option<usize>>, String> {
    let class = |r: usize| match targets.int(r) {
        -1 => Ok(None),
        target => {
            let class = usize::try_from(target).ok().filter(|&class| class < count);
            class
                .map(Some)
                .ok_or_else(|| format!("target {target} of row {r} is outside the {count} classes"))
        }
    };
    (0..targets.data.len()).map(class).collect()
}

/// From `one_hot [R, V]` of the targets: 1 for every row that is kept `[R]`, and the mean's divisor (at least 1).
fn kept_rows(b: &mut Builder<'_>, one_hot: Value) -> Result<(Value, Value), IrError> {
    let kept = b.reduce_sum(one_hot, &[1])?;
    let count = b.reduce_sum(kept, &[0])?;
    let one = b.constant(1.0, &[])?;
    Ok((kept, b.binary(crate::op::BinaryKind::Max, count, one)?))
}
