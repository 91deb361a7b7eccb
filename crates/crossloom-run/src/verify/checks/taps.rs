//! Whether a vision state is the one it is named after: which of the encoder's weights it depends on.

use std::collections::BTreeSet;

use crossloom_ir::{Func, Value};
use crossloom_model::VisionState;
use crossloom_recipe::{Part, VisionAddress};

use super::super::bench::Bench;
use super::super::evaluate::leading_to;
use super::super::report::{Aspect, Verified};

/// Every tap's states depend on all weights of the blocks before them, and on none of those behind.
pub(crate) fn check(bench: &Bench<'_>, verified: &mut Verified) {
    for (tap, declared) in bench.wiring.taps.iter().enumerate() {
        for &state in &declared.states {
            for problem in problems(bench, state) {
                for (edge, _) in bench.wiring.edges.iter().enumerate().filter(|(_, edge)| edge.tap == tap) {
                    verified.edge(edge, Aspect::Structure).fail(problem.clone());
                }
            }
        }
    }
}

fn problems(bench: &Bench<'_>, state: VisionState) -> Vec<String> {
    let (func, name) = (&bench.encode.func, state.name());
    let Some(value) = func.result(&state.name()) else {
        return vec![format!("the encoder does not give `{name}`")];
    };
    let read = read_by(func, value);
    let depth = bench.recipe.model.vision.layers;
    let mut problems = Vec::new();
    for param in bench.encode.params.iter().filter(|param| param.part == Part::Vision) {
        let wanted = match (state.address(), block_of(&param.name)) {
            (VisionAddress::Embed, block) => block.is_none() && !is_last_norm(&param.name),
            (VisionAddress::Block(at), Some(block)) => block < at,
            (VisionAddress::Block(_), None) => !is_last_norm(&param.name),
            (VisionAddress::PostNorm, block) => block.is_none_or(|block| block < depth),
        };
        match (wanted, read.contains(param.name.as_str())) {
            (true, false) => problems.push(format!("`{name}` does not depend on `{}`", param.name)),
            (false, true) => problems.push(format!("`{name}` depends on `{}`", param.name)),
            _ => {}
        }
    }
    let more = problems.len().saturating_sub(3);
    problems.truncate(3);
    if let (Some(last), 1..) = (problems.last_mut(), more) {
        last.push_str(&format!(", and {more} more"));
    }
    problems
}

/// The block of the encoder that a weight belongs to, from 0.
fn block_of(name: &str) -> Option<usize> {
    name.split_once(".layers.")?.1.split_once('.')?.0.parse().ok()
}

fn is_last_norm(name: &str) -> bool {
    name.contains("post_layernorm")
}

/// The names of all parameters that a value depends on.
fn read_by(func: &Func, value: Value) -> BTreeSet<&str> {
    let seen = leading_to(func, value);
    let read = func.params().iter().filter(|param| seen[param.value.index()]);
    read.map(|param| param.name.as_str()).collect()
}
