//! What a kernel says about arguments it cannot work with.

use thiserror::Error;

/// A kernel was called with arguments that do not fit together. Nothing has been written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A buffer is shorter than its shape needs.
    #[error("{kernel}: `{operand}` holds {actual} values, but its shape needs {expected}")]
    Length {
        /// The kernel that was called.
        kernel: &'static str,
        /// The argument that is wrong.
        operand: &'static str,
        /// The number of values the shape needs.
        expected: usize,
        /// The number of values there are.
        actual: usize,
    },
    /// Two sizes that must agree do not, or a size is not allowed.
    #[error("{kernel}: `{operand}` is {actual}, but must be {expected}")]
    Size {
        /// The kernel that was called.
        kernel: &'static str,
        /// The size that is wrong.
        operand: &'static str,
        /// The size that would be right.
        expected: usize,
        /// The size that was given.
        actual: usize,
    },
    /// An index points outside of what it indexes.
    #[error("{kernel}: `{operand}`[{position}] is {index}, outside of 0..{bound}")]
    Index {
        /// The kernel that was called.
        kernel: &'static str,
        /// The index list.
        operand: &'static str,
        /// The position in the list.
        position: usize,
        /// The value found there.
        index: i64,
        /// One past the largest index allowed.
        bound: usize,
    },
    /// An index is given again where each may be given once.
    #[error("{kernel}: `{operand}`[{position}] is {index}, as another before it")]
    Twice {
        /// The kernel that was called.
        kernel: &'static str,
        /// The index list.
        operand: &'static str,
        /// The position in the list.
        position: usize,
        /// The value found there.
        index: i64,
    },
}

/// Checks that `actual >= expected`.
#[inline]
pub(crate) fn need(
    kernel: &'static str,
    operand: &'static str,
    actual: usize,
    expected: usize,
) -> Result<(), KernelError> {
    if actual < expected { Err(KernelError::Length { kernel, operand, expected, actual }) } else { Ok(()) }
}

/// Checks that a result that can be left out, as an empty slice, is absent or long enough; says whether it is wanted.
#[inline]
pub(crate) fn wanted(
    kernel: &'static str,
    operand: &'static str,
    actual: usize,
    expected: usize,
) -> Result<bool, KernelError> {
    if actual == 0 {
        return Ok(false);
    }
    need(kernel, operand, actual, expected).map(|()| true)
}

/// Checks that two sizes are equal.
#[inline]
pub(crate) fn same(
    kernel: &'static str,
    operand: &'static str,
    actual: usize,
    expected: usize,
) -> Result<(), KernelError> {
    if actual == expected { Ok(()) } else { Err(KernelError::Size { kernel, operand, expected, actual }) }
}

/// Checks that every index is below `bound`, and not below `-1` (`-1` only where `skip` allows it).
pub(crate) fn indices(
    kernel: &'static str,
    operand: &'static str,
    list: &[i32],
    bound: usize,
    skip: bool,
) -> Result<(), KernelError> {
    let lowest = if skip { -1 } else { 0 };
    for (position, &index) in list.iter().enumerate() {
        if index < lowest || index as i64 >= bound as i64 {
            return Err(KernelError::Index { kernel, operand, position, index: i64::from(index), bound });
        }
    }
    Ok(())
}
