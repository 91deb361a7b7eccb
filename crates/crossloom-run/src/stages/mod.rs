//! What a recipe becomes on its way to kernels, without running anything.
//!
//! ```text
//! Recipe ─▶ topology ─▶ luminal graph ─▶ IR ─▶ fused IR ─▶ plan ─▶ CUDA C
//! ```
//!
//! [`render`] writes any stage in any form; the command line and the snapshots in `graphs/` both use it. Every
//! output depends on the recipe, the shapes and the backend alone, never on time, memory addresses or the machine.

mod compiled;
mod cuda;
mod diff;
mod edges;
mod explain;
mod ir;
mod picture;
mod plan;
mod shapes;
mod snapshot;
mod structure;

use crossloom_ir::Func;
use crossloom_model::{ModelGraph, Outputs, encode};
use crossloom_picture::Picture;
use crossloom_recipe::{Recipe, Topology};
use serde_json::json;

use crate::ExperimentError;
use crate::backends::{self, Backend};
use crate::graph::{forward_func, training_func};
use crate::phases::Graphs;

pub use crossloom_picture::Depth;

pub use compiled::{Program, program, program_for};
pub use diff::{Diff, EdgeDiff, Move, diff};
pub use edges::{EdgeCost, EdgeTrace, TracedNode, trace_edge};
pub use explain::{
    Budget, Changed, Costs, Explained, FUSING, Figure, Memory, Overhead, PartCosts, PartParameters,
    PassCounts, Ratio, Saved, Tried, Unit, explain, figures, within,
};
pub use ir::func_json;
pub use plan::plan_json;
pub use shapes::Shapes;
pub use snapshot::{ChangedSnapshot, Compared, Snapshot, SnapshotFolder, snapshots};
pub use structure::{ScopeChange, Structure};

/// A point on the road from recipe to kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Taps, points and edges.
    Topology,
    /// The luminal graph whose nodes are crossloom's operators.
    Luminal,
    /// The same as typed SSA.
    Ir,
    /// The IR after all passes; with `--mode train`, the whole training step.
    Fused,
    /// Kernel calls and memory.
    Plan,
    /// The source of the kernels for a GPU, whatever backend is asked for.
    Cuda,
}

/// A form in which a stage is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For reading; of `ir` and `fused`, the text that the IR's parser reads.
    Text,
    /// A Mermaid flow chart, which Markdown hosts draw.
    Mermaid,
    /// A Graphviz digraph.
    Dot,
    /// A picture.
    Svg,
    /// For programs.
    Json,
}

/// What the model is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Predictions of the whole model as one graph.
    Forward,
    /// The loss; from `fused` on the whole training step.
    Train,
    /// Pictures to the states of the vision encoder that the topology reads.
    Encode,
    /// Those states to what the language model reads.
    Connect,
    /// Prompts to first tokens and gates, written to the cache of keys and values.
    Prefill,
    /// One token of every open question, over the cache.
    Decode,
}

impl Stage {
    /// All stages, in the order of the road.
    pub const ALL: [Self; 6] = [Self::Topology, Self::Luminal, Self::Ir, Self::Fused, Self::Plan, Self::Cuda];

    /// The name it has on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Topology => "topology",
            Self::Luminal => "luminal",
            Self::Ir => "ir",
            Self::Fused => "fused",
            Self::Plan => "plan",
            Self::Cuda => "cuda",
        }
    }

    /// What it shows.
    pub fn about(self) -> &'static str {
        match self {
            Self::Topology => "Taps, points and edges",
            Self::Luminal => "The luminal graph whose nodes are crossloom's operators",
            Self::Ir => "The same as typed SSA",
            Self::Fused => "The IR after all passes; with `--mode train`, the whole training step",
            Self::Plan => "Kernel calls and memory",
            Self::Cuda => "The source of the kernels for a GPU",
        }
    }
}

impl Format {
    /// All forms. Every stage has all of them.
    pub const ALL: [Self; 5] = [Self::Text, Self::Mermaid, Self::Dot, Self::Svg, Self::Json];

    /// The name it has on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Mermaid => "mermaid",
            Self::Dot => "dot",
            Self::Svg => "svg",
            Self::Json => "json",
        }
    }

    /// What it is for.
    pub fn about(self) -> &'static str {
        match self {
            Self::Text => "For reading; of `ir` and `fused`, the text that the IR's parser reads",
            Self::Mermaid => "A Mermaid flow chart, which Markdown hosts draw",
            Self::Dot => "A Graphviz digraph",
            Self::Svg => "A picture",
            Self::Json => "For programs",
        }
    }
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Forward, Self::Train, Self::Encode, Self::Connect, Self::Prefill, Self::Decode];

    /// The name it has on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Train => "train",
            Self::Encode => "encode",
            Self::Connect => "connect",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
        }
    }

    /// What is built.
    pub fn about(self) -> &'static str {
        match self {
            Self::Forward => "Predictions of the whole model as one graph",
            Self::Train => "The loss; from `fused` on the whole training step",
            Self::Encode => "Answers, phase 1: pictures to the vision states that are read",
            Self::Connect => "Answers, phase 2: those states to what the language model reads",
            Self::Prefill => "Answers, phase 3: prompts to first tokens, gates and the cache",
            Self::Decode => "Answers, phase 4: one token of every open question, over the cache",
        }
    }
}

/// One variant, for one batch shape.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'r> {
    /// The variant's name, the title of pictures.
    pub name: &'r str,
    /// Its recipe.
    pub recipe: &'r Recipe,
    /// Sizes of its batches.
    pub shapes: Shapes,
    /// What it is built for.
    pub mode: Mode,
    /// What it is compiled for.
    pub backend: Backend,
    /// Whether the verifiers run after every pass. In debug builds they always do.
    pub verify: bool,
}

impl Subject<'_> {
    /// The graph of its mode, and the function that it is lifted to.
    pub(crate) fn graph(&self) -> Result<(ModelGraph, Func), ExperimentError> {
        let Self { recipe, shapes: Shapes { batch: shape, vocab }, mode, .. } = *self;
        let phases = || Graphs::new(recipe, shape, vocab);
        let model = match mode {
            Mode::Forward => return forward_func(recipe, shape, vocab, Outputs::Predictions),
            Mode::Train => return training_func(recipe, shape, vocab),
            Mode::Encode => encode(recipe, shape.batch)?,
            Mode::Connect => phases()?.connect(shape.batch, shape.views)?,
            Mode::Prefill => phases()?.largest_prefill()?,
            Mode::Decode => phases()?.decode(shape.batch, shape.targets)?,
        };
        let func = model.graph.lift()?;
        Ok((model, func))
    }
}

/// Writes a stage of a variant. JSON is one document. `depth` is how far the pictures of the stages after the topology tell
/// scopes apart.
///
/// # Errors
/// The recipe does not get that far.
pub fn render(
    subject: &Subject<'_>,
    stage: Stage,
    format: Format,
    depth: Depth,
) -> Result<String, ExperimentError> {
    match stage {
        Stage::Topology => topology(subject, format),
        Stage::Luminal => luminal(subject, format, depth),
        Stage::Ir => {
            let (_, func) = subject.graph()?;
            match format {
                Format::Text => Ok(crossloom_ir::text::print(&func)),
                Format::Json => pretty(&json!({ "functions": [func_json(&func)] })),
                _ => Ok(drawn(&picture::of_funcs(&title(subject), &[&func], depth), format)),
            }
        }
        Stage::Fused => {
            let program = program(subject)?;
            let funcs: Vec<&Func> = program.plans().map(|plan| &plan.func).collect();
            match format {
                Format::Text => Ok(joined(funcs.into_iter().map(crossloom_ir::text::print))),
                Format::Json => {
                    let functions: Vec<_> = funcs.into_iter().map(func_json).collect();
                    pretty(&json!({ "functions": functions }))
                }
                _ => Ok(drawn(&picture::of_funcs(&title(subject), &funcs, depth), format)),
            }
        }
        Stage::Plan => {
            let program = program(subject)?;
            match format {
                Format::Text => Ok(joined(program.plans().map(plan::plan_text))),
                Format::Json => {
                    let functions: Vec<_> = program.plans().map(plan_json).collect();
                    pretty(&json!({ "functions": functions }))
                }
                _ => Ok(drawn(&picture::of_plans(&title(subject), program.plans(), depth), format)),
            }
        }
        Stage::Cuda => {
            let program = program_for(subject, backends::cuda())?;
            match format {
                Format::Text => Ok(cuda::source(&program)?.to_string()),
                Format::Json => pretty(&cuda::source_json(&program)?),
                _ => Ok(drawn(&picture::of_plans(&title(subject), program.plans(), depth), format)),
            }
        }
    }
}

/// The heading of a picture.
fn title(subject: &Subject<'_>) -> String {
    if subject.name == subject.recipe.name {
        subject.name.to_owned()
    } else {
        format!("{} · {}", subject.recipe.name, subject.name)
    }
}

/// A picture in one of its forms.
fn drawn(picture: &Picture, format: Format) -> String {
    match format {
        Format::Mermaid => picture.to_mermaid(),
        Format::Dot => picture.to_dot(),
        Format::Svg | Format::Text | Format::Json => picture.to_svg(),
    }
}

fn topology(subject: &Subject<'_>, format: Format) -> Result<String, ExperimentError> {
    let topology = Topology::new(subject.recipe).map_err(ExperimentError::from)?.with_title(title(subject));
    match format {
        Format::Text => Ok(topology.to_text()),
        Format::Mermaid | Format::Dot | Format::Svg => Ok(drawn(&topology.picture(None), format)),
        Format::Json => pretty(&topology.to_json()),
    }
}

fn luminal(subject: &Subject<'_>, format: Format, depth: Depth) -> Result<String, ExperimentError> {
    let (model, _) = subject.graph()?;
    match format {
        Format::Text => Ok(model.graph.to_text()),
        Format::Json => Ok(model.graph.to_json()?),
        _ => Ok(drawn(&model.graph.picture(depth).titled(&title(subject)), format)),
    }
}

fn pretty(value: &serde_json::Value) -> Result<String, ExperimentError> {
    Ok(serde_json::to_string_pretty(value)?)
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join("\n")
}
