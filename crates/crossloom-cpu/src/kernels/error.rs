//! What a kernel says about arguments it cannot work with.

use thiserror::Error;

/// A kernel was called with arguments that do not fit together, or with contents that it does not accept.
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
    /// An operand's content has no place in the result's type.
    #[error("{kernel}: {value} is not representable as a whole number")]
    NotWhole {
        /// The kernel that was called.
        kernel: &'static str,
        /// The value, as it is printed.
        value: String,
    },
    /// A step has other operands or results than its kernel was chosen for: a defect of the lowering.
    #[error("{0}")]
    Step(String),
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

/// Checks that no index but -1 comes twice in one of the lists of `count` that follow each other.
pub(crate) fn distinct(
    kernel: &'static str,
    operand: &'static str,
    lists: &[i32],
    count: usize,
) -> Result<(), KernelError> {
    for (list, indices) in lists.chunks(count.max(1)).enumerate() {
        // Visual tokens stand in order in all but hand-made batches: then one comparison does.
        let mut largest = -1;
        for (at, &index) in indices.iter().enumerate().filter(|(_, index)| **index != -1) {
            if index <= largest && indices[..at].contains(&index) {
                let position = list * count + at;
                return Err(KernelError::Twice { kernel, operand, position, index: i64::from(index) });
            }
            largest = largest.max(index);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_listed_twice_is_found_wherever_it_stands() {
        for (list, twice) in [
            (&[0, 1, 2, 3][..], None),
            (&[3, 2, 1, 0], None),
            (&[-1, -1, 4, -1], None),
            (&[5, 5], Some((1, 5))),
            (&[5, 3, 5], Some((2, 5))),
            (&[5, 3, -1, 3], Some((3, 3))),
            (&[0, 7, 1, 2, 7], Some((4, 7))),
        ] {
            let found = distinct("kernel", "index", list, list.len());
            let expected = twice.map(|(position, index)| KernelError::Twice {
                kernel: "kernel",
                operand: "index",
                position,
                index,
            });
            assert_eq!(found.err(), expected, "{list:?}");
        }
        // Lists do not see each other.
        assert_eq!(distinct("kernel", "index", &[5, 3, 5, 3], 2), Ok(()));
        assert!(distinct("kernel", "index", &[5, 3, 5, 3], 4).is_err());
    }
}
