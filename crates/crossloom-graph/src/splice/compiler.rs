//! Our pipeline as a `luminal::Compiler`.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crossloom_runtime::Device;
use luminal::prelude::{Compiler, Graph, ToIdsMut};

use super::splice;
use crate::operator::FailureCell;
use crate::{CompiledRegion, DeviceRegions, GraphError, RegionCompiler, lift};

/// Replaces a luminal graph, of our operators or of luminal's own primitives, by one compiled region.
///
/// - Kept `Function` nodes (`keep_tensors`) are weights: their data moves into the region, and their ids are void.
///   All other `Function` nodes are inputs: they stay, and their data is read at every run.
/// - Retrieved and kept nodes become outputs of the region. Each gets a node of its own that has the retrieved node's
///   outputs, marks (`no_delete`, `to_retrieve`) and, through `remap`, its handles.
///
/// `graph.compile(&compiler, …)` cannot fail, as luminal's trait has it: where [`CrossloomCompiler::try_compile`] would
/// give an error the graph stays as it is, and [`CrossloomCompiler::last_error`] says why.
#[derive(Clone, Debug)]
pub struct CrossloomCompiler<R> {
    backend: R,
    last: Rc<RefCell<Last>>,
}

#[derive(Debug, Default)]
struct Last {
    error: Option<Rc<GraphError>>,
    region: Option<CompiledRegion>,
}

impl CrossloomCompiler<DeviceRegions> {
    /// A `luminal::Compiler` that replaces a graph by one region of a device's kernels, planned like any forward pass.
    pub fn for_device(device: Arc<dyn Device>) -> Self {
        Self::new(DeviceRegions(device))
    }
}

impl<R: RegionCompiler> CrossloomCompiler<R> {
    /// The compiler with that backend.
    pub fn new(backend: R) -> Self {
        Self { backend, last: Rc::default() }
    }

    /// Compiles a graph in place and returns the handle on its region.
    ///
    /// # Errors
    /// The graph cannot be lifted, gives no result, has more than 256 inputs or results, a weight has no value, or the
    /// backend failed. The graph is then as before.
    pub fn try_compile<T: ToIdsMut>(
        &self,
        graph: &mut Graph,
        mut remap: T,
    ) -> Result<CompiledRegion, GraphError> {
        let lifted = lift(graph, "luminal")?;
        let failure = FailureCell::new();
        splice(graph, lifted, &self.backend, &failure, &mut remap.to_ids_mut())
    }

    /// Why the last `graph.compile` with this compiler or a clone of it changed nothing; `None` if it succeeded.
    pub fn last_error(&self) -> Option<Rc<GraphError>> {
        self.last.try_borrow().ok()?.error.clone()
    }

    /// The region that the last `graph.compile` with this compiler or a clone of it made.
    pub fn last_region(&self) -> Option<CompiledRegion> {
        self.last.try_borrow().ok()?.region.clone()
    }
}

impl<R: RegionCompiler> Compiler for CrossloomCompiler<R> {
    fn compile<T: ToIdsMut>(&self, graph: &mut Graph, remap: T) {
        let last = match self.try_compile(graph, remap) {
            Ok(region) => Last { error: None, region: Some(region) },
            Err(error) => Last { error: Some(Rc::new(error)), region: None },
        };
        if let Ok(mut cell) = self.last.try_borrow_mut() {
            *cell = last;
        }
    }
}

impl<R: RegionCompiler> Compiler for &CrossloomCompiler<R> {
    fn compile<T: ToIdsMut>(&self, graph: &mut Graph, remap: T) {
        (**self).compile(graph, remap);
    }
}
