//! What is computed of a weight alone and outlives a run.

use crossloom_ir::Role;
use luminal::prelude::petgraph::Direction;
use luminal::prelude::{NodeIndex, Tensor};

use super::LuminalGraph;

impl LuminalGraph {
    /// From now on, what stands right behind a weight or state and reads nothing else, such as its copy on a device, is computed once
    /// after the value was set, and not at every run. To be called after compiling: another compiler forgets it.
    pub fn keep_copies(&mut self) {
        let sources = self.params.iter().filter(|slot| slot.info.role != Role::Input);
        let sources: Vec<NodeIndex> = sources.filter_map(|slot| slot.place.node()).collect();
        let nodes = &self.graph.graph;
        for source in sources {
            let behind = nodes.neighbors_directed(source, Direction::Outgoing);
            let mut alone: Vec<NodeIndex> =
                behind.filter(|&node| nodes.edges_directed(node, Direction::Incoming).count() == 1).collect();
            alone.sort_unstable();
            self.graph.no_delete.extend(alone.iter().copied());
            self.kept.insert(source, alone);
        }
    }

    /// Whether a node's tensor outlives a run.
    pub(super) fn is_kept(&self, node: NodeIndex) -> bool {
        self.kept.values().any(|nodes| nodes.binary_search(&node).is_ok())
    }

    /// Gives a weight or state its value; what was kept of the last one goes.
    pub(super) fn give(&mut self, node: NodeIndex, values: Vec<f32>) {
        self.graph.set_tensor(node, 0, Tensor::new(values));
        for &copy in self.kept.get(&node).into_iter().flatten() {
            self.graph.tensors.remove(&(copy, 0));
        }
    }
}
