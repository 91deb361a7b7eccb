//! Where a model's files say what its processor does.

use std::collections::BTreeMap;
use std::path::Path;

use crossloom_data::chat::{ChatFormat, ChatTemplate};
use crossloom_data::image::ImageProcessor;
use crossloom_data::tokenizer::{GgufVocabulary, PublishedTokenizer, Spelled};
use crossloom_recipe::Architecture;
use crossloom_weights::{family, gguf_tokenizer, table};
use serde_json::{Map, Value};

use super::{ModelProcessor, Pictures};
use crate::ExperimentError;

/// The placeholder of a picture where no file names another.
const IMAGE: &str = "<image>";
/// What LLaVA-OneVision's `vision_aspect_ratio` begins with; a number of tiles follows.
const ANYRES: &str = "anyres_max_";
/// The largest template file that is read.
const MOST_TEMPLATE: u64 = 1 << 20;

/// Reads what lies at a path.
pub(super) fn open(path: &Path) -> Result<ModelProcessor, ExperimentError> {
    if path.is_dir() {
        return folder(path);
    }
    if path.extension().is_none_or(|extension| extension != "gguf") {
        return Err(misfit(path, "is neither a folder nor a .gguf file"));
    }
    let vocabulary = GgufVocabulary::read(&gguf_tokenizer(path)?).map_err(|error| misfit(path, error))?;
    let tokenizer =
        PublishedTokenizer::from_gguf(&vocabulary, Spelled::Tokens).map_err(|error| misfit(path, error))?;
    let tokens =
        vocabulary.special_tokens().map(|(name, token)| (name.to_owned(), token.to_owned())).collect();
    let chat = vocabulary.chat_template().map(|source| chat(path, source, tokens, None)).transpose()?;
    Ok(ModelProcessor { pictures: None, tokenizer: Some(tokenizer), chat, image_token: None })
}

fn folder(folder: &Path) -> Result<ModelProcessor, ExperimentError> {
    let optional = |name: &str| {
        let path = folder.join(name);
        path.exists().then(|| table(&path)).transpose()
    };
    let at = folder.join("config.json");
    let config = table(&at)?;
    let architecture = family::architecture(&config).map_err(|problems| misfit(&at, problems.join("; ")))?;
    let (tokens, processor) = (optional("tokenizer_config.json")?, optional("processor_config.json")?);

    let file = folder.join("tokenizer.json");
    let tokenizer = file.exists().then(|| PublishedTokenizer::load(&file, Spelled::Tokens)).transpose();
    let tokenizer = tokenizer.map_err(|error| misfit(&file, error))?;
    let rows = architecture.language.as_ref().and_then(|language| language.vocab_size);
    if let (Some(tokenizer), Some(rows)) = (&tokenizer, rows) {
        tokenizer.check_embedding(rows).map_err(|error| misfit(folder, error))?;
    }
    let special = tokens.as_ref().map(special_tokens).unwrap_or_default();
    let image = image_token(&config, &special, tokenizer.as_ref());
    let source = match jinja(folder)? {
        Some(source) => Some(source),
        None => {
            let own = optional("chat_template.json")?;
            let places = [own.as_ref(), tokens.as_ref(), processor.as_ref()];
            places.into_iter().flatten().find_map(named_template)
        }
    };
    let spelled = image.as_ref().map(|(token, _)| token.clone());
    let chat = source.map(|source| chat(folder, &source, special, spelled)).transpose()?;

    let own = optional("preprocessor_config.json")?.map(|values| ("preprocessor_config.json", values));
    let within = processor.and_then(|mut values| match values.remove("image_processor") {
        Some(Value::Object(values)) => Some(("processor_config.json", values)),
        _ => None,
    });
    let pictures = own.or(within).zip(architecture.vision.as_ref());
    let pictures =
        pictures.map(|((name, values), _)| pictures_of(&folder.join(name), &values, &architecture, &config));
    Ok(ModelProcessor {
        pictures: pictures.transpose()?,
        tokenizer,
        chat,
        image_token: image.map(|(_, id)| id),
    })
}

fn pictures_of(
    path: &Path,
    values: &Map<String, Value>,
    architecture: &Architecture,
    config: &Map<String, Value>,
) -> Result<Pictures, ExperimentError> {
    let processor = ImageProcessor::read(values).map_err(|error| misfit(path, error))?;
    let patch = architecture.vision.as_ref().map_or(1, |vision| vision.patch_size.max(1));
    let side = architecture.vision.as_ref().map(|vision| vision.image_size as u32);
    let most_tiles = match (processor.tiles(), config.get("vision_aspect_ratio").and_then(Value::as_str)) {
        (None, _) => None,
        (Some(_), named) => {
            let named = named.unwrap_or("anyres_max_9");
            let most = named
                .strip_prefix(ANYRES)
                .and_then(|most| most.parse().ok())
                .filter(|&most: &usize| most > 0);
            let wrong = || misfit(path, format!("`vision_aspect_ratio` is \"{named}\"; {ANYRES}N is built"));
            Some(most.ok_or_else(wrong)?)
        }
    };
    // Tiles are patches of the encoder's own grid, which is square.
    let size = processor.size();
    if most_tiles.is_some() && size.map(|size| (size.height, size.width)) != side.map(|side| (side, side)) {
        let size = size.map_or_else(|| "of many sizes".to_owned(), |size| format!("of {size}"));
        let side = side.unwrap_or_default();
        return Err(misfit(path, format!("makes tiles {size}, and the encoder reads {side}x{side}")));
    }
    Ok(Pictures { processor, patch, most_tiles })
}

fn chat(
    path: &Path,
    source: &str,
    tokens: BTreeMap<String, String>,
    image_token: Option<String>,
) -> Result<(ChatFormat, ChatTemplate), ExperimentError> {
    let format = ChatFormat { template: source.to_owned(), tokens, image_token };
    let template = format.open().map_err(|error| misfit(path, error))?;
    Ok((format, template))
}

/// The template of a file of its own.
fn jinja(folder: &Path) -> Result<Option<String>, ExperimentError> {
    let path = folder.join("chat_template.jinja");
    let Ok(about) = std::fs::metadata(&path) else { return Ok(None) };
    if about.len() > MOST_TEMPLATE {
        return Err(misfit(&path, format!("has {} bytes; at most {MOST_TEMPLATE} are read", about.len())));
    }
    std::fs::read_to_string(&path).map(Some).map_err(|error| misfit(&path, error))
}

/// The template that a configuration holds: one, or several of which one is called `default`.
fn named_template(values: &Map<String, Value>) -> Option<String> {
    match values.get("chat_template")? {
        Value::String(source) => Some(source.clone()),
        Value::Array(several) => {
            let default =
                several.iter().find(|one| one.get("name").and_then(Value::as_str) == Some("default"));
            default?.get("template")?.as_str().map(str::to_owned)
        }
        _ => None,
    }
}

/// The texts of special tokens, by the names that templates have for them.
fn special_tokens(values: &Map<String, Value>) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Object(token) => token.get("content")?.as_str().map(str::to_owned),
        _ => None,
    };
    let named = values.iter().filter(|(name, _)| name.ends_with("_token"));
    named.filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect()
}

/// The text and the id of the token that stands for a picture.
fn image_token(
    config: &Map<String, Value>,
    special: &BTreeMap<String, String>,
    tokenizer: Option<&PublishedTokenizer>,
) -> Option<(String, i32)> {
    let tokenizer = tokenizer?;
    let id = ["image_token_index", "image_token_id"].iter().find_map(|key| config.get(*key)?.as_i64());
    let by_id = id.and_then(|id| i32::try_from(id).ok()).and_then(|id| Some((tokenizer.token(id)?, id)));
    let token = special.get("image_token").map_or(IMAGE, String::as_str);
    by_id.or_else(|| Some((token.to_owned(), tokenizer.id(token)?)))
}

fn misfit(path: &Path, problem: impl std::fmt::Display) -> ExperimentError {
    ExperimentError::File { path: path.to_owned(), message: problem.to_string() }
}
