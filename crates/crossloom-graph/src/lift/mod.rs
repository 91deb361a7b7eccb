//! From a luminal graph to an IR function.
//!
//! Accepted nodes: our operators; luminal's twelve primitives and `Contiguous` with any view that the IR can express;
//! `Constant`; `Function` without operands, which is a parameter. Nodes are visited sources first, smaller index first,
//! so that a graph of [`GraphBuilder`](crate::GraphBuilder) gives back its ops in the order of building.
//!
//! luminal's own rules, which lifting follows to the letter: a unary op works on the *buffer* of its operand and leaves
//! the operand's view to its consumers; every other op reads through the views of its edges and gives a contiguous
//! buffer; padding reads as zero.

mod native;
mod node;
mod params;
mod results;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use crossloom_ir::{Func, IrError, IrErrors, TensorType, Value};
use luminal::prelude::{Graph, NodeIndex};

use crate::order::{cycle, label};
use crate::slots::Hints;
use crate::{GraphError, guard, order};

/// A lifted graph and where its parts came from.
#[derive(Clone, Debug)]
pub struct Lifted {
    /// The function.
    pub func: Func,
    /// The node of every parameter, in parameter order.
    pub params: Vec<NodeIndex>,
    /// The node and output of every result, in result order.
    pub results: Vec<(NodeIndex, u8)>,
}

/// Lifts a graph. Results are the [`Output`](crate::operator::Output) nodes, then every other retrieved or kept node
/// that computes something (named `out0`, `out1`, … by node index; a node with several outputs gives them all).
///
/// A `Function` node is a weight if it is kept (`keep_tensors`) without being retrieved, else an input.
///
/// # Errors
/// Everything that is wrong with the graph, each error with its node.
pub fn lift(graph: &Graph, name: &str) -> Result<Lifted, IrErrors> {
    lift_with(graph, name, &Hints::default())
}

pub(crate) fn lift_with(graph: &Graph, name: &str, hints: &Hints) -> Result<Lifted, IrErrors> {
    let lifter = run(graph, name, hints)?;
    if !lifter.errors.is_empty() {
        return Err(IrErrors(lifter.errors));
    }
    crossloom_ir::verify::verify(&lifter.done.func)?;
    Ok(lifter.done)
}

/// Types of the outputs of all nodes that can be lifted.
pub(crate) fn types(graph: &Graph, hints: &Hints) -> BTreeMap<(NodeIndex, u8), TensorType> {
    let Ok(lifter) = run(graph, "", hints) else { return BTreeMap::new() };
    let typed = |(&key, value): (&(NodeIndex, u8), &Option<Value>)| {
        Some((key, lifter.done.func.ty((*value)?).clone()))
    };
    lifter.values.iter().filter_map(typed).collect()
}

fn run<'g>(graph: &'g Graph, name: &str, hints: &'g Hints) -> Result<Lifter<'g>, IrErrors> {
    let order = order::topological(&graph.graph).map_err(|nodes| cycle(&graph.graph, &nodes))?;
    let lifter = guard::catch("lifting the graph", || {
        let mut lifter = Lifter::new(graph, name, hints);
        for node in order {
            lifter.visit(node);
        }
        lifter.add_results();
        lifter
    });
    lifter.map_err(|error: GraphError| IrErrors::from(IrError::new(error.to_string())))
}

struct Lifter<'g> {
    graph: &'g Graph,
    hints: &'g Hints,
    done: Lifted,
    /// What every output of every visited node became; `None` where that failed.
    values: BTreeMap<(NodeIndex, u8), Option<Value>>,
    names: BTreeSet<String>,
    outputs: Vec<NodeIndex>,
    errors: Vec<IrError>,
}

/// Why a node has no value: it is wrong itself, or a source of it is, which has been said already.
enum Failure {
    Own(IrError),
    Source,
}

impl From<IrError> for Failure {
    fn from(error: IrError) -> Self {
        Self::Own(error)
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Own(IrError::new(message))
    }
}

impl<'g> Lifter<'g> {
    fn new(graph: &'g Graph, name: &str, hints: &'g Hints) -> Self {
        Self {
            graph,
            hints,
            done: Lifted { func: Func::new(name), params: Vec::new(), results: Vec::new() },
            values: BTreeMap::new(),
            names: BTreeSet::new(),
            outputs: Vec::new(),
            errors: Vec::new(),
        }
    }

    fn visit(&mut self, node: NodeIndex) {
        match self.node(node) {
            Ok(values) => {
                for (output, value) in values.into_iter().enumerate() {
                    self.values.insert((node, output as u8), Some(value));
                }
            }
            Err(failure) => {
                if let Failure::Own(error) = failure {
                    self.errors.push(error.with_value(label(&self.graph.graph, node)));
                }
                for output in 0..=u8::MAX {
                    self.values.insert((node, output), None);
                }
            }
        }
    }
}
