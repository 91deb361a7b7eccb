//! Declaring parameters while the graph is built.

use std::collections::BTreeMap;

use crossloom_graph::{GraphBuilder, Tensor};
use crossloom_ir::{Role, Scope, TensorType};
use crossloom_recipe::Part;

use crate::Init;

/// A parameter of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// Its name on disk.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The part of the model it belongs to, which decides how it is trained.
    pub part: Part,
    /// Its start value.
    pub init: Init,
}

/// The graph under construction and the parameters declared so far. Asking for a parameter twice gives the same one.
pub(crate) struct Params {
    /// The graph.
    pub(crate) graph: GraphBuilder,
    specs: Vec<ParamSpec>,
    declared: BTreeMap<String, Tensor>,
    outer_scopes: Vec<Scope>,
}

impl Params {
    pub(crate) fn new(graph: GraphBuilder) -> Self {
        Self { graph, specs: Vec::new(), declared: BTreeMap::new(), outer_scopes: Vec::new() }
    }

    /// Extends the scope of new nodes by `part`, which may be dotted.
    pub(crate) fn enter(&mut self, part: &str) {
        let inner = self.graph.scope().child(part);
        let outer = self.graph.set_scope(inner);
        self.outer_scopes.push(outer);
    }

    /// Goes back to the scope before the last [`Params::enter`].
    pub(crate) fn leave(&mut self) {
        if let Some(outer) = self.outer_scopes.pop() {
            self.graph.set_scope(outer);
        }
    }

    /// The parameter of that name, declared at its first use.
    pub(crate) fn param(&mut self, part: Part, name: &str, shape: &[usize], init: Init) -> Tensor {
        if let Some(&tensor) = self.declared.get(name) {
            return tensor;
        }
        let tensor = self.graph.param(name, Role::Weight, TensorType::f32(shape));
        self.declared.insert(name.to_owned(), tensor);
        self.specs.push(ParamSpec { name: name.to_owned(), shape: shape.to_vec(), part, init });
        tensor
    }

    /// `{prefix}.weight` of a linear layer `[out, in]`, and `{prefix}.bias` if it has one.
    pub(crate) fn linear(
        &mut self,
        part: Part,
        prefix: &str,
        out: usize,
        fan_in: usize,
        bias: bool,
    ) -> (Tensor, Option<Tensor>) {
        let weight = self.param(part, &format!("{prefix}.weight"), &[out, fan_in], Init::linear(fan_in));
        let bias = bias.then(|| self.param(part, &format!("{prefix}.bias"), &[out], Init::ZEROS));
        (weight, bias)
    }

    /// Gain and offset of a layer norm.
    pub(crate) fn layer_norm(&mut self, part: Part, prefix: &str, width: usize) -> [Tensor; 2] {
        [
            self.param(part, &format!("{prefix}.weight"), &[width], Init::ONES),
            self.param(part, &format!("{prefix}.bias"), &[width], Init::ZEROS),
        ]
    }

    pub(crate) fn finish(self) -> (GraphBuilder, Vec<ParamSpec>) {
        (self.graph, self.specs)
    }
}
