//! Who reads what.

use crossloom_ir::{Func, Value};

/// For every value, the instructions that read it, in order; those that read it twice are named twice.
pub(super) struct Uses(Vec<Vec<usize>>);

impl Uses {
    pub(super) fn of_func(func: &Func) -> Self {
        let mut readers = vec![Vec::new(); func.value_count()];
        for (index, inst) in func.insts().iter().enumerate() {
            for input in &inst.inputs {
                readers[input.index()].push(index);
            }
        }
        // A result is read by nobody in the function, and still has to be there.
        for result in func.results() {
            readers[result.value.index()].push(usize::MAX);
        }
        Self(readers)
    }

    /// The first reader of a value, behind all instructions if none reads it.
    pub(super) fn first(&self, value: Value) -> usize {
        self.of(value).first().copied().unwrap_or(usize::MAX)
    }

    /// The readers of a value, a result of the function counting as one behind all others.
    pub(super) fn of(&self, value: Value) -> &[usize] {
        &self.0[value.index()]
    }
}
