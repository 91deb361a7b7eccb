//! What an edge of the topology became: the nodes that compute it, and the parameters that belong to it.
//!
//! The answer is read off the function before differentiation and after AMP batching and AGF fusion, so it shows what is
//! really computed, not what the recipe asked for.

use std::collections::{BTreeMap, BTreeSet};

use crossloom_compiler::Context;
use crossloom_compiler::passes::{BEFORE_AUTODIFF, Pass, run_all};
use crossloom_ir::{Cost, Func, Inst, InstData, Op, Role, Value};
use crossloom_model::Outputs;
use crossloom_recipe::{Edge, EdgeKind, Recipe, Tap, Topology};
use indexmap::IndexMap;
use serde::Serialize;

use super::{Mode, Shapes, Subject};
use crate::ExperimentError;
use crate::graph::forward_func;

/// The pass that computes for several points at once what each of them needs.
const MERGES_POINTS: &str = "agf_fusion";

/// What an edge became.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EdgeTrace {
    /// The edge's name.
    pub edge: String,
    /// The scope that computes the tap.
    pub tap: String,
    /// The scope in which the features are written into the hidden state.
    pub point: String,
    /// Nodes on the way, in program order.
    pub nodes: Vec<TracedNode>,
    /// Weights that these nodes read, as they are or reshaped, cut or multiplied with one another.
    pub parameters: Vec<String>,
}

/// A node that takes part in an edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TracedNode {
    /// Its scope.
    pub scope: String,
    /// The op with its attributes and the types of its outputs.
    pub op: String,
    /// Edges that it computes, this one included: more than one where they were batched or fused.
    pub edges: usize,
}

/// Traces an edge of a variant through the compiler.
///
/// # Errors
/// There is no such edge, or the variant cannot be built.
pub fn trace_edge(subject: &Subject<'_>, name: &str) -> Result<EdgeTrace, ExperimentError> {
    let Subject { recipe, shapes, mode, verify, .. } = *subject;
    let topology = Topology::new(recipe).map_err(ExperimentError::from)?;
    let Some(edge) = topology.edges().iter().find(|edge| edge.name() == name) else {
        let names: Vec<String> = topology.edges().iter().map(|edge| format!("`{}`", edge.name())).collect();
        return Err(ExperimentError::Request {
            message: format!("variant `{}` has no edge `{name}`", subject.name),
            help: format!("its edges are {}", names.join(", ")),
        });
    };
    // A phase alone does not hold an edge from its tap to its point.
    let outputs = if mode == Mode::Train { Outputs::Loss } else { Outputs::Predictions };
    let (_, func) = forward_func(recipe, shapes.batch, shapes.vocab, outputs)?;
    let Traced { unmerged, func } = Traced::of(func, verify)?;
    let tracer = Tracer { func: &func };
    let on_path = tracer.path(edge);
    let others: Vec<BTreeSet<usize>> =
        topology.edges().iter().filter(|other| *other != edge).map(|other| tracer.path(other)).collect();
    let nodes = (on_path.iter())
        .map(|&index| TracedNode {
            scope: func.insts()[index].scope.as_str().to_owned(),
            op: tracer.line(index),
            edges: 1 + others.iter().filter(|path| path.contains(&index)).count(),
        })
        .collect();
    let parameters = Tracer { func: &unmerged }.weights(edge);
    let point = point_scope(edge);
    Ok(EdgeTrace { edge: edge.name(), tap: tap_scope(&edge.tap), point, nodes, parameters })
}

/// What an edge costs in a forward pass of one batch. A node that several edges share counts for each with its part, and so does a
/// weight, so that costs of edges can be added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct EdgeCost {
    /// Floating-point operations on the way from the tap to its point.
    pub flops: u64,
    /// Bytes moved there.
    pub bytes: u64,
    /// Weights that are read there.
    pub parameters: u64,
    /// Those of them that no other edge reads.
    pub own: u64,
}

/// What every edge of a recipe's topology costs, in the topology's order.
///
/// # Errors
/// The recipe cannot be built.
pub(super) fn edge_costs(
    recipe: &Recipe,
    shapes: Shapes,
) -> Result<IndexMap<String, EdgeCost>, ExperimentError> {
    let topology = Topology::new(recipe).map_err(ExperimentError::from)?;
    let (_, func) = forward_func(recipe, shapes.batch, shapes.vocab, Outputs::Predictions)?;
    let Traced { unmerged, func } = Traced::of(func, false)?;
    let tracer = Tracer { func: &func };
    let paths: Vec<BTreeSet<usize>> = topology.edges().iter().map(|edge| tracer.path(edge)).collect();
    let weights: Vec<Vec<String>> =
        topology.edges().iter().map(|edge| Tracer { func: &unmerged }.weights(edge)).collect();
    let (mut passing, mut reading): (BTreeMap<usize, u64>, BTreeMap<&str, u64>) = Default::default();
    paths.iter().flatten().for_each(|&index| *passing.entry(index).or_default() += 1);
    weights.iter().flatten().for_each(|name| *reading.entry(name).or_default() += 1);
    let elements =
        |name: &String| unmerged.param(name).map_or(0, |param| unmerged.ty(param.value).elements() as u64);
    let cost = |(edge, (path, names)): (&Edge, (&BTreeSet<usize>, &Vec<String>))| {
        let mut cost = EdgeCost::default();
        for index in path {
            let Cost { flops, bytes } = tracer.cost(*index);
            let edges = passing.get(index).copied().unwrap_or(1);
            cost.flops += flops / edges;
            cost.bytes += bytes / edges;
        }
        for name in names {
            let (edges, count) = (reading.get(name.as_str()).copied().unwrap_or(1), elements(name));
            cost.parameters += count / edges;
            cost.own += if edges == 1 { count } else { 0 };
        }
        (edge.name(), cost)
    };
    Ok(topology.edges().iter().zip(paths.iter().zip(&weights)).map(cost).collect())
}

/// A function on its way to fusion.
struct Traced {
    /// Before fusion merges what belongs to several points: which weights are whose shows here.
    unmerged: Func,
    /// After it: what is really computed.
    func: Func,
}

impl Traced {
    fn of(func: Func, verify: bool) -> Result<Self, ExperimentError> {
        let apart: Vec<&dyn Pass> =
            BEFORE_AUTODIFF.into_iter().take_while(|pass| pass.name() != MERGES_POINTS).collect();
        let cx = Context { verify, ..Context::default() };
        let unmerged = run_all(func.clone(), &apart, &cx).map_err(ExperimentError::from)?;
        let func = run_all(func, &BEFORE_AUTODIFF, &cx).map_err(ExperimentError::from)?;
        Ok(Self { unmerged, func })
    }
}

/// The scope that ends with what an edge starts at.
fn tap_scope(tap: &Tap) -> String {
    match tap {
        Tap::State(address) => format!("vision.{address}"),
        Tap::Source(name) => format!("vision.source.{name}"),
    }
}

fn point_scope(edge: &Edge) -> String {
    match edge.kind {
        EdgeKind::Input => "language.embed".to_owned(),
        EdgeKind::Injection => format!("inject.{}", edge.point.name()),
    }
}

struct Tracer<'f> {
    func: &'f Func,
}

impl Tracer<'_> {
    /// The instructions between an edge's tap and its point, without those that compute the tap and the hidden state.
    fn path(&self, edge: &Edge) -> BTreeSet<usize> {
        let point = point_scope(edge);
        let (tap, connects): (_, fn(&str) -> bool) = match edge.kind {
            EdgeKind::Input => (&edge.tap, |scope| scope == "language.embed" || is_below(scope, "projector")),
            EdgeKind::Injection => {
                (&edge.tap, |scope| is_below(scope, "inject") || is_below(scope, "projector"))
            }
        };
        let fed = self.downstream(&tap_scope(tap), connects);
        let (mut path, mut stack) = (BTreeSet::new(), Vec::new());
        for (index, inst) in self.func.insts().iter().enumerate() {
            if inst.scope.as_str() == point && fed.contains(&index) {
                path.insert(index);
                stack.push(index);
            }
        }
        while let Some(index) = stack.pop() {
            for &operand in &self.func.insts()[index].inputs {
                let Some((from, inst)) = self.func.def_inst(operand) else { continue };
                let from = from.index();
                let scope = inst.scope.as_str();
                // Another point's update of the hidden state is no part of this edge.
                let elsewhere = is_below(scope, "inject") && scope != point && self.reads_hidden(from);
                if fed.contains(&from) && !elsewhere && path.insert(from) {
                    stack.push(from);
                }
            }
        }
        path
    }

    /// Names of the weights that an edge reads, in the order of the function's parameters.
    fn weights(&self, edge: &Edge) -> Vec<String> {
        let derived = self.derived();
        let mut read: BTreeSet<Value> = BTreeSet::new();
        let path = self.path(edge);
        let mut stack: Vec<Value> =
            path.iter().flat_map(|&index| self.func.insts()[index].inputs.iter().copied()).collect();
        while let Some(value) = stack.pop() {
            if derived.contains(&value) && read.insert(value) {
                stack.extend(self.func.def_inst(value).into_iter().flat_map(|(_, inst)| &inst.inputs));
            }
        }
        let params = self.func.params().iter().filter(|param| read.contains(&param.value));
        params.map(|param| param.name.clone()).collect()
    }

    /// Weights, and what is computed from weights alone.
    fn derived(&self) -> BTreeSet<Value> {
        let weights = self.func.params().iter().filter(|param| param.role == Role::Weight);
        let mut derived: BTreeSet<Value> = weights.map(|param| param.value).collect();
        for inst in self.func.insts() {
            if inst.inputs.iter().all(|operand| derived.contains(operand)) {
                derived.extend(&inst.outputs);
            }
        }
        derived
    }

    /// Instructions of connecting scopes that depend on what a scope computes, directly or through one another.
    fn downstream(&self, source: &str, connects: fn(&str) -> bool) -> BTreeSet<usize> {
        let last = self.func.insts().iter().rposition(|inst| is_below(inst.scope.as_str(), source));
        let mut fed = BTreeSet::new();
        let Some(last) = last else { return fed };
        let state: BTreeSet<Value> = self.func.insts()[last].outputs.iter().copied().collect();
        let on_the_way = |scope: &str| connects(scope) || is_cut(scope);
        for (index, inst) in
            self.func.insts().iter().enumerate().filter(|(_, inst)| on_the_way(inst.scope.as_str()))
        {
            // An update of the hidden state ends the edge: what reads the state after it is another edge's.
            let carries = |from: Inst, inst: &InstData| {
                fed.contains(&from.index()) && !matches!(inst.op, Op::AgfInject(_))
            };
            let depends = inst.inputs.iter().any(|&operand| {
                state.contains(&operand)
                    || self.func.def_inst(operand).is_some_and(|(from, inst)| carries(from, inst))
            });
            if depends {
                fed.insert(index);
            }
        }
        fed
    }

    /// Whether an instruction reads, through instructions of injections, what the language model computes.
    fn reads_hidden(&self, index: usize) -> bool {
        let (mut seen, mut stack) = (BTreeSet::new(), vec![index]);
        while let Some(index) = stack.pop() {
            for &operand in &self.func.insts()[index].inputs {
                let Some((from, inst)) = self.func.def_inst(operand) else { continue };
                if is_below(inst.scope.as_str(), "language") {
                    return true;
                }
                if is_below(inst.scope.as_str(), "inject") && seen.insert(from.index()) {
                    stack.push(from.index());
                }
            }
        }
        false
    }

    /// What an instruction costs by itself.
    fn cost(&self, index: usize) -> Cost {
        let inst = &self.func.insts()[index];
        let types = |values: &[Value]| values.iter().map(|&value| self.func.ty(value)).collect::<Vec<_>>();
        inst.op.cost(&types(&inst.inputs), &types(&inst.outputs))
    }

    /// An instruction without its operands.
    fn line(&self, index: usize) -> String {
        let inst = &self.func.insts()[index];
        let types: Vec<String> = inst.outputs.iter().map(|&value| self.func.ty(value).to_string()).collect();
        format!("{}{} : {}", inst.op.mnemonic(), inst.op.attrs(), types.join(", "))
    }
}

/// Whether a scope cuts a state of the encoder: its class token off, or views of several resolutions apart.
fn is_cut(scope: &str) -> bool {
    is_below(scope, "vision.tap") || is_below(scope, "vision.views")
}

/// Whether a scope is another one or below it.
fn is_below(scope: &str, outer: &str) -> bool {
    scope.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use crossloom_recipe::{LoadOptions, load};

    use super::*;

    /// Encoders with a class token and without one, whole pictures and tiles: what lies between a state and its tap hides no edge.
    #[test]
    fn every_edge_of_every_kind_of_encoder_costs_what_it_computes() {
        let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
        for (recipe, variant) in [
            ("smol/smol.toml", "cli"),
            ("llava-1.5-7b/llava-1.5-7b.toml", "cli"),
            ("llava-onevision/llava-onevision-0.5b.toml", "cli"),
        ] {
            let loaded = load(&recipes.join(recipe), &LoadOptions::default()).unwrap();
            let recipe = &loaded.variant(variant).unwrap().recipe;
            for (edge, cost) in edge_costs(recipe, Shapes::unmeasured(recipe)).unwrap() {
                assert!(cost.flops > 0 && cost.bytes > 0, "{}, {edge}: {cost:?}", recipe.name);
            }
        }
    }
}
