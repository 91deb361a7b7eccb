//! From an IR function to a graph of luminal's own primitives.
//!
//! The function is expanded until only the IR's primitive ops are left, which are luminal's twelve, movement and leaves.
//! Transposes and repetitions become views, so that luminal's matmul rewrite can fire; slices, padding and reshapes of
//! views are made contiguous.
//!
//! The graph is shaped so that the rewrites of luminal 0.2.0's CPU compiler are right on it. They match patterns without
//! checking who else reads the nodes they remove, and two of them compute something else than what they replace:
//! - a value with several readers is read through a `Contiguous`, so that no pattern contains it;
//! - `LessThan` is followed by `Contiguous`: the rewrite of `1 - (a<b) - (b<a)` gives an `Equal` that computes `a < b`;
//! - `Mul` is reduced directly along the last axis only: the 2-D matmul rewrite looks for a sum along the first one;
//! - results are read through a `Contiguous`, so that no retrieved node is rewritten.

mod emit;
mod view;

use std::collections::BTreeMap;

use crossloom_ir::expand::to_primitives;
use crossloom_ir::{DType, Func, IrError, IrErrors, Op, Role, Value};
use luminal::op::{Contiguous, Function};
use luminal::prelude::{Graph, NodeIndex, Tensor};

use self::view::View;
use crate::operator::FailureCell;
use crate::slots::{Place, ResultSlot};
use crate::wiring::connect;
use crate::{GraphError, LuminalGraph, ParamInfo, ResultInfo};

/// luminal holds floats of 32 bits, and ids in them. Another type would have to be rounded, which no primitive does.
fn only_luminal_types(func: &Func) -> Result<(), IrErrors> {
    let all = func.params().iter().map(|param| param.value);
    let all = all.chain(func.insts().iter().flat_map(|inst| inst.outputs.iter().copied()));
    let other = all.filter(|&value| !matches!(func.dtype(value), DType::F32 | DType::I32));
    let errors: Vec<IrError> = other
        .map(|value| {
            IrError::new(format!("is {}; luminal holds f32 and i32", func.ty(value))).with_value(value)
        })
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(IrErrors(errors)) }
}

/// Builds the graph of luminal's primitives that computes `func`. Run it as it is, or after
/// [`LuminalGraph::compile_luminal_cpu`]; luminal evaluates index expressions per element, so keep it small.
///
/// # Errors
/// A value that is neither `f32` nor `i32`, an op without an expansion into primitives, an empty tensor, or a shape that luminal cannot hold; all of them.
pub fn decompose(func: &Func) -> Result<LuminalGraph, GraphError> {
    only_luminal_types(func)?;
    let func = to_primitives(func)?;
    let mut emitter = Emitter::new(&func);
    let params =
        func.params().iter().map(|param| emitter.param(&param.name, param.role, param.value)).collect();
    let mut errors = Vec::new();
    for inst in func.insts() {
        // What reads a value that could not be emitted is left out silently: the reason has been said.
        if inst.inputs.iter().all(|value| emitter.placed.contains_key(value)) {
            errors.extend(emitter.inst(inst).err());
        }
    }
    let mut results = Vec::new();
    for result in func.results() {
        if !emitter.placed.contains_key(&result.value) {
            continue;
        }
        let updates = result.updates.map(|at| func.params()[at].name.clone());
        let info = ResultInfo { name: result.name.clone(), ty: func.ty(result.value).clone(), updates };
        match emitter.result(result.value) {
            Ok(node) => results.push(ResultSlot { info, node, output: 0 }),
            Err(error) => errors.push(error.with_op(format!("result {}", result.name))),
        }
    }
    if !errors.is_empty() {
        return Err(IrErrors(errors).into());
    }
    Ok(LuminalGraph::assemble(
        func.name.clone(),
        emitter.graph,
        params,
        results,
        FailureCell::new(),
        Vec::new(),
    ))
}

/// luminal's load node with that data.
fn loaded(name: String, data: Vec<f32>) -> Function {
    Function(name, Box::new(move |_| vec![Tensor::new(data.clone())]))
}

/// A value in the graph: a buffer and how it is viewed.
#[derive(Clone, Debug)]
struct Placed {
    node: NodeIndex,
    view: View,
}

struct Emitter<'f> {
    func: &'f Func,
    graph: Box<Graph>,
    placed: BTreeMap<Value, Placed>,
    /// How many nodes read the buffer behind each value, itself or through views of it.
    readers: Vec<usize>,
    /// The products, and their shapes.
    products: BTreeMap<NodeIndex, Vec<usize>>,
}

impl<'f> Emitter<'f> {
    fn new(func: &'f Func) -> Self {
        let mut readers = vec![0; func.value_count()];
        for result in func.results() {
            readers[result.value.index()] += 1;
        }
        for inst in func.insts().iter().rev() {
            let is_view = emit::is_view(&inst.op);
            let reads = if matches!(inst.op, Op::ToInt(_)) { 2 } else { 1 };
            let through: usize = inst.outputs.iter().map(|value| readers[value.index()]).sum();
            for input in &inst.inputs {
                readers[input.index()] += if is_view { through } else { reads };
            }
        }
        Self {
            func,
            graph: Box::new(Graph::new()),
            placed: BTreeMap::new(),
            readers,
            products: BTreeMap::new(),
        }
    }

    fn param(&mut self, name: &str, role: Role, value: Value) -> (ParamInfo, Place) {
        let ty = self.func.ty(value).clone();
        let unset = vec![f32::NAN; ty.elements()];
        let node = self.graph.add_op(loaded(format!("{name} Load"), unset)).finish();
        if role != Role::Input {
            self.graph.no_delete.insert(node);
        }
        self.placed.insert(value, Placed { node, view: View::contiguous(&ty.shape) });
        (ParamInfo { name: name.to_owned(), role, ty }, Place::Function(node))
    }

    fn result(&mut self, value: Value) -> Result<NodeIndex, IrError> {
        let placed = self.get(value)?;
        let node = self.contiguous(&placed)?;
        self.graph.retrieve_tensors(node);
        Ok(node)
    }

    fn get(&self, value: Value) -> Result<Placed, IrError> {
        let placed = self.placed.get(&value).cloned();
        placed.ok_or_else(|| IrError::new("is read before it is defined").with_value(value))
    }

    /// Copies what a value shows into a buffer of its own.
    fn contiguous(&mut self, placed: &Placed) -> Result<NodeIndex, IrError> {
        let node = self.graph.add_op(Contiguous).finish();
        self.wire(placed, node, 0)?;
        Ok(node)
    }

    fn wire(&mut self, from: &Placed, to: NodeIndex, order: u8) -> Result<(), IrError> {
        connect(&mut self.graph, (from.node, 0), (to, order), &from.view.tracker()?);
        Ok(())
    }
}
