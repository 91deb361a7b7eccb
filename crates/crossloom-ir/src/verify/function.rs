//! What the checks read: the parts of a function, taken apart so that nothing about them is taken for granted.

use crate::func::{InstData, Param, ResultDef, ValueDef};
use crate::{Func, TensorType, Value};

/// The parts of a function.
pub(super) struct Function<'f> {
    pub(super) name: &'f str,
    pub(super) params: &'f [Param],
    pub(super) insts: &'f [InstData],
    pub(super) results: &'f [ResultDef],
    pub(super) values: Vec<(&'f TensorType, ValueDef)>,
}

impl<'f> Function<'f> {
    pub(super) fn of(func: &'f Func) -> Self {
        let values = (0..func.value_count()).map(|index| {
            let value = Value(index as u32);
            (func.ty(value), func.def(value))
        });
        Self {
            name: &func.name,
            params: func.params(),
            insts: func.insts(),
            results: func.results(),
            values: values.collect(),
        }
    }

    /// The type of a value, if there is such a value.
    pub(super) fn ty(&self, value: Value) -> Option<&'f TensorType> {
        self.values.get(value.index()).map(|(ty, _)| *ty)
    }
}
