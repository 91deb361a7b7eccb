//! Where operators leave the reason why they could not compute.

use std::cell::RefCell;
use std::rc::Rc;

use crate::GraphError;

/// Shared by all operators of a graph; keeps the first failure of a run.
#[derive(Clone, Debug, Default)]
pub struct FailureCell(Rc<RefCell<Option<GraphError>>>);

impl FailureCell {
    /// An empty cell.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether an operator has failed since the last [`FailureCell::take`].
    pub fn is_set(&self) -> bool {
        self.0.try_borrow().is_ok_and(|cell| cell.is_some())
    }

    /// Keeps the failure, unless there is an earlier one.
    pub fn raise(&self, error: GraphError) {
        if let Ok(mut cell) = self.0.try_borrow_mut() {
            cell.get_or_insert(error);
        }
    }

    /// Takes the failure out, so that the graph can run again.
    pub fn take(&self) -> Option<GraphError> {
        self.0.try_borrow_mut().ok()?.take()
    }
}
