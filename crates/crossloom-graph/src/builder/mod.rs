//! Building a luminal graph of our operators, with run-time shapes.

mod shorthand;

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crossloom_ir::{DType, IrError, Op, Role, Scope, TensorType};
use luminal::prelude::{Graph, NodeIndex};

use crate::operator::{FailureCell, IrOperator, Load, Output};
use crate::slots::{Place, ResultSlot};
use crate::wiring::{MAX_EDGES, connect, tracker};
use crate::{GraphError, LuminalGraph, ParamInfo, ResultInfo};

/// One output of a node of a graph under construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tensor {
    builder: u32,
    node: u32,
    output: u8,
}

/// Builds a graph node by node; shapes live in our own nodes, luminal gets each edge's tracker once.
///
/// Mistakes of calls that return no `Result` (a name used twice, a foreign tensor as a result) are reported by the
/// finished graph.
#[derive(Debug)]
pub struct GraphBuilder {
    id: u32,
    name: String,
    graph: Box<Graph>,
    scope: Scope,
    types: Vec<Vec<TensorType>>,
    params: Vec<(ParamInfo, Place)>,
    results: Vec<ResultSlot>,
    names: BTreeSet<String>,
    failure: FailureCell,
    defects: Vec<IrError>,
}

static BUILDERS: AtomicU32 = AtomicU32::new(0);
static UNKNOWN: LazyLock<TensorType> = LazyLock::new(|| TensorType::f32([]));

impl GraphBuilder {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        Self {
            id: BUILDERS.fetch_add(1, Ordering::Relaxed),
            name: name.to_owned(),
            graph: Box::new(Graph::new()),
            scope: Scope::default(),
            types: Vec::new(),
            params: Vec::new(),
            results: Vec::new(),
            names: BTreeSet::new(),
            failure: FailureCell::new(),
            defects: Vec::new(),
        }
    }

    /// Adds a parameter; its name must be new.
    pub fn param(&mut self, name: &str, role: Role, ty: TensorType) -> Tensor {
        if !self.names.insert(format!("param {name}")) {
            self.defects
                .push(IrError::new(format!("there are two parameters `{name}`")).with_scope(&self.scope));
        }
        if !matches!(ty.dtype, DType::F32 | DType::I32) {
            let message = format!("parameter `{name}` is {ty}; a luminal graph holds f32 and i32");
            self.defects.push(IrError::new(message).with_scope(&self.scope));
        }
        let node = self.graph.add_op(Load::new(name, role, ty.clone(), self.failure.clone())).finish();
        if role != Role::Input {
            self.graph.no_delete.insert(node);
        }
        self.params.push((ParamInfo { name: name.to_owned(), role, ty: ty.clone() }, Place::Load(node)));
        self.defined(node, vec![ty]).first().copied().unwrap_or(Tensor {
            builder: self.id,
            node: 0,
            output: 0,
        })
    }

    /// Applies an op and returns all its outputs.
    ///
    /// # Errors
    /// The op's type rule does not hold, an operand belongs to another graph, or there are more than 256 operands or
    /// outputs.
    pub fn push(&mut self, op: impl Into<Op>, inputs: &[Tensor]) -> Result<Vec<Tensor>, GraphError> {
        let op = op.into();
        let what = || match self.scope.as_str() {
            "" => op.mnemonic().to_owned(),
            scope => format!("{} in {scope}", op.mnemonic()),
        };
        if inputs.len() > MAX_EDGES {
            return Err(GraphError::TooManyEdges { what: what(), kind: "inputs", count: inputs.len() });
        }
        let mut types = Vec::with_capacity(inputs.len());
        for (position, &input) in inputs.iter().enumerate() {
            let foreign = || IrError::new(format!("operand {position} belongs to another graph"));
            let ty =
                self.lookup(input).ok_or_else(|| foreign().with_op(op.mnemonic()).with_scope(&self.scope))?;
            types.push(ty.clone());
        }
        let operator = IrOperator::new(op.clone(), types, self.scope.clone(), self.failure.clone())?;
        let outputs = operator.outputs().to_vec();
        if outputs.len() > MAX_EDGES {
            return Err(GraphError::TooManyEdges { what: what(), kind: "outputs", count: outputs.len() });
        }
        let node = self.graph.add_op(operator).finish();
        for (position, &input) in inputs.iter().enumerate() {
            self.wire(input, node, position as u8);
        }
        Ok(self.defined(node, outputs))
    }

    /// Applies an op and returns its first output.
    ///
    /// # Errors
    /// As [`GraphBuilder::push`].
    pub fn one(&mut self, op: impl Into<Op>, inputs: &[Tensor]) -> Result<Tensor, GraphError> {
        let op = op.into();
        let mnemonic = op.mnemonic();
        let outputs = self.push(op, inputs)?;
        outputs.first().copied().ok_or_else(|| IrError::new("has no output").with_op(mnemonic).into())
    }

    /// Type of a tensor of this graph; the type of a scalar for a tensor of another one.
    pub fn ty(&self, t: Tensor) -> &TensorType {
        self.lookup(t).unwrap_or(&UNKNOWN)
    }

    /// Shape of a tensor of this graph; empty for a tensor of another one.
    pub fn shape(&self, t: Tensor) -> &[usize] {
        &self.ty(t).shape
    }

    /// The scope that new nodes get.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Sets the scope of new nodes; returns the one before.
    pub fn set_scope(&mut self, scope: Scope) -> Scope {
        std::mem::replace(&mut self.scope, scope)
    }

    /// Runs `f` with the scope extended by `part`, which may itself be dotted (`block.7`).
    pub fn scoped<R>(&mut self, part: &str, f: impl FnOnce(&mut Self) -> R) -> R {
        let inner = self.scope.child(part);
        let outer = std::mem::replace(&mut self.scope, inner);
        let out = f(self);
        self.scope = outer;
        out
    }

    /// Makes a tensor a retrieved output; its name must be new.
    pub fn result(&mut self, name: &str, t: Tensor) {
        if !self.names.insert(format!("result {name}")) {
            self.defects
                .push(IrError::new(format!("there are two results `{name}`")).with_scope(&self.scope));
        }
        self.add_result(name, None, t);
    }

    /// Makes a tensor the new value of a weight or state parameter after each run.
    pub fn update(&mut self, param: Tensor, t: Tensor) {
        let slot = self.params.iter().position(|(_, place)| param.builder == self.id && place.is(param.node));
        let found = slot
            .map(|index| (index, self.params[index].0.clone()))
            .filter(|(_, info)| info.role != Role::Input);
        match found {
            Some((index, info)) if self.lookup(t) == Some(&info.ty) => {
                self.add_result(&info.name, Some(index), t);
            }
            Some((_, info)) => {
                let message = format!("`{}` is {}, its update {}", info.name, info.ty, self.ty(t));
                self.defects.push(IrError::new(message).with_scope(&self.scope));
            }
            None => {
                let error = IrError::new("only a weight or state parameter of this graph can be updated");
                self.defects.push(error.with_scope(&self.scope));
            }
        }
    }

    /// The finished graph.
    pub fn finish(self) -> LuminalGraph {
        let Self { name, graph, params, results, failure, defects, .. } = self;
        LuminalGraph::assemble(name, graph, params, results, failure, defects)
    }

    fn add_result(&mut self, name: &str, updates: Option<usize>, t: Tensor) {
        let Some(ty) = self.lookup(t).cloned() else {
            let error = IrError::new(format!("result `{name}` belongs to another graph"));
            return self.defects.push(error.with_scope(&self.scope));
        };
        let param = updates.map(|index| self.params[index].0.name.clone());
        let output = Output::new(name, param.as_deref(), vec![ty.clone()], self.failure.clone());
        let node = self.graph.add_op(output).finish();
        self.wire(t, node, 0);
        self.graph.retrieve_tensors(node);
        self.defined(node, Vec::new());
        self.results.push(ResultSlot {
            info: ResultInfo { name: name.to_owned(), ty, updates: param },
            node,
            output: 0,
        });
    }

    fn wire(&mut self, from: Tensor, to: NodeIndex, order: u8) {
        let view = tracker(self.shape(from));
        connect(&mut self.graph, (NodeIndex::new(from.node as usize), from.output), (to, order), &view);
    }

    /// Records the types of a node's outputs. Nodes of a fresh graph are numbered one after the other.
    fn defined(&mut self, node: NodeIndex, outputs: Vec<TensorType>) -> Vec<Tensor> {
        let tensor = |output| Tensor { builder: self.id, node: node.index() as u32, output: output as u8 };
        let tensors = (0..outputs.len()).map(tensor).collect();
        self.types.push(outputs);
        tensors
    }

    fn lookup(&self, t: Tensor) -> Option<&TensorType> {
        let outputs = self.types.get(t.node as usize).filter(|_| t.builder == self.id)?;
        outputs.get(usize::from(t.output))
    }
}
