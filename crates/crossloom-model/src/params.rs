//! Declaring parameters while the graph is built.

use std::collections::BTreeMap;

use crossloom_graph::{GraphBuilder, Tensor};
use crossloom_ir::{Role, Scope, TensorType};
use crossloom_recipe::{Lora, Part, Recipe};

use crate::Init;
use crate::adaptation::Layers;
use crate::linear::{Linear, LowRank};

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
    /// The linear layer beside which it stands, where it is half of one of LoRA's pairs and no tensor of the model itself.
    pub beside: Option<String>,
}

impl ParamSpec {
    /// Number of its elements.
    pub fn elements(&self) -> u64 {
        self.shape.iter().map(|&extent| extent as u64).product()
    }
}

/// The graph under construction and the parameters declared so far. Asking for a parameter twice gives the same one.
pub(crate) struct Params {
    /// The graph.
    pub(crate) graph: GraphBuilder,
    specs: Vec<ParamSpec>,
    declared: BTreeMap<String, Tensor>,
    outer_scopes: Vec<Scope>,
    lora: Vec<(Part, Lora)>,
    layers: Layers,
    auxiliary: Vec<(&'static str, f64, Tensor)>,
}

impl Params {
    /// Those of a recipe's model, whose linear layers have the pairs that the recipe gives them.
    pub(crate) fn new(recipe: &Recipe) -> Self {
        let parts = &recipe.train.parts;
        let lora = Part::ALL.into_iter().filter_map(|part| Some((part, parts.get(part).lora.clone()?)));
        Self { lora: lora.collect(), ..Self::named(&recipe.name) }
    }

    /// Those of a model of that name that has no pairs.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            graph: GraphBuilder::new(name),
            specs: Vec::new(),
            declared: BTreeMap::new(),
            outer_scopes: Vec::new(),
            lora: Vec::new(),
            layers: Layers::default(),
            auxiliary: Vec::new(),
        }
    }

    /// Extends the scope of new nodes by `part`, which may be dotted.
    pub(crate) fn enter(&mut self, part: &str) {
        let inner = self.graph.scope().child(part);
        let outer = self.graph.set_scope(inner);
        self.outer_scopes.push(outer);
    }

    /// Puts new nodes into a scope from the root, until the next [`Params::leave`].
    pub(crate) fn enter_at(&mut self, scope: &str) {
        let outer = self.graph.set_scope(Scope::new(scope));
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
        let spec = ParamSpec { name: name.to_owned(), shape: shape.to_vec(), part, init, beside: None };
        self.specs.push(spec);
        tensor
    }

    /// The linear layer `{prefix}.weight` `[out, in]` with `{prefix}.bias` if it has one, and with a low-rank pair if the recipe
    /// gives it one.
    pub(crate) fn linear(
        &mut self,
        part: Part,
        prefix: &str,
        out: usize,
        fan_in: usize,
        bias: bool,
    ) -> Linear {
        let weight = self.param(part, &format!("{prefix}.weight"), &[out, fan_in], Init::linear(fan_in));
        let bias = bias.then(|| self.param(part, &format!("{prefix}.bias"), &[out], Init::ZEROS));
        let pair = self.pair(part, prefix, [out, fan_in]);
        Linear { weight, bias, pair }
    }

    fn pair(&mut self, part: Part, linear: &str, sides: [usize; 2]) -> Option<LowRank> {
        let (_, lora) = self.lora.iter().find(|(of, _)| *of == part)?;
        let (rank, scale, target) = (lora.rank, lora.scale(), lora.target_of(linear));
        self.layers.add(part, linear, sides, target);
        target?;
        let before = self.specs.len();
        let pair = LowRank::declare(self, part, &format!("{linear}."), sides, rank, scale);
        for spec in &mut self.specs[before..] {
            spec.beside = Some(linear.to_owned());
        }
        Some(pair)
    }

    /// Gain and offset of a layer norm.
    pub(crate) fn layer_norm(&mut self, part: Part, prefix: &str, width: usize) -> [Tensor; 2] {
        [
            self.param(part, &format!("{prefix}.weight"), &[width], Init::ONES),
            self.param(part, &format!("{prefix}.bias"), &[width], Init::ZEROS),
        ]
    }

    /// Adds a scalar, times a factor, to the loss that the graph may have.
    pub(crate) fn auxiliary(&mut self, name: &'static str, factor: f64, term: Tensor) {
        self.auxiliary.push((name, factor, term));
    }

    /// What is to be added to the loss.
    pub(crate) fn take_auxiliary(&mut self) -> Vec<(&'static str, f64, Tensor)> {
        std::mem::take(&mut self.auxiliary)
    }

    /// The graph, every parameter, and the linear layers of parts that have LoRA.
    pub(crate) fn finish(self) -> (GraphBuilder, Vec<ParamSpec>, Layers) {
        (self.graph, self.specs, self.layers)
    }
}
