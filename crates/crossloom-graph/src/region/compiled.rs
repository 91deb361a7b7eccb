//! A handle on a compiled region, shared with the node that runs it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;

use crossloom_ir::{Func, IrError, Role};

use super::{Data, Region};
use crate::error::nearest;
use crate::operator::FailureCell;
use crate::{GraphError, guard};

/// A compiled region inside a luminal graph: its function, its weights and state, and its last error. Clones are
/// handles on the same region.
#[derive(Clone)]
pub struct CompiledRegion(Rc<Shared>);

struct Shared {
    func: Func,
    state: RefCell<State>,
    failure: FailureCell,
}

struct State {
    region: Box<dyn Region>,
    unset: BTreeSet<String>,
}

impl CompiledRegion {
    pub(crate) fn new(func: Func, region: Box<dyn Region>, failure: FailureCell) -> Self {
        let held = func.params().iter().filter(|param| param.role != Role::Input);
        let unset = held.map(|param| param.name.clone()).collect();
        Self(Rc::new(Shared { func, state: RefCell::new(State { region, unset }), failure }))
    }

    /// The function that was compiled.
    pub fn func(&self) -> &Func {
        &self.0.func
    }

    /// Sets a weight or state parameter, in row-major order; ids are given as floats.
    ///
    /// # Errors
    /// Unknown name, wrong length, or the backend's error.
    pub fn set(&self, name: &str, values: &[f32]) -> Result<(), GraphError> {
        let held = || self.func().params().iter().filter(|param| param.role != Role::Input);
        let Some(param) = held().find(|param| param.name == name) else {
            let near = nearest(name, held().map(|param| param.name.as_str()));
            return Err(GraphError::UnknownParam { name: name.to_owned(), near });
        };
        let ty = self.func().ty(param.value);
        if ty.elements() != values.len() {
            return Err(GraphError::Length { name: name.to_owned(), ty: ty.clone(), given: values.len() });
        }
        let data = Data::from_luminal(values.to_vec(), ty.dtype);
        let during = format!("setting `{name}`");
        let mut state = self.0.state.try_borrow_mut().map_err(|_| busy())?;
        let set = guard::catch(&during, || state.region.set(name, data.as_ref()))?;
        set.map_err(|source| GraphError::backend(&during, source))?;
        state.unset.remove(name);
        Ok(())
    }

    /// The current value of a weight or state parameter; ids as floats. `None` if it has none.
    pub fn get(&self, name: &str) -> Option<Vec<f32>> {
        let state = self.0.state.try_borrow().ok()?;
        if state.unset.contains(name) {
            return None;
        }
        let value = guard::catch("reading a parameter", || state.region.get(name)).ok()?;
        value.map(Data::into_luminal)
    }

    /// Whether a weight or state parameter has a value.
    pub fn holds(&self, name: &str) -> bool {
        let has = self.func().params().iter().any(|param| param.role != Role::Input && param.name == name);
        has && self.0.state.try_borrow().is_ok_and(|state| !state.unset.contains(name))
    }

    /// Why the last `Graph::execute` could not compute (its results are then NaN); takes the error out, so that the
    /// graph can run again.
    pub fn take_error(&self) -> Option<GraphError> {
        self.0.failure.take()
    }

    pub(super) fn failure(&self) -> &FailureCell {
        &self.0.failure
    }

    pub(super) fn run(&self, inputs: &[Data]) -> Result<Vec<Data>, GraphError> {
        let during = format!("running `{}`", self.func().name);
        let mut state = self.0.state.try_borrow_mut().map_err(|_| busy())?;
        if !state.unset.is_empty() {
            return Err(GraphError::Unset { names: state.unset.iter().cloned().collect() });
        }
        let inputs: Vec<_> = inputs.iter().map(Data::as_ref).collect();
        let ran = guard::catch(&during, || state.region.run(&inputs))?;
        ran.map_err(|source| GraphError::backend(&during, source))
    }
}

fn busy() -> GraphError {
    IrError::new("the region is running").into()
}

impl fmt::Debug for CompiledRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let func = self.func();
        write!(f, "region {} ({} ops, {} parameters)", func.name, func.insts().len(), func.params().len())
    }
}

/// Handles are equal if they are handles on one region.
impl PartialEq for CompiledRegion {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}
