//! Checks of ids and indices, with messages that name the offender.
//!
//! The kernels check bounds, too; here are the rules of the ops: which lists may skip with -1, and which name every row
//! at most once.

use crate::exec::io::KernelError;

/// Every id is in `0..bound`, or -1 where `skip` allows it. `what` names an id in the message.
pub(super) fn check(what: &str, ids: &[i32], bound: usize, skip: bool) -> Result<(), KernelError> {
    let inside = |id: i32| usize::try_from(id).is_ok_and(|id| id < bound) || skip && id == -1;
    match ids.iter().find(|&&id| !inside(id)) {
        None => Ok(()),
        Some(id) if skip => Err(KernelError(format!("{what} {id} is neither -1 nor in 0..{bound}"))),
        Some(id) => Err(KernelError(format!("{what} {id} is outside 0..{bound}"))),
    }
}

/// As [`check`], -1 allowed, and no position comes twice in a sample of `count` indices.
pub(super) fn check_distinct(ids: &[i32], count: usize, bound: usize) -> Result<(), KernelError> {
    check("position", ids, bound, true)?;
    for sample in ids.chunks(count.max(1)) {
        // Visual tokens stand in order in all but hand-made batches: then one comparison does.
        let mut largest = -1;
        for (slot, &id) in sample.iter().enumerate().filter(|(_, id)| **id != -1) {
            if id <= largest && sample[..slot].contains(&id) {
                return Err(KernelError(format!("position {id} is listed twice for one sample")));
            }
            largest = largest.max(id);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_listed_twice_is_found_wherever_it_stands() {
        for (ids, twice) in [
            (&[0, 1, 2, 3][..], None),
            (&[3, 2, 1, 0], None),
            (&[-1, -1, 4, -1], None),
            (&[5, 5], Some(5)),
            (&[5, 3, 5], Some(5)),
            (&[5, 3, -1, 3], Some(3)),
            (&[0, 7, 1, 2, 7], Some(7)),
        ] {
            let found = check_distinct(ids, ids.len(), 9);
            let expected =
                twice.map(|id| KernelError(format!("position {id} is listed twice for one sample")));
            assert_eq!(found.err(), expected, "{ids:?}");
        }
        // Samples do not see each other.
        assert_eq!(check_distinct(&[5, 3, 5, 3], 2, 9), Ok(()));
        assert!(check_distinct(&[5, 3, 5, 3], 4, 9).is_err());
        assert!(check_distinct(&[5, 9], 2, 9).is_err());
    }
}
