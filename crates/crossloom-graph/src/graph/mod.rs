//! A luminal graph with names, behind functions that return errors.

mod compile;
mod kept;
mod run;
mod values;

use std::collections::BTreeMap;

use crossloom_ir::{Func, IrError, IrErrors};
use crossloom_picture::{Depth, Picture};
use luminal::prelude::{Graph, NodeIndex};

use crate::describe::{Described, describe_graph};
use crate::operator::FailureCell;
use crate::slots::{Hints, Place, ResultSlot};
use crate::{CompiledRegion, GraphError, NodeInfo, ParamInfo, ResultInfo, wiring};

#[derive(Clone, Debug)]
struct ParamSlot {
    info: ParamInfo,
    place: Place,
    /// A value was given to a load node of luminal's, which cannot be asked.
    given: bool,
}

/// Owns a luminal graph. Values go in and out by name; ids are held as floats inside luminal, which is exact up to
/// 2^24. Running it before [`LuminalGraph::compile_region`] is the reference semantics: correct and slow.
#[derive(Debug)]
pub struct LuminalGraph {
    name: String,
    graph: Box<Graph>,
    params: Vec<ParamSlot>,
    results: Vec<ResultSlot>,
    failure: FailureCell,
    defects: Vec<IrError>,
    region: Option<CompiledRegion>,
    stale: bool,
    /// By node of a weight or state, the nodes behind it whose tensors outlive a run.
    kept: BTreeMap<NodeIndex, Vec<NodeIndex>>,
}

impl LuminalGraph {
    pub(crate) fn assemble(
        name: String,
        graph: Box<Graph>,
        params: Vec<(ParamInfo, Place)>,
        results: Vec<ResultSlot>,
        failure: FailureCell,
        defects: Vec<IrError>,
    ) -> Self {
        let params =
            params.into_iter().map(|(info, place)| ParamSlot { info, place, given: false }).collect();
        let (region, stale, kept) = (None, false, BTreeMap::new());
        let mut this = Self { name, graph, params, results, failure, defects, region, stale, kept };
        if let Err(error) = wiring::refresh(&mut this.graph) {
            this.defects.push(IrError::new(error.to_string()));
        }
        this
    }

    /// The graph's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The parameters, in the order in which they were added.
    pub fn params(&self) -> impl Iterator<Item = &ParamInfo> {
        self.params.iter().map(|slot| &slot.info)
    }

    /// The results, in the order in which they were added.
    pub fn results(&self) -> impl Iterator<Item = &ResultInfo> {
        self.results.iter().map(|slot| &slot.info)
    }

    /// luminal's graph; its field `graph` is a petgraph `StableGraph` of operators.
    pub fn luminal(&self) -> &Graph {
        &self.graph
    }

    /// luminal's graph, to extend or rewrite it. Nodes that hold parameters or results must stay.
    pub fn luminal_mut(&mut self) -> &mut Graph {
        self.stale = true;
        &mut self.graph
    }

    /// The node of luminal's graph that holds a parameter, or the node and output that hold a result.
    pub fn node_of(&self, name: &str) -> Option<(NodeIndex, u8)> {
        let result = self.results.iter().find(|slot| slot.info.name == name && slot.info.updates.is_none());
        let result = result.map(|slot| (slot.node, slot.output));
        let param =
            || self.params.iter().find(|slot| slot.info.name == name)?.place.node().map(|node| (node, 0));
        result.or_else(param)
    }

    /// The compiled region, after [`LuminalGraph::compile_region`].
    pub fn region(&self) -> Option<&CompiledRegion> {
        self.region.as_ref()
    }

    /// The graph as an IR function: parameters, instructions and results in the order in which they were added.
    ///
    /// # Errors
    /// Everything that is wrong with the graph.
    pub fn lift(&self) -> Result<Func, IrErrors> {
        if !self.defects.is_empty() {
            return Err(IrErrors(self.defects.clone()));
        }
        if let Some(region) = &self.region {
            return Ok(region.func().clone());
        }
        Ok(crate::lift::lift_with(&self.graph, &self.name, &self.hints())?.func)
    }

    /// The nodes, renumbered in visiting order.
    pub fn describe(&self) -> Vec<NodeInfo> {
        self.described().nodes
    }

    /// One line per node; stable under rebuilding, made for snapshots.
    pub fn to_text(&self) -> String {
        self.described().to_text()
    }

    /// The graph as boxes in the frames of their scopes; weights are not drawn.
    pub fn picture(&self, depth: Depth) -> Picture {
        self.described().picture(depth)
    }

    /// The nodes as JSON.
    ///
    /// # Errors
    /// The serializer's, which a graph cannot cause.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        self.described().to_json()
    }

    fn described(&self) -> Described {
        describe_graph(&self.graph, &self.name, &self.hints())
    }

    /// What luminal's own nodes cannot say about themselves.
    fn hints(&self) -> Hints {
        let mut hints = Hints::default();
        for slot in &self.params {
            if let Place::Function(node) = slot.place {
                hints.params.insert(node, slot.info.clone());
            }
        }
        hints.results.clone_from(&self.results);
        hints
    }

    fn usable(&self) -> Result<(), GraphError> {
        if self.defects.is_empty() { Ok(()) } else { Err(IrErrors(self.defects.clone()).into()) }
    }
}
