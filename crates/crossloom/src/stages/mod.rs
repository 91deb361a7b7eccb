//! What a recipe becomes on its way to kernels, without running anything.
//!
//! ```text
//! Recipe ─▶ topology ─▶ luminal graph ─▶ IR ─▶ fused IR ─▶ plan
//! ```
//!
//! [`render`] writes any stage in any form it has; the command line and the snapshots in `graphs/` both use it. Every
//! output depends on the recipe, the shapes and the backend alone, never on time, memory addresses or the machine.

mod compiled;
mod edges;
mod error;
mod explain;
mod ir;
mod plan;
mod shapes;

use clap::ValueEnum;
use crossloom_compiler::Backend;
use crossloom_cpu::exec::CpuBackend;
use crossloom_model::Outputs;
use crossloom_recipe::{Recipe, Topology};

use crate::experiment::forward_func;

pub use compiled::{Program, program};
pub use edges::{EdgeTrace, TracedNode, trace_edge};
pub use error::StageError;
pub use explain::{Costs, Explained, Memory, Overhead, PartParameters, PassCounts, Ratio, explain};
pub use ir::func_json;
pub use plan::plan_json;
pub use shapes::Shapes;

/// A point on the road from recipe to kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
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
}

/// A form in which a stage is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Predictions, as evaluation and generation run it.
    Forward,
    /// The loss; from `fused` on the whole training step.
    Train,
}

impl Stage {
    /// The forms that this stage has.
    pub fn formats(self) -> &'static [Format] {
        match self {
            Self::Topology => &[Format::Text, Format::Mermaid, Format::Dot, Format::Svg, Format::Json],
            Self::Luminal => &[Format::Text, Format::Mermaid, Format::Dot, Format::Json],
            Self::Ir | Self::Fused | Self::Plan => &[Format::Text, Format::Json],
        }
    }

    /// The name it has on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Topology => "topology",
            Self::Luminal => "luminal",
            Self::Ir => "ir",
            Self::Fused => "fused",
            Self::Plan => "plan",
        }
    }
}

impl Format {
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
}

impl Mode {
    /// The name it has on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Train => "train",
        }
    }

    pub(crate) fn outputs(self) -> Outputs {
        match self {
            Self::Forward => Outputs::Predictions,
            Self::Train => Outputs::Loss,
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
}

/// The backend that stages are compiled for.
pub fn backend() -> &'static dyn Backend {
    &CpuBackend
}

/// Writes a stage of a variant. JSON is one document.
///
/// # Errors
/// The stage has no such form, or the recipe does not get that far.
pub fn render(subject: &Subject<'_>, stage: Stage, format: Format) -> Result<String, StageError> {
    if !stage.formats().contains(&format) {
        return Err(StageError::Format { stage, format });
    }
    match stage {
        Stage::Topology => topology(subject, format),
        Stage::Luminal => luminal(subject, format),
        Stage::Ir => {
            let Subject { recipe, shapes, mode, .. } = *subject;
            let (_, func) = forward_func(recipe, shapes.batch, shapes.vocab, mode.outputs())?;
            match format {
                Format::Json => pretty(&serde_json::json!({ "functions": [func_json(&func)] })),
                _ => Ok(crossloom_ir::text::print(&func)),
            }
        }
        Stage::Fused => {
            let program = program(subject)?;
            match format {
                Format::Json => {
                    let functions: Vec<_> = program.plans().map(|plan| func_json(&plan.func)).collect();
                    pretty(&serde_json::json!({ "functions": functions }))
                }
                _ => Ok(joined(program.plans().map(|plan| crossloom_ir::text::print(&plan.func)))),
            }
        }
        Stage::Plan => {
            let program = program(subject)?;
            match format {
                Format::Json => {
                    let functions: Vec<_> = program.plans().map(plan_json).collect();
                    pretty(&serde_json::json!({ "functions": functions }))
                }
                _ => Ok(joined(program.plans().map(plan::plan_text))),
            }
        }
    }
}

fn topology(subject: &Subject<'_>, format: Format) -> Result<String, StageError> {
    let title = if subject.name == subject.recipe.name {
        subject.name.to_owned()
    } else {
        format!("{} · {}", subject.recipe.name, subject.name)
    };
    let topology =
        Topology::new(subject.recipe).map_err(crate::experiment::ExperimentError::from)?.with_title(title);
    match format {
        Format::Text => Ok(topology.to_text()),
        Format::Mermaid => Ok(topology.to_mermaid()),
        Format::Dot => Ok(topology.to_dot()),
        Format::Svg => Ok(topology.to_svg(None)),
        Format::Json => pretty(&topology.to_json()),
    }
}

fn luminal(subject: &Subject<'_>, format: Format) -> Result<String, StageError> {
    let Subject { recipe, shapes, mode, .. } = *subject;
    let (model, _) = forward_func(recipe, shapes.batch, shapes.vocab, mode.outputs())?;
    match format {
        Format::Mermaid => Ok(model.graph.to_mermaid()),
        Format::Dot => Ok(model.graph.to_dot()),
        Format::Json => Ok(model.graph.to_json()?),
        Format::Text | Format::Svg => Ok(model.graph.to_text()),
    }
}

fn pretty(value: &serde_json::Value) -> Result<String, StageError> {
    Ok(serde_json::to_string_pretty(value)?)
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join("\n")
}
