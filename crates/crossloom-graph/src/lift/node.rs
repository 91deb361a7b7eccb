//! One node, its operands and what they become.

use crossloom_ir::op::{Convert, Reshape, ToFloat};
use crossloom_ir::{DType, IrError, Op, Scope, TensorType, Value};
use luminal::op::{Constant, ConstantValue, Function};
use luminal::prelude::NodeIndex;

use super::native::Native;
use super::view::View;
use super::{Failure, Lifter};
use crate::operator::{IrOperator, Load, Output};
use crate::region::RegionOperator;
use crate::wiring::{self, Source, is_plain};

impl<'g> Lifter<'g> {
    /// Lifts a node; returns the values of its outputs.
    pub(super) fn node(&mut self, node: NodeIndex) -> Result<Vec<Value>, Failure> {
        let graph = self.graph;
        let operator = graph.graph.node_weight(node).ok_or_else(|| "is missing".to_owned())?.as_ref();
        let any = operator.as_any();
        let sources = self.operands(node)?;
        if let Some(load) = any.downcast_ref::<Load>() {
            return self.load(node, load, &sources);
        }
        if any.is::<Function>() {
            return self.function(node, &format!("{operator:?}"), &sources);
        }
        if let Some(op) = any.downcast_ref::<IrOperator>() {
            let inputs = self.typed(&sources, op.inputs())?;
            return Ok(self.done.func.push(op.op().clone(), &inputs, op.scope())?);
        }
        if let Some(output) = any.downcast_ref::<Output>() {
            let values = self.typed(&sources, output.types())?;
            self.outputs.push(node);
            return Ok(values);
        }
        if let Some(constant) = any.downcast_ref::<Constant>() {
            return self.constant(constant);
        }
        if let Some(native) = Native::of(any) {
            return Ok(vec![self.native(native, &sources)?]);
        }
        if any.is::<RegionOperator>() {
            return Err("is a compiled region; a graph is compiled once".to_owned().into());
        }
        Err("is an operator that has no meaning in the IR".to_owned().into())
    }

    /// The edges into a node, checked: orders are 0, 1, 2, … and every source output exists.
    fn operands(&self, node: NodeIndex) -> Result<Vec<Source<'g>>, Failure> {
        let sources = wiring::sources(&self.graph.graph, node);
        if let Some(at) = (0..sources.len()).find(|&at| usize::from(sources[at].order) != at) {
            return Err(format!("operand {at} is not connected, or connected twice").into());
        }
        for source in &sources {
            match self.values.get(&(source.node, source.output)) {
                Some(Some(_)) => {}
                Some(None) => return Err(Failure::Source),
                None => {
                    let from = crate::order::label(&self.graph.graph, source.node);
                    return Err(format!(
                        "operand {} reads output {} of {from}, which has none",
                        source.order, source.output
                    )
                    .into());
                }
            }
        }
        Ok(sources)
    }

    /// The value behind an edge, without its view.
    pub(super) fn buffer(&self, source: &Source<'_>) -> Result<Value, Failure> {
        self.values.get(&(source.node, source.output)).copied().flatten().ok_or(Failure::Source)
    }

    /// The value an edge shows.
    pub(super) fn viewed(&mut self, source: &Source<'_>) -> Result<Value, Failure> {
        let view = View::read(source.tracker, self.graph)?;
        self.through(source, &view)
    }

    /// The value an edge shows, its view read already.
    pub(super) fn through(&mut self, source: &Source<'_>, view: &View) -> Result<Value, Failure> {
        let value = self.buffer(source)?;
        let value = self.float(value)?;
        view.apply(&mut self.done.func.builder(), value).map_err(|error| {
            let message = format!("operand {}: {}", source.order, error.message);
            Failure::Own(IrError { message, ..error })
        })
    }

    /// The operands of one of our operators, which knows their types.
    fn typed(&mut self, sources: &[Source<'_>], types: &[TensorType]) -> Result<Vec<Value>, Failure> {
        if sources.len() != types.len() {
            return Err(format!("takes {} operands, {} are connected", types.len(), sources.len()).into());
        }
        let mut values = Vec::with_capacity(types.len());
        for (source, ty) in sources.iter().zip(types) {
            let mut value = self.buffer(source)?;
            if !is_plain(source.tracker) {
                value = self.viewed(source)?;
            }
            let given = self.done.func.ty(value);
            if given.elements() == ty.elements() && given.shape != ty.shape {
                let op = Reshape { shape: ty.shape.clone() };
                value = self.one(op, &[value])?;
            }
            let given = self.done.func.ty(value);
            if given != ty {
                return Err(format!("operand {} is {given}, {ty} is expected", source.order).into());
            }
            values.push(value);
        }
        Ok(values)
    }

    /// luminal's own ops see ids as the floats that hold them.
    pub(super) fn float(&mut self, value: Value) -> Result<Value, Failure> {
        match self.done.func.ty(value).dtype {
            DType::F32 => Ok(value),
            dtype if dtype.is_integer() => self.one(ToFloat, &[value]),
            _ => self.one(Convert, &[value]),
        }
    }

    pub(super) fn one(&mut self, op: impl Into<Op>, inputs: &[Value]) -> Result<Value, Failure> {
        let op = op.into();
        let mnemonic = op.mnemonic();
        let outputs = self.done.func.push(op, inputs, &Scope::default())?;
        outputs.first().copied().ok_or_else(|| format!("{mnemonic} has no output").into())
    }

    fn constant(&mut self, constant: &Constant) -> Result<Vec<Value>, Failure> {
        let value = match &constant.0 {
            ConstantValue::Float(value) => f64::from(*value),
            // The graph's own map, not the pointer inside the node, which dangles once the graph has moved.
            ConstantValue::Expression(expression) => {
                let value = expression.exec(&self.graph.dyn_map).ok_or_else(|| {
                    format!("depends on the dynamic dimension {expression:?}, which is not set")
                })?;
                f64::from(value as f32)
            }
        };
        let op = crossloom_ir::op::Constant { value, shape: Vec::new() };
        Ok(vec![self.one(op, &[])?])
    }
}
