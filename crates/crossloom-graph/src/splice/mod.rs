//! Replacing a graph by a region. Everything that can fail comes first, so that an error leaves the graph as it was.

mod compiler;

pub use compiler::CrossloomCompiler;

use std::collections::{BTreeMap, BTreeSet};

use crossloom_ir::{Role, TensorType};
use luminal::op::{Function, Operator};
use luminal::prelude::petgraph::Direction;
use luminal::prelude::petgraph::visit::EdgeRef;
use luminal::prelude::{Graph, NodeIndex};

use crate::operator::{FailureCell, Load, Output};
use crate::order::label;
use crate::region::RegionOperator;
use crate::wiring::{MAX_EDGES, connect, refresh, tracker};
use crate::{CompiledRegion, GraphError, Lifted, RegionCompiler, guard};

/// Compiles a lifted graph and puts the region in its place; `ids` follow the results to their new nodes.
///
/// # Errors
/// See [`CrossloomCompiler::try_compile`](CrossloomCompiler::try_compile). The graph is then as before.
pub(crate) fn splice(
    graph: &mut Graph,
    lifted: Lifted,
    backend: &dyn RegionCompiler,
    failure: &FailureCell,
    ids: &mut [&mut NodeIndex],
) -> Result<CompiledRegion, GraphError> {
    check_limits(graph, &lifted)?;
    let during = format!("compiling `{}`", lifted.func.name);
    let region = guard::catch(&during, || backend.compile(&lifted.func))?;
    let region = region.map_err(|source| GraphError::backend(&during, source))?;
    let region = CompiledRegion::new(lifted.func, region, failure.clone());
    let params: Vec<(NodeIndex, Role)> =
        lifted.params.iter().copied().zip(region.func().params().iter().map(|param| param.role)).collect();
    move_weights(graph, &params, &region)?;

    let inputs = params.iter().filter(|(_, role)| *role == Role::Input).map(|(node, _)| *node);
    let inputs: Vec<NodeIndex> = inputs.collect();
    let moved = replace(graph, &inputs, &lifted.results, &region, failure);
    for id in ids.iter_mut() {
        if let Some(new) = moved.get(*id) {
            **id = *new;
        }
    }
    refresh(graph)?;
    Ok(region)
}

fn check_limits(graph: &Graph, lifted: &Lifted) -> Result<(), GraphError> {
    let func = &lifted.func;
    let inputs = func.params().iter().filter(|param| param.role == Role::Input).count();
    let results = func.results().iter().filter(|result| result.updates.is_none()).count();
    for (kind, count) in [("inputs", inputs), ("outputs", results)] {
        if count > MAX_EDGES {
            return Err(GraphError::TooManyEdges { what: format!("region `{}`", func.name), kind, count });
        }
    }
    if func.results().is_empty() {
        return Err(GraphError::malformed(no_result(graph)));
    }
    Ok(())
}

/// Why a graph without results has none.
fn no_result(graph: &Graph) -> String {
    let is_load = |node: &&NodeIndex| {
        let operator = graph.graph.node_weight(**node).map(|operator| operator.as_ref().as_any());
        operator.is_some_and(|any| any.is::<Function>() || any.is::<Load>())
    };
    let given: BTreeSet<&NodeIndex> = graph.to_retrieve.iter().filter(is_load).collect();
    match given.first() {
        None => "the graph gives no result; retrieve a tensor before compiling".to_owned(),
        Some(node) => format!(
            "nothing is computed: all that is retrieved are inputs, {} first; retrieve a tensor that an op gives, or read the \
             input where it was set",
            label(&graph.graph, **node)
        ),
    }
}

/// Gives the region its weights. The graph keeps its copies until nothing can fail any more.
fn move_weights(
    graph: &mut Graph,
    params: &[(NodeIndex, Role)],
    region: &CompiledRegion,
) -> Result<(), GraphError> {
    for ((node, role), param) in params.iter().zip(region.func().params()) {
        if *role == Role::Input {
            continue;
        }
        let kept =
            graph.get_tensor_ref(*node, 0).and_then(|tensor| tensor.data.as_any().downcast_ref::<Vec<f32>>());
        if let Some(values) = kept {
            region.set(&param.name, values)?;
        } else if let Some(operator) = graph.graph.node_weight_mut(*node)
            && let Some(values) = own_value(operator.as_mut(), &param.name)?
        {
            region.set(&param.name, &values)?;
        }
    }
    Ok(())
}

/// The data of a weight that its load node makes itself; none if one of ours was not set yet.
fn own_value(operator: &mut dyn Operator, name: &str) -> Result<Option<Vec<f32>>, GraphError> {
    if let Some(load) = operator.as_any().downcast_ref::<Load>() {
        return Ok(load.value().map(<[f32]>::to_vec));
    }
    if !operator.as_any().is::<Function>() {
        return Ok(None);
    }
    let made = guard::catch(&format!("loading the weight `{name}`"), || operator.process(Vec::new()))?;
    let values = made.first().and_then(|tensor| tensor.data.as_any().downcast_ref::<Vec<f32>>()).cloned();
    values
        .map(Some)
        .ok_or_else(|| GraphError::malformed(format!("weight `{name}` gives no f32 data on the CPU")))
}

/// Puts the region between inputs and results and removes everything else. Returns where result nodes went.
fn replace(
    graph: &mut Graph,
    inputs: &[NodeIndex],
    results: &[(NodeIndex, u8)],
    region: &CompiledRegion,
    failure: &FailureCell,
) -> BTreeMap<NodeIndex, NodeIndex> {
    let (old, sources) = bystanders(graph, inputs);
    let mut keep = sources.clone();
    let func = region.func();
    let operator = RegionOperator::new(region.clone());
    let types = operator.outputs().to_vec();
    let node = graph.add_op(operator).finish();
    let input_types =
        func.params().iter().filter(|param| param.role == Role::Input).map(|p| func.shape(p.value));
    for (order, (&input, shape)) in inputs.iter().zip(input_types).enumerate() {
        connect(graph, (input, 0), (node, order as u8), &tracker(shape));
    }
    let mut moved = BTreeMap::new();
    for (old_node, group) in grouped(results, region) {
        let own: Vec<TensorType> = group.iter().map(|&(at, _)| types[at].clone()).collect();
        let target = if is_output(graph, old_node) {
            disconnect(graph, old_node);
            keep.insert(old_node);
            old_node
        } else {
            let name = group.first().map_or("", |(_, name)| name.as_str());
            let new = graph.add_op(Output::new(name, None, own.clone(), failure.clone())).finish();
            if graph.to_retrieve.contains(&old_node) {
                graph.to_retrieve.insert(new);
            }
            graph.no_delete.insert(new);
            moved.insert(old_node, new);
            new
        };
        for (order, (&(at, _), ty)) in group.iter().zip(&own).enumerate() {
            connect(graph, (node, at as u8), (target, order as u8), &tracker(&ty.shape));
        }
    }
    for old_node in old.into_iter().filter(|node| !keep.contains(node)) {
        graph.graph.remove_node(old_node);
        graph.no_delete.remove(&old_node);
        graph.to_retrieve.remove(&old_node);
    }
    graph.tensors.retain(|(node, _), _| sources.contains(node));
    moved
}

/// The nodes there are, and those that have nothing to do with the region: inputs and unused loads of luminal's.
fn bystanders(graph: &Graph, inputs: &[NodeIndex]) -> (Vec<NodeIndex>, BTreeSet<NodeIndex>) {
    let old: Vec<NodeIndex> = graph.graph.node_indices().collect();
    let unused = |node: &NodeIndex| {
        let is_load = graph
            .graph
            .node_weight(*node)
            .is_some_and(|operator| operator.as_ref().as_any().is::<Function>());
        is_load && graph.graph.neighbors(*node).next().is_none()
    };
    let keep = old.iter().filter(|node| unused(node)).chain(inputs).copied().collect();
    (old, keep)
}

/// Results that update no parameter, by node: (position among the region's outputs, name).
fn grouped(
    results: &[(NodeIndex, u8)],
    region: &CompiledRegion,
) -> BTreeMap<NodeIndex, Vec<(usize, String)>> {
    let mut groups: BTreeMap<NodeIndex, Vec<(usize, String)>> = BTreeMap::new();
    let given = results.iter().zip(region.func().results()).filter(|(_, result)| result.updates.is_none());
    for (at, ((node, _), result)) in given.enumerate() {
        groups.entry(*node).or_default().push((at, result.name.clone()));
    }
    groups
}

fn is_output(graph: &Graph, node: NodeIndex) -> bool {
    graph.graph.node_weight(node).is_some_and(|operator| operator.as_ref().as_any().is::<Output>())
}

fn disconnect(graph: &mut Graph, node: NodeIndex) {
    let edges: Vec<_> = graph.graph.edges_directed(node, Direction::Incoming).map(|edge| edge.id()).collect();
    for edge in edges {
        graph.graph.remove_edge(edge);
    }
}
