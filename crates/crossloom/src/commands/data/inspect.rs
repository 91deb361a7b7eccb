//! `data inspect`: what is in files of samples, before anything is trained on them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crossloom_data::chat::Turns;
use crossloom_data::records::{Inspection, Measure, Record, Records, Spread, Tokens, format};
use crossloom_run::ModelProcessor;
use crossloom_run::start::found;
use serde_json::{Value, json};

use crate::cli::{CliError, Terminal, counted};
use crate::progress;

pub(super) const HELP: &str = "\
Formats: `llava` is a JSON array or lines with `image` and `conversations` (ShareGPT too), `messages` lines with `messages` and \
`images`, `questions` lines with `image`, `question` and `answer`, `webdataset` tar shards, \
`parquet` columns of any of these with the bytes of pictures.

The exit code is 1 where a sample cannot be learned from.

Examples:
  $ crossloom data inspect blip_laion_cc_sbu_558k.json --pictures images
  $ crossloom data inspect chats.jsonl --format messages --model ~/models/llava-1.5-7b-hf
  $ crossloom data inspect shards/*.tar --json";

/// Arguments of `data inspect`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The files, all of one format.
    #[arg(value_name = "FILE", required = true, value_hint = clap::ValueHint::FilePath)]
    files: Vec<PathBuf>,
    /// What a row looks like; by default `llava` of `.json`, `parquet` of `.parquet`, `webdataset` of `.tar`.
    #[arg(long, value_name = "FORMAT", value_parser = ["llava", "messages", "parquet", "questions", "webdataset"])]
    format: Option<String>,
    /// The folder at which paths of pictures start; by default that of the first file.
    #[arg(long, value_name = "FOLDER", value_hint = clap::ValueHint::DirPath)]
    pictures: Option<PathBuf>,
    /// Count the tokens of all samples, and show the first as this model reads them with what of them is learned: a folder, a GGUF file or `asset:NAME`.
    #[arg(long, value_name = "MODEL", value_hint = clap::ValueHint::AnyPath)]
    model: Option<PathBuf>,
    /// How many samples are shown.
    #[arg(long, value_name = "N", default_value_t = 2)]
    first: usize,
    /// How many problems are told; all are counted.
    #[arg(long, value_name = "N", default_value_t = 20)]
    problems: usize,
    /// Write one JSON document.
    #[arg(long)]
    json: bool,
}

/// Looks at every sample.
///
/// # Errors
/// No format is told and the file's name tells none; files or a model that cannot be read.
pub(super) fn run(args: &Args, terminal: &Terminal) -> Result<ExitCode, CliError> {
    no_recipe(&args.files)?;
    let name = format_of(args)?;
    let format = format(name).map_err(|expected| {
        CliError::failed(format!("samples of format `{name}`: {expected} is expected"))
    })?;
    let first = args.files.first().and_then(|path| path.parent()).unwrap_or(Path::new(""));
    let beside = if first.as_os_str().is_empty() { Path::new(".") } else { first };
    let pictures = args.pictures.as_deref().unwrap_or(beside);
    let model = args.model.as_deref().map(|path| ModelProcessor::open(&found(path)?)).transpose()?;
    let records = Records::open(format, &args.files, pictures).map_err(CliError::failed)?;
    let mut reporter = progress::reporter(terminal);
    let measured = |record: &Record| {
        let turns = model.as_ref().map(|model| model.turns(&record.messages)).transpose();
        let turns = turns.map_err(|error| error.to_string())?;
        let learned = |turns: &Turns| turns.learned.iter().map(ExactSizeIterator::len).sum();
        let tokens = turns.map(|turns| Tokens { all: turns.ids.len(), learned: learned(&turns) });
        Ok(tokens.unwrap_or(Tokens { all: 0, learned: 0 }))
    };
    let measure: Option<&Measure<'_>> = model.is_some().then_some(&measured);
    let found = records.inspect(args.problems, measure, &mut |done| {
        if done.is_multiple_of(1 << 16) {
            reporter.note(&format!("{done} of {} samples", records.len()));
        }
    });
    drop(reporter);
    let shown = shown(&records, &found, model.as_ref(), args.first);
    if args.json {
        let samples: Vec<Value> =
            shown.into_iter().map(|(sample, text)| json!({ "sample": sample, "text": text })).collect();
        terminal.json(&json!({ "format": name, "inspection": found, "first": samples }))?;
    } else {
        terminal.print(&text(name, &found, args.problems))?;
        for (sample, text) in shown {
            terminal.print(&format!("\nsample {sample}:\n{text}"))?;
        }
    }
    Ok(if found.with_problems == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Refuses recipes, which name files of samples and are none.
fn no_recipe(files: &[PathBuf]) -> Result<(), CliError> {
    let is_toml = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "toml");
    match files.iter().find(is_toml).map(|path| path.display()) {
        None => Ok(()),
        Some(path) => Err(CliError::usage(
            format!("`{path}` is a recipe, and no file of samples"),
            format!(
                "`crossloom check {path} --data` reads its data as it would be trained on; or name files of samples"
            ),
        )),
    }
}

fn format_of(args: &Args) -> Result<&str, CliError> {
    if let Some(format) = &args.format {
        return Ok(format);
    }
    let extension = args.files.first().and_then(|path| path.extension()?.to_str());
    match extension {
        Some("json") => Ok("llava"),
        Some("parquet") => Ok("parquet"),
        Some("tar") => Ok("webdataset"),
        _ => Err(CliError::usage(
            "lines may have several forms",
            "say --format llava, messages or questions: `data inspect --help` shows them",
        )),
    }
}

fn text(name: &str, found: &Inspection, most: usize) -> String {
    let Inspection { samples, sound, answers, by_pictures, longest, tokens, learned, pictures, .. } = found;
    let Inspection { problems, with_problems, .. } = found;
    let mut lines = vec![format!(
        "{} ({name}), {sound} sound with {}",
        counted(*samples, "sample"),
        counted(*answers, "answer")
    )];
    for (number, samples) in by_pictures {
        lines.push(format!("  {} with {}", counted(*samples, "sample"), counted(*number, "picture")));
    }
    if let Some((small, large)) = pictures {
        lines.push(format!("  pictures from {small} to {large} pixels"));
    }
    lines.push(format!("  longest question {} and longest answer {} characters", longest.0, longest.1));
    if let (Some(Spread { least, median, most }), Some(learned)) = (tokens, learned) {
        lines.push(format!(
            "  {least} to {most} tokens, half of them up to {median}, each picture as one; {learned} learned in all"
        ));
    }
    if *with_problems > 0 {
        lines.push(format!("{} cannot be learned from:", counted(*with_problems, "sample")));
        lines.extend(
            problems.iter().map(|problem| format!("  sample {}: {}", problem.sample, problem.message)),
        );
        if *with_problems > most {
            lines.push(format!("  and {} more", with_problems - most));
        }
    }
    lines.join("\n")
}

/// The first sound samples: as a model reads them, with what is learned in brackets; without a model, as they say it.
fn shown(
    records: &Records,
    found: &Inspection,
    model: Option<&ModelProcessor>,
    most: usize,
) -> Vec<(usize, String)> {
    let sound = (0..records.len()).filter_map(|sample| {
        let record = records.read(sample).ok()?;
        records.pictures(sample, &record).ok()?;
        Some((sample, record))
    });
    let text = |record: &Record| match model {
        None => serde_json::to_string_pretty(&record.messages).unwrap_or_else(|error| error.to_string()),
        Some(model) => match model.turns(&record.messages) {
            Ok(turns) => marked(model, &turns),
            Err(error) => error.to_string(),
        },
    };
    // Where there are no more sound ones, none is looked for.
    sound.take(most.min(found.sound)).map(|(sample, record)| (sample, text(&record))).collect()
}

/// Every token as it is spelled, those that are learned in brackets.
fn marked(model: &ModelProcessor, turns: &Turns) -> String {
    let Some(tokenizer) = model.tokenizer() else { return turns.text.clone() };
    let mut text = String::new();
    let mut at = 0;
    let spelled = |ids: &[i32]| -> String {
        let plain = tokenizer.spelled(ids);
        plain.unwrap_or_else(|error| error.to_string())
    };
    for range in &turns.learned {
        text.push_str(&spelled(turns.ids.get(at..range.start).unwrap_or_default()));
        text.push('⟦');
        text.push_str(&spelled(turns.ids.get(range.clone()).unwrap_or_default()));
        text.push('⟧');
        at = range.end;
    }
    text.push_str(&spelled(turns.ids.get(at..).unwrap_or_default()));
    let learned: usize = turns.learned.iter().map(ExactSizeIterator::len).sum();
    format!("{text}\n{learned} of {} tokens are learned", turns.ids.len())
}
