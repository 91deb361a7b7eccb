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
    for (slot, &id) in ids.iter().enumerate().filter(|(_, id)| **id != -1) {
        let sample = slot / count * count;
        // Visual tokens stand in order in all but hand-made batches: then one comparison does.
        let ordered = ids[sample..slot].iter().rev().find(|id| **id != -1).is_none_or(|last| *last < id);
        if !ordered && ids[sample..slot].contains(&id) {
            return Err(KernelError(format!("position {id} is listed twice for one sample")));
        }
    }
    Ok(())
}
