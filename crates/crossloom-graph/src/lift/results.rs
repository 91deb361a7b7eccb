//! What a graph gives.

use std::collections::BTreeSet;

use crossloom_ir::{IrError, Value};
use luminal::op::Function;
use luminal::prelude::NodeIndex;

use super::Lifter;
use crate::operator::{Load, Output};

impl Lifter<'_> {
    /// Adds the results: output nodes, then results the owner named, then what else is retrieved or kept.
    pub(super) fn add_results(&mut self) {
        let mut named: BTreeSet<NodeIndex> = BTreeSet::new();
        let mut outputs = std::mem::take(&mut self.outputs);
        outputs.sort_unstable();
        for node in outputs {
            named.insert(node);
            self.output(node);
        }
        let hints = self.hints;
        for slot in hints.results.iter().filter(|slot| !named.contains(&slot.node)) {
            match self.values.get(&(slot.node, slot.output)) {
                Some(Some(value)) => self.result(
                    (slot.node, slot.output),
                    &slot.info.name,
                    *value,
                    slot.info.updates.as_deref(),
                ),
                Some(None) => {}
                None => {
                    self.errors
                        .push(IrError::new(format!("the node of result `{}` is gone", slot.info.name)));
                }
            }
        }
        named.extend(hints.results.iter().map(|slot| slot.node));
        let kept = self.graph.to_retrieve.union(&self.graph.no_delete).copied();
        let kept: BTreeSet<NodeIndex> =
            kept.filter(|node| self.computes(*node) && !named.contains(node)).collect();
        let mut number = 0;
        for node in kept {
            let values = self.values.range((node, 0)..=(node, u8::MAX));
            let values: Vec<(u8, Value)> =
                values.filter_map(|(&(_, output), value)| Some((output, (*value)?))).collect();
            for (output, value) in values {
                self.result((node, output), &format!("out{number}"), value, None);
                number += 1;
            }
        }
    }

    fn output(&mut self, node: NodeIndex) {
        let operator = self
            .graph
            .graph
            .node_weight(node)
            .and_then(|operator| operator.as_ref().as_any().downcast_ref::<Output>());
        let Some(output) = operator else { return };
        for at in 0..output.types().len() {
            let Some(Some(value)) = self.values.get(&(node, at as u8)).copied() else { continue };
            let name = if output.types().len() == 1 {
                output.name().to_owned()
            } else {
                format!("{}.{at}", output.name())
            };
            self.result((node, at as u8), &name, value, output.updates());
        }
    }

    fn result(&mut self, from: (NodeIndex, u8), name: &str, value: Value, updates: Option<&str>) {
        match updates.map(|param| (param, self.done.func.param(param).map(|param| param.value))) {
            None => {
                let taken = self.done.func.result(name).is_some();
                if taken {
                    self.errors.push(IrError::new(format!("there are two results `{name}`")));
                }
                self.done.func.add_result(name, value);
            }
            Some((_, Some(param))) => {
                if let Err(error) = self.done.func.add_update(param, value) {
                    return self.errors.push(error.with_op(format!("result {name}")));
                }
            }
            Some((param, None)) => {
                let message = format!("updates the parameter `{param}`, which does not exist");
                return self.errors.push(IrError::new(message).with_op(format!("result {name}")));
            }
        }
        self.done.results.push(from);
    }

    /// Whether a node exists and is no parameter.
    fn computes(&self, node: NodeIndex) -> bool {
        let operator = self.graph.graph.node_weight(node).map(|operator| operator.as_ref().as_any());
        operator.is_some_and(|any| !any.is::<Load>() && !any.is::<Function>())
    }
}
