//! Running a graph.

use std::collections::BTreeSet;

use crossloom_ir::Role;
use luminal::prelude::NodeIndex;
use luminal::prelude::petgraph::Direction;

use super::LuminalGraph;
use crate::{CompiledRegion, GraphError, guard};

impl LuminalGraph {
    /// Runs the graph; results are then read with [`LuminalGraph::get`], updates are in their parameters.
    ///
    /// # Errors
    /// Parameters without a value, the first operator that could not compute, a malformed graph, or a panic inside
    /// luminal. After an error there are no results, and parameters have kept their values.
    pub fn execute(&mut self) -> Result<(), GraphError> {
        self.usable()?;
        if self.stale {
            self.synchronize()?;
        }
        let names = self.unset();
        if !names.is_empty() {
            return Err(GraphError::Unset { names });
        }
        self.take_failure();
        self.drop_computed();
        let graph = &mut self.graph;
        let ran = guard::catch("executing the graph", || graph.execute());
        let failed = self.take_failure();
        match ran.and(failed.map_or(Ok(()), Err)) {
            Ok(()) => {
                self.apply_updates();
                Ok(())
            }
            Err(error) => {
                self.drop_computed();
                Err(error)
            }
        }
    }

    /// luminal skips every node that has a tensor, so what the last run computed must go. Sources keep their data,
    /// but for inputs, which give theirs anew at every run.
    fn drop_computed(&mut self) {
        let inputs = self.params.iter().filter(|slot| slot.given && slot.info.role == Role::Input);
        let inputs: BTreeSet<NodeIndex> = inputs.filter_map(|slot| slot.place.node()).collect();
        let graph = &self.graph.graph;
        let is_source =
            |node: NodeIndex| graph.neighbors_directed(node, Direction::Incoming).next().is_none();
        let stays = |node: NodeIndex| (is_source(node) && !inputs.contains(&node)) || self.is_kept(node);
        let gone: Vec<(NodeIndex, u8)> =
            self.graph.tensors.keys().copied().filter(|&(node, _)| !stays(node)).collect();
        for place in gone {
            self.graph.tensors.remove(&place);
        }
    }

    fn take_failure(&self) -> Option<GraphError> {
        let region = self.region.as_ref().and_then(CompiledRegion::take_error);
        self.failure.take().or(region)
    }

    fn apply_updates(&mut self) {
        let new = self.results.iter().filter_map(|slot| {
            let name = slot.info.updates.as_deref()?;
            let target = self.params.iter().find(|param| param.info.name == name)?.place.node()?;
            Some((target, self.tensor(slot.node, slot.output)?))
        });
        for (target, value) in new.collect::<Vec<_>>() {
            self.give(target, value);
        }
    }
}
