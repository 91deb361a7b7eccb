//! Compiling a graph in place.

use crossloom_ir::{IrError, Role};
use luminal::prelude::{CPUCompiler, Compiler, NodeIndex};

use super::LuminalGraph;
use crate::region::RegionOperator;
use crate::slots::Place;
use crate::splice::splice;
use crate::{CompiledRegion, GraphError, RegionCompiler, guard, wiring};

impl LuminalGraph {
    /// Runs any luminal compiler over the graph; parameters and results are followed to their new nodes.
    ///
    /// # Errors
    /// The graph is malformed, or the compiler panicked; after a panic the graph cannot be used any more.
    pub fn compile<C: Compiler>(&mut self, compiler: C) -> Result<(), GraphError> {
        self.usable()?;
        wiring::refresh(&mut self.graph)?;
        self.kept.clear();
        let Self { graph, params, results, .. } = self;
        let mut ids: Vec<&mut NodeIndex> = results.iter_mut().map(|slot| &mut slot.node).collect();
        for slot in params {
            if let Place::Load(node) | Place::Function(node) = &mut slot.place {
                ids.push(node);
            }
        }
        let compiled = guard::catch("compiling the graph", || graph.compile(compiler, ids));
        compiled.and_then(|()| self.synchronize()).inspect_err(|error| {
            self.defects.push(IrError::new(format!("unusable since a compiler failed: {error}")));
        })
    }

    /// Runs luminal's own CPU compiler, for graphs of luminal's primitives (see [`crate::decompose()`]).
    ///
    /// # Errors
    /// As [`LuminalGraph::compile`].
    pub fn compile_luminal_cpu(&mut self) -> Result<(), GraphError> {
        self.compile(CPUCompiler::default())
    }

    /// Replaces the graph by one compiled region that holds the weights and state; inputs and results keep their
    /// names, weights can still be set and read. Weights without a value are set later.
    ///
    /// # Errors
    /// The graph cannot be lifted, has more than 256 inputs or results, is compiled already, or the backend failed.
    /// The graph is then as before.
    pub fn compile_region(&mut self, backend: &dyn RegionCompiler) -> Result<(), GraphError> {
        self.usable()?;
        if self.region.is_some() {
            return Err(GraphError::malformed("the graph is compiled into a region already"));
        }
        let lifted = crate::lift::lift_with(&self.graph, &self.name, &self.hints())?;
        let mut ids: Vec<&mut NodeIndex> = self.results.iter_mut().map(|slot| &mut slot.node).collect();
        let region = splice(&mut self.graph, lifted, backend, &self.failure, &mut ids)?;
        self.adopt(region);
        self.stale = false;
        Ok(())
    }

    /// Takes note of what others did to luminal's graph.
    pub(super) fn synchronize(&mut self) -> Result<(), GraphError> {
        wiring::refresh(&mut self.graph)?;
        self.stale = false;
        if self.region.is_none()
            && let Some(region) = self.spliced_region()
        {
            self.adopt(region);
        }
        Ok(())
    }

    fn spliced_region(&self) -> Option<CompiledRegion> {
        let mut operators = self.graph.graph.node_weights().map(|operator| operator.as_ref().as_any());
        operators.find_map(|any| Some(any.downcast_ref::<RegionOperator>()?.region().clone()))
    }

    /// Weights and state are in the region now, which also updates them.
    fn adopt(&mut self, region: CompiledRegion) {
        self.results.retain(|slot| slot.info.updates.is_none());
        for slot in self.params.iter_mut().filter(|slot| slot.info.role != Role::Input) {
            slot.place = Place::Region;
        }
        self.region = Some(region);
    }
}
