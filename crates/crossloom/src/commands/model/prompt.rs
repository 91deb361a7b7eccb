//! What a model reads of pictures and a conversation.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crossloom_data::chat::Message;
use crossloom_data::image::{Image, ImageLimits};
use crossloom_run::{ModelProcessor, PreparedPicture, found};
use serde_json::{Value, json};

use crate::cli::{CliError, Terminal, counted, grouped};

/// Examples.
pub(super) const HELP: &str = "\
Examples:
  $ crossloom model prompt ~/models/llava-1.5-7b-hf --image cat.png --question \"What is this?\"
  $ crossloom model prompt ~/models/llava-onevision-qwen2-0.5b-ov-hf --image wide.jpg --views seen
  $ crossloom model prompt ~/models/SmolLM2-135M-Instruct.Q4_1.gguf --question \"Why?\" --tokens
  $ crossloom model prompt ~/models/llava-1.5-7b-hf --image a.png --image b.png --messages chat.json --json

Nothing is computed, and no weights are read. The processors of CLIP, SigLIP, DINOv2 (BiT), LLaVA and LLaVA-OneVision are followed: \
pixels are those of transformers' Pillow backend, bit for bit with Pillow 12. A file of messages is a list of \
{\"role\": …, \"content\": …}; content is a text, or a list of {\"type\": \"image\"} and {\"type\": \"text\", \"text\": …}.";

/// The largest file of messages that is read.
const MOST_MESSAGES: u64 = 4 << 20;

/// Arguments of `model prompt`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder of the model, a GGUF file, or `asset:NAME`.
    #[arg(value_name = "PATH")]
    model: PathBuf,
    /// A picture, PNG or JPEG; several in the order of the conversation.
    #[arg(long = "image", value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    images: Vec<PathBuf>,
    /// What a user asks behind the pictures.
    #[arg(long, value_name = "TEXT", conflicts_with = "messages")]
    question: Option<String>,
    /// A conversation, as a JSON list of messages.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    messages: Option<PathBuf>,
    /// List the token ids too.
    #[arg(long)]
    tokens: bool,
    /// A folder for the pictures as the encoder is given them, as PNG files. It must not be there yet.
    #[arg(long, value_name = "FOLDER", value_hint = clap::ValueHint::DirPath)]
    views: Option<PathBuf>,
    /// Write one JSON document.
    #[arg(long)]
    json: bool,
}

/// Prepares pictures and a conversation, and says what came out.
pub(super) fn prompt(args: &Args, terminal: &Terminal) -> Result<(), CliError> {
    let processor = ModelProcessor::open(&found(&args.model)?)?;
    let messages = conversation(args)?;
    if args.images.is_empty() && messages.is_none() {
        return Err(CliError::usage("there is nothing to prepare", "give --image, --question or --messages"));
    }
    let opened: Result<Vec<Image>, _> =
        args.images.iter().map(|path| Image::open(path, &ImageLimits::default())).collect();
    let images = opened.map_err(CliError::failed)?;
    let (text, pictures) = match &messages {
        None => (None, processor.pictures(images)?),
        Some(messages) => {
            let sample = args
                .messages
                .as_ref()
                .map_or_else(|| "--question".to_owned(), |path| path.display().to_string());
            let prepared = processor.conversation(&sample, messages, images)?;
            (Some((prepared.text, prepared.ids, prepared.places)), prepared.pictures)
        }
    };
    if let Some(folder) = &args.views {
        write_views(folder, &pictures)?;
    }
    if args.json {
        let shown: Vec<Value> =
            args.images.iter().zip(&pictures).map(|(path, picture)| described(path, picture)).collect();
        let text = text.map(|(text, ids, places)| {
            let places: Vec<_> = places.iter().map(|place| [place.start, place.end]).collect();
            json!({ "text": text, "ids": ids, "pictures_at": places })
        });
        return terminal.json(&json!({
            "processor": processor.images(),
            "pictures": shown,
            "prompt": text,
        }));
    }
    let mut said = String::new();
    for (path, picture) in args.images.iter().zip(&pictures) {
        said.push_str(&format!("{}: {}\n", path.display(), summary(picture)));
    }
    if let Some((text, ids, places)) = text {
        let visual: usize = places.iter().map(std::iter::ExactSizeIterator::len).sum();
        let of = if visual > 0 {
            format!(", {} of them of pictures", grouped(visual as u64))
        } else {
            String::new()
        };
        said.push_str(&format!("prompt: {}{of}\n{text}\n", counted(ids.len(), "token")));
        if args.tokens {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            said.push_str(&format!("ids: {}\n", ids.join(" ")));
        }
    }
    terminal.print(&said)
}

/// What is asked; none where only pictures are prepared.
fn conversation(args: &Args) -> Result<Option<Vec<Message>>, CliError> {
    let Some(path) = &args.messages else {
        return Ok(args.question.as_ref().map(|asked| vec![Message::question(args.images.len(), asked)]));
    };
    let failed = |problem: String| {
        CliError::usage(format!("`{}` {problem}", path.display()), "give a JSON list of messages")
    };
    let mut read = Vec::new();
    let file = fs::File::open(path).map_err(|error| failed(format!("cannot be read: {error}")))?;
    file.take(MOST_MESSAGES + 1)
        .read_to_end(&mut read)
        .map_err(|error| failed(format!("cannot be read: {error}")))?;
    if read.len() as u64 > MOST_MESSAGES {
        return Err(failed(format!("has more than {MOST_MESSAGES} bytes")));
    }
    serde_json::from_slice(&read)
        .map(Some)
        .map_err(|error| failed(format!("is no list of messages: {error}")))
}

fn summary(picture: &PreparedPicture) -> String {
    let PreparedPicture { processed, layout } = picture;
    let size = processed.pictures.first().map(|view| view.size().to_string()).unwrap_or_default();
    let tokens = counted(layout.tokens(), "token");
    let (rows, columns) = layout.rows_and_columns();
    match processed.grid {
        None => format!("{} becomes {size}, {tokens}", processed.original),
        Some(grid) => format!(
            "{} becomes a base and {} by {} tiles of {size}, {tokens}: the base's, and {rows} rows of {columns} with a row end each",
            processed.original, grid.columns, grid.rows
        ),
    }
}

fn described(path: &Path, picture: &PreparedPicture) -> Value {
    let PreparedPicture { processed, layout } = picture;
    let (rows, columns) = layout.rows_and_columns();
    json!({
        "file": path.display().to_string(),
        "size": processed.original,
        "views": processed.pictures.iter().map(Image::size).collect::<Vec<_>>(),
        "grid": processed.grid,
        "rows": rows,
        "columns": columns,
        "tokens": layout.tokens(),
    })
}

/// A PNG file per view: `picture-0-view-0.png` is the first picture's base, or the picture.
fn write_views(folder: &Path, pictures: &[PreparedPicture]) -> Result<(), CliError> {
    fs::create_dir(folder).map_err(|error| CliError::failed(format!("{}: {error}", folder.display())))?;
    for (number, picture) in pictures.iter().enumerate() {
        for (view, image) in picture.processed.pictures.iter().enumerate() {
            let path = folder.join(format!("picture-{number}-view-{view}.png"));
            let png = image.to_png().map_err(CliError::failed)?;
            crossloom_files::write_atomic(&path, &png)
                .map_err(|error| CliError::failed(format!("{}: {error}", path.display())))?;
        }
    }
    Ok(())
}
