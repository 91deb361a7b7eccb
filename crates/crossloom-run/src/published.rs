//! A whole model as its publisher's folder has it: the recipe that asks it.
//!
//! All of it is frozen, in the types that its files have. It reads pictures and writes conversations as the folder's own processor and
//! template say. What the recipe has besides, data and a training, is never used.

use std::path::Path;

use crossloom_recipe::{Architecture, LoadOptions, Recipe, load_text_with};

use crate::processor::foreign_pictures;
use crate::start::{architecture, located};
use crate::{ExperimentError, ModelProcessor};

/// The most tokens of an answer, where nothing else is said and the model has room for four times as many.
const ANSWER: usize = 512;

/// The recipe of a folder's model, with settings overridden as `--set` does.
///
/// # Errors
/// A folder that holds no whole model of encoder, projector and language model; one that injects by itself, or whose pictures are
/// prepared in a way that is not built; settings that a recipe does not have.
pub(crate) fn recipe(folder: &Path, sets: &[String]) -> Result<Recipe, ExperimentError> {
    let damaged = |message: String| ExperimentError::File { path: folder.to_owned(), message };
    let folder = std::path::absolute(folder).map_err(|error| damaged(error.to_string()))?;
    let read = architecture(&folder).map_err(|problems| damaged(problems.join("; ")))?;
    let most = answer(&folder, &read)?;
    let processor = ModelProcessor::open(&folder)?;
    if processor.images().is_none() {
        return Err(ExperimentError::request(
            format!("{} has no image processor", folder.display()),
            "add the preprocessor_config.json of its publisher",
        ));
    }
    let text = text(&folder, &read, &processor, most)?;
    let options = LoadOptions { sets: sets.to_vec() };
    let loaded = load_text_with(&folder.join("recipe.toml"), &text, &options, &architecture);
    let loaded = loaded.map_err(|problems| damaged(format!("cannot be asked as a recipe:\n{problems}")))?;
    let recipe = located(loaded)?.base;
    processor.agrees(&recipe)?;
    // Tiles are the processor's own.
    match foreign_pictures(&recipe)?.filter(|_| recipe.model.vision.anyres.is_none()) {
        None => Ok(recipe),
        Some(note) => Err(ExperimentError::request(
            note,
            "say how pictures are prepared: --set model.vision.fit=pad, or crop",
        )),
    }
}

/// The most tokens of an answer, of a whole model without injection.
fn answer(folder: &Path, read: &Architecture) -> Result<usize, ExperimentError> {
    let refused =
        |why: &str, help: String| Err(ExperimentError::request(format!("{} {why}", folder.display()), help));
    let (Some(_), Some(_), Some(language)) = (&read.vision, &read.projector, &read.language) else {
        let why = "is a part of a model; a whole one has an encoder, a projector and a language model";
        return refused(
            why,
            "name it in a recipe: model.vision.weights or model.language.weights".to_owned(),
        );
    };
    if !read.wiring.is_empty() {
        let help = format!(
            "write a recipe with model.weights and the topology that `crossloom model inspect {}` shows, and ask it with --untrained",
            folder.display()
        );
        return refused("adds vision states to layers of its decoder, which a topology has to say", help);
    }
    Ok((language.max_positions / 4).clamp(1, ANSWER))
}

fn text(
    folder: &Path,
    read: &Architecture,
    processor: &ModelProcessor,
    most: usize,
) -> Result<String, ExperimentError> {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let input: Vec<String> = read.taps.iter().map(|tap| quoted(&tap.to_string())).collect();
    let input = match &input[..] {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    };
    let tiles = processor.tiles().map(|tiles| {
        format!("vision.anyres = {{ side = {}, most_tiles = {} }}\n", tiles.side, tiles.most_tiles)
    });
    let Some(path) = folder.to_str() else {
        let message = format!("{} has a name that is no text", folder.display());
        return Err(ExperimentError::request(message, "give the folder another name"));
    };
    Ok(format!(
        "name = \"published\"\n\
         [model]\nweights = {}\n{}\
         [topology]\ninput = {input}\ntaps = []\npoints = []\n\
         [train]\nsteps = 1\nbatch_size = 1\nlr = 1e-3\n\
         parts.vision = {{ trainable = false, dtype = \"file\" }}\n\
         parts.language = {{ trainable = false, dtype = \"file\" }}\n\
         [data]\ntokenizer = \"model\"\ntext_positions = 64\n\
         source = {{ kind = \"files\", format = \"messages\", train = [\"none\"], test = [\"none\"], pictures = \"none\" }}\n\
         [eval]\nmax_new_tokens = {most}\n",
        quoted(path),
        tiles.unwrap_or_default(),
    ))
}
