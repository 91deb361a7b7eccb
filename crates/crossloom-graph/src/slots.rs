//! What the owner of a luminal graph knows about it and luminal does not: names, roles and types, and the nodes that hold
//! them.

use std::collections::BTreeMap;

use crossloom_ir::{Role, TensorType};
use luminal::prelude::NodeIndex;

/// A parameter of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamInfo {
    /// Unique name.
    pub name: String,
    /// What it is to the graph.
    pub role: Role,
    /// Its type.
    pub ty: TensorType,
}

/// A result of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultInfo {
    /// Unique name; of an update, the parameter's name.
    pub name: String,
    /// Its type.
    pub ty: TensorType,
    /// The parameter whose value it becomes after a run.
    pub updates: Option<String>,
}

/// Where a parameter's data lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In our own load node (inputs) or in the tensors luminal keeps for it (weights, state).
    Load(NodeIndex),
    /// The same with luminal's own load node.
    Function(NodeIndex),
    /// In the compiled region.
    Region,
}

impl Place {
    pub(crate) fn is(self, node: u32) -> bool {
        self.node().is_some_and(|own| own.index() == node as usize)
    }

    pub(crate) fn node(self) -> Option<NodeIndex> {
        match self {
            Self::Load(node) | Self::Function(node) => Some(node),
            Self::Region => None,
        }
    }
}

/// A result and the node output that holds it.
#[derive(Clone, Debug)]
pub(crate) struct ResultSlot {
    pub(crate) info: ResultInfo,
    pub(crate) node: NodeIndex,
    pub(crate) output: u8,
}

/// What the owner of a graph knows and luminal's own nodes do not say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hints {
    /// Names, roles and types of luminal's load nodes.
    pub(crate) params: BTreeMap<NodeIndex, ParamInfo>,
    /// Names of results that are no output nodes of ours.
    pub(crate) results: Vec<ResultSlot>,
}
