//! `model`: pretrained models on disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crossloom_recipe::{Part, PointAddress, VisionAddress};
use crossloom_weights::{Architecture, Held, Pretrained};
use serde_json::json;

use crate::cli::{CliError, Table, Terminal, bytes, grouped};

/// What the verb is for.
pub(crate) const LONG_ABOUT: &str = "\
Look into pretrained models: folders as Hugging Face writes them, with a config.json and safetensors files; GGUF files; \
encoders in ONNX. Nothing of them is executed, and no tensor is read.";

const INSPECT_HELP: &str = "\
Examples:
  $ crossloom model inspect ~/models/llava-1.5-7b-hf
  $ crossloom model inspect ~/models/clip-vit-large-patch14-336 --json
  $ crossloom model inspect ~/models/SmolLM2-135M-Instruct.Q4_1.gguf

Known are CLIP, SigLIP, Llama (Vicuna, SmolLM2), Qwen2, LLaVA-1.5 and LLaVA-OneVision. What the configuration says is \
compared with the shapes of the tensors, and all that does not fit is told at once.";

/// Arguments of `model`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Say what a model is: families, dimensions, types, parameters, and the addresses that a recipe can use.
    #[command(after_long_help = INSPECT_HELP)]
    Inspect {
        /// The folder of the model, or its file.
        #[arg(value_name = "PATH")]
        folder: PathBuf,
        /// Write one JSON document.
        #[arg(long)]
        json: bool,
    },
}

/// Looks into a model.
///
/// # Errors
/// It is of no family that is known; its files are damaged, incomplete, or not those of its configuration.
pub fn run(args: &Args, terminal: &Terminal) -> Result<ExitCode, CliError> {
    let Verb::Inspect { folder, json } = &args.verb;
    inspect(folder, *json, terminal)?;
    Ok(ExitCode::SUCCESS)
}

fn inspect(folder: &Path, json: bool, terminal: &Terminal) -> Result<(), CliError> {
    let model = Pretrained::open(folder).map_err(CliError::failed)?;
    let (architecture, held) = (model.architecture(), model.held());
    let addresses = Addresses::of(architecture);
    if json {
        let held: Vec<_> = (held.iter())
            .map(|((part, dtype), held)| json!({ "part": part, "type": dtype, "held": held }))
            .collect();
        return terminal.json(&json!({
            "folder": folder.display().to_string(),
            "layout": model.layout().name,
            "model": architecture,
            "tensors": held,
            "left_out": model.left_out(),
            "taps": addresses.taps,
            "points": addresses.points,
            "reads": addresses.reads,
        }));
    }
    let dimensions = toml::to_string(&BTreeMap::from([("model", architecture)])).map_err(CliError::failed)?;
    let mut text = format!("names of tensors: {}\n\n{}", model.layout().name, tensors(&held));
    if !model.left_out().is_empty() {
        text.push_str(&format!("  left out: {}\n", model.left_out().join(", ")));
    }
    text.push_str(&format!("\n{dimensions}"));
    for (what, names) in
        [("taps", &addresses.taps), ("points", &addresses.points), ("itself reads", &addresses.reads)]
    {
        if !names.is_empty() {
            text.push_str(&format!("\n{what}: {}", names.join(", ")));
        }
    }
    terminal.print(&text)
}

fn tensors(held: &BTreeMap<(Part, String), Held>) -> String {
    let mut table = Table::new(["part", "type", "tensors", "parameters", "bytes"]).indented(2);
    let mut all = Held::default();
    for ((part, dtype), held) in held {
        table.row([
            part.name().to_owned(),
            dtype.clone(),
            grouped(held.tensors),
            grouped(held.parameters),
            bytes(held.bytes),
        ]);
        all.tensors += held.tensors;
        all.parameters += held.parameters;
        all.bytes += held.bytes;
    }
    table.row([
        "all".to_owned(),
        String::new(),
        grouped(all.tensors),
        grouped(all.parameters),
        bytes(all.bytes),
    ]);
    table.to_string()
}

/// The names of states and places that a recipe can use.
struct Addresses {
    taps: Vec<String>,
    points: Vec<String>,
    /// The taps that the model was trained with.
    reads: Vec<String>,
}

impl Addresses {
    fn of(architecture: &Architecture) -> Self {
        let mut taps = Vec::new();
        if let Some(vision) = &architecture.vision {
            taps.push(VisionAddress::Embed);
            taps.extend((1..=vision.layers).map(VisionAddress::Block));
            taps.extend(vision.post_norm.then_some(VisionAddress::PostNorm));
        }
        let mut points = Vec::new();
        if let Some(language) = &architecture.language {
            points.push(PointAddress::Input);
            points.extend((0..language.layers).map(PointAddress::Before));
            points.extend((0..language.layers).map(PointAddress::After));
        }
        Self {
            taps: taps.iter().map(ToString::to_string).collect(),
            points: points.iter().map(ToString::to_string).collect(),
            reads: architecture.taps.iter().map(ToString::to_string).collect(),
        }
    }
}
