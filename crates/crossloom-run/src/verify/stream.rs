//! The residual stream of a function, found by the weights that read it: whose place in the decoder a value has is told by the
//! parameters around it, not by what the builder says of it.

use std::collections::BTreeSet;
use std::fmt;

use crossloom_ir::op::{BinaryKind, Op};
use crossloom_ir::{Func, Role, Value};
use crossloom_model::{caches, inputs};

const LAYERS: &str = "language_model.model.layers";
const LAST_NORM: &str = "language_model.model.norm.weight";

/// A stretch of the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// In front of a decoder layer; behind the last one it has the number of layers. In front of the first it begins with the token
    /// embeddings.
    Gap(usize),
    /// What the attention of a layer reads, where something is fused with it: from the norm in front of it on.
    Read(usize),
    /// The attention half of a layer.
    Attention(usize),
    /// Between the halves of a layer.
    Between(usize),
    /// The feed-forward half of a layer.
    FeedForward(usize),
    /// Behind all layers: the last norm and the head.
    Head,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gap(0) => write!(f, "before layer.0"),
            Self::Gap(layer) => write!(f, "between layer.{} and layer.{layer}", layer - 1),
            Self::Read(layer) => write!(f, "in front of the attention of layer.{layer}"),
            Self::Attention(layer) => write!(f, "in the attention half of layer.{layer}"),
            Self::Between(layer) => write!(f, "between the halves of layer.{layer}"),
            Self::FeedForward(layer) => write!(f, "in the feed-forward half of layer.{layer}"),
            Self::Head => write!(f, "behind the last layer"),
        }
    }
}

/// Layers whose halves are not the usual ones.
#[derive(Clone, Debug)]
pub(crate) struct Halves {
    /// Something is fused with what their attention reads.
    pub(crate) read: BTreeSet<usize>,
    /// They add their feed-forward half to what the norm in front of it gave.
    pub(crate) normed: BTreeSet<usize>,
}

/// A stretch with the values that it begins and ends with.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) place: Place,
    /// The hidden state `[B, T, D]` that enters it.
    pub(crate) start: Value,
    /// The hidden state that leaves it; of the head, what the function is for.
    pub(crate) end: Value,
    /// Its instructions, and those that depend on weights alone.
    pub(crate) insts: Vec<bool>,
}

/// The stream, and where everything stands.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    /// From the embeddings to the head.
    pub(crate) segments: Vec<Segment>,
    /// By instruction that reads the hidden state: its segment; none where nothing of the stream depends on it.
    pub(crate) of_inst: Vec<Option<usize>>,
    /// Instructions that no text leads to.
    pub(crate) seeing: Vec<bool>,
    /// Operands that bring what was seen into the stream: instruction and operand.
    pub(crate) entries: Vec<(usize, usize)>,
}

/// What the names of states begin with that keep what was seen.
pub(crate) const KEPT: &str = "cache.picture.";

/// Inputs and states that come of pictures.
fn is_seen(param: &crossloom_ir::Param) -> bool {
    let name = param.name.as_str();
    match param.role {
        Role::Input => {
            [inputs::PIXELS, inputs::VISUAL].contains(&name)
                || inputs::of_injection(name, inputs::FEATURES)
                || name.starts_with("state.")
        }
        Role::State => name.starts_with(KEPT),
        Role::Weight => false,
    }
}

impl Stream {
    /// That of a function over a decoder of so many layers, whose head ends in the result of that name.
    ///
    /// # Errors
    /// What of it cannot be found, by the weights that should read it.
    pub(crate) fn find(
        func: &Func,
        layers: usize,
        halves: &Halves,
        result: &str,
    ) -> Result<Self, Vec<String>> {
        let text = |param: &crossloom_ir::Param| match param.role {
            Role::Input => param.name == inputs::TOKENS,
            Role::State => param.name.starts_with(caches::PREFIX) && !is_seen(param),
            Role::Weight => false,
        };
        let hidden = reached(func, text);
        let seen = reached(func, is_seen);
        let mut problems = Vec::new();
        let mut note = |found: Result<Value, String>| found.map_err(|problem| problems.push(problem)).ok();
        let first = note(read_by(func, &hidden, &format!("{LAYERS}.0.input_layernorm.weight")));
        let start = first.and_then(|enters| note(embedded(func, &hidden, enters)));
        let mut marks = Vec::new();
        for layer in 0..layers {
            let of = |weight: &str| format!("{LAYERS}.{layer}.{weight}");
            let enters = note(read_by(func, &hidden, &of("input_layernorm.weight")));
            let attended =
                enters.and_then(|at| note(added(func, &hidden, at, &of("self_attn.o_proj.weight"))));
            let gain = of("post_attention_layernorm.weight");
            let middle = note(read_by(func, &hidden, &gain));
            let from = middle.and_then(|at| {
                if halves.normed.contains(&layer) { note(made_beside(func, at, &gain)) } else { Some(at) }
            });
            let leaves = from.and_then(|at| note(added(func, &hidden, at, &of("mlp.down_proj.weight"))));
            marks.push((Place::Gap(layer), enters));
            if halves.read.contains(&layer) {
                let read = note(read_by(func, &hidden, &of("self_attn.q_proj.weight")));
                marks.push((Place::Read(layer), read));
            }
            marks.extend([
                (Place::Attention(layer), attended),
                (Place::Between(layer), middle),
                (Place::FeedForward(layer), leaves),
            ]);
        }
        let last = note(read_by(func, &hidden, LAST_NORM)).map(|normed| ungathered(func, normed));
        marks.push((Place::Gap(layers), last));
        let no_result = || format!("@{} has no result `{result}`", func.name);
        marks.push((Place::Head, note(func.result(result).ok_or_else(no_result))));
        if !problems.is_empty() {
            return Err(problems);
        }

        let count = func.insts().len();
        let mut of_inst = vec![None; count];
        let mut segments: Vec<Segment> = Vec::with_capacity(marks.len());
        for (place, end) in marks {
            let begun = segments.last().map(|segment| segment.end).or(start);
            let (Some(start), Some(end)) = (begun, end) else { continue };
            let mut insts = vec![false; count];
            let mut open = vec![end];
            while let Some(value) = open.pop() {
                let Some((inst, data)) = func.def_inst(value) else { continue };
                let at = inst.index();
                if of_inst[at].is_none() && hidden[value.index()] && !is_start(func, value, start) {
                    (of_inst[at], insts[at]) = (Some(segments.len()), true);
                    open.extend(&data.inputs);
                }
            }
            segments.push(Segment { place, start, end, insts });
        }
        let only_seen = |value: &Value| seen[value.index()] && !hidden[value.index()];
        let no_text = |inst: &crossloom_ir::InstData| inst.outputs.iter().all(|value| !hidden[value.index()]);
        let seeing: Vec<bool> = func.insts().iter().map(no_text).collect();
        for (at, inst) in func.insts().iter().enumerate() {
            let still = seeing[at] && inst.outputs.iter().all(|value| !seen[value.index()]);
            for segment in &mut segments {
                segment.insts[at] |= still;
            }
        }
        let mut entries = Vec::new();
        for (at, inst) in func.insts().iter().enumerate() {
            if inst.outputs.iter().any(|value| hidden[value.index()]) {
                let seen = inst.inputs.iter().enumerate().filter(|(_, value)| only_seen(value));
                entries.extend(seen.map(|(operand, _)| (at, operand)));
            }
        }
        Ok(Self { segments, of_inst, seeing, entries })
    }

    /// The segment at a place, by index.
    pub(crate) fn at(&self, place: Place) -> Option<usize> {
        self.segments.iter().position(|segment| segment.place == place)
    }
}

/// Whether a value is made before a segment begins.
fn is_start(func: &Func, value: Value, start: Value) -> bool {
    value == start || func.def_inst(value).map(|d| d.0) == func.def_inst(start).map(|d| d.0)
}

/// By value, whether it depends on a parameter of some kind.
fn reached(func: &Func, from: impl Fn(&crossloom_ir::Param) -> bool) -> Vec<bool> {
    let mut reached = vec![false; func.value_count()];
    for param in func.params().iter().filter(|param| from(param)) {
        reached[param.value.index()] = true;
    }
    for inst in func.insts() {
        if inst.inputs.iter().any(|value| reached[value.index()]) {
            inst.outputs.iter().for_each(|value| reached[value.index()] = true);
        }
    }
    reached
}

/// The embeddings of the tokens, from which the state that enters the first layer has come.
fn embedded(func: &Func, hidden: &[bool], enters: Value) -> Result<Value, String> {
    let mut state = enters;
    while let Some((_, inst)) = func.def_inst(state) {
        if matches!(inst.op, Op::Embedding(_)) {
            return Ok(state);
        }
        let is_state = |value: &&Value| hidden[value.index()] && func.shape(**value) == func.shape(enters);
        let Some(before) = inst.inputs.iter().find(is_state) else { break };
        state = *before;
    }
    Err(format!("@{}: what enters the first layer does not begin with embedded tokens", func.name))
}

/// The hidden state that is read beside a weight.
fn read_by(func: &Func, hidden: &[bool], weight: &str) -> Result<Value, String> {
    let missing = || format!("@{}: no hidden state is read beside `{weight}`", func.name);
    let param = func.param(weight).ok_or_else(missing)?.value;
    let mut states = func
        .insts()
        .iter()
        .filter(|inst| inst.inputs.contains(&param))
        .filter_map(|inst| inst.inputs.iter().copied().find(|value| hidden[value.index()]));
    match (states.next(), states.next()) {
        (Some(state), None) => Ok(state),
        (Some(_), Some(_)) => Err(format!("@{}: several states are read beside `{weight}`", func.name)),
        (None, _) => Err(missing()),
    }
}

/// What a hidden state becomes beside a weight.
fn made_beside(func: &Func, state: Value, weight: &str) -> Result<Value, String> {
    let missing = || format!("@{}: no hidden state is read beside `{weight}`", func.name);
    let param = func.param(weight).ok_or_else(missing)?.value;
    let found = func.insts().iter().find(|inst| inst.inputs.contains(&param) && inst.inputs.contains(&state));
    found.map(|inst| inst.outputs[0]).ok_or_else(missing)
}

/// The sum of a hidden state and what a weight leads to.
fn added(func: &Func, hidden: &[bool], state: Value, weight: &str) -> Result<Value, String> {
    let led = reached(func, |param| param.name == weight);
    let is_sum = |inst: &&crossloom_ir::InstData| {
        let Op::Binary(op) = &inst.op else { return false };
        let other = |value: &&Value| **value != state;
        op.0 == BinaryKind::Add
            && inst.inputs.contains(&state)
            && inst.inputs.iter().find(other).is_some_and(|value| led[value.index()] && hidden[value.index()])
    };
    let found = func.insts().iter().find(is_sum);
    let missing =
        || format!("@{}: what `{weight}` leads to is not added to the state it was made of", func.name);
    found.map(|inst| inst.outputs[0]).ok_or_else(missing)
}

/// The state whose rows a value is, or itself.
fn ungathered(func: &Func, value: Value) -> Value {
    match func.def_inst(value) {
        Some((_, inst)) if matches!(inst.op, Op::GatherRows(_)) => inst.inputs[0],
        _ => value,
    }
}
