//! Load nodes: ours and luminal's.

use crossloom_ir::{DType, IrError, Role, TensorType, Value};
use luminal::prelude::petgraph::Direction;
use luminal::prelude::petgraph::visit::EdgeRef;
use luminal::prelude::{Dependency, NodeIndex};

use super::view::View;
use super::{Failure, Lifter};
use crate::ParamInfo;
use crate::operator::{IrOperator, Load};
use crate::wiring::Source;

impl Lifter<'_> {
    pub(super) fn load(
        &mut self,
        node: NodeIndex,
        load: &Load,
        sources: &[Source<'_>],
    ) -> Result<Vec<Value>, Failure> {
        if !sources.is_empty() {
            return Err("is a parameter and has operands".to_owned().into());
        }
        if !self.names.insert(load.name().to_owned()) {
            return Err(IrError::new(format!("there are two parameters `{}`", load.name())).into());
        }
        let value = self.done.func.add_param(load.name(), load.role(), load.ty().clone());
        self.done.params.push(node);
        Ok(vec![value])
    }

    pub(super) fn function(
        &mut self,
        node: NodeIndex,
        text: &str,
        sources: &[Source<'_>],
    ) -> Result<Vec<Value>, Failure> {
        if !sources.is_empty() {
            return Err(
                "is an opaque function of other nodes; only functions without operands can be lifted"
                    .to_owned()
                    .into(),
            );
        }
        let info = match self.hints.params.get(&node) {
            Some(info) => info.clone(),
            None => match self.inferred(node)? {
                Some(ty) => ParamInfo { name: self.fresh_name(text), role: self.role(node), ty },
                None => return Ok(Vec::new()),
            },
        };
        self.names.insert(info.name.clone());
        let value = self.done.func.add_param(info.name, info.role, info.ty);
        self.done.params.push(node);
        Ok(vec![value])
    }

    fn role(&self, node: NodeIndex) -> Role {
        let kept = self.graph.no_delete.contains(&node) && !self.graph.to_retrieve.contains(&node);
        if kept { Role::Weight } else { Role::Input }
    }

    /// The type of luminal's load node, which does not know it: the buffer shape of its first consumer's view, and
    /// ids if one of our operators says so. Nothing for a node without consumers.
    fn inferred(&self, node: NodeIndex) -> Result<Option<TensorType>, Failure> {
        let graph = &self.graph.graph;
        let edges = graph.edges_directed(node, Direction::Outgoing);
        let mut consumers: Vec<_> = edges
            .filter_map(|edge| match edge.weight() {
                Dependency::Data { input_order, shape, .. } => Some(((edge.target(), *input_order), shape)),
                Dependency::Schedule => None,
            })
            .collect();
        consumers.sort_by_key(|(at, _)| *at);
        let Some((_, tracker)) = consumers.first() else { return Ok(None) };
        let shape = View::read(tracker, self.graph)?.buffer_shape();
        let takes_ids = |&((target, order), _): &((NodeIndex, u8), _)| {
            let operator = graph.node_weight(target)?.as_ref().as_any().downcast_ref::<IrOperator>()?;
            Some(operator.inputs().get(usize::from(order))?.dtype == DType::I32)
        };
        let dtype =
            if consumers.iter().any(|c| takes_ids(c) == Some(true)) { DType::I32 } else { DType::F32 };
        Ok(Some(TensorType { dtype, shape }))
    }

    /// luminal's names need not be unique, and end in `Load`.
    fn fresh_name(&self, text: &str) -> String {
        let base = text.strip_suffix(" Load").unwrap_or(text);
        let numbered = (1..).map(|n| format!("{base}.{n}"));
        let mut names = std::iter::once(base.to_owned()).chain(numbered);
        names.find(|name| !self.names.contains(name)).unwrap_or_default()
    }
}
